//! The record an object carries in its `user.headrace` attribute: who owns it, under which
//! generation and term. Never performs I/O, and never consults the real file's owner.

/// The extended attribute that holds the record.
pub const ATTRIBUTE: &str = "user.headrace";

/// Bytes of an encoded record of the present version.
pub const LENGTH: usize = 60;
const MAGIC: [u8; 4] = *b"HRo\x01";

/// Owner, rights and history of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Raised by each change of uid, gid or mode.
    pub generation: u64,
    /// Term of the metadata server that ordered the last change.
    pub term: u64,
    /// Drawn at creation; a handle carries it, so that it never opens a later object of the id.
    pub incarnation: u64,
    /// The verifier of an EXCLUSIVE create, to know its retry (RFC 1813 §3.3.8).
    pub create_verifier: [u8; 8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    #[error("its length or version is unknown to this release")]
    Unknown,
    #[error("its checksum doesn't match")]
    Checksum,
}

impl Record {
    pub fn encode(&self) -> [u8; LENGTH] {
        let mut out = [0; LENGTH];
        out[0..4].copy_from_slice(&MAGIC);
        out[4..8].copy_from_slice(&self.mode.to_be_bytes());
        out[8..12].copy_from_slice(&self.uid.to_be_bytes());
        out[12..16].copy_from_slice(&self.gid.to_be_bytes());
        out[16..24].copy_from_slice(&self.generation.to_be_bytes());
        out[24..32].copy_from_slice(&self.term.to_be_bytes());
        out[32..40].copy_from_slice(&self.incarnation.to_be_bytes());
        out[40..48].copy_from_slice(&self.create_verifier);
        // 48..56 is kept zero for a later field.
        let sum = crc32c::crc32c(&out[..LENGTH - 4]);
        out[LENGTH - 4..].copy_from_slice(&sum.to_be_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, RecordFault> {
        let bytes: &[u8; LENGTH] = bytes.try_into().map_err(|_| RecordFault::Unknown)?;
        if bytes[0..4] != MAGIC {
            return Err(RecordFault::Unknown);
        }
        let word = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
        if word(LENGTH - 4) != crc32c::crc32c(&bytes[..LENGTH - 4]) {
            return Err(RecordFault::Checksum);
        }
        Ok(Self {
            mode: word(4),
            uid: word(8),
            gid: word(12),
            generation: long(16),
            term: long(24),
            incarnation: long(32),
            create_verifier: long(40).to_be_bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> Record {
        Record {
            mode: 0o640,
            uid: 70_001,
            gid: 70_002,
            generation: 3,
            term: 9,
            incarnation: 0x0123_4567_89ab_cdef,
            create_verifier: *b"verifier",
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        assert_eq!(Record::decode(&record().encode()), Ok(record()));
    }

    #[test]
    fn a_damaged_record_is_refused_wherever_the_damage_is() {
        for at in 4..LENGTH {
            let mut bytes = record().encode();
            bytes[at] ^= 0x40;
            assert_eq!(Record::decode(&bytes), Err(RecordFault::Checksum), "{at}");
        }
        let mut bytes = record().encode();
        bytes[3] = 2;
        assert_eq!(Record::decode(&bytes), Err(RecordFault::Unknown));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_a_fault(bytes: Vec<u8>) {
            let _ = Record::decode(&bytes);
        }
    }
}
