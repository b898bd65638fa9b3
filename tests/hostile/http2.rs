//! HTTP/2 whose frames are written by hand because no library would send them. It reads everything that it is sent, so that nothing holds up its floods, and never answers well.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;

use super::frames::{CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, frame};
use super::{Misbehaviour, garbage, rest};

const PUSH_PROMISE: u8 = 5;
/// Of SETTINGS and PING: the acknowledgement.
const ACK: u8 = 1;
/// `:status: 200` in the static table of HPACK.
const STATUS_200: u8 = 0x88;

/// What the client sent and the server has to do with.
enum Heard {
    Settings,
    Ping(Vec<u8>),
    /// A whole request, with the number of its stream.
    Request(u32),
}

type Writer = WriteHalf<TlsStream<TcpStream>>;

pub(super) async fn misbehave(stream: TlsStream<TcpStream>, how: Misbehaviour, pause: Duration) -> io::Result<()> {
    let (reader, writer) = tokio::io::split(stream);
    let (heard, hears) = mpsc::channel(64);
    tokio::select! {
        end = listen(reader, heard) => end,
        end = speak(writer, hears, how, pause) => end,
    }
}

/// Reads until the client closes. What there is no room for is not told.
async fn listen(mut reader: impl AsyncRead + Unpin, heard: mpsc::Sender<Heard>) -> io::Result<()> {
    const PREFACE_LENGTH: usize = 24;
    reader.read_exact(&mut [0; PREFACE_LENGTH]).await?;
    loop {
        let mut head = [0; 9];
        reader.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
        reader.read_exact(&mut payload).await?;
        let what = match kind {
            SETTINGS if flags & ACK == 0 => Heard::Settings,
            PING if flags & ACK == 0 => Heard::Ping(payload),
            HEADERS | DATA if flags & END_STREAM != 0 => Heard::Request(u32::from_be_bytes(stream)),
            _ => continue,
        };
        drop(heard.try_send(what));
    }
}

async fn speak(mut writer: Writer, mut hears: mpsc::Receiver<Heard>, how: Misbehaviour, pause: Duration) -> io::Result<()> {
    let setting = |key: u16, value: u32| [key.to_be_bytes().as_slice(), &value.to_be_bytes()].concat();
    let greeting = match how {
        Misbehaviour::Http2Garbage => garbage(4096),
        Misbehaviour::ZeroWindow => frame(SETTINGS, 0, 0, &setting(4, 0)),
        Misbehaviour::ZeroStreams => frame(SETTINGS, 0, 0, &setting(3, 0)),
        Misbehaviour::GoAwayAtOnce => [frame(SETTINGS, 0, 0, &[]), go_away(0)].concat(),
        _ => frame(SETTINGS, 0, 0, &[]),
    };
    write(&mut writer, &greeting).await?;
    while let Some(what) = hears.recv().await {
        match what {
            Heard::Settings => write(&mut writer, &frame(SETTINGS, ACK, 0, &[])).await?,
            Heard::Ping(payload) => write(&mut writer, &frame(PING, ACK, 0, &payload)).await?,
            Heard::Request(stream) => {
                write(&mut writer, &answer(how, stream)).await?;
                if let Some(one) = flood_of(how, stream) {
                    flood(&mut writer, &mut hears, &super::many(&one), pause).await?;
                }
                if how == Misbehaviour::GoAwayMidAnswer {
                    return writer.shutdown().await;
                }
            }
        }
    }
    Ok(())
}

/// What a request gets at first.
fn answer(how: Misbehaviour, stream: u32) -> Vec<u8> {
    let headers = frame(HEADERS, END_HEADERS, stream, &[STATUS_200]);
    match how {
        Misbehaviour::GoAwayMidAnswer => [headers, frame(DATA, 0, stream, b"half"), go_away(stream)].concat(),
        Misbehaviour::RefusedStream => frame(RST_STREAM, 0, stream, &7_u32.to_be_bytes()),
        Misbehaviour::ResetStreamAfterHeaders => [headers, frame(RST_STREAM, 0, stream, &2_u32.to_be_bytes())].concat(),
        Misbehaviour::EmptyDataFlood => headers,
        Misbehaviour::ContinuationFlood => frame(HEADERS, 0, stream, &[STATUS_200]),
        Misbehaviour::HpackBomb => frame(HEADERS, END_HEADERS, stream, &hpack_bomb()),
        Misbehaviour::PushPromise => {
            // GET https / of the host `a`: the four fields of a request, as the static table has them.
            let fields = [0x82, 0x87, 0x84, 0x01, 1, b'a'];
            frame(PUSH_PROMISE, END_HEADERS, stream, &[2_u32.to_be_bytes().as_slice(), &fields].concat())
        }
        _ => Vec::new(),
    }
}

/// The frame that follows for ever.
fn flood_of(how: Misbehaviour, stream: u32) -> Option<Vec<u8>> {
    Some(match how {
        // A header that is in no table: the name `x`, the value `y`.
        Misbehaviour::ContinuationFlood => frame(CONTINUATION, 0, stream, &[0, 1, b'x', 1, b'y']),
        Misbehaviour::EmptyDataFlood => frame(DATA, 0, stream, &[]),
        Misbehaviour::PingFlood => frame(PING, 0, 0, &[0; 8]),
        Misbehaviour::SettingsFlood => frame(SETTINGS, 0, 0, &[]),
        _ => return None,
    })
}

/// Writes for ever, and still says that it is alive when it is asked: nobody is to give it up for its silence.
async fn flood(writer: &mut Writer, hears: &mut mpsc::Receiver<Heard>, piece: &[u8], pause: Duration) -> io::Result<()> {
    loop {
        write(writer, piece).await?;
        while let Ok(what) = hears.try_recv() {
            match what {
                Heard::Ping(payload) => write(writer, &frame(PING, ACK, 0, &payload)).await?,
                Heard::Settings => write(writer, &frame(SETTINGS, ACK, 0, &[])).await?,
                Heard::Request(_) => {}
            }
        }
        rest(pause).await;
    }
}

/// `:status: 200`, one header of 4000 bytes that goes into the table, and then that entry again and again.
fn hpack_bomb() -> Vec<u8> {
    // 4000 is 127 and 3873 more, and 3873 is 33 and 30 × 128.
    let length = [127, 0x80 | 33, 30];
    let header = [[0x40, 1, b'x'].as_slice(), &length, &[b'y'; 4000]].concat();
    // The first entry of the dynamic table has the index 62.
    [vec![STATUS_200], header, vec![0x80 | 62; 12_000]].concat()
}

fn go_away(last_stream: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last_stream.to_be_bytes(), 0_u32.to_be_bytes()].concat())
}

async fn write(writer: &mut Writer, bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}
