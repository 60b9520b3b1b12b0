//! Servers and clients that die between two instructions, under load: clients go on by themselves, and what was
//! acknowledged is there.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Verdict;
use super::fio::Work;
use crate::harness::client::Client;
use crate::harness::clock::{let_pass, say};
use crate::harness::guest::Job;
use crate::harness::headrace::{self, Split, SplitOptions};
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount, mount_afresh, unmount};

const MDS_DEATHS: u32 = 50;
const DATA_SERVER_DEATHS: u32 = 12;
const LOAD: &str = "/run/shared/interop load";

fn three_data_servers(lab: &Lab) -> Result<Split> {
    let split = headrace::split(
        &lab.headrace,
        &lab.state,
        &SplitOptions {
            own_data_servers: 3,
            lease_seconds: 5,
            grace_seconds: 5,
            ..SplitOptions::default()
        },
    )?;
    say("one metadata server and three data servers serve, each a process");
    Ok(split)
}

pub fn start_load(guest: &mut dyn Client, seed: u32) -> Result<Job> {
    let folder = format!("{MOUNT}/load-{}", guest.name());
    guest.spawn(&format!(
        "rm -f /run/stop; mkdir -p {folder} && {LOAD} {folder} /run/shared/manifest /run/stop --seed {seed} --workers 3"
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

pub fn mds(lab: &mut Lab) -> Result<Verdict> {
    let mut split = three_data_servers(lab)?;
    let other_kernel = lab.other_kernel();
    let mut a = lab.client("a")?;
    let mut b = lab.client_with("b", &other_kernel)?;
    mount(&mut a, "vers=4.2")?;
    mount(&mut b, "vers=4.2")?;
    let loads = (start_load(&mut a, 1)?, start_load(&mut b, 2)?);
    let mut pace = Pace::new(3);
    for death in 1..=MDS_DEATHS {
        let_pass(pace.between(200, 6000));
        split
            .mds
            .kill9()
            .with_context(|| format!("before death {death}"))?;
        let_pass(pace.between(0, 1500));
        split.mds.start()?;
        if death % 10 == 0 {
            say(format!("the metadata server died {death} times"));
        }
        ensure!(
            !a.is_done(&loads.0) && !b.is_done(&loads.1),
            "a load ended by itself after death {death}: {:?} {:?}",
            a.wait(&loads.0, Duration::from_secs(1)).map(|o| o.stderr),
            b.wait(&loads.1, Duration::from_secs(1)).map(|o| o.stderr)
        );
    }
    let said = (end_load(&mut a, &loads.0)?, end_load(&mut b, &loads.1)?);
    Left::by(&a).verify(&mut b)?;
    Left::by(&b).verify(&mut a)?;
    Ok(Verdict::Held(vec![
        format!("{MDS_DEATHS} deaths"),
        format!("{}: {}", a.release(), said.0),
        format!("{}: {}", b.release(), said.1),
    ]))
}

pub fn data_server(lab: &mut Lab) -> Result<Verdict> {
    let mut split = three_data_servers(lab)?;
    let other_kernel = lab.other_kernel();
    let mut a = lab.client("a")?;
    let mut b = lab.client_with("b", &other_kernel)?;
    mount(&mut a, "vers=4.2")?;
    mount(&mut b, "vers=4.2")?;
    let load = start_load(&mut a, 3)?;
    // Buffered writes without fsync in between: what a data server had not committed must be sent again.
    let stream = Work {
        name: "stream",
        block_kib: 1024,
        direct: false,
        size_mib: 64,
        offset_mib: 0,
        seed: 9,
    };
    let file = format!("{MOUNT}/stream");
    let streaming = b.spawn(&format!(
        "rm -f /run/stop; rounds=0; while [ ! -e /run/stop ]; do {} || exit 1; rounds=$((rounds+1)); done; echo $rounds rounds",
        stream.write(&file)
    ))?;
    let mut pace = Pace::new(4);
    for death in 0..DATA_SERVER_DEATHS {
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
    let said = end_load(&mut a, &load)?;
    b.sh(": >/run/stop", MINUTE)?;
    let streamed = b.must(&streaming, MINUTE * 4)?;
    Left::by(&a).verify(&mut b)?;
    split.mds.still_runs()?;
    Ok(Verdict::Held(vec![
        format!("{DATA_SERVER_DEATHS} deaths"),
        said,
        streamed.lines().last().unwrap_or_default().to_owned(),
    ]))
}

/// A client dies with a file open for writing. Another takes the file over once the lease is over, and the first
/// comes back with its old address.
pub fn client(lab: &mut Lab) -> Result<Verdict> {
    let _split = three_data_servers(lab)?;
    let other_kernel = lab.other_kernel();
    let mut a = lab.client("a")?;
    let mut b = lab.client_with("b", &other_kernel)?;
    mount(&mut a, "vers=4.2")?;
    mount(&mut b, "vers=4.2")?;
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
struct Pace(u64);

impl Pace {
    const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn between(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        Duration::from_millis(least_ms + (self.0 >> 33) % (most_ms - least_ms))
    }
}
