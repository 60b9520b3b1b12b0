//! Builds what is measured, another commit beside it where one is named, and measures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::progress::say;
use crate::provision::{self, For};
use crate::shell;
use crate::workspace::{Build, Workspace};

#[derive(clap::Args)]
pub struct Options {
    /// Cases to run; all when none is named
    names: Vec<String>,
    /// Build this commit too, and measure it in turn
    #[arg(long, value_name = "COMMIT")]
    against: Option<String>,
    /// Two rounds of one second on fewer files: what a change is tried with. Ends within five minutes
    #[arg(long)]
    quick: bool,
    /// Times that each side is measured
    #[arg(long, conflicts_with = "quick")]
    rounds: Option<u32>,
    /// How long each is measured
    #[arg(long, conflicts_with = "quick")]
    seconds: Option<u64>,
    /// Files of the catalog that the case `large` grows to
    #[arg(long, value_name = "COUNT", conflicts_with = "quick")]
    large_files: Option<u64>,
    /// Folder of a Python environment that has dlio-benchmark, for the case `dlio`; not below /tmp or /run
    #[arg(long, value_name = "DIR", conflicts_with_all = ["quick", "alone"])]
    dlio: Option<PathBuf>,
    /// Leave NFS-Ganesha out; then nothing runs as root
    #[arg(long)]
    alone: bool,
    /// A line for `[server]` of the metadata server's configuration; only with --not-default
    #[arg(long, value_name = "KEY = VALUE")]
    set: Vec<String>,
    /// Measure although something isn't as durable as by default; the report tells what
    #[arg(long)]
    not_default: bool,
    /// Name the cases and end
    #[arg(long)]
    list: bool,
}

impl Options {
    /// Whether a case is asked for that wants kernels, or what is provided with them: by its name, or among all.
    fn boots_kernels(&self) -> bool {
        let named = |name: &String| {
            matches!(
                name.as_str(),
                "clients"
                    | "training"
                    | "dlio"
                    | "listing"
                    | "filer"
                    | "filer-far"
                    | "bucket"
                    | "bucket-far"
            )
        };
        let asked = self.names.is_empty() || self.names.iter().any(named);
        asked && !self.quick && !self.alone && !self.list
    }
}

pub fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    say("building headrace and the bench (release)");
    let mut packages = vec!["-p", "headrace", "-p", "bench"];
    let kernels = options.boots_kernels();
    if kernels {
        packages.extend(["-p", "interop-tests"]);
    }
    let build = ["build", "--release", "--locked", "--bins"];
    shell::must(workspace.cargo(&build).args(packages))?;
    let bench = workspace.program(Build::Release, "bench");
    if options.list {
        shell::must(Command::new(bench).arg("list"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if kernels {
        provision::provide(workspace, For::Tests)?;
    }
    let what = if options.alone {
        For::BenchAlone
    } else {
        For::Bench
    };
    provision::provide(workspace, what)?;
    let report = workspace.target.join("bench-report");
    let disk = workspace.target.join("bench-disk");
    fs::create_dir_all(&disk)?;
    let mut command = if options.alone {
        Command::new(bench)
    } else {
        let mut command = shell::as_root("env")?;
        command.arg(bench);
        command
    };
    command
        .arg("run")
        .args(&options.names)
        .arg("--headrace")
        .arg(workspace.program(Build::Release, "headrace"))
        .arg("--report")
        .arg(&report)
        .arg("--disk")
        .arg(&disk)
        .current_dir(&workspace.root);
    for (given, word) in [
        (options.quick, "--quick"),
        (options.alone, "--alone"),
        (options.not_default, "--not-default"),
    ] {
        if given {
            command.arg(word);
        }
    }
    if kernels {
        command.arg("--cache").arg(workspace.cache());
    }
    if let Some(environment) = &options.dlio {
        let environment = environment
            .canonicalize()
            .with_context(|| environment.display().to_string())?;
        command.arg("--dlio").arg(environment);
    }
    if let Some(rounds) = options.rounds {
        command.args(["--rounds", &rounds.to_string()]);
    }
    if let Some(seconds) = options.seconds {
        command.args(["--seconds", &seconds.to_string()]);
    }
    if let Some(files) = options.large_files {
        command.args(["--large-files", &files.to_string()]);
    }
    for line in &options.set {
        command.args(["--set", line]);
    }
    if let Some(commit) = &options.against {
        let other = build_other(workspace, commit)?;
        command
            .arg("--against")
            .arg(other)
            .arg("--against-name")
            .arg(commit);
    }
    let status = shell::status(&mut command)?;
    for folder in [&report, &disk] {
        shell::give_back(folder)?;
    }
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// `headrace` as `commit` has it, from a checkout of its own below the target folder.
fn build_other(workspace: &Workspace, commit: &str) -> Result<PathBuf> {
    let root = workspace.root.display().to_string();
    let name = shell::output(
        "git",
        &[
            "-C",
            &root,
            "rev-parse",
            "--verify",
            &format!("{commit}^{{commit}}"),
        ],
    )
    .with_context(|| format!("{commit} is no commit"))?;
    let folder = workspace.target.join("bench-against");
    let sources = folder.join("sources");
    say(format!("building headrace of {commit} (release)"));
    check_out(workspace, name.trim(), &sources)?;
    let mut cargo =
        workspace.cargo(&["build", "--release", "--locked", "-p", "headrace", "--bins"]);
    shell::must(cargo.current_dir(&sources).env("CARGO_TARGET_DIR", &folder))?;
    Ok(folder.join("release/headrace"))
}

fn check_out(workspace: &Workspace, name: &str, sources: &Path) -> Result<()> {
    if sources.join(".git").exists() {
        let checkout = ["checkout", "--quiet", "--detach", name];
        return shell::must(Command::new("git").arg("-C").arg(sources).args(checkout));
    }
    fs::create_dir_all(sources.parent().context("a folder above")?)?;
    let clone = ["clone", "--quiet", "--shared", "--no-checkout"];
    shell::must(
        Command::new("git")
            .args(clone)
            .arg(&workspace.root)
            .arg(sources),
    )?;
    check_out(workspace, name, sources)
}
