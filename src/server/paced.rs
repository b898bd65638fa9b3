//! A stream whose other end takes what is written to it, or loses it. It never limits how long a client may read, only how little of its answers it may take meanwhile.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::limits;

/// A stream to a client. A write that waits fails once the client has taken less than [`limits::ANSWER_PACE_BYTES`] within [`limits::ANSWER_PACE_MS`] while more was waiting.
pub(super) struct Paced<S> {
    stream: S,
    pace: Pace,
    /// While something waits to be written.
    window: Option<Window>,
}

/// So many bytes in so much time.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    pub(super) bytes: u64,
    pub(super) time: Duration,
}

/// What was taken since this time began.
struct Window {
    ends: Pin<Box<Sleep>>,
    taken: u64,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S) -> Self {
        Self::at(Pace { bytes: limits::ANSWER_PACE_BYTES, time: Duration::from_millis(limits::ANSWER_PACE_MS) }, stream)
    }

    pub(super) fn at(pace: Pace, stream: S) -> Self {
        Self { stream, pace, window: None }
    }

    /// What became of a write, seen from the pace that is expected.
    fn judge(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = written {
            if let (Some(window), Ok(count)) = (&mut self.window, &result) {
                window.taken += *count as u64;
            }
            return Poll::Ready(result);
        }
        let time = self.pace.time;
        let window = self.window.get_or_insert_with(|| Window { ends: Box::pin(sleep(time)), taken: 0 });
        while window.ends.as_mut().poll(context).is_ready() {
            if window.taken < self.pace.bytes {
                return Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the client does not take its answers")));
            }
            *window = Window { ends: Box::pin(sleep(time)), taken: 0 };
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Whoever flushes has written everything: nothing waits any more.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.window = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PACE: Pace = Pace { bytes: 100, time: Duration::from_secs(30) };

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_or_a_byte_at_a_time_is_given_up() {
        for every_ms in [None, Some(1000)] {
            let (near, mut far) = tokio::io::duplex(64);
            let mut paced = Paced::at(PACE, near);
            let reader = tokio::spawn(async move {
                while let Some(every_ms) = every_ms {
                    sleep(Duration::from_millis(every_ms)).await;
                    if far.read_u8().await.is_err() {
                        return;
                    }
                }
                std::future::pending::<()>().await;
            });
            let error = paced.write_all(&[7; 10_000]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{every_ms:?}");
            reader.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_slow_but_goes_on_gets_everything_and_a_pause_between_two_answers_counts_for_nothing() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut paced = Paced::at(PACE, near);
        let reader = tokio::spawn(async move {
            let mut taken = 0;
            while let Ok(count @ 1..) = far.read(&mut [0; 10]).await {
                taken += count;
                sleep(Duration::from_secs(2)).await;
            }
            taken
        });
        for _ in 0..3 {
            paced.write_all(&[7; 500]).await.unwrap();
            paced.flush().await.unwrap();
            sleep(Duration::from_secs(500)).await;
        }
        drop(paced);
        assert_eq!(reader.await.unwrap(), 1500);
    }
}
