//! Namespaces of its own for one scenario: processes, mounts, network, host name. When the scenario's process ends,
//! for whatever reason, the kernel ends all that it started, unmounts what it mounted and removes its network.
//! No clean-up code lives here, because none is needed.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{clock, command};

/// The command that runs this same program in a sandbox. The sandbox dies with its parent: `setpriv` asks the kernel
/// to kill `unshare` when we end, and `unshare --kill-child` passes it on to the first process inside, which takes
/// everything else along.
pub fn command_inside() -> Result<Command> {
    let program = std::env::current_exe().context("where is this program?")?;
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "unshare"])
        .args(["--mount", "--pid", "--fork", "--kill-child=SIGKILL"])
        .args(["--mount-proc", "--net", "--ipc", "--uts", "--"])
        .arg(program)
        .env("PATH", command::path_with_sbin());
    clock::hand_on(&mut command);
    Ok(command)
}

/// Called first thing inside: private folders in memory for run-time files, so that nothing of the host is touched.
pub fn settle_in() -> Result<()> {
    if std::process::id() != 1 {
        bail!("a scenario runs in a sandbox of its own: start it with `cargo xtask interop NAME`");
    }
    command::words("mount -t tmpfs -o mode=755,size=75% tmpfs /run")?;
    for folder in ["/run/uml", "/run/lock", "/run/dbus"] {
        fs::create_dir_all(folder).with_context(|| format!("creating {folder}"))?;
    }
    // rpc.statd and NFS-Ganesha keep state here; the host's own must not be mixed with a test's.
    for folder in ["/var/lib/nfs", "/var/log/ganesha", "/var/lib/rpcbind"] {
        if Path::new(folder).is_dir() {
            command::words(&format!("mount -t tmpfs -o mode=755 tmpfs {folder}"))?;
        }
    }
    Ok(())
}
