//! RPC records out of a byte stream, a WRITE's payload straight into its buffer: bytes in, records
//! out. Never a socket, and never what a record says beyond where its payload begins.

use buffers::Buffer;
use bytes::{Bytes, BytesMut};
use wire::nfs3;
use wire::record::{HEADER_BYTES, RecordHeader};

/// What is received at once outside of payloads.
const RAW_BYTES: usize = 8 << 10;
/// Longest record head: two credentials of 400 bytes, two names of 4096, and their frame.
const HEAD_MAX_BYTES: usize = 12 << 10;

/// A whole record. A WRITE comes without its data, which is in `payload`.
#[derive(Debug)]
pub struct Incoming {
    pub head: Bytes,
    pub payload: Option<Buffer>,
}

/// What the intake waits for.
#[derive(Debug)]
pub enum Progress {
    /// Bytes of the stream: receive into [`Intake::space`].
    Bytes,
    /// A buffer for a payload of so many bytes: [`Intake::give`] it.
    Buffer(usize),
    Record(Incoming),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Hostile {
    #[error("a record longer than {limit} bytes")]
    RecordTooLong { limit: usize },
    #[error("a request head longer than {HEAD_MAX_BYTES} bytes")]
    HeadTooLong,
}

/// Where the next bytes go: taken out of the intake, filled, and given back.
#[derive(Debug)]
pub struct Space {
    memory: Memory,
    from: usize,
    to: usize,
}

#[derive(Debug)]
enum Memory {
    Raw(Box<[u8]>),
    Payload(Buffer),
}

impl Space {
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Raw(raw) => &mut raw[self.from..self.to],
            Memory::Payload(buffer) => &mut buffer.bytes_mut()[self.from..self.to],
        }
    }

    /// Whether all of the space is sure to be filled by the record under way.
    pub fn fills(&self) -> bool {
        matches!(self.memory, Memory::Payload(_))
    }
}

#[derive(Debug)]
enum Phase {
    /// Gathering the head until it has so many bytes; `usize::MAX` for the whole record.
    Head {
        want: usize,
    },
    /// A payload of so many bytes needs its buffer.
    Unhoused {
        length: usize,
    },
    Payload {
        buffer: Buffer,
        filled: usize,
    },
    /// The buffer is out, being received into.
    Lent {
        filled: usize,
    },
    /// Only padding may follow until the record ends.
    Tail {
        payload: Buffer,
        skipped: usize,
    },
}

#[derive(Debug)]
pub struct Intake {
    payload_max_bytes: usize,
    raw: Box<[u8]>,
    start: usize,
    end: usize,
    /// Of the present fragment.
    fragment_left: usize,
    last_fragment: bool,
    record_bytes: usize,
    fragments: usize,
    head: BytesMut,
    phase: Phase,
}

/// First step of every head: xid to the length of the credential.
const CREDENTIAL_AT: usize = 24;
const PREFIX_BYTES: usize = CREDENTIAL_AT + 8;
const FRAGMENTS_MAX: usize = 1024;

impl Intake {
    pub fn new(payload_max_bytes: usize) -> Self {
        Self {
            payload_max_bytes,
            raw: vec![0; RAW_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            fragment_left: 0,
            last_fragment: false,
            record_bytes: 0,
            fragments: 0,
            head: BytesMut::new(),
            phase: Phase::Head { want: PREFIX_BYTES },
        }
    }

    /// Whether part of a record has arrived.
    pub fn begun(&self) -> bool {
        self.fragments > 0 || self.start < self.end
    }

    pub fn advance(&mut self) -> Result<Progress, Hostile> {
        loop {
            match std::mem::replace(&mut self.phase, Phase::Lent { filled: 0 }) {
                Phase::Head { want } => {
                    self.phase = Phase::Head { want };
                    let missing = want.min(HEAD_MAX_BYTES + 1) - self.head.len();
                    if missing > 0 && !self.ended() {
                        let piece = self.take(missing)?;
                        if piece.is_empty() && !self.ended() {
                            return Ok(Progress::Bytes);
                        }
                        let piece = piece.start..piece.end;
                        self.head.extend_from_slice(&self.raw[piece]);
                        if self.head.len() > HEAD_MAX_BYTES {
                            return Err(Hostile::HeadTooLong);
                        }
                        continue;
                    }
                    if self.ended() {
                        return Ok(self.record(None));
                    }
                    self.phase = match peek(&self.head) {
                        Peek::Need(want) => Phase::Head { want },
                        Peek::Whole => Phase::Head { want: usize::MAX },
                        Peek::Payload(length) if length > self.payload_max_bytes => {
                            return Err(Hostile::RecordTooLong {
                                limit: self.payload_max_bytes + HEAD_MAX_BYTES,
                            });
                        }
                        Peek::Payload(length) => Phase::Unhoused { length },
                    };
                }
                Phase::Unhoused { length } => {
                    self.phase = Phase::Unhoused { length };
                    return Ok(Progress::Buffer(length));
                }
                Phase::Payload { mut buffer, filled } => {
                    let missing = buffer.len() - filled;
                    if missing == 0 {
                        self.phase = Phase::Tail {
                            payload: buffer,
                            skipped: 0,
                        };
                        continue;
                    }
                    let piece = self.take(missing)?;
                    if piece.is_empty() {
                        if self.ended() {
                            // The record ends inside its payload: a WRITE without data, which
                            // decoding refuses.
                            return Ok(self.record(None));
                        }
                        self.phase = Phase::Payload { buffer, filled };
                        return Ok(Progress::Bytes);
                    }
                    let reached = filled + piece.len();
                    buffer.bytes_mut()[filled..reached].copy_from_slice(&self.raw[piece]);
                    self.phase = Phase::Payload {
                        buffer,
                        filled: reached,
                    };
                }
                Phase::Tail { payload, skipped } => {
                    if self.ended() {
                        let padding = wire::xdr::padding(payload.len()).len();
                        return Ok(self.record((skipped == padding).then_some(payload)));
                    }
                    let piece = self.take(usize::MAX)?;
                    let skipped = skipped + piece.len();
                    let stuck = piece.is_empty() && !self.ended();
                    self.phase = Phase::Tail { payload, skipped };
                    if stuck {
                        return Ok(Progress::Bytes);
                    }
                }
                Phase::Lent { filled } => {
                    self.phase = Phase::Lent { filled };
                    return Ok(Progress::Bytes);
                }
            }
        }
    }

    /// Answers [`Progress::Buffer`] with a buffer of the length asked for.
    pub fn give(&mut self, buffer: Buffer) {
        debug_assert!(matches!(self.phase, Phase::Unhoused { length } if length == buffer.len()));
        self.phase = Phase::Payload { buffer, filled: 0 };
    }

    /// Answers [`Progress::Bytes`]: at least one byte of room.
    pub fn space(&mut self) -> Space {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.fragment_left > 0
                && let Phase::Payload { filled, .. } = self.phase
                && let Phase::Payload { buffer, .. } =
                    std::mem::replace(&mut self.phase, Phase::Lent { filled })
            {
                let to = buffer.len().min(filled + self.fragment_left);
                return Space {
                    memory: Memory::Payload(buffer),
                    from: filled,
                    to,
                };
            }
        }
        if self.start > 0 {
            self.raw.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        Space {
            from: self.end,
            to: self.raw.len(),
            memory: Memory::Raw(std::mem::take(&mut self.raw)),
        }
    }

    /// Gives back the space with `count` bytes received at its beginning.
    pub fn filled(&mut self, space: Space, count: usize) {
        debug_assert!(count <= space.to - space.from);
        match space.memory {
            Memory::Raw(raw) => {
                self.raw = raw;
                self.end = space.from + count;
            }
            Memory::Payload(buffer) => {
                self.fragment_left -= count;
                self.phase = Phase::Payload {
                    buffer,
                    filled: space.from + count,
                };
            }
        }
    }

    fn ended(&self) -> bool {
        self.last_fragment && self.fragment_left == 0
    }

    /// At most `limit` bytes of the record out of what was received, over at most one mark.
    fn take(&mut self, limit: usize) -> Result<std::ops::Range<usize>, Hostile> {
        let none = self.start..self.start;
        if self.fragment_left == 0 {
            if self.ended() || self.end - self.start < HEADER_BYTES {
                return Ok(none);
            }
            let mut mark = [0; HEADER_BYTES];
            mark.copy_from_slice(&self.raw[self.start..self.start + HEADER_BYTES]);
            self.start += HEADER_BYTES;
            let mark = RecordHeader::from_bytes(mark);
            self.fragments += 1;
            self.fragment_left = mark.length as usize;
            self.last_fragment = mark.last;
            self.record_bytes += self.fragment_left;
            let longest = self.payload_max_bytes + HEAD_MAX_BYTES;
            if self.record_bytes > longest || self.fragments > FRAGMENTS_MAX {
                return Err(Hostile::RecordTooLong { limit: longest });
            }
            if self.fragment_left == 0 {
                return self.take(limit);
            }
        }
        let count = limit.min(self.fragment_left).min(self.end - self.start);
        let from = self.start;
        self.start += count;
        self.fragment_left -= count;
        Ok(from..from + count)
    }

    fn record(&mut self, payload: Option<Buffer>) -> Progress {
        self.phase = Phase::Head { want: PREFIX_BYTES };
        self.last_fragment = false;
        self.record_bytes = 0;
        self.fragments = 0;
        Progress::Record(Incoming {
            head: self.head.split().freeze(),
            payload,
        })
    }
}

enum Peek {
    /// Tell again when the head has so many bytes.
    Need(usize),
    /// Not a WRITE with data: the whole record is head.
    Whole,
    /// A WRITE, whose data of so many bytes begins right behind the head.
    Payload(usize),
}

fn peek(head: &[u8]) -> Peek {
    let word = |at: usize| {
        let bytes = head.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    let call = [
        (4, 0),
        (8, wire::rpc::RPC_VERSION),
        (12, nfs3::PROGRAM),
        (16, nfs3::VERSION),
        (20, nfs3::Procedure::Write as u32),
    ];
    if call.iter().any(|(at, value)| word(*at) != Some(*value)) {
        return Peek::Whole;
    }
    // Credential, verifier and filehandle are opaques: each moves what follows.
    let mut at = CREDENTIAL_AT;
    for (before, limit) in [
        (4, wire::rpc::AUTH_BODY_MAX_BYTES),
        (4, wire::rpc::AUTH_BODY_MAX_BYTES),
        (0, nfs3::Fh3::LIMIT_BYTES),
    ] {
        let Some(length) = word(at + before) else {
            return Peek::Need(at + before + 4);
        };
        let length = length as usize;
        if length > limit {
            return Peek::Whole;
        }
        at += before + 4 + length.next_multiple_of(4);
    }
    // offset, count, stable.
    at += 8 + 4 + 4;
    match word(at) {
        None => Peek::Need(at + 4),
        Some(0) => Peek::Whole,
        Some(length) => Peek::Payload(length as usize),
    }
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
