//! One server that misbehaves on demand: over TCP, in the TLS handshake, or in frames of HTTP/2 written by hand. It never behaves, and never judges who speaks to it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where by panicking")]

pub(crate) mod frames;
mod http1;
mod http2;
mod identity;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

pub(crate) use self::identity::Identity;

/// So many bytes of a body are not sent in one go, neither here over HTTP/1.1 nor with the windows that HTTP/2 begins with.
pub(crate) const LARGE_BODY: usize = 256 * 1024;

/// One way to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misbehaviour {
    /// Takes the request and says nothing.
    Silence,
    /// A byte a second, in the middle of the head of the answer.
    SlowHeaders,
    /// A byte a second of a body whose head came at once.
    SlowBody,
    /// A body that never ends.
    EndlessBody,
    /// `103 Early Hints` for ever.
    EndlessInformational,
    /// One header of 1 MiB.
    HugeHeader,
    /// 10 000 headers.
    ManyHeaders,
    /// 60 kB of gzip that would be 9 MB unpacked, and claim to be.
    CompressedBomb,
    /// A shorter length than what follows.
    LengthTooShort,
    /// A longer length than what follows.
    LengthTooLong,
    /// A length below zero.
    LengthNegative,
    /// Two lengths.
    LengthsTwo,
    /// A body with no head at all.
    Http09,
    /// Bytes that mean nothing.
    Garbage,
    /// RST as soon as the connection stands.
    ResetOnAccept,
    /// RST when the request's headers are here.
    ResetAfterHeaders,
    /// RST when a part of the request's body is here, while the client has the rest still to write. The body is to be a large one.
    ResetMidRequest,
    /// RST in the middle of the answer.
    ResetMidAnswer,
    /// The server's half of the connection is closed as soon as it stands; the other half stays open.
    HalfCloseOnAccept,
    /// The same when the request is here.
    HalfCloseAfterRequest,
    /// The same in the middle of the answer.
    HalfCloseMidAnswer,
    /// A redirect to where clouds keep their credentials.
    RedirectToMetadata,
    /// A TLS handshake that the server never takes up.
    HandshakeStall,
    /// A TLS record that comes a byte a second.
    HandshakeSlow,
    /// Bytes that are no TLS.
    HandshakeGarbage,
    /// RST in answer to the first message of the TLS handshake.
    HandshakeReset,
    /// GOAWAY before any request.
    GoAwayAtOnce,
    /// GOAWAY in the middle of the answer, and the end of the connection.
    GoAwayMidAnswer,
    /// `REFUSED_STREAM` to every request.
    RefusedStream,
    /// No window for any request's body, ever.
    ZeroWindow,
    /// No streams allowed.
    ZeroStreams,
    /// CONTINUATION for ever.
    ContinuationFlood,
    /// DATA without a byte, for ever.
    EmptyDataFlood,
    /// PING for ever.
    PingFlood,
    /// SETTINGS for ever.
    SettingsFlood,
    /// RST_STREAM after the headers of the answer.
    ResetStreamAfterHeaders,
    /// No answer, over HTTP/2.
    Http2Silence,
    /// HTTP/2 agreed on, and then bytes that are none.
    Http2Garbage,
    /// 16 kB of headers that are 48 MB when they are unpacked.
    HpackBomb,
    /// A promise to push, to a client that wants none.
    PushPromise,
    /// A byte a second, in the middle of the headers of the answer.
    Http2SlowHeaders,
    /// A byte a second of a body whose headers came at once.
    Http2SlowBody,
    /// A body that never ends, as fast as the client's windows let it come.
    Http2EndlessBody,
    /// More of a body than the client's window lets come.
    WindowOverrun,
    /// Headers with `:status: 103` for ever.
    Http2EndlessInformational,
    /// One header of 1 MiB, in 65 frames.
    Http2HugeHeader,
    /// 10 000 headers, over HTTP/2.
    Http2ManyHeaders,
    /// RST_STREAM with `CANCEL` when a part of the request's body is here, for the rest of which there is no window. The body is to be a large one.
    ResetStreamMidRequest,
    /// The same with `NO_ERROR`, as who has answered already may say it, and no answer.
    NoErrorMidRequest,
}

impl Misbehaviour {
    pub(crate) const ALL: [Self; 49] = [
        Self::Silence,
        Self::SlowHeaders,
        Self::SlowBody,
        Self::EndlessBody,
        Self::EndlessInformational,
        Self::HugeHeader,
        Self::ManyHeaders,
        Self::CompressedBomb,
        Self::LengthTooShort,
        Self::LengthTooLong,
        Self::LengthNegative,
        Self::LengthsTwo,
        Self::Http09,
        Self::Garbage,
        Self::ResetOnAccept,
        Self::ResetAfterHeaders,
        Self::ResetMidRequest,
        Self::ResetMidAnswer,
        Self::HalfCloseOnAccept,
        Self::HalfCloseAfterRequest,
        Self::HalfCloseMidAnswer,
        Self::RedirectToMetadata,
        Self::HandshakeStall,
        Self::HandshakeSlow,
        Self::HandshakeGarbage,
        Self::HandshakeReset,
        Self::GoAwayAtOnce,
        Self::GoAwayMidAnswer,
        Self::RefusedStream,
        Self::ZeroWindow,
        Self::ZeroStreams,
        Self::ContinuationFlood,
        Self::EmptyDataFlood,
        Self::PingFlood,
        Self::SettingsFlood,
        Self::ResetStreamAfterHeaders,
        Self::Http2Silence,
        Self::Http2Garbage,
        Self::HpackBomb,
        Self::PushPromise,
        Self::Http2SlowHeaders,
        Self::Http2SlowBody,
        Self::Http2EndlessBody,
        Self::WindowOverrun,
        Self::Http2EndlessInformational,
        Self::Http2HugeHeader,
        Self::Http2ManyHeaders,
        Self::ResetStreamMidRequest,
        Self::NoErrorMidRequest,
    ];

    /// Its name as a webhook's id has it: `SlowHeaders` is `slow-headers`.
    pub(crate) fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    /// Whether it needs a request of which a part is still to come when it begins, as of one with [`LARGE_BODY`] bytes.
    pub(crate) fn wants_large_body(self) -> bool {
        matches!(self, Self::ResetMidRequest | Self::ResetStreamMidRequest | Self::NoErrorMidRequest)
    }

    fn is_in_handshake(self) -> bool {
        matches!(self, Self::HandshakeStall | Self::HandshakeSlow | Self::HandshakeGarbage | Self::HandshakeReset)
    }

    fn is_http2(self) -> bool {
        let first = Self::ALL.iter().position(|one| *one == Self::GoAwayAtOnce);
        Self::ALL.iter().position(|one| *one == self) >= first
    }
}

/// A server on loopback; it ends when it is dropped.
pub(crate) struct Hostile {
    url: String,
    _runtime: Runtime,
}

impl Hostile {
    /// A server that misbehaves in this way on every connection, on a thread that calls `on_start` first. What it sends for ever it sends with `pause` after every piece of some 16 KiB.
    pub(crate) fn new(how: Misbehaviour, identity: &Identity, pause: Duration, on_start: fn()) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).on_thread_start(on_start).enable_all().build().unwrap();
        let listener = runtime.block_on(async { listener(how) }).unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = identity.acceptor();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that hangs up is what most of them end with.
                tokio::spawn(serve(stream, acceptor.clone(), how, pause));
            }
        });
        Self { url: url(how, address), _runtime: runtime }
    }

    /// Where a webhook finds it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

fn url(how: Misbehaviour, address: SocketAddr) -> String {
    let scheme = if how.is_http2() || how.is_in_handshake() { "https" } else { "http" };
    format!("{scheme}://{address}/")
}

/// A listener on loopback.
fn listener(how: Misbehaviour) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    if how == Misbehaviour::ResetMidRequest {
        // On loopback, with its large segments, the client's kernel would take some megabytes at once; so it takes less than 100 KiB.
        SockRef::from(&socket).set_tcp_mss(536)?;
        socket.set_recv_buffer_size(2048)?;
    }
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    socket.listen(1024)
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, how: Misbehaviour, pause: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if how.is_in_handshake() {
        return shake_no_hands(stream, how).await;
    }
    if how.is_http2() {
        return http2::misbehave(acceptor.accept(stream).await?, how, pause).await;
    }
    http1::misbehave(stream, how, pause).await
}

async fn shake_no_hands(mut stream: TcpStream, how: Misbehaviour) -> io::Result<()> {
    stream.read_exact(&mut [0; 16]).await?;
    match how {
        // A record of the handshake, 16 KiB long by its head.
        Misbehaviour::HandshakeSlow => drip(&mut stream, &[22, 3, 3, 64, 0], 2).await,
        Misbehaviour::HandshakeGarbage => {
            stream.write_all(&garbage(4096)).await?;
            drain(&mut stream).await
        }
        Misbehaviour::HandshakeReset => stream.set_zero_linger(),
        _ => drain(&mut stream).await,
    }
}

/// Writes a beginning, and then the same byte a second for ever.
async fn drip(stream: &mut (impl AsyncWrite + Unpin), beginning: &[u8], byte: u8) -> io::Result<()> {
    stream.write_all(beginning).await?;
    loop {
        stream.write_all(&[byte]).await?;
        stream.flush().await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Writes the same piece until the client has enough of it.
async fn flood(stream: &mut (impl AsyncWrite + Unpin), piece: &[u8], pause: Duration) -> io::Result<()> {
    loop {
        stream.write_all(piece).await?;
        rest(pause).await;
    }
}

/// A pause, or at least a chance for others.
async fn rest(pause: Duration) {
    if pause.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(pause).await;
    }
}

/// As many of the same thing as make some 16 KiB.
fn many(of: &[u8]) -> Vec<u8> {
    of.repeat((16 * 1024 / of.len()).max(1))
}

/// Bytes that look like nothing, the same each time.
fn garbage(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0] | 0x80
    };
    (0..length).map(next).collect()
}

/// Reads and forgets until the client closes.
async fn drain(stream: &mut TcpStream) -> io::Result<()> {
    while stream.read(&mut [0; 4096]).await? > 0 {}
    Ok(())
}
