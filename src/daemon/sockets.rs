//! The sockets behind both doors: what systemd passed is used, what it did not is made. It never accepts a connection.
//!
//! With `hookwheel.socket` systemd listens before the daemon does, and goes on while it is restarted or loads a long queue: whoever connects meanwhile waits and is served, none is
//! refused. A passed socket counts for more than what `[server]` says; it is systemd's, so the daemon does not remove it at its end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

use super::{DaemonError, passed};
use crate::config::Config;
use crate::server::doors;

/// Both sockets, listening.
pub(super) struct Sockets {
    /// Of the listener.
    pub(super) listener: TcpListener,
    /// Where that one listens.
    pub(super) listen: SocketAddr,
    /// Of the commands.
    pub(super) admin: UnixListener,
    /// Where that one lies.
    pub(super) admin_path: PathBuf,
    /// The same where this daemon made it, and so removes it at its end.
    pub(super) own_socket: Option<PathBuf>,
}

/// What systemd passed, at most one of each kind.
#[derive(Default)]
struct Passed {
    listener: Option<std::net::TcpListener>,
    admin: Option<std::os::unix::net::UnixListener>,
}

impl Sockets {
    /// Takes or makes both. This is called inside the runtime.
    ///
    /// # Errors
    /// [`DaemonError`] when systemd passed something else, or an address is taken.
    pub(super) async fn open(config: &Config, admin_socket: &Path) -> Result<Self, DaemonError> {
        let [count, process, first] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDS_FIRST_FD"].map(std::env::var_os);
        passed::count(count.as_deref(), process.as_deref(), first.as_deref(), std::process::id()).map_err(|sentence| strange(&sentence))?;
        let Passed { listener, admin } = Passed::take(ListenFd::from_env())?;
        let listener = match listener {
            Some(listener) => {
                listener.set_nonblocking(true).map_err(DaemonError::failed)?;
                TcpListener::from_std(listener).map_err(DaemonError::failed)?
            }
            None => doors::bind_listener(config.server.listen).await.map_err(DaemonError::failed)?,
        };
        let listen = listener.local_addr().map_err(DaemonError::failed)?;
        let Some(admin) = admin else {
            let admin = doors::bind_admin_socket(admin_socket).map_err(DaemonError::failed)?;
            let admin_path = admin_socket.to_owned();
            return Ok(Self { listener, listen, admin, own_socket: Some(admin_path.clone()), admin_path });
        };
        let address = admin.local_addr().map_err(DaemonError::failed)?;
        let admin_path = address.as_pathname().ok_or_else(|| strange("the Unix socket has no path"))?.to_owned();
        admin.set_nonblocking(true).map_err(DaemonError::failed)?;
        let admin = UnixListener::from_std(admin).map_err(DaemonError::failed)?;
        if admin_path != admin_socket {
            tracing::warn!(
                passed = %admin_path.display(), configured = %admin_socket.display(),
                "systemd passed another admin socket than the configured one, at which the commands look; make both the same"
            );
        }
        Ok(Self { listener, listen, admin, admin_path, own_socket: None })
    }
}

impl Passed {
    fn take(mut descriptors: ListenFd) -> Result<Self, DaemonError> {
        let mut passed = Self::default();
        for index in 0..descriptors.len() {
            if let Ok(Some(listener)) = descriptors.take_tcp_listener(index) {
                if passed.listener.replace(listener).is_some() {
                    return Err(strange("there are two TCP sockets"));
                }
            } else if let Ok(Some(admin)) = descriptors.take_unix_listener(index) {
                if passed.admin.replace(admin).is_some() {
                    return Err(strange("there are two Unix sockets"));
                }
            } else {
                return Err(strange(&format!("socket {} is neither a TCP nor a Unix stream socket", index + 1)));
            }
        }
        Ok(passed)
    }
}

fn strange(what: &str) -> DaemonError {
    DaemonError::Failed(format!(
        "systemd passed sockets that cannot be used: {what}. Expected is at most one ListenStream= with an address and one with a path; mend hookwheel.socket"
    ))
}
