//! The order of the store's keys: which record lies where, and beside what. One letter, then
//! big-endian numbers. Never values.

use crate::inode::InodeId;
use crate::records::{DeadObject, OrderId};
use crate::store::KeyRange;
use bytes::{BufMut, Bytes, BytesMut};
use layout::{DataServerId, ObjectId};
use siphasher::sip::SipHasher24;
use std::hash::Hasher;

const CLIENT: u8 = b'c';
const DEAD: u8 = b'd';
const ENTRY: u8 = b'e';
/// Files of a filer: where each is there.
const FOUND: u8 = b'f';
/// Those of them with more names than one.
const LINKED: u8 = b'l';
/// Their further names.
const FURTHER: u8 = b'g';
/// Directories of a filer that are not scanned.
const UNSCANNED: u8 = b'q';
const INODE: u8 = b'i';
const META: u8 = b'm';
const ORDER: u8 = b'o';
const POOL: u8 = b'p';
const DATA_SERVER: u8 = b's';
const ORPHAN: u8 = b'u';
const WRITING: u8 = b'w';
/// Names of an inode's extended attributes, by hash.
const XATTR_NAME: u8 = b'a';
const XATTR_VALUE: u8 = b'v';
/// Data server → inodes with objects there.
const INDEX: u8 = b'x';

/// Counters of a directory that creates merge into: change, entries, subdirectories.
const HOT_COUNTERS: u8 = b'c';
/// Time of a directory's last change of entries.
const HOT_TIME: u8 = b't';

// The catalog's own numbers: format, ceilings, totals.
pub(crate) const FORMAT: &[u8] = b"nformat";
pub(crate) const SECRET: &[u8] = b"nsecret";
pub(crate) const BOOT_EPOCH: &[u8] = b"nboot";
pub(crate) const INODE_CEILING: &[u8] = b"ninode";
pub(crate) const COUNTS: &[u8] = b"ncounts";

fn key(letter: u8, put: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut to = BytesMut::with_capacity(32);
    to.put_u8(letter);
    put(&mut to);
    to.freeze()
}

fn inode_key(letter: u8, id: InodeId) -> Bytes {
    key(letter, |to| {
        to.put_u64(id.home);
        to.put_u64(id.number);
    })
}

/// All keys that begin with `prefix`.
pub(crate) fn beginning_with(prefix: &[u8]) -> KeyRange {
    KeyRange {
        start: Bytes::copy_from_slice(prefix),
        end: after_all(prefix),
    }
}

/// The first key that is behind every key beginning with `prefix`.
fn after_all(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end.into()
}

/// Right behind `key`.
pub(crate) fn successor(key: &[u8]) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.put_slice(key);
    next.put_u8(0);
    next.freeze()
}

pub(crate) fn inode(id: InodeId) -> Bytes {
    inode_key(INODE, id)
}

pub(crate) fn hot_counters(id: InodeId) -> Bytes {
    key(INODE, |to| {
        to.put_u64(id.home);
        to.put_u64(id.number);
        to.put_u8(HOT_COUNTERS);
    })
}

pub(crate) fn hot_time(id: InodeId) -> Bytes {
    key(INODE, |to| {
        to.put_u64(id.home);
        to.put_u64(id.number);
        to.put_u8(HOT_TIME);
    })
}

/// What an inode key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InodePart {
    Cold,
    Counters,
    Time,
}

pub(crate) fn inode_part(key: &[u8]) -> Option<(InodeId, InodePart)> {
    let (&letter, rest) = key.split_first()?;
    let (id, rest) = split_inode(rest)?;
    let part = match rest {
        [] => InodePart::Cold,
        [HOT_COUNTERS] => InodePart::Counters,
        [HOT_TIME] => InodePart::Time,
        _ => return None,
    };
    (letter == INODE).then_some((id, part))
}

fn split_inode(rest: &[u8]) -> Option<(InodeId, &[u8])> {
    let (home, rest) = rest.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    Some((
        InodeId {
            home: u64::from_be_bytes(*home),
            number: u64::from_be_bytes(*number),
        },
        rest,
    ))
}

/// Inodes born in the directory of that number, with their hot keys.
pub(crate) fn inodes_of_home(home: u64) -> KeyRange {
    beginning_with(&key(INODE, |to| to.put_u64(home)))
}

pub(crate) fn entry(directory: InodeId, hash: u64) -> Bytes {
    key(ENTRY, |to| {
        to.put_u64(directory.number);
        to.put_u64(hash);
    })
}

pub(crate) fn entries(directory: InodeId) -> KeyRange {
    beginning_with(&key(ENTRY, |to| to.put_u64(directory.number)))
}

/// Entries of a directory from that hash on.
pub(crate) fn entries_from(directory: InodeId, hash: u64) -> KeyRange {
    KeyRange {
        start: entry(directory, hash),
        end: entries(directory).end,
    }
}

/// Directory number and hash.
pub(crate) fn entry_parts(key: &[u8]) -> Option<(u64, u64)> {
    let rest = key.strip_prefix(&[ENTRY])?;
    let (directory, rest) = rest.split_first_chunk()?;
    Some((
        u64::from_be_bytes(*directory),
        u64::from_be_bytes(*rest.as_array()?),
    ))
}

pub(crate) fn orphan(id: InodeId) -> Bytes {
    inode_key(ORPHAN, id)
}

pub(crate) fn orphans() -> KeyRange {
    beginning_with(&[ORPHAN])
}

pub(crate) fn orphans_after(after: Option<InodeId>) -> KeyRange {
    after_inode(orphans(), after.map(orphan))
}

pub(crate) fn orphan_id(key: &[u8]) -> Option<InodeId> {
    split_inode(key.strip_prefix(&[ORPHAN])?).map(|(id, _)| id)
}

fn after_inode(range: KeyRange, after: Option<Bytes>) -> KeyRange {
    match after {
        None => range,
        Some(key) => KeyRange {
            start: successor(&key),
            end: range.end,
        },
    }
}

pub(crate) fn writing(id: InodeId) -> Bytes {
    inode_key(WRITING, id)
}

pub(crate) fn all_writing() -> KeyRange {
    beginning_with(&[WRITING])
}

pub(crate) fn xattr_name(id: InodeId, hash: u64) -> Bytes {
    key(XATTR_NAME, |to| {
        to.put_u64(id.home);
        to.put_u64(id.number);
        to.put_u64(hash);
    })
}

pub(crate) fn xattr_names(id: InodeId) -> KeyRange {
    beginning_with(&inode_key(XATTR_NAME, id))
}

/// Names from that hash on.
pub(crate) fn xattr_names_from(id: InodeId, hash: u64) -> KeyRange {
    KeyRange {
        start: xattr_name(id, hash),
        end: xattr_names(id).end,
    }
}

pub(crate) fn xattr_name_parts(key: &[u8]) -> Option<(InodeId, u64)> {
    let (id, hash) = split_inode(key.strip_prefix(&[XATTR_NAME])?)?;
    Some((id, u64::from_be_bytes(*hash.as_array()?)))
}

pub(crate) fn xattr_value(id: InodeId, hash: u64, tiebreak: u8) -> Bytes {
    key(XATTR_VALUE, |to| {
        to.put_u64(id.home);
        to.put_u64(id.number);
        to.put_u64(cookie(hash, tiebreak));
    })
}

pub(crate) fn xattr_values(id: InodeId) -> KeyRange {
    beginning_with(&inode_key(XATTR_VALUE, id))
}

/// Inode, and cookie of the name.
fn xattr_value_parts(key: &[u8]) -> Option<(InodeId, u64)> {
    let (id, cookie) = split_inode(key.strip_prefix(&[XATTR_VALUE])?)?;
    Some((id, u64::from_be_bytes(*cookie.as_array()?)))
}

pub(crate) fn order(id: OrderId) -> Bytes {
    key(ORDER, |to| to.put_u64(id.0))
}

pub(crate) fn orders() -> KeyRange {
    beginning_with(&[ORDER])
}

pub(crate) fn order_id(key: &[u8]) -> Option<OrderId> {
    Some(OrderId(u64::from_be_bytes(
        *key.strip_prefix(&[ORDER])?.as_array()?,
    )))
}

pub(crate) fn client(id: u64) -> Bytes {
    key(CLIENT, |to| to.put_u64(id))
}

pub(crate) fn clients() -> KeyRange {
    beginning_with(&[CLIENT])
}

pub(crate) fn data_server(id: DataServerId) -> Bytes {
    key(DATA_SERVER, |to| to.put_u32(id.0))
}

pub(crate) fn data_servers() -> KeyRange {
    beginning_with(&[DATA_SERVER])
}

pub(crate) fn meta(name: &[u8]) -> Bytes {
    key(META, |to| to.put_slice(name))
}

fn object_key(letter: u8, server: DataServerId, object: ObjectId) -> Bytes {
    key(letter, |to| {
        to.put_u32(server.0);
        to.put_u128(object.0);
    })
}

fn object_of(letter: u8, key: &[u8]) -> Option<DeadObject> {
    let rest = key.strip_prefix(&[letter])?;
    let (server, rest) = rest.split_first_chunk()?;
    Some(DeadObject {
        server: DataServerId(u32::from_be_bytes(*server)),
        object: ObjectId(u128::from_be_bytes(*rest.as_array()?)),
    })
}

pub(crate) fn pool(server: DataServerId, object: ObjectId) -> Bytes {
    object_key(POOL, server, object)
}

pub(crate) fn all_pool() -> KeyRange {
    beginning_with(&[POOL])
}

pub(crate) fn dead(object: DeadObject) -> Bytes {
    object_key(DEAD, object.server, object.object)
}

pub(crate) fn all_dead() -> KeyRange {
    beginning_with(&[DEAD])
}

pub(crate) fn dead_object(key: &[u8]) -> Option<DeadObject> {
    object_of(DEAD, key)
}

pub(crate) fn index(server: DataServerId, inode: InodeId) -> Bytes {
    key(INDEX, |to| {
        to.put_u32(server.0);
        to.put_u64(inode.home);
        to.put_u64(inode.number);
    })
}

pub(crate) fn index_of(server: DataServerId, after: Option<InodeId>) -> KeyRange {
    after_inode(
        beginning_with(&key(INDEX, |to| to.put_u32(server.0))),
        after.map(|id| index(server, id)),
    )
}

pub(crate) fn index_parts(key: &[u8]) -> Option<(DataServerId, InodeId)> {
    let rest = key.strip_prefix(&[INDEX])?;
    let (server, rest) = rest.split_first_chunk()?;
    Some((
        DataServerId(u32::from_be_bytes(*server)),
        split_inode(rest)?.0,
    ))
}

pub(crate) fn found(object: DeadObject) -> Bytes {
    object_key(FOUND, object.server, object.object)
}

pub(crate) fn linked(object: DeadObject) -> Bytes {
    object_key(LINKED, object.server, object.object)
}

pub(crate) fn linked_of(server: DataServerId) -> KeyRange {
    beginning_with(&key(LINKED, |to| to.put_u32(server.0)))
}

pub(crate) fn linked_object(key: &[u8]) -> Option<DeadObject> {
    object_of(LINKED, key)
}

/// `number` is any that the file's other names don't have.
pub(crate) fn further(object: DeadObject, number: u64) -> Bytes {
    key(FURTHER, |to| {
        to.put_u32(object.server.0);
        to.put_u128(object.object.0);
        to.put_u64(number);
    })
}

pub(crate) fn all_further(object: DeadObject) -> KeyRange {
    beginning_with(&object_key(FURTHER, object.server, object.object))
}

fn further_object(key: &[u8]) -> Option<DeadObject> {
    let (rest, _number) = key.split_last_chunk::<8>()?;
    object_of(FURTHER, rest)
}

pub(crate) fn unscanned(server: DataServerId, directory: InodeId) -> Bytes {
    key(UNSCANNED, |to| {
        to.put_u32(server.0);
        to.put_u64(directory.home);
        to.put_u64(directory.number);
    })
}

pub(crate) fn all_unscanned(server: DataServerId) -> KeyRange {
    beginning_with(&key(UNSCANNED, |to| to.put_u32(server.0)))
}

pub(crate) fn unscanned_parts(key: &[u8]) -> Option<(DataServerId, InodeId)> {
    let rest = key.strip_prefix(&[UNSCANNED])?;
    let (server, rest) = rest.split_first_chunk()?;
    let server = DataServerId(u32::from_be_bytes(*server));
    match split_inode(rest)? {
        (id, []) => Some((server, id)),
        _ => None,
    }
}

/// How far the scan of a filer came, in numbers.
pub(crate) fn scan_totals(server: DataServerId) -> Bytes {
    meta(format!("scan {}", server.0).as_bytes())
}

/// Names of one hash that a directory can hold; a third would need a collision in 62 secret bits.
pub(crate) const TIEBREAKS: u8 = 2;

/// Hash of names: 62 bits under a secret of the catalog, so that nobody can aim at a collision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NameHash {
    secret: [u8; 16],
}

impl NameHash {
    pub(crate) fn new(secret: [u8; 16]) -> Self {
        NameHash { secret }
    }

    pub(crate) fn of(&self, name: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.secret);
        hasher.write(name);
        // READDIR cookies 0, 1 and 2 are reserved (RFC 8881 §18.23.3).
        (hasher.finish() >> 2).max(2)
    }
}

pub(crate) fn cookie(hash: u64, tiebreak: u8) -> u64 {
    hash << 1 | u64::from(tiebreak)
}

/// Hash and tiebreak of a cookie.
pub(crate) fn cookie_parts(cookie: u64) -> (u64, u8) {
    (cookie >> 1, (cookie & 1) as u8)
}

/// What a key is of, by its first letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Inode(InodeId, InodePart),
    /// Number of the directory, and hash.
    Entry(u64, u64),
    Orphan(InodeId),
    Writing(InodeId),
    /// With the hash.
    XattrName(InodeId, u64),
    /// With the name's cookie.
    XattrValue(InodeId, u64),
    Index(DataServerId, InodeId),
    Pool(DeadObject),
    Dead(DeadObject),
    /// Where a file of a filer is.
    Found(DeadObject),
    Linked(DeadObject),
    Further(DeadObject),
    Unscanned(DataServerId, InodeId),
    Order,
    Client(u64),
    DataServer(DataServerId),
    Meta,
    Number,
}

/// Of any key; `None` when no version of the catalog writes such a one.
pub(crate) fn kind(key: &[u8]) -> Option<Kind> {
    let (letter, rest) = key.split_first()?;
    let id = || {
        split_inode(rest)
            .filter(|(_, rest)| rest.is_empty())
            .map(|(id, _)| id)
    };
    Some(match *letter {
        INODE => inode_part(key).map(|(id, part)| Kind::Inode(id, part))?,
        ENTRY => entry_parts(key).map(|(directory, hash)| Kind::Entry(directory, hash))?,
        ORPHAN => Kind::Orphan(id()?),
        WRITING => Kind::Writing(id()?),
        XATTR_NAME => xattr_name_parts(key).map(|(id, hash)| Kind::XattrName(id, hash))?,
        XATTR_VALUE => xattr_value_parts(key).map(|(id, at)| Kind::XattrValue(id, at))?,
        INDEX => index_parts(key).map(|(server, id)| Kind::Index(server, id))?,
        POOL => Kind::Pool(object_of(POOL, key)?),
        DEAD => Kind::Dead(dead_object(key)?),
        FOUND => Kind::Found(object_of(FOUND, key)?),
        LINKED => Kind::Linked(linked_object(key)?),
        FURTHER => Kind::Further(further_object(key)?),
        UNSCANNED => unscanned_parts(key).map(|(server, id)| Kind::Unscanned(server, id))?,
        ORDER => order_id(key).map(|_| Kind::Order)?,
        CLIENT => Kind::Client(u64::from_be_bytes(*rest.as_array()?)),
        DATA_SERVER => Kind::DataServer(DataServerId(u32::from_be_bytes(*rest.as_array()?))),
        META => Kind::Meta,
        _ if [FORMAT, SECRET, BOOT_EPOCH, INODE_CEILING, COUNTS].contains(&key) => Kind::Number,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cookie_leads_back_to_its_place(hash in 2..1_u64 << 62, tiebreak in 0..TIEBREAKS) {
            let cookie = cookie(hash, tiebreak);
            prop_assert!((3..1 << 63).contains(&cookie));
            prop_assert_eq!(cookie_parts(cookie), (hash, tiebreak));
        }

        #[test]
        fn a_range_holds_the_keys_that_begin_so_and_no_other(prefix: Vec<u8>, key: Vec<u8>) {
            prop_assume!(prefix.iter().any(|byte| *byte < 0xff));
            let range = beginning_with(&prefix);
            prop_assert_eq!(range.contains(&key), key.starts_with(&prefix));
            let longer: Vec<u8> = prefix.iter().chain(&key).copied().collect();
            prop_assert!(range.contains(&longer));
        }

        #[test]
        fn inode_keys_are_in_the_order_of_their_ids(a: (u64, u64), b: (u64, u64)) {
            let ids = [a, b].map(|(home, number)| InodeId { home, number });
            prop_assert_eq!(ids[0].cmp(&ids[1]), inode(ids[0]).cmp(&inode(ids[1])));
            prop_assert_eq!(kind(&hot_time(ids[0])), Some(Kind::Inode(ids[0], InodePart::Time)));
        }
    }

    #[test]
    fn the_hash_of_names_depends_on_the_secret() {
        let hashes = [[1; 16], [2; 16]].map(|secret| NameHash::new(secret).of(b"name"));
        assert_ne!(hashes[0], hashes[1]);
        assert!(hashes.iter().all(|hash| (2..1 << 62).contains(hash)));
    }
}
