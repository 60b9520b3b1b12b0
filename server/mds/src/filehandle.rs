//! The filehandles that clients hold: what names a file for ever, sealed so that none can be made up.
//!
//! 29 bytes: version, export, home folder, inode number, SipHash-2-4 of these under the catalog's key.

use bytes::{BufMut, Bytes, BytesMut};
use catalog::InodeId;
use siphasher::sip::SipHasher24;
use std::hash::Hasher;

const VERSION: u8 = 1;
const LENGTH: usize = 1 + 4 + 8 + 8 + 8;

/// Secret of this namespace, made once and kept in the catalog.
#[derive(Clone, Copy)]
pub struct HandleKey(pub [u8; 16]);

/// What a filehandle says, once its seal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named {
    pub export: u32,
    pub id: InodeId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadHandle;

impl HandleKey {
    pub(crate) fn seal(&self, named: Named) -> Bytes {
        let mut handle = BytesMut::with_capacity(LENGTH);
        handle.put_u8(VERSION);
        handle.put_u32(named.export);
        handle.put_u64(named.id.home);
        handle.put_u64(named.id.number);
        let tag = self.tag(&handle);
        handle.put_u64(tag);
        handle.freeze()
    }

    pub(crate) fn open(&self, handle: &[u8]) -> Result<Named, BadHandle> {
        let handle: &[u8; LENGTH] = handle.try_into().map_err(|_| BadHandle)?;
        let (body, tag) = handle.split_at(LENGTH - 8);
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
        fn a_handle_names_what_it_was_made_for(export: u32, home: u64, number: u64) {
            let named = Named { export, id: InodeId { home, number } };
            prop_assert_eq!(KEY.open(&KEY.seal(named)), Ok(named));
        }

        #[test]
        fn no_bit_of_a_handle_can_be_changed(bit in 0..LENGTH * 8, number: u64) {
            let mut forged = KEY.seal(Named { export: 1, id: InodeId { home: 1, number } }).to_vec();
            forged[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(KEY.open(&forged), Err(BadHandle));
        }

        #[test]
        fn made_up_handles_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            prop_assert_eq!(KEY.open(&bytes), Err(BadHandle));
        }
    }
}
