//! One guest: a Linux kernel running as a process (User-Mode Linux), with an address on the sandbox's bridge.
//! Scripts are sent to it one by one and run side by side; its console is kept in a file and watched for faults.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::clock;
use super::command;
use super::kernels::Kernel;
use super::net::Net;

const BOOT_LIMIT: Duration = Duration::from_mins(2);
const TAIL_LINES: usize = 60;

/// What a guest is booted with.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub name: String,
    pub kernel: Kernel,
    pub address: Ipv4Addr,
    pub memory_mib: u32,
    /// Comma-separated.
    pub modules: String,
    /// Holds `guest/init.sh`.
    pub init: PathBuf,
    /// Where the guest's folder and its console log go.
    pub state: PathBuf,
    /// Programs built for tests; the guest finds them under /run/cache.
    pub cache: PathBuf,
}

#[derive(Clone, Debug)]
pub struct Output {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn succeeded(&self) -> bool {
        self.status == 0
    }
}

/// A script that runs in the guest.
#[derive(Debug)]
#[must_use = "a script's result tells whether it worked"]
pub struct Job {
    id: String,
    what: String,
}

impl Job {
    /// A script that is known by its place in a list.
    pub fn numbered(index: usize, script: &str) -> Self {
        Self {
            id: index.to_string(),
            what: shortened(script),
        }
    }

    pub fn number(&self) -> Option<usize> {
        self.id.parse().ok()
    }

    pub fn what(&self) -> &str {
        &self.what
    }
}

pub struct Guest {
    recipe: Recipe,
    child: Child,
    stdin: ChildStdin,
    console: Arc<Console>,
    release: String,
    next_job: u32,
    shared: PathBuf,
}

#[derive(Default)]
struct Console {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    ready: Option<String>,
    ended: bool,
    done: HashMap<String, i32>,
    faults: Vec<String>,
    warnings: Vec<String>,
    tail: VecDeque<String>,
}

impl Console {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn wait<T>(&self, limit: Duration, mut test: impl FnMut(&mut Seen) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut seen = self.lock();
        loop {
            if let Some(found) = test(&mut seen) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            seen = self
                .changed
                .wait_timeout(seen, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(seen, _)| seen);
        }
    }
}

impl Guest {
    /// Boots a kernel and waits until its interface is up and its modules are loaded.
    pub fn boot(recipe: &Recipe, net: &Net) -> Result<Self> {
        let tap = format!("tap-{}", recipe.name);
        net.tap(&tap)?;
        let shared = recipe.state.join(format!("guest-{}", recipe.name));
        fs::create_dir_all(&shared).with_context(|| format!("creating {}", shared.display()))?;
        let log_path = recipe.state.join(format!("console-{}.log", recipe.name));
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log_path)
            .with_context(|| format!("opening {}", log_path.display()))?;
        let mut child = Command::new(&recipe.kernel.program)
            .arg(format!("mem={}M", recipe.memory_mib))
            .args(["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"])
            .args(["con=null", "con0=fd:0,fd:1", "quiet", "panic=-1"])
            .arg("uml_dir=/run/uml")
            .arg(format!("umid={}", recipe.name))
            // It receives by a raw socket on the tap: the tap itself sends SIGIO before its epoll has the packet, and a
            // guest that looks in between sees none until the peer sends it again, 200 ms later.
            .arg(format!(
                "vec0:transport=hybrid,ifname={tap},depth=128,gro=1,mac={}",
                mac(recipe.address)
            ))
            .arg(format!("init={}", recipe.init.display()))
            .arg(format!("modroot={}", recipe.kernel.modules.display()))
            .arg(format!("shared={}", shared.display()))
            .arg(format!("cache={}", recipe.cache.display()))
            .arg(format!("caddr={}", recipe.address))
            .arg(format!("name={}", recipe.name))
            .arg(format!("modules={}", recipe.modules))
            .env("TMPDIR", "/run/uml")
            .env("PATH", command::path_with_sbin())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.try_clone().context("console log")?)
            // Its helper processes are killed with it, as one group.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", recipe.kernel.program.display()))?;
        let stdin = child.stdin.take().context("the guest's console input")?;
        let stdout = child.stdout.take().context("the guest's console output")?;
        let console = Arc::new(Console::default());
        let watcher = Arc::clone(&console);
        thread::spawn(move || watch(stdout, log, &watcher));
        let mut guest = Self {
            recipe: recipe.clone(),
            child,
            stdin,
            console,
            release: String::new(),
            next_job: 0,
            shared,
        };
        guest.release = guest.wait_until_up()?;
        Ok(guest)
    }

    fn wait_until_up(&self) -> Result<String> {
        let up = self.console.wait(BOOT_LIMIT, |seen| {
            if seen.ended || !seen.faults.is_empty() {
                return Some(None);
            }
            seen.ready.clone().map(Some)
        });
        up.flatten()
            .ok_or_else(|| self.fault("the guest did not come up"))
    }

    pub fn name(&self) -> &str {
        &self.recipe.name
    }

    pub fn release(&self) -> &str {
        &self.release
    }

    pub fn address(&self) -> Ipv4Addr {
        self.recipe.address
    }

    /// The host folder that the guest sees as /run/shared.
    pub fn shared(&self) -> &Path {
        &self.shared
    }

    /// Starts a shell script in the guest and returns at once.
    pub fn spawn(&mut self, script: &str) -> Result<Job> {
        self.next_job += 1;
        let id = format!("{}-{}", self.child.id(), self.next_job);
        let file = self.shared.join(format!("{id}.sh"));
        fs::write(&file, script).with_context(|| format!("writing {}", file.display()))?;
        self.tell(&format!("run {id}"))?;
        Ok(Job {
            id,
            what: shortened(script),
        })
    }

    /// Waits until a script ended. A script that takes longer than `limit` is killed, and is a fault.
    pub fn wait(&mut self, job: &Job, limit: Duration) -> Result<Output> {
        let status = self.console.wait(limit, |seen| {
            if let Some(status) = seen.done.get(&job.id) {
                return Some(Some(*status));
            }
            (seen.ended || !seen.faults.is_empty()).then_some(None)
        });
        match status {
            Some(Some(status)) => Ok(Output {
                status,
                stdout: self.read(&job.id, "out")?,
                stderr: self.read(&job.id, "err")?,
            }),
            Some(None) => Err(self.fault(&format!("the guest broke down during: {}", job.what))),
            None => {
                self.tell("stuck")?;
                clock::let_pass(Duration::from_secs(2));
                self.tell(&format!("kill {}", job.id))?;
                let so_far = self.read(&job.id, "out").unwrap_or_default();
                Err(self.fault(&format!(
                    "not done within {} s: {}\nits output so far:\n{}",
                    limit.as_secs(),
                    job.what,
                    last_lines(&so_far, 20)
                )))
            }
        }
    }

    /// Whether a script has ended.
    pub fn is_done(&self, job: &Job) -> bool {
        self.console.lock().done.contains_key(&job.id)
    }

    /// Runs a script to its end, whatever its status.
    pub fn run(&mut self, script: &str, limit: Duration) -> Result<Output> {
        let job = self.spawn(script)?;
        self.wait(&job, limit)
    }

    /// Runs a script that must succeed; gives its standard output.
    pub fn sh(&mut self, script: &str, limit: Duration) -> Result<String> {
        let job = self.spawn(script)?;
        self.must(&job, limit)
    }

    /// Waits for a script that must succeed; gives its standard output.
    pub fn must(&mut self, job: &Job, limit: Duration) -> Result<String> {
        let output = self.wait(job, limit)?;
        if output.succeeded() {
            return Ok(output.stdout);
        }
        bail!(
            "client {} (Linux {}): `{}` ended with status {}\n{}{}\nlast lines of its console:\n{}",
            self.name(),
            self.release,
            job.what,
            output.status,
            last_lines(&output.stdout, 20),
            last_lines(&output.stderr, 20),
            self.tail(15)
        )
    }

    /// Kernel warnings seen on the console (a WARN in the client's NFS code is worth knowing even when all held).
    pub fn warnings(&self) -> Vec<String> {
        self.console.lock().warnings.clone()
    }

    /// Ends the guest in order. One that does not go is killed.
    pub fn power_off(mut self) -> Result<()> {
        self.tell("off")?;
        let off = self
            .console
            .wait(Duration::from_secs(20), |seen| seen.ended.then_some(()));
        self.kill_group();
        if off.is_none() {
            bail!("{} did not power off", self.name());
        }
        Ok(())
    }

    /// Stops the kernel between two instructions, until [`Guest::thaw`]. What is sent to it waits.
    pub fn freeze(&mut self) -> Result<()> {
        command::run("kill", &["-STOP", &self.child.id().to_string()])?;
        Ok(())
    }

    pub fn thaw(&mut self) -> Result<()> {
        command::run("kill", &["-CONT", &self.child.id().to_string()])?;
        Ok(())
    }

    /// The client's crash: the kernel stops between two instructions.
    pub fn kill9(mut self) -> Recipe {
        self.kill_group();
        self.recipe.clone()
    }

    fn kill_group(&mut self) {
        let group = format!("-{}", self.child.id());
        // A group that is gone already is what we want.
        let _ = command::run("kill", &["-9", "--", &group]);
        let _ = self.child.wait();
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let said = writeln!(self.stdin, "{line}").and_then(|()| self.stdin.flush());
        said.map_err(|error| self.fault(&format!("the guest's console is gone: {error}")))
    }

    fn read(&self, id: &str, what: &str) -> Result<String> {
        let file = self.shared.join(format!("{id}.{what}"));
        let bytes = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn tail(&self, lines: usize) -> String {
        let seen = self.console.lock();
        let skip = seen.tail.len().saturating_sub(lines);
        let kept: Vec<&str> = seen.tail.iter().skip(skip).map(String::as_str).collect();
        kept.join("\n")
    }

    fn fault(&self, what: &str) -> anyhow::Error {
        let faults = self.console.lock().faults.join("; ");
        anyhow!(
            "client {} (Linux {}): {what}\n{faults}\nlast lines of its console:\n{}",
            self.name(),
            self.recipe.kernel.release,
            self.tail(TAIL_LINES)
        )
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// A script as an error shows it.
fn shortened(script: &str) -> String {
    const MOST_CHARACTERS: usize = 400;
    let script = script.trim();
    if script.chars().count() <= MOST_CHARACTERS {
        return script.to_owned();
    }
    let start: String = script.chars().take(MOST_CHARACTERS).collect();
    format!("{start} …")
}

/// A hardware address that follows from the IP address, so that a guest that is booted anew is found at once.
fn mac(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let skip = lines.len().saturating_sub(count);
    if lines.is_empty() {
        return String::new();
    }
    format!("    {}\n", lines[skip..].join("\n    "))
}

/// What User-Mode Linux says about its host at each start (and again for each of its processes).
fn is_boot_noise(line: &str) -> bool {
    [
        "Core dump limits",
        "\tsoft -",
        "\thard -",
        "Checking ",
        "Warning: tempdir",
    ]
    .iter()
    .any(|start| line.starts_with(start))
}

fn watch(stdout: impl Read, mut log: File, console: &Console) {
    let mut reader = BufReader::new(stdout);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if is_boot_noise(text) {
            continue;
        }
        // A log that cannot be written must not stop the run.
        let _ = writeln!(log, "[{:8.2}] {text}", clock::elapsed().as_secs_f64());
        note(&mut console.lock(), text);
        console.changed.notify_all();
    }
    console.lock().ended = true;
    console.changed.notify_all();
}

fn note(seen: &mut Seen, text: &str) {
    if let Some(said) = text.strip_prefix("@@") {
        let mut parts = said.splitn(3, ' ');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("ready"), Some(release), _) => seen.ready = Some(release.to_owned()),
            (Some("done"), Some(id), Some(status)) => {
                seen.done
                    .insert(id.to_owned(), status.parse().unwrap_or(-1));
            }
            (Some("fault"), ..) => seen.faults.push(said.to_owned()),
            _ => {}
        }
        return;
    }
    if ["Kernel panic", "Oops", "BUG:", "general protection"]
        .iter()
        .any(|sign| text.contains(sign))
    {
        seen.faults.push(text.to_owned());
    } else if text.contains("WARNING:") {
        seen.warnings.push(text.to_owned());
    }
    if seen.tail.len() == TAIL_LINES {
        seen.tail.pop_front();
    }
    seen.tail.push_back(text.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_on_the_console_is_a_fault() {
        let mut seen = Seen::default();
        note(&mut seen, "Kernel panic - not syncing: x");
        note(&mut seen, "@@done 5-1 3");
        note(&mut seen, "WARNING: CPU: 0 PID: 1 at fs/nfs/x.c:1");
        assert_eq!(seen.faults.len(), 1);
        assert_eq!(seen.done["5-1"], 3);
        assert_eq!(seen.warnings.len(), 1);
    }
}
