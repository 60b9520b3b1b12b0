//! Versions that a data server keeps chunks of and clients read there: offered to it one by one, and
//! withdrawn before anybody is told of another version.
//!
//! Never here: what the data server keeps, and how it fetches.

use crate::failure::come_again;
use crate::key::Kind;
use crate::meta;
use crate::mirror::{At, Mirror, gone};
use backend::Nanos;
use backend::tree::{Direct, NodeKind, TreeError};
use backend::upstream::{ChunkCache, Version};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Files that are offered at a time; for one more, some other is withdrawn.
const MOST: usize = 65_536;
/// How long a file that changed waits for a data server that doesn't answer. Whoever reads there
/// without having been told of the change has lost his layout by then.
const PATIENCE: Duration = Duration::from_mins(2);

#[derive(Clone)]
struct Out {
    etag: String,
    /// Empty: an earlier start knew it.
    handle: Bytes,
    /// Since when it can't be withdrawn.
    owed: Option<Instant>,
}

pub(crate) struct Offered {
    cache: Arc<dyn ChunkCache>,
    out: Mutex<HashMap<u64, Out>>,
    /// That it doesn't take what it is offered, and not because it is away.
    told: AtomicBool,
}

fn owed(error: &backend::Error) -> TreeError {
    come_again(format!(
        "a file changed, and its old version can't be withdrawn: {error}"
    ))
}

impl Offered {
    pub fn new(cache: Arc<dyn ChunkCache>) -> Self {
        Self {
            cache,
            out: Mutex::default(),
            told: AtomicBool::new(false),
        }
    }

    async fn offer(&self, version: &Version, mtime: Nanos) -> Option<Direct> {
        match self.cache.offer(version, mtime).await {
            Ok(direct) => {
                self.told.store(false, Relaxed);
                Some(direct)
            }
            Err(error) => {
                if error.is_passing() {
                    tracing::debug!(%error, key = version.key, "a file is read through this server");
                } else if !self.told.swap(true, Relaxed) {
                    tracing::warn!("files of a bucket are read through this server: {error}");
                }
                None
            }
        }
    }

    /// Offers it in place of what the file was read by before; `None`: it isn't taken.
    pub async fn put_out(
        &self,
        id: u64,
        version: &Version,
        mtime: Nanos,
    ) -> Result<Option<Direct>, TreeError> {
        let Some(direct) = self.offer(version, mtime).await else {
            return Ok(None);
        };
        let out = Out {
            etag: version.etag.clone(),
            handle: direct.handle.clone(),
            owed: None,
        };
        let (earlier, surplus) = {
            let mut all = self.out.lock();
            let earlier = all.insert(id, out);
            let full = all.len() > MOST;
            let other = all.keys().find(|other| **other != id).copied();
            (earlier, other.filter(|_| full))
        };
        // Of another version of the key nothing is served any more; of another key it may be.
        let other = |out: &Out| out.handle != direct.handle && !out.handle.is_empty();
        if let Some(earlier) = earlier.filter(other)
            && let Err(error) = self.cache.withdraw(&earlier.handle).await
        {
            tracing::debug!(%error, "what a file was read by stays, until its data server is back");
        }
        if let Some(surplus) = surplus {
            self.withdraw(surplus).await?;
        }
        Ok(Some(direct))
    }

    /// Of a version that an earlier start offered: offered once more it is known by which handle it is withdrawn.
    pub async fn take_up(&self, id: u64, version: &Version, mtime: Nanos) -> Result<(), TreeError> {
        let known = self.out.lock().get(&id).cloned();
        if known.as_ref().is_some_and(|out| !out.handle.is_empty()) {
            return Ok(());
        }
        let offered = self.cache.offer(version, mtime).await;
        let mut all = self.out.lock();
        match offered {
            Ok(direct) => {
                let out = Out {
                    etag: version.etag.clone(),
                    handle: direct.handle,
                    owed: None,
                };
                all.insert(id, out);
            }
            Err(error) if error.is_passing() => {
                let since = known.and_then(|out| out.owed).unwrap_or_else(Instant::now);
                if since.elapsed() < PATIENCE {
                    let out = Out {
                        etag: version.etag.clone(),
                        handle: Bytes::new(),
                        owed: Some(since),
                    };
                    all.insert(id, out);
                    return Err(owed(&error));
                }
                tracing::warn!(
                    "the old version of a file that changed was never withdrawn: {error}"
                );
                all.remove(&id);
            }
            // It doesn't cache that any more.
            Err(_) => drop(all.remove(&id)),
        }
        Ok(())
    }

    async fn withdraw(&self, id: u64) -> Result<(), TreeError> {
        let Some(out) = self.out.lock().get(&id).cloned() else {
            return Ok(());
        };
        let failed = self.cache.withdraw(&out.handle).await.err();
        let mut all = self.out.lock();
        let there = all.get_mut(&id).filter(|there| there.handle == out.handle);
        if let (Some(error), Some(there)) = (failed.filter(backend::Error::is_passing), there) {
            let since = *there.owed.get_or_insert_with(Instant::now);
            if since.elapsed() < PATIENCE {
                return Err(owed(&error));
            }
            tracing::warn!("the old version of a file that changed was never withdrawn: {error}");
        }
        if all.get(&id).is_some_and(|there| there.handle == out.handle) {
            all.remove(&id);
        }
        Ok(())
    }
}

impl Mirror {
    /// How clients read the version that is in the bucket now; `None`: through the server.
    pub(crate) async fn direct(&self, at: &At) -> Result<Option<Direct>, TreeError> {
        let Some(offered) = &self.offered else {
            return Ok(None);
        };
        if at.kind == Kind::Folder || self.is_under_change(at.id) {
            return Ok(None);
        }
        let object = self.bucket.head(&at.key).await?.ok_or_else(gone)?;
        let looks = meta::attributes(&object.meta, &self.defaults, false);
        if looks.kind != NodeKind::Regular || object.size == 0 || object.etag.is_empty() {
            return Ok(None);
        }
        let version = Version {
            key: at.key.clone(),
            etag: object.etag,
            size: object.size,
        };
        let mtime = looks.mtime.unwrap_or(object.modified);
        let Some(direct) = offered.put_out(at.id, &version, mtime).await? else {
            return Ok(None);
        };
        // Whoever saw another version, or began to change it, looks at what is offered after that;
        // this looks after it was noted. So one of the two sees the other.
        let seen = self.pins.get(&at.id);
        if self.is_under_change(at.id) || seen.as_deref() != Some(version.etag.as_str()) {
            offered.withdraw(at.id).await?;
            return Ok(None);
        }
        Ok(Some(direct))
    }

    fn is_under_change(&self, id: u64) -> bool {
        self.spools.lock().contains_key(&id)
    }

    /// Nobody is told of this version before others are no longer read.
    pub(crate) async fn seen(&self, id: u64, etag: &str) -> Result<(), TreeError> {
        let Some(offered) = &self.offered else {
            return Ok(());
        };
        let is_another = {
            let all = offered.out.lock();
            all.get(&id).is_some_and(|out| out.etag != etag)
        };
        if is_another {
            offered.withdraw(id).await?;
        }
        Ok(())
    }

    /// It begins to change here.
    pub(crate) async fn withdraw(&self, id: u64) -> Result<(), TreeError> {
        let Some(offered) = &self.offered else {
            return Ok(());
        };
        if let Some((version, mtime)) = self.offered_before(id)? {
            offered.take_up(id, &version, mtime).await?;
        }
        offered.withdraw(id).await
    }
}
