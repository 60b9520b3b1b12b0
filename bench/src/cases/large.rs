//! Catalogs of very many files: loaded in bulk past the server, then asked through it. Whatever is told of the many stands
//! beside the same of the few, of one run.

use super::names::{self, CALLERS, CLIENTS, SLOTS, lookup};
use super::{Place, Size};
use crate::costs;
use crate::load::{self, Pace};
use crate::rounds::{Figure, Sample};
use crate::servers::until_they_rest;
use crate::session::{Session, at, close, create, done, make_folder};
use crate::sides::NamesEnd;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use catalog::{BulkFiles, BulkFolder, Catalog, FileKind, NewInode, Options, Timestamp};
use layout::{DataServerId, Extent, ExtentState, Mirror, ObjectId, ObjectRef, Owner};
use std::collections::BTreeSet;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use wire::nfs4::*;

const NOW: Timestamp = Timestamp {
    seconds: 1,
    nanos: 0,
};

/// A filehandle of our data servers.
const HANDLE_BYTES: usize = 40;

/// How many there are first, of which a folder has as many.
const fn few(size: Size) -> usize {
    match size {
        Size::Full => 1_000_000,
        Size::Quick => 20_000,
    }
}

pub async fn run(place: Place<'_>) -> Result<Sample> {
    let few = few(place.size);
    let many = match place.size {
        Size::Full => place.large_files.max(few),
        Size::Quick => 5 * few,
    };
    let mut server = place.side.metadata_server(place.disk, "")?;
    let mut figures = Vec::new();
    let mut before: Option<Asked> = None;
    let mut loaded = 0;
    for count in BTreeSet::from([few, many]) {
        server.stop();
        let folder = server.catalog().context("a catalog of ours")?;
        let began = Instant::now();
        load(&folder.join("catalog"), few, loaded..count).await?;
        let each = (count - loaded) as f64 / began.elapsed().as_secs_f64();
        read_once(&folder)?;
        loaded = count;
        let mut tell = |what: &str, unit, value| {
            figures.push(Figure::new(format!("{what}, of {count}"), unit, value));
        };
        tell("loaded past the server", "a second", each);
        let disk = costs::on_disk(&folder)? as f64 / count as f64;
        tell("the catalog's disk, a file", "bytes", disk);

        let now = asked(&mut server, few, count, place).await?;
        tell("restart to the first answer", "s", now.restart_seconds);
        tell("LOOKUP of any name", "a second", now.lookups);
        tell("durable creates in a new folder", "a second", now.creates);
        let listed = format!("READDIR of {few} names with attributes");
        tell(&listed, "s", now.listing_seconds);
        tell("memory of the server", "MB", now.memory_bytes as f64 / 1e6);
        if let Some(before) = &before {
            let ratios = [
                ("LOOKUP", now.lookups / before.lookups),
                ("creates", now.creates / before.creates),
            ];
            for (what, ratio) in ratios {
                let what = format!("{what}, of {count} to of {few}");
                figures.push(Figure::new(what, "times", ratio));
            }
        }
        before = Some(now);
    }
    Ok(Sample {
        rate: None,
        figures,
    })
}

fn folder_of(number: usize, few: usize) -> String {
    format!("folder{}", number / few)
}

/// Files with these numbers, each with the place of its bytes, as if it had been written.
async fn load(path: &Path, few: usize, numbers: Range<usize>) -> Result<()> {
    let catalog = Catalog::open(path, Options::new([3; 16], NOW)).await?;
    let folder_at = |first: usize| BulkFolder {
        name: folder_of(first, few).into(),
        folder: NewInode::plain(FileKind::Directory, 0o755, 0, 0),
        files: few.min(numbers.end - first) as u64,
    };
    let folders: Vec<_> = numbers.clone().step_by(few).map(folder_at).collect();
    let files = Written {
        first: numbers.start,
    };
    let root = catalog::InodeId::ROOT;
    Ok(catalog.load_in_bulk(NOW, root, &folders, &files).await?)
}

/// Brings the files of a catalog into the page cache, where they are in a server that has been up for a while: what a
/// load of many leaves there is chance.
fn read_once(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            read_once(&entry.path())?;
        } else if kind.is_file() {
            std::io::copy(&mut File::open(entry.path())?, &mut std::io::sink())?;
        }
    }
    Ok(())
}

struct Written {
    first: usize,
}

impl BulkFiles for Written {
    fn name(&self, number: u64) -> Bytes {
        names::name_of(self.first + number as usize).into()
    }

    fn file(&self, number: u64) -> NewInode {
        written(self.first + number as usize)
    }
}

fn written(number: usize) -> NewInode {
    let object = ObjectId(number as u128);
    // As hard to compress as a real one.
    let mut handle = Vec::with_capacity(HANDLE_BYTES);
    let mut state = number as u64;
    while handle.len() < HANDLE_BYTES {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        handle.extend_from_slice(&state.to_be_bytes());
    }
    let stripe = ObjectRef {
        server: DataServerId(1),
        object,
        handle: handle.into(),
        owner: Owner { uid: 1, gid: 1 },
        generation: 0,
    };
    let mirror = Mirror {
        stripes: vec![stripe],
        stale: false,
    };
    NewInode {
        extents: vec![Extent {
            offset: 0,
            length: u64::MAX,
            stripe_unit: 0,
            mirrors: vec![mirror],
            state: ExtentState::Bound,
        }],
        ..NewInode::plain(FileKind::Regular, 0o644, 1000, 1000)
    }
}

/// What a server told of one catalog.
struct Asked {
    restart_seconds: f64,
    lookups: f64,
    creates: f64,
    listing_seconds: f64,
    memory_bytes: u64,
}

async fn asked(server: &mut NamesEnd, few: usize, count: usize, place: Place<'_>) -> Result<Asked> {
    let began = Instant::now();
    server.start_again()?;
    let first = Session::mount(server.address, "first", 1, 1).await?;
    let folders = folders(&first, few, count).await?;
    let restart_seconds = began.elapsed().as_secs_f64();

    let processes = server.processes();
    let mut sessions = Vec::new();
    for client in 0..CLIENTS {
        let name = format!("client {client}");
        sessions.push(Session::mount(server.address, &name, 1, SLOTS as u32).await?);
    }
    let made = make_folder(&first, &format!("made beside {count}")).await?;
    until_they_rest(&processes).await?;
    let world = Arc::new(World {
        sessions,
        folders,
        made,
        few,
        count,
    });
    let rate = async |work: Work| -> Result<f64> {
        let world = Arc::clone(&world);
        let one = move |caller, turn| {
            let world = Arc::clone(&world);
            async move { world.one(work, caller, turn).await }
        };
        let parts = place.span.parts();
        let measured = load::run(CALLERS, Pace::Closed, parts, one).await?;
        Ok(measured.per_second())
    };
    let lookups = rate(Work::Lookup).await?;
    let creates = rate(Work::Create).await?;
    let began = Instant::now();
    let listed = list(&first, &world.folders[0]).await?;
    anyhow::ensure!(listed == few, "{listed} names of {few}");
    Ok(Asked {
        restart_seconds,
        lookups,
        creates,
        listing_seconds: began.elapsed().as_secs_f64(),
        memory_bytes: costs::resident_bytes(processes[0].pid)?,
    })
}

#[derive(Debug, Clone, Copy)]
enum Work {
    Lookup,
    Create,
}

struct World {
    sessions: Vec<Session>,
    folders: Vec<Fh4>,
    made: Fh4,
    few: usize,
    count: usize,
}

/// The folders that were loaded, by name: what the first answers after a restart tell.
async fn folders(session: &Session, few: usize, count: usize) -> Result<Vec<Fh4>> {
    let mut folders = Vec::new();
    for first in (0..count).step_by(few) {
        let name = folder_of(first, few);
        let ops = vec![ArgOp::Putrootfh, lookup(&name), ArgOp::Getfh];
        match session.call(0, ops).await?.pop() {
            Some(ResOp::Getfh(Ok(got))) => folders.push(got.object),
            other => bail!("{name}: {other:?}"),
        }
    }
    Ok(folders)
}

impl World {
    async fn one(&self, work: Work, caller: usize, turn: u64) -> Result<()> {
        let (session, slot) = (&self.sessions[caller / SLOTS], caller % SLOTS);
        let ops = match work {
            Work::Lookup => {
                // Spread over all of them, and never twice in a row.
                let spread =
                    (turn * CALLERS as u64 + caller as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let number = ((u128::from(spread) * self.count as u128) >> 64) as usize;
                let folder = at(&self.folders[number / self.few]);
                let name = names::name_of(number);
                vec![folder, lookup(&name), ArgOp::Getfh, names::looked_at()]
            }
            Work::Create => {
                let name = format!("c{caller}-{turn}");
                vec![at(&self.made), create(session.client, &name), close()]
            }
        };
        done(session, slot, ops)
            .await
            .with_context(|| format!("{work:?}"))?;
        Ok(())
    }
}

/// All names of a folder with what Linux asks for, page by page; how many there are.
async fn list(session: &Session, folder: &Fh4) -> Result<usize> {
    const PAGE_BYTES: u32 = 60 << 10;
    let ArgOp::Getattr(Getattr4Args { attr_request }) = names::looked_at() else {
        bail!("a GETATTR");
    };
    let (mut cookie, mut cookieverf, mut listed) = (0, Verifier4([0; 8]), 0);
    loop {
        let readdir = ArgOp::Readdir(Readdir4Args {
            cookie,
            cookieverf,
            dircount: PAGE_BYTES,
            maxcount: PAGE_BYTES,
            attr_request,
        });
        let page = match session.call(0, vec![at(folder), readdir]).await?.pop() {
            Some(ResOp::Readdir(Ok(page))) => page,
            other => bail!("READDIR: {other:?}"),
        };
        listed += page.entries.len();
        if page.eof {
            return Ok(listed);
        }
        cookieverf = page.cookieverf;
        cookie = page.entries.last().context("a page without names")?.cookie;
    }
}
