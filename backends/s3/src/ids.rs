//! The durable map of ids and keys: what a handle means, over restarts and renames.
//!
//! A node is known by its parent's id and its component, so that a folder's rename changes one row.
//! A *place* is a name that a node had once; cookies of listings are places, and outlive the name.
//! Ids and places are drawn from one row of numbers and never drawn twice.
//!
//! Never here: requests.

mod row;

pub(crate) use row::Row;
use row::{kind_of, letter};

use crate::key::Kind;
use crate::meta;
use crate::rows::{number, text};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use parking_lot::Mutex;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::path::Path;

pub(crate) const ROOT: u64 = 16;
/// Folders in folders; a key of 1024 bytes has fewer.
const DEEPEST: usize = 1100;
/// Numbers set aside at once.
const DRAWN: u64 = 4096;
/// Places that nothing has any more and that are kept, for listings that are under way.
const PLACES_KEPT: usize = 1_000_000;
/// Of what was changed in a keyspace, in memory, before it is written in order. Six keyspaces have some each.
const UNORDERED_BYTES: u64 = 8 << 20;

const LIVE: u8 = 0;
const LEFT: u8 = 1;

#[derive(Debug, thiserror::Error)]
pub(crate) enum IdsError {
    #[error("the state folder can't be used: {0}")]
    Store(#[from] fjall::Error),
    #[error("the state folder is damaged: {0}")]
    Damaged(&'static str),
}

fn name_key(parent: u64, kind: Kind, component: &str) -> Vec<u8> {
    let mut key = parent.to_be_bytes().to_vec();
    key.push(letter(kind));
    key.extend_from_slice(component.as_bytes());
    key
}

fn space_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(UNORDERED_BYTES)
}

struct Draw {
    next: u64,
    ceiling: u64,
    left: usize,
}

pub(crate) struct Ids {
    database: Database,
    nodes: Keyspace,
    names: Keyspace,
    places: Keyspace,
    facts: Keyspace,
    /// Uploads and renames under way.
    intents: Keyspace,
    /// Of folders, where the bucket doesn't keep them.
    pub(crate) attributes: Keyspace,
    /// Tells handles of this store from those of one that was lost.
    pub(crate) nonce: u64,
    draw: Mutex<Draw>,
}

impl Ids {
    pub(crate) fn open(path: &Path) -> Result<Self, IdsError> {
        let database = Database::builder(path).cache_size(32 << 20).open()?;
        let space = |name: &str| database.keyspace(name, space_options);
        let (nodes, names, places) = (space("nodes")?, space("names")?, space("places")?);
        let (facts, intents, attributes) =
            (space("facts")?, space("intents")?, space("attributes")?);
        let fact = |name: &str| -> Result<Option<u64>, IdsError> {
            let value = facts.get(name)?;
            let read =
                value.map(|value| number(&value).ok_or(IdsError::Damaged("a number isn't one")));
            read.transpose()
        };
        let nonce = match fact("nonce")? {
            Some(nonce) => nonce,
            None => RandomState::new().hash_one(meta::now()),
        };
        let ceiling = fact("drawn")?.unwrap_or(ROOT + 1);
        let mut left = 0;
        for row in places.iter() {
            left += usize::from(row.value()?.first() == Some(&LEFT));
        }
        let ids = Self {
            draw: Mutex::new(Draw {
                next: ceiling,
                ceiling,
                left,
            }),
            database,
            nodes,
            names,
            places,
            facts,
            intents,
            attributes,
            nonce,
        };
        let mut batch = ids.batch();
        batch.insert(&ids.facts, "nonce", nonce.to_be_bytes());
        if ids.row(ROOT)?.is_none() {
            let root = Row {
                parent: ROOT,
                kind: Kind::Folder,
                component: String::new(),
                place: ROOT,
                changed: 0,
                named: 0,
                looks: 0,
            };
            batch.insert(&ids.nodes, ROOT.to_be_bytes(), root.to_bytes());
        }
        batch.commit()?;
        Ok(ids)
    }

    /// A keyspace of the same store, for rows of somebody else's.
    pub(crate) fn keyspace(&self, name: &str) -> Result<Keyspace, IdsError> {
        Ok(self.database.keyspace(name, space_options)?)
    }

    /// A batch that is durable once [`Ids::sync`] has answered.
    pub(crate) fn late_batch(&self) -> OwnedWriteBatch {
        self.database.batch().durability(Some(PersistMode::Buffer))
    }

    pub(crate) fn sync(&self) -> Result<(), IdsError> {
        Ok(self.database.persist(PersistMode::SyncData)?)
    }

    pub(crate) fn batch(&self) -> OwnedWriteBatch {
        let batch = self.database.batch();
        batch.durability(Some(PersistMode::SyncData))
    }

    pub(crate) fn row(&self, id: u64) -> Result<Option<Row>, IdsError> {
        let Some(bytes) = self.nodes.get(id.to_be_bytes())? else {
            return Ok(None);
        };
        Row::from_bytes(&bytes)
            .map(Some)
            .ok_or(IdsError::Damaged("a node's row"))
    }

    /// The ids of all nodes.
    pub(crate) fn all(&self) -> Result<Vec<u64>, IdsError> {
        let rows = self.nodes.iter();
        rows.map(|row| number(&row.key()?).ok_or(IdsError::Damaged("a node's id")))
            .collect()
    }

    /// The key, below the bucket's prefix; a folder's ends in a slash, the root's is empty.
    pub(crate) fn path(&self, id: u64) -> Result<Option<(Kind, String)>, IdsError> {
        let mut parts = Vec::new();
        let mut kind = None;
        let mut at = id;
        while at != ROOT {
            let Some(row) = self.row(at)? else {
                return Ok(None);
            };
            kind.get_or_insert(row.kind);
            at = row.parent;
            parts.push(row.component);
            if parts.len() > DEEPEST {
                return Err(IdsError::Damaged("folders lie in one another"));
            }
        }
        let kind = kind.unwrap_or(Kind::Folder);
        parts.reverse();
        let mut path = parts.join("/");
        if kind == Kind::Folder && id != ROOT {
            path.push('/');
        }
        Ok(Some((kind, path)))
    }

    /// Whether `id` is `folder` or lies in it at any depth.
    pub(crate) fn is_within(&self, id: u64, folder: u64) -> Result<bool, IdsError> {
        let mut at = id;
        for _ in 0..=DEEPEST {
            if at == folder {
                return Ok(true);
            }
            match self.row(at)? {
                Some(row) if at != ROOT => at = row.parent,
                _ => return Ok(false),
            }
        }
        Err(IdsError::Damaged("folders lie in one another"))
    }

    fn draw(&self, draw: &mut Draw, batch: &mut OwnedWriteBatch) -> u64 {
        if draw.next == draw.ceiling {
            draw.ceiling += DRAWN;
            batch.insert(&self.facts, "drawn", draw.ceiling.to_be_bytes());
        }
        let drawn = draw.next;
        draw.next += 1;
        drawn
    }

    pub(crate) fn find(
        &self,
        parent: u64,
        kind: Kind,
        component: &str,
    ) -> Result<Option<u64>, IdsError> {
        let Some(id) = self.names.get(name_key(parent, kind, component))? else {
            return Ok(None);
        };
        number(&id)
            .map(Some)
            .ok_or(IdsError::Damaged("a name's row"))
    }

    /// The ids of nodes in a folder, and their places; those that have none get one. Durable.
    pub(crate) fn assign(
        &self,
        parent: u64,
        wanted: &[(Kind, String)],
    ) -> Result<Vec<(u64, u64)>, IdsError> {
        let mut draw = self.draw.lock();
        let mut batch = self.batch();
        let mut found = Vec::with_capacity(wanted.len());
        for (kind, component) in wanted {
            if let Some(id) = self.find(parent, *kind, component)? {
                let row = self
                    .row(id)?
                    .ok_or(IdsError::Damaged("a name without its node"))?;
                found.push((id, row.place));
                continue;
            }
            let id = self.draw(&mut draw, &mut batch);
            let row = Row {
                parent,
                kind: *kind,
                component: component.clone(),
                place: id,
                changed: 0,
                named: 0,
                looks: 0,
            };
            self.put(&mut batch, id, &row);
            found.push((id, id));
        }
        if !batch.is_empty() {
            batch.commit()?;
        }
        Ok(found)
    }

    fn put(&self, batch: &mut OwnedWriteBatch, id: u64, row: &Row) {
        batch.insert(&self.nodes, id.to_be_bytes(), row.to_bytes());
        let name = name_key(row.parent, row.kind, &row.component);
        batch.insert(&self.names, name, id.to_be_bytes());
        self.put_place(batch, row, LIVE);
    }

    fn put_place(&self, batch: &mut OwnedWriteBatch, row: &Row, state: u8) {
        let mut place = vec![state, letter(row.kind)];
        place.extend_from_slice(&row.parent.to_be_bytes());
        place.extend_from_slice(row.component.as_bytes());
        batch.insert(&self.places, row.place.to_be_bytes(), place);
    }

    /// The name that a cookie of the folder's listing stands for.
    pub(crate) fn place(
        &self,
        folder: u64,
        place: u64,
    ) -> Result<Option<(Kind, String)>, IdsError> {
        let Some(bytes) = self.places.get(place.to_be_bytes())? else {
            return Ok(None);
        };
        let damaged = IdsError::Damaged("a place's row");
        let Some((head, component)) = bytes.split_at_checked(10) else {
            return Err(damaged);
        };
        let (Some(kind), Some(component)) = (kind_of(&head[1..2]), text(component)) else {
            return Err(damaged);
        };
        Ok((number(&head[2..]) == Some(folder)).then_some((kind, component)))
    }

    /// Forgets a node whose key is gone, and what was known below it.
    pub(crate) fn forget(&self, id: u64) -> Result<(), IdsError> {
        let mut draw = self.draw.lock();
        let mut batch = self.batch();
        self.forget_in(&mut draw, &mut batch, id)?;
        batch.commit()?;
        self.trim(&mut draw)
    }

    fn forget_in(
        &self,
        draw: &mut Draw,
        batch: &mut OwnedWriteBatch,
        id: u64,
    ) -> Result<(), IdsError> {
        let mut doomed = vec![id];
        while let Some(id) = doomed.pop() {
            let Some(row) = self.row(id)? else { continue };
            batch.remove(&self.nodes, id.to_be_bytes());
            batch.remove(&self.names, name_key(row.parent, row.kind, &row.component));
            self.put_place(batch, &row, LEFT);
            draw.left += 1;
            if row.kind == Kind::Folder {
                batch.remove(&self.attributes, id.to_be_bytes());
                for name in self.names.prefix(id.to_be_bytes()) {
                    doomed.extend(number(&name.value()?));
                }
            }
        }
        Ok(())
    }

    fn trim(&self, draw: &mut Draw) -> Result<(), IdsError> {
        if draw.left <= PLACES_KEPT {
            return Ok(());
        }
        let mut batch = self.database.batch();
        for row in self.places.iter() {
            let (place, bytes) = row.into_inner()?;
            if bytes.first() == Some(&LEFT) {
                batch.remove(&self.places, place);
                draw.left -= 1;
                if draw.left <= PLACES_KEPT / 10 * 9 {
                    break;
                }
            }
        }
        batch.commit()?;
        Ok(())
    }

    /// Gives a node another name, in place of whatever had it; `intent` goes in the same step, as
    /// [`Ids::set_intent`] would.
    pub(crate) fn rename(
        &self,
        id: u64,
        parent: u64,
        component: &str,
        intent: (u64, &[u8]),
    ) -> Result<(), IdsError> {
        let mut draw = self.draw.lock();
        let mut batch = self.batch();
        batch.insert(&self.intents, intent.0.to_be_bytes(), intent.1);
        if let Some(mut row) = self.row(id)? {
            if let Some(replaced) = self.find(parent, row.kind, component)? {
                if replaced == id {
                    batch.commit()?;
                    return Ok(());
                }
                self.forget_in(&mut draw, &mut batch, replaced)?;
            }
            batch.remove(&self.names, name_key(row.parent, row.kind, &row.component));
            self.put_place(&mut batch, &row, LEFT);
            draw.left += 1;
            row.parent = parent;
            component.clone_into(&mut row.component);
            row.place = self.draw(&mut draw, &mut batch);
            self.put(&mut batch, id, &row);
        }
        batch.commit()?;
        Ok(())
    }

    /// Notes that a folder changed by our own hand, its names or its attributes alone: what it looks
    /// like differs by `looks` from now on. Answers with its change before and after.
    pub(crate) fn touch(
        &self,
        folder: u64,
        names: bool,
        looks: u64,
    ) -> Result<Option<(u64, u64)>, IdsError> {
        let _draw = self.draw.lock();
        let Some(mut row) = self.row(folder)? else {
            return Ok(None);
        };
        let before = row.changed;
        // Nobody was told of it yet: the first look tells.
        if before == 0 {
            return Ok(None);
        }
        row.changed = (meta::now() as u64).max(before + 1);
        row.looks ^= looks;
        if names {
            row.named = row.changed;
        }
        self.put_row(folder, &row)?;
        Ok(Some((before, row.changed)))
    }

    /// Notes what a folder looks like, as seen when its row was `was`: another look than was noted is
    /// a change by somebody else. Of one that wasn't looked at yet, `since` is when it changed.
    pub(crate) fn look(
        &self,
        folder: u64,
        was: &Row,
        looks: u64,
        since: u64,
    ) -> Result<Option<Row>, IdsError> {
        let _draw = self.draw.lock();
        let Some(mut row) = self.row(folder)? else {
            return Ok(None);
        };
        // Our own change in the meantime: this look may be from before it.
        if row.changed != was.changed || (row.changed != 0 && row.looks == looks) {
            return Ok(Some(row));
        }
        row.changed = if row.changed == 0 {
            since.max(1)
        } else {
            (meta::now() as u64).max(row.changed + 1)
        };
        row.named = row.changed;
        row.looks = looks;
        self.put_row(folder, &row)?;
        Ok(Some(row))
    }

    fn put_row(&self, id: u64, row: &Row) -> Result<(), IdsError> {
        let mut batch = self.batch();
        batch.insert(&self.nodes, id.to_be_bytes(), row.to_bytes());
        batch.commit()?;
        Ok(())
    }

    /// Makes an intent durable; its number.
    pub(crate) fn add_intent(&self, bytes: &[u8]) -> Result<u64, IdsError> {
        self.numbered(self.batch(), |number, batch| {
            batch.insert(&self.intents, number.to_be_bytes(), bytes);
        })
    }

    /// Puts rows that need a number of their own, which was never drawn before. As durable as the batch is.
    pub(crate) fn numbered(
        &self,
        mut batch: OwnedWriteBatch,
        put: impl FnOnce(u64, &mut OwnedWriteBatch),
    ) -> Result<u64, IdsError> {
        let mut draw = self.draw.lock();
        let number = self.draw(&mut draw, &mut batch);
        put(number, &mut batch);
        batch.commit()?;
        Ok(number)
    }

    /// Puts another in its place.
    pub(crate) fn set_intent(&self, number: u64, bytes: &[u8]) -> Result<(), IdsError> {
        let mut batch = self.batch();
        batch.insert(&self.intents, number.to_be_bytes(), bytes);
        batch.commit()?;
        Ok(())
    }

    pub(crate) fn end_intent(&self, number: u64) -> Result<(), IdsError> {
        let mut batch = self.batch();
        batch.remove(&self.intents, number.to_be_bytes());
        batch.commit()?;
        Ok(())
    }

    pub(crate) fn intents(&self) -> Result<Vec<(u64, Vec<u8>)>, IdsError> {
        let mut found = Vec::new();
        for row in self.intents.iter() {
            let (key, value) = row.into_inner()?;
            let number = number(&key).ok_or(IdsError::Damaged("an intent's number"))?;
            found.push((number, value.to_vec()));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(component: &str) -> (Kind, String) {
        (Kind::File, component.to_owned())
    }

    fn folder(component: &str) -> (Kind, String) {
        (Kind::Folder, component.to_owned())
    }

    #[test]
    fn ids_stay_over_a_restart_and_are_never_given_twice() {
        let state = tempfile::tempdir().expect("a folder");
        let ids = Ids::open(state.path()).expect("opens");
        let one = ids.assign(ROOT, &[folder("d"), file("a")]).expect("writes");
        let inner = ids.assign(one[0].0, &[file("b")]).expect("writes")[0].0;
        ids.forget(one[1].0).expect("writes");
        let nonce = ids.nonce;
        drop(ids);

        let ids = Ids::open(state.path()).expect("opens");
        assert_eq!(ids.nonce, nonce);
        let path = ids.path(inner).expect("reads");
        assert_eq!(path, Some((Kind::File, "d/b".to_owned())));
        let again = ids.assign(ROOT, &[folder("d"), file("a")]).expect("writes");
        assert_eq!(again[0], one[0]);
        assert!(again[1].0 > inner);
    }

    #[test]
    fn what_lies_in_a_renamed_folder_keeps_its_ids() {
        let state = tempfile::tempdir().expect("a folder");
        let ids = Ids::open(state.path()).expect("opens");
        let d = ids.assign(ROOT, &[folder("d")]).expect("writes")[0].0;
        let a = ids.assign(d, &[file("a")]).expect("writes")[0].0;
        let intent = ids.add_intent(b"x").expect("writes");
        ids.rename(d, ROOT, "e", (intent, b"y")).expect("writes");
        let path = ids.path(a).expect("reads");
        assert_eq!(path, Some((Kind::File, "e/a".to_owned())));
        assert_eq!(ids.intents().expect("reads"), [(intent, b"y".to_vec())]);
    }

    #[test]
    fn a_listing_goes_on_behind_a_name_that_was_taken_away() {
        let state = tempfile::tempdir().expect("a folder");
        let ids = Ids::open(state.path()).expect("opens");
        let (id, place) = ids.assign(ROOT, &[file("a")]).expect("writes")[0];
        ids.forget(id).expect("writes");
        let found = ids.place(ROOT, place).expect("reads");
        assert_eq!(found, Some(file("a")));
        assert_eq!(ids.place(id, place).expect("reads"), None);
    }

    #[test]
    fn a_renamed_name_is_listed_at_another_place() {
        let state = tempfile::tempdir().expect("a folder");
        let ids = Ids::open(state.path()).expect("opens");
        let (id, old) = ids.assign(ROOT, &[file("a")]).expect("writes")[0];
        let intent = ids.add_intent(b"").expect("writes");
        ids.rename(id, ROOT, "z", (intent, b"")).expect("writes");
        let (same, new) = ids.assign(ROOT, &[file("z")]).expect("writes")[0];
        assert_eq!(same, id);
        assert_eq!(ids.place(ROOT, old).expect("reads"), Some(file("a")));
        assert_eq!(ids.place(ROOT, new).expect("reads"), Some(file("z")));
    }
}
