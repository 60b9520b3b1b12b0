//! A bucket that a data server caches and two write, a kernel through the mount and a client of the SDK, while the
//! metadata server and the data server are killed and the way to the bucket is cut off again and again. Then the
//! bucket, the mount and the servers' own records must tell the same story.

pub mod blows;
pub mod check;

use std::net::{SocketAddr, SocketAddrV4, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow, ensure};

use super::Verdict;
use super::crash::{LOAD, Pace, end_load, tell_deaths};
use crate::harness::clock::{let_pass, say};
use crate::harness::lab::{Lab, MOUNT, mount};
use crate::harness::net;
use crate::harness::s3_proxy::S3Proxy;
use crate::harness::seaweed::{S3Client, Seaweed};
use crate::history::ticks::{self, Ticks};
use crate::load::bucket::{CONTESTED, Put, key_of, version};

const BUCKET: &str = "lake";
const BLOWS: u32 = 50;
/// Files that both write.
const FILES: u64 = 4;

/// The client of the SDK, that overwrites files of the mount.
struct Foreign {
    stop: Arc<AtomicBool>,
    writes: JoinHandle<Result<Vec<Put>>>,
}

impl Foreign {
    fn start(server: SocketAddrV4, clock: SocketAddr, mut pace: Pace) -> Result<Self> {
        let client = S3Client::of(server)?;
        let mut ticks = Ticks::of(clock)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let writes = thread::spawn(move || {
            let mut puts = Vec::new();
            while !stopped.load(Relaxed) {
                let file = pace.below(FILES);
                let there = client.get(BUCKET, &format!("{CONTESTED}/{file}"))?;
                // The mount empties a file before it writes a version.
                ensure!(
                    there.is_empty() || key_of(&there).is_some(),
                    "the object of the contested file {file} has {} bytes, of more than one version",
                    there.len()
                );
                puts.push(put(&client, file, pace.foreign_key(), &mut ticks)?);
                let_pass(pace.between(20, 600));
            }
            Ok(puts)
        });
        Ok(Self { stop, writes })
    }

    fn end(self) -> Result<Vec<Put>> {
        self.stop.store(true, Relaxed);
        let puts = self.writes.join();
        puts.map_err(|_| anyhow!("the other writer panicked"))?
    }
}

/// Keys of the other writer have the highest bit, the mount's have not.
fn put(client: &S3Client, file: u64, key: u64, ticks: &mut Ticks) -> Result<Put> {
    let key = key | 1 << 63;
    let began = ticks.next()?;
    client.put(BUCKET, &format!("{CONTESTED}/{file}"), &version(key))?;
    Ok(Put {
        file,
        key,
        began,
        ended: ticks.next()?,
        acknowledged: true,
    })
}

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let seed = lab.seed.unwrap_or_else(rand::random);
    say(format!("seed {seed}"));
    let mut pace = Pace::new(seed);
    let mut s3 = Seaweed::start(&lab.cache, &lab.state, net::MDS, BUCKET)?;
    let proxy = S3Proxy::start(SocketAddrV4::new(net::MDS, blows::PROXY_PORT), s3.address())?;
    let listener = TcpListener::bind((net::MDS, 0)).context("the clock of both writers")?;
    let clock = listener.local_addr()?;
    ticks::serve(listener);
    let mut ticks = Ticks::of(clock)?;
    let mut puts = Vec::new();
    for file in 0..FILES {
        puts.push(put(&s3, file, pace.foreign_key(), &mut ticks)?);
    }
    let mut split = blows::serve(lab, &proxy, BUCKET, "")?;
    let mut client = lab.client("a")?;
    mount(&mut client, "vers=4.2")?;
    tell_deaths(&client, 0, true)?;
    let load = client.spawn(&format!(
        "rm -f /run/stop; mkdir -p {MOUNT}/lake/load && {LOAD} {MOUNT}/lake/load /run/shared/manifest /run/stop \
         --seed {seed} --workers 3 --contest {MOUNT}/lake/{CONTESTED} --contested {FILES} --clock {clock}"
    ))?;
    let foreign = Foreign::start(s3.address(), clock, Pace::new(seed.rotate_left(17)))?;
    let blows = blows::strike_all(BLOWS, &mut split, &proxy, (&mut client, &load), &mut pace)
        .with_context(|| format!("seed {seed}"))?;
    puts.extend(foreign.end()?);
    let said = end_load(&mut client, &load)?;
    say(&said);
    let facts = check::everything(lab, &mut split, &mut client, &s3, &puts)
        .with_context(|| format!("seed {seed}"))?;
    s3.still_runs()?;
    Ok(Verdict::Held(vec![
        format!("seed {seed}"),
        blows.say(),
        blows::suffered(&proxy),
        said,
        facts,
    ]))
}

impl Pace {
    fn foreign_key(&mut self) -> u64 {
        self.below(1 << 31) << 31 | self.below(1 << 31)
    }
}
