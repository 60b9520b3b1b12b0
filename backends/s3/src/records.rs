//! What a state folder remembers, for who compares it with the bucket.
//!
//! Never here: changes of it.

use crate::attach::AttachError;
use crate::ids::{Ids, IdsError};
use crate::key::Kind;
use crate::objects::{self, Late};
use std::path::Path;
use std::sync::Arc;

/// Below the bucket's prefix.
#[derive(Debug, Default)]
pub struct Records {
    /// The keys of files that have an id.
    pub files: Vec<String>,
    /// Those of folders, which end in a slash.
    pub folders: Vec<String>,
    /// Ids whose folder is gone.
    pub astray: usize,
    /// Uploads and renames that aren't done.
    pub under_way: usize,
    /// Files under change.
    pub spooled: usize,
    /// The keys that data objects of a managed bucket may have.
    pub objects: Vec<String>,
    /// Those of data objects that aren't there yet.
    pub unwritten: Vec<String>,
    /// The keys that are deleted once more, since something may come under them.
    pub awaited: Vec<String>,
}

impl Records {
    /// Of a bucket that isn't attached.
    pub fn of(state: &Path) -> Result<Self, AttachError> {
        let store = |error: IdsError| AttachError::Store {
            folder: state.to_owned(),
            why: error.to_string(),
        };
        let ids = Arc::new(Ids::open(&state.join("ids")).map_err(store)?);
        let mut records = Self::default();
        for (_, intent) in ids.intents().map_err(store)? {
            match Late::from_bytes(&intent) {
                Some(late) => records.awaited.push(late.key),
                None => records.under_way += 1,
            }
        }
        for id in ids.all().map_err(store)? {
            match ids.path(id).map_err(store)? {
                Some((Kind::File, key)) => records.files.push(key),
                Some((Kind::Folder, key)) => records.folders.push(key),
                None => records.astray += 1,
            }
        }
        for (key, begun) in objects::keys(&ids).map_err(store)? {
            if begun {
                records.objects.push(key);
            } else {
                records.unwritten.push(key);
            }
        }
        let spool = std::fs::read_dir(state.join("spool"));
        records.spooled = spool
            .map_err(|source| AttachError::Folder {
                folder: state.to_owned(),
                source,
            })?
            .count();
        Ok(records)
    }
}
