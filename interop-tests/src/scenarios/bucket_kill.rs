//! A bucket that a data server caches and two write, a kernel through the mount and a client of the SDK, while the
//! metadata server and the data server are killed and the way to the bucket is cut off again and again. Then the
//! bucket, the mount and the servers' own records must tell the same story.

mod check;

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, SocketAddrV4, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::Verdict;
use super::crash::{LOAD, Pace, end_load, progress, tell_deaths};
use crate::harness::clock::{self, let_pass, say};
use crate::harness::guest::{Guest, Job};
use crate::harness::headrace::{self, Split, SplitOptions};
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount};
use crate::harness::net;
use crate::harness::s3_proxy::{FAULTS, S3Proxy, Weather};
use crate::harness::seaweed::{S3Client, Seaweed};
use crate::history::ticks::{self, Ticks};
use crate::load::bucket::{CONTESTED, Put, key_of, version};

const BUCKET: &str = "lake";
const BLOWS: u32 = 50;
const PROXY_PORT: u16 = 8334;
/// Files that both write.
const FILES: u64 = 4;
/// What the data server may keep: less than what is read there.
const CACHE_BYTES: u64 = 48 << 20;

/// What is done to the servers.
#[derive(Clone, Copy, Debug)]
enum Blow {
    MetadataServer,
    DataServer,
    Way(Weather),
}

fn draw(pace: &mut Pace) -> Blow {
    match pace.below(10) {
        0..=3 => Blow::MetadataServer,
        4..=6 => Blow::DataServer,
        _ => Blow::Way(bad_weather(pace)),
    }
}

fn bad_weather(pace: &mut Pace) -> Weather {
    let kinds = FAULTS.len() as u64;
    match pace.below(kinds + 2) {
        kind if kind < kinds => Weather::Some(FAULTS[kind as usize], 1 + pace.below(3)),
        _ => Weather::Nobody,
    }
}

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

fn serve(lab: &Lab, proxy: &S3Proxy) -> Result<Split> {
    let bucket = Seaweed::backend_at(proxy.address(), "lake", BUCKET);
    let exports = format!(
        "[[export]]\npath = \"/\"\nclients = \"10.99.0.0/24\"\nsquash = \"none\"\n\n\
         {bucket}cache = \"ds0\"\n\n\
         [[junction]]\npath = \"/lake\"\nbackend = \"lake\"\n"
    );
    let mut split = headrace::split(
        &lab.headrace,
        &lab.state,
        &SplitOptions {
            own_data_servers: 1,
            exports,
            lease_seconds: 8,
            grace_seconds: 8,
            environment: Seaweed::environment().to_vec(),
            ..SplitOptions::default()
        },
    )?;
    let data_server = &mut split.data_servers[0];
    data_server.stop(Duration::from_secs(20))?;
    let file = fs::OpenOptions::new().append(true).open("/run/ds0/ds.toml");
    let words = format!("cache_capacity = \"{}MiB\"\n\n{bucket}", CACHE_BYTES >> 20);
    file.and_then(|mut file| file.write_all(words.as_bytes()))
        .context("the data server's configuration is written on")?;
    data_server.give(&Seaweed::environment());
    data_server.start()?;
    Ok(split)
}

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let seed = lab.seed.unwrap_or_else(rand::random);
    say(format!("seed {seed}"));
    let mut pace = Pace::new(seed);
    let mut s3 = Seaweed::start(&lab.cache, &lab.state, net::MDS, BUCKET)?;
    let proxy = S3Proxy::start(SocketAddrV4::new(net::MDS, PROXY_PORT), s3.address())?;
    let listener = TcpListener::bind((net::MDS, 0)).context("the clock of both writers")?;
    let clock = listener.local_addr()?;
    ticks::serve(listener);
    let mut ticks = Ticks::of(clock)?;
    let mut puts = Vec::new();
    for file in 0..FILES {
        puts.push(put(&s3, file, pace.foreign_key(), &mut ticks)?);
    }
    let mut split = serve(lab, &proxy)?;
    let mut client = lab.client("a")?;
    mount(&mut client, "vers=4.2")?;
    tell_deaths(&client, 0, true)?;
    let load = client.spawn(&format!(
        "rm -f /run/stop; mkdir -p {MOUNT}/lake/load && {LOAD} {MOUNT}/lake/load /run/shared/manifest /run/stop \
         --seed {seed} --workers 3 --contest {MOUNT}/lake/{CONTESTED} --contested {FILES} --clock {clock}"
    ))?;
    let foreign = Foreign::start(s3.address(), clock, Pace::new(seed.rotate_left(17)))?;
    let mut blows = Blows::default();
    for number in 1..=BLOWS {
        goes_on(&mut client, &load, number)?;
        let_pass(pace.between(100, 1500));
        let blow = draw(&mut pace);
        blows
            .strike(blow, &mut split, &proxy, &client, &mut pace)
            .with_context(|| format!("seed {seed}, blow {number}: {blow:?}"))?;
        if number % 10 == 0 {
            say(format!("{number} blows: {}", blows.say()));
        }
    }
    goes_on(&mut client, &load, BLOWS + 1)?;
    puts.extend(foreign.end()?);
    let said = end_load(&mut client, &load)?;
    say(&said);
    let facts = check::everything(lab, &mut split, &mut client, &s3, &puts)
        .with_context(|| format!("seed {seed}"))?;
    s3.still_runs()?;
    let faults: Vec<String> = FAULTS
        .iter()
        .map(|fault| format!("{fault:?} {}", proxy.suffered(*fault)))
        .collect();
    Ok(Verdict::Held(vec![
        format!("seed {seed}"),
        blows.say(),
        format!(
            "{} requests cut off, {}",
            proxy.cut_off(),
            faults.join(", ")
        ),
        said,
        facts,
    ]))
}

#[derive(Default)]
struct Blows {
    metadata_server: u32,
    data_server: u32,
    way: u32,
}

impl Blows {
    fn say(&self) -> String {
        format!(
            "the metadata server killed {} times, the data server {}, the way to the bucket broken {}",
            self.metadata_server, self.data_server, self.way
        )
    }

    fn strike(
        &mut self,
        blow: Blow,
        split: &mut Split,
        proxy: &S3Proxy,
        client: &Guest,
        pace: &mut Pace,
    ) -> Result<()> {
        match blow {
            Blow::MetadataServer => {
                // Some of them after requests got lost.
                if pace.below(3) == 0 {
                    proxy.set(bad_weather(pace));
                    let_pass(pace.between(100, 800));
                }
                self.metadata_server += 1;
                tell_deaths(client, self.metadata_server, false)?;
                split.mds.kill9()?;
                proxy.set(Weather::Calm);
                let_pass(pace.between(0, 300));
                split.mds.start()?;
                tell_deaths(client, self.metadata_server, true)?;
            }
            Blow::DataServer => {
                self.data_server += 1;
                let data_server = &mut split.data_servers[0];
                data_server.kill9()?;
                let_pass(pace.between(0, 600));
                data_server.start()?;
            }
            Blow::Way(weather) => {
                self.way += 1;
                proxy.set(weather);
                let_pass(pace.between(300, 2000));
                proxy.set(Weather::Calm);
            }
        }
        Ok(())
    }
}

/// The load does something, and hasn't ended.
fn goes_on(client: &mut Guest, load: &Job, blow: u32) -> Result<()> {
    let before = progress(client);
    clock::wait_for(format!("work before blow {blow}"), MINUTE * 2, || {
        let ended = Guest::is_done(client, load);
        Ok((ended || progress(client) > before).then_some(()))
    })?;
    ensure!(
        !Guest::is_done(client, load),
        "the load ended by itself before blow {blow}: {:?}",
        client
            .wait(load, Duration::from_secs(1))
            .map(|output| output.stderr)
    );
    Ok(())
}

impl Pace {
    fn foreign_key(&mut self) -> u64 {
        self.below(1 << 31) << 31 | self.below(1 << 31)
    }
}
