//! Load on the metadata server: sessions of a few clients, each slot a caller.

use super::{Place, Size, full_and_half};
use crate::rounds::Sample;
use crate::servers::until_they_rest;
use crate::session::{LATER, Session, at, close, create, layoutget, make, make_folder, open};
use anyhow::{Result, bail};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use wire::nfs4::*;
use wire::xdr;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Create { folders: usize },
    Stat,
    Lookup,
    Access,
    Layout { writes: bool },
    Rename,
    Unlink,
}

pub const CLIENTS: usize = 4;
pub const SLOTS: usize = 16;
pub const CALLERS: usize = CLIENTS * SLOTS;

struct World {
    sessions: Vec<Session>,
    folders: Vec<Fh4>,
    files: Vec<Fh4>,
    /// What each caller has done: no name is made twice, and a name goes back and forth.
    turns: Vec<AtomicU64>,
}

/// Files that are looked at, or opened.
pub const fn files(size: Size) -> usize {
    match size {
        Size::Full => 10_000,
        Size::Quick => 2_000,
    }
}

impl Work {
    /// Whether what is acknowledged has to be on disk.
    pub const fn changes_names(self) -> bool {
        matches!(self, Self::Create { .. } | Self::Rename | Self::Unlink)
    }
}

pub async fn run(work: Work, place: Place<'_>) -> Result<Sample> {
    let servers = place.side.metadata_server(place.disk, "")?;
    let pids = servers.processes();
    let world = Arc::new(prepare(work, servers.address, files(place.size)).await?);
    until_they_rest(&pids).await?;
    let one = {
        let world = Arc::clone(&world);
        move |caller, _| {
            let world = Arc::clone(&world);
            async move { world.one(work, caller).await }
        }
    };
    full_and_half(CALLERS, place, &pids, one).await
}

async fn prepare(work: Work, address: SocketAddr, files: usize) -> Result<World> {
    let mut sessions = Vec::new();
    for client in 0..CLIENTS {
        let name = format!("client {client}");
        let session = Session::mount(address, &name, 1, SLOTS as u32).await?;
        anyhow::ensure!(session.slots() >= SLOTS, "{} slots", session.slots());
        sessions.push(session);
    }
    let folders = match work {
        Work::Create { folders } => folders,
        _ => 1,
    };
    let mut made = Vec::new();
    for folder in 0..folders {
        made.push(make_folder(&sessions[0], &format!("folder{folder}")).await?);
    }
    let mut world = World {
        sessions,
        folders: made,
        files: Vec::new(),
        turns: (0..CALLERS).map(|_| AtomicU64::new(0)).collect(),
    };
    let files = match work {
        Work::Create { .. } | Work::Unlink => 0,
        Work::Rename => CALLERS,
        _ => files,
    };
    let makers = (0..SLOTS).map(|slot| {
        let world = &world;
        async move {
            let mut made = Vec::new();
            for number in (slot..files).step_by(SLOTS) {
                let name = name_of(number);
                let file = make(&world.sessions[0], slot, Some(&world.folders[0]), &name).await?;
                made.push((number, file));
            }
            anyhow::Ok(made)
        }
    });
    let mut all = futures_util::future::try_join_all(makers).await?.concat();
    all.sort_unstable_by_key(|(number, _)| *number);
    world.files = all.into_iter().map(|(_, file)| file).collect();
    if let Work::Layout { .. } = work {
        // A file gets its data objects with its first layout, and has them from then on.
        let world = &world;
        let first = (0..SLOTS).map(|caller| async move {
            for _ in 0..files / SLOTS {
                world.one(work, caller).await?;
            }
            anyhow::Ok(())
        });
        futures_util::future::try_join_all(first).await?;
    }
    Ok(world)
}

pub fn name_of(number: usize) -> String {
    format!("f{number}")
}

/// What Linux asks of a file it looks at.
pub fn looked_at() -> ArgOp {
    let asked = [
        Attr::Type,
        Attr::Change,
        Attr::Size,
        Attr::Fsid,
        Attr::Fileid,
        Attr::Mode,
        Attr::Numlinks,
        Attr::Owner,
        Attr::OwnerGroup,
        Attr::SpaceUsed,
        Attr::TimeAccess,
        Attr::TimeMetadata,
        Attr::TimeModify,
        Attr::MountedOnFileid,
    ];
    ArgOp::Getattr(Getattr4Args {
        attr_request: asked.into_iter().collect(),
    })
}

/// Which file a caller takes next. No two callers of a client ever have the same: one would close what the other has open.
fn own_of(caller: usize, turn: u64, files: usize) -> usize {
    let (client, slot) = (caller / SLOTS, caller % SLOTS);
    let next = client * 157 + turn as usize;
    next % (files / SLOTS) * SLOTS + slot
}

fn component(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

pub fn lookup(name: &str) -> ArgOp {
    ArgOp::Lookup(Lookup4Args {
        objname: component(name),
    })
}

impl World {
    async fn one(&self, work: Work, caller: usize) -> Result<()> {
        let turn = self.turns[caller].fetch_add(1, Relaxed);
        let session = &self.sessions[caller / SLOTS];
        let folder = &self.folders[caller % self.folders.len()];
        let mine = || at(&self.files[own_of(caller, turn, self.files.len())]);
        let ops = match work {
            Work::Create { .. } => {
                let name = format!("c{caller}-{turn}");
                vec![at(folder), create(session.client, &name), close()]
            }
            Work::Unlink => {
                let name = format!("c{caller}-{turn}");
                let remove = ArgOp::Remove(Remove4Args {
                    target: component(&name),
                });
                let made = create(session.client, &name);
                vec![at(folder), made, close(), at(folder), remove]
            }
            Work::Rename => {
                let names = [name_of(caller), format!("r{caller}")];
                let (from, to) = if turn.is_multiple_of(2) {
                    (0, 1)
                } else {
                    (1, 0)
                };
                let rename = ArgOp::Rename(Rename4Args {
                    oldname: component(&names[from]),
                    newname: component(&names[to]),
                });
                vec![at(folder), ArgOp::Savefh, rename]
            }
            Work::Stat => vec![mine(), looked_at()],
            Work::Lookup => {
                let number = (caller * 157 + turn as usize) % self.files.len();
                let lookup = lookup(&name_of(number));
                vec![at(folder), lookup, ArgOp::Getfh, looked_at()]
            }
            Work::Access => {
                let access = ArgOp::Access(Access4Args {
                    access: ACCESS4_READ | ACCESS4_MODIFY | ACCESS4_EXTEND | ACCESS4_EXECUTE,
                });
                vec![mine(), access]
            }
            Work::Layout { writes } => {
                let iomode = if writes {
                    Layoutiomode4::Rw
                } else {
                    Layoutiomode4::Read
                };
                let open = open(session.client, OpenClaim4::Fh, Openflag4::NoCreate);
                // CLOSE wants the stateid of OPEN, which goes along with the filehandle.
                let (kept, back) = (ArgOp::Savefh, ArgOp::Restorefh);
                vec![
                    mine(),
                    open,
                    kept,
                    layoutget(iomode, false, Stateid4::CURRENT),
                    layoutreturn(),
                    back,
                    close(),
                ]
            }
        };
        let slot = caller % SLOTS;
        loop {
            let results = session.call(slot, ops.clone()).await?;
            match results.last().map(ResOp::status) {
                Some(Nfsstat4::Ok) => return Ok(()),
                // As any client, though none is told so by a server that keeps up.
                Some(Nfsstat4::Delay) => tokio::time::sleep(LATER).await,
                other => bail!("{work:?}: {other:?}"),
            }
        }
    }
}

/// Of the whole file, by the current stateid.
pub fn layoutreturn() -> ArgOp {
    let nothing = flex::LayoutReturn {
        ioerr_report: Vec::new(),
        iostats_report: Vec::new(),
    };
    ArgOp::Layoutreturn(Layoutreturn4Args {
        reclaim: false,
        layout_type: LAYOUT4_FLEX_FILES,
        iomode: Layoutiomode4::Any,
        layoutreturn: Layoutreturn4::File(LayoutreturnFile4 {
            offset: 0,
            length: u64::MAX,
            stateid: Stateid4::CURRENT,
            body: xdr::to_bytes(&nothing),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn callers_of_a_client_open_no_file_of_each_other() {
        let files = files(Size::Quick);
        let of_caller = |caller| -> HashSet<usize> {
            (0..3 * files as u64)
                .map(|turn| own_of(caller, turn, files))
                .collect()
        };
        let mut all = HashSet::new();
        for caller in 0..SLOTS {
            let own = of_caller(caller);
            assert!(own.iter().all(|file| *file < files));
            assert!(all.is_disjoint(&own));
            all.extend(own);
        }
        assert_eq!(all.len(), files / SLOTS * SLOTS);
    }
}
