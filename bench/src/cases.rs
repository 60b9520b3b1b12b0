//! What can be measured. A case is one kind of load on one kind of server, made anew for each round.

pub mod clients;
mod data;
mod disk;
mod held;
mod large;
mod loopback;
mod many;
mod memory;
mod names;
mod store;
mod synced;
mod terabyte;

use crate::costs::{self, Process, Spent};
use crate::ganesha::Names;
use crate::load::{self, Measured, Pace};
use crate::rounds::{Figure, Rate, Sample, Span};
use crate::sides::{Kind as SideKind, Side};
use anyhow::Result;
use data::Transfer;
use futures_util::future::BoxFuture;
use names::Work;
use std::path::Path;
use std::time::Duration;
use synced::Synced;

/// What is measured in one round.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub side: &'a Side,
    /// The disk that servers work on.
    pub disk: &'a Path,
    pub span: Span,
    pub size: Size,
    /// What the case `large` grows to where it is full.
    pub large_files: usize,
    /// What boots kernels as clients.
    pub kernels: Option<&'a clients::Kernels>,
}

/// How much there is to work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    Full,
    /// Less, so that it is made sooner, and no counting of system calls.
    Quick,
}

/// How long system calls are counted and time is sampled, after what is measured: that they are slows the servers.
const OBSERVED: Duration = Duration::from_secs(1);
const OBSERVED_WARM_UP: Duration = Duration::from_millis(300);

/// Callers who ask as soon as they are answered, and what each operation costs `servers` meanwhile; the memory is that
/// of the first of them.
async fn full<F, Fut>(
    callers: usize,
    place: Place<'_>,
    servers: &[Process],
    bytes_each: Option<u64>,
    one: F,
) -> Result<(Measured, Vec<Figure>)>
where
    F: Fn(usize, u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let span = place.span;
    let before = Spent::so_far(servers)?;
    let measured = load::run(callers, Pace::Closed, span.parts(), one.clone()).await?;
    let after = Spent::so_far(servers)?;
    // The warm-up costs as much a second as what is counted.
    let operations = measured.per_second() * span.whole().as_secs_f64();
    let mut figures = after.each(&before, operations, bytes_each);
    let resident = costs::resident_bytes(servers[0].pid)? as f64 / 1e6;
    figures.push(Figure::new(
        "memory of the server that is asked",
        "MB",
        resident,
    ));
    if place.size == Size::Full {
        figures.extend(observed(callers, servers, one).await?);
    }
    Ok((measured, figures))
}

/// Of the rate that callers reach who wait for their answers: how long one takes where the server isn't full.
const EASY: f64 = 0.5;

/// As [`full`], and then as often as half of that, by callers who don't wait.
async fn full_and_half<F, Fut>(
    callers: usize,
    place: Place<'_>,
    servers: &[Process],
    one: F,
) -> Result<Sample>
where
    F: Fn(usize, u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let (closed, figures) = full(callers, place, servers, None, one.clone()).await?;
    let easy = Pace::Open {
        per_second: closed.per_second() * EASY,
    };
    let open = load::run(callers, easy, place.span.parts(), one).await?;
    Ok(Sample {
        rate: Some(Rate {
            per_second: closed.per_second(),
            busy: closed.latencies,
            easy: Some(open.latencies),
            bytes_each: None,
        }),
        figures,
    })
}

/// System calls of all `servers` for one operation and where they spend their time, under the same load. What nobody
/// can tell is left out.
async fn observed<F, Fut>(callers: usize, servers: &[Process], one: F) -> Result<Vec<Figure>>
where
    F: Fn(usize, u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let pids: Vec<u32> = servers.iter().map(|server| server.pid).collect();
    let mut figures = Vec::new();
    let counting = costs::calls::within(&pids, OBSERVED);
    match beside(callers, one.clone(), counting).await? {
        (measured, Ok((calls, who))) => {
            let operations = measured.per_second() * OBSERVED.as_secs_f64();
            figures.push(Figure::new(
                format!("system calls, counted by {who}"),
                "each operation",
                calls as f64 / operations,
            ));
        }
        (_, Err(error)) => eprintln!("{error:#}"),
    }
    match beside(callers, one, costs::profile::within(&pids, OBSERVED)).await? {
        (_, Ok(shares)) => figures.extend(shares),
        (_, Err(error)) => eprintln!("no profile: {error:#}"),
    }
    Ok(figures)
}

/// The load for as long as `observing` observes it.
async fn beside<F, Fut, T>(
    callers: usize,
    one: F,
    observing: impl Future<Output = T>,
) -> Result<(Measured, T)>
where
    F: Fn(usize, u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    // Whoever observes takes a moment to begin.
    let parts = (OBSERVED_WARM_UP, OBSERVED + OBSERVED_WARM_UP);
    let observing = async {
        tokio::time::sleep(OBSERVED_WARM_UP).await;
        observing.await
    };
    let (measured, observed) =
        tokio::join!(load::run(callers, Pace::Closed, parts, one), observing);
    Ok((measured?, observed))
}

pub struct Case {
    pub name: &'static str,
    pub what: &'static str,
    kind: Kind,
}

/// Why a side is missing in a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    Because(&'static str),
    /// Two sides don't differ here, and the other stands for both.
    AsTheOther,
}

enum Kind {
    Names(Work),
    Data(Transfer),
    Memory,
    Disk,
    Held,
    Large,
    Synced(Synced),
    Terabyte,
    Clients,
    Training,
    Dlio,
    /// By the name of its scenario.
    Elsewhere(&'static str),
}

impl Case {
    /// Why a side isn't measured here.
    pub fn absent(&self, side: &Side) -> Option<Absent> {
        match (&self.kind, &side.kind) {
            (Kind::Names(work), SideKind::Ganesha(Names::Durable)) if work.changes_names() => None,
            (Kind::Clients | Kind::Synced(Synced::NewFile), _) => None,
            (Kind::Elsewhere(_), SideKind::Ganesha(_)) => Some(Absent::Because(
                "the case brings what it is measured beside, if anything",
            )),
            (_, SideKind::Ganesha(Names::Durable)) => Some(Absent::AsTheOther),
            (
                Kind::Names(Work::Layout { .. }) | Kind::Held | Kind::Terabyte,
                SideKind::Ganesha(_),
            ) => Some(Absent::Because(
                "its back end for local folders gives no layouts",
            )),
            (Kind::Disk | Kind::Large, SideKind::Ganesha(_)) => Some(Absent::Because(
                "its names are the file system's own, and what they take can't be told apart",
            )),
            _ => None,
        }
    }

    /// Whether a quick run has the time for it.
    pub fn is_quick(&self) -> bool {
        !self.wants_kernels()
    }

    pub fn wants_kernels(&self) -> bool {
        matches!(
            self.kind,
            Kind::Clients | Kind::Training | Kind::Dlio | Kind::Elsewhere(_)
        )
    }

    pub fn wants_dlio(&self) -> bool {
        matches!(self.kind, Kind::Dlio)
    }

    pub fn run<'a>(&'a self, place: Place<'a>) -> BoxFuture<'a, Result<Sample>> {
        match &self.kind {
            Kind::Names(work) => Box::pin(names::run(*work, place)),
            Kind::Data(transfer) => Box::pin(data::run(*transfer, place)),
            Kind::Memory => Box::pin(memory::run(place)),
            Kind::Disk => Box::pin(disk::run(place)),
            Kind::Held => Box::pin(held::run(place)),
            Kind::Terabyte => Box::pin(terabyte::run(place)),
            Kind::Large => Box::pin(large::run(place)),
            Kind::Synced(work) => Box::pin(synced::run(*work, place)),
            Kind::Clients => Box::pin(clients::run(place)),
            Kind::Training => Box::pin(clients::training(place)),
            Kind::Dlio => Box::pin(clients::dlio(place)),
            Kind::Elsewhere(scenario) => Box::pin(clients::elsewhere(scenario, place)),
        }
    }

    /// What the machine gives without a server, in the same unit; where there is such a thing.
    pub async fn bounds(&self, place: Place<'_>) -> Result<Vec<(&'static str, Sample)>> {
        match &self.kind {
            Kind::Names(work) => match store::bound_of(*work) {
                Some(name) => Ok(vec![(name, store::run(*work, place).await?)]),
                None => Ok(Vec::new()),
            },
            Kind::Data(transfer) => data::bounds(*transfer, place),
            Kind::Memory
            | Kind::Disk
            | Kind::Held
            | Kind::Large
            | Kind::Synced(_)
            | Kind::Terabyte
            | Kind::Training
            | Kind::Dlio
            | Kind::Elsewhere(_) => Ok(Vec::new()),
            Kind::Clients => clients::bounds(place).await,
        }
    }
}

const fn names(name: &'static str, what: &'static str, work: Work) -> Case {
    Case {
        name,
        what,
        kind: Kind::Names(work),
    }
}

const fn data(name: &'static str, what: &'static str, transfer: Transfer) -> Case {
    Case {
        name,
        what,
        kind: Kind::Data(transfer),
    }
}

pub const ALL: &[Case] = &[
    data(
        "write-1m",
        "WRITE of 1 MiB one after the other, then COMMIT, 32 at a time",
        Transfer::write(1 << 20),
    ),
    data(
        "read-1m",
        "READ of 1 MiB one after the other, 32 at a time",
        Transfer::read(1 << 20),
    ),
    data(
        "write-4k",
        "WRITE of 4 KiB anywhere, then COMMIT, 32 at a time",
        Transfer::write(4 << 10),
    ),
    data(
        "read-4k",
        "READ of 4 KiB anywhere, 32 at a time",
        Transfer::read(4 << 10),
    ),
    names(
        "create",
        "durable creates in one folder (OPEN, CLOSE), 64 callers",
        Work::Create { folders: 1 },
    ),
    names(
        "create-16",
        "the same in 16 folders",
        Work::Create { folders: 16 },
    ),
    names(
        "stat",
        "GETATTR of what Linux asks for, 64 callers on 10,000 files",
        Work::Stat,
    ),
    names(
        "lookup",
        "LOOKUP, GETFH and GETATTR of a name, 64 callers on 10,000 names",
        Work::Lookup,
    ),
    names("access", "ACCESS, 64 callers on 10,000 files", Work::Access),
    names(
        "layout-read",
        "OPEN, LAYOUTGET to read, LAYOUTRETURN and CLOSE, 64 callers",
        Work::Layout { writes: false },
    ),
    names(
        "layout-write",
        "OPEN, LAYOUTGET to write, LAYOUTRETURN and CLOSE, 64 callers",
        Work::Layout { writes: true },
    ),
    Case {
        name: "layout-held",
        what: "LAYOUTGET to read of one of 1,000,000 layouts that 64 clients hold, by 64 callers of four of them",
        kind: Kind::Held,
    },
    Case {
        name: "fsync",
        what: "WRITE of 4 KiB that is synced and LAYOUTCOMMIT, by 4 callers in files of their own",
        kind: Kind::Synced(Synced::Again),
    },
    Case {
        name: "small-file",
        what: "one caller's new file of 4 KiB: OPEN with LAYOUTGET, WRITE that is synced, LAYOUTCOMMIT, CLOSE",
        kind: Kind::Synced(Synced::NewFile),
    },
    names(
        "rename",
        "durable renames of one's own file in one folder, 64 callers",
        Work::Rename,
    ),
    names(
        "unlink",
        "durable create and REMOVE of one name, 64 callers",
        Work::Unlink,
    ),
    Case {
        name: "memory",
        what: "what a metadata server grows by for each inode, open, lock, layout and client: 100,000 files, 5,000 clients",
        kind: Kind::Memory,
    },
    Case {
        name: "disk",
        what: "what 100,000 durable creates take of the catalog's disk, and what they write",
        kind: Kind::Disk,
    },
    Case {
        name: "large",
        what: "a catalog of 1,000,000 files and of many more: restart, LOOKUP of any name, durable creates, a folder of a million listed with attributes, disk",
        kind: Kind::Large,
    },
    Case {
        name: "terabyte",
        what: "REMOVE of a file of 1 TiB on three data servers, and SETATTR of its size while 1,000 clients have layouts to read it",
        kind: Kind::Terabyte,
    },
    Case {
        name: "clients",
        what: "fio on one and two real kernels as clients, beside a plain NFSv3 mount of a data server and three data servers",
        kind: Kind::Clients,
    },
    Case {
        name: "training",
        what: "how many simulated accelerators are busy for 90 % of the time: samples, batches and times of MLPerf Storage's unet3d on an H100, an 80th of their size, one real kernel",
        kind: Kind::Training,
    },
    Case {
        name: "dlio",
        what: "the same as DLIO itself finds it (dlio-benchmark's unet3d, an 80th of its size), and how fast its checkpoints of 125 MB are written; wants --dlio",
        kind: Kind::Dlio,
    },
    Case {
        name: "listing",
        what: "ls -U and ls -l of a folder of a million files, one real kernel",
        kind: Kind::Elsewhere("measure-listing"),
    },
    Case {
        name: "filer",
        what: "fio on a file of NFS-Ganesha's, through the namespace and by a plain NFSv3 mount of it, one real kernel",
        kind: Kind::Elsewhere("measure-filer"),
    },
    Case {
        name: "filer-far",
        what: "the same of a filer that is 2 ms and 200 MiB/s away, so that the client's processor is not what bounds it",
        kind: Kind::Elsewhere("measure-filer-far"),
    },
    Case {
        name: "bucket",
        what: "READ of 1 MiB of a bucket's object at the data server that caches it: cached, and for the first time; beside a file of its own, and the SDK's GETs",
        kind: Kind::Elsewhere("measure-bucket"),
    },
    Case {
        name: "bucket-far",
        what: "READ of 1 MiB of a bucket's object for the first time, as a stream, beside the SDK's GETs; the bucket is 20 ms and 200 MiB/s away",
        kind: Kind::Elsewhere("measure-bucket-far"),
    },
];
