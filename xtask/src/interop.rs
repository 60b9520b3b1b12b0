//! Builds the server and the scenarios once, and runs them as root: scenarios on the build of the tests, the demo on
//! the one that users run.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::progress::{self, say};
use crate::provision::{self, For};
use crate::shell;
use crate::workspace::{Build, Workspace};

#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

pub fn build(workspace: &Workspace, build: Build) -> Result<()> {
    // As the tests are built, which need both programs: with other features everything would be compiled once more.
    let arguments: &[&str] = match build {
        Build::Checked => &["test", "--locked", "--workspace", "--no-run"],
        Build::Release => &[
            "build",
            "--locked",
            "--release",
            "--bins",
            "-p",
            "headrace",
            "-p",
            "interop-tests",
        ],
    };
    say("building headrace and the scenarios");
    shell::must(&mut workspace.cargo(arguments))
}

pub fn list(workspace: &Workspace) -> Result<ExitCode> {
    build(workspace, Build::Checked)?;
    let scenarios = workspace.program(Build::Checked, "interop-tests");
    shell::must(Command::new(scenarios).arg("list"))?;
    Ok(ExitCode::SUCCESS)
}

#[derive(clap::Args)]
pub struct Options {
    pub names: Vec<String>,
    /// all, old, new, or the beginning of a release: 6.1
    #[arg(long, default_value = "all")]
    kernel: String,
    /// Keep logs and data of scenarios that passed
    #[arg(long)]
    keep: bool,
    /// How many scenarios are under way at the same time
    #[arg(long, default_value_t = 1)]
    at_once: u8,
    /// Run a random scenario again as it was run with this seed
    #[arg(long)]
    seed: Option<u64>,
    /// Name the scenarios and end
    #[arg(long)]
    pub list: bool,
}

impl Options {
    /// All that CI runs. Two of them share a machine well: much of their time is waited for leases, graces and boots.
    pub fn of_ci() -> Self {
        Self {
            names: Vec::new(),
            kernel: "all".to_owned(),
            keep: false,
            at_once: 2,
            seed: None,
            list: false,
        }
    }
}

pub fn run(workspace: &Workspace, options: &Options) -> Result<(ExitCode, Counts)> {
    fs::create_dir_all(workspace.state())?;
    let summary = workspace.state().join("summary.json");
    let mut command = scenarios(workspace, Build::Checked, "run")?;
    command
        .args(&options.names)
        .args(["--kernel", &options.kernel]);
    command.args(["--at-once", &options.at_once.to_string()]);
    command.arg("--summary").arg(&summary);
    if options.keep {
        command.arg("--keep");
    }
    if let Some(seed) = options.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    let status = shell::status(&mut command)?;
    shell::give_back(&workspace.state())?;
    let counts = read_counts(&summary).unwrap_or(Counts {
        failed: 1,
        ..Counts::default()
    });
    let code = if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    Ok((code, counts))
}

pub fn demo(workspace: &Workspace, native: bool) -> Result<ExitCode> {
    provision::provide(workspace, For::Demo)?;
    build(workspace, Build::Release)?;
    let mut command = scenarios(workspace, Build::Release, "demo")?;
    if native {
        command.arg("--native");
    }
    let status = shell::status(&mut command)?;
    shell::give_back(&workspace.state())?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn scenarios(workspace: &Workspace, build: Build, verb: &str) -> Result<Command> {
    let mut command = shell::as_root("env")?;
    command
        .arg(format!("{}={}", progress::START, progress::start_ms()))
        .arg(workspace.program(build, "interop-tests"))
        .arg(verb)
        .arg("--cache")
        .arg(workspace.cache())
        .arg("--headrace")
        .arg(workspace.program(build, "headrace"))
        .arg("--state")
        .arg(workspace.state());
    Ok(command)
}

fn read_counts(summary: &Path) -> Result<Counts> {
    let text = fs::read_to_string(summary)
        .with_context(|| format!("no counts at {}", summary.display()))?;
    let value: Value = serde_json::from_str(&text)?;
    let field = |name: &str| value[name].as_u64().context("a count is missing");
    Ok(Counts {
        passed: field("passed")?,
        failed: field("failed")?,
        skipped: field("skipped")?,
    })
}
