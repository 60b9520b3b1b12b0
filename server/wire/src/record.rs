//! Record marking (RFC 5531 §11): whole records out of a byte stream, and marks in front of records.
//!
//! Never here: what a record says, and a socket; bytes come in and go out as buffers.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use crate::xdr::Encoder;

/// Bytes of a fragment's header.
pub const HEADER_BYTES: usize = 4;

/// A record in more fragments than this is refused; peers that fragment at all send pieces of
/// thousands of bytes. It is also what ends a stream of empty fragments.
const FRAGMENTS_MAX: usize = 1024;

const LAST: u32 = 1 << 31;

/// The word in front of each fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    pub last: bool,
    /// Bytes of the fragment, below 2³¹.
    pub length: u32,
}

impl RecordHeader {
    pub fn from_bytes(bytes: [u8; HEADER_BYTES]) -> Self {
        let word = u32::from_be_bytes(bytes);
        Self {
            last: word & LAST != 0,
            length: word & !LAST,
        }
    }

    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        debug_assert!(self.length < LAST, "a fragment is shorter than 2 GiB");
        (self.length | if self.last { LAST } else { 0 }).to_be_bytes()
    }
}

/// Why a stream can't be read further; the connection is of no more use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("a record of at least {length} bytes is longer than the {limit} allowed")]
    TooLong { length: usize, limit: usize },
    #[error("a record comes in more than {limit} fragments")]
    TooManyFragments { limit: usize },
}

/// Takes whole records from the front of a receive buffer.
///
/// A record in one fragment is a slice of the buffer; only fragments that must be joined are copied.
#[derive(Debug)]
pub struct RecordReader {
    limit_bytes: usize,
    joined: BytesMut,
    fragments: usize,
}

impl RecordReader {
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            joined: BytesMut::new(),
            fragments: 0,
        }
    }

    /// The next whole record, or `None` until `input` has more. `input` keeps what belongs to
    /// the records after it.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, RecordError> {
        while let Some(header) = self.header(input)? {
            let length = header.length as usize;
            if input.len() < HEADER_BYTES + length {
                return Ok(None);
            }
            input.advance(HEADER_BYTES);
            let fragment = input.split_to(length);
            if header.last {
                self.fragments = 0;
                if self.joined.is_empty() {
                    return Ok(Some(fragment.freeze()));
                }
                self.joined.unsplit(fragment);
                return Ok(Some(self.joined.split().freeze()));
            }
            self.fragments += 1;
            self.joined.unsplit(fragment);
        }
        Ok(None)
    }

    /// No fragment of an unfinished record has been taken up.
    pub fn is_between_records(&self) -> bool {
        self.fragments == 0 && self.joined.is_empty()
    }

    /// How many more bytes `input` needs before [`RecordReader::next`] can get on: at least one.
    /// For sizing the receive buffer; never more than the limit.
    pub fn missing_bytes(&self, input: &[u8]) -> usize {
        let needed = match self.header(input) {
            Ok(Some(header)) => HEADER_BYTES + header.length as usize,
            Ok(None) | Err(_) => HEADER_BYTES,
        };
        needed.saturating_sub(input.len()).max(1)
    }

    /// The first word of the record under way, an RPC message's xid: tells whose record it is even
    /// when it is refused for its length.
    pub fn first_word(&self, input: &[u8]) -> Option<u32> {
        let here = input.get(HEADER_BYTES..)?;
        let mut word = [0; 4];
        let (old, new) = word.split_at_mut(self.joined.len().min(4));
        old.copy_from_slice(&self.joined[..old.len()]);
        new.copy_from_slice(here.get(..new.len())?);
        Some(u32::from_be_bytes(word))
    }

    fn header(&self, input: &[u8]) -> Result<Option<RecordHeader>, RecordError> {
        let Some(word) = input.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = RecordHeader::from_bytes(*word);
        let length = self.joined.len() + header.length as usize;
        if length > self.limit_bytes {
            return Err(RecordError::TooLong {
                length,
                limit: self.limit_bytes,
            });
        }
        if self.fragments >= FRAGMENTS_MAX {
            return Err(RecordError::TooManyFragments {
                limit: FRAGMENTS_MAX,
            });
        }
        Ok(Some(header))
    }
}

/// An encoder that has room for the mark in front: hand it to [`Frame::new`] when the message is
/// written.
pub fn begin() -> Encoder {
    let mut out = Encoder::with_capacity(256);
    out.raw(&[0; HEADER_BYTES]);
    out
}

/// Records ready to be sent, as parts for a vectored write.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    parts: VecDeque<Bytes>,
    remaining: usize,
}

impl Frame {
    /// Marks a message that was begun with [`begin`].
    pub fn new(mut message: Encoder) -> Self {
        let remaining = message.len();
        debug_assert!(
            remaining >= HEADER_BYTES,
            "record::begin left room for the mark"
        );
        let length = (remaining - HEADER_BYTES) as u32;
        let mark = RecordHeader { last: true, length }.to_bytes();
        message.patch_u32(0, u32::from_be_bytes(mark));
        Self {
            parts: message.into_parts().into(),
            remaining,
        }
    }

    /// Puts another record behind, so that one write sends both.
    pub fn append(&mut self, next: Self) {
        self.remaining += next.remaining;
        self.parts.extend(next.parts);
    }

    /// The parts, in order, without copying.
    pub fn into_parts(self) -> impl Iterator<Item = Bytes> {
        self.parts.into_iter()
    }
}

impl Buf for Frame {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(part);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, count: usize) {
        assert!(
            count <= self.remaining,
            "no more can be sent than the frame holds"
        );
        self.remaining -= count;
        let mut count = count;
        while count > 0 {
            let Some(part) = self.parts.front_mut() else {
                return;
            };
            if count < part.len() {
                part.advance(count);
                return;
            }
            count -= part.len();
            self.parts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
