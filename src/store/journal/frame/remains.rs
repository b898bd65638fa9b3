//! What a damaged frame still tells. It serves to name what is gone, and is never taken for a fact.

use super::{FrameHeader, HEADER_SIZE, decode_fact, split_payload};
use crate::store::fact::Fact;

/// The fact of a frame whose checksum does not fit, when it still reads like one. It may say anything.
#[must_use]
pub fn remains(frame: &[u8]) -> Option<Fact> {
    let header = FrameHeader::parse(frame.first_chunk()?).ok()?;
    let payload = frame.get(HEADER_SIZE..HEADER_SIZE + header.length)?;
    let (_, record) = split_payload(&header, payload).ok()?;
    decode_fact(record).ok()
}
