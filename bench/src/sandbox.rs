//! Namespaces of their own for a whole run: processes, mounts, network. When the run ends, for whatever reason, the
//! kernel ends all that it started. NFS-Ganesha and rpcbind need it, since their ports and folders are the machine's.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// Told to the program that runs inside.
pub const INSIDE: &str = "--inside";

/// Why there can be none here.
pub fn cannot() -> Option<&'static str> {
    (!rustix::process::geteuid().is_root()).then_some(
        "NFS-Ganesha runs as root in namespaces of its own, and the bench wasn't started as root",
    )
}

/// Runs this program with the same words in a sandbox. It dies with its parent: `setpriv` asks the kernel to kill
/// `unshare` when we end, and `unshare --kill-child` passes it on.
pub fn run_inside() -> Result<ExitCode> {
    let program = std::env::current_exe().context("where is this program?")?;
    let status = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare"])
        .args(["--mount", "--pid", "--fork", "--kill-child=SIGKILL"])
        .args(["--mount-proc", "--net", "--ipc", "--uts", "--"])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .arg(INSIDE)
        .status()
        .context("cannot start a sandbox (packages util-linux, iproute2)")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// First thing inside: loopback, and folders in memory for what servers keep of a run.
pub fn settle_in() -> Result<()> {
    must("ip link set lo up")?;
    // NFS-Ganesha looks 127.0.0.1 up as if it were a name, and gets none on a host that has no other address.
    must("ip addr add 192.0.2.1/32 dev lo")?;
    must("mount -t tmpfs -o mode=755 tmpfs /run")?;
    for folder in ["/var/lib/nfs", "/var/log/ganesha", "/var/lib/rpcbind"] {
        if Path::new(folder).is_dir() {
            must(&format!("mount -t tmpfs -o mode=755 tmpfs {folder}"))?;
        }
    }
    for folder in ["/run/ganesha", "/run/rpcbind", "/run/lock"] {
        fs::create_dir_all(folder).with_context(|| format!("creating {folder}"))?;
    }
    Ok(())
}

/// Words that hold no blank.
pub fn must(line: &str) -> Result<()> {
    let mut words = line.split_whitespace();
    let program = words.next().context("an empty command line")?;
    let output = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` ended with {}: {}", output.status, told.trim());
    }
    Ok(())
}
