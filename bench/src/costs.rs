//! What processes take: processor time, memory and what they write, as Linux counts them; and what that is for each operation.

pub mod calls;
pub mod energy;
pub mod profile;

use crate::rounds::Figure;
use anyhow::{Context, Result};
use energy::Energy;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;

/// Of `/proc`, whatever the kernel's own tick is.
const TICKS_PER_SECOND: u64 = 100;

/// A server's process, and what figures call it.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    pub name: &'static str,
    pub pid: u32,
}

/// What has been spent so far.
pub struct Spent {
    servers: Vec<(&'static str, Duration)>,
    /// By this program: it shares the processors with them.
    load: Duration,
    energy: Option<Energy>,
}

impl Spent {
    pub fn so_far(servers: &[Process]) -> Result<Self> {
        let each = servers
            .iter()
            .map(|server| Ok((server.name, processor(server.pid)?)));
        Ok(Self {
            servers: each.collect::<Result<_>>()?,
            load: processor(std::process::id())?,
            energy: energy::so_far(),
        })
    }

    /// For each of `operations`, and for each GiB where one moves `bytes_each`.
    pub fn each(&self, before: &Self, operations: f64, bytes_each: Option<u64>) -> Vec<Figure> {
        let pairs = self.servers.iter().zip(&before.servers);
        let mut spent: Vec<(&str, f64)> = pairs
            .map(|((name, now), (_, before))| (*name, now.saturating_sub(*before).as_secs_f64()))
            .collect();
        let all = spent.iter().map(|(_, seconds)| seconds).sum();
        if spent.len() == 1 {
            spent.clear();
        }
        spent.push(("all servers", all));
        spent.push(("load", self.load.saturating_sub(before.load).as_secs_f64()));
        let mut figures = Vec::new();
        for (name, seconds) in spent {
            let what = format!("processor, {name}");
            if let Some(bytes) = bytes_each {
                let gib = operations * bytes as f64 / f64::from(1 << 30);
                figures.push(Figure::new(what.clone(), "s per GiB", seconds / gib));
            }
            figures.push(Figure::new(
                what,
                "s per 1000 operations",
                seconds / operations * 1e3,
            ));
        }
        if let (Some(now), Some(before)) = (&self.energy, &before.energy) {
            let joules = now.joules_since(before);
            let what = "energy of the machine".to_owned();
            figures.push(Figure::new(
                what,
                "J per 1000 operations",
                joules / operations * 1e3,
            ));
        }
        figures
    }
}

/// Processor time of processes so far.
pub fn processor_of(processes: &[Process]) -> Result<Duration> {
    processes.iter().map(|process| processor(process.pid)).sum()
}

/// Of a process so far, of all its threads that live or lived, in steps of 10 ms.
fn processor(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    processor_in(&stat).context("no process has such a stat")
}

fn processor_in(stat: &str) -> Option<Duration> {
    // Behind the name, which may hold anything: utime and stime are the 14th and 15th field of the whole line.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let ticks = times.next()?.parse::<u64>().ok()? + times.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// Memory of a process that lies in RAM now.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.context("the kernel tells no VmRSS")? * 1024)
}

/// What a process has made the kernel write to disks so far.
pub fn written_bytes(pid: u32) -> Result<u64> {
    let io = fs::read_to_string(format!("/proc/{pid}/io"))?;
    let bytes = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes:"));
    let bytes = bytes.and_then(|bytes| bytes.trim().parse().ok());
    bytes.context("the kernel tells no write_bytes")
}

/// Blocks of all files below a folder.
pub fn on_disk(folder: &Path) -> Result<u64> {
    const BLOCK: u64 = 512;
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // A file that went meanwhile takes nothing.
        let Ok(known) = fs::symlink_metadata(&path) else {
            continue;
        };
        bytes += known.blocks() * BLOCK;
        if known.is_dir() {
            bytes += on_disk(&path)?;
        }
    }
    Ok(bytes)
}

/// Who looks at processes from outside, run to the end: with words that don't depend on the language, and gone with
/// whoever waits for it.
async fn ended(command: &mut Command) -> Result<Output> {
    let program = command.as_std().get_program().to_owned();
    command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot start {}", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_does_not_move_its_fields() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 3 0 1 2 3";
        assert_eq!(processor_in(stat), Some(Duration::from_secs(3)));
        assert_eq!(processor_in("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_takes_memory() {
        assert!(resident_bytes(std::process::id()).unwrap() > 1 << 20);
        processor(std::process::id()).unwrap();
    }

    #[test]
    fn costs_are_told_for_each_server_for_all_and_for_the_load() {
        let spent = |a: u64, b: u64, load: u64| Spent {
            servers: vec![("a", Duration::from_secs(a)), ("b", Duration::from_secs(b))],
            load: Duration::from_secs(load),
            energy: None,
        };
        let figures = spent(5, 3, 9).each(&spent(1, 2, 7), 1024.0, Some(1 << 20));
        let per_gib: Vec<_> = figures
            .iter()
            .filter(|figure| figure.unit == "s per GiB")
            .map(|figure| (figure.what.as_str(), figure.value))
            .collect();
        assert_eq!(
            per_gib,
            [
                ("processor, a", 4.0),
                ("processor, b", 1.0),
                ("processor, all servers", 5.0),
                ("processor, load", 2.0)
            ]
        );
        assert_eq!(figures.len(), 8);
    }

    #[test]
    fn what_lies_in_folders_of_folders_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        let empty = on_disk(folder.path()).unwrap();
        fs::write(inner.join("c"), vec![1; 64 << 10]).unwrap();
        assert!(on_disk(folder.path()).unwrap() >= empty + (64 << 10));
    }
}
