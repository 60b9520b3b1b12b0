//! New names, and names taken away.
//!
//! A new key is put on the condition that there is none (If-None-Match: *), with a token in its metadata:
//! a put whose answer was lost and whose retry is refused was ours if the token is. A folder that would
//! go with its last name gets a marker first.
//!
//! Never here: renames.

use crate::bucket::{Dress, If, Object};
use crate::failure::{of_name, of_state};
use crate::key::{self, Asked, KEY_BYTES, Kind, NameFault};
use crate::meta::{self, Metadata, TOKEN, VERIFIER};
use crate::mirror::{At, Found, Mirror, gone, is_blank, looks_of_name, no_entry};
use crate::untold::{Asking, Change};
use aws_sdk_s3::primitives::ByteStream;
use backend::tree::{
    Caller, CreateHow, FolderChange, Make, Node, NodeChanges, NodeKind, TreeError, TreeErrorKind,
};
use bytes::Bytes;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedRwLockWriteGuard;

/// Tries to be alone for a moment, and how long between them.
const TRIES_ALONE: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);
/// What a symlink's target can be long.
pub(crate) const TARGET_BYTES: usize = 4095;
/// What other tools give a folder's marker.
const FOLDER_TYPE: &str = "application/x-directory";

/// Tells one put from every other.
pub(crate) fn token() -> String {
    let now = meta::now();
    format!(
        "{:016x}{:016x}",
        now as u64,
        RandomState::new().hash_one(now)
    )
}

fn taken() -> TreeError {
    TreeError::new(TreeErrorKind::Exists, "the name is taken")
}

fn hex(bytes: [u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(bytes))
}

impl Mirror {
    /// Tells a put of this server from every other, and from those of others.
    pub(crate) fn token(&self) -> String {
        format!("{}{}", hex(self.ids.nonce.to_be_bytes()), token())
    }

    /// Whether this server put it.
    pub(crate) fn is_own(&self, meta: &Metadata) -> bool {
        let ours = hex(self.ids.nonce.to_be_bytes());
        meta.get(TOKEN)
            .is_some_and(|token| token.starts_with(&ours))
    }

    /// The component of a name that is to be made.
    pub(crate) fn component(folder: &At, kind: Kind, name: &[u8]) -> Result<String, TreeError> {
        let Asked::Either(component) = key::ask(name).map_err(of_name)? else {
            return Err(of_name(NameFault::Nothing));
        };
        // The marker of a folder of that name must fit as well, lest it can't be told from one.
        if folder.inner(Kind::Folder, &component).len() > KEY_BYTES {
            return Err(of_name(NameFault::TooLong));
        }
        let no_file = component.is_empty() || is_blank(&folder.inner(kind, &component));
        if kind == Kind::File && no_file {
            return Err(of_name(NameFault::Impossible));
        }
        Ok(component)
    }

    /// Puts what isn't there yet, with its token. [`TreeErrorKind::Exists`] where it is.
    async fn put_new(
        &self,
        key: &str,
        body: Bytes,
        meta: Metadata,
        dress: Dress,
    ) -> Result<Object, TreeError> {
        let size = body.len() as u64;
        let body = ByteStream::from(body);
        let put = self.bucket.put(key, body, size, &meta, &dress, If::Absent);
        let etag = match put.await {
            Ok(etag) => etag,
            Err(error) if error.kind == TreeErrorKind::Conflict => {
                let there = self.bucket.head(key).await?;
                let ours = there.filter(|there| there.meta.get(TOKEN) == meta.get(TOKEN));
                return ours.ok_or_else(taken);
            }
            Err(error) => return Err(error),
        };
        Ok(Object {
            etag,
            size,
            modified: meta::now(),
            meta,
            dress,
        })
    }

    pub(crate) async fn put_marker(
        &self,
        key: &str,
        mut meta: Metadata,
        condition: If<'_>,
    ) -> Result<(), TreeError> {
        meta.insert(TOKEN.into(), self.token());
        let dress = Dress {
            content_type: Some(FOLDER_TYPE.into()),
            ..Dress::default()
        };
        let body = ByteStream::from(Bytes::new());
        let put = self
            .bucket
            .put(key, body, 0, &meta, &dress, condition)
            .await;
        match put {
            Err(error) if error.kind == TreeErrorKind::Conflict => {
                let there = self.bucket.head(key).await?;
                let ours = there.is_some_and(|there| there.meta.get(TOKEN) == meta.get(TOKEN));
                if ours { Ok(()) } else { Err(error) }
            }
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }

    /// Keeps a folder there though its last name goes.
    pub(crate) async fn keep_folder(&self, key: &str) -> Result<(), TreeError> {
        if key == self.prefix || self.bucket.head(key).await?.is_some() {
            return Ok(());
        }
        match self.put_marker(key, Metadata::new(), If::Absent).await {
            Err(error) if error.kind != TreeErrorKind::Conflict => Err(error),
            _ => Ok(()),
        }
    }

    pub(crate) async fn create(
        self: &Arc<Self>,
        caller: &Caller,
        folder: At,
        name: Bytes,
        how: CreateHow,
        born: NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        self.writable()?;
        let owner = (caller.uid, caller.gid);
        let mirror = Arc::clone(self);
        let place = (folder.id, name.clone());
        let (there, by) = (place.clone(), Asking::default());
        let asking = by.clone();
        let work = self.carried_out(Box::pin(async move {
            let _names = mirror.names.read().await;
            if let Some((component, found)) = mirror.seek(&folder, &name).await? {
                let how = match how {
                    CreateHow::Guarded if mirror.was_made(&there, &component, &found, &by) => {
                        CreateHow::Unchecked
                    }
                    how => how,
                };
                return mirror.open(&folder, component, found, how, &born).await;
            }
            let component = Self::component(&folder, Kind::File, &name)?;
            if !mirror.folder_is_there(&folder.key).await? {
                return Err(gone());
            }
            let mut meta = meta::newborn(NodeKind::Regular, &born, owner, &mirror.defaults);
            if let CreateHow::Exclusive(verifier) = how {
                meta.insert(VERIFIER.into(), hex(verifier));
            }
            mirror.note_made(&there, &mut meta, &by);
            let key = folder.inner(Kind::File, &component);
            let put = mirror
                .put_new(&key, Bytes::new(), meta, Dress::default())
                .await;
            match put {
                Ok(object) => {
                    let looks = looks_of_name(Kind::File, &component);
                    let node = mirror
                        .node(folder.id, component, Found::File(object))
                        .await?;
                    let node = match born.size {
                        None | Some(0) => node,
                        Some(_) => mirror.sized(node, born.size).await?,
                    };
                    Ok((node, mirror.touch(folder.id, looks).await?))
                }
                // Somebody was faster: as if he had been there from the start.
                Err(error) if error.kind == TreeErrorKind::Exists => {
                    let found = mirror.seek(&folder, &name).await?;
                    let (component, found) = found.ok_or(error)?;
                    mirror.open(&folder, component, found, how, &born).await
                }
                Err(error) => Err(error),
            }
        }));
        self.telling(&place, asking, work).await
    }

    /// What is made now is known by its token.
    fn note_made(&self, place: &(u64, Bytes), meta: &mut Metadata, by: &Asking) {
        let token = self.token();
        meta.insert(TOKEN.into(), token.clone());
        self.untold.note(place, Change::Made(token), by);
    }

    /// Whether this caller made it, when he came before.
    fn was_made(&self, place: &(u64, Bytes), component: &str, found: &Found, by: &Asking) -> bool {
        let token = match found {
            Found::File(object) => object.meta.get(TOKEN).cloned(),
            Found::Folder(sight) => self.token_of_folder(place.0, component, sight),
        };
        token.is_some_and(|token| {
            let made = Change::Made(token);
            self.untold.take_over(place, &made, by)
        })
    }

    async fn sized(self: &Arc<Self>, node: Node, size: Option<u64>) -> Result<Node, TreeError> {
        let at = self.at(&node.handle)?;
        let changes = NodeChanges {
            size,
            ..NodeChanges::default()
        };
        self.set_file(&at, &changes).await?;
        Ok(Node {
            stat: self.stat_of(&at).await?,
            ..node
        })
    }

    /// What a create finds where its name is taken.
    async fn open(
        self: &Arc<Self>,
        folder: &At,
        component: String,
        found: Found,
        how: CreateHow,
        born: &NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        let verifier = match &found {
            Found::File(object) => object.meta.get(VERIFIER).cloned(),
            Found::Folder(_) => None,
        };
        match how {
            CreateHow::Unchecked => {}
            CreateHow::Guarded => return Err(taken()),
            CreateHow::Exclusive(wanted) => {
                if verifier != Some(hex(wanted)) {
                    return Err(taken());
                }
            }
        }
        let node = self.node(folder.id, component, found).await?;
        let cut = how == CreateHow::Unchecked && born.size == Some(0);
        let node = match node.stat.kind {
            NodeKind::Regular if cut && node.stat.size != 0 => self.sized(node, Some(0)).await?,
            _ => node,
        };
        let row = self.ids.row(folder.id);
        let row = row.map_err(|error| of_state(&error))?;
        let change = row.map(|row| row.changed).filter(|&changed| changed != 0);
        let change = FolderChange {
            before: change,
            after: change,
        };
        Ok((node, change))
    }

    pub(crate) async fn make(
        self: &Arc<Self>,
        caller: &Caller,
        folder: At,
        name: Bytes,
        what: Make,
        born: NodeChanges,
    ) -> Result<(Node, FolderChange), TreeError> {
        self.writable()?;
        let owner = (caller.uid, caller.gid);
        let mirror = Arc::clone(self);
        let place = (folder.id, name.clone());
        let (there, by) = (place.clone(), Asking::default());
        let asking = by.clone();
        let work = self.carried_out(Box::pin(async move {
            let _names = mirror.names.read().await;
            let kind = match what {
                Make::Folder => Kind::Folder,
                _ => Kind::File,
            };
            if let Some((component, found)) = mirror.seek(&folder, &name).await? {
                if !mirror.was_made(&there, &component, &found, &by) {
                    return Err(taken());
                }
                let looks = looks_of_name(kind, &component);
                let node = mirror.node(folder.id, component, found).await?;
                return Ok((node, mirror.touch(folder.id, looks).await?));
            }
            let component = Self::component(&folder, kind, &name)?;
            if !mirror.folder_is_there(&folder.key).await? {
                return Err(gone());
            }
            let mut body = Bytes::new();
            let mut dress = Dress::default();
            let mut device = None;
            let node_kind = match what {
                Make::Folder => {
                    dress.content_type = Some(FOLDER_TYPE.into());
                    NodeKind::Folder
                }
                Make::Symlink(target) if target.is_empty() || target.len() > TARGET_BYTES => {
                    return Err(TreeError::new(
                        TreeErrorKind::Invalid,
                        "a symlink's target has 1 to 4095 bytes",
                    ));
                }
                Make::Symlink(target) => {
                    body = target;
                    NodeKind::Symlink
                }
                Make::Fifo => NodeKind::Fifo,
                Make::Socket => NodeKind::Socket,
                Make::Block(major, minor) => {
                    device = Some((major, minor));
                    NodeKind::Block
                }
                Make::Character(major, minor) => {
                    device = Some((major, minor));
                    NodeKind::Character
                }
            };
            let mut meta = meta::newborn(node_kind, &born, owner, &mirror.defaults);
            if let Some((major, minor)) = device {
                meta::put_device(&mut meta, major, minor);
            }
            mirror.note_made(&there, &mut meta, &by);
            let key = folder.inner(kind, &component);
            let object = mirror.put_new(&key, body, meta, dress).await?;
            let looks = looks_of_name(kind, &component);
            let found = match kind {
                Kind::File => Found::File(object),
                Kind::Folder => {
                    let sight = mirror.sight(&key).await?.ok_or_else(gone)?;
                    let place = (folder.id, component.clone());
                    mirror.keep_newborn(place, &object.meta, &sight).await?;
                    Found::Folder(sight)
                }
            };
            let node = mirror.node(folder.id, component, found).await?;
            Ok((node, mirror.touch(folder.id, looks).await?))
        }));
        self.telling(&place, asking, work).await
    }

    pub(crate) async fn remove(
        self: &Arc<Self>,
        folder: At,
        name: Bytes,
    ) -> Result<FolderChange, TreeError> {
        self.writable()?;
        let mirror = Arc::clone(self);
        let place = (folder.id, name.clone());
        let (there, by) = (place.clone(), Asking::default());
        let asking = by.clone();
        let work = self.carried_out(Box::pin(async move {
            let _names = mirror.names.read().await;
            let Some((component, found)) = mirror.seek(&folder, &name).await? else {
                mirror.forget_if_gone(&folder, &name)?;
                if mirror.untold.take_over(&there, &Change::Removed, &by) {
                    return mirror.touch(folder.id, 0).await;
                }
                return Err(if mirror.folder_is_there(&folder.key).await? {
                    no_entry()
                } else {
                    gone()
                });
            };
            let kind = found.kind();
            let key = folder.inner(kind, &component);
            if kind == Kind::Folder && !mirror.is_empty(&key).await? {
                return Err(TreeError::new(
                    TreeErrorKind::NotEmpty,
                    "the folder isn't empty",
                ));
            }
            mirror.keep_folder(&folder.key).await?;
            mirror.untold.note(&there, Change::Removed, &by);
            mirror.bucket.delete(&key).await?;
            mirror.forget(folder.id, kind, &component).await?;
            mirror
                .touch(folder.id, looks_of_name(kind, &component))
                .await
        }));
        self.telling(&place, asking, work).await
    }

    /// Whether nothing but its marker is in a folder.
    pub(crate) async fn is_empty(&self, key: &str) -> Result<bool, TreeError> {
        let page = self.bucket.list(key, false, None, None, 2).await?;
        Ok(page.keys.iter().all(|listed| listed.key == key))
    }

    /// Of a name that wasn't found: what is remembered of it is forgotten, unless it comes back by then.
    pub(crate) fn forget_if_gone(&self, folder: &At, name: &[u8]) -> Result<(), TreeError> {
        let Ok(Asked::Either(component) | Asked::Shaded(component)) = key::ask(name) else {
            return Ok(());
        };
        for kind in [Kind::File, Kind::Folder] {
            let known = self.ids.find(folder.id, kind, &component);
            let known = known.map_err(|error| of_state(&error))?;
            let (Some(id), Some(mirror)) = (known, self.this.upgrade()) else {
                continue;
            };
            let (folder, component) = (folder.id, component.clone());
            self.in_the_background(async move {
                let Some(_alone) = mirror.alone_soon().await else {
                    return Ok(());
                };
                let known = mirror.ids.find(folder, kind, &component);
                let is_known = known.map_err(|error| of_state(&error))? == Some(id);
                let Some(at) = mirror.at_id(id)?.filter(|_| is_known) else {
                    return Ok(());
                };
                let is_there = match kind {
                    Kind::File => mirror.bucket.head(&at.key).await?.is_some(),
                    Kind::Folder => mirror.folder_is_there(&at.key).await?,
                };
                // Whoever wrote into it is told that it is gone, and his bytes are kept.
                if is_there || mirror.spools.lock().contains_key(&id) {
                    return Ok(());
                }
                mirror.forget(folder, kind, &component).await
            });
        }
        Ok(())
    }

    /// Nobody waits for this, as they would behind who waits to be alone. `None`: others go on and on.
    async fn alone_soon(&self) -> Option<OwnedRwLockWriteGuard<()>> {
        for _ in 0..TRIES_ALONE {
            if let Ok(alone) = Arc::clone(&self.names).try_write_owned() {
                return Some(alone);
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    /// Forgets a node that is gone, and what was under change of it.
    pub(crate) async fn forget(
        &self,
        folder: u64,
        kind: Kind,
        component: &str,
    ) -> Result<(), TreeError> {
        let component = component.to_owned();
        let forgotten = self
            .store(move |ids| {
                let id = ids.find(folder, kind, &component)?;
                if let Some(id) = id {
                    ids.forget(id)?;
                }
                Ok(id)
            })
            .await?;
        let Some(id) = forgotten else {
            return Ok(());
        };
        self.withdraw_later(id);
        // Begun by an earlier start, it has nothing but word of its version.
        let is_left = self.meant.lock().remove(&id).is_some();
        if is_left || self.spools.lock().contains_key(&id) {
            let (spool, mut turn) = self.spool(id).await?;
            self.close(&spool, &mut turn, None);
        }
        Ok(())
    }
}
