//! Servers and clients that die between two instructions, under load: clients go on by themselves, and what was
//! acknowledged is there.

mod delegated;
pub mod mds;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Verdict;
use super::fio::Work;
use crate::harness::client::Client;
use crate::harness::clock::{self, let_pass, say};
use crate::harness::guest::{Guest, Job};
use crate::harness::headrace::{self, DELEGATING, Split, SplitOptions};
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount, mount_afresh, unmount};
use crate::harness::metrics::Scrape;

const DATA_SERVER_DEATHS: u32 = 12;
/// Files that a load beside dying data servers keeps open.
const KEPT_OPEN: u32 = 3;
pub const LOAD: &str = "/run/shared/interop load";

fn three_data_servers(lab: &Lab) -> Result<Split> {
    let split = headrace::split(
        &lab.headrace,
        &lab.state,
        &SplitOptions {
            own_data_servers: 3,
            lease_seconds: 8,
            grace_seconds: 8,
            // So short a lease is less than two guests on a busy machine need to write out what they have.
            delegation_recall_seconds: Some(60),
            ..SplitOptions::default()
        },
    )?;
    say("one metadata server and three data servers serve, each a process");
    Ok(split)
}

/// `keep`: so many files stay open all the time.
pub fn start_load(guest: &mut dyn Client, seed: u32, keep: u32) -> Result<Job> {
    let folder = format!("{MOUNT}/load-{}", guest.name());
    guest.spawn(&format!(
        "rm -f /run/stop; mkdir -p {folder} && {LOAD} {folder} /run/shared/manifest /run/stop --seed {seed} --workers 3 --keep {keep}"
    ))
}

/// Ends a load and gives what it said: operations, bytes, slowest operation.
pub fn end_load(guest: &mut dyn Client, load: &Job) -> Result<String> {
    guest.sh(": >/run/stop", MINUTE)?;
    let said = guest.must(load, MINUTE * 3)?;
    Ok(said.trim().to_owned())
}

/// What a client's load left behind: which folder, and what must be in it.
pub struct Left {
    folder: String,
    manifest: PathBuf,
    release: String,
}

impl Left {
    pub fn by(worker: &dyn Client) -> Self {
        Self {
            folder: format!("{MOUNT}/load-{}", worker.name()),
            manifest: worker.shared().join("manifest"),
            release: worker.release().to_owned(),
        }
    }

    /// Judged after a fresh mount, by whichever client.
    pub fn verify(&self, judge: &mut dyn Client) -> Result<()> {
        std::fs::copy(&self.manifest, judge.shared().join("to-verify"))
            .context("the load left no manifest")?;
        mount_afresh(judge, "vers=4.2")?;
        let said = judge.sh(
            &format!(
                "/run/shared/interop verify {} /run/shared/to-verify",
                self.folder
            ),
            MINUTE * 3,
        )?;
        say(format!(
            "what Linux {} wrote is as acknowledged, says Linux {}: {}",
            self.release,
            judge.release(),
            said.trim()
        ));
        Ok(())
    }
}

/// How many operations a client's load has done.
pub fn progress(worker: &dyn Client) -> u64 {
    let said = std::fs::read_to_string(worker.shared().join("progress")).unwrap_or_default();
    said.trim().parse().unwrap_or(0)
}

/// Tells a load that the metadata server is about to die (odd), or serves again (even).
pub fn tell_deaths(worker: &dyn Client, deaths: u32, serves: bool) -> Result<()> {
    let said = worker.shared().join("deaths");
    let part = said.with_extension("part");
    std::fs::write(&part, (2 * deaths - u32::from(!serves)).to_string())?;
    std::fs::rename(part, said)?;
    Ok(())
}

/// What the data servers have written since their starts.
fn written(index: u8) -> Result<(f64, f64)> {
    let scrape = Scrape::of(headrace::data_server_metrics(index))?;
    Ok((
        scrape.sum("headrace_data_bytes_total", &["direction=\"written\""]),
        scrape.sum("headrace_operations_total", &["operation=\"COMMIT\""]),
    ))
}

/// Buffered writes without fsync in between: what a data server had not committed must be sent again.
const STREAM: Work = Work {
    name: "stream",
    block_kib: 1024,
    direct: false,
    size_mib: 64,
    offset_mib: 0,
    seed: 9,
};

fn start_stream(guest: &mut Guest, file: &str) -> Result<Job> {
    guest.spawn(&format!(
        "rm -f /run/stop; rounds=0; while [ ! -e /run/stop ]; do {} || exit 1; rounds=$((rounds+1)); done; echo $rounds rounds",
        STREAM.write(file)
    ))
}

fn end_stream(guest: &mut Guest, streaming: &Job) -> Result<u64> {
    guest.sh(": >/run/stop", MINUTE)?;
    let said = guest.must(streaming, MINUTE * 4)?;
    let last = said.lines().last().unwrap_or_default();
    let rounds = last.strip_suffix(" rounds").and_then(|n| n.parse().ok());
    rounds.with_context(|| format!("the stream said {said:?}"))
}

/// Data servers die while they hold bytes that nobody has committed. The client sends these again: more is written
/// than its programs wrote.
fn unstable_data_is_sent_again(split: &mut Split, client: &mut Guest) -> Result<String> {
    const UNSTABLE: f64 = 4.0 * 1024.0 * 1024.0;
    const SERVERS: u8 = 3;
    const DEATHS: u32 = 3;
    let file = format!("{MOUNT}/again");
    let mut all = 0.0;
    for index in 0..SERVERS {
        all -= written(index)?.0;
    }
    let streaming = start_stream(client, &file)?;
    for _ in 0..DEATHS {
        let mut committed = (0..SERVERS).map(written).collect::<Result<Vec<_>>>()?;
        // On Linux before 6.18 the file lies on one of them alone.
        let (index, held) = clock::wait_for("bytes that are not committed", MINUTE, || {
            for (index, committed) in (0..SERVERS).zip(&mut committed) {
                let now = written(index)?;
                if now.1 > committed.1 {
                    *committed = now;
                }
                if now.0 - committed.0 >= UNSTABLE {
                    return Ok(Some((index, now.0)));
                }
            }
            Ok(None)
        })?;
        let server = &mut split.data_servers[usize::from(index)];
        server.kill9()?;
        all += held;
        server.start()?;
        ensure!(
            !Guest::is_done(client, &streaming),
            "the stream ended by itself: {:?}",
            client
                .wait(&streaming, Duration::from_secs(1))
                .map(|o| o.stdout)
        );
    }
    let rounds = end_stream(client, &streaming)?;
    for index in 0..SERVERS {
        all += written(index)?.0;
    }
    let payload = rounds as f64 * f64::from(STREAM.size_mib) * 1024.0 * 1024.0;
    let again = (all - payload) / (1024.0 * 1024.0);
    ensure!(
        again >= 1.0,
        "{rounds} rounds of {} MiB were written, and {again:.1} MiB more: nothing was sent again",
        STREAM.size_mib
    );
    Ok(format!("{again:.0} MiB sent again"))
}

pub fn data_server(lab: &mut Lab) -> Result<Verdict> {
    let mut split = three_data_servers(lab)?;
    let (mut a, mut b) = lab.two_mounted()?;
    let again = unstable_data_is_sent_again(&mut split, &mut a)?;
    say(&again);
    let load = start_load(&mut a, 3, KEPT_OPEN)?;
    let file = format!("{MOUNT}/stream");
    let streaming = start_stream(&mut b, &file)?;
    let mut pace = Pace::new(4);
    for death in 0..DATA_SERVER_DEATHS {
        if death == DATA_SERVER_DEATHS / 2 {
            split.export(DELEGATING)?;
            split.mds.reload()?;
        }
        let_pass(pace.between(500, 4000));
        let server = &mut split.data_servers[death as usize % 3];
        server.kill9()?;
        let_pass(pace.between(0, 2500));
        server.start()?;
        ensure!(
            !a.is_done(&load) && !b.is_done(&streaming),
            "a load ended by itself after death {}: {:?} {:?}",
            death + 1,
            a.wait(&load, Duration::from_secs(1)).map(|o| o.stderr),
            b.wait(&streaming, Duration::from_secs(1)).map(|o| o.stdout)
        );
    }
    say(format!("data servers died {DATA_SERVER_DEATHS} times"));
    let delegations = delegated::given_and_none_revoked()?;
    let said = end_load(&mut a, &load)?;
    let rounds = end_stream(&mut b, &streaming)?;
    Left::by(&a).verify(&mut b)?;
    mount_afresh(&mut a, "vers=4.2")?;
    a.sh(&STREAM.verify(&file), MINUTE * 2)
        .context("what one client streamed, read by the other")?;
    split.mds.still_runs()?;
    Ok(Verdict::Held(vec![
        format!("{DATA_SERVER_DEATHS} deaths"),
        delegations,
        again,
        said,
        format!("{rounds} rounds of a stream"),
    ]))
}

/// A client dies with a file open for writing. Another takes the file over once the lease is over, and the first
/// comes back with its old address.
pub fn client(lab: &mut Lab) -> Result<Verdict> {
    let _split = three_data_servers(lab)?;
    let (mut a, mut b) = lab.two_mounted()?;
    a.sh(
        &format!("dd if=/dev/urandom of={MOUNT}/f bs=1M count=8 conv=fsync status=none; cp {MOUNT}/f /run/shared/f; sync /run/shared/f"),
        MINUTE,
    )?;
    let _held = a.spawn(&format!(
        "exec 9<>{MOUNT}/f; flock 9; dd if=/dev/zero of={MOUNT}/g bs=1M count=3 conv=fsync status=none; : >{MOUNT}/have; sleep 1000"
    ))?;
    b.sh(
        &format!("until [ -e {MOUNT}/have ]; do sleep 0.2; ls {MOUNT} >/dev/null; done"),
        MINUTE,
    )?;
    let recipe = a.kill9();
    say("client a is dead, with a lock and two files open");
    b.sh(&format!("flock {MOUNT}/f true"), MINUTE)
        .context("the dead client's lock must go with its lease")?;
    std::fs::copy(recipe.state.join("guest-a/f"), b.shared().join("f"))?;
    b.sh(&format!("cmp {MOUNT}/f /run/shared/f"), MINUTE)?;
    let size = b.sh(&format!("stat -c %s {MOUNT}/g"), MINUTE)?;
    ensure!(
        size.trim() == "3145728",
        "what the dead client had fsynced is {size} bytes long, not 3 MiB"
    );
    b.sh(&format!("echo taken over >{MOUNT}/f"), MINUTE)?;
    let mut a = lab.boot_again(&recipe)?;
    mount(&mut a, "vers=4.2")?;
    let text = a.sh(&format!("cat {MOUNT}/f"), MINUTE)?;
    ensure!(text == "taken over\n", "read {text:?}");
    unmount(&mut a)?;
    unmount(&mut b)?;
    Ok(Verdict::Held(vec![
        "lock freed, fsynced bytes there, back within its lease".to_owned(),
    ]))
}

/// Pauses that differ from round to round, the same in each run.
pub struct Pace(u64);

impl Pace {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn between(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        Duration::from_millis(least_ms + (self.0 >> 33) % (most_ms - least_ms))
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.between(0, limit).as_millis() as u64
    }
}
