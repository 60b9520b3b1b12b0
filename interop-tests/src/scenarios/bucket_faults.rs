//! A bucket that doesn't do what it should: what is wrong is said in words, and it is good again without a hand at
//! the client. And one with very many objects in a folder.

use std::fs;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Verdict;
use crate::harness::clock::{self, say};
use crate::harness::headrace::{self, Split, SplitOptions};
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount};
use crate::harness::net;
use crate::harness::s3_proxy::{Fault, S3Proxy, Weather};
use crate::harness::seaweed::Seaweed;

const BUCKET: &str = "lake";
const PROXY: SocketAddrV4 = SocketAddrV4::new(net::MDS, 8334);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const READ: &str = "echo 3 >/proc/sys/vm/drop_caches; cat /run/mnt/lake/there/file";

fn exports(at: SocketAddrV4, bucket: &str) -> String {
    format!(
        "[[export]]\npath = \"/\"\nclients = \"10.99.0.0/24\"\nsquash = \"none\"\n\n\
         {}\n[[junction]]\npath = \"/lake\"\nbackend = \"lake\"\n",
        Seaweed::backend_at(at, "lake", bucket)
    )
}

fn serve(lab: &Lab, at: SocketAddrV4, keys: [(&'static str, &'static str); 2]) -> Result<Split> {
    headrace::split(
        &lab.headrace,
        &lab.state,
        &SplitOptions {
            own_data_servers: 1,
            exports: exports(at, BUCKET),
            lease_seconds: 8,
            grace_seconds: 8,
            environment: keys.to_vec(),
            ..SplitOptions::default()
        },
    )
}

/// The metadata server's log says it, from now on.
struct Log<'a> {
    lab: &'a Lab,
    read: usize,
}

impl Log<'_> {
    fn text(&self) -> Result<String> {
        Ok(fs::read_to_string(self.lab.state.join("mds.log"))?)
    }

    fn says(&mut self, words: &str) -> Result<()> {
        clock::wait_for(format!("the log says \"{words}\""), MINUTE, || {
            let text = self.text()?;
            Ok(text
                .get(self.read..)
                .is_some_and(|new| new.contains(words))
                .then_some(()))
        })?;
        self.read = self.text()?.len();
        Ok(())
    }
}

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let mut s3 = Seaweed::start(&lab.cache, &lab.state, net::MDS, BUCKET)?;
    s3.put(BUCKET, "there/file", b"there")?;
    let proxy = S3Proxy::start(PROXY, s3.address())?;
    let mut split = serve(lab, PROXY, Seaweed::readers_environment())?;
    let mut client = lab.client("a")?;
    let mut log = Log { lab, read: 0 };
    mount(&mut client, "vers=4.2")?;
    log.says("is shown read-only")?;
    client.sh(&format!("[ \"$({READ})\" = there ]"), MINUTE)?;
    client.sh(
        &format!(
            "! touch {MOUNT}/lake/new 2>/run/said && grep -q 'Read-only file system' /run/said"
        ),
        MINUTE,
    )?;
    say("by keys that may only read it is read-only");

    split.mds.stop(STOP_LIMIT)?;
    split.mds.give(&Seaweed::strangers_environment());
    split.mds.start()?;
    log.says("the credentials aren't known there")?;
    let waits = client.spawn(READ)?;

    split.mds.stop(STOP_LIMIT)?;
    split.mds.give(&Seaweed::environment());
    split.export(&exports(PROXY, "nowhere"))?;
    split.mds.start()?;
    log.says("there is no such bucket")?;
    ensure!(!client.is_done(&waits), "a read ended without a bucket");

    split.export(&exports(PROXY, BUCKET))?;
    split.mds.reload()?;
    let read = client.must(&waits, MINUTE)?;
    ensure!(read == "there", "read {read:?} once the bucket was there");
    say("who read while the keys were unknown and the bucket was not there has read it since");

    proxy.set(Weather::Some(Fault::Expired, 1));
    client.sh(
        &format!("! ({READ}) 2>/run/said && grep -q 'Permission denied' /run/said"),
        MINUTE,
    )?;
    log.says("the credentials have expired; renew them")?;
    proxy.set(Weather::Nobody);
    let waits = client.spawn(READ)?;
    let before = proxy.cut_off();
    clock::wait_for("tries while nobody gets through", MINUTE, || {
        Ok((proxy.cut_off() > before + 5).then_some(()))
    })?;
    ensure!(
        !client.is_done(&waits),
        "a read ended while the bucket was away"
    );
    proxy.set(Weather::Calm);
    let read = client.must(&waits, MINUTE)?;
    ensure!(read == "there", "read {read:?} once the bucket was back");
    client.sh(&format!("echo mine >{MOUNT}/lake/new"), MINUTE)?;
    ensure!(
        s3.get(BUCKET, "new")? == b"mine\n",
        "what was written afterwards isn't in the bucket"
    );
    s3.still_runs()?;
    split.mds.still_runs()?;
    Ok(Verdict::Held(vec![
        "read-only, unknown keys, no such bucket, expired keys: said in words".to_owned(),
        "who read while the bucket was away has read it since".to_owned(),
    ]))
}

/// Each is looked at for its attributes.
pub fn large(lab: &mut Lab) -> Result<Verdict> {
    listed(lab, 100_000, "vers=4.2")
}

/// By their names alone: an object's attributes take a request of its own.
pub fn million(lab: &mut Lab) -> Result<Verdict> {
    listed(lab, 1_000_000, "vers=4.2,nordirplus")
}

fn listed(lab: &mut Lab, objects: u64, options: &str) -> Result<Verdict> {
    const MOST_BYTES: u64 = 300 << 20;
    let mut s3 = Seaweed::start(&lab.cache, &lab.state, net::MDS, BUCKET)?;
    let begun = Instant::now();
    s3.put_many(BUCKET, "many/", objects)?;
    say(format!(
        "{objects} objects put in {:.0} s",
        begun.elapsed().as_secs_f64()
    ));
    let split = serve(lab, s3.address(), Seaweed::environment())?;
    let mut client = lab.client("a")?;
    mount(&mut client, options)?;
    client.sh(&format!("ls {MOUNT}/lake"), MINUTE)?;
    let before = split.mds.peak_memory_bytes()?;
    let begun = Instant::now();
    let listed = client.sh(
        &format!("ls -f {MOUNT}/lake/many | grep -c '^0'"),
        MINUTE * 30,
    )?;
    let took = begun.elapsed().as_secs_f64();
    let peak = split.mds.peak_memory_bytes()?;
    ensure!(
        listed.trim() == objects.to_string(),
        "{listed} names were listed"
    );
    let facts = format!(
        "{objects} names listed in {took:.0} s; the metadata server had {} MiB at most, {} before",
        peak >> 20,
        before >> 20
    );
    say(&facts);
    ensure!(peak < MOST_BYTES, "too much: {facts}");
    s3.still_runs()?;
    Ok(Verdict::Held(vec![facts]))
}
