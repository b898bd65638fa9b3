//! Frames of HTTP/2 (RFC 9113), one by one, for those who send what no library would. It never knows what they are for.

/// The types of frames, section 6.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
/// Of DATA and HEADERS: nothing more comes on the stream.
pub(crate) const END_STREAM: u8 = 1;
/// Of HEADERS and CONTINUATION: these are all headers.
pub(crate) const END_HEADERS: u8 = 4;

/// The bytes of a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
