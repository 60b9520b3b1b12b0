//! Files of Debian packages that are unpacked into our cache and not installed: the kernel of the unstable release
//! with its C library, and a part of the Linux source. The system's own apt state stays as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::progress::say;
use crate::shell;

pub struct Kernel {
    pub release: String,
    pub program: PathBuf,
    pub modules: PathBuf,
}

const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const UPDATE_TRIES: u32 = 4;
/// The part of the kernel's source that is copied through mounts.
const TREE_PART: &str = "fs";

/// User-Mode Linux of Debian's unstable release, whatever version it has that day.
pub fn kernel(cache: &Path) -> Result<Kernel> {
    let folder = cache.join("kernel-sid");
    if !folder.join("complete").exists() {
        say(
            "fetching a newer Linux kernel: user-mode-linux and libc6 of Debian unstable, unpacked aside",
        );
        fetch_kernel(&folder)?;
    }
    let program = folder.join("linux.uml");
    let release = shell::output(&program.display().to_string(), &["--version"])?;
    Ok(Kernel {
        release: release.trim().to_owned(),
        program,
        modules: folder.join("root/usr/lib/uml"),
    })
}

fn fetch_kernel(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    for part in [
        "lists/partial",
        "cache/archives/partial",
        "packages",
        "root",
    ] {
        fs::create_dir_all(folder.join(part))
            .with_context(|| format!("creating {}", folder.join(part).display()))?;
    }
    let apt = Apt::of_unstable(folder)?;
    apt.update()?;
    apt.download(&folder.join("packages"), &["user-mode-linux", "libc6"])?;
    unpack_all(&folder.join("packages"), &folder.join("root"))?;
    let program = folder.join("linux.uml");
    fs::copy(folder.join("root/usr/bin/linux.uml"), &program)
        .context("the package has no usr/bin/linux.uml")?;
    let libraries = folder.join("root").join(LIBRARIES);
    shell::must(
        Command::new("patchelf")
            .arg("--set-interpreter")
            .arg(libraries.join("ld-linux-x86-64.so.2"))
            .arg("--set-rpath")
            .arg(&libraries)
            .arg(&program),
    )?;
    for part in ["lists", "cache", "packages"] {
        fs::remove_dir_all(folder.join(part))?;
    }
    fs::write(folder.join("complete"), "")?;
    Ok(())
}

/// A part of the Linux source, from the system's own release.
pub fn source_tree(cache: &Path) -> Result<()> {
    let folder = cache.join("tree");
    if folder.join("complete").exists() {
        return Ok(());
    }
    say(format!(
        "fetching a source tree to copy: {TREE_PART} of Debian's linux-source"
    ));
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let packages = folder.join("packages");
    fs::create_dir_all(&packages)?;
    let apt = Apt {
        options: Vec::new(),
    };
    let depends = shell::output("apt-cache", &["depends", "--important", "linux-source"])
        .context("apt knows no package linux-source: run `apt-get update`")?;
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .context("linux-source depends on nothing")?
        .trim()
        .to_owned();
    apt.download(&packages, &[&package])?;
    unpack_all(&packages, &folder.join("root"))?;
    let archive = folder.join(format!("root/usr/src/{package}.tar.xz"));
    shell::must(
        Command::new("tar")
            .arg("--extract")
            .arg("--file")
            .arg(&archive)
            .arg("--directory")
            .arg(&folder)
            .arg("--no-same-owner")
            .arg(format!("{package}/{TREE_PART}")),
    )?;
    fs::remove_dir_all(&packages)?;
    fs::remove_dir_all(folder.join("root"))?;
    fs::rename(folder.join(&package), folder.join("source"))?;
    fs::write(folder.join("name"), format!("{TREE_PART} of {package}"))?;
    fs::write(folder.join("complete"), "")?;
    Ok(())
}

struct Apt {
    options: Vec<String>,
}

impl Apt {
    /// Lists and caches of its own below `folder`, from the mirror that the system's apt uses.
    fn of_unstable(folder: &Path) -> Result<Self> {
        let sources = folder.join("sources.list");
        let signed_by = if Path::new(KEYS).exists() {
            format!("[signed-by={KEYS}] ")
        } else {
            String::new()
        };
        fs::write(
            &sources,
            format!("deb {signed_by}{} sid main\n", system_mirror()?),
        )?;
        let option = |name: &str, value: &Path| format!("{name}={}", value.display());
        Ok(Self {
            options: vec![
                option("Dir::Etc::sourcelist", &sources),
                "Dir::Etc::sourceparts=-".to_owned(),
                option("Dir::State::Lists", &folder.join("lists")),
                option("Dir::Cache", &folder.join("cache")),
                "Acquire::Languages=none".to_owned(),
                "Acquire::Retries=3".to_owned(),
                "APT::Sandbox::User=root".to_owned(),
            ],
        })
    }

    fn get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("-q");
        for option in &self.options {
            command.arg("-o").arg(option);
        }
        command
    }

    fn update(&self) -> Result<()> {
        for attempt in 1..=UPDATE_TRIES {
            if shell::status(self.get().arg("update"))?.success() {
                return Ok(());
            }
            say(format!(
                "apt-get update failed ({attempt} of {UPDATE_TRIES})"
            ));
            std::thread::sleep(std::time::Duration::from_secs(5));
        }
        bail!("apt-get update for Debian unstable failed {UPDATE_TRIES} times: is the network up?")
    }

    fn download(&self, folder: &Path, packages: &[&str]) -> Result<()> {
        shell::must(
            self.get()
                .args(["-o", "APT::Sandbox::User=root", "download"])
                .args(packages)
                .current_dir(folder),
        )
        .with_context(|| format!("downloading {}", packages.join(", ")))
    }
}

fn unpack_all(packages: &Path, root: &Path) -> Result<()> {
    for entry in fs::read_dir(packages)? {
        let package = entry?.path();
        shell::must(Command::new("dpkg-deb").arg("-x").arg(package).arg(root))?;
    }
    Ok(())
}

/// The address from which the system's apt has the main section of this release.
fn system_mirror() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .context("/etc/os-release names no VERSION_CODENAME")?;
    let targets = shell::output(
        "apt-get",
        &[
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE) $(COMPONENT)",
            "Created-By: Packages",
        ],
    )?;
    mirror_among(&targets, &codename).with_context(|| {
        format!("apt's sources have no `main` of Debian {codename}; the newer kernel comes from the same mirror")
    })
}

fn mirror_among(targets: &str, codename: &str) -> Option<String> {
    targets.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (mirror, release, component) = (words.next()?, words.next()?, words.next()?);
        (release == codename && component == "main").then(|| mirror.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_one_of_the_release_itself() {
        let targets = "http://a/debian-security/ bookworm-security main\n\
                       http://b/debian/ bookworm contrib\n\
                       http://c/debian/ bookworm main\n";
        assert_eq!(
            mirror_among(targets, "bookworm").as_deref(),
            Some("http://c/debian/")
        );
        assert_eq!(mirror_among(targets, "trixie"), None);
    }
}
