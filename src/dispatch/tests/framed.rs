//! A receiver whose frames of HTTP/2 are written by hand, so that what comes in one read is known. It answers no PING and never says more than a test has it say.

use std::io;

use super::frames::{self, DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE_LENGTH, SETTINGS, frame};
use super::receivers::{Identity, tls_receiver};
use super::*;
use h2::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// The last stream of a GOAWAY that lets come what is on its way.
pub(super) const NO_LAST_STREAM: u32 = u32::MAX >> 1;

/// When a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// With its headers. There is no window for its body: the client has it still to send, unless it sent it before it heard of that.
    Begun,
    /// With its end.
    Whole,
}

/// What is sent for a request, in one write.
pub(super) enum Answer {
    /// The connection goes on behind it.
    More(Vec<u8>),
    /// The connection ends behind it, as TLS and TCP have it.
    Last(Vec<u8>),
}

/// Answers the requests on each connection, given the numbers of their streams. It counts them.
pub(super) async fn framed(
    identity: &Identity,
    when: When,
    answer: impl Fn(u32) -> Answer + Clone + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let address = tls_receiver(identity.acceptor(&["h2"]), move |stream, _| {
        let (counted, answer) = (Arc::clone(&counted), answer.clone());
        async move {
            let counting = move |stream| {
                counted.fetch_add(1, Ordering::SeqCst);
                answer(stream)
            };
            // A client that hangs up is what each connection ends with.
            drop(converse(stream, when, counting).await);
        }
    })
    .await;
    (address, requests)
}

async fn converse(mut stream: TlsStream<TcpStream>, when: When, answer: impl Fn(u32) -> Answer) -> io::Result<()> {
    // Else an answer waits until the client has acknowledged what came before it, longer than some connections are kept.
    stream.get_ref().0.set_nodelay(true)?;
    let no_window = [4_u16.to_be_bytes().as_slice(), &0_u32.to_be_bytes()].concat();
    let settings = if when == When::Begun { no_window } else { Vec::new() };
    stream.write_all(&frame(SETTINGS, 0, 0, &settings)).await?;
    stream.flush().await?;
    stream.read_exact(&mut [0; PREFACE_LENGTH]).await?;
    loop {
        let heard = frames::read(&mut stream).await?;
        let is_due = match when {
            When::Begun => heard.kind == HEADERS,
            When::Whole => matches!(heard.kind, HEADERS | DATA) && heard.flags & END_STREAM != 0,
        };
        if !is_due {
            continue;
        }
        let (bytes, is_last) = match answer(heard.stream) {
            Answer::More(bytes) => (bytes, false),
            Answer::Last(bytes) => (bytes, true),
        };
        stream.write_all(&bytes).await?;
        stream.flush().await?;
        if is_last {
            // Read on behind it: closed with something unread, the connection would be reset.
            stream.shutdown().await?;
        }
    }
}

/// The headers of an answer, packed. `flags` may say that there is no body.
pub(super) fn ok(stream: u32, flags: u8, packed: &[u8]) -> Vec<u8> {
    frames::ok(stream, END_HEADERS | flags, packed)
}

pub(super) fn reset(stream: u32, reason: Reason) -> Vec<u8> {
    frames::reset(stream, reason.into())
}

pub(super) fn go_away(last_stream: u32, reason: Reason) -> Vec<u8> {
    frames::go_away(last_stream, reason.into())
}
