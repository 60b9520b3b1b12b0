//! Versions that a data server keeps chunks of and clients read there: offered to it one by one, and
//! withdrawn before anybody is told of another version.
//!
//! What is offered of a file is decided by whoever has its turn. It is noted durably first (of a data object its row
//! says so), so that it is withdrawn by a later start as well.
//!
//! Never here: what the data server keeps, and how it fetches.

mod notes;

pub(crate) use notes::Notes;

use crate::failure::come_again;
use crate::ids::IdsError;
use crate::key::Kind;
use crate::meta;
use crate::mirror::{At, Mirror, gone};
use crate::spool::Spool;
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
/// Between tries to withdraw what is gone.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Out {
    version: Version,
    /// Empty: an earlier start knew it.
    handle: Bytes,
    /// Since when it can't be withdrawn.
    owed: Option<Instant>,
}

impl Out {
    fn of_before(version: Version) -> Self {
        Self {
            version,
            handle: Bytes::new(),
            owed: None,
        }
    }
}

pub(crate) struct Offered {
    cache: Arc<dyn ChunkCache>,
    /// Of a tree: what an object's row says of one that is kept.
    notes: Option<Notes>,
    out: Mutex<HashMap<u64, Out>>,
    /// That it doesn't take what it is offered, and not because it is away.
    told: AtomicBool,
}

impl Offered {
    pub fn new(cache: Arc<dyn ChunkCache>, notes: Option<Notes>) -> Result<Self, IdsError> {
        let before = notes.as_ref().map_or_else(|| Ok(Vec::new()), Notes::all)?;
        let before = before.into_iter();
        let out = before.map(|(id, version)| (id, Out::of_before(version)));
        Ok(Self {
            cache,
            notes,
            out: Mutex::new(out.collect()),
            told: AtomicBool::new(false),
        })
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
    async fn put_out(
        &self,
        id: u64,
        version: &Version,
        mtime: Nanos,
    ) -> Result<Option<Direct>, TreeError> {
        let earlier = self.out.lock().get(&id).map(|out| out.version.clone());
        let is_known = earlier.as_ref() == Some(version);
        if !is_known {
            self.withdraw(id).await?;
            if let Some(notes) = &self.notes {
                notes.note(id, version).await?;
            }
        }
        let Some(direct) = self.offer(version, mtime).await else {
            if !is_known {
                self.unnote(id).await?;
            }
            return Ok(None);
        };
        let out = Out {
            handle: direct.handle.clone(),
            ..Out::of_before(version.clone())
        };
        self.out.lock().insert(id, out);
        Ok(Some(direct))
    }

    /// What an earlier start may have offered.
    fn remember(&self, id: u64, version: Version) {
        let mut all = self.out.lock();
        all.entry(id).or_insert_with(|| Out::of_before(version));
    }

    fn is_another(&self, id: u64, etag: &str) -> bool {
        let all = self.out.lock();
        all.get(&id).is_some_and(|out| out.version.etag != etag)
    }

    async fn unnote(&self, id: u64) -> Result<(), TreeError> {
        match &self.notes {
            Some(notes) => notes.forget(id).await,
            None => Ok(()),
        }
    }

    async fn withdraw_out(&self, out: &Out) -> Result<(), backend::Error> {
        if !out.handle.is_empty() {
            return self.cache.withdraw(&out.handle).await;
        }
        // Offered once more it is known by which handle it is withdrawn.
        let offered = self.cache.offer(&out.version, 0).await?;
        self.cache.withdraw(&offered.handle).await
    }

    async fn withdraw(&self, id: u64) -> Result<(), TreeError> {
        let Some(out) = self.out.lock().get(&id).cloned() else {
            return Ok(());
        };
        let withdrawn = self.withdraw_out(&out).await;
        // Another reason is that it doesn't cache that any more.
        if let Err(error) = withdrawn
            && error.is_passing()
        {
            let mut all = self.out.lock();
            let since = all.get_mut(&id).map_or_else(Instant::now, |there| {
                *there.owed.get_or_insert_with(Instant::now)
            });
            if since.elapsed() < PATIENCE {
                return Err(come_again(format!(
                    "a file changed, and its old version can't be withdrawn: {error}"
                )));
            }
            tracing::warn!("the old version of a file that changed was never withdrawn: {error}");
        }
        self.out.lock().remove(&id);
        self.unnote(id).await
    }

    /// A file that is to be withdrawn, since there are too many.
    fn surplus(&self, id: u64) -> Option<u64> {
        let all = self.out.lock();
        let other = all.keys().find(|other| **other != id).copied();
        other.filter(|_| all.len() > MOST)
    }
}

impl Mirror {
    /// How clients read the version that is there now, where it is cached; `None`: through the server.
    /// Nobody changes it through this server before that is noted.
    pub(crate) async fn direct(self: &Arc<Self>, at: At) -> Result<Option<Direct>, TreeError> {
        let begun = self.spools.lock().get(&at.id).map(|spool| spool.is_begun());
        if self.offered.is_none() || at.kind == Kind::Folder || begun == Some(true) {
            return Ok(None);
        }
        // Before the turn: of one file many may ask at once.
        let there = match self.kept {
            Some(_) => None,
            None => match self.version_there(&at).await? {
                None => return Ok(None),
                there => there,
            },
        };
        let mirror = Arc::clone(self);
        self.carried_out(Box::pin(async move {
            let (spool, mut turn) = mirror.spool(at.id).await?;
            let direct = mirror.direct_in_turn(&at, &spool, there).await;
            mirror.done(&spool, &mut turn);
            drop(turn);
            mirror.withdraw_surplus(at.id).await?;
            direct
        }))
        .await
    }

    async fn direct_in_turn(
        &self,
        at: &At,
        spool: &Arc<Spool>,
        there: Option<(Version, Nanos)>,
    ) -> Result<Option<Direct>, TreeError> {
        let Some(offered) = self.offered.as_ref().filter(|_| !spool.is_begun()) else {
            return Ok(None);
        };
        let Some((version, mtime)) = there else {
            let Some((version, mtime)) = self.noted_version(at).await? else {
                return Ok(None);
            };
            return offered.put_out(at.id, &version, mtime).await;
        };
        let direct = offered.put_out(at.id, &version, mtime).await?;
        // Whoever saw or made another version looks at what is offered after that; this looks after it was put
        // out. So one of the two sees the other.
        let seen = self.pins.get(&at.id);
        if direct.is_some() && seen.as_deref() != Some(version.etag.as_str()) {
            offered.withdraw(at.id).await?;
            return Ok(None);
        }
        Ok(direct)
    }

    /// The version in the bucket, where it has bytes to be read.
    async fn version_there(&self, at: &At) -> Result<Option<(Version, Nanos)>, TreeError> {
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
        Ok(Some((version, looks.mtime.unwrap_or(object.modified))))
    }

    async fn withdraw_surplus(&self, id: u64) -> Result<(), TreeError> {
        let surplus = self.offered.as_ref().and_then(|all| all.surplus(id));
        match surplus {
            Some(surplus) => self.withdraw_in_turn(surplus).await,
            None => Ok(()),
        }
    }

    /// Of a file that the caller hasn't the turn of.
    async fn withdraw_in_turn(&self, id: u64) -> Result<(), TreeError> {
        let (spool, mut turn) = self.spool(id).await?;
        let withdrawn = self.withdraw(id).await;
        self.done(&spool, &mut turn);
        withdrawn
    }

    /// Nobody is told of this version before others are no longer read.
    pub(crate) async fn seen(&self, id: u64, etag: &str) -> Result<(), TreeError> {
        let Some(offered) = &self.offered else {
            return Ok(());
        };
        if !offered.is_another(id, etag) {
            return Ok(());
        }
        let mirror = self.this.upgrade().ok_or_else(gone)?;
        let etag = etag.to_owned();
        self.carried_out(Box::pin(async move {
            let (spool, mut turn) = mirror.spool(id).await?;
            let is_another = |offered: &Offered| offered.is_another(id, &etag);
            let withdrawn = match mirror.offered.as_ref().filter(|all| is_another(all)) {
                Some(offered) => offered.withdraw(id).await,
                None => Ok(()),
            };
            mirror.done(&spool, &mut turn);
            withdrawn
        }))
        .await
    }

    /// It begins to change here.
    pub(crate) async fn withdraw(&self, id: u64) -> Result<(), TreeError> {
        let Some(offered) = &self.offered else {
            return Ok(());
        };
        if let Some(version) = self.offered_before(id)? {
            offered.remember(id, version);
        }
        offered.withdraw(id).await
    }

    /// What an earlier start offered of files that are gone by now.
    pub(crate) fn withdraw_gone(&self) -> Result<(), TreeError> {
        let ids: Vec<u64> = match &self.offered {
            Some(offered) => offered.out.lock().keys().copied().collect(),
            None => Vec::new(),
        };
        for id in ids {
            if self.at_id(id)?.is_none() {
                self.withdraw_later(id);
            }
        }
        Ok(())
    }

    /// Of a file that is gone: whoever reads it there may for a while.
    pub(crate) fn withdraw_later(&self, id: u64) {
        let is_out = |all: &Offered| all.out.lock().contains_key(&id);
        let Some(mirror) = self.this.upgrade() else {
            return;
        };
        if self.offered.as_ref().is_some_and(is_out) {
            self.in_the_background(async move {
                while let Err(error) = mirror.withdraw_in_turn(id).await {
                    tracing::debug!(%error, "what is cached of a file that is gone stays for now");
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(())
            });
        }
    }
}
