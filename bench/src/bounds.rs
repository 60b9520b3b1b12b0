//! The promises of docs/BOUNDS.md: 10,000 clients with 100 opens each take less than 2 GB of memory, and
//! a client that misbehaves makes the slowest answers of others less than 1.5 times as slow.
//!
//! Raw sessions over loopback, one connection each, to a metadata server in a process of its own.

use crate::servers::{Servers, Settings, until_they_rest};
use crate::session::{Session, at, layoutget, make, open};
use anyhow::Result;
use clap::Args;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use wire::nfs4::*;

#[derive(Args)]
pub struct Options {
    /// The `headrace` binary; beside this one unless said.
    #[arg(long)]
    headrace: Option<PathBuf>,
    #[arg(long, default_value_t = 10_000)]
    clients: usize,
    #[arg(long, default_value_t = 100)]
    opens: usize,
    /// Files that they open.
    #[arg(long, default_value_t = 2_000)]
    files: usize,
    /// How long each latency is measured in each round.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rounds of measuring without the client that misbehaves and then beside it.
    #[arg(long, default_value_t = 6)]
    rounds: usize,
    /// Clients whose answers are timed.
    #[arg(long, default_value_t = 16)]
    timed: usize,
}

const MOST_BYTES: u64 = 2_000_000_000;
const MOST_SLOWER: f64 = 1.5;
/// Mounts, or clients opening, at the same time.
const AT_ONCE: usize = 64;
/// OPENs of one COMPOUND.
const OPENS_AT_ONCE: usize = 30;
/// Between two requests of a timed client: they are many, and none of them is in a hurry.
const PACE: Duration = Duration::from_millis(5);
const MISBEHAVES: &str = "misbehaves";
/// A boot of it that holds nothing.
const END: u64 = u64::MAX;
/// Layouts that the metadata server gives to one client here, so that the limit is met soon.
const LAYOUTS: usize = 1_000;

pub async fn run(options: Options) -> Result<()> {
    let program = match options.headrace.clone() {
        Some(program) => program,
        None => std::env::current_exe()?.with_file_name("headrace"),
    };
    let more = format!(
        "\n[layout]\nrecall_seconds = 2\n\n[limits]\nconnections_per_address = 20000\nlayouts_per_client = {LAYOUTS}\nopens_per_client = 20000\n"
    );
    let servers = Servers::start(
        &program,
        &std::env::temp_dir(),
        Settings {
            // Ten thousand clients that say nothing keep their leases.
            server: "lease_seconds = 3600\ngrace_seconds = 3600\n",
            more: &more,
        },
    )?;
    let first = Session::mount(servers.address, "first", 1, 8).await?;
    let files = make_files(&first, options.files).await?;
    let files = Arc::new(files);
    println!("idle: {} MB", servers.resident_bytes()? / 1_000_000);

    let clients = mount_all(&servers, options.clients).await?;
    println!(
        "{} sessions: {} MB",
        clients.len(),
        servers.resident_bytes()? / 1_000_000
    );
    open_all(&clients, &files, options.opens).await?;
    let bytes = servers.resident_bytes()?;
    println!(
        "{} clients with {} opens each: {} MB resident (promised: less than {})",
        clients.len(),
        options.opens,
        bytes / 1_000_000,
        MOST_BYTES / 1_000_000
    );

    let timed = &clients[..options.timed.min(clients.len())];
    let time = Duration::from_secs(options.seconds);
    let (mut alone, mut beside) = (Latencies::default(), Latencies::default());
    let mut asked = 0;
    for round in 1..=options.rounds {
        until_they_rest(&servers.processes()).await?;
        let without = latencies(timed, &files, time).await?;
        let flood = Flood::begin(&servers, &files, round as u64).await?;
        let with = latencies(timed, &files, time).await?;
        asked += flood.end();
        // Nothing that it held is left for the next round.
        Session::mount(servers.address, MISBEHAVES, END, 1).await?;
        println!(
            "round {round}: p99 {:?} alone, {:?} beside the client that misbehaves: {:.2} times",
            without.at(0.99),
            with.at(0.99),
            with.times(&without)
        );
        alone.add(without);
        beside.add(with);
    }
    let slower = beside.times(&alone);
    println!(
        "of all rounds: p99 {:?} alone (median {:?}), {:?} beside it (median {:?}): {slower:.2} times (promised: less than {MOST_SLOWER}); it got {} answers a second",
        alone.at(0.99),
        alone.at(0.5),
        beside.at(0.99),
        beside.at(0.5),
        asked / (options.seconds * options.rounds as u64).max(1)
    );
    println!("after it: {} MB", servers.resident_bytes()? / 1_000_000);
    anyhow::ensure!(bytes < MOST_BYTES, "too much memory");
    anyhow::ensure!(slower < MOST_SLOWER, "the others are slowed too much");
    Ok(())
}

async fn make_files(session: &Session, count: usize) -> Result<Vec<Fh4>> {
    let names: Vec<String> = (0..count).map(|number| format!("f{number}")).collect();
    let slots = session.slots();
    let made = stream::iter(names.chunks(count.div_ceil(slots).max(1)).enumerate())
        .map(|(slot, names)| async move {
            let mut files = Vec::new();
            for name in names {
                files.push(make(session, slot, None, name).await?);
            }
            anyhow::Ok(files)
        })
        .buffered(slots);
    Ok(made.try_collect::<Vec<_>>().await?.concat())
}

async fn mount_all(servers: &Servers, count: usize) -> Result<Vec<Arc<Session>>> {
    stream::iter(0..count)
        .map(|number| async move {
            let session =
                Session::mount(servers.address, &format!("client {number}"), 1, 4).await?;
            anyhow::Ok(Arc::new(session))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

async fn open_all(clients: &[Arc<Session>], files: &[Fh4], each: usize) -> Result<()> {
    let numbered = clients.iter().cloned().enumerate();
    stream::iter(numbered)
        .map(Ok)
        .try_for_each_concurrent(AT_ONCE, |(number, client)| async move {
            let mine: Vec<&Fh4> = (0..each)
                .map(|place| &files[(number * 7 + place) % files.len()])
                .collect();
            for some in mine.chunks(OPENS_AT_ONCE) {
                let ops = some.iter().flat_map(|file| {
                    let open = open(client.client, OpenClaim4::Fh, Openflag4::NoCreate);
                    [at(file), open]
                });
                let results = client.call(0, ops.collect()).await?;
                let last = results.last().map(ResOp::status);
                anyhow::ensure!(last == Some(Nfsstat4::Ok), "OPEN: {last:?}");
            }
            Ok(())
        })
        .await
}

/// Sorted.
#[derive(Default)]
struct Latencies(Vec<Duration>);

impl Latencies {
    fn add(&mut self, other: Self) {
        self.0.extend(other.0);
        self.0.sort_unstable();
    }

    fn at(&self, part: f64) -> Duration {
        let place = (self.0.len() as f64 * part) as usize;
        self.0.get(place).copied().unwrap_or_default()
    }

    /// How many times as long the slowest of a hundred takes as in `other`.
    fn times(&self, other: &Self) -> f64 {
        self.at(0.99).as_secs_f64() / other.at(0.99).as_secs_f64()
    }
}

/// Of OPEN and GETATTR in one COMPOUND, from each client at a leisurely pace.
async fn latencies(
    clients: &[Arc<Session>],
    files: &Arc<Vec<Fh4>>,
    time: Duration,
) -> Result<Latencies> {
    let end = Instant::now() + time;
    let timed = clients.iter().enumerate().map(|(number, client)| {
        let (client, files) = (Arc::clone(client), Arc::clone(files));
        tokio::spawn(async move {
            let mut took = Vec::new();
            let mut place = number;
            while Instant::now() < end {
                place = (place + 101) % files.len();
                let ops = vec![
                    at(&files[place]),
                    open(client.client, OpenClaim4::Fh, Openflag4::NoCreate),
                    ArgOp::Getattr(Getattr4Args {
                        attr_request: [Attr::Mode, Attr::Change, Attr::Size].into_iter().collect(),
                    }),
                ];
                let began = Instant::now();
                let results = client.call(0, ops).await?;
                took.push(began.elapsed());
                let last = results.last().map(ResOp::status);
                anyhow::ensure!(last == Some(Nfsstat4::Ok), "a timed request: {last:?}");
                tokio::time::sleep(PACE).await;
            }
            anyhow::Ok(took)
        })
    });
    let mut all = Vec::new();
    for one in timed.collect::<Vec<_>>() {
        all.extend(one.await??);
    }
    anyhow::ensure!(!all.is_empty(), "nothing was timed");
    all.sort_unstable();
    Ok(Latencies(all))
}

/// One client on all slots of a session: it opens up to its limit, asks for layouts without end and gives
/// none back, and answers no recall.
struct Flood {
    /// Its own, and of the least priority: it would be another machine, and what is timed must not wait for
    /// a processor behind its tasks on our side.
    runtime: tokio::runtime::Runtime,
    answers: Arc<AtomicU64>,
}

impl Flood {
    async fn begin(servers: &Servers, files: &Arc<Vec<Fh4>>, boot: u64) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .on_thread_start(give_way)
            .enable_all()
            .build()?;
        let address = servers.address;
        let mounted = runtime.spawn(Session::mount(address, MISBEHAVES, boot, 1024));
        let session = Arc::new(mounted.await??);
        let answers = Arc::new(AtomicU64::new(0));
        for slot in 0..session.slots() {
            let (session, files) = (Arc::clone(&session), Arc::clone(files));
            let answers = Arc::clone(&answers);
            runtime.spawn(async move {
                let mut place = slot;
                loop {
                    place = (place + 37) % files.len();
                    let layout = layoutget(Layoutiomode4::Rw, true, Stateid4::CURRENT);
                    let ops = vec![
                        at(&files[place]),
                        open(session.client, OpenClaim4::Fh, Openflag4::NoCreate),
                        layout,
                    ];
                    if session.call(slot, ops).await.is_err() {
                        return;
                    }
                    answers.fetch_add(1, Relaxed);
                }
            });
        }
        Ok(Self { runtime, answers })
    }

    /// How many answers it got.
    fn end(self) -> u64 {
        self.runtime.shutdown_background();
        self.answers.load(Relaxed)
    }
}

fn give_way() {
    let thread = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(thread), 19) {
        eprintln!("the client that misbehaves keeps its priority: {error}");
    }
}
