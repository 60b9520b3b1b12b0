//! The demo under test, in a folder of its own, on loopback, and the way by which the suite asks for a restart.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail};

/// The hidden verb that pynfs calls through its `--serverhelper`.
pub const HELPER: &str = "pynfs-helper";
const DATA_SERVERS: usize = 3;

struct Demo {
    program: PathBuf,
    state: PathBuf,
    addresses: Vec<SocketAddr>,
    lease: u32,
    process: Child,
}

pub struct Server {
    demo: Arc<Mutex<Demo>>,
    address: SocketAddr,
    control: SocketAddr,
}

impl Server {
    pub fn start(program: &Path, state: &Path, lease: u32) -> Result<Self> {
        let addresses = free_addresses(1 + DATA_SERVERS)?;
        let demo = Demo {
            process: begin(program, state, &addresses, lease)?,
            program: program.to_owned(),
            state: state.to_owned(),
            addresses,
            lease,
        };
        let address = demo.addresses[0];
        let demo = Arc::new(Mutex::new(demo));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let control = listener.local_addr()?;
        let served = Arc::clone(&demo);
        // Ends with the process.
        thread::spawn(move || serve(&listener, &served));
        Ok(Self {
            demo,
            address,
            control,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stands before the suite's own word, "reboot".
    pub fn helper_arguments(&self) -> String {
        format!("{HELPER} {}", self.control)
    }

    pub fn stop(self) -> Result<()> {
        self.demo
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .end()
    }
}

impl Demo {
    fn end(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Also when something failed: nothing is left running.
        let _ = self.end();
    }
}

/// Answers each word on a connection with "done", or with what went wrong.
fn serve(listener: &TcpListener, demo: &Mutex<Demo>) {
    for connection in listener.incoming() {
        let Ok(mut connection) = connection else {
            return;
        };
        let mut word = String::new();
        if BufReader::new(&connection).read_line(&mut word).is_err() {
            continue;
        }
        let answer = match obey(word.trim(), demo) {
            Ok(()) => "done".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        // A suite that has gone away meanwhile needs no answer.
        let _ = writeln!(connection, "{answer}");
    }
}

fn obey(word: &str, demo: &Mutex<Demo>) -> Result<()> {
    if word != "reboot" {
        bail!("pynfs asks for `{word}`, which isn't known here");
    }
    let mut demo = demo.lock().unwrap_or_else(PoisonError::into_inner);
    // As by a loss of power: nothing is said to it.
    demo.end()?;
    demo.process = begin(&demo.program, &demo.state, &demo.addresses, demo.lease)?;
    Ok(())
}

/// The other end: what pynfs runs as a program.
pub fn ask_for_restart(control: SocketAddr, word: &str) -> Result<()> {
    let mut connection = TcpStream::connect(control)?;
    writeln!(connection, "{word}")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    match answer.trim() {
        "done" => Ok(()),
        "" => bail!("the runner is gone"),
        failure => bail!("{failure}"),
    }
}

/// Starts the demo and waits until it serves.
fn begin(program: &Path, state: &Path, addresses: &[SocketAddr], lease: u32) -> Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(state.join("headrace.log"))?;
    let mut command = Command::new(program);
    command
        .args(["demo", "--delegations", "--log-level", "warn", "--data-dir"])
        .arg(state.join("data"))
        .args(["--lease-seconds", &lease.to_string()])
        .args(["--listen", &addresses[0].to_string()]);
    for address in &addresses[1..] {
        command.args(["--data-listen", &address.to_string()]);
    }
    let mut process = command
        .stdout(Stdio::piped())
        .stderr(log.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let said = process.stdout.take().context("its output is a pipe")?;
    let mut lines = BufReader::new(said).lines();
    if !lines.any(|line| line.is_ok_and(|line| line.starts_with("ready:"))) {
        process.wait()?;
        bail!(
            "the demo did not start; see {}",
            state.join("headrace.log").display()
        );
    }
    let mut log = log;
    thread::spawn(move || {
        for line in lines.map_while(std::io::Result::ok) {
            if writeln!(log, "{line}").is_err() {
                return;
            }
        }
    });
    Ok(process)
}

/// On an address of our own: a port that a restart gives up for a moment is nobody else's then.
fn free_addresses(count: usize) -> Result<Vec<SocketAddr>> {
    let [.., b, c] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, 77, b, c.clamp(2, 254));
    // Kept until all are found, so that no two are the same.
    let listeners = (0..count)
        .map(|_| TcpListener::bind((own, 0)))
        .collect::<std::io::Result<Vec<_>>>()?;
    Ok(listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<std::io::Result<_>>()?)
}
