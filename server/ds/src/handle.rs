//! Object ids and filehandles: what a handle names, and the keyed MAC that makes it unguessable.
//! Never touches the file system; whether the named object still exists is the store's to say.

use std::fmt;

use siphasher::sip128::{Hasher128, SipHasher24};

/// Names an object for ever. Written as 32 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(pub [u8; 16]);

impl ObjectId {
    /// The id that `name` spells: 32 hex digits, nothing else.
    pub fn parse(name: &[u8]) -> Option<Self> {
        if name.len() != 32 {
            return None;
        }
        let mut id = [0; 16];
        for (byte, digits) in id.iter_mut().zip(name.chunks_exact(2)) {
            *byte = parse_byte(digits)?;
        }
        Some(Self(id))
    }

    /// Of a trial, not of a file: the upper half of its id is all ones. Orders about it are obeyed
    /// whatever the term of their metadata server, so that a data server in use can be proved fit.
    pub fn is_trial(&self) -> bool {
        self.0[..8] == [0xff; 8]
    }

    /// The two folders that the object lies in: the middle of the count in the id's upper half, so
    /// that 256 objects in a row share a folder, and each further folder is made once.
    pub fn folders(&self) -> (u8, u8) {
        (self.0[5], self.0[6])
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The byte that two lower-case hex digits spell.
pub(crate) fn parse_byte(digits: &[u8]) -> Option<u8> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    match digits {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

/// What a filehandle names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// The export's root.
    Root,
    /// `data`
    Data,
    /// `data/xx`
    Outer(u8),
    /// `data/xx/yy`
    Inner(u8, u8),
    /// One life of an object: an id removed and created again is another incarnation.
    Object { id: ObjectId, incarnation: u64 },
    /// A version of what somebody else keeps.
    Cached(chunks::ObjectId),
}

const VERSION: u8 = 1;
/// version, kind, two zero bytes, id, incarnation, MAC.
const LENGTH: usize = 4 + 16 + 8 + 16;

/// The secret that handles are signed with.
#[derive(Clone)]
pub struct HandleKey([u8; 16]);

impl HandleKey {
    pub fn new(secret: [u8; 16]) -> Self {
        Self(secret)
    }

    /// A 64-bit name for `target`, for `fileid` and READDIR cookies.
    pub fn fileid(&self, target: Target) -> u64 {
        self.mac(&body(target)) as u64
    }

    /// Same for one export over restarts, and different between exports.
    pub fn fsid(&self) -> u64 {
        self.mac(b"fsid") as u64
    }

    pub fn seal(&self, target: Target) -> [u8; LENGTH] {
        let body = body(target);
        let mut handle = [0; LENGTH];
        handle[..body.len()].copy_from_slice(&body);
        handle[body.len()..].copy_from_slice(&self.mac(&body).to_be_bytes());
        handle
    }

    /// What `handle` names, or `None` when this server never made it.
    pub fn open(&self, handle: &[u8]) -> Option<Target> {
        let handle: &[u8; LENGTH] = handle.try_into().ok()?;
        let (body, mac) = handle.split_at(LENGTH - 16);
        let expected = self.mac(body).to_be_bytes();
        // Folded rather than compared, so that the time taken tells nothing about the right MAC.
        let differing = mac
            .iter()
            .zip(expected)
            .fold(0, |acc, (a, b)| acc | (a ^ b));
        if differing != 0 || body[0] != VERSION {
            return None;
        }
        let id: [u8; 16] = body[4..20].try_into().ok()?;
        let incarnation = u64::from_be_bytes(body[20..28].try_into().ok()?);
        match body[1] {
            0 => Some(Target::Root),
            1 => Some(Target::Data),
            2 => Some(Target::Outer(id[0])),
            3 => Some(Target::Inner(id[0], id[1])),
            4 => Some(Target::Object {
                id: ObjectId(id),
                incarnation,
            }),
            5 => Some(Target::Cached(chunks::ObjectId(id))),
            _ => None,
        }
    }

    fn mac(&self, bytes: &[u8]) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        std::hash::Hasher::write(&mut hasher, bytes);
        hasher.finish128().as_u128()
    }
}

impl fmt::Debug for HandleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandleKey(secret)")
    }
}

fn body(target: Target) -> [u8; LENGTH - 16] {
    let mut body = [0; LENGTH - 16];
    body[0] = VERSION;
    match target {
        Target::Root => body[1] = 0,
        Target::Data => body[1] = 1,
        Target::Outer(xx) => {
            body[1] = 2;
            body[4] = xx;
        }
        Target::Inner(xx, yy) => {
            body[1] = 3;
            body[4] = xx;
            body[5] = yy;
        }
        Target::Object { id, incarnation } => {
            body[1] = 4;
            body[4..20].copy_from_slice(&id.0);
            body[20..28].copy_from_slice(&incarnation.to_be_bytes());
        }
        Target::Cached(id) => {
            body[1] = 5;
            body[4..20].copy_from_slice(&id.0);
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> HandleKey {
        HandleKey::new([7; 16])
    }

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        let id = ObjectId([0xab; 16]);
        assert_eq!(ObjectId::parse(id.to_string().as_bytes()), Some(id));
        assert_eq!(ObjectId::parse(b"short"), None);
        assert_eq!(ObjectId::parse(&[b'G'; 32]), None);
        assert_eq!(ObjectId::parse(&[b'A'; 32]), None);
    }

    proptest! {
        #[test]
        fn a_sealed_handle_opens_to_its_target(id: [u8; 16], incarnation: u64) {
            for target in [
                Target::Root,
                Target::Data,
                Target::Outer(id[0]),
                Target::Inner(id[0], id[1]),
                Target::Object { id: ObjectId(id), incarnation },
                Target::Cached(chunks::ObjectId(id)),
            ] {
                prop_assert_eq!(key().open(&key().seal(target)), Some(target));
            }
        }

        #[test]
        fn a_handle_with_one_bit_turned_opens_to_nothing(id: [u8; 16], bit in 0..LENGTH * 8) {
            let mut handle = key().seal(Target::Object { id: ObjectId(id), incarnation: 1 });
            handle[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(key().open(&handle), None);
        }

        #[test]
        fn made_up_bytes_are_no_handle(bytes: Vec<u8>) {
            prop_assert_eq!(key().open(&bytes), None);
        }
    }

    #[test]
    fn another_server_s_handle_is_no_handle() {
        let other = HandleKey::new([8; 16]);
        assert_eq!(key().open(&other.seal(Target::Root)), None);
    }
}
