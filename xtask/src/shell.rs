//! Running programs: as they are, or as root (through sudo where we are not root).

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

/// The standard output of a program that must succeed.
pub fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!(
            "`{program} {}` ended with {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command to its end with our own standard output; anything but success is an error.
pub fn must(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("`{}` ended with {status}", shown(command));
    }
    Ok(())
}

pub fn status(command: &mut Command) -> Result<ExitStatus> {
    command
        .status()
        .with_context(|| format!("cannot start `{}`", shown(command)))
}

/// Runs a command, passing its standard output on line by line to ours and to `each`.
pub fn passing_on(command: &mut Command, mut each: impl FnMut(&str)) -> Result<ExitStatus> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", shown(command)))?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.unwrap_or_else(|error| format!("({error})"));
            println!("{line}");
            each(&line);
        }
    }
    Ok(child.wait()?)
}

pub fn is_root() -> Result<bool> {
    Ok(output("id", &["-u"])?.trim() == "0")
}

/// A command that runs as root. Asks for sudo's password where sudo does.
pub fn as_root(program: &str) -> Result<Command> {
    if is_root()? {
        return Ok(Command::new(program));
    }
    if output("sh", &["-c", "command -v sudo"]).is_err() {
        bail!(
            "{program} must run as root, and there is no sudo here: run this as root, or install sudo"
        );
    }
    let mut command = Command::new("sudo");
    command.arg("--").arg(program);
    Ok(command)
}

/// What root wrote below the target folder belongs to the user again, so that `cargo clean` works.
pub fn give_back(folder: &Path) -> Result<()> {
    if is_root()? || !folder.exists() {
        return Ok(());
    }
    let owner = format!(
        "{}:{}",
        output("id", &["-u"])?.trim(),
        output("id", &["-g"])?.trim()
    );
    must(as_root("chown")?.args(["-R", &owner]).arg(folder))
}

fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// Whether a program is on the search path or among the programs of administration.
pub fn has_program(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path
        .split(':')
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"]);
    folders
        .into_iter()
        .any(|folder| Path::new(folder).join(program).exists())
}
