//! Starting, signalling and hearing a process, and the files that it is started with. Never an assertion of a
//! test's own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

pub const WORDS: &str = "HEADRACE_WORDS";
/// Longer than anything here may take, so that a test that waits in vain ends.
const PATIENCE: Duration = Duration::from_mins(1);

type Lines = Arc<Mutex<Vec<String>>>;

pub struct Process {
    child: Child,
    said: Lines,
    logged: Lines,
    /// Who writes them down.
    listening: Vec<JoinHandle<()>>,
}

fn collect(from: impl Read + Send + 'static) -> (Lines, JoinHandle<()>) {
    let lines = Lines::default();
    let to = Arc::clone(&lines);
    let listening = std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            to.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
    (lines, listening)
}

fn of(lines: &Lines) -> Vec<String> {
    lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Process {
    pub fn start(words: &[&str]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--ignored", "--exact", "the_program_itself"])
            .args(["--nocapture", "--test-threads=1"])
            .env(WORDS, words.join("\n"))
            .env_remove("HEADRACE_LOG")
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (said, saying) = collect(child.stdout.take().context("its output")?);
        let (logged, logging) = collect(child.stderr.take().context("its errors")?);
        Ok(Self {
            child,
            said,
            logged,
            listening: vec![saying, logging],
        })
    }

    /// Lines of the log so far.
    pub fn log(&self) -> Vec<String> {
        of(&self.logged)
    }

    /// What it wrote to standard output so far.
    pub fn output(&self) -> Vec<String> {
        of(&self.said)
    }

    /// A line, of either kind, that holds `words`.
    pub fn says(&self, words: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let all = [self.output(), self.log()].concat();
            if let Some(line) = all.iter().find(|line| line.contains(words)) {
                return Ok(line.clone());
            }
            ensure!(
                Instant::now() < deadline,
                "it never said {words:?}:\n{}",
                all.join("\n")
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn signal(&self, name: &str) -> Result<()> {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status()?;
        ensure!(status.success(), "{name} can't be sent");
        Ok(())
    }

    /// Its end, which must come, and all that it said until then.
    pub fn end(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                for listening in self.listening.drain(..) {
                    let _ = listening.join();
                }
                return Ok(status);
            }
            ensure!(
                Instant::now() < deadline,
                "it doesn't end:\n{}",
                self.log().join("\n")
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.end()
    }

    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder with the files of a metadata server and a data server, at an address that is nobody else's.
pub struct House {
    pub folder: TempDir,
    pub ip: Ipv4Addr,
}

impl House {
    pub fn new() -> Result<Self> {
        let [b, c, d] = rand::random::<[u8; 3]>();
        Ok(Self {
            folder: tempfile::tempdir()?,
            ip: Ipv4Addr::new(127, b, c, d.clamp(2, 254)),
        })
    }

    pub fn at_port(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip.into(), port)
    }

    pub fn mds(&self) -> SocketAddr {
        self.at_port(20_490)
    }

    pub fn mds_metrics(&self) -> SocketAddr {
        self.at_port(20_491)
    }

    pub fn ds(&self) -> SocketAddr {
        self.at_port(20_492)
    }

    pub fn ds_metrics(&self) -> SocketAddr {
        self.at_port(20_493)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<String> {
        let path = self.path(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    /// A demo on the folder `demo`, with further words as given.
    pub fn start_demo(&self, more: &[&str]) -> Result<Process> {
        let (folder, listen) = (
            self.path("demo").display().to_string(),
            self.mds().to_string(),
        );
        let words = [
            "headrace",
            "demo",
            "--data-dir",
            &folder,
            "--listen",
            &listen,
        ];
        Process::start(&[&words[..], more].concat())
    }

    /// The metadata server's file, `server` lines and exports as given; where it is.
    pub fn mds_file(&self, server: &str, exports: &str) -> Result<String> {
        let text = format!(
            "[server]\nlisten = \"{}\"\nmetrics_listen = \"{}\"\nstate_dir = \"{}\"\n{server}\n\
             [[data_server]]\nname = \"nvme1\"\naddress = \"{}\"\nexport = \"/nvme\"\n\
             {exports}",
            self.mds(),
            self.mds_metrics(),
            self.path("mds").display(),
            self.ds(),
        );
        self.write("mds.toml", &text)
    }

    /// The data server's file, further `ds` lines as given; where it is.
    pub fn ds_file(&self, more: &str) -> Result<String> {
        let folder = self.path("ds");
        std::fs::create_dir_all(&folder)?;
        let text = format!(
            "[ds]\nlisten = \"{}\"\nmetrics_listen = \"{}\"\ndata_dir = \"{}\"\nexport = \"/nvme\"\n\
             mds = \"127.0.0.0/8\"\n{more}\n",
            self.ds(),
            self.ds_metrics(),
            folder.display(),
        );
        self.write("ds.toml", &text)
    }

    /// A data server that serves.
    pub fn start_ds(&self) -> Result<Process> {
        let process = Process::start(&["headrace", "ds", "--config", &self.ds_file("")?])?;
        process.says("serving data on")?;
        Ok(process)
    }

    /// A metadata server that serves, with one export of everything.
    pub fn start_mds(&self) -> Result<Process> {
        let file = self.mds_file("lease_seconds = 5", &export("/"))?;
        let process = Process::start(&["headrace", "mds", "--config", &file])?;
        process.says("serving NFSv4 on")?;
        Ok(process)
    }
}

pub fn export(path: &str) -> String {
    format!("[[export]]\npath = \"{path}\"\nclients = \"127.0.0.0/8\"\nsquash = \"none\"\n")
}

/// Status and body.
pub fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer of HTTP")?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok((status, body.to_owned()))
}

/// Ends when `holds`; fails when it doesn't in time.
pub fn until(what: &str, holds: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds()? {
        ensure!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
