//! Extended attributes of an inode (RFC 8276): a name and a value each, in the order of their names' hashes,
//! which is the order of listings. Names are apart from values: a listing costs what it shows.
//! Never permission: the caller has checked.

use crate::codec::{ColdInode, Record, XattrBucket, XattrNamed, XattrValue};
use crate::error::Error;
use crate::inode::{FileKind, Inode, InodeChange, InodeId, NAME_MAX_BYTES, XattrTotals};
use crate::keys;
use crate::tx::Tx;
use crate::view::{Guard, Reader, misplaced};
use bytes::Bytes;

/// Whether the attribute must be there already (RFC 8276 §8.4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetXattr {
    Either,
    Create,
    Replace,
}

/// What one inode's extended attributes may come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XattrLimits {
    /// Of one value; 64 KiB at most, which every engine takes as a record.
    pub value_bytes: u32,
    pub count: u32,
    /// Names and values of all.
    pub total_bytes: u64,
}

impl Default for XattrLimits {
    fn default() -> Self {
        XattrLimits {
            value_bytes: 64 << 10,
            count: 1024,
            total_bytes: 1 << 20,
        }
    }
}

/// A name in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattr {
    pub name: Bytes,
    /// Position in a listing, as of a directory's entries: kept as long as the attribute lives.
    pub cookie: u64,
    /// Of its value.
    pub bytes: u32,
}

impl Tx {
    /// Sets an attribute; change and ctime of its inode move. The change is that of an inode which is no
    /// directory; a directory's is in [`crate::Done::directories`].
    pub async fn xattr_set(
        &mut self,
        id: InodeId,
        name: &[u8],
        value: &Bytes,
        how: SetXattr,
        limits: &XattrLimits,
    ) -> Result<InodeChange, Error> {
        if !(1..=NAME_MAX_BYTES).contains(&name.len()) {
            return Err(Error::NameTooLong);
        }
        let value_bytes = u32::try_from(value.len())
            .ok()
            .filter(|bytes| *bytes <= limits.value_bytes);
        let value_bytes = value_bytes.ok_or(Error::TooLarge {
            what: "value",
            bytes: value.len(),
            limit: limits.value_bytes as usize,
        })?;
        let mut cold = self.cold(id).await?;
        let (key, hash, mut bucket) = self.xattr_bucket(id, name).await?;
        let known = bucket.0.iter_mut().find(|known| known.name == name);
        let mut totals = cold.inode.xattrs;
        let tiebreak = match (known, how) {
            (Some(_), SetXattr::Create) => return Err(Error::Exists),
            (None, SetXattr::Replace) => return Err(Error::NoXattr),
            (Some(known), _) => {
                totals.bytes =
                    totals.bytes.saturating_sub(known.bytes.into()) + u64::from(value_bytes);
                known.bytes = value_bytes;
                known.tiebreak
            }
            (None, _) => {
                totals.count += 1;
                totals.bytes += name.len() as u64 + u64::from(value_bytes);
                let tiebreak = free_tiebreak(&bucket)?;
                bucket.0.push(XattrNamed {
                    name: Bytes::copy_from_slice(name),
                    tiebreak,
                    bytes: value_bytes,
                });
                bucket.0.sort_by_key(|named| named.tiebreak);
                tiebreak
            }
        };
        // What makes it smaller is taken, though a limit was lowered meanwhile.
        let grows =
            totals.count > cold.inode.xattrs.count || totals.bytes > cold.inode.xattrs.bytes;
        if grows && (totals.count > limits.count || totals.bytes > limits.total_bytes) {
            return Err(Error::XattrsFull);
        }
        self.set_record(key, &bucket);
        let value_key = keys::xattr_value(id, hash, tiebreak);
        self.set_record(value_key, &XattrValue(value.clone()));
        cold.inode.xattrs = totals;
        Ok(self.store_with_xattrs(cold))
    }

    /// Removes an attribute; otherwise as [`Tx::xattr_set`].
    pub async fn xattr_remove(&mut self, id: InodeId, name: &[u8]) -> Result<InodeChange, Error> {
        let mut cold = self.cold(id).await?;
        let (key, hash, mut bucket) = self.xattr_bucket(id, name).await?;
        let at = bucket.0.iter().position(|known| known.name == name);
        let gone = bucket.0.remove(at.ok_or(Error::NoXattr)?);
        if bucket.0.is_empty() {
            self.delete(key);
        } else {
            self.set_record(key, &bucket);
        }
        self.delete(keys::xattr_value(id, hash, gone.tiebreak));
        let totals = &mut cold.inode.xattrs;
        totals.count = totals.count.saturating_sub(1);
        let bytes = gone.name.len() as u64 + u64::from(gone.bytes);
        totals.bytes = totals.bytes.saturating_sub(bytes);
        Ok(self.store_with_xattrs(cold))
    }

    fn store_with_xattrs(&mut self, mut cold: ColdInode) -> InodeChange {
        let id = cold.inode.id;
        let before = cold.inode.change;
        if cold.inode.kind == FileKind::Directory {
            cold.inode.ctime = self.now;
            self.touch_attributes(id);
        } else {
            self.restamp(&mut cold.inode);
        }
        self.store_inode(&cold.inode, cold.times_mark);
        InodeChange {
            id,
            before,
            after: cold.inode.change,
        }
    }

    /// The inode goes, and what it has of these with it.
    pub(crate) fn forget_xattrs(&mut self, inode: &Inode) {
        if inode.xattrs != XattrTotals::default() {
            self.clear(keys::xattr_names(inode.id));
            self.clear(keys::xattr_values(inode.id));
        }
    }
}

fn free_tiebreak(bucket: &XattrBucket) -> Result<u8, Error> {
    let is_free = |tiebreak: &u8| bucket.0.iter().all(|named| named.tiebreak != *tiebreak);
    (0..keys::TIEBREAKS)
        .find(is_free)
        .ok_or_else(|| Error::Store("three names of one inode have the same hash".into()))
}

impl Reader {
    async fn xattr_bucket(
        &self,
        id: InodeId,
        name: &[u8],
    ) -> Result<(Bytes, u64, XattrBucket), Error> {
        let hash = self.core.names.of(name);
        let key = keys::xattr_name(id, hash);
        let bucket = self.record(&key, Guard::Conflict).await?;
        Ok((key, hash, bucket.unwrap_or_default()))
    }

    /// The value of an attribute. Doesn't tell an inode that is gone from one without it.
    pub async fn xattr(&self, id: InodeId, name: &[u8]) -> Result<Option<Bytes>, Error> {
        let (_, hash, bucket) = self.xattr_bucket(id, name).await?;
        let Some(known) = bucket.0.iter().find(|known| known.name == name) else {
            return Ok(None);
        };
        let key = keys::xattr_value(id, hash, known.tiebreak);
        let value: Option<XattrValue> = self.record(&key, Guard::Conflict).await?;
        match value {
            Some(value) => Ok(Some(value.0)),
            None => Err(Error::Corrupt(format!(
                "the extended attribute {:?} of {id:?} has no value",
                known.name
            ))),
        }
    }

    /// Attributes with cookies above `after_cookie` (0: from the start), at most `limit`, and whether there
    /// are more.
    pub async fn xattrs(
        &self,
        id: InodeId,
        after_cookie: u64,
        limit: usize,
    ) -> Result<(Vec<Xattr>, bool), Error> {
        let limit = limit.max(1);
        let (first_hash, first_tiebreak) = keys::cookie_parts(after_cookie.saturating_add(1));
        let mut found = Vec::new();
        // One row more than is wanted tells whether there is more.
        let rows = self
            .rows(
                keys::xattr_names_from(id, first_hash),
                limit + 2,
                Guard::Free,
            )
            .await?;
        for (key, value) in rows {
            let (_, hash) = keys::xattr_name_parts(&key)
                .ok_or_else(|| misplaced("the name of an extended attribute"))?;
            for named in XattrBucket::decode(&value)?.0 {
                if hash == first_hash && named.tiebreak < first_tiebreak {
                    continue;
                }
                if found.len() == limit {
                    return Ok((found, true));
                }
                found.push(Xattr {
                    cookie: keys::cookie(hash, named.tiebreak),
                    name: named.name,
                    bytes: named.bytes,
                });
            }
        }
        Ok((found, false))
    }
}
