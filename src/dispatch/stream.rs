//! A connection as the HTTP client holds it: plain or TLS, over a socket that knows at once when its other end is gone, and that reads slowly what nobody asked for. It lets others have their
//! turn between what it reads: a task that goes through thousands of small frames in one go would hold up everybody else on its thread. It never dials.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop;
use tokio::time::{Sleep, sleep};
use tokio_rustls::client::TlsStream;

use super::progress::ConnectionFacts;
use crate::limits;
use crate::time::Stopwatch;

/// A TCP connection whose reads ask the kernel itself.
///
/// tokio answers a read from the last event it heard of. Between the receiver's closing of an idle connection and that event the connection looks alive: a request
/// would be written to it and be lost. The client reads before it takes up a request, so a read that sees the end then has the request sent on a new connection instead.
///
/// It is also where floods end: of headers, of informational answers, of frames of HTTP/2 that say nothing. What is not read fills the kernel's buffers, and then the receiver waits.
pub struct Socket {
    stream: TcpStream,
    traffic: Arc<Traffic>,
    since_rest: usize,
    rest: Option<Pin<Box<Sleep>>>,
}

/// What came over a connection: bytes for which no answer accounts, when it last had an answer, and whether it ended. Many answers may come side by side, so each accounts for what has come of
/// it.
#[derive(Debug)]
pub struct Traffic {
    unasked_bytes: AtomicUsize,
    since_opened: Stopwatch,
    answered_ms: AtomicU64,
    has_ended: AtomicBool,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            unasked_bytes: AtomicUsize::new(0),
            since_opened: Stopwatch::start(),
            answered_ms: AtomicU64::new(0),
            has_ended: AtomicBool::new(false),
        }
    }
}

impl Traffic {
    /// Notes that the headers of an answer came, so long when written out.
    pub(super) fn received_headers(&self, length: usize) {
        self.account_for(length + limits::ANSWER_OVERHEAD_MAX);
    }

    /// Notes that so much of its body came. The frames around it, and the records of TLS, may be as much again, unless it comes in very small pieces.
    pub(super) fn received(&self, length: usize) {
        self.account_for(2 * length);
    }

    /// Notes that the answer was read, to its end or as far as it is read: then the receiver may have sent the rest of its window ahead.
    pub(super) fn answered(&self, is_cut: bool) {
        self.answered_ms.store(self.since_opened.elapsed_ms(), Ordering::Relaxed);
        if is_cut {
            self.account_for(2 * limits::RESPONSE_READ_MAX);
        }
    }

    fn account_for(&self, length: usize) {
        // It never fails: there is always a new value.
        let _ = self.unasked_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bytes| Some(bytes.saturating_sub(length)));
    }

    /// Milliseconds since its last answer.
    pub(super) fn since_answer_ms(&self) -> u64 {
        self.since_opened.elapsed_ms().saturating_sub(self.answered_ms.load(Ordering::Relaxed))
    }

    /// Whether the other end was seen to close it, or it broke. One that did not, and is gone, was dropped at this end.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// Counts so many more.
    fn count(&self, bytes: usize) {
        self.unasked_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn is_too_much(&self) -> bool {
        self.unasked_bytes.load(Ordering::Relaxed) >= limits::UNASKED_READ_MAX
    }
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, traffic: Arc::default(), since_rest: 0, rest: None }
    }

    /// What came over it.
    pub(super) fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// Reads the next bytes of what has sent too much, no more than are left of this step, and then leaves it alone for a while.
    fn poll_read_slowly(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = buffer.remaining().min(limits::SLOW_READ_STEP - self.since_rest);
        let mut step = ReadBuf::new(buffer.initialize_unfilled_to(room));
        let read = self.poll_read_now(context, &mut step);
        let bytes = step.filled().len();
        buffer.advance(bytes);
        self.since_rest += bytes;
        if self.since_rest == limits::SLOW_READ_STEP {
            self.since_rest = 0;
            self.rest = Some(Box::pin(sleep(Duration::from_millis(limits::SLOW_READ_REST_MS))));
        }
        read
    }

    /// Whether the kernel has something, be it the end or an error, that tokio has not heard of yet.
    fn has_news(&self) -> bool {
        let mut byte = [MaybeUninit::<u8>::uninit()];
        let peeked = rustix::net::recv(&self.stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        !matches!(peeked, Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR))
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(rest) = &mut self.rest {
            ready!(rest.as_mut().poll(context));
            self.rest = None;
        }
        let before = buffer.filled().len();
        let read = if self.traffic.is_too_much() { self.poll_read_slowly(context, buffer) } else { self.poll_read_now(context, buffer) };
        self.traffic.count(buffer.filled().len().saturating_sub(before));
        read
    }
}

impl Socket {
    fn poll_read_now(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let heard = Pin::new(&mut self.stream).poll_read(context, buffer);
        // A task that has used up its turn is to yield, not to read on.
        if heard.is_ready() || !coop::has_budget_remaining() || !self.has_news() {
            return heard;
        }
        match rustix::net::recv(&self.stream, buffer.initialize_unfilled(), RecvFlags::DONTWAIT) {
            Ok((_, length)) => {
                buffer.advance(length);
                Poll::Ready(Ok(()))
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Counts a connection as open as long as it lives.
pub(super) struct OpenGuard(Arc<AtomicUsize>);

impl OpenGuard {
    pub(super) fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection, plain or TLS.
pub struct Stream {
    io: Io,
    facts: ConnectionFacts,
    /// Bytes that were read since others had their turn.
    in_turn: usize,
    _guard: OpenGuard,
}

/// What a connection is made of.
pub(super) enum Io {
    Plain(TokioIo<Socket>),
    Tls(Box<TokioIo<TlsStream<Socket>>>),
}

impl Stream {
    pub(super) fn new(io: Io, facts: ConnectionFacts, guard: OpenGuard) -> Self {
        Self { io, facts, in_turn: 0, _guard: guard }
    }

    /// What came of a write, noted if it broke.
    fn noted<T>(&self, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(&wrote, Poll::Ready(Err(_))) {
            self.facts.traffic.end();
        }
        wrote
    }

    fn poll_read_now(&mut self, context: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_read(context, buffer),
            Io::Tls(io) => {
                let read = Pin::new(io.as_mut()).poll_read(context, buffer);
                if let Poll::Ready(Err(error)) = &read {
                    // The client may tell of the failure that follows from this alone.
                    self.facts.opened_by.note_alert(error);
                }
                read
            }
        }
    }
}

impl Io {
    /// Whether both sides agreed on HTTP/2.
    fn is_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(io) => io.inner().get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.facts.clone());
        if self.io.is_http2() { connected.negotiated_h2() } else { connected }
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.in_turn >= limits::READ_TURN {
            self.in_turn = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        // No more than what is left of the turn, however large the buffer.
        let mut turn = [MaybeUninit::<u8>::uninit(); limits::READ_TURN];
        let room = buffer.remaining().min(limits::READ_TURN - self.in_turn);
        let mut part = hyper::rt::ReadBuf::uninit(&mut turn[..room]);
        let read = self.poll_read_now(context, part.unfilled());
        buffer.put_slice(part.filled());
        if matches!(&read, Poll::Ready(read) if read.is_err() || room > 0 && part.filled().is_empty()) {
            self.facts.traffic.end();
        }
        self.in_turn = if read.is_ready() { self.in_turn + part.filled().len() } else { 0 };
        read
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write(context, bytes),
            Io::Tls(io) => Pin::new(io.as_mut()).poll_write(context, bytes),
        };
        self.noted(wrote)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wrote = match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_flush(context),
            Io::Tls(io) => Pin::new(io.as_mut()).poll_flush(context),
        };
        self.noted(wrote)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wrote = match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_shutdown(context),
            Io::Tls(io) => Pin::new(io.as_mut()).poll_shutdown(context),
        };
        self.noted(wrote)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Whether there is nothing to be read at this moment.
    async fn rests(socket: &mut Socket) -> bool {
        let mut bytes = [0; 1];
        poll_fn(|context| Poll::Ready(Pin::new(&mut *socket).poll_read(context, &mut ReadBuf::new(&mut bytes)).is_pending())).await
    }

    #[tokio::test]
    async fn what_nobody_asked_for_is_read_slowly_until_answers_account_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (stream, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (mut sender, _) = accepted.unwrap();
        tokio::spawn(async move { while sender.write_all(&[0; 4096]).await.is_ok() {} });
        let mut socket = Socket::new(stream.unwrap());
        let mut free = vec![0; limits::UNASKED_READ_MAX];
        socket.read_exact(&mut free).await.unwrap();
        assert!(socket.rest.is_none(), "so much is read at full speed");
        let mut step = vec![0; limits::SLOW_READ_STEP];
        socket.read_exact(&mut step).await.unwrap();
        assert!(rests(&mut socket).await, "the kernel has more, but it is not read");
        socket.read_exact(&mut step).await.unwrap();
        assert!(rests(&mut socket).await, "the same after every step");
        socket.traffic.received_headers(limits::UNASKED_READ_MAX);
        socket.traffic.answered(false);
        socket.read_exact(&mut step).await.unwrap();
        assert!(socket.rest.is_none(), "answers account for it");
        let mut body = vec![0; 2 * limits::UNASKED_READ_MAX];
        for piece in body.chunks_mut(limits::SLOW_READ_STEP) {
            socket.read_exact(piece).await.unwrap();
            assert!(socket.rest.is_none(), "so does what requests receive");
            socket.traffic.received(piece.len());
        }
    }

    /// What one poll of a task takes of a connection that always has more.
    async fn taken_in_one_go(stream: &mut Stream) -> usize {
        poll_fn(|context| {
            let mut taken = 0;
            loop {
                let mut bytes = [MaybeUninit::uninit(); 4000];
                let mut buffer = hyper::rt::ReadBuf::uninit(&mut bytes);
                match Pin::new(&mut *stream).poll_read(context, buffer.unfilled()) {
                    Poll::Ready(read) => read.unwrap(),
                    Poll::Pending => return Poll::Ready(taken),
                }
                assert!(!buffer.filled().is_empty(), "it has more");
                taken += buffer.filled().len();
            }
        })
        .await
    }

    #[tokio::test]
    async fn others_have_their_turn_between_what_is_read_of_a_connection_that_always_has_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (stream, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (mut sender, remote) = accepted.unwrap();
        sender.write_all(&[0; 20 * limits::READ_TURN]).await.unwrap();
        let opened_by = Arc::new(crate::dispatch::progress::Progress::start(1000));
        let facts = ConnectionFacts { remote, opened_by, traffic: Arc::default() };
        let socket = TokioIo::new(Socket::new(stream.unwrap()));
        let mut stream = Stream::new(Io::Plain(socket), facts, OpenGuard::new(&Arc::default()));
        for _ in 0..20 {
            assert_eq!(taken_in_one_go(&mut stream).await, limits::READ_TURN);
        }
    }
}
