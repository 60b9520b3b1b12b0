//! How often processes call the kernel, counted from outside: by perf, or by strace, which slows them much.

use anyhow::{Context, Result, bail};
use std::time::Duration;
use tokio::process::Command;

/// System calls of processes within `time`, and who counted them.
pub async fn within(pids: &[u32], time: Duration) -> Result<(u64, &'static str)> {
    match by_perf(pids, time).await {
        Ok(count) => Ok((count, "perf")),
        Err(of_perf) => match by_strace(pids, time).await {
            Ok(count) => Ok((count, "strace")),
            Err(of_strace) => bail!("system calls can't be counted: {of_perf:#}; {of_strace:#}"),
        },
    }
}

async fn by_perf(pids: &[u32], time: Duration) -> Result<u64> {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let mut command = Command::new("perf");
    command
        .args(["stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p"])
        .arg(pids.join(","))
        .args(["sleep", &time.as_secs_f64().to_string()]);
    let told = told(&mut command).await?;
    of_perf(&told).with_context(|| format!("perf says: {}", told.trim()))
}

fn of_perf(told: &str) -> Option<u64> {
    let line = told.lines().find(|line| line.contains("sys_enter"))?;
    line.split(',').next()?.parse().ok()
}

async fn by_strace(pids: &[u32], time: Duration) -> Result<u64> {
    let mut command = Command::new("timeout");
    command
        .args(["-s", "INT", &time.as_secs_f64().to_string()])
        .args(["strace", "-c", "-f"]);
    for pid in pids {
        command.args(["-p", &pid.to_string()]);
    }
    let told = told(&mut command).await?;
    of_strace(&told).with_context(|| format!("strace says: {}", told.trim()))
}

fn of_strace(told: &str) -> Option<u64> {
    let line = told.lines().rfind(|line| line.ends_with(" total"))?;
    // Share, seconds, microseconds each, calls, and errors where there were some.
    line.split_whitespace().nth(3)?.parse().ok()
}

async fn told(command: &mut Command) -> Result<String> {
    let output = super::ended(command).await?;
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_perf_counted_is_read() {
        assert_eq!(
            of_perf("\n1234,,raw_syscalls:sys_enter,5,100.00,,\n"),
            Some(1234)
        );
        assert_eq!(
            of_perf("<not supported>,,raw_syscalls:sys_enter,0,\n"),
            None
        );
        assert_eq!(of_perf("Permission denied"), None);
    }

    #[test]
    fn what_strace_counted_is_read() {
        let told = "  0.00    0.000000           0         1           rseq\n100.00    0.000011           0        29         1 total\n";
        assert_eq!(of_strace(told), Some(29));
        assert_eq!(of_strace("strace: attach: Operation not permitted"), None);
    }
}
