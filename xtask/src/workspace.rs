//! Where the sources and the build results are, and cargo itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::shell;

/// Which programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// What the tests built anyway, with assertions and overflow checks.
    Checked,
    /// What users run.
    Release,
}

pub struct Workspace {
    pub root: PathBuf,
    pub target: PathBuf,
}

impl Workspace {
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask has no parent folder")?
            .to_owned();
        let manifest = root.join("Cargo.toml").display().to_string();
        let text = shell::output(
            &cargo_program(),
            &[
                "metadata",
                "--no-deps",
                "--format-version",
                "1",
                "--manifest-path",
                &manifest,
            ],
        )?;
        let metadata: Value = serde_json::from_str(&text).context("reading cargo metadata")?;
        let target = metadata["target_directory"]
            .as_str()
            .context("cargo metadata names no target folder")?;
        Ok(Self {
            root,
            target: target.into(),
        })
    }

    /// Kernels, test programs and a source tree; survives between runs.
    pub fn cache(&self) -> PathBuf {
        self.target.join("headrace-cache")
    }

    /// Logs and data of interop runs.
    pub fn state(&self) -> PathBuf {
        self.target.join("headrace-interop")
    }

    pub fn program(&self, build: Build, name: &str) -> PathBuf {
        let folder = match build {
            Build::Checked => "debug",
            Build::Release => "release",
        };
        self.target.join(folder).join(name)
    }

    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo_program());
        command.current_dir(&self.root).args(arguments);
        command
    }
}

fn cargo_program() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}
