//! A bucket that holds the files of a folder and that a data server caches, while a client writes, cuts, renames,
//! links and unlinks them, the metadata server and the data server are killed and the way to the bucket is cut off
//! again and again. Then the mount, the bucket, the catalog and the servers' own records must tell the same story.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use backend_s3::Records;

use super::Verdict;
use super::bucket_kill::{blows, check};
use super::crash::{LOAD, Pace, end_load, tell_deaths};
use super::managed::is_up;
use crate::harness::clock::{self, let_pass, say};
use crate::harness::command;
use crate::harness::guest::Guest;
use crate::harness::headrace::Split;
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount, mount_afresh};
use crate::harness::net;
use crate::harness::s3_proxy::S3Proxy;
use crate::harness::seaweed::{S3Client, Seaweed};
use crate::load;

const BUCKET: &str = "lake";
const PREFIX: &str = "files/";
const BLOWS: u32 = 60;
/// What the metadata server keeps of the bucket.
const STATE: &str = "mds/backends/lake";
/// A key whose first upload was never answered is deleted again after two minutes.
const KEYS_GO_WITHIN: Duration = Duration::from_mins(4);
const STOP_LIMIT: Duration = Duration::from_secs(30);

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let seed = lab.seed.unwrap_or_else(rand::random);
    say(format!("seed {seed}"));
    let mut pace = Pace::new(seed);
    let mut s3 = Seaweed::start(&lab.cache, &lab.state, net::MDS, BUCKET)?;
    let at = SocketAddrV4::new(net::MDS, blows::PROXY_PORT);
    let proxy = S3Proxy::start(at, s3.address())?;
    let words = format!("mode = \"managed\"\nprefix = \"{PREFIX}\"\n");
    let mut split = blows::serve(lab, &proxy, BUCKET, &words)?;
    is_up()?;
    let mut client = lab.client("a")?;
    mount(&mut client, "vers=4.2")?;
    tell_deaths(&client, 0, true)?;
    let load = client.spawn(&format!(
        "rm -f /run/stop; mkdir -p {MOUNT}/lake/load && {LOAD} {MOUNT}/lake/load /run/shared/manifest /run/stop \
         --seed {seed} --workers 3 --managed"
    ))?;
    let blows = blows::strike_all(BLOWS, &mut split, &proxy, (&mut client, &load), &mut pace)
        .with_context(|| format!("seed {seed}"))?;
    let said = end_load(&mut client, &load)?;
    say(&said);
    let facts =
        everything(lab, &mut split, &mut client, &s3).with_context(|| format!("seed {seed}"))?;
    s3.still_runs()?;
    Ok(Verdict::Held(vec![
        format!("seed {seed}"),
        blows.say(),
        blows::suffered(&proxy),
        said,
        facts,
    ]))
}

fn everything(lab: &Lab, split: &mut Split, client: &mut Guest, s3: &S3Client) -> Result<String> {
    let manifest = client.shared().join("manifest");
    is_up()?;
    mount_afresh(client, "vers=4.2")?;
    client.sh(
        &format!("/run/shared/interop verify {MOUNT}/lake/load /run/shared/manifest"),
        MINUTE * 3,
    )?;
    let objects = objects(client)?;
    let of_files: BTreeSet<String> = objects.values().cloned().collect();
    clock::wait_for("the end of keys without files", KEYS_GO_WITHIN, || {
        Ok(keys(s3)?.is_subset(&of_files).then_some(()))
    })
    .with_context(|| format!("keys: {:?}, of files: {of_files:?}", keys(s3)))?;
    let whole = load::each_file(&manifest, |path, bytes| {
        if bytes.is_empty() {
            return Ok(());
        }
        let key = objects.get(path);
        let key = key.with_context(|| format!("{path} has bytes and no object"))?;
        let there = s3.get(BUCKET, &format!("{PREFIX}{key}"))?;
        // Of what was cut the bucket's version has more.
        ensure!(
            there.starts_with(&bytes),
            "{path}: the bucket holds other bytes as {key}"
        );
        Ok(())
    })?;
    check::no_upload(s3, BUCKET)?;
    let of_files = records(lab, split, client, s3)?;
    split.data_servers[0].stop(STOP_LIMIT)?;
    let program = lab.headrace.display().to_string();
    let state = lab.state.join("mds").display().to_string();
    command::run(&program, &["fsck", "--state-dir", &state])?;
    let chunks = check::chunks(lab, s3, BUCKET)?;
    let gone: Vec<_> = chunks.iter().filter(|(_, is_there)| !is_there).collect();
    ensure!(gone.is_empty(), "cached of what is no more: {gone:?}");
    Ok(format!(
        "{whole} files whole in the mount and the bucket, {} objects, {} chunks cached, each of a version that is there",
        of_files.len(),
        chunks.len()
    ))
}

/// The key, below the prefix, of each file's object.
fn objects(client: &mut Guest) -> Result<BTreeMap<String, String>> {
    let told = client.sh(
        &format!(
            "cd {MOUNT}/lake/load && find . -type f | while read -r file; do \
             echo \"$file $(getfattr --only-values -n user.headrace.location \"$file\" 2>/dev/null)\"; done"
        ),
        MINUTE * 2,
    )?;
    let mut objects = BTreeMap::new();
    for line in told.lines() {
        let (file, place) = line.split_once(' ').context("a file and its place")?;
        // One without bytes may have none yet.
        let Some((_, object)) = place.split_once(" data_server=lake object=") else {
            ensure!(place.is_empty(), "{file} lies elsewhere: {place}");
            continue;
        };
        let last = object.len().checked_sub(2).context("an object's id")?;
        let key = format!("{}/{object}", &object[last..]);
        objects.insert(file.trim_start_matches("./").to_owned(), key);
    }
    Ok(objects)
}

/// Below the prefix, but for marks.
fn keys(s3: &S3Client) -> Result<BTreeSet<String>> {
    let keys = s3.keys(BUCKET)?.into_keys();
    let below = keys.filter_map(|key| Some(key.strip_prefix(PREFIX)?.to_owned()));
    Ok(below.filter(|key| !key.starts_with('.')).collect())
}

/// What the metadata server remembers is what the files have, and nothing is under way. It is stopped then.
/// Gives the keys of all files as well, for some more are made: a death leaves an object that was made for a file
/// and not given to it, and the next file on this backend gets that one.
fn records(
    lab: &Lab,
    split: &mut Split,
    client: &mut Guest,
    s3: &S3Client,
) -> Result<BTreeSet<String>> {
    let mut of_files = BTreeSet::new();
    // Of a file without bytes that was removed there is no key to wait for.
    let records = clock::wait_for("rows of files alone", MINUTE * 2, || {
        of_files = objects(client)?.into_values().collect();
        split.mds.stop(STOP_LIMIT)?;
        let records = Records::of(&lab.state.join(STATE))?;
        let of_none = |key: &&String| !of_files.contains(*key);
        let unused = records.unwritten.iter().filter(of_none).count();
        let left = records.objects.iter().filter(of_none).count();
        if unused + left == 0 {
            return Ok(Some(records));
        }
        say(format!(
            "{} files, {unused} objects for others, {left} objects of files that are gone",
            of_files.len()
        ));
        split.mds.start()?;
        is_up()?;
        client.sh(
            &format!(
                "cd {MOUNT}/lake/load && for i in $(seq {unused}); do echo more >$(mktemp more.XXXXXXXX); done; sync"
            ),
            MINUTE,
        )?;
        let_pass(Duration::from_secs(5));
        Ok(None)
    })?;
    let rows: BTreeSet<&String> = records.objects.iter().chain(&records.unwritten).collect();
    let missing: Vec<_> = of_files.iter().filter(|key| !rows.contains(key)).collect();
    let there = keys(s3)?;
    let late: Vec<_> = records
        .awaited
        .iter()
        .filter_map(|key| key.strip_prefix(PREFIX))
        .filter(|key| there.contains(*key))
        .collect();
    ensure!(
        missing.is_empty() && late.is_empty() && records.under_way + records.spooled == 0,
        "nothing is remembered of {missing:?}, {late:?} came back, {} uploads under way, {} files under change",
        records.under_way,
        records.spooled
    );
    Ok(of_files)
}
