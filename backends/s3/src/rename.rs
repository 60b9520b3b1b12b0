//! RENAME: a bucket has none. Each key is copied, then the local store gives the node its new name, then
//! the old keys are deleted: at any moment the node's own key is there. What is under way is durable in
//! the local store before the first copy, and goes on at the next start.
//!
//! A folder's rename keeps every other change through this server out. Others may put keys into the old
//! folder meanwhile: what has no copy when its turn to be deleted comes is copied first.
//!
//! Never here: the rows (`ids`).

use crate::bucket::{If, Listed, Object, PAGE};
use crate::failure::{come_again, of_state};
use crate::key::Kind;
use crate::mirror::{At, Mirror, gone, looks_of_name, no_entry};
use crate::parts;
use crate::rows::{join, number, split, text};
use crate::spool::Turn;
use crate::work::died;
use aws_sdk_s3::primitives::ByteStream;
use backend::tree::{FolderChange, TreeError, TreeErrorKind};
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;

/// Keys that are copied at once.
const COPIES: usize = 16;
/// Renames whose callers were told to come again.
const REMEMBERED: usize = 1024;
/// Looks at a source that others change.
const TRIES: usize = 4;
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

const FILE: &[u8] = b"rename-file";
const FOLDER: &[u8] = b"rename-folder";

type Outcome = Result<(FolderChange, FolderChange), TreeError>;
type Names = (u64, Bytes, u64, Bytes);

/// Renames under way, or done and not yet told: a caller who comes again gets the first one's answer.
#[derive(Default)]
pub(crate) struct Renames(Mutex<HashMap<Names, Shared<BoxFuture<'static, Outcome>>>>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Intent {
    kind: Kind,
    /// The copies are made and the node has its new name.
    copied: bool,
    id: u64,
    from: String,
    /// Of a file's version.
    etag: String,
    to: String,
    parent: u64,
    component: String,
}

impl Intent {
    fn to_bytes(&self) -> Vec<u8> {
        let kind = match self.kind {
            Kind::File => FILE,
            Kind::Folder => FOLDER,
        };
        join(&[
            kind,
            &[u8::from(self.copied)],
            &self.id.to_be_bytes(),
            self.from.as_bytes(),
            self.etag.as_bytes(),
            self.to.as_bytes(),
            &self.parent.to_be_bytes(),
            self.component.as_bytes(),
        ])
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [kind, copied, id, from, etag, to, parent, component] = split(bytes)?;
        Some(Self {
            kind: match kind {
                FILE => Kind::File,
                FOLDER => Kind::Folder,
                _ => return None,
            },
            copied: copied == [1],
            id: number(id)?,
            from: text(from)?,
            etag: text(etag)?,
            to: text(to)?,
            parent: number(parent)?,
            component: text(component)?,
        })
    }
}

/// The folder that a key lies in.
fn folder_of(key: &str) -> &str {
    let name = key.strip_suffix('/').unwrap_or(key);
    name.rfind('/').map_or("", |at| &name[..=at])
}

impl Mirror {
    pub(crate) async fn rename(self: &Arc<Self>, from: (At, Bytes), to: (At, Bytes)) -> Outcome {
        self.writable()?;
        let names = (from.0.id, from.1.clone(), to.0.id, to.1.clone());
        let known = self.renames.0.lock().get(&names).cloned();
        let known = match known {
            // Done, but is that the same request? Not if there is something to rename again.
            Some(done) if done.peek().is_some() => {
                let again = self.seek(&from.0, &from.1).await?.is_some();
                (!again).then_some(done)
            }
            known => known,
        };
        let outcome = known.unwrap_or_else(|| {
            let mirror = Arc::clone(self);
            let work = self.task(async move { mirror.rename_now(&from, &to).await });
            let outcome = work.map(|done| match done {
                Ok(outcome) => outcome,
                Err(error) => Err(died(&error)),
            });
            let outcome = outcome.boxed().shared();
            let mut renames = self.renames.0.lock();
            if renames.len() >= REMEMBERED {
                renames.retain(|_, one| one.peek().is_none());
            }
            renames.insert(names.clone(), outcome.clone());
            outcome
        });
        let done = outcome.await;
        self.renames.0.lock().remove(&names);
        done
    }

    async fn rename_now(&self, from: &(At, Bytes), to: &(At, Bytes)) -> Outcome {
        let shared = Arc::clone(&self.names).read_owned().await;
        let found = self.seek(&from.0, &from.1).await?;
        match found.map(|(_, found)| found.kind()) {
            Some(Kind::File) => {
                let _shared = shared;
                self.rename_there(from, to).await
            }
            Some(Kind::Folder) => {
                drop(shared);
                let _alone = self.names.write().await;
                self.rename_there(from, to).await
            }
            None if self.folder_is_there(&from.0.key).await? => Err(no_entry()),
            None => Err(gone()),
        }
    }

    async fn rename_there(
        &self,
        (from, from_name): &(At, Bytes),
        (to, to_name): &(At, Bytes),
    ) -> Outcome {
        let (component, found) = self.seek(from, from_name).await?.ok_or_else(no_entry)?;
        let kind = found.kind();
        let from_key = from.inner(kind, &component);
        let target = self.seek(to, to_name).await?;
        let replaces = target.is_some();
        let to_component = match target {
            Some((to_component, target)) => {
                if target.kind() == kind && to.id == from.id && to_component == component {
                    return Ok(Default::default());
                }
                let to_key = to.inner(target.kind(), &to_component);
                let refuse = |kind, why: &str| Err(TreeError::new(kind, why));
                match (kind, target.kind()) {
                    (Kind::File, Kind::Folder) => {
                        return refuse(TreeErrorKind::IsFolder, "a folder has the new name");
                    }
                    (Kind::Folder, Kind::File) => {
                        return refuse(TreeErrorKind::NotFolder, "a file has the new name");
                    }
                    (Kind::Folder, Kind::Folder) if !self.is_empty(&to_key).await? => {
                        return refuse(TreeErrorKind::NotEmpty, "the folder there isn't empty");
                    }
                    _ => to_component,
                }
            }
            None => Self::component(to, kind, to_name)?,
        };
        if kind == Kind::Folder && to.key.starts_with(&from_key) {
            return Err(TreeError::new(
                TreeErrorKind::Invalid,
                "a folder can't be moved into itself",
            ));
        }
        if !self.folder_is_there(&to.key).await? {
            return Err(gone());
        }
        let wanted = (kind, component.clone());
        let folder = from.id;
        let assigned = self.store(move |ids| ids.assign(folder, &[wanted])).await?;
        let intent = Intent {
            kind,
            copied: false,
            id: assigned[0].0,
            from: from_key,
            etag: String::new(),
            to: to.inner(kind, &to_component),
            parent: to.id,
            component: to_component.clone(),
        };
        match kind {
            Kind::File => self.rename_file(intent).await?,
            Kind::Folder => self.rename_folder(intent).await?,
        }
        let left = looks_of_name(kind, &component);
        let come = if replaces {
            0
        } else {
            looks_of_name(kind, &to_component)
        };
        if from.id == to.id {
            let change = self.touch(from.id, left ^ come).await?;
            return Ok((change, change));
        }
        let first = self.touch(from.id, left).await?;
        Ok((first, self.touch(to.id, come).await?))
    }

    /// The right to change the file, with nothing of it under change, and whatever it replaces.
    async fn quiet(
        &self,
        id: u64,
        replaced: Option<u64>,
    ) -> Result<Vec<OwnedMutexGuard<Turn>>, TreeError> {
        loop {
            self.settle(id).await?;
            // By the order of ids, lest two renames wait for each other.
            let mut turns = Vec::new();
            let mut is_quiet = true;
            for one in order(id, replaced) {
                let (spool, turn) = self.spool(one).await?;
                is_quiet &= one != id || !spool.is_dirty();
                turns.push(turn);
            }
            if is_quiet {
                return Ok(turns);
            }
        }
    }

    async fn rename_file(&self, mut intent: Intent) -> Result<(), TreeError> {
        let (parent, component) = (intent.parent, intent.component.clone());
        let replaced = self.ids.find(parent, Kind::File, &component);
        let replaced = replaced.map_err(|error| of_state(&error))?;
        let mut turns = self.quiet(intent.id, replaced).await?;
        let done = self.copy_file(&mut intent).await;
        let done = match done {
            Ok(number) => {
                if let Some(replaced) = replaced.filter(|replaced| *replaced != intent.id) {
                    self.withdraw_later(replaced);
                }
                self.to_the_end(number, &intent).await;
                Ok(())
            }
            Err(error) => Err(error),
        };
        // Whoever waits for them begins anew, with what is there now.
        for (turn, id) in turns.iter_mut().zip(order(intent.id, replaced)) {
            let spool = self.spools.lock().get(&id).cloned();
            match spool {
                Some(spool) if id != intent.id && done.is_err() && spool.is_dirty() => {}
                Some(spool) => self.close(&spool, turn, None),
                None => {}
            }
        }
        done
    }

    /// Up to the new name of the node; the intent's number.
    async fn copy_file(&self, intent: &mut Intent) -> Result<u64, TreeError> {
        for _ in 0..TRIES {
            let object = self.bucket.head(&intent.from).await?.ok_or_else(gone)?;
            object.etag.clone_into(&mut intent.etag);
            let bytes = intent.to_bytes();
            let number = self.store(move |ids| ids.add_intent(&bytes)).await?;
            let copied = self.copy_one(&intent.from, &object, &intent.to).await;
            match copied {
                Ok(etag) => {
                    self.pins.insert(intent.id, etag.as_str().into());
                    self.give_name(number, intent).await?;
                    return Ok(number);
                }
                Err(error) => {
                    self.store(move |ids| ids.end_intent(number)).await?;
                    match error.kind {
                        TreeErrorKind::Conflict => {}
                        TreeErrorKind::NoEntry => return Err(gone()),
                        _ => return Err(error),
                    }
                }
            }
        }
        Err(come_again(format!(
            "{:?} changes all the time",
            intent.from
        )))
    }

    async fn give_name(&self, number: u64, intent: &mut Intent) -> Result<(), TreeError> {
        intent.copied = true;
        let done = intent.clone();
        self.store(move |ids| {
            let bytes = done.to_bytes();
            ids.rename(done.id, done.parent, &done.component, (number, &bytes))
        })
        .await
    }

    async fn copy_one(&self, from: &str, object: &Object, to: &str) -> Result<String, TreeError> {
        if object.size <= parts::COPY_BYTES {
            self.bucket.copy(from, &object.etag, to, None).await
        } else {
            self.copy_large(from, object, to, If::Whatever).await
        }
    }

    /// Goes on until the old keys are gone: the new ones are the node's by now.
    async fn to_the_end(&self, number: u64, intent: &Intent) {
        let mut pause = PAUSE;
        loop {
            match self.delete_old(number, intent).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!("the rename of {:?} goes on later: {error}", intent.from);
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn delete_old(&self, number: u64, intent: &Intent) -> Result<(), TreeError> {
        self.keep_folder(folder_of(&intent.from)).await?;
        match intent.kind {
            Kind::File => {
                let there = self.bucket.head(&intent.from).await?;
                match there {
                    Some(there) if there.etag != intent.etag => tracing::warn!(
                        "{:?} was renamed to {:?}, but somebody else put it anew: both stay",
                        intent.from,
                        intent.to
                    ),
                    Some(_) => self.bucket.delete(&intent.from).await?,
                    None => {}
                }
            }
            Kind::Folder => loop {
                let page = self.bucket.list(&intent.from, false, None, None, PAGE);
                let page = page.await?;
                if page.keys.is_empty() {
                    break;
                }
                let keys = page.keys.iter().map(|listed| listed.key.clone()).collect();
                for_each(page.keys, |listed| self.copy_late(intent, listed)).await?;
                self.bucket.delete_all(keys).await?;
            },
        }
        self.store(move |ids| ids.end_intent(number)).await
    }

    fn moved(intent: &Intent, key: &str) -> String {
        let rest = key.strip_prefix(&intent.from).unwrap_or(key);
        format!("{}{rest}", intent.to)
    }

    /// Copies what somebody put into the old folder after its turn to be copied.
    async fn copy_late(&self, intent: &Intent, listed: Listed) -> Result<(), TreeError> {
        let to = Self::moved(intent, &listed.key);
        match self.bucket.head(&to).await? {
            Some(_) => Ok(()),
            None => self.copy_listed(intent, listed).await,
        }
    }

    async fn copy_listed(&self, intent: &Intent, listed: Listed) -> Result<(), TreeError> {
        let to = Self::moved(intent, &listed.key);
        if listed.size == 0 && listed.key.ends_with('/') {
            return self.copy_marker(&listed.key, &to).await;
        }
        if listed.size <= parts::COPY_BYTES {
            let copied = self.bucket.copy(&listed.key, &listed.etag, &to, None).await;
            match copied {
                Ok(_) => return Ok(()),
                Err(error) if error.kind == TreeErrorKind::NoEntry => return Ok(()),
                Err(error) if error.kind == TreeErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        let Some(object) = self.bucket.head(&listed.key).await? else {
            return Ok(());
        };
        match self.copy_one(&listed.key, &object, &to).await {
            Err(error) if error.kind == TreeErrorKind::Conflict => Err(come_again(error.detail)),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }

    /// It is put anew: SeaweedFS says of every marker that it isn't there to be copied.
    async fn copy_marker(&self, from: &str, to: &str) -> Result<(), TreeError> {
        let Some(marker) = self.bucket.head(from).await? else {
            return Ok(());
        };
        let (meta, dress) = (&marker.meta, &marker.dress);
        let body = ByteStream::from(Bytes::new());
        let put = self.bucket.put(to, body, 0, meta, dress, If::Whatever);
        put.await.map(drop)
    }

    async fn copy_folder(&self, intent: &Intent) -> Result<(), TreeError> {
        let mut next = None;
        loop {
            let page = self
                .bucket
                .list(&intent.from, false, None, next, PAGE)
                .await?;
            for_each(page.keys, |listed| self.copy_listed(intent, listed)).await?;
            next = page.next;
            if next.is_none() {
                return Ok(());
            }
        }
    }

    async fn rename_folder(&self, mut intent: Intent) -> Result<(), TreeError> {
        let open: Vec<u64> = self.spools.lock().keys().copied().collect();
        for id in open {
            let within = self.ids.is_within(id, intent.id);
            if !within.map_err(|error| of_state(&error))? {
                continue;
            }
            match self.settle(id).await {
                Ok(()) => {}
                // The file's own matter: whoever commits it hears of it.
                Err(error) if error.kind == TreeErrorKind::Conflict => self.lost.tell(id, &error),
                Err(error) if error.kind == TreeErrorKind::Gone => {}
                Err(error) => return Err(error),
            }
        }
        let bytes = intent.to_bytes();
        let number = self.store(move |ids| ids.add_intent(&bytes)).await?;
        let mut pause = PAUSE;
        while let Err(error) = self.copy_folder(&intent).await {
            if !error.is_passing() {
                tracing::warn!(
                    "the rename of {:?} was given up; copies of some keys lie in {:?}: {error}",
                    intent.from,
                    intent.to
                );
                self.store(move |ids| ids.end_intent(number)).await?;
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        // Versions have other tags in their new places.
        self.pins.clear();
        self.give_name(number, &mut intent).await?;
        self.to_the_end(number, &intent).await;
        Ok(())
    }

    /// Goes on with what the last start left. Nothing else may change names meanwhile.
    pub(crate) async fn resume(&self, number: u64, mut intent: Intent) -> Result<(), TreeError> {
        tracing::info!(
            "going on with the rename of {:?} to {:?}",
            intent.from,
            intent.to
        );
        if !intent.copied {
            match intent.kind {
                Kind::Folder => self.copy_folder(&intent).await?,
                Kind::File => {
                    let there = self.bucket.head(&intent.from).await?;
                    let Some(object) = there.filter(|there| there.etag == intent.etag) else {
                        tracing::warn!(
                            "{:?} isn't what it was when its rename began: it stays",
                            intent.from
                        );
                        return self.store(move |ids| ids.end_intent(number)).await;
                    };
                    self.copy_one(&intent.from, &object, &intent.to).await?;
                }
            }
            self.give_name(number, &mut intent).await?;
        }
        self.delete_old(number, &intent).await
    }
}

/// A few of a page's keys at once.
async fn for_each<W: Future<Output = Result<(), TreeError>>>(
    keys: Vec<Listed>,
    work: impl FnMut(Listed) -> W,
) -> Result<(), TreeError> {
    let works = stream::iter(keys).map(work).buffer_unordered(COPIES);
    works.try_collect::<Vec<()>>().await.map(drop)
}

fn order(id: u64, replaced: Option<u64>) -> Vec<u64> {
    let mut order = vec![id];
    order.extend(replaced.filter(|&replaced| replaced != id));
    order.sort_unstable();
    order
}
