//! NFS-Ganesha on loopback, with its back end for local folders, in a folder that goes with it.

use crate::costs::Process;
use crate::sandbox;
use crate::servers::{Ended, free_address, until_it_listens};
use anyhow::{Context, Result};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What it answers a create, a rename or a removal after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// As it comes: the file system will write it down some time.
    Unsynced,
    /// In a folder whose changes ext4 syncs each before it returns (`chattr +D`, which new folders inherit).
    Durable,
}

pub struct Ganesha {
    /// NFSv3 and NFSv4.
    pub address: SocketAddr,
    pub mount_port: u16,
    /// The path that MOUNT knows; NFSv4 has it as its root.
    pub export: String,
    config: String,
    process: Option<Ended>,
    /// What it exports.
    _folder: TempDir,
    /// Its configuration and its log, in memory.
    state: TempDir,
}

const PROGRAM: &str = "/usr/bin/ganesha.nfsd";
const RPCBIND_LIMIT: Duration = Duration::from_secs(10);

impl Ganesha {
    /// Exports a folder below `disk`.
    pub fn start(disk: &Path, names: Names) -> Result<Self> {
        start_rpcbind()?;
        let folder = tempfile::tempdir_in(disk.canonicalize()?)?;
        let state = tempfile::tempdir_in("/run")?;
        let export = folder.path().display().to_string();
        if names == Names::Durable {
            sandbox::must(&format!("chattr +D {export}"))
                .context("a folder whose changes are synced each")?;
        }
        let (address, mount_port) = (free_address()?, free_address()?.port());
        let config = format!(
            "NFS_CORE_PARAM {{ Protocols = 3, 4; Bind_addr = {}; NFS_Port = {}; MNT_Port = {mount_port};
                 Enable_NLM = false; Enable_RQUOTA = false; }}
             NFSv4 {{ Graceless = true; RecoveryBackend = fs; }}
             EXPORT {{ Export_Id = 1; Path = {export}; Pseudo = /; Access_Type = RW; Squash = No_Root_Squash;
                 SecType = sys; Protocols = 3, 4; FSAL {{ Name = VFS; }} }}
             LOG {{ Default_Log_Level = EVENT; }}\n",
            address.ip(),
            address.port(),
        );
        let mut this = Self {
            address,
            mount_port,
            export,
            config,
            process: None,
            _folder: folder,
            state,
        };
        this.begin()?;
        Ok(this)
    }

    fn begin(&mut self) -> Result<()> {
        let config = self.state.path().join("ganesha.conf");
        fs::write(&config, &self.config)?;
        let mut child = self.spawn(&config)?;
        let listens = until_it_listens(&mut child, self.address);
        self.process = Some(Ended(child));
        listens.with_context(|| {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            let from = log.lines().count().saturating_sub(10);
            let last: Vec<&str> = log.lines().skip(from).collect();
            format!("the end of NFS-Ganesha's log:\n{}", last.join("\n"))
        })
    }

    /// Kills it, and starts it on what lies in its folder.
    pub fn stop(&mut self) {
        self.process = None;
    }

    pub fn start_again(&mut self) -> Result<()> {
        self.begin()
    }

    fn spawn(&self, config: &Path) -> Result<Child> {
        Command::new(PROGRAM)
            .arg("-F")
            .arg("-f")
            .arg(config)
            .arg("-L")
            .arg(self.log())
            .args(["-p", "/run/ganesha/pid"])
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| {
                format!("cannot start {PROGRAM} (packages nfs-ganesha, nfs-ganesha-vfs)")
            })
    }

    fn log(&self) -> std::path::PathBuf {
        self.state.path().join("ganesha.log")
    }

    pub fn processes(&self) -> Vec<Process> {
        let pid = self.process.as_ref().map(Ended::pid);
        pid.into_iter()
            .map(|pid| Process {
                name: "Ganesha",
                pid,
            })
            .collect()
    }
}

/// NFS-Ganesha registers NFSv3 with it, and doesn't start without.
fn start_rpcbind() -> Result<()> {
    let answers = || TcpStream::connect(("127.0.0.1", 111)).is_ok();
    if answers() {
        return Ok(());
    }
    sandbox::must("rpcbind -w")?;
    let deadline = Instant::now() + RPCBIND_LIMIT;
    while !answers() {
        anyhow::ensure!(Instant::now() < deadline, "rpcbind doesn't answer");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
