//! Binding and serving: the TCP listener and the admin socket. It never reads a request's meaning.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router, middleware};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::connection::{self, Patience, Places};
use super::paced::Paced;
use super::peer::{self, Peer};
use super::tls::Tls;
use crate::limits;

/// Why a door can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Somebody listens there already.
    #[error("cannot listen on {0}: the address is in use. Stop whatever listens there, or set another listen in [server]")]
    AddressInUse(SocketAddr),
    /// The address can't be listened on.
    #[error("cannot listen on {address}: {error}. Set another listen in [server]")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// Another daemon answers on the socket.
    #[error("another hookwheel answers on the admin socket {0}; stop that one, or set another admin_socket in [server]")]
    SocketInUse(PathBuf),
    /// Something may answer on the socket, but not to this user.
    #[error(
        "cannot tell whether anybody answers on the admin socket {path}: {error}. It was left alone; stop what it belongs to, or remove it, or set another admin_socket in [server]"
    )]
    SocketUnclear {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Something else lies where the socket should be.
    #[error("{0} is there and is no socket; it was left alone. Remove it, or set another admin_socket in [server]")]
    NotASocket(PathBuf),
    /// The socket can't be made.
    #[error("cannot make the admin socket {path}: {error}. Set another admin_socket in [server]")]
    Socket {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// Listens on a TCP address.
///
/// # Errors
/// [`DoorError`].
pub async fn bind_listener(address: SocketAddr) -> Result<TcpListener, DoorError> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => DoorError::AddressInUse(address),
        _ => DoorError::Address { address, error },
    })
}

/// Makes the admin socket with mode 0660, from its first moment on.
///
/// It is bound in a fresh directory that only this user can enter, gets its mode there, and is then moved to its place: at no time can anybody
/// connect whom the mode does not let in. What lies at its place is replaced only when it is a socket on which nobody answers.
///
/// # Errors
/// [`DoorError`]; what was there is left alone then.
pub fn bind_admin_socket(path: &Path) -> Result<UnixListener, DoorError> {
    let socket_error = |error| DoorError::Socket { path: path.to_owned(), error };
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o750).create(parent).map_err(socket_error)?;
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(socket_error(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(DoorError::NotASocket(path.to_owned())),
        Ok(_) => refuse_unless_stale(path)?,
    }
    // Hardly longer than the path itself, whose length has a bound that is not ours.
    let private = path.with_file_name(format!(".{}", std::process::id()));
    remove_private(&private).map_err(socket_error)?;
    DirBuilder::new().mode(0o700).create(&private).map_err(socket_error)?;
    let fresh = private.join("s");
    let bound = UnixListener::bind(&fresh)
        .and_then(|listener| fs::set_permissions(&fresh, Permissions::from_mode(0o660)).map(|()| listener))
        .and_then(|listener| fs::rename(&fresh, path).map(|()| listener));
    remove_private(&private).map_err(socket_error)?;
    bound.map_err(socket_error)
}

/// Only a refused connection says that nobody listens. Any other failure may well come from a daemon that lives, behind a mode that keeps
/// this user out for one, and to move a socket over its own would cut it off from its operator.
fn refuse_unless_stale(path: &Path) -> Result<(), DoorError> {
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(DoorError::SocketInUse(path.to_owned())),
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => Ok(()),
        Err(error) => Err(DoorError::SocketUnclear { path: path.to_owned(), error }),
    }
}

fn remove_private(private: &Path) -> io::Result<()> {
    match fs::remove_dir_all(private) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Serves the TCP listener until `closing` says true, and then until the requests under way have ended, within a bound. With `tls`, it speaks nothing but that.
pub async fn serve_listener(listener: TcpListener, router: Router, tls: Option<Tls>, max_connections: u32, closing: watch::Receiver<bool>) {
    let accept = async move || {
        let (stream, _) = listener.accept().await?;
        // Answers are small and their sender waits for them.
        drop(stream.set_nodelay(true));
        Ok(stream)
    };
    let router_for = |_: &TcpStream| router.clone();
    let bounds = Bounds { connections: max_connections as usize, requests: limits::REQUESTS_MAX };
    match tls {
        None => serve(accept, plain, router_for, bounds, closing).await,
        Some(tls) => serve(accept, move |stream| tls.clone().accept(stream), router_for, bounds, closing).await,
    }
}

/// Serves the admin socket until `closing` says true, like [`serve_listener`]. Handlers learn who speaks, and what they change is logged.
pub async fn serve_admin(listener: UnixListener, router: Router, closing: watch::Receiver<bool>) {
    let accept = async move || listener.accept().await.map(|(stream, _)| stream);
    let router = router.layer(middleware::from_fn(peer::log_change));
    let router_for = |stream: &UnixStream| router.clone().layer(Extension(Peer::of(stream)));
    let bounds = Bounds { connections: limits::ADMIN_CONNECTIONS_MAX, requests: limits::ADMIN_REQUESTS_MAX };
    serve(accept, plain, router_for, bounds, closing).await;
}

/// What there may be at once behind a door.
#[derive(Clone, Copy)]
struct Bounds {
    connections: usize,
    requests: usize,
}

/// Nothing is to be said before HTTP is spoken.
async fn plain<S>(stream: S) -> io::Result<Paced<S>> {
    Ok(Paced::new(stream))
}

/// `accept` gives streams, which `open` makes ready for HTTP: in a task of its own, within a bound, and in the place of the connection that it is to become.
async fn serve<S, T, O>(
    accept: impl AsyncFn() -> io::Result<S>,
    open: impl Fn(S) -> O,
    router_for: impl Fn(&S) -> Router,
    bounds: Bounds,
    mut closing: watch::Receiver<bool>,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    O: Future<Output = io::Result<T>> + Send + 'static,
{
    let connections = Arc::new(Semaphore::new(bounds.connections));
    let refusals = Arc::new(Semaphore::new(limits::REFUSALS_MAX));
    let places = Places::new(bounds.requests);
    while let Some(accepted) = unless_closing(&mut closing, accept()).await {
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                rest_after(&error).await;
                continue;
            }
        };
        let place = match Arc::clone(&connections).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
                    refuse(open(stream), bounds.connections, place);
                    continue;
                }
                // So many are being refused that this one, and whoever comes behind it, waits.
                let Some(Ok(place)) = unless_closing(&mut closing, Arc::clone(&connections).acquire_owned()).await else { break };
                place
            }
        };
        let router = router_for(&stream);
        let (opening, places, mut closing) = (open(stream), places.clone(), closing.clone());
        tokio::spawn(async move {
            let opened = timeout(Duration::from_millis(limits::TLS_HANDSHAKE_TIMEOUT_MS), opening);
            match unless_closing(&mut closing, opened).await {
                Some(Ok(Ok(stream))) => connection::serve(stream, router, places, Patience::ORDINARY, closing).await,
                Some(Ok(Err(error))) => tracing::debug!(%error, "a handshake failed"),
                Some(Err(_)) => tracing::debug!("a handshake was not over in time"),
                None => {}
            }
            drop(place);
        });
    }
    // The accepting closure owns the listener: from here on connections are refused.
    drop(accept);
    let all = u32::try_from(bounds.connections).expect("limits::CONNECTIONS_MAX is far below 2^32");
    if timeout(Duration::from_millis(limits::DOORS_CLOSE_TIMEOUT_MS), connections.acquire_many(all)).await.is_err() {
        tracing::warn!("some requests were still under way and were given up");
    }
}

/// The future's value, or nothing once the doors are closing.
async fn unless_closing<F: Future>(closing: &mut watch::Receiver<bool>, future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        _ = closing.wait_for(|closing| *closing) => None,
        output = future => Some(output),
    }
}

/// Out of file descriptors, for one: trying again at once would only burn time.
async fn rest_after(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Tells a connection too many that it is one.
fn refuse<T>(opening: impl Future<Output = io::Result<T>> + Send + 'static, max_connections: usize, place: OwnedSemaphorePermit)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let refusal = async move {
        if let Ok(stream) = opening.await {
            connection::refuse(stream, max_connections).await;
        }
    };
    tokio::spawn(async move {
        // What it does not ask in time is not answered.
        drop(timeout(Duration::from_millis(limits::REFUSAL_TIMEOUT_MS), refusal).await);
        drop(place);
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn the_admin_socket_is_0660_replaces_a_stale_one_and_refuses_a_live_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/admin.sock");
        let live = bind_admin_socket(&path).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o660, 0o750));
        assert!(matches!(bind_admin_socket(&path), Err(DoorError::SocketInUse(_))));
        drop(live);
        assert!(path.exists(), "a dead daemon leaves its socket");
        drop(bind_admin_socket(&path).unwrap());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    /// Whoever sees the socket at its place sees it with its mode: it is never there with another, however short.
    #[tokio::test]
    async fn the_admin_socket_has_its_mode_from_the_first_moment_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut seen = std::collections::BTreeSet::new();
                while !ended.load(Ordering::Relaxed) {
                    seen.extend(fs::metadata(&path).map(|metadata| metadata.permissions().mode() & 0o777));
                }
                seen
            });
            for _ in 0..300 {
                drop(bind_admin_socket(&path).unwrap());
                fs::remove_file(&path).unwrap();
            }
            drop(bind_admin_socket(&path).unwrap());
            ended.store(true, Ordering::Relaxed);
            assert!(watcher.join().unwrap().iter().all(|mode| *mode == 0o660));
        });
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind_admin_socket(&path), Err(DoorError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    /// Stands for a live socket that this user may not connect to: connecting fails, and yet somebody is there.
    #[tokio::test]
    async fn a_socket_that_does_not_say_that_nobody_listens_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let somebody = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        let error = bind_admin_socket(&path).unwrap_err();
        assert!(matches!(error, DoorError::SocketUnclear { .. }), "{error}");
        let client = std::os::unix::net::UnixDatagram::unbound().unwrap();
        client.send_to(b"still there", &path).unwrap();
        assert_eq!(somebody.recv(&mut [0; 32]).unwrap(), 11);
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let first = bind_listener("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = first.local_addr().unwrap();
        let error = bind_listener(address).await.unwrap_err();
        assert!(error.to_string().contains(&address.to_string()) && error.to_string().contains("in use"), "{error}");
    }
}
