//! HTTP/2 whose frames are written by hand because no library would send them. It reads everything that it is sent, so that nothing holds up its floods, and never answers well.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;

use super::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PING, PREFACE_LENGTH, RST_STREAM, SETTINGS, STATUS_200,
    WINDOW_UPDATE, frame, go_away,
};
use super::{Misbehaviour, garbage, many, rest};

const PUSH_PROMISE: u8 = 5;
/// Of SETTINGS and PING: the acknowledgement.
const ACK: u8 = 1;
/// `:status: 103`, whose name alone is in that table.
const STATUS_103: &[u8] = b"\x08\x03103";
/// `content-length: 100000`, the same.
const LENGTH_100000: &[u8] = b"\x0f\x0d\x06100000";
/// The most that a frame holds unless the other side allows more.
const FRAME_SIZE: usize = 16 * 1024;
/// The window of a connection, and of a stream, unless the other side says otherwise.
const WINDOW: usize = 65_535;
/// The same as a frame has it that opens a window again.
const WINDOW_INCREMENT: [u8; 4] = 65_535_u32.to_be_bytes();

/// What the client sent and the server has to do with.
enum Heard {
    /// With what is set.
    Settings(Vec<u8>),
    Ping(Vec<u8>),
    /// On this stream, or on the connection if it is 0, so much more may be sent.
    Window(u32, usize),
    /// Nothing more is wanted on this stream.
    Reset(u32),
    /// A piece of the body of the request on this stream, and not the last.
    Piece(u32),
    /// A whole request, with the number of its stream.
    Request(u32),
}

type Writer = WriteHalf<TlsStream<TcpStream>>;

pub(super) async fn misbehave(stream: TlsStream<TcpStream>, how: Misbehaviour, pause: Duration) -> io::Result<()> {
    let (reader, writer) = tokio::io::split(stream);
    let (heard, hears) = mpsc::channel(64);
    let speaker = Speaker {
        writer,
        hears,
        how,
        pause,
        waiting: VecDeque::new(),
        answered: None,
        new_window: WINDOW,
        stream_window: 0,
        connection_window: WINDOW,
    };
    tokio::select! {
        end = listen(reader, heard) => end,
        end = speaker.speak() => end,
    }
}

/// Reads until the client closes. What there is no room for is not told.
async fn listen(mut reader: impl AsyncRead + Unpin, heard: mpsc::Sender<Heard>) -> io::Result<()> {
    reader.read_exact(&mut [0; PREFACE_LENGTH]).await?;
    loop {
        let Frame { kind, flags, stream, payload } = frames::read(&mut reader).await?;
        let what = match kind {
            SETTINGS if flags & ACK == 0 => Heard::Settings(payload),
            PING if flags & ACK == 0 => Heard::Ping(payload),
            WINDOW_UPDATE => Heard::Window(stream, number(&payload)),
            RST_STREAM => Heard::Reset(stream),
            HEADERS | DATA if flags & END_STREAM != 0 => Heard::Request(stream),
            DATA => Heard::Piece(stream),
            _ => continue,
        };
        drop(heard.try_send(what));
    }
}

/// The half that answers.
struct Speaker {
    writer: Writer,
    hears: mpsc::Receiver<Heard>,
    how: Misbehaviour,
    pause: Duration,
    /// The streams of requests that are to be answered.
    waiting: VecDeque<u32>,
    /// The stream that is being answered, until the client wants no more on it.
    answered: Option<u32>,
    /// So much a stream that is new may be sent, …
    new_window: usize,
    /// … and so much more may be sent on the one that is being answered, …
    stream_window: usize,
    /// … and on all of them.
    connection_window: usize,
}

impl Speaker {
    async fn speak(mut self) -> io::Result<()> {
        self.write(&greeting(self.how)).await?;
        loop {
            let Some(stream) = self.waiting.pop_front() else {
                self.hear_one().await?;
                continue;
            };
            self.write(&answer(self.how, stream)).await?;
            match (self.how, endless(self.how, stream)) {
                (Misbehaviour::GoAwayMidAnswer, _) => return self.writer.shutdown().await,
                (Misbehaviour::Http2EndlessBody, _) => self.fill(stream).await?,
                (Misbehaviour::Http2SlowHeaders | Misbehaviour::Http2SlowBody, Some(one)) => {
                    self.flood(&one, Duration::from_secs(1)).await?;
                }
                (_, Some(one)) => self.flood(&many(&one), self.pause).await?,
                (_, None) => {}
            }
        }
    }

    /// Writes for ever, and still says that it is alive when it is asked: nobody is to give it up for its silence.
    async fn flood(&mut self, piece: &[u8], pause: Duration) -> io::Result<()> {
        loop {
            self.write(piece).await?;
            self.hear_all().await?;
            rest(pause).await;
        }
    }

    /// Sends a body as fast as the client takes it, until it wants no more.
    async fn fill(&mut self, stream: u32) -> io::Result<()> {
        let piece = frame(DATA, 0, stream, &[b'x'; FRAME_SIZE]);
        (self.answered, self.stream_window) = (Some(stream), self.new_window);
        while self.answered.is_some() {
            if self.stream_window.min(self.connection_window) < FRAME_SIZE {
                self.hear_one().await?;
                continue;
            }
            self.write(&piece).await?;
            self.stream_window -= FRAME_SIZE;
            self.connection_window -= FRAME_SIZE;
            self.hear_all().await?;
            rest(self.pause).await;
        }
        Ok(())
    }

    /// Waits for what the client sends next.
    async fn hear_one(&mut self) -> io::Result<()> {
        let what = self.hears.recv().await.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.hear(what).await
    }

    /// Hears what the client has sent so far.
    async fn hear_all(&mut self) -> io::Result<()> {
        while let Ok(what) = self.hears.try_recv() {
            self.hear(what).await?;
        }
        Ok(())
    }

    async fn hear(&mut self, what: Heard) -> io::Result<()> {
        match what {
            Heard::Settings(settings) => {
                for setting in settings.chunks_exact(6) {
                    if let [0, 4, window @ ..] = setting {
                        self.new_window = number(window);
                    }
                }
                self.write(&frame(SETTINGS, ACK, 0, &[])).await?;
            }
            Heard::Ping(payload) => self.write(&frame(PING, ACK, 0, &payload)).await?,
            Heard::Window(0, more) => self.connection_window += more,
            Heard::Window(stream, more) if self.answered == Some(stream) => self.stream_window += more,
            Heard::Reset(stream) if self.answered == Some(stream) => self.answered = None,
            // Who resets in the middle of a request does so again at each further piece that was on its way.
            Heard::Piece(stream) if self.how.wants_large_body() => self.waiting.push_back(stream),
            Heard::Request(stream) => self.waiting.push_back(stream),
            Heard::Window(..) | Heard::Reset(_) | Heard::Piece(_) => {}
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes).await?;
        self.writer.flush().await
    }
}

/// What the client gets before it asks for anything.
fn greeting(how: Misbehaviour) -> Vec<u8> {
    let setting = |key: u16, value: u32| [key.to_be_bytes().as_slice(), &value.to_be_bytes()].concat();
    match how {
        Misbehaviour::Http2Garbage => garbage(4096),
        Misbehaviour::ZeroWindow => frame(SETTINGS, 0, 0, &setting(4, 0)),
        Misbehaviour::ZeroStreams => frame(SETTINGS, 0, 0, &setting(3, 0)),
        Misbehaviour::GoAwayAtOnce => [frame(SETTINGS, 0, 0, &[]), go_away(0, 0)].concat(),
        _ => frame(SETTINGS, 0, 0, &[]),
    }
}

/// What a request gets at first.
fn answer(how: Misbehaviour, stream: u32) -> Vec<u8> {
    let ok = |flags, more: &[u8]| frames::ok(stream, flags, more);
    let reset = |reason| frames::reset(stream, reason);
    // With a window for the next request on the connection, which would else never get so far.
    let reset_and_go_on = |reason: u32| [reset(reason), frame(WINDOW_UPDATE, 0, 0, &WINDOW_INCREMENT)].concat();
    match how {
        Misbehaviour::GoAwayMidAnswer => [ok(END_HEADERS, &[]), frame(DATA, 0, stream, b"half"), go_away(stream, 0)].concat(),
        Misbehaviour::RefusedStream => reset(7),
        Misbehaviour::ResetStreamMidRequest => reset_and_go_on(8),
        Misbehaviour::NoErrorMidRequest => reset_and_go_on(0),
        Misbehaviour::ResetStreamAfterHeaders => [ok(END_HEADERS, &[]), reset(2)].concat(),
        Misbehaviour::EmptyDataFlood | Misbehaviour::Http2EndlessBody => ok(END_HEADERS, &[]),
        Misbehaviour::ContinuationFlood => ok(0, &[]),
        // A header that is in no table: the name `x`, and a value of 100 bytes, which are still to come.
        Misbehaviour::Http2SlowHeaders => ok(0, &[0, 1, b'x', 100]),
        Misbehaviour::Http2SlowBody => ok(END_HEADERS, LENGTH_100000),
        // Of 64 KiB that the client lets come, 160 in one go.
        Misbehaviour::WindowOverrun => [ok(END_HEADERS, &[]), frame(DATA, 0, stream, &[b'x'; FRAME_SIZE]).repeat(10)].concat(),
        Misbehaviour::Http2HugeHeader => headers(stream, &header_of(&[b'y'; 1024 * 1024])),
        Misbehaviour::Http2ManyHeaders => headers(stream, &header_of(b"y").repeat(10_000)),
        Misbehaviour::HpackBomb => ok(END_HEADERS, &hpack_bomb()),
        Misbehaviour::PushPromise => {
            // GET https / of the host `a`: the four fields of a request, as the static table has them.
            let fields = [0x82, 0x87, 0x84, 0x01, 1, b'a'];
            frame(PUSH_PROMISE, END_HEADERS, stream, &[2_u32.to_be_bytes().as_slice(), &fields].concat())
        }
        _ => Vec::new(),
    }
}

/// The frame that follows for ever.
fn endless(how: Misbehaviour, stream: u32) -> Option<Vec<u8>> {
    Some(match how {
        Misbehaviour::ContinuationFlood => frame(CONTINUATION, 0, stream, &header_of(b"y")),
        Misbehaviour::EmptyDataFlood => frame(DATA, 0, stream, &[]),
        Misbehaviour::PingFlood => frame(PING, 0, 0, &[0; 8]),
        Misbehaviour::SettingsFlood => frame(SETTINGS, 0, 0, &[]),
        // Of the value that was begun. Six of them would be a flood to the client; its time is over by the third.
        Misbehaviour::Http2SlowHeaders => frame(CONTINUATION, 0, stream, b"y"),
        Misbehaviour::Http2SlowBody => frame(DATA, 0, stream, b"x"),
        Misbehaviour::Http2EndlessInformational => frame(HEADERS, END_HEADERS, stream, STATUS_103),
        _ => return None,
    })
}

/// `:status: 200` and these headers, in as many frames as they need.
fn headers(stream: u32, packed: &[u8]) -> Vec<u8> {
    let block = [[STATUS_200].as_slice(), packed].concat();
    let count = block.len().div_ceil(FRAME_SIZE);
    let one = |(number, piece): (usize, &[u8])| {
        let flags = if number + 1 == count { END_HEADERS } else { 0 };
        frame(if number == 0 { HEADERS } else { CONTINUATION }, flags, stream, piece)
    };
    block.chunks(FRAME_SIZE).enumerate().flat_map(one).collect()
}

/// A header that is in no table and goes into none: the name `x` and this value.
fn header_of(value: &[u8]) -> Vec<u8> {
    [[0, 1, b'x'].as_slice(), &packed_length(value.len()), value].concat()
}

/// The length of a string that is not packed (RFC 7541, section 5.1): seven bits, and what is beyond them in sevens, the last first.
fn packed_length(length: usize) -> Vec<u8> {
    let Some(mut beyond) = length.checked_sub(127) else { return vec![u8::try_from(length).unwrap()] };
    let mut bytes = vec![127];
    while beyond >= 128 {
        bytes.push(0x80 | u8::try_from(beyond % 128).unwrap());
        beyond /= 128;
    }
    bytes.push(u8::try_from(beyond).unwrap());
    bytes
}

/// One header of 4000 bytes that goes into the table, and then that entry again and again.
fn hpack_bomb() -> Vec<u8> {
    let header = [[0x40, 1, b'x'].as_slice(), &packed_length(4000), &[b'y'; 4000]].concat();
    // The first entry of the dynamic table has the index 62.
    [header, vec![0x80 | 62; 12_000]].concat()
}

/// Four bytes as the number that they are.
fn number(bytes: &[u8]) -> usize {
    usize::try_from(u32::from_be_bytes(bytes.try_into().unwrap())).unwrap()
}
