//! Blows at a bucket's servers and at the way to it, in an order that follows from a seed, while a client works.

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::harness::clock::{self, let_pass, say};
use crate::harness::guest::{Guest, Job};
use crate::harness::headrace::{self, Split, SplitOptions};
use crate::harness::lab::{Lab, MINUTE};
use crate::harness::s3_proxy::{FAULTS, S3Proxy, Weather};
use crate::harness::seaweed::Seaweed;
use crate::scenarios::crash::{Pace, progress, tell_deaths};

pub const PROXY_PORT: u16 = 8334;
/// What the data server may keep: less than what is read there.
pub const CACHE_BYTES: u64 = 48 << 20;

/// A bucket at `/lake`, reached through the proxy and cached by the only data server. `words`: what more the metadata
/// server's file says of it.
pub fn serve(lab: &Lab, proxy: &S3Proxy, bucket: &str, words: &str) -> Result<Split> {
    let bucket = Seaweed::backend_at(proxy.address(), "lake", bucket);
    let exports = format!(
        "[[export]]\npath = \"/\"\nclients = \"10.99.0.0/24\"\nsquash = \"none\"\n\n\
         {bucket}{words}cache = \"ds0\"\n\n\
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
    let more = format!("cache_capacity = \"{}MiB\"\n\n{bucket}", CACHE_BYTES >> 20);
    file.and_then(|mut file| file.write_all(more.as_bytes()))
        .context("the data server's configuration is written on")?;
    data_server.give(&Seaweed::environment());
    data_server.start()?;
    Ok(split)
}

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

/// So many, each after the load has done something.
pub fn strike_all(
    count: u32,
    split: &mut Split,
    proxy: &S3Proxy,
    (client, load): (&mut Guest, &Job),
    pace: &mut Pace,
) -> Result<Blows> {
    let mut blows = Blows::default();
    for number in 1..=count {
        goes_on(client, load, number)?;
        let_pass(pace.between(100, 1500));
        let blow = draw(pace);
        blows
            .strike(blow, split, proxy, client, pace)
            .with_context(|| format!("blow {number}: {blow:?}"))?;
        if number % 10 == 0 {
            say(format!("{number} blows: {}", blows.say()));
        }
    }
    goes_on(client, load, count + 1)?;
    Ok(blows)
}

/// What became of requests to the bucket.
pub fn suffered(proxy: &S3Proxy) -> String {
    let faults: Vec<String> = FAULTS
        .iter()
        .map(|fault| format!("{fault:?} {}", proxy.suffered(*fault)))
        .collect();
    format!(
        "{} requests cut off, {}",
        proxy.cut_off(),
        faults.join(", ")
    )
}

/// How many there were.
#[derive(Default)]
pub struct Blows {
    metadata_server: u32,
    data_server: u32,
    way: u32,
}

impl Blows {
    pub fn say(&self) -> String {
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
