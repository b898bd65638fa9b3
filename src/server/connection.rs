//! One connection: HTTP/1.1 or HTTP/2 over a stream, with every bound that a client could go beyond. It never reads a request's meaning.
//!
//! What a client may take its time with, and what then happens:
//!
//! | what | bound | then |
//! | --- | --- | --- |
//! | to ask at all | [`limits::REQUEST_HEADERS_TIMEOUT_MS`] | the connection is closed |
//! | one request's headers (HTTP/1.1), and the time between two requests | the same | the connection is closed |
//! | between two requests (HTTP/2), pings or not | [`limits::CONNECTION_IDLE_TIMEOUT_MS`] | GOAWAY |
//! | a body | [`limits::REQUEST_READ_TIMEOUT_MS`], by whoever reads it | `408` |
//! | to take an answer | [`limits::ANSWER_PACE_BYTES`] in [`limits::ANSWER_PACE_MS`]; in HTTP/2 something of each answer in that time | the connection is closed |
//!
//! Answers that wait to be taken are bounded in total, too ([`limits::ANSWERS_MAX`]): an HTTP/2 client that leaves its windows shut has many of them wait at once.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tower::ServiceExt;

use super::events::discard;
use super::problem::Problem;
use crate::limits;
use crate::time::Stopwatch;

/// In a response's extensions: the connection is closed instead of answering.
#[derive(Clone, Copy, Debug)]
pub(super) struct HangUp;

/// A handler wanted the connection closed.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed without an answer, as told")]
struct HungUp;

/// For how long nothing may happen on a connection.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// Before its first request, and while one's headers arrive.
    pub(super) headers: Duration,
    /// When every request is answered.
    pub(super) idle: Duration,
    /// While a request is worked on.
    pub(super) work: Duration,
    /// While nothing of some answer is taken.
    pub(super) answers: Duration,
    /// For those that are on their way when nothing more is taken.
    pub(super) farewell: Duration,
}

impl Patience {
    /// That of [`limits`].
    pub(super) const ORDINARY: Self = Self {
        headers: Duration::from_millis(limits::REQUEST_HEADERS_TIMEOUT_MS),
        idle: Duration::from_millis(limits::CONNECTION_IDLE_TIMEOUT_MS),
        work: Duration::from_millis(limits::ANSWERS_TIMEOUT_MS),
        answers: Duration::from_millis(limits::ANSWER_PACE_MS),
        farewell: Duration::from_millis(limits::DOORS_CLOSE_TIMEOUT_MS),
    };
}

/// What there may be at once behind a door, of all its connections together.
#[derive(Clone)]
pub(super) struct Places {
    /// Requests that are under way.
    requests: Arc<Semaphore>,
    /// Kibibytes of answers that wait to be taken.
    answers: Arc<Semaphore>,
}

impl Places {
    pub(super) fn new(requests: usize) -> Self {
        Self { requests: Arc::new(Semaphore::new(requests)), answers: Arc::new(Semaphore::new(limits::ANSWERS_MAX / 1024)) }
    }

    /// Room for an answer of so many bytes, until it is taken. A small one needs none.
    async fn for_answer(&self, bytes: u64) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if bytes <= limits::ANSWER_SMALL {
            return Ok(None);
        }
        let kibibytes =
            u32::try_from(bytes.min(limits::ANSWERS_MAX).div_ceil(1024)).expect("limits::ANSWERS_MAX is far below 2^32 kibibytes");
        let room = Arc::clone(&self.answers).acquire_many_owned(kibibytes);
        match timeout(Duration::from_millis(limits::INGEST_WAIT_MS), room).await {
            Ok(Ok(room)) => Ok(Some(room)),
            _ => Err(Problem::busy("as many answers wait to be taken as there may be", 1)),
        }
    }
}

/// What happens on a connection.
#[derive(Default)]
struct Activity(watch::Sender<Counts>);

#[derive(Default)]
struct Counts {
    /// Requests that came.
    begun: u64,
    /// Those whose answer is not sent yet, by their number.
    under_way: BTreeMap<u64, Waiting>,
}

/// A request that is under way.
struct Waiting {
    /// Its answer is there and waits to be taken.
    is_answered: bool,
    /// Since it came, or something of the answer was last taken.
    since: Stopwatch,
}

/// A request until its answer is sent.
struct UnderWay {
    activity: Arc<Activity>,
    number: u64,
}

impl UnderWay {
    fn begin(activity: &Arc<Activity>) -> Self {
        let mut number = 0;
        activity.0.send_modify(|counts| {
            counts.begun += 1;
            number = counts.begun;
            counts.under_way.insert(number, Waiting { is_answered: false, since: Stopwatch::start() });
        });
        Self { activity: Arc::clone(activity), number }
    }

    /// The answer is there, or something of it was taken. Only that it is there has to be told: from then on less time is left.
    fn goes_on(&self) {
        self.activity.0.send_if_modified(|counts| {
            let before = counts.under_way.insert(self.number, Waiting { is_answered: true, since: Stopwatch::start() });
            before.is_some_and(|before| !before.is_answered)
        });
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.activity.0.send_modify(|counts| {
            counts.under_way.remove(&self.number);
        });
    }
}

impl Counts {
    /// How long it is until one of those that are under way has taken too long; nothing when none is.
    fn rest(&self, patience: Patience) -> Option<Duration> {
        let rest = |waiting: &Waiting| {
            let whole = if waiting.is_answered { patience.answers } else { patience.work };
            whole.saturating_sub(Duration::from_millis(waiting.since.elapsed_ms()))
        };
        self.under_way.values().map(rest).min()
    }
}

impl Activity {
    /// Ends when nothing was asked in time. The time-out for headers begins only once it is known which HTTP is spoken, and whoever says
    /// nothing, or the first letter of both, never lets that be known.
    async fn stays_silent(&self, patience: Patience) {
        tokio::time::sleep(patience.headers).await;
        if self.0.borrow().begun > 0 {
            future::pending::<()>().await;
        }
    }

    /// Ends when, after the first request, nothing more was asked for a while, or one request or its answer took too long: neither pings nor other requests keep a connection open.
    async fn is_idle(&self, patience: Patience) {
        let mut counts = self.0.subscribe();
        drop(counts.wait_for(|counts| counts.begun > 0).await);
        loop {
            let rest = counts.borrow_and_update().rest(patience);
            if rest == Some(Duration::ZERO) {
                return;
            }
            let waited = timeout(rest.unwrap_or(patience.idle), counts.changed()).await;
            if waited.is_err() && rest.is_none() {
                return;
            }
        }
    }
}

/// Serves a connection to its end: until the client closes it, is too slow, or has its last answer after `closing` said true. It shares `places` with all others of its door.
pub(super) async fn serve<S>(stream: S, router: Router, places: Places, patience: Patience, mut closing: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity::default());
    let heard = Arc::clone(&activity);
    let service = service_fn(move |request: Request<Incoming>| {
        let under_way = UnderWay::begin(&heard);
        let (router, places) = (router.clone(), places.clone());
        async move {
            let Ok(_place) = places.requests.try_acquire() else {
                return Ok(Problem::busy("as many requests are under way as there may be", 1).into_response());
            };
            let response = router.oneshot(request).await.unwrap_or_else(|never: Infallible| match never {});
            // An error of the service, and nothing else, makes the connection end without a word.
            if response.extensions().get::<HangUp>().is_some() {
                return Err(HungUp);
            }
            Ok(match places.for_answer(response.body().size_hint().lower()).await {
                Ok(room) => until_sent(response, under_way, room),
                Err(problem) => until_sent(problem.into_response(), under_way, None),
            })
        }
    });
    let builder = builder(patience);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(error, "a connection ended early");
            }
            return;
        }
        () = activity.stays_silent(patience) => return tracing::debug!("a connection without a request was closed"),
        () = activity.is_idle(patience) => {}
        _ = closing.wait_for(|closing| *closing) => {}
    }
    connection.as_mut().graceful_shutdown();
    drop(timeout(patience.farewell, connection).await);
}

/// The request counts as under way, and its answer has its room, until the last byte of it is given away.
fn until_sent(response: Response, under_way: UnderWay, room: Option<OwnedSemaphorePermit>) -> Response {
    if response.body().is_end_stream() {
        return response;
    }
    under_way.goes_on();
    response.map(|body| Body::new(Answer { body, rest: Bytes::new(), under_way, _room: room }))
}

/// An answer that is given away piece by piece, and notes whenever one is taken: what was given away at once would wait, uncounted, in the buffers of HTTP/2 for a window to open.
struct Answer {
    body: Body,
    /// What of it is made and not given away yet.
    rest: Bytes,
    under_way: UnderWay,
    _room: Option<OwnedSemaphorePermit>,
}

impl Answer {
    const PIECE: usize = 16 * 1024;

    fn next_piece(&mut self) -> Frame<Bytes> {
        let length = self.rest.len().min(Self::PIECE);
        Frame::data(self.rest.split_to(length))
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // One that is still being made is nobody's fault.
        self.under_way.goes_on();
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.next_piece())));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| match frame.into_data() {
                Ok(data) => {
                    self.rest = data;
                    self.next_piece()
                }
                Err(trailers) => trailers,
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest + body.lower());
        if let Some(upper) = body.upper() {
            hint.set_upper(rest + upper);
        }
        hint
    }
}

/// Answers one request of a connection too many with `503`, whatever it asks for, and closes it.
pub(super) async fn refuse<S>(stream: S, max_connections: usize)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = move |request: Request<Incoming>| async move {
        discard(&mut Body::new(request.into_body())).await;
        let open = if max_connections == 1 { "1 connection is open".to_owned() } else { format!("{max_connections} connections are open") };
        let detail = format!("{open}, and that is as many as there may be");
        Ok::<_, Infallible>(Problem::busy(detail, 1).into_response())
    };
    let mut builder = builder(Patience::ORDINARY);
    builder.http1().keep_alive(false);
    // It ends with the time that whoever calls this has for it.
    drop(builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await);
}

fn builder(patience: Patience) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // Without a timer the time-out for headers does nothing.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(patience.headers).max_buf_size(limits::REQUEST_HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::HTTP2_STREAMS_MAX)
        .max_header_list_size(limits::HTTP2_HEADERS_MAX)
        .initial_stream_window_size(limits::HTTP2_WINDOW)
        .initial_connection_window_size(limits::HTTP2_WINDOW)
        .max_send_buf_size(limits::HTTP2_UNSENT_MAX)
        .max_pending_accept_reset_streams(limits::HTTP2_TAKEN_BACK_MAX)
        .max_local_error_reset_streams(limits::HTTP2_MISTAKES_MAX)
        .keep_alive_interval(Duration::from_millis(limits::HTTP2_CLIENT_PING_MS))
        .keep_alive_timeout(Duration::from_millis(limits::HTTP2_CLIENT_PING_MS));
    builder
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::routing::get;
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(3600);
    const HEADERS: Patience = Patience { headers: SHORT, idle: LONG, work: LONG, answers: LONG, farewell: SHORT };
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    /// `GET /` of localhost on stream 1: three fields of the static table and a literal, all of it in one frame.
    const GET: &[u8] = b"\0\0\x0e\x01\x05\0\0\0\x01\x82\x84\x86\x41\x09localhost";
    const GOAWAY: u8 = 7;

    /// Says something and gives back all that comes until the connection is closed.
    async fn closed_after(said: &[u8], router: Router, patience: Patience) -> Vec<u8> {
        let (mut near, far) = UnixStream::pair().unwrap();
        let (_open, closing) = watch::channel(false);
        tokio::spawn(serve(far, router, Places::new(1), patience, closing));
        near.write_all(said).await.unwrap();
        let mut heard = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(30), near.read_to_end(&mut heard)).await;
        assert!(ended.is_ok(), "after {:?} it stays open for ever", String::from_utf8_lossy(said));
        heard
    }

    /// Types of the HTTP/2 frames.
    fn frames(mut heard: &[u8]) -> Vec<u8> {
        let mut types = Vec::new();
        while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = heard {
            types.push(*kind);
            heard = &rest[usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c)..];
        }
        types
    }

    #[tokio::test]
    async fn a_connection_that_never_becomes_a_request_is_closed() {
        for start in ["", "P", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "POST /v1/events HTTP/1.1\r\nhost: localhost\r\n"]
        {
            closed_after(start.as_bytes(), Router::new(), HEADERS).await;
        }
        // Headers that never end, of the first request of all.
        closed_after(&[PREFACE, b"\0\0\x01\x01\0\0\0\0\x01\x82"].concat(), Router::new(), HEADERS).await;
    }

    #[tokio::test]
    async fn between_two_requests_there_is_an_end_to_patience_too() {
        let router = Router::new().route("/", get(|| async { "here" }));
        let heard = closed_after(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", router.clone(), HEADERS).await;
        assert!(heard.ends_with(b"here"), "{:?}", String::from_utf8_lossy(&heard));
        let idle = Patience { headers: LONG, idle: SHORT, ..HEADERS };
        let heard = frames(&closed_after(&[PREFACE, GET].concat(), router, idle).await);
        assert!(heard.contains(&1) && heard.contains(&0) && heard.contains(&GOAWAY), "{heard:?}");
    }

    /// With a window of nothing an answer never ends, and nothing waits to be written.
    #[tokio::test]
    async fn an_answer_that_is_never_taken_ends_the_connection() {
        let router = Router::new().route("/", get(|| async { "here" }));
        let shut = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";
        let answers = Patience { headers: LONG, answers: SHORT, ..HEADERS };
        let heard = frames(&closed_after(&[shut.as_slice(), GET].concat(), router, answers).await);
        assert!(heard.contains(&GOAWAY), "{heard:?}");
    }

    /// Somebody who asks again and again keeps no answer waiting for ever.
    #[tokio::test]
    async fn other_requests_do_not_keep_an_answer_waiting() {
        let router = Router::new().route("/", get(|| async { "here" }));
        let shut = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0";
        let patience = Patience { headers: LONG, answers: Duration::from_millis(200), ..HEADERS };
        let (mut near, far) = UnixStream::pair().unwrap();
        let (_open, closing) = watch::channel(false);
        let served = tokio::spawn(serve(far, router, Places::new(100), patience, closing));
        near.write_all(shut).await.unwrap();
        let asks = async {
            for stream in (1..).step_by(2).map(|number: u32| number.to_be_bytes()) {
                let mut ask = GET.to_vec();
                ask[5..9].copy_from_slice(&stream);
                if near.write_all(&ask).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            () = asks => {}
            ended = served => ended.unwrap(),
            () = tokio::time::sleep(Duration::from_secs(30)) => panic!("it goes on for ever"),
        }
    }

    #[tokio::test]
    async fn an_answer_is_given_away_piece_by_piece_and_is_the_same() {
        let bytes = (0..100_000_u32).map(|number| number.to_le_bytes()[0]).collect::<Vec<_>>();
        let under_way = UnderWay::begin(&Arc::default());
        let mut body = until_sent(Response::new(Body::from(bytes.clone())), under_way, None).into_body();
        let (mut whole, mut pieces) = (Vec::new(), 0);
        while let Some(piece) = body.frame().await {
            assert_eq!(
                body.size_hint().exact(),
                Some((bytes.len() - whole.len()) as u64 - piece.as_ref().unwrap().data_ref().unwrap().len() as u64)
            );
            whole.extend_from_slice(&piece.unwrap().into_data().unwrap());
            pieces += 1;
        }
        assert!(whole == bytes && pieces == bytes.len().div_ceil(Answer::PIECE) && body.is_end_stream());
    }

    #[tokio::test]
    async fn answers_that_nobody_takes_have_room_in_total_and_small_ones_always() {
        let places = Places::new(1);
        let (all, small) = (limits::ANSWERS_MAX as u64, limits::ANSWER_SMALL as u64);
        let most = places.for_answer(all - 1024).await.unwrap().unwrap();
        assert!(places.for_answer(2 * small).await.is_err(), "a kibibyte is left");
        assert!(places.for_answer(small).await.unwrap().is_none());
        drop(most);
        assert!(places.for_answer(10 * all).await.unwrap().is_some(), "one that is larger than all the room has it when it is alone");
    }

    #[tokio::test]
    async fn beyond_so_many_requests_at_once_the_answer_is_503_at_once() {
        let router = Router::new().route("/", get(future::pending::<()>));
        let (_open, closing) = watch::channel(false);
        let places = Places::new(1);
        let mut lines = Vec::new();
        for _ in 0..2 {
            let (mut near, far) = UnixStream::pair().unwrap();
            tokio::spawn(serve(far, router.clone(), places.clone(), Patience::ORDINARY, closing.clone()));
            near.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
            while lines.is_empty() && places.requests.available_permits() > 0 {
                tokio::task::yield_now().await;
            }
            lines.push(near);
        }
        let mut answer = [0; 12];
        lines[1].read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 503");
    }
}
