//! The filehandles that clients hold: what names a file for ever, sealed so that none can be made up.
//!
//! Version, export, home folder, inode number, SipHash-2-4 of these under the catalog's key: 29 bytes. A
//! node of a backend's own tree has its handle there in front of the hash: 93 bytes at most, of
//! NFSv4's 128. NFSv3 has 64 (RFC 1813 §2.4): what doesn't fit is said there without what follows from it.

use crate::junction::number_of;
use backend::tree::NODE_MAX_BYTES;
use bytes::{BufMut, Bytes, BytesMut};
use catalog::InodeId;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;

const VERSION: u8 = 1;
const BODY: usize = 1 + 4 + 8 + 8;
const TAG: usize = 8;

/// Of a node alone: version, bytes of the fileid, export, fileid, the node's handle.
const SHORT: u8 = 2;
const SHORT_HEAD: usize = 1 + 1 + 4;

/// Secret of this namespace, made once and kept in the catalog.
#[derive(Clone, Copy)]
pub struct HandleKey(pub [u8; 16]);

/// What a filehandle says, once its seal holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub export: u32,
    pub id: InodeId,
    /// Of a junction's tree, except for its root.
    pub node: Option<Bytes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadHandle;

impl HandleKey {
    pub(crate) fn seal(&self, named: &Named) -> Bytes {
        let node = named.node.as_deref().unwrap_or_default();
        let mut handle = BytesMut::with_capacity(BODY + node.len() + TAG);
        handle.put_u8(VERSION);
        handle.put_u32(named.export);
        handle.put_u64(named.id.home);
        handle.put_u64(named.id.number);
        handle.put_slice(node);
        let tag = self.tag(&handle);
        handle.put_u64(tag);
        handle.freeze()
    }

    /// The same in `most` bytes; `None` when it can't be said in so few.
    pub(crate) fn seal_within(&self, named: &Named, most: usize) -> Option<Bytes> {
        let sealed = self.seal(named);
        if sealed.len() <= most {
            return Some(sealed);
        }
        let node = named.node.as_deref()?;
        let fileid = named.id.home.to_be_bytes();
        let fileid = &fileid[named.id.home.leading_zeros() as usize / 8..];
        let mut handle = BytesMut::with_capacity(SHORT_HEAD + fileid.len() + node.len() + TAG);
        handle.put_u8(SHORT);
        handle.put_u8(fileid.len() as u8);
        handle.put_u32(named.export);
        handle.put_slice(fileid);
        handle.put_slice(node);
        let tag = self.tag(&handle);
        handle.put_u64(tag);
        let follows = number_of(named.export, node) == named.id.number;
        (follows && handle.len() <= most).then(|| handle.freeze())
    }

    pub(crate) fn open(&self, handle: &[u8]) -> Result<Named, BadHandle> {
        if handle.first() == Some(&SHORT) {
            return self.open_short(handle);
        }
        if !(BODY + TAG..=BODY + NODE_MAX_BYTES + TAG).contains(&handle.len()) {
            return Err(BadHandle);
        }
        let (body, tag) = handle.split_at(handle.len() - TAG);
        if body[0] != VERSION || self.tag(body) != word(tag, 0) {
            return Err(BadHandle);
        }
        let export = (word(body, 1) >> 32) as u32;
        Ok(Named {
            export,
            id: InodeId {
                home: word(body, 5),
                number: word(body, 13),
            },
            node: (body.len() > BODY).then(|| Bytes::copy_from_slice(&body[BODY..])),
        })
    }

    fn open_short(&self, handle: &[u8]) -> Result<Named, BadHandle> {
        let (body, tag) = handle.split_last_chunk::<TAG>().ok_or(BadHandle)?;
        let (head, rest) = body.split_first_chunk::<SHORT_HEAD>().ok_or(BadHandle)?;
        if self.tag(body) != u64::from_be_bytes(*tag) {
            return Err(BadHandle);
        }
        let [_, length, export @ ..] = *head;
        let export = u32::from_be_bytes(export);
        let (fileid, node) = rest.split_at_checked(length.into()).ok_or(BadHandle)?;
        let home = fileid
            .iter()
            .fold(0, |fileid: u64, byte| fileid << 8 | u64::from(*byte));
        Ok(Named {
            export,
            id: InodeId {
                home,
                number: number_of(export, node),
            },
            node: Some(Bytes::copy_from_slice(node)),
        })
    }

    fn tag(&self, body: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(body);
        hasher.finish()
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: HandleKey = HandleKey([7; 16]);

    proptest! {
        #[test]
        fn a_handle_names_what_it_was_made_for(
            export: u32,
            home: u64,
            number: u64,
            node in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..=NODE_MAX_BYTES)),
        ) {
            let node = node.map(Bytes::from);
            let named = Named { export, id: InodeId { home, number }, node };
            prop_assert_eq!(KEY.open(&KEY.seal(&named)), Ok(named));
        }

        #[test]
        fn a_node_is_named_in_fewer_bytes_or_not_at_all(
            export: u32,
            home: u64,
            bits in 0..64_u32,
            node in proptest::collection::vec(any::<u8>(), 1..=NODE_MAX_BYTES),
        ) {
            let home = home >> bits;
            let named = Named {
                export,
                id: InodeId { home, number: number_of(export, &node) },
                node: Some(Bytes::from(node.clone())),
            };
            match KEY.seal_within(&named, 64) {
                Some(handle) => {
                    prop_assert!(handle.len() <= 64);
                    prop_assert_eq!(KEY.open(&handle), Ok(named));
                    let mut forged = handle.to_vec();
                    forged[bits as usize % handle.len()] ^= 1;
                    prop_assert_eq!(KEY.open(&forged), Err(BadHandle));
                }
                None => prop_assert!(node.len() > 42, "of {} bytes", node.len()),
            }
        }

        #[test]
        fn no_bit_of_a_handle_can_be_changed(bit in 0..(BODY + TAG) * 8, number: u64) {
            let named = Named { export: 1, id: InodeId { home: 1, number }, node: None };
            let mut forged = KEY.seal(&named).to_vec();
            forged[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(KEY.open(&forged), Err(BadHandle));
        }

        #[test]
        fn made_up_handles_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            prop_assert_eq!(KEY.open(&bytes), Err(BadHandle));
        }
    }
}
