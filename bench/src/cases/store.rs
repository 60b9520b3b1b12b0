//! The catalog alone, in this process: what the metadata server could answer if all else cost nothing.

use super::Place;
use super::names::{CALLERS, Work, files, name_of};
use crate::load::{self, Pace};
use crate::rounds::{Rate, Sample};
use anyhow::{Context, Result};
use catalog::{
    Catalog, Error, FileKind, InodeId, NewInode, Options, RemoveWhat, Timestamp, transact,
};
use std::sync::Arc;

const NOW: Timestamp = Timestamp {
    seconds: 1,
    nanos: 0,
};

/// What bounds `work` is called in a report; none where the catalog isn't asked.
pub fn bound_of(work: Work) -> Option<&'static str> {
    match work {
        Work::Create { .. } | Work::Rename | Work::Unlink => Some("the catalog alone, durable"),
        Work::Stat | Work::Lookup | Work::Access => Some("the catalog alone, gets"),
        Work::Layout { .. } => None,
    }
}

pub async fn run(work: Work, place: Place<'_>) -> Result<Sample> {
    let folder = tempfile::tempdir_in(place.disk)?;
    let world = Arc::new(World::made(work, place, folder.path()).await?);
    let one = move |caller, turn| {
        let world = Arc::clone(&world);
        async move { world.one(work, caller, turn).await }
    };
    let measured = load::run(CALLERS, Pace::Closed, place.span.parts(), one).await?;
    Ok(Sample {
        rate: Some(Rate {
            per_second: measured.per_second(),
            busy: measured.latencies,
            easy: None,
            bytes_each: None,
        }),
        figures: Vec::new(),
    })
}

struct World {
    catalog: Arc<Catalog>,
    folders: Vec<InodeId>,
    files: Vec<InodeId>,
}

impl World {
    async fn made(work: Work, place: Place<'_>, folder: &std::path::Path) -> Result<Self> {
        let options = Options::new([3; 16], NOW);
        let catalog = Catalog::open(&folder.join("catalog"), options).await?;
        let folders = match work {
            Work::Create { folders } => folders,
            _ => 1,
        };
        let mut world = Self {
            catalog,
            folders: Vec::new(),
            files: Vec::new(),
        };
        for number in 0..folders {
            let (name, kind) = (format!("folder{number}"), FileKind::Directory);
            let folder = world.create(InodeId::ROOT, &name, kind).await?;
            world.folders.push(folder);
        }
        let files = match work {
            Work::Create { .. } | Work::Unlink => 0,
            Work::Rename => CALLERS,
            _ => files(place.size),
        };
        let makers = (0..CALLERS).map(|caller| {
            let world = &world;
            async move {
                let mut made = Vec::new();
                for number in (caller..files).step_by(CALLERS) {
                    let (name, kind) = (name_of(number), FileKind::Regular);
                    made.push(world.create(world.folders[0], &name, kind).await?);
                }
                anyhow::Ok(made)
            }
        });
        world.files = futures_util::future::try_join_all(makers).await?.concat();
        Ok(world)
    }

    async fn create(&self, folder: InodeId, name: &str, kind: FileKind) -> Result<InodeId> {
        let done = transact!(self.catalog, NOW, |tx| -> Result<_, Error> {
            let new = NewInode::plain(kind, 0o644, 0, 0);
            tx.create(folder, name.as_bytes(), new).await
        })?;
        Ok(done.value.id)
    }

    async fn one(&self, work: Work, caller: usize, turn: u64) -> Result<()> {
        let folder = self.folders[caller % self.folders.len()];
        let place = caller * 157 + turn as usize;
        match work {
            Work::Create { .. } => {
                let name = format!("c{caller}-{turn}");
                self.create(folder, &name, FileKind::Regular).await?;
            }
            Work::Unlink => {
                let name = format!("c{caller}-{turn}");
                self.create(folder, &name, FileKind::Regular).await?;
                transact!(self.catalog, NOW, |tx| -> Result<_, Error> {
                    let what = RemoveWhat::NotDirectory;
                    tx.remove(folder, name.as_bytes(), what).await
                })?;
            }
            Work::Rename => {
                let mut names = [name_of(caller), format!("r{caller}")];
                if !turn.is_multiple_of(2) {
                    names.reverse();
                }
                let [from, to] = &names;
                transact!(self.catalog, NOW, |tx| -> Result<_, Error> {
                    tx.rename(folder, from.as_bytes(), folder, to.as_bytes())
                        .await
                })?;
            }
            Work::Lookup => {
                let name = name_of(place % self.files.len());
                let reader = self.catalog.read();
                let entry = reader.lookup(folder, name.as_bytes()).await?;
                reader
                    .inode(entry.context("a name that was made")?.id)
                    .await?;
            }
            Work::Stat | Work::Access | Work::Layout { .. } => {
                let file = self.files[place % self.files.len()];
                self.catalog.read().inode(file).await?;
            }
        }
        Ok(())
    }
}
