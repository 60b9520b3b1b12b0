//! A machine with an NFS client to which scripts are given: a guest, or this machine's own kernel.
//! The paths in scripts are the same on both: /run/mnt, /run/shared, /run/cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::clock;
use super::command;
use super::guest::{Guest, Job, last_lines};
use super::lab::MOUNT;

pub trait Client {
    fn name(&self) -> &str;
    /// What `uname -r` says.
    fn release(&self) -> &str;
    /// The folder that scripts see as /run/shared.
    fn shared(&self) -> &Path;
    fn spawn(&mut self, script: &str) -> Result<Job>;
    fn is_done(&mut self, job: &Job) -> Result<bool>;
    /// Waits for a script that must succeed; gives its standard output.
    fn must(&mut self, job: &Job, limit: Duration) -> Result<String>;

    /// Runs a script that must succeed; gives its standard output.
    fn sh(&mut self, script: &str, limit: Duration) -> Result<String> {
        let job = self.spawn(script)?;
        self.must(&job, limit)
    }
}

impl Client for Guest {
    fn name(&self) -> &str {
        Guest::name(self)
    }

    fn release(&self) -> &str {
        Guest::release(self)
    }

    fn shared(&self) -> &Path {
        Guest::shared(self)
    }

    fn spawn(&mut self, script: &str) -> Result<Job> {
        Guest::spawn(self, script)
    }

    fn is_done(&mut self, job: &Job) -> Result<bool> {
        Ok(Guest::is_done(self, job))
    }

    fn must(&mut self, job: &Job, limit: Duration) -> Result<String> {
        Guest::must(self, job, limit)
    }
}

/// This machine's kernel, inside the sandbox's namespaces.
pub struct Native {
    release: String,
    shared: PathBuf,
    running: Vec<Child>,
}

impl Native {
    /// Refuses in words where this kernel has no NFS client.
    pub fn new(cache: &Path) -> Result<Self> {
        let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        if !known.lines().any(|line| line.ends_with("\tnfs4"))
            && command::run("modprobe", &["nfsv4"]).is_err()
        {
            bail!(
                "this machine's kernel has no NFS client (no nfs4 in /proc/filesystems, and `modprobe nfsv4` fails): \
                 leave --native away, and Linux kernels are booted as processes"
            );
        }
        if !Path::new("/sys/module/nfs_layout_flexfiles").exists()
            && command::run("modprobe", &["nfs_layout_flexfiles"]).is_err()
        {
            clock::say(
                "no module nfs_layout_flexfiles here: all bytes will pass the metadata server",
            );
        }
        for folder in [MOUNT, "/run/cache", "/run/shared", "/run/home"] {
            fs::create_dir_all(folder).with_context(|| format!("creating {folder}"))?;
        }
        command::run(
            "mount",
            &["--bind", &cache.display().to_string(), "/run/cache"],
        )?;
        fs::copy(std::env::current_exe()?, "/run/shared/interop")?;
        Ok(Self {
            release: command::run("uname", &["-r"])?.trim().to_owned(),
            shared: "/run/shared".into(),
            running: Vec::new(),
        })
    }

    fn file(&self, index: usize, what: &str) -> PathBuf {
        self.shared.join(format!("job-{index}.{what}"))
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // Where something failed, and the servers may be gone: what waits for them is given up.
        let _ = command::run("umount", &["-f", MOUNT]);
    }
}

impl Client for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn release(&self) -> &str {
        &self.release
    }

    fn shared(&self) -> &Path {
        &self.shared
    }

    fn spawn(&mut self, script: &str) -> Result<Job> {
        let index = self.running.len();
        let child = Command::new("sh")
            .args(["-c", script])
            .env("PATH", command::path_with_sbin())
            .stdin(Stdio::null())
            .stdout(fs::File::create(self.file(index, "out"))?)
            .stderr(fs::File::create(self.file(index, "err"))?)
            .spawn()
            .context("cannot start a shell")?;
        self.running.push(child);
        Ok(Job::numbered(index, script))
    }

    fn is_done(&mut self, job: &Job) -> Result<bool> {
        let child = job.number().and_then(|index| self.running.get_mut(index));
        Ok(child.context("no such script")?.try_wait()?.is_some())
    }

    fn must(&mut self, job: &Job, limit: Duration) -> Result<String> {
        let index = job.number().context("no such script")?;
        let child = self.running.get_mut(index).context("no such script")?;
        let status = clock::wait_for(job.what(), limit, || Ok(child.try_wait()?))?;
        let read = |what| fs::read_to_string(self.file(index, what)).unwrap_or_default();
        if status.success() {
            return Ok(read("out"));
        }
        bail!(
            "`{}` ended with {status}\n{}{}",
            job.what(),
            last_lines(&read("out"), 20),
            last_lines(&read("err"), 20)
        )
    }
}
