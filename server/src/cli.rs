//! What can be typed after `headrace`: commands, options, their help, completions and man pages.
//! Never here: doing any of it.

use clap::builder::RangedU64ValueParser;
use clap::error::ErrorKind;
use clap::{ArgGroup, Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A parallel NFS server: `mount -t nfs4` for names, NVMe data servers for bytes.
#[derive(Debug, Parser)]
#[command(
    name = "headrace",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  headrace demo --data-dir /tmp/headrace --listen 127.0.0.1:2049
          Try it: a metadata server and three data servers in one process.
  headrace check /etc/headrace/mds.toml
          Validate a configuration and prove each data server that it names.
  headrace mds --config /etc/headrace/mds.toml
          Run the metadata server."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    #[command(flatten)]
    pub log: LogArgs,
}

/// How much is logged to standard error, and how.
#[derive(Debug, Clone, Copy, Args)]
pub struct LogArgs {
    /// Form of the log [default: what the configuration says, else human]
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormatArg>,

    /// The least serious event to log; HEADRACE_LOG can say it by module [default: what the
    /// configuration says, else info]
    #[arg(long, global = true, value_enum, value_name = "LEVEL")]
    pub log_level: Option<LogLevelArg>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormatArg {
    /// For people
    Human,
    /// One JSON object a line
    Json,
}

impl From<LogFormatArg> for config::LogFormat {
    fn from(arg: LogFormatArg) -> Self {
        match arg {
            LogFormatArg::Human => Self::Human,
            LogFormatArg::Json => Self::Json,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevelArg {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<LogLevelArg> for config::LogLevel {
    fn from(arg: LogLevelArg) -> Self {
        match arg {
            LogLevelArg::Error => Self::Error,
            LogLevelArg::Warn => Self::Warn,
            LogLevelArg::Info => Self::Info,
            LogLevelArg::Debug => Self::Debug,
            LogLevelArg::Trace => Self::Trace,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the metadata server, in the foreground
    #[command(after_help = "\
SIGTERM finishes what is under way and exits 0. SIGHUP reads the file again, obeys what can change
without a restart, and names what can't. Every key: docs/CONFIG.md.

Examples:
  headrace mds --config /etc/headrace/mds.toml
  headrace mds --config mds.toml --log-level debug")]
    Mds(DaemonArgs),

    /// Run a data server, in the foreground
    #[command(after_help = "\
It needs no root: any user who owns the data folder. SIGTERM finishes what is under way and exits 0.

Examples:
  headrace ds --config /etc/headrace/ds.toml
  systemd-run --user headrace ds --config ds.toml --log-format json")]
    Ds(DaemonArgs),

    /// Run a metadata server and data servers in one process on one folder, to try it out
    #[command(after_help = "\
What is written is there again when it is started on the same folder with as many data servers.
Root is not squashed. It prints the mount command when it is ready to serve.

Examples:
  headrace demo --data-dir /tmp/headrace --listen 127.0.0.1:2049
  headrace demo --data-dir /tmp/headrace --listen 10.0.0.2:2049 --data-servers 4
  headrace demo --data-dir /tmp/headrace --listen 10.0.0.2:2049 \\
          --data-listen 10.0.0.3:2049 --data-listen 10.0.0.4:2049
  headrace demo --data-dir /tmp/headrace --listen 127.0.0.1:2049 --lease-seconds 10
  headrace demo --data-dir /tmp/headrace --listen 127.0.0.1:2049 --delegations")]
    Demo(DemoArgs),

    /// Validate a configuration and prove each data server by trying
    #[command(after_help = "\
Tells every fault of the file at once. Then asks each data server: can it be reached, may its files
be given other owners, is an old owner refused, does a reader only read, is a guarded change refused,
do the clocks agree. A data server may be asked while it is in use; nothing of the trial is left.

Exit code: 0 all is well, 1 a data server isn't fit, 2 the file has faults.

Run on the metadata server's host it asks as the metadata server will; whether a client's root is
refused can only be asked from a client, with --as-client. With --over-restart it waits until you have
restarted each data server, and sees whether filehandles outlive that. Of a data server's configuration
it tries the folder.

Examples:
  headrace check /etc/headrace/mds.toml
  headrace check --as-client mds.toml
  headrace check --over-restart 300 mds.toml
  headrace check /etc/headrace/ds.toml")]
    Check {
        /// Configuration of a metadata server or of a data server
        #[arg(value_name = "CONFIG")]
        config: PathBuf,

        /// Ask as a client does, from a client's host: is its root refused
        #[arg(long)]
        as_client: bool,

        /// Wait so long for each data server to be restarted meanwhile: do filehandles outlive it
        #[arg(long, value_name = "SECONDS", conflicts_with = "as_client",
              value_parser = RangedU64ValueParser::<u64>::new().range(1..=3600))]
        over_restart: Option<u64>,
    },

    /// Ask a metadata server that runs on this host
    #[command(after_help = "\
It answers its own user and root, by a socket in its `state_dir`.

Examples:
  headrace ctl --state-dir /var/lib/headrace backends
  headrace ctl --state-dir /var/lib/headrace backends --json
  headrace ctl --state-dir /var/lib/headrace scan pause filer1")]
    Ctl {
        /// The folder that `state_dir` names in the configuration
        #[arg(long, value_name = "DIR")]
        state_dir: PathBuf,

        #[command(subcommand)]
        question: Question,
    },

    /// Look for faults in a catalog, while no metadata server uses it
    #[command(after_help = "\
Changes nothing.

Exit code: 0 there are none, 1 there are some or it can't be opened.

Examples:
  headrace fsck --state-dir /var/lib/headrace")]
    Fsck {
        /// The folder that `state_dir` names in the configuration
        #[arg(long, value_name = "DIR")]
        state_dir: PathBuf,
    },

    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  headrace completions bash > /etc/bash_completion.d/headrace
  headrace completions zsh > ~/.zfunc/_headrace
  headrace completions fish > ~/.config/fish/completions/headrace.fish")]
    Completions {
        #[arg(value_enum)]
        shell: Shell,
    },

    /// Print the man page, or write one for each command
    #[command(after_help = "\
Examples:
  headrace man | man -l -
  headrace man --out /usr/local/share/man/man1")]
    Man {
        /// Folder to write headrace.1, headrace-mds.1 and so on to
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub enum Question {
    /// How data servers and backends do: state, space, calls and their latency, bytes by their way
    #[command(after_help = "\
P50, P99: half of a backend's calls, and 99 of 100, took no longer. LATER: calls that are to come again; FAILED: for
good. DIRECT: layouts by which clients read past this server. READ, WRITTEN: bytes that passed it. UNSENT: bytes
that wait on this host for a COMMIT, and for how long the oldest of them has. SCAN: how the scan of an assimilated
backend does, the folders that it knows and hasn't looked into, and what it has taken in.")]
    Backends {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },

    /// Pause the scan of an assimilated backend, or let it go on: folders that clients ask for are taken in all the same
    Scan {
        what: ScanOrder,
        /// The backend's name
        backend: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScanOrder {
    Pause,
    Resume,
}

#[derive(Debug, Args)]
pub struct DaemonArgs {
    /// Its configuration, in TOML
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("where").args(["data_listen", "data_servers"]))]
pub struct DemoArgs {
    /// Folder for all data; it is made when it isn't there
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,

    /// Where the metadata server listens; clients are told this address
    #[arg(long, value_name = "ADDR:PORT", value_parser = reachable)]
    pub listen: SocketAddr,

    /// Where a data server listens; repeated for each. Clients are told these addresses
    #[arg(long, value_name = "ADDR:PORT", value_parser = reachable)]
    pub data_listen: Vec<SocketAddr>,

    /// So many data servers, on the ports after the metadata server's
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=24))]
    pub data_servers: usize,

    /// How long a client may be silent before it loses its locks
    #[arg(long, value_name = "S", default_value_t = 90,
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=3600))]
    pub lease_seconds: u64,

    /// How long after a restart clients may take back their locks [default: the lease]
    #[arg(long, value_name = "S",
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=3600))]
    pub grace_seconds: Option<u64>,

    /// Let clients manage by themselves files and folders that nobody else uses
    #[arg(long)]
    pub delegations: bool,

    /// Serve clients that have nothing newer by NFSv3 too, without locks
    #[arg(long)]
    pub nfsv3: bool,

    /// Where /metrics and /healthz are served [default: nowhere]
    #[arg(long, value_name = "ADDR:PORT")]
    pub metrics_listen: Option<SocketAddr>,
}

/// An address that others can be told.
fn reachable(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "expected an IP address and a port, such as 10.0.0.2:2049".to_owned())?;
    if address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err(format!(
            "clients are told this address, and {} is nobody's: name one of this machine's that they can reach, such as 10.0.0.2:{}",
            address.ip(),
            address.port()
        ));
    }
    Ok(address)
}

impl Cli {
    /// A command line, the program's name first, that can be obeyed as far as it alone tells.
    pub fn of(
        words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let cli = Self::try_parse_from(words)?;
        if let Command::Demo(demo) = &cli.command {
            demo.check()
                .map_err(|why| Self::command().error(ErrorKind::ValueValidation, why))?;
        }
        Ok(cli)
    }
}

impl DemoArgs {
    /// What each option by itself doesn't show.
    fn check(&self) -> Result<(), String> {
        match self.grace_seconds {
            Some(grace) if grace < self.lease_seconds => Err(format!(
                "--grace-seconds {grace} is shorter than the lease of {} s: a client that is silent for a lease would lose its locks; give it at least {}",
                self.lease_seconds, self.lease_seconds
            )),
            _ => Ok(()),
        }
    }

    /// Where each data server listens.
    pub fn data_addresses(&self) -> Result<Vec<SocketAddr>, String> {
        if !self.data_listen.is_empty() {
            return Ok(self.data_listen.clone());
        }
        (1..=self.data_servers)
            .map(|offset| {
                // Port 0 leaves the choice to the kernel, for each of them.
                let port = match self.listen.port() {
                    0 => Some(0),
                    port => u16::try_from(offset)
                        .ok()
                        .and_then(|offset| port.checked_add(offset)),
                };
                port.map(|port| SocketAddr::new(self.listen.ip(), port))
                    .ok_or_else(|| {
                        format!(
                            "no {} ports are left above {}: name them with --data-listen",
                            self.data_servers,
                            self.listen.port()
                        )
                    })
            })
            .collect()
    }
}

/// Writes completions for `shell`.
pub fn write_completions(shell: Shell, to: &mut dyn Write) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "headrace", &mut script);
    to.write_all(&script)
}

/// Writes the man page of `headrace` itself.
pub fn write_man_page(to: &mut dyn Write) -> io::Result<()> {
    clap_mangen::Man::new(Cli::command()).render(to)
}

/// Writes a man page for `headrace` and for each command into a folder, which is made if need be.
pub fn write_man_pages(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::of(line.split_whitespace())
    }

    fn demo(line: &str) -> DemoArgs {
        match parse(line).expect("a good command line").command {
            Command::Demo(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_commands_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples_in_its_help() {
        let mut cli = Cli::command();
        cli.build();
        for command in cli.get_subcommands_mut() {
            if command.get_name() != "help" {
                let help = command.render_long_help().to_string();
                assert!(help.contains("Examples:"), "{help}");
            }
        }
        assert!(cli.render_long_help().to_string().contains("Examples:"));
    }

    #[test]
    fn every_example_of_the_help_can_be_typed() {
        let mut cli = Cli::command();
        cli.build();
        let mut tried = 0;
        let mut helps = vec![cli.render_long_help().to_string()];
        helps.extend(
            cli.get_subcommands_mut()
                .map(|command| command.render_long_help().to_string()),
        );
        for help in helps {
            let examples = help.split("Examples:").nth(1).unwrap_or("");
            let joined = examples.replace("\\\n", " ");
            for line in joined.lines().filter(|line| line.contains("headrace ")) {
                let from = line.find("headrace ").expect("filtered for it");
                let typed = line[from..].split(['|', '>']).next().expect("a first part");
                parse(typed).unwrap_or_else(|error| panic!("{typed}: {error}"));
                tried += 1;
            }
        }
        assert!(tried >= 14, "only {tried} examples");
    }

    #[test]
    fn the_first_page_lists_the_commands() {
        let help = Cli::command().render_help().to_string();
        let commands: Vec<&str> = help
            .lines()
            .skip_while(|line| *line != "Commands:")
            .skip(1)
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        assert_eq!(
            commands,
            [
                "mds",
                "ds",
                "demo",
                "check",
                "ctl",
                "fsck",
                "completions",
                "man",
                "help"
            ]
        );
    }

    #[test]
    fn a_demo_has_three_data_servers_beside_the_metadata_server() {
        let args = demo("headrace demo --data-dir /d --listen 127.0.0.1:2049");
        let addresses = args.data_addresses().expect("ports are left");
        let ports: Vec<u16> = addresses.iter().map(SocketAddr::port).collect();
        assert_eq!(ports, [2050, 2051, 2052]);
        assert_eq!((args.lease_seconds, args.grace_seconds), (90, None));
    }

    #[test]
    fn a_demo_gives_delegations_only_when_it_is_told_to() {
        let plain = "headrace demo --data-dir /d --listen 127.0.0.1:2049";
        assert!(!demo(plain).delegations);
        assert!(demo(&format!("{plain} --delegations")).delegations);
    }

    #[test]
    fn a_demo_takes_an_address_for_each_data_server() {
        let args = demo(
            "headrace demo --data-dir /d --listen 10.0.0.2:2049 \
             --data-listen 10.0.0.3:2049 --data-listen [fd00::4]:2049",
        );
        let expected: Vec<SocketAddr> = vec![
            "10.0.0.3:2049".parse().expect("an address"),
            "[fd00::4]:2049".parse().expect("an address"),
        ];
        assert_eq!(args.data_addresses(), Ok(expected));
    }

    #[test]
    fn a_demo_takes_addresses_or_a_number_of_data_servers_and_not_both() {
        let error = parse(
            "headrace demo --data-dir /d --listen 10.0.0.2:2049 \
             --data-listen 10.0.0.3:2049 --data-servers 2",
        )
        .expect_err("both are given");
        assert_eq!(error.kind(), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn a_demo_without_ports_left_says_what_to_do() {
        let args = demo("headrace demo --data-dir /d --listen 127.0.0.1:65534");
        let said = args.data_addresses().expect_err("two ports are missing");
        assert!(said.contains("--data-listen"), "{said}");
    }

    #[test]
    fn impossible_options_are_refused_with_exit_code_2() {
        for line in [
            "headrace demo --data-dir /d --listen localhost",
            "headrace demo --data-dir /d --listen 127.0.0.1:2049 --data-servers 0",
            "headrace demo --data-dir /d --listen 127.0.0.1:2049 --lease-seconds 0",
            "headrace demo --data-dir /d --listen 127.0.0.1:2049 --grace-seconds 30",
            "headrace mds",
            "headrace serve",
            "headrace mds --config a --log-level loud",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn a_demo_takes_no_address_that_clients_can_not_be_told() {
        for line in [
            "headrace demo --data-dir /d --listen 0.0.0.0:2049",
            "headrace demo --data-dir /d --listen [::]:2049",
            "headrace demo --data-dir /d --listen 10.0.0.2:2049 --data-listen 0.0.0.0:2050",
        ] {
            let error = parse(line).expect_err(line);
            let said = error.to_string();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(said.contains("name one of this machine's"), "{said}");
        }
    }

    #[test]
    fn a_demo_whose_grace_is_shorter_than_its_lease_is_refused_as_in_a_configuration() {
        let short = "headrace demo --data-dir /d --listen 127.0.0.1:2049 --lease-seconds 10 --grace-seconds 9";
        let said = parse(short).expect_err("it is shorter").to_string();
        assert!(said.contains("at least 10"), "{said}");
        let enough = demo(
            "headrace demo --data-dir /d --listen 127.0.0.1:2049 --lease-seconds 10 --grace-seconds 10",
        );
        assert_eq!(enough.grace_seconds, Some(10));
    }

    #[test]
    fn the_log_options_may_stand_after_the_command() {
        let cli = parse("headrace mds --config a --log-format json --log-level debug")
            .expect("a good command line");
        assert_eq!(cli.log.log_format, Some(LogFormatArg::Json));
        assert_eq!(cli.log.log_level, Some(LogLevelArg::Debug));
    }

    #[test]
    fn completions_know_the_options_in_every_shell() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            write_completions(*shell, &mut script).expect("memory takes everything");
            let script = String::from_utf8(script).expect("a script is text");
            assert!(script.contains("data-listen"), "{shell}");
        }
    }

    #[test]
    fn there_is_a_man_page_for_each_command() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pages = folder.path().join("man1");
        write_man_pages(&pages).expect("pages are written");
        let mut names: Vec<String> = std::fs::read_dir(&pages)
            .expect("the folder was made")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "headrace-check.1",
                "headrace-completions.1",
                "headrace-ctl-backends.1",
                "headrace-ctl-scan.1",
                "headrace-ctl.1",
                "headrace-demo.1",
                "headrace-ds.1",
                "headrace-fsck.1",
                "headrace-man.1",
                "headrace-mds.1",
                "headrace.1",
            ]
        );
        let demo = std::fs::read_to_string(pages.join("headrace-demo.1")).expect("it is there");
        assert!(demo.contains("lease\\-seconds"), "{demo}");
        let mut first = Vec::new();
        write_man_page(&mut first).expect("memory takes everything");
        assert!(!first.is_empty());
    }
}
