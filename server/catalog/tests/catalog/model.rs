//! The namespace against a model of it: random operations, one after the other, on an engine that
//! conflicts, forgets its answers and restarts; and many at once, which must leave it sound.

use crate::world::*;
use catalog::store::MemoryStore;
use catalog::{Catalog, Done, Error, FileKind, InodeId, RemoveWhat, SetXattr};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Nodes are named by the order of their making, whether they are still there or not.
#[derive(Debug, Clone)]
enum Step {
    Create {
        directory: usize,
        name: u8,
        is_directory: bool,
    },
    Link {
        directory: usize,
        name: u8,
        node: usize,
    },
    Remove {
        directory: usize,
        name: u8,
        what: RemoveWhat,
    },
    Rename {
        from: usize,
        name: u8,
        to: usize,
        new_name: u8,
    },
    Chmod {
        node: usize,
        mode: u32,
    },
    SetXattr {
        node: usize,
        name: u8,
        value: Vec<u8>,
        how: SetXattr,
    },
    RemoveXattr {
        node: usize,
        name: u8,
    },
    Reap {
        node: usize,
    },
    Restart,
}

fn steps(count: usize) -> impl Strategy<Value = Vec<Step>> {
    let node = 0..12_usize;
    let name = 0..5_u8;
    let what = prop_oneof![
        Just(RemoveWhat::Any),
        Just(RemoveWhat::Directory),
        Just(RemoveWhat::NotDirectory)
    ];
    let how = prop_oneof![
        Just(SetXattr::Either),
        Just(SetXattr::Create),
        Just(SetXattr::Replace)
    ];
    let step = prop_oneof![
        6 => (node.clone(), name.clone(), any::<bool>())
            .prop_map(|(directory, name, is_directory)| Step::Create { directory, name, is_directory }),
        2 => (node.clone(), name.clone(), node.clone())
            .prop_map(|(directory, name, node)| Step::Link { directory, name, node }),
        3 => (node.clone(), name.clone(), what)
            .prop_map(|(directory, name, what)| Step::Remove { directory, name, what }),
        5 => (node.clone(), name.clone(), node.clone(), name)
            .prop_map(|(from, name, to, new_name)| Step::Rename { from, name, to, new_name }),
        1 => (node.clone(), 0..0o10000_u32).prop_map(|(node, mode)| Step::Chmod { node, mode }),
        2 => (node.clone(), 0..3_u8, vec(any::<u8>(), 0..4), how)
            .prop_map(|(node, name, value, how)| Step::SetXattr { node, name, value, how }),
        1 => (node.clone(), 0..3_u8).prop_map(|(node, name)| Step::RemoveXattr { node, name }),
        1 => node.prop_map(|node| Step::Reap { node }),
        1 => Just(Step::Restart),
    ];
    vec(step, 1..count)
}

#[derive(Debug, Clone)]
struct Node {
    is_directory: bool,
    mode: u32,
    links: u32,
    entries: BTreeMap<u8, usize>,
    xattrs: BTreeMap<u8, Vec<u8>>,
    parent: usize,
    is_gone: bool,
}

/// The tree as it should be.
#[derive(Debug)]
struct Model {
    nodes: Vec<Node>,
}

impl Model {
    fn new() -> Self {
        let root = Node {
            is_directory: true,
            mode: 0o755,
            links: 1,
            entries: BTreeMap::new(),
            xattrs: BTreeMap::new(),
            parent: 0,
            is_gone: false,
        };
        Model { nodes: vec![root] }
    }

    fn alive(&self, node: usize) -> Result<(), Error> {
        if self.nodes[node].is_gone {
            Err(Error::Stale)
        } else {
            Ok(())
        }
    }

    fn directory(&self, node: usize) -> Result<(), Error> {
        self.alive(node)?;
        if self.nodes[node].is_directory {
            Ok(())
        } else {
            Err(Error::NotDirectory)
        }
    }

    fn create(&mut self, directory: usize, name: u8, is_directory: bool) -> Result<(), Error> {
        self.directory(directory)?;
        if self.nodes[directory].entries.contains_key(&name) {
            return Err(Error::Exists);
        }
        let node = Node {
            is_directory,
            mode: if is_directory { 0o755 } else { 0o644 },
            links: 1,
            entries: BTreeMap::new(),
            xattrs: BTreeMap::new(),
            parent: directory,
            is_gone: false,
        };
        let number = self.nodes.len();
        self.nodes[directory].entries.insert(name, number);
        self.nodes.push(node);
        Ok(())
    }

    fn link(&mut self, directory: usize, name: u8, node: usize) -> Result<(), Error> {
        self.directory(directory)?;
        if self.nodes[directory].entries.contains_key(&name) {
            return Err(Error::Exists);
        }
        self.alive(node)?;
        if self.nodes[node].is_directory {
            return Err(Error::IsDirectory);
        }
        if self.nodes[node].links == 0 {
            return Err(Error::Stale);
        }
        self.nodes[node].links += 1;
        self.nodes[directory].entries.insert(name, node);
        Ok(())
    }

    fn unlink(&mut self, node: usize) -> Result<(), Error> {
        if !self.nodes[node].entries.is_empty() {
            return Err(Error::NotEmpty);
        }
        self.nodes[node].links -= 1;
        self.nodes[node].is_gone = self.nodes[node].is_directory;
        Ok(())
    }

    fn remove(&mut self, directory: usize, name: u8, what: RemoveWhat) -> Result<(), Error> {
        self.directory(directory)?;
        let node = *self.nodes[directory]
            .entries
            .get(&name)
            .ok_or(Error::NotFound)?;
        match (self.nodes[node].is_directory, what) {
            (true, RemoveWhat::NotDirectory) => return Err(Error::IsDirectory),
            (false, RemoveWhat::Directory) => return Err(Error::NotDirectory),
            _ => {}
        }
        self.unlink(node)?;
        self.nodes[directory].entries.remove(&name);
        Ok(())
    }

    fn rename(&mut self, from: usize, name: u8, to: usize, new_name: u8) -> Result<(), Error> {
        self.directory(from)?;
        self.directory(to)?;
        let moved = *self.nodes[from].entries.get(&name).ok_or(Error::NotFound)?;
        let target = self.nodes[to].entries.get(&new_name).copied();
        if target == Some(moved) {
            return Ok(());
        }
        if self.nodes[moved].is_directory && from != to {
            let mut at = to;
            loop {
                if at == moved {
                    return Err(Error::IntoItself);
                }
                if at == 0 {
                    break;
                }
                at = self.nodes[at].parent;
            }
        }
        if let Some(target) = target {
            match (
                self.nodes[moved].is_directory,
                self.nodes[target].is_directory,
            ) {
                (true, false) => return Err(Error::NotDirectory),
                (false, true) => return Err(Error::IsDirectory),
                _ => self.unlink(target)?,
            }
        }
        self.nodes[from].entries.remove(&name);
        self.nodes[to].entries.insert(new_name, moved);
        self.nodes[moved].parent = to;
        Ok(())
    }

    fn xattr_set(
        &mut self,
        node: usize,
        name: u8,
        value: &[u8],
        how: SetXattr,
    ) -> Result<(), Error> {
        self.alive(node)?;
        let xattrs = &mut self.nodes[node].xattrs;
        match (xattrs.contains_key(&name), how) {
            (true, SetXattr::Create) => return Err(Error::Exists),
            (false, SetXattr::Replace) => return Err(Error::NoXattr),
            _ => xattrs.insert(name, value.to_vec()),
        };
        Ok(())
    }

    fn xattr_remove(&mut self, node: usize, name: u8) -> Result<(), Error> {
        self.alive(node)?;
        let gone = self.nodes[node].xattrs.remove(&name);
        gone.map(drop).ok_or(Error::NoXattr)
    }

    fn reap(&mut self, node: usize) -> bool {
        let node = &mut self.nodes[node];
        let reaps = !node.is_directory && node.links == 0 && !node.is_gone;
        node.is_gone |= reaps;
        reaps
    }

    fn subdirectories(&self, node: usize) -> u32 {
        self.nodes[node]
            .entries
            .values()
            .filter(|child| self.nodes[**child].is_directory)
            .count() as u32
    }
}

fn name_of(name: u8) -> String {
    format!("name{name}")
}

/// The catalog beside its model.
struct Pair {
    catalog: Arc<Catalog>,
    model: Model,
    /// Inode of each node of the model.
    ids: Vec<InodeId>,
    /// Last change attribute known of each directory.
    changes: HashMap<InodeId, u64>,
}

impl Pair {
    fn new(catalog: Arc<Catalog>) -> Self {
        Pair {
            catalog,
            model: Model::new(),
            ids: vec![ROOT],
            changes: HashMap::new(),
        }
    }

    /// Change attributes go on from where they were, with nothing between, and rise.
    fn note<T>(&mut self, answer: Result<Done<T>, Error>) -> Result<T, Error> {
        let done = answer?;
        for change in done.directories {
            let known = self.changes.insert(change.id, change.after);
            assert!(known.is_none_or(|known| known == change.before));
            assert!(change.after > change.before);
        }
        Ok(done.value)
    }

    async fn step(&mut self, step: &Step) {
        let node = |node: usize| node % self.ids.len();
        let catalog = self.catalog.clone();
        let calls = calls(&catalog);
        match *step {
            Step::Create {
                directory,
                name,
                is_directory,
            } => {
                let directory = node(directory);
                let new = if is_directory { folder() } else { file() };
                let answer = calls.create(self.ids[directory], &name_of(name), new).await;
                let answer = self.note(answer).map(|inode| self.ids.push(inode.id));
                assert_eq!(answer, self.model.create(directory, name, is_directory));
            }
            Step::Link {
                directory,
                name,
                node: linked,
            } => {
                let (directory, linked) = (node(directory), node(linked));
                let answer = calls
                    .link(self.ids[directory], &name_of(name), self.ids[linked])
                    .await;
                assert_eq!(
                    self.note(answer).map(drop),
                    self.model.link(directory, name, linked)
                );
            }
            Step::Remove {
                directory,
                name,
                what,
            } => {
                let directory = node(directory);
                let answer = calls
                    .remove(self.ids[directory], &name_of(name), what)
                    .await;
                assert_eq!(
                    self.note(answer).map(drop),
                    self.model.remove(directory, name, what)
                );
            }
            Step::Rename {
                from,
                name,
                to,
                new_name,
            } => {
                let (from, to) = (node(from), node(to));
                let (old, new) = (name_of(name), name_of(new_name));
                let answer = calls
                    .rename((self.ids[from], &old), (self.ids[to], &new))
                    .await;
                assert_eq!(
                    self.note(answer).map(drop),
                    self.model.rename(from, name, to, new_name)
                );
            }
            Step::Chmod {
                node: changed,
                mode,
            } => {
                let changed = node(changed);
                match catalog.read().inode(self.ids[changed]).await {
                    Ok(mut inode) => {
                        inode.mode = mode;
                        inode.change = catalog.next_change();
                        let answer = calls.put(&inode).await;
                        assert_eq!(self.note(answer), Ok(()));
                        self.model.nodes[changed].mode = mode;
                    }
                    Err(error) => assert_eq!(Err(error), self.model.alive(changed)),
                }
            }
            Step::SetXattr {
                node: on,
                name,
                ref value,
                how,
            } => {
                let on = node(on);
                let answer = calls
                    .xattr_set(self.ids[on], &name_of(name), value, how)
                    .await;
                let expected = self.model.xattr_set(on, name, value, how);
                assert_eq!(self.note(answer).map(drop), expected);
            }
            Step::RemoveXattr { node: on, name } => {
                let on = node(on);
                let answer = calls.xattr_remove(self.ids[on], &name_of(name)).await;
                let expected = self.model.xattr_remove(on, name);
                assert_eq!(self.note(answer).map(drop), expected);
            }
            Step::Reap { node: reaped } => {
                let reaped = node(reaped);
                let answer = catalog.reap(at(1), self.ids[reaped]).await;
                assert_eq!(answer, Ok(self.model.reap(reaped)));
            }
            Step::Restart => {}
        }
    }

    /// A look at one inode shows what a snapshot taken then shows.
    async fn compare_looks(&self) {
        let reader = self.catalog.read();
        for id in &self.ids {
            let looked = self.catalog.inode(*id).await;
            assert_eq!(looked.map(Arc::unwrap_or_clone), reader.inode(*id).await);
        }
    }

    async fn compare(&self) {
        assert_sound(&self.catalog).await;
        let reader = self.catalog.read();
        for (node, id) in self.model.nodes.iter().zip(&self.ids) {
            let inode = reader.inode(*id).await;
            if node.is_gone {
                assert_eq!(inode, Err(Error::Stale));
                continue;
            }
            let inode = inode.unwrap();
            assert_eq!(inode.mode, node.mode);
            assert_eq!(inode.kind == FileKind::Directory, node.is_directory);
            assert_eq!(inode.xattrs.count as usize, node.xattrs.len());
            for (name, value) in &node.xattrs {
                let found = reader.xattr(*id, name_of(*name).as_bytes()).await;
                assert_eq!(found.unwrap().as_deref(), Some(&value[..]));
            }
            if !node.is_directory {
                assert_eq!(inode.nlink, node.links);
                continue;
            }
            let number = self.ids.iter().position(|other| other == id).unwrap();
            assert_eq!(inode.nlink, 2 + self.model.subdirectories(number));
            let (listed, _) = reader.readdir_plus(*id, 0, 100).await.unwrap();
            let mut found: Vec<_> = listed
                .into_iter()
                .map(|(entry, inode)| {
                    assert_eq!((entry.id, entry.kind), (inode.id, inode.kind));
                    (String::from_utf8(entry.name.to_vec()).unwrap(), entry.id)
                })
                .collect();
            found.sort();
            let expected: Vec<_> = node
                .entries
                .iter()
                .map(|(name, child)| (name_of(*name), self.ids[*child]))
                .collect();
            assert_eq!(found, expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn operations_do_what_the_model_says_on_an_engine_with_faults(seed: u64, steps in steps(120)) {
        run(async {
            let mut store = MemoryStore::with_faults(faults(seed));
            let mut pair = Pair::new(on(&store).await);
            for step in &steps {
                pair.step(step).await;
                pair.compare_looks().await;
                if matches!(step, Step::Restart) {
                    store = store.crash();
                    pair.catalog = on(&store).await;
                }
            }
            pair.compare().await;
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn operations_do_what_the_model_says_on_disk(steps in steps(80)) {
        run(async {
            let folder = tempfile::tempdir().unwrap();
            let mut pair = Pair::new(in_folder(folder.path()).await);
            for step in &steps {
                pair.step(step).await;
                pair.compare_looks().await;
            }
            let Pair { catalog, model, ids, changes } = pair;
            drop(catalog);
            let pair = Pair { catalog: in_folder(folder.path()).await, model, ids, changes };
            pair.compare().await;
        });
    }

    #[test]
    fn operations_at_once_leave_the_catalog_sound(seed: u64, steps in vec(steps(40), 6)) {
        run(async {
            let store = MemoryStore::with_faults(faults(seed));
            let catalog = on(&store).await;
            let mut ids = vec![ROOT];
            for number in 0..4 {
                let parent = ids[number / 2];
                ids.push(calls(&catalog).make(parent, &format!("name{number}"), folder()).await);
            }
            let tasks = steps.iter().map(|steps| {
                let mut pair = Pair::new(catalog.clone());
                pair.ids.clone_from(&ids);
                async move {
                    for step in steps {
                        pair.blindly(step).await;
                    }
                }
            });
            futures_util::future::join_all(tasks).await;
            assert_sound(&catalog).await;
        });
    }
}

impl Pair {
    /// Without a model: others do as much at the same time. Only errors that a caller can expect.
    async fn blindly(&mut self, step: &Step) {
        let node = |node: usize| self.ids[node % self.ids.len()];
        let catalog = self.catalog.clone();
        let calls = calls(&catalog);
        let answer = match *step {
            Step::Create {
                directory,
                name,
                is_directory,
            } => {
                let new = if is_directory { folder() } else { file() };
                let made = calls.create(node(directory), &name_of(name), new).await;
                made.map(|done| self.ids.push(done.value.id))
            }
            Step::Link {
                directory,
                name,
                node: linked,
            } => calls
                .link(node(directory), &name_of(name), node(linked))
                .await
                .map(drop),
            Step::Remove {
                directory,
                name,
                what,
            } => calls
                .remove(node(directory), &name_of(name), what)
                .await
                .map(drop),
            Step::Rename {
                from,
                name,
                to,
                new_name,
            } => {
                let (old, new) = (name_of(name), name_of(new_name));
                calls
                    .rename((node(from), &old), (node(to), &new))
                    .await
                    .map(drop)
            }
            Step::Chmod {
                node: changed,
                mode,
            } => match catalog.read().inode(node(changed)).await {
                Ok(mut inode) => {
                    inode.mode = mode;
                    calls.put(&inode).await.map(drop)
                }
                Err(error) => Err(error),
            },
            Step::SetXattr {
                node: on,
                name,
                ref value,
                how,
            } => calls
                .xattr_set(node(on), &name_of(name), value, how)
                .await
                .map(drop),
            Step::RemoveXattr { node: on, name } => {
                calls.xattr_remove(node(on), &name_of(name)).await.map(drop)
            }
            Step::Reap { node: reaped } => catalog.reap(at(1), node(reaped)).await.map(drop),
            Step::Restart => Ok(()),
        };
        if let Err(error) = answer {
            let unexpected = matches!(
                error,
                Error::Corrupt(_) | Error::Store(_) | Error::Unknown(_) | Error::Conflict { .. }
            );
            assert!(!unexpected, "{error}");
        }
    }
}
