//! What processes take: processor time and memory, as Linux counts them.

use anyhow::{Context, Result};
use std::fs;
use std::time::Duration;

/// Of `/proc`, whatever the kernel's own tick is.
const TICKS_PER_SECOND: u64 = 100;

/// Processor time of processes so far.
pub fn processor_of(pids: &[u32]) -> Result<Duration> {
    pids.iter().map(|pid| processor(*pid)).sum()
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
}
