//! Answers of HTTP/1.1 that are none, or too much of one. It never keeps a connection for a second request.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Misbehaviour, drain, drip, flood, garbage, many};

const OK: &str = "HTTP/1.1 200 OK\r\n";
/// The begin of an answer of 100 bytes.
const HALF: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";

pub(super) async fn misbehave(mut stream: TcpStream, how: Misbehaviour, pause: Duration) -> io::Result<()> {
    match how {
        Misbehaviour::ResetOnAccept => return stream.set_zero_linger(),
        Misbehaviour::HalfCloseOnAccept => return half_close(&mut stream).await,
        _ => {}
    }
    let body = read_head(&mut stream).await?;
    match how {
        Misbehaviour::ResetAfterHeaders => return stream.set_zero_linger(),
        Misbehaviour::ResetMidRequest => {
            read_body(&mut stream, body.min(1024)).await?;
            return stream.set_zero_linger();
        }
        _ => read_body(&mut stream, body).await?,
    }
    match how {
        Misbehaviour::SlowHeaders => drip(&mut stream, b"HTTP/1.1 200 OK\r\nx-slow: ", b'x').await,
        Misbehaviour::SlowBody => drip(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", b'x').await,
        Misbehaviour::EndlessBody => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            flood(&mut stream, &many(b"x"), pause).await
        }
        Misbehaviour::EndlessInformational => flood(&mut stream, &many(b"HTTP/1.1 103 Early Hints\r\n\r\n"), pause).await,
        Misbehaviour::ResetMidAnswer => {
            stream.write_all(HALF).await?;
            // So late that the client has read it: RST throws away what nobody has read yet.
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.set_zero_linger()
        }
        Misbehaviour::HalfCloseAfterRequest => half_close(&mut stream).await,
        Misbehaviour::HalfCloseMidAnswer => {
            stream.write_all(HALF).await?;
            half_close(&mut stream).await
        }
        Misbehaviour::Silence => drain(&mut stream).await,
        other => {
            stream.write_all(&answer(other)).await?;
            half_close(&mut stream).await
        }
    }
}

/// An answer that is written in one go.
fn answer(how: Misbehaviour) -> Vec<u8> {
    let text = match how {
        Misbehaviour::HugeHeader => format!("{OK}x-huge: {}\r\n\r\n", "x".repeat(1024 * 1024)),
        Misbehaviour::ManyHeaders => format!("{OK}{}\r\n", "x: y\r\n".repeat(10_000)),
        Misbehaviour::CompressedBomb => {
            let bomb = gzip_bomb();
            let head = format!("{OK}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n", bomb.len());
            return [head.into_bytes(), bomb].concat();
        }
        Misbehaviour::LengthTooShort => format!("{OK}content-length: 5\r\n\r\nhello and what was never promised"),
        Misbehaviour::LengthTooLong => format!("{OK}content-length: 100\r\n\r\nhalf"),
        Misbehaviour::LengthNegative => format!("{OK}content-length: -1\r\n\r\nhello"),
        Misbehaviour::LengthsTwo => format!("{OK}content-length: 5\r\ncontent-length: 6\r\n\r\nhello"),
        Misbehaviour::Http09 => "<html>this is how it began</html>\r\n".to_owned(),
        Misbehaviour::RedirectToMetadata => {
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://169.254.169.254/latest/meta-data/\r\ncontent-length: 0\r\n\r\n".to_owned()
        }
        _ => return garbage(4096),
    };
    text.into_bytes()
}

/// A gzip member in one block of the fixed Huffman code: the letter x, and then again and again the longest copy of what stands one byte before.
fn gzip_bomb() -> Vec<u8> {
    const COPIES: usize = 36_000;
    // The first three bits: the last block, with the fixed code. `x` is 0x78 + 0x30, eight bits; a copy of 258 is 285: 0xC5, eight bits, and five zeros for the distance.
    let bits_of = |code: u8| (0..8).rev().map(move |bit| code >> bit & 1);
    let copy = bits_of(0xC5).chain([0; 5]).collect::<Vec<_>>();
    let bits = [1, 1, 0].into_iter().chain(bits_of(0xA8)).chain(copy.repeat(COPIES)).chain([0; 7]).collect::<Vec<_>>();
    let packed = bits.chunks(8).map(|bits| bits.iter().enumerate().fold(0, |byte, (place, bit)| byte | bit << place));
    [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255].into_iter().chain(packed).collect()
}

/// Ends what the server says, and listens on.
async fn half_close(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    drain(stream).await
}

/// Reads up to the end of the headers; so many bytes of the body are still to come.
async fn read_head(stream: &mut TcpStream) -> io::Result<usize> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).and_then(|length| length.parse::<usize>().ok());
        return Ok(length.unwrap_or(0).saturating_sub(body.len()));
    }
}

async fn read_body(stream: &mut TcpStream, length: usize) -> io::Result<()> {
    tokio::io::copy(&mut stream.take(length as u64), &mut tokio::io::sink()).await.map(drop)
}
