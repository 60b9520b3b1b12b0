//! Memory of what a metadata server holds: an inode that was looked at, an open, a lock, a layout, a client. Many of a
//! kind, one kind after the other, and what the process grew by.

use super::many::{self, Many};
use super::{Place, Size, names};
use crate::costs::{self, Process};
use crate::rounds::{Figure, Sample};
use crate::servers::until_they_rest;
use crate::session::Session;
use crate::sides::Kind;
use anyhow::Result;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::SocketAddr;
use wire::nfs4::*;

const CLIENTS: usize = 16;
/// Mounts at the same time.
const AT_ONCE: usize = 64;
/// Each client is a connection from this host.
const MORE: &str = "\n[limits]\nconnections_per_address = 20000\n";

/// Clients that hold nothing but a session.
const fn idle_clients(size: Size) -> usize {
    match size {
        Size::Full => 5_000,
        Size::Quick => 500,
    }
}

/// Descriptors of connections, and what a server keeps besides.
const RESERVE: usize = 8_000;
const MOST_DESCRIPTORS: u64 = 1_000_000;

/// As many as we may have, for us and for the servers that we start.
pub(super) fn raise_descriptors() -> u64 {
    let limits = |current| Rlimit {
        current: Some(current),
        maximum: Some(current),
    };
    if setrlimit(Resource::Nofile, limits(MOST_DESCRIPTORS)).is_ok() {
        return MOST_DESCRIPTORS;
    }
    let known = getrlimit(Resource::Nofile);
    let most = known.maximum.unwrap_or(MOST_DESCRIPTORS);
    // What can't be raised stays as it is.
    let _ = setrlimit(Resource::Nofile, limits(most));
    getrlimit(Resource::Nofile).current.unwrap_or(most)
}

pub async fn run(place: Place<'_>) -> Result<Sample> {
    let descriptors = raise_descriptors() as usize;
    let mut server = place.side.metadata_server(place.disk, MORE)?;
    let files = many::make(server.address, many::files(place)).await?;
    let lays_out = matches!(place.side.kind, Kind::Headrace { .. });
    if lays_out {
        // Files get their objects now: they belong to the inode, not to the layout.
        let bound = Many::of(server.address, CLIENTS, files.clone()).await?;
        bound.lay_out(&bound.open().await?).await?;
    }
    // Whatever the making left in memory goes.
    server.stop();
    server.start_again()?;
    let mut many = Many::of(server.address, CLIENTS, files).await?;
    let mut memory = Memory::of(server.processes()).await?;
    let count = many.files.len();
    memory.figures.push(Figure::new(
        "inodes that were looked at",
        Figure::COUNT,
        count as f64,
    ));

    let look = |_: &Session, _| names::looked_at();
    many.each(look, |_| Some(())).await?;
    memory.grew("an inode that was looked at", count).await?;

    if matches!(place.side.kind, Kind::Ganesha(_)) {
        // It keeps a descriptor for each open and for each lock.
        many.files.truncate(descriptors.saturating_sub(RESERVE) / 2);
    }
    let count = many.files.len();
    memory.figures.push(Figure::new(
        "opens, locks, layouts",
        Figure::COUNT,
        count as f64,
    ));

    let opens = many.open().await?;
    let mut both = memory.grew("an open", count).await?;

    let lock = |session: &Session, file: usize| lock(session, opens[file]);
    many.each(lock, |_| Some(())).await?;
    memory.grew("a lock", count).await?;

    if lays_out {
        many.lay_out(&opens).await?;
        both += memory.grew("a layout", count).await?;
        memory.tell("an open and its layout", both);
    }

    let idle = mount(server.address, idle_clients(place.size)).await?;
    memory
        .grew("a client with a session and a connection", idle.len())
        .await?;
    Ok(Sample {
        rate: None,
        figures: memory.figures,
    })
}

struct Memory {
    processes: Vec<Process>,
    /// What the server that is asked took when it was looked at last.
    before: u64,
    figures: Vec<Figure>,
}

impl Memory {
    async fn of(processes: Vec<Process>) -> Result<Self> {
        until_they_rest(&processes).await?;
        Ok(Self {
            before: costs::resident_bytes(processes[0].pid)?,
            processes,
            figures: Vec::new(),
        })
    }

    /// By each of `count` since it was asked last.
    async fn grew(&mut self, what: &str, count: usize) -> Result<f64> {
        until_they_rest(&self.processes).await?;
        let now = costs::resident_bytes(self.processes[0].pid)?;
        // Less than nothing where more was freed than taken.
        let each = (now as f64 - self.before as f64) / count as f64;
        self.before = now;
        self.tell(what, each);
        Ok(each)
    }

    fn tell(&mut self, what: &str, bytes: f64) {
        self.figures
            .push(Figure::new(format!("memory, {what}"), "bytes", bytes));
    }
}

async fn mount(address: SocketAddr, count: usize) -> Result<Vec<Session>> {
    stream::iter(0..count)
        .map(|number| async move { Session::mount(address, &format!("idle {number}"), 1, 4).await })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

fn lock(session: &Session, open_stateid: Stateid4) -> ArgOp {
    ArgOp::Lock(Lock4Args {
        locktype: LockType4::WriteLt,
        reclaim: false,
        offset: 0,
        length: 1,
        locker: Locker4::New(OpenToLockOwner4 {
            open_seqid: 0,
            open_stateid,
            lock_seqid: 0,
            lock_owner: StateOwner4 {
                clientid: session.client,
                owner: Bytes::from_static(b"bench"),
            },
        }),
    })
}
