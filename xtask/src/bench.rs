//! Builds what is measured, another commit beside it where one is named, and measures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::progress::say;
use crate::provision::{self, For};
use crate::shell;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub struct Options {
    /// Cases to run; all when none is named
    names: Vec<String>,
    /// Build this commit too, and measure it in turn
    #[arg(long, value_name = "COMMIT")]
    against: Option<String>,
    /// Two rounds of two seconds: what a change is tried with
    #[arg(long)]
    quick: bool,
    /// Name the cases and end
    #[arg(long)]
    list: bool,
}

pub fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    say("building headrace and the bench (release)");
    let packages = ["-p", "headrace", "-p", "bench"];
    let build = ["build", "--release", "--locked", "--bins"];
    shell::must(workspace.cargo(&build).args(packages))?;
    let bench = workspace.release_program("bench");
    if options.list {
        shell::must(Command::new(bench).arg("list"))?;
        return Ok(ExitCode::SUCCESS);
    }
    provision::provide(workspace, For::Bench)?;
    let report = workspace.target.join("bench-report");
    let disk = workspace.target.join("bench-disk");
    fs::create_dir_all(&disk)?;
    let mut command = Command::new(bench);
    command
        .arg("run")
        .args(&options.names)
        .arg("--headrace")
        .arg(workspace.release_program("headrace"))
        .arg("--report")
        .arg(&report)
        .arg("--disk")
        .arg(&disk)
        .current_dir(&workspace.root);
    if options.quick {
        command.arg("--quick");
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
