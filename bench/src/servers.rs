//! A metadata server and a data server as processes of their own, on loopback and in a folder that goes
//! with them.

use crate::costs::{self, Process};
use anyhow::{Context, Result, bail};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub struct Servers {
    pub address: SocketAddr,
    mds: Ended,
    /// What the metadata server is started with.
    program: PathBuf,
    config: PathBuf,
    pub data: DataServer,
}

pub struct DataServer {
    pub address: SocketAddr,
    process: Ended,
    folder: TempDir,
}

/// A process that ends with its place here.
pub struct Ended(pub Child);

impl Ended {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    fn end(&mut self) {
        // One that has ended already is what we want.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the metadata server's configuration says besides addresses and folders: lines of `[server]`, and sections. All
/// else is as it is by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings<'a> {
    pub server: &'a str,
    pub more: &'a str,
}

const START_LIMIT: Duration = Duration::from_mins(1);
const REST_LIMIT: Duration = Duration::from_mins(1);

impl Servers {
    /// In a folder below `disk`.
    pub fn start(program: &Path, disk: &Path, settings: Settings<'_>) -> Result<Self> {
        let data = DataServer::start(program, disk)?;
        let address = free_address()?;
        let folder = data.folder.path();
        let (here, data_address) = (folder.display(), data.address);
        let Settings { server, more } = settings;
        fs::create_dir_all(folder.join("mds"))?;
        let mds = folder.join("mds.toml");
        fs::write(
            &mds,
            format!(
                "[server]\nlisten = \"{address}\"\nstate_dir = \"{here}/mds\"\nlog_level = \"error\"\n{server}\n[[data_server]]\nname = \"ds\"\naddress = \"{data_address}\"\nexport = \"/data\"\n\n[[export]]\npath = \"/\"\nclients = \"127.0.0.0/8\"\nsquash = \"none\"\n{more}"
            ),
        )?;
        let mut process = begin(program, "mds", &mds)?;
        until_it_listens(&mut process, address)?;
        Ok(Self {
            address,
            mds: Ended(process),
            program: program.to_owned(),
            config: mds,
            data,
        })
    }

    /// Kills the metadata server.
    pub fn stop(&mut self) {
        self.mds.end();
    }

    /// Starts the metadata server that was stopped, on what it has on its disk.
    pub fn start_again(&mut self) -> Result<()> {
        let mut process = begin(&self.program, "mds", &self.config)?;
        until_it_listens(&mut process, self.address)?;
        self.mds = Ended(process);
        Ok(())
    }

    /// The folder of the metadata server's catalog.
    pub fn catalog(&self) -> PathBuf {
        self.data.folder.path().join("mds")
    }

    /// Of the metadata server and the data server.
    pub fn processes(&self) -> [Process; 2] {
        let mds = Process {
            name: "metadata server",
            pid: self.mds.pid(),
        };
        [mds, self.data.process()]
    }

    /// Memory of the metadata server's process that lies in RAM now.
    pub fn resident_bytes(&self) -> Result<u64> {
        costs::resident_bytes(self.mds.pid())
    }
}

impl DataServer {
    /// One without a metadata server, in a folder below `disk`.
    pub fn start(program: &Path, disk: &Path) -> Result<Self> {
        // Its configuration names the folder, whatever the servers' own is.
        let folder = tempfile::tempdir_in(disk.canonicalize()?)?;
        let address = free_address()?;
        let here = folder.path().display();
        fs::create_dir_all(folder.path().join("ds"))?;
        let config = folder.path().join("ds.toml");
        fs::write(
            &config,
            format!(
                "[ds]\nlisten = \"{address}\"\ndata_dir = \"{here}/ds\"\nexport = \"/data\"\nmds = [\"127.0.0.1\"]\nlog_level = \"error\"\n"
            ),
        )?;
        let mut process = begin(program, "ds", &config)?;
        until_it_listens(&mut process, address)?;
        Ok(Self {
            address,
            process: Ended(process),
            folder,
        })
    }

    /// The folder of what it holds.
    pub fn objects(&self) -> PathBuf {
        self.folder.path().join("ds")
    }

    pub fn process(&self) -> Process {
        Process {
            name: "data server",
            pid: self.process.pid(),
        }
    }
}

/// Waits until processes have next to nothing to do.
pub async fn until_they_rest(processes: &[Process]) -> Result<()> {
    const LOOK: Duration = Duration::from_millis(500);
    const NEXT_TO_NOTHING: Duration = Duration::from_millis(10);
    let deadline = Instant::now() + REST_LIMIT;
    let mut before = costs::processor_of(processes)?;
    loop {
        tokio::time::sleep(LOOK).await;
        let now = costs::processor_of(processes)?;
        if now.saturating_sub(before) <= NEXT_TO_NOTHING {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "the servers don't come to rest");
        before = now;
    }
}

/// Free a moment ago, which has to do.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

fn begin(program: &Path, role: &str, config: &Path) -> Result<Child> {
    Command::new(program)
        .arg(role)
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

pub fn until_it_listens(child: &mut Child, address: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    while TcpStream::connect(address).is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("it ended with {status}");
        }
        anyhow::ensure!(Instant::now() < deadline, "it doesn't listen on {address}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
