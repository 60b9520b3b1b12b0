//! How fast a mount is under fio, by one client and by two: what `cargo xtask bench clients` asks of each side. Writes
//! down rates and judges none.

pub mod dlio;
pub mod elsewhere;
pub mod listing;
pub mod training;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Verdict;
use crate::harness::clock::say;
use crate::harness::command;
use crate::harness::ganesha::Ganesha;
use crate::harness::guest::Guest;
use crate::harness::headrace::{self, Split, SplitOptions};
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount_from};
use crate::harness::net::{self, DS_PORT, MDS};

/// How long each job with a time of its own runs.
const SECONDS: &str = "HEADRACE_MEASURE_SECONDS";
/// File for what was measured, as JSON.
const RESULT: &str = "HEADRACE_MEASURE_RESULT";
/// Part of the names of the jobs to run; all of them unless said.
const ONLY: &str = "HEADRACE_MEASURE_JOBS";

const RECORD_BYTES: u32 = 47_008;
const RECORDS: u32 = 2_000;
const SMALL_FILES: u32 = 1500;
/// Of each client, where they write records.
const PROCESSES: u32 = 2;

pub fn one_data_server(lab: &mut Lab) -> Result<Verdict> {
    through_layouts(lab, 1)
}

pub fn three_data_servers(lab: &mut Lab) -> Result<Verdict> {
    through_layouts(lab, 3)
}

fn through_layouts(lab: &mut Lab, data_servers: u8) -> Result<Verdict> {
    let _split = servers(lab, data_servers)?;
    measure(lab, JOBS, |client| {
        mount_from(client, &format!("{MDS}:/"), "vers=4.2")
    })
}

/// A metadata server and so many data servers of ours.
fn servers(lab: &Lab, own_data_servers: u8) -> Result<Split> {
    let options = SplitOptions {
        own_data_servers,
        lease_seconds: 10,
        grace_seconds: 10,
        ..SplitOptions::default()
    };
    headrace::split(&lab.headrace, &lab.state, &options)
}

pub fn ganesha(lab: &mut Lab) -> Result<Verdict> {
    let folder = lab.state.join("peer");
    on_ganesha(lab, &folder, JOBS)
}

/// In a folder whose changes ext4 syncs each: what it makes of names is as durable as ours.
pub fn durable_ganesha(lab: &mut Lab) -> Result<Verdict> {
    let folder = lab.state.join("peer");
    fs::create_dir_all(&folder)?;
    command::run("chattr", &["+D", &folder.display().to_string()])?;
    let of_names = JOBS
        .iter()
        .filter(|job| matches!(job.kind, Kind::SmallFiles));
    on_ganesha(lab, &folder, &of_names.copied().collect::<Vec<_>>())
}

fn on_ganesha(lab: &mut Lab, folder: &Path, jobs: &[Job]) -> Result<Verdict> {
    let _peer = Ganesha::start(&lab.state, MDS, folder)?;
    measure(lab, jobs, |client| {
        mount_from(client, &format!("{MDS}:/peer"), "vers=4.2")
    })
}

/// One of our data servers by an NFSv3 mount, without a metadata server. It takes the clients' root for one, and only
/// names as it would give its objects.
pub fn plain(lab: &mut Lab) -> Result<Verdict> {
    let address = net::data_server(0);
    let hosts = "\"10.99.0.0/24\"";
    let _server = headrace::data_server_of(&lab.headrace, &lab.state, 0, address, hosts)?;
    // It has no folders.
    let flat: Vec<Job> = JOBS
        .iter()
        .filter(|job| !matches!(job.kind, Kind::SmallFiles))
        .copied()
        .collect();
    measure(lab, &flat, |client| {
        client.sh(
            &format!(
                "mkdir -p {MOUNT} && mount -t nfs -o vers=3,nolock,proto=tcp,port={DS_PORT},mountport={DS_PORT},mountproto=tcp {address}:/data {MOUNT}"
            ),
            MINUTE,
        )?;
        Ok(())
    })
}

#[derive(Clone, Copy, Debug)]
struct Job {
    name: &'static str,
    /// Of what one operation moves.
    bytes: u32,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// On a file of each client, as long as is said.
    Timed(&'static str),
    /// A record after the other, each process on a file of its own, and a sync in the end.
    OwnRecords,
    /// The same on one file: the records of all processes lie in turn.
    SharedRecords,
    /// Open, write, close, one file after the other.
    SmallFiles,
}

const fn job(name: &'static str, bytes: u32, kind: Kind) -> Job {
    Job { name, bytes, kind }
}

const JOBS: &[Job] = &[
    job(
        "write 1 MiB",
        1 << 20,
        Kind::Timed("--rw=write --size=128m --ioengine=libaio --direct=1 --iodepth=8"),
    ),
    job(
        "read 1 MiB",
        1 << 20,
        Kind::Timed("--rw=read --size=128m --ioengine=libaio --direct=1 --iodepth=8"),
    ),
    job(
        "write 4 KiB anywhere",
        4096,
        Kind::Timed("--rw=randwrite --size=128m --ioengine=libaio --direct=1 --iodepth=32"),
    ),
    job(
        "read 4 KiB anywhere",
        4096,
        Kind::Timed("--rw=randread --size=128m --ioengine=libaio --direct=1 --iodepth=32"),
    ),
    job(
        "write 4 KiB, fsync each",
        4096,
        Kind::Timed("--rw=write --size=16m --ioengine=psync --fsync=1"),
    ),
    job(
        "records of 47,008 bytes, own files",
        RECORD_BYTES,
        Kind::OwnRecords,
    ),
    job(
        "records of 47,008 bytes, one file",
        RECORD_BYTES,
        Kind::SharedRecords,
    ),
    job("open, write 4 KiB, close", 4096, Kind::SmallFiles),
];

/// Under a name as our data servers give their objects: of 32 hexadecimal digits.
fn file(number: u32) -> String {
    format!("{MOUNT}/{number:032x}")
}

/// The numbers of files: of timed jobs by client, of records by process, and the one that all share.
const OWN_RECORDS: u32 = 16;
const SHARED: u32 = 64;

impl Job {
    /// By one client of `clients`; all of them run at the same time.
    fn script(&self, client: u32, clients: u32, seconds: u64) -> String {
        // create_on_open: otherwise fio looks at a size that may be another client's, and makes the file anew.
        let fio = "cd /run/home && fio --thread --output-format=json --group_reporting --fallocate=none --invalidate=1 --create_on_open=1";
        let block = self.bytes;
        match self.kind {
            Kind::Timed(how) => format!(
                "{fio} --bs={block} {how} --time_based --ramp_time=300ms --runtime={seconds} --name=job --filename={}",
                file(client)
            ),
            Kind::OwnRecords => {
                let of_process = |process: u32| {
                    let number = OWN_RECORDS + client * PROCESSES + process;
                    format!(" --name=p{process} --filename={}", file(number))
                };
                let processes: String = (0..PROCESSES).map(of_process).collect();
                let size = u64::from(RECORDS) * u64::from(block);
                format!(
                    "{fio} --rw=write --bs={block} --size={size} --ioengine=psync --end_fsync=1{processes}"
                )
            }
            Kind::SharedRecords => {
                let all = u64::from(clients * PROCESSES);
                let of_process = |process: u32| {
                    let at = (client * PROCESSES + process) * block;
                    format!(
                        " --name=p{process} --filename={} --offset={at}",
                        file(SHARED)
                    )
                };
                let processes: String = (0..PROCESSES).map(of_process).collect();
                let block = u64::from(block);
                let (skipped, size) = ((all - 1) * block, all * u64::from(RECORDS) * block);
                format!(
                    "{fio} --rw=write:{skipped} --bs={block} --size={size} --number_ios={RECORDS} --ioengine=psync --end_fsync=1{processes}"
                )
            }
            Kind::SmallFiles => {
                let folder = format!("{MOUNT}/small-{clients}-{client}");
                format!(
                    "mkdir {folder} && {fio} --rw=write --bs={block} --filesize={block} --nrfiles={SMALL_FILES} --openfiles=1 --file_service_type=sequential --ioengine=psync --name=job --directory={folder}"
                )
            }
        }
    }
}

fn measure(
    lab: &mut Lab,
    jobs: &[Job],
    mount: impl Fn(&mut Guest) -> Result<()>,
) -> Result<Verdict> {
    let seconds = seconds()?;
    let mut clients = [lab.client("a")?, lab.client("b")?];
    for (client, number) in clients.iter_mut().zip(0..) {
        mount(client)?;
        let file = file(number);
        client.sh(
            &format!("dd if=/dev/zero of={file} bs=1M count=128 conv=fsync status=none"),
            MINUTE * 3,
        )?;
    }
    let mut measured = Vec::new();
    let mut facts = Vec::new();
    let only = std::env::var(ONLY).unwrap_or_default();
    for job in jobs.iter().filter(|job| job.name.contains(&only)) {
        for count in 1..=clients.len() {
            let rate = rate(&mut clients[..count], job, seconds)?;
            let fact = format!("{}, by {count}: {rate:.0} a second", job.name);
            say(&fact);
            facts.push(fact);
            measured.push(json!({
                "job": job.name, "clients": count, "bytes": job.bytes, "per_second": rate,
            }));
        }
    }
    tell(&Value::from(measured))?;
    Ok(Verdict::Held(facts))
}

fn seconds() -> Result<u64> {
    Ok(std::env::var(SECONDS).map_or(Ok(3), |text| text.parse())?)
}

/// To whoever asked for a file.
fn tell(measured: &Value) -> Result<()> {
    if let Ok(result) = std::env::var(RESULT) {
        fs::write(&result, measured.to_string()).with_context(|| format!("writing {result}"))?;
    }
    Ok(())
}

/// What all `clients` together did in a second, each as long as it worked.
fn rate(clients: &mut [Guest], job: &Job, seconds: u64) -> Result<f64> {
    let count = clients.len() as u32;
    let mut started = Vec::new();
    for (client, number) in clients.iter_mut().zip(0..) {
        started.push(client.spawn(&job.script(number, count, seconds))?);
    }
    let limit = MINUTE * 3 + Duration::from_secs(seconds);
    let mut sum = 0.0;
    for (client, job) in clients.iter_mut().zip(&started) {
        sum += rate_in(&client.must(job, limit)?)?;
    }
    Ok(sum)
}

fn rate_in(told: &str) -> Result<f64> {
    let from = told.find('{').context("fio wrote no JSON")?;
    let told: Value = serde_json::from_str(&told[from..]).context("what fio said")?;
    let of = |side| told["jobs"][0][side]["iops"].as_f64();
    let rate = of("read").unwrap_or(0.0) + of("write").unwrap_or(0.0);
    anyhow::ensure!(rate > 0.0, "fio did nothing: {told}");
    Ok(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_one_file_lie_in_turn_and_leave_no_hole() {
        let shared = JOBS
            .iter()
            .find(|job| matches!(job.kind, Kind::SharedRecords))
            .unwrap();
        let script = shared.script(1, 2, 3);
        // The third and the fourth of four, each three records from its next.
        assert!(script.contains("--rw=write:141024 "), "{script}");
        assert!(script.contains("--offset=94016 "), "{script}");
        assert!(script.ends_with("--offset=141024"), "{script}");
    }

    #[test]
    fn a_rate_is_read_from_what_fio_says() {
        let told = "note\n{\"jobs\": [{\"read\": {\"iops\": 0.0}, \"write\": {\"iops\": 12.5}}]}";
        assert!((rate_in(told).unwrap() - 12.5).abs() < 1e-9);
        assert!(rate_in("{\"jobs\": []}").is_err());
        assert!(rate_in("nothing").is_err());
    }
}
