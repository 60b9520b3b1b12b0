//! Runs pynfs, a public test suite of the protocol, against a demo. The suite isn't ours and isn't here: the
//! caller says where a built one is. What it is known to get wrong is in a list, each case with its reason.

mod list;
mod results;
mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{fs, io::Write};

use anyhow::{Context, Result, bail};

use crate::interop;
use crate::progress::say;
use crate::shell;
use crate::workspace::{Build, Workspace};
use list::Expected;
use results::Results;
pub use server::ask_for_restart;

#[derive(clap::Args)]
pub struct Options {
    /// Folder of a pynfs that was built (`./setup.py build`)
    #[arg(long, value_name = "DIR")]
    path: PathBuf,
    /// Minor version of NFSv4 to speak
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=2))]
    minor: u32,
    /// Python that has what pynfs needs (`ply`, `xdrlib`)
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: String,
    /// Lease of the server, in seconds: many cases wait for one to end
    #[arg(long, value_name = "S", default_value_t = 10)]
    lease: u32,
    /// Flags and codes of cases, as pynfs takes them
    #[arg(default_value = "all")]
    flags: Vec<String>,
}

pub fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let suite = options.path.join("nfs4.1");
    let program = suite.join("testserver.py");
    if !program.is_file() || !suite.join("xdrdef/nfs4_type.py").is_file() {
        bail!(
            "{} is no built pynfs: clone https://github.com/kofemann/pynfs and run `./setup.py build` there",
            options.path.display()
        );
    }
    let list = workspace.root.join("interop-tests/expected/pynfs.txt");
    let text = fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
    let expected = Expected::parse(&text, options.minor)?;

    interop::build(workspace, Build::Checked)?;
    // Both minor versions may be under test at a time: much of a run is waiting.
    let state = workspace
        .target
        .join(format!("headrace-pynfs-4.{}", options.minor));
    if state.exists() {
        fs::remove_dir_all(&state)?;
    }
    fs::create_dir_all(&state)?;
    let headrace = workspace.program(Build::Checked, "headrace");
    let server = server::Server::start(&headrace, &state, options.lease)?;

    say(format!(
        "pynfs {}, NFSv4.{}: {}",
        commit(&options.path),
        options.minor,
        options.flags.join(" ")
    ));
    let output = Command::new(&options.python)
        .args(["-W", "ignore"])
        .arg(&program)
        .arg(format!("{}/pynfs", server.address()))
        .args(["--maketree", "--showomit", "--uid", "0", "--gid", "0"])
        .args(["--minorversion", &options.minor.to_string()])
        .arg("--serverhelper")
        .arg(std::env::current_exe()?)
        .args(["--serverhelperarg", &server.helper_arguments()])
        .args(&options.flags)
        .current_dir(&suite)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", options.python))?;
    server.stop()?;
    fs::File::create(state.join("testserver.out"))?.write_all(&output.stdout)?;
    let results = Results::parse(&String::from_utf8_lossy(&output.stdout))
        .with_context(|| format!("what it said is in {}", state.display()))?;
    Ok(judge(&results, &expected))
}

fn judge(results: &Results, expected: &Expected) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for case in &results.not_passed {
        if let Some(reason) = expected.reason(&case.code) {
            println!("  {:10} {} as known: {reason}", case.code, case.outcome);
        } else {
            println!("  {:10} {}: {}", case.code, case.outcome, case.message);
            code = ExitCode::FAILURE;
        }
    }
    for code_ in results
        .passed
        .iter()
        .filter(|code| expected.reason(code).is_some())
    {
        println!("  {code_:10} passed, and is on the list of what doesn't");
        code = ExitCode::FAILURE;
    }
    let unknown = results
        .not_passed
        .iter()
        .filter(|case| expected.reason(&case.code).is_none())
        .count();
    say(format!(
        "pynfs: {} of {} passed, {} are known not to, {unknown} did not and have no reason",
        results.passed.len(),
        results.passed.len() + results.not_passed.len(),
        results.not_passed.len() - unknown,
    ));
    code
}

fn commit(path: &Path) -> String {
    let path = path.display().to_string();
    shell::output("git", &["-C", &path, "rev-parse", "--short=12", "HEAD"]).map_or_else(
        |_| "of no known commit".to_owned(),
        |id| id.trim().to_owned(),
    )
}
