//! Folders that are put into the namespace whole, with very many files: past journal and memory tables, in the order of
//! the store's keys. Nobody sees anything of a folder before the transaction that names it; a crash before that leaves
//! records that nothing leads to.

use crate::catalog::Catalog;
use crate::codec::{Bucket, ColdInode, Record};
use crate::error::Error;
use crate::hot::hot_time;
use crate::inode::{FileKind, Inode, InodeId, NewInode, Timestamp};
use crate::keys;
use crate::namespace::{checked, insert, newborn, servers};
use crate::store::StoreError;
use crate::transact;
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Folders that one transaction names.
const FOLDERS_AT_ONCE: usize = 500;

/// Very many files, by their numbers from 0. Asked for each more than once, and answers the same each time.
pub trait BulkFiles: Sync {
    fn name(&self, number: u64) -> Bytes;
    /// Anything but a directory.
    fn file(&self, number: u64) -> NewInode;
}

/// A folder that isn't there yet.
#[derive(Debug, Clone)]
pub struct BulkFolder {
    pub name: Bytes,
    pub folder: NewInode,
    /// How many files it has; their numbers follow on those of the folder before.
    pub files: u64,
}

/// A folder on its way, with the numbers of its files.
struct Loaded<'a> {
    what: &'a BulkFolder,
    id: InodeId,
    first: u64,
}

/// What the rows of one load are made of.
struct Load<'a> {
    catalog: &'a Catalog,
    files: &'a dyn BulkFiles,
    folders: Vec<Loaded<'a>>,
    /// Inode number of the file 0.
    first_file: u64,
    /// Where the folders lie.
    parent: Inode,
    now: Timestamp,
    change: u64,
}

impl Catalog {
    /// Makes folders of `parent` with all their files. Works as long as it takes, where it is called, and tells each
    /// folder once all of them are on the disk. Fails, having made none of the folders, if two files of one have the
    /// same name, or if a folder's name is taken when it begins.
    pub async fn load_in_bulk(
        &self,
        now: Timestamp,
        parent: InodeId,
        folders: &[BulkFolder],
        files: &dyn BulkFiles,
    ) -> Result<(), Error> {
        let inode = self.place_for(parent, folders).await?;
        let all = folders.iter().map(|folder| folder.files).sum::<u64>();
        let first = self.core.inode_numbers(folders.len() as u64 + all).await?;
        let load = Load {
            catalog: self,
            files,
            folders: numbered(folders, parent, first),
            first_file: first + folders.len() as u64,
            parent: inode,
            now,
            change: self.next_change(),
        };
        load.put()?;
        for some in load.folders.chunks(FOLDERS_AT_ONCE) {
            transact!(self, now, |tx| -> Result<(), Error> {
                for Loaded { what, id, .. } in some {
                    let (name, folder) = (&what.name, what.folder.clone());
                    tx.create_numbered(parent, name, folder, Some(id.number))
                        .await?;
                    let files = what.files as i64;
                    tx.grow(*id, files, 0);
                    tx.count(files, 0);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The folder that they are to lie in, if they may. Keeps no snapshot: what a load is merged through would stay on
    /// the disk as long as that does.
    async fn place_for(&self, parent: InodeId, folders: &[BulkFolder]) -> Result<Inode, Error> {
        let reader = self.read();
        let inode = reader.inode(parent).await?;
        if inode.kind != FileKind::Directory {
            return Err(Error::NotDirectory);
        }
        if inode.unscanned {
            return Err(Error::Unscanned);
        }
        for folder in folders {
            checked(&folder.name)?;
            if reader.lookup(parent, &folder.name).await?.is_some() {
                return Err(Error::Exists);
            }
        }
        Ok(inode)
    }
}

fn numbered(folders: &[BulkFolder], parent: InodeId, first: u64) -> Vec<Loaded<'_>> {
    let mut before = 0;
    let with_number = |(what, number): (_, u64)| {
        let what: &BulkFolder = what;
        let loaded = Loaded {
            what,
            id: InodeId {
                home: parent.number,
                number,
            },
            first: before,
        };
        before += what.files;
        loaded
    };
    folders.iter().zip(first..).map(with_number).collect()
}

impl Load<'_> {
    /// Everything but the folders themselves.
    fn put(&self) -> Result<(), Error> {
        let (fault, found) = (RefCell::new(None), RefCell::new(BTreeSet::new()));
        let entries = self.folders.iter().flat_map(|folder| self.entries(folder));
        let all = || self.folders.iter().flat_map(|folder| self.inodes(folder));
        let inodes = all().map(|inode| {
            found.borrow_mut().extend(servers(&inode));
            let key = keys::inode(inode.id);
            let times_mark = hot_time(self.now);
            Ok((key, ColdInode { inode, times_mark }.encode()))
        });
        // Known once all inodes are made.
        let found = std::iter::once_with(|| found.take()).flatten();
        let index = found.flat_map(|server| {
            all()
                .filter(move |inode| servers(inode).contains(&server))
                .map(move |inode| Ok((keys::index(server, inode.id), Bytes::new())))
        });
        let mut rows = entries.chain(inodes).chain(index).map(|row| {
            row.map_err(|error| {
                fault.replace(Some(error));
                StoreError::Failed("a row can't be made".into())
            })
        });
        let put = self.catalog.core.store.ingest(&mut rows);
        drop(rows);
        match fault.into_inner() {
            Some(error) => Err(error),
            None => Ok(put?),
        }
    }

    fn id(&self, folder: &Loaded<'_>, number: u64) -> InodeId {
        InodeId {
            home: folder.id.number,
            number: self.first_file + number,
        }
    }

    fn inodes(&self, folder: &Loaded<'_>) -> impl Iterator<Item = Inode> {
        folder.numbers().map(|number| {
            let id = self.id(folder, number);
            let new = self.files.file(number);
            newborn(new, id, (self.now, self.change), &self.parent)
        })
    }

    /// The folder's names, in the order of their hashes.
    fn entries(&self, folder: &Loaded<'_>) -> impl Iterator<Item = Result<(Bytes, Bytes), Error>> {
        let hash = |number| self.catalog.core.names.of(&self.files.name(number));
        let mut hashed: Vec<(u64, u64)> = folder
            .numbers()
            .map(|number| (hash(number), number))
            .collect();
        hashed.sort_unstable();
        let mut next = 0;
        std::iter::from_fn(move || {
            let (hash, _) = *hashed.get(next)?;
            let mut bucket = Bucket::default();
            while let Some((_, number)) = hashed.get(next).filter(|(other, _)| *other == hash) {
                next += 1;
                if let Err(error) = self.name(folder, *number, &mut bucket) {
                    return Some(Err(error));
                }
            }
            Some(Ok((keys::entry(folder.id, hash), bucket.encode())))
        })
    }

    fn name(&self, folder: &Loaded<'_>, number: u64, bucket: &mut Bucket) -> Result<(), Error> {
        let name = self.files.name(number);
        checked(&name)?;
        if bucket.0.iter().any(|named| named.name == name) {
            return Err(Error::Exists);
        }
        let kind = self.files.file(number).kind;
        if kind == FileKind::Directory {
            return Err(Error::IsDirectory);
        }
        insert(bucket, &name, self.id(folder, number), kind)
    }
}

impl Loaded<'_> {
    fn numbers(&self) -> std::ops::Range<u64> {
        self.first..self.first + self.what.files
    }
}
