//! What is known of each data object: whose it is, how long, and which version in the bucket has how many of
//! its bytes. A version that isn't the one that is noted here is never read.
//!
//! Sizes are made durable here alone: an object that grew has no bytes for that in the bucket, and of one that
//! was cut the bucket's version has more than counts. So neither needs a request, nor does an empty object.
//!
//! Never here: requests.

use super::mark::Mark;
use crate::bucket::{Dress, Object};
use crate::failure::of_state;
use crate::ids::{Ids, IdsError};
use crate::meta::{self, Metadata};
use crate::rows::{join, number, split, text};
use crate::work::died;
use backend::tree::TreeError;
use backend::upstream::Version;
use fjall::Keyspace;
use layout::{ObjectId, Owner};
use parking_lot::Mutex;
use std::sync::Arc;

/// Of the fact that names the bucket.
const MARK: &str = "mark";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub object: ObjectId,
    pub owner: Owner,
    pub size: u64,
    pub mtime: u64,
    pub ctime: u64,
    /// The version in the bucket; empty: none that counts.
    pub etag: String,
    /// When that version was made; each version of an object has a time of its own.
    pub put: u64,
    /// How many bytes it has.
    pub whole: u64,
    /// How many of them count, from the first on; behind them are zeros up to the size.
    pub base: u64,
    /// Whether something may lie under its key: an upload was begun.
    pub begun: bool,
    /// Whether clients may have been told where that version is cached.
    pub offered: bool,
}

impl Row {
    pub(crate) fn new(object: ObjectId, owner: Owner) -> Self {
        let now = meta::now() as u64;
        Self {
            object,
            owner,
            size: 0,
            mtime: now,
            ctime: now,
            etag: String::new(),
            put: 0,
            whole: 0,
            base: 0,
            begun: false,
            offered: false,
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        join(&[
            &self.object.0.to_be_bytes(),
            &[self.owner.uid.to_be_bytes(), self.owner.gid.to_be_bytes()].concat(),
            &self.size.to_be_bytes(),
            &self.mtime.to_be_bytes(),
            &self.ctime.to_be_bytes(),
            self.etag.as_bytes(),
            &self.put.to_be_bytes(),
            &self.whole.to_be_bytes(),
            &self.base.to_be_bytes(),
            &[u8::from(self.begun), u8::from(self.offered)],
        ])
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [
            object,
            owner,
            size,
            mtime,
            ctime,
            etag,
            put,
            whole,
            base,
            flags,
        ] = split(bytes)?;
        let &[begun, offered] = flags else {
            return None;
        };
        let owner = number(owner)?;
        Some(Self {
            object: ObjectId(u128::from_be_bytes(object.try_into().ok()?)),
            owner: Owner {
                uid: (owner >> 32) as u32,
                gid: owner as u32,
            },
            size: number(size)?,
            mtime: number(mtime)?,
            ctime: number(ctime)?,
            etag: text(etag)?,
            put: number(put)?,
            whole: number(whole)?,
            base: number(base)?,
            begun: begun == 1,
            offered: offered == 1,
        })
    }

    /// The object as a spool begins with it.
    pub(crate) fn version(&self) -> Object {
        let mut meta = Metadata::new();
        meta::put_times(&mut meta, self.mtime.into(), self.ctime.into());
        Object {
            etag: self.etag.clone(),
            size: self.size,
            modified: self.mtime.into(),
            meta,
            dress: Dress::default(),
        }
    }

    /// The version that has all of the object's bytes, and no others.
    pub(super) fn exact(&self, key: &str) -> Option<Version> {
        let is_exact = self.size > 0 && self.base == self.size && self.whole == self.size;
        is_exact.then(|| self.known(key))
    }

    pub(super) fn known(&self, key: &str) -> Version {
        Version {
            key: key.to_owned(),
            etag: self.etag.clone(),
            size: self.whole,
        }
    }

    /// What was offered has been withdrawn by now.
    pub(crate) fn cut_or_grow(&mut self, size: u64) {
        self.size = size;
        self.offered = false;
        self.base = self.base.min(size);
        self.ctime = (meta::now() as u64).max(self.ctime + 1);
        self.mtime = self.ctime;
    }
}

struct Rows {
    ids: Arc<Ids>,
    /// By number, which no two objects have, though they had one id.
    rows: Keyspace,
    /// By object id.
    numbers: Keyspace,
    facts: Keyspace,
    /// Held by who changes a row. How many changes there were.
    changing: Mutex<u64>,
    /// Held by who makes changes durable, for all who wait for that. How many are.
    durable: Mutex<u64>,
}

/// Clones are the same one.
#[derive(Clone)]
pub(crate) struct Kept(Arc<Rows>);

impl Kept {
    pub(crate) fn open(ids: &Arc<Ids>) -> Result<Self, IdsError> {
        Ok(Self(Arc::new(Rows {
            rows: ids.keyspace("objects")?,
            numbers: ids.keyspace("object-numbers")?,
            facts: ids.keyspace("object-facts")?,
            ids: Arc::clone(ids),
            changing: Mutex::default(),
            durable: Mutex::default(),
        })))
    }

    pub(crate) fn row(&self, number: u64) -> Result<Option<Row>, TreeError> {
        self.0.row(number).map_err(|error| of_state(&error))
    }

    pub(crate) fn number(&self, object: ObjectId) -> Result<Option<u64>, TreeError> {
        self.0.number(object).map_err(|error| of_state(&error))
    }

    /// All objects.
    pub(crate) fn all(&self) -> Result<Vec<Row>, IdsError> {
        let rows = self.0.rows.iter();
        rows.map(|row| {
            Row::from_bytes(&row.value()?).ok_or(IdsError::Damaged("a data object's row"))
        })
        .collect()
    }

    pub(crate) fn mark(&self) -> Result<Option<Mark>, IdsError> {
        let Some(mark) = self.0.facts.get(MARK)? else {
            return Ok(None);
        };
        let mark = Mark::from_bytes(&mark);
        mark.map(Some).ok_or(IdsError::Damaged("the bucket's id"))
    }

    pub(crate) fn set_mark(&self, mark: &Mark) -> Result<(), IdsError> {
        let mut batch = self.0.ids.batch();
        batch.insert(&self.0.facts, MARK, mark.to_bytes());
        batch.commit()?;
        Ok(())
    }

    /// A change, alone with the rows, that is put into a batch. Durable when it answers.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Rows) -> Result<T, IdsError> + Send + 'static,
    ) -> Result<T, TreeError> {
        let rows = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || {
            let mut changes = rows.changing.lock();
            let done = work(&rows)?;
            *changes += 1;
            let change = *changes;
            drop(changes);
            rows.make_durable(change)?;
            Ok::<_, IdsError>(done)
        });
        let done = done.await;
        done.map_err(|error| died(&error))?
            .map_err(|error| of_state(&error))
    }

    /// The number of a new object, or of one of that id that is there. Durable.
    pub(crate) async fn add(&self, row: Row) -> Result<(u64, bool), TreeError> {
        self.write(move |rows| {
            if let Some(number) = rows.number(row.object)? {
                return Ok((number, false));
            }
            let batch = rows.ids.late_batch();
            let number = rows.ids.numbered(batch, |number, batch| {
                batch.insert(&rows.rows, number.to_be_bytes(), row.to_bytes());
                let object = row.object.0.to_be_bytes();
                batch.insert(&rows.numbers, object, number.to_be_bytes());
            })?;
            Ok((number, true))
        })
        .await
    }

    /// The row as it is after the change. Durable.
    pub(crate) async fn change(
        &self,
        number: u64,
        change: impl FnOnce(&mut Row) + Send + 'static,
    ) -> Result<Option<Row>, TreeError> {
        self.write(move |rows| {
            let Some(mut row) = rows.row(number)? else {
                return Ok(None);
            };
            change(&mut row);
            let mut batch = rows.ids.late_batch();
            batch.insert(&rows.rows, number.to_be_bytes(), row.to_bytes());
            batch.commit()?;
            Ok(Some(row))
        })
        .await
    }

    pub(crate) async fn forget(&self, number: u64) -> Result<(), TreeError> {
        self.write(move |rows| {
            let Some(row) = rows.row(number)? else {
                return Ok(());
            };
            let mut batch = rows.ids.late_batch();
            batch.remove(&rows.rows, number.to_be_bytes());
            batch.remove(&rows.numbers, row.object.0.to_be_bytes());
            batch.commit()?;
            Ok(())
        })
        .await
    }
}

impl Rows {
    /// One sync of the disk for all changes that wait for one.
    fn make_durable(&self, change: u64) -> Result<(), IdsError> {
        let mut durable = self.durable.lock();
        if *durable < change {
            let changes = *self.changing.lock();
            self.ids.sync()?;
            *durable = changes;
        }
        Ok(())
    }

    fn row(&self, number: u64) -> Result<Option<Row>, IdsError> {
        let Some(bytes) = self.rows.get(number.to_be_bytes())? else {
            return Ok(None);
        };
        let row = Row::from_bytes(&bytes);
        row.map(Some)
            .ok_or(IdsError::Damaged("a data object's row"))
    }

    fn number(&self, object: ObjectId) -> Result<Option<u64>, IdsError> {
        let Some(bytes) = self.numbers.get(object.0.to_be_bytes())? else {
            return Ok(None);
        };
        let known = number(&bytes);
        known
            .map(Some)
            .ok_or(IdsError::Damaged("a data object's number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let row = Row {
            size: 7,
            etag: "\"e\"".into(),
            put: 3,
            whole: 6,
            base: 5,
            begun: true,
            offered: false,
            ..Row::new(
                ObjectId(1 << 100 | 9),
                Owner {
                    uid: u32::MAX,
                    gid: 4,
                },
            )
        };
        assert_eq!(Row::from_bytes(&row.to_bytes()), Some(row));
    }
}
