//! Headrace's own processes: start, wait until they serve, kill -9, start again with the same words.
//! Knows command lines and log files; nothing of the protocol.

use std::fmt::Write;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::clock;
use super::command;
use super::guest::last_lines;
use super::net::{self, DS_PORT, MDS, MDS_PORT};

pub const METRICS: SocketAddrV4 = SocketAddrV4::new(MDS, 9090);

/// One export of everything to everybody, of which clients are given files and folders to manage by themselves.
pub const DELEGATING: &str = r#"
[[export]]
path = "/"
clients = "10.99.0.0/24"
squash = "none"
file_delegations = "write"
folder_delegations = "on"
"#;

/// Where data server `index` of a [`Split`] answers /metrics.
pub fn data_server_metrics(index: u8) -> SocketAddrV4 {
    SocketAddrV4::new(net::data_server(index), 9650)
}

const START_LIMIT: Duration = Duration::from_secs(30);

/// How a process is known to serve.
#[derive(Clone, Copy, Debug)]
pub enum Serves {
    /// It takes connections there.
    At(SocketAddrV4),
    /// It says so, as to a supervisor. A connection would not tell it from the one before it: what a killed one
    /// listened on goes a moment after it.
    WhenItSays,
}

/// A process that can be killed and started again.
pub struct Server {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    serves: Serves,
    log: PathBuf,
    child: Option<Child>,
    /// Where it says that it serves.
    notices: Option<UnixDatagram>,
    /// As whom it runs, when not as ourselves: with no capability at all.
    user: Option<u32>,
    environment: Vec<(&'static str, &'static str)>,
    failpoint: Option<String>,
}

impl Server {
    /// Describes a server; it runs after [`Server::start`].
    pub fn new(
        name: &str,
        program: &Path,
        arguments: Vec<String>,
        serves: Serves,
        state: &Path,
    ) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            arguments,
            serves,
            log: state.join(format!("{name}.log")),
            child: None,
            notices: None,
            user: None,
            environment: Vec::new(),
            failpoint: None,
        }
    }

    /// From its next start on.
    pub fn give(&mut self, environment: &[(&'static str, &'static str)]) {
        self.environment.extend_from_slice(environment);
    }

    #[must_use]
    pub fn run_by(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    /// Starts it and waits until it serves.
    pub fn start(&mut self) -> Result<()> {
        self.start_without_waiting()?;
        self.wait_until_it_serves()
    }

    /// Starts it so that it kills itself at a step of its catalog: `before-sync:12`.
    pub fn start_to_die_at(&mut self, failpoint: &str) -> Result<()> {
        self.failpoint = Some(failpoint.to_owned());
        let started = self.start_without_waiting();
        self.failpoint = None;
        started
    }

    /// Waits until it has killed itself.
    pub fn wait_until_it_dies(&mut self, limit: Duration) -> Result<()> {
        let mut child = self.child.take().context("it does not run")?;
        let died = clock::wait_for(format!("the death of {}", self.name), limit, || {
            Ok(child.try_wait()?)
        });
        if died.is_err() {
            self.child = Some(child);
        }
        let status = died?;
        if status.signal() != Some(9) {
            bail!("{} ended with {status}:\n{}", self.name, tail(&self.log));
        }
        Ok(())
    }

    /// Has it read its file again.
    pub fn reload(&mut self) -> Result<()> {
        let child = self.child.as_ref().context("it does not run")?;
        command::run("kill", &["-HUP", &child.id().to_string()])?;
        Ok(())
    }

    /// Stops it between two instructions, in memory and with its sockets open, until it is killed.
    pub fn freeze(&mut self) -> Result<()> {
        let child = self.child.as_ref().context("it does not run")?;
        command::run("kill", &["-STOP", &child.id().to_string()])?;
        Ok(())
    }

    pub fn start_without_waiting(&mut self) -> Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("opening {}", self.log.display()))?;
        let mut command = match self.user {
            None => Command::new(&self.program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command
                    .arg(format!("--reuid={user}"))
                    .arg(format!("--regid={user}"))
                    .args(["--clear-groups", "--no-new-privs", "--bounding-set=-all"])
                    .args(["--inh-caps=-all", "--"])
                    .arg(&self.program);
                command
            }
        };
        if let Some(failpoint) = &self.failpoint {
            command.env("HEADRACE_FAILPOINT", failpoint);
        }
        if let Serves::WhenItSays = self.serves {
            let place = PathBuf::from(format!("/run/notices-of-{}", self.name));
            self.notices = Some(listen_for_notices(&place)?);
            command.env("NOTIFY_SOCKET", place);
        }
        let child = command
            .args(&self.arguments)
            .envs(self.environment.iter().copied())
            .env("PATH", command::path_with_sbin())
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("log file")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    fn wait_until_it_serves(&mut self) -> Result<()> {
        let up = clock::wait_for(format!("{} serves", self.name), START_LIMIT, || {
            self.still_runs()?;
            Ok(self.serves_now().then_some(()))
        });
        up.with_context(|| format!("last lines of {}:\n{}", self.log.display(), tail(&self.log)))
    }

    fn serves_now(&self) -> bool {
        match (self.serves, &self.notices) {
            (Serves::At(address), _) => {
                TcpStream::connect_timeout(&address.into(), Duration::from_secs(1)).is_ok()
            }
            (Serves::WhenItSays, Some(notices)) => {
                let mut notice = [0; 4096];
                std::iter::from_fn(|| {
                    notices.recv(&mut notice).ok().map(|length| {
                        notice[..length]
                            .split(|byte| *byte == b'\n')
                            .any(|line| line == b"READY=1")
                    })
                })
                .any(|ready| ready)
            }
            (Serves::WhenItSays, None) => false,
        }
    }

    /// Ends it between two instructions.
    pub fn kill9(&mut self) -> Result<()> {
        let mut child = self.child.take().context("it does not run")?;
        if let Some(status) = child.try_wait()? {
            bail!(
                "{} ended by itself with {status}:\n{}",
                self.name,
                tail(&self.log)
            );
        }
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Asks it to end (SIGTERM); it must do so with status 0.
    pub fn stop(&mut self, limit: Duration) -> Result<()> {
        let mut child = self.child.take().context("it does not run")?;
        command::run("kill", &["-TERM", &child.id().to_string()])?;
        let status = clock::wait_for(format!("the end of {}", self.name), limit, || {
            Ok(child.try_wait()?)
        });
        if status.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let status = status?;
        if !status.success() {
            bail!(
                "{} ended with {status} after SIGTERM:\n{}",
                self.name,
                tail(&self.log)
            );
        }
        Ok(())
    }

    /// The most memory that it had at once.
    pub fn peak_memory_bytes(&self) -> Result<u64> {
        let child = self.child.as_ref().context("it does not run")?;
        let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(peak.context("no VmHWM")? * 1024)
    }

    /// Fails, with its last words, when it has ended by itself.
    pub fn still_runs(&mut self) -> Result<()> {
        if let Some(child) = self.child.as_mut()
            && let Some(status) = child.try_wait()?
        {
            bail!(
                "{} ended by itself with {status}:\n{}",
                self.name,
                tail(&self.log)
            );
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = self.child.as_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A socket as a supervisor has it (sd_notify), open to any account.
fn listen_for_notices(place: &Path) -> Result<UnixDatagram> {
    // Of the start before.
    let _ = fs::remove_file(place);
    let notices =
        UnixDatagram::bind(place).with_context(|| format!("binding {}", place.display()))?;
    notices.set_nonblocking(true)?;
    fs::set_permissions(place, fs::Permissions::from_mode(0o666))?;
    Ok(notices)
}

fn tail(log: &Path) -> String {
    last_lines(&fs::read_to_string(log).unwrap_or_default(), 30)
}

/// How `headrace demo` is started.
#[derive(Clone, Copy, Debug)]
pub struct DemoOptions {
    pub data_servers: u8,
    pub lease_seconds: u32,
    pub grace_seconds: u32,
    pub nfsv3: bool,
}

impl Default for DemoOptions {
    fn default() -> Self {
        Self {
            data_servers: 3,
            lease_seconds: 10,
            grace_seconds: 10,
            nfsv3: false,
        }
    }
}

/// `headrace demo`: metadata server and data servers in one process, each with an address of its own.
pub fn demo(program: &Path, state: &Path, options: DemoOptions) -> Result<Server> {
    let data = state.join("data");
    fs::create_dir_all(&data).with_context(|| format!("creating {}", data.display()))?;
    let mut arguments = vec![
        "demo".to_owned(),
        "--data-dir".to_owned(),
        data.display().to_string(),
        "--listen".to_owned(),
        format!("{MDS}:{MDS_PORT}"),
        "--metrics-listen".to_owned(),
        METRICS.to_string(),
        "--lease-seconds".to_owned(),
        options.lease_seconds.to_string(),
        "--grace-seconds".to_owned(),
        options.grace_seconds.to_string(),
    ];
    if options.nfsv3 {
        arguments.push("--nfsv3".to_owned());
    }
    for index in 0..options.data_servers {
        arguments.push("--data-listen".to_owned());
        arguments.push(format!("{}:{DS_PORT}", net::data_server(index)));
    }
    let mut server = Server::new("headrace", program, arguments, Serves::WhenItSays, state);
    server.start()?;
    Ok(server)
}

/// A metadata server and data servers as processes of their own, by configuration files.
pub struct Split {
    pub mds: Server,
    pub data_servers: Vec<Server>,
    /// The metadata server's file, and what it says before its exports.
    file: PathBuf,
    head: String,
}

impl Split {
    /// Other `[[export]]` tables, from the metadata server's next start or reload on.
    pub fn export(&self, exports: &str) -> Result<()> {
        fs::write(&self.file, format!("{}{exports}", self.head))
            .with_context(|| format!("writing {}", self.file.display()))
    }
}

/// What the metadata server's file says beside its data servers.
#[derive(Clone, Debug, Default)]
pub struct SplitOptions {
    pub own_data_servers: u8,
    /// Whole `[[data_server]]` tables of servers that are not ours.
    pub foreign: String,
    /// Whole `[[export]]` tables; empty: one export of everything to everybody, root not squashed.
    pub exports: String,
    pub lease_seconds: u32,
    pub grace_seconds: u32,
    /// `None`: as long as the lease.
    pub delegation_recall_seconds: Option<u32>,
    pub nfsv3: bool,
    /// Whole `[[backend]]` tables of what data server 0 caches.
    pub cached: String,
    /// Of the metadata server, and of a data server that caches.
    pub environment: Vec<(&'static str, &'static str)>,
}

pub fn split(program: &Path, state: &Path, options: &SplitOptions) -> Result<Split> {
    let mut data_servers = Vec::new();
    let mut listed = String::new();
    for index in 0..options.own_data_servers {
        let address = net::data_server(index);
        let server = if index == 0 && !options.cached.is_empty() {
            caching_data_server(program, state, index, address, options)?
        } else {
            data_server(program, state, index, address)?
        };
        data_servers.push(server);
        writeln!(
            listed,
            "[[data_server]]\nname = \"ds{index}\"\naddress = \"{address}:{DS_PORT}\"\nexport = \"/data\"\n"
        )?;
    }
    let folder = state.join("mds");
    fs::create_dir_all(&folder)?;
    let exports = if options.exports.is_empty() {
        "[[export]]\npath = \"/\"\nclients = \"10.99.0.0/24\"\nsquash = \"none\"\n"
    } else {
        &options.exports
    };
    let recall = options
        .delegation_recall_seconds
        .map(|seconds| format!("delegation_recall_seconds = {seconds}\n"))
        .unwrap_or_default();
    let head = format!(
        "[server]\nlisten = \"{MDS}:{MDS_PORT}\"\nstate_dir = \"{}\"\nlease_seconds = {}\ngrace_seconds = {}\n{recall}metrics_listen = \"{METRICS}\"\nnfsv3 = \"{}\"\n\n{listed}{}\n",
        folder.display(),
        options.lease_seconds,
        options.grace_seconds,
        if options.nfsv3 { "on" } else { "off" },
        options.foreign,
    );
    let file = state.join("mds.toml");
    let arguments = vec![
        "mds".to_owned(),
        "--config".to_owned(),
        file.display().to_string(),
    ];
    let mut split = Split {
        mds: Server::new("mds", program, arguments, Serves::WhenItSays, state),
        data_servers,
        file,
        head,
    };
    split.export(exports)?;
    split.mds.give(&options.environment);
    split.mds.start()?;
    Ok(split)
}

/// An account of nobody's: a data server needs no privilege.
const DATA_SERVER_USER: u32 = 54_321;

/// A data server of its own, which the metadata server's host may use.
pub fn data_server(program: &Path, state: &Path, index: u8, address: Ipv4Addr) -> Result<Server> {
    data_server_of(program, state, index, address, &own_hosts(address))
}

/// The metadata server reaches an address of its own host from that same address.
fn own_hosts(address: Ipv4Addr) -> String {
    format!("\"{MDS}\", \"{address}\"")
}

/// One that takes `hosts`, quoted as in its configuration, for its metadata servers.
pub fn data_server_of(
    program: &Path,
    state: &Path,
    index: u8,
    address: Ipv4Addr,
    hosts: &str,
) -> Result<Server> {
    let mut server = described_data_server(program, state, index, address, hosts, "")?;
    server.start()?;
    Ok(server)
}

fn caching_data_server(
    program: &Path,
    state: &Path,
    index: u8,
    address: Ipv4Addr,
    options: &SplitOptions,
) -> Result<Server> {
    let hosts = own_hosts(address);
    let mut server =
        described_data_server(program, state, index, address, &hosts, &options.cached)?;
    server.give(&options.environment);
    server.start()?;
    Ok(server)
}

/// With `tables` at the end of its file.
fn described_data_server(
    program: &Path,
    state: &Path,
    index: u8,
    address: Ipv4Addr,
    hosts: &str,
    tables: &str,
) -> Result<Server> {
    // Where its user may go, whatever is above the folders of this run.
    let place = PathBuf::from(format!("/run/ds{index}"));
    let folder = state.join(format!("ds{index}"));
    for new in [&folder, &place] {
        fs::create_dir_all(new).with_context(|| format!("creating {}", new.display()))?;
    }
    let (inside, program_inside) = (place.join("data"), place.join("headrace"));
    fs::create_dir_all(&inside)?;
    // Never over one that is there: another program is bound to it, and would be emptied.
    fs::File::create_new(&program_inside)
        .with_context(|| format!("a second data server {index} in one lab"))?;
    let bind = |from: &Path, to: &Path| {
        let (from, to) = (from.display().to_string(), to.display().to_string());
        command::run("mount", &["--bind", &from, &to])
    };
    bind(&folder, &inside)?;
    bind(program, &program_inside)?;
    std::os::unix::fs::chown(&inside, Some(DATA_SERVER_USER), Some(DATA_SERVER_USER))?;
    let file = place.join("ds.toml");
    fs::write(
        &file,
        format!(
            "[ds]\nlisten = \"{address}:{DS_PORT}\"\ndata_dir = \"{}\"\nexport = \"/data\"\nmds = [{hosts}]\nmetrics_listen = \"{}\"\n\n{tables}",
            inside.display(),
            data_server_metrics(index),
        ),
    )?;
    let arguments = vec![
        "ds".to_owned(),
        "--config".to_owned(),
        file.display().to_string(),
    ];
    Ok(Server::new(
        &format!("ds{index}"),
        &program_inside,
        arguments,
        Serves::WhenItSays,
        state,
    )
    .run_by(DATA_SERVER_USER))
}
