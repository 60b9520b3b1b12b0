//! A metadata server and a data server as processes of their own, on loopback and in a folder that goes
//! with them.

use anyhow::{Context, Result, bail};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub struct Servers {
    pub address: SocketAddr,
    mds: Child,
    ds: Child,
    _folder: TempDir,
}

const START_LIMIT: Duration = Duration::from_mins(1);
const REST_LIMIT: Duration = Duration::from_mins(1);

impl Servers {
    /// `limits`: lines of the metadata server's `[limits]`.
    pub fn start(program: &Path, limits: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (address, data_address) = (free_address()?, free_address()?);
        let here = folder.path().display();
        let ds = folder.path().join("ds.toml");
        fs::create_dir_all(folder.path().join("ds"))?;
        fs::create_dir_all(folder.path().join("mds"))?;
        fs::write(
            &ds,
            format!(
                "[ds]\nlisten = \"{data_address}\"\ndata_dir = \"{here}/ds\"\nexport = \"/data\"\nmds = [\"127.0.0.1\"]\n"
            ),
        )?;
        let mds = folder.path().join("mds.toml");
        fs::write(
            &mds,
            format!(
                "[server]\nlisten = \"{address}\"\nstate_dir = \"{here}/mds\"\nlease_seconds = 3600\ngrace_seconds = 3600\nlog_level = \"error\"\n\n[[data_server]]\nname = \"ds\"\naddress = \"{data_address}\"\nexport = \"/data\"\n\n[[export]]\npath = \"/\"\nclients = \"127.0.0.0/8\"\nsquash = \"none\"\n\n[layout]\nrecall_seconds = 2\n\n[limits]\n{limits}"
            ),
        )?;
        let mut ds = begin(program, "ds", &ds)?;
        until_it_listens(&mut ds, data_address)?;
        let mut mds = begin(program, "mds", &mds)?;
        until_it_listens(&mut mds, address)?;
        Ok(Self {
            address,
            mds,
            ds,
            _folder: folder,
        })
    }

    /// Waits until both have next to nothing to do.
    pub async fn until_they_rest(&self) -> Result<()> {
        const LOOK: Duration = Duration::from_millis(500);
        /// Of a hundredth of a second of processor time each, as Linux counts it.
        const NEXT_TO_NOTHING: u64 = 1;
        let deadline = Instant::now() + REST_LIMIT;
        let mut before = self.ticks()?;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.ticks()?;
            if now - before <= NEXT_TO_NOTHING {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "the servers don't come to rest");
            before = now;
        }
    }

    fn ticks(&self) -> Result<u64> {
        let mut all = 0;
        for process in [&self.mds, &self.ds] {
            let stat = fs::read_to_string(format!("/proc/{}/stat", process.id()))?;
            // Behind the name, which may hold anything: utime and stime are the 14th and 15th of the whole line.
            let (_, fields) = stat
                .rsplit_once(')')
                .context("no process has such a stat")?;
            let times = fields.split_whitespace().skip(11).take(2);
            all += times
                .filter_map(|time| time.parse::<u64>().ok())
                .sum::<u64>();
        }
        Ok(all)
    }

    /// Memory of the metadata server's process that lies in RAM now.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.mds.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kib.context("the kernel tells no VmRSS")? * 1024)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in [&mut self.mds, &mut self.ds] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Free a moment ago, which has to do.
fn free_address() -> Result<SocketAddr> {
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

fn until_it_listens(child: &mut Child, address: SocketAddr) -> Result<()> {
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
