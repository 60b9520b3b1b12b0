//! The synthetic owners of objects (RFC 8435 §2.2): which ids they take, and in which order.
//!
//! Never here: ids of people.

use layout::{ObjectId, ObjectRef, Owner};

/// A range of ids that no account of a data server's host has. Its first id is the readers'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerRange {
    base: u32,
    count: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRange {
    #[error("{0} ids are too few: an object must not meet an old owner soon, 16 is the least")]
    TooFew(u32),
    #[error("the range of ids holds {0}, which belongs to root, nobody or no one")]
    Reserved(u32),
    #[error("the range of ids ends past 4294967295")]
    TooHigh,
}

impl OwnerRange {
    pub fn new(base: u32, count: u32) -> Result<Self, BadRange> {
        if count < 16 {
            return Err(BadRange::TooFew(count));
        }
        let end = base.checked_add(count).ok_or(BadRange::TooHigh)?;
        match [0, 65_534, u32::MAX]
            .into_iter()
            .find(|id| (base..end).contains(id))
        {
            Some(id) => Err(BadRange::Reserved(id)),
            None => Ok(Self { base, count }),
        }
    }

    /// Owns nothing, ever: with an object's gid it reads and can't write.
    pub fn reader_uid(&self) -> u32 {
        self.base
    }

    /// The owner of an object in a generation: each fence takes the next id, so that an old one
    /// comes back only after all others were used.
    pub fn owner(&self, object: ObjectId, generation: u32) -> Owner {
        let owners = u64::from(self.count - 1);
        let start = scatter(object.0);
        let uid = (start % owners + u64::from(generation) % owners) % owners;
        let gid = (start >> 32) % owners;
        Owner {
            uid: self.base + 1 + uid as u32,
            gid: self.base + 1 + gid as u32,
        }
    }

    /// The same object with its next writer. The group stays: readers are not fenced with writers.
    pub fn fenced(&self, object: &ObjectRef) -> ObjectRef {
        let mut generation = object.generation.wrapping_add(1);
        let mut uid = self.owner(object.object, generation).uid;
        // The range may have been configured otherwise when the object got its owner.
        if uid == object.owner.uid {
            generation = generation.wrapping_add(1);
            uid = self.owner(object.object, generation).uid;
        }
        ObjectRef {
            owner: Owner {
                uid,
                gid: object.owner.gid,
            },
            generation,
            ..object.clone()
        }
    }
}

fn scatter(id: u128) -> u64 {
    let mut z = (id as u64) ^ ((id >> 64) as u64).rotate_left(17);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use layout::DataServerId;
    use std::collections::HashSet;

    #[test]
    fn an_owner_comes_back_only_after_all_others_were_used() {
        let range = OwnerRange::new(70_000, 100).expect("a sound range");
        let mut object = ObjectRef {
            server: DataServerId(1),
            object: ObjectId(77),
            handle: Bytes::new(),
            owner: range.owner(ObjectId(77), 0),
            generation: 0,
        };
        let group = object.owner.gid;
        let mut seen = HashSet::new();
        for _ in 0..99 {
            assert!((70_001..70_100).contains(&object.owner.uid));
            assert_ne!(object.owner.uid, range.reader_uid());
            assert!(seen.insert(object.owner.uid));
            object = range.fenced(&object);
            assert_eq!(object.owner.gid, group);
        }
    }

    #[test]
    fn a_fence_after_the_range_was_configured_anew_still_changes_the_owner() {
        let old = OwnerRange::new(70_000, 100).expect("a sound range");
        let new = OwnerRange::new(70_000, 99).expect("a sound range");
        for id in 0..2000 {
            for generation in 0..4 {
                let object = ObjectRef {
                    server: DataServerId(1),
                    object: ObjectId(id),
                    handle: Bytes::new(),
                    owner: old.owner(ObjectId(id), generation),
                    generation,
                };
                assert_ne!(new.fenced(&object).owner.uid, object.owner.uid);
            }
        }
    }

    #[test]
    fn ids_of_root_and_nobody_are_no_owners() {
        assert_eq!(OwnerRange::new(0, 100), Err(BadRange::Reserved(0)));
        assert_eq!(
            OwnerRange::new(65_500, 100),
            Err(BadRange::Reserved(65_534))
        );
        assert_eq!(OwnerRange::new(u32::MAX - 50, 100), Err(BadRange::TooHigh));
        assert_eq!(OwnerRange::new(70_000, 2), Err(BadRange::TooFew(2)));
    }
}
