//! Which version of each file was offered, over restarts: a row before the offer, and none once it was withdrawn.
//!
//! Never here: the data server.

use crate::failure::of_state;
use crate::ids::{Ids, IdsError};
use crate::rows::{join, number, split, text};
use crate::work::died;
use backend::tree::TreeError;
use backend::upstream::Version;
use fjall::{Keyspace, OwnedWriteBatch};
use std::sync::Arc;

const DAMAGED: IdsError = IdsError::Damaged("a row of what is cached");

pub(crate) struct Notes {
    ids: Arc<Ids>,
    /// By the file's id.
    rows: Keyspace,
}

fn to_bytes(version: &Version) -> Vec<u8> {
    join(&[
        version.key.as_bytes(),
        version.etag.as_bytes(),
        &version.size.to_be_bytes(),
    ])
}

fn from_bytes(bytes: &[u8]) -> Option<Version> {
    let [key, etag, size] = split(bytes)?;
    Some(Version {
        key: text(key)?,
        etag: text(etag)?,
        size: number(size)?,
    })
}

async fn commit(batch: OwnedWriteBatch) -> Result<(), TreeError> {
    let done = tokio::task::spawn_blocking(move || batch.commit().map_err(IdsError::from));
    let done = done.await.map_err(|error| died(&error))?;
    done.map_err(|error| of_state(&error))
}

impl Notes {
    pub(crate) fn open(ids: &Arc<Ids>) -> Result<Self, IdsError> {
        Ok(Self {
            rows: ids.keyspace("offered")?,
            ids: Arc::clone(ids),
        })
    }

    pub(crate) fn all(&self) -> Result<Vec<(u64, Version)>, IdsError> {
        let mut all = Vec::new();
        for row in self.rows.iter() {
            let (id, row) = row.into_inner()?;
            let id = number(&id).ok_or(DAMAGED)?;
            all.push((id, from_bytes(&row).ok_or(DAMAGED)?));
        }
        Ok(all)
    }

    /// Durable when it answers.
    pub(super) async fn note(&self, id: u64, version: &Version) -> Result<(), TreeError> {
        let mut batch = self.ids.batch();
        batch.insert(&self.rows, id.to_be_bytes(), to_bytes(version));
        commit(batch).await
    }

    /// It may come back by a death: what was withdrawn is withdrawn again then.
    pub(super) async fn forget(&self, id: u64) -> Result<(), TreeError> {
        let mut batch = self.ids.late_batch();
        batch.remove(&self.rows, id.to_be_bytes());
        commit(batch).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let version = Version {
            key: "a/b\nc".into(),
            etag: "\"e\"".into(),
            size: 7,
        };
        assert_eq!(from_bytes(&to_bytes(&version)), Some(version));
    }
}
