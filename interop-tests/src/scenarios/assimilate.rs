//! An existing export of a filer (NFS-Ganesha), taken over: its files stay where they are, and are files of
//! the namespace from then on, read and written by layouts, renamed and removed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Verdict;
use super::junction::{Filer, is_apart};
use super::suites::{EXPECTED, fsx_files, run_fsx, run_pjdfstest};
use crate::harness::bytes::{MIB, human};
use crate::harness::clock;
use crate::harness::command;
use crate::harness::guest::Guest;
use crate::harness::headrace::{self, METRICS, Split, SplitOptions};
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount_afresh, mount_from};
use crate::harness::metrics::Scrape;

const LARGE_MIB: u64 = 64;
const USER: u32 = 1001;
/// So many that the scan is still under way when the server dies.
const FOLDERS: u32 = 300;
const FILES: u32 = 40;

/// A tree that somebody left there: all kinds, all sorts of rights, more names than one.
fn left_by_others(folder: &Path) -> Result<()> {
    let own = |path: &Path, mode: u32| -> Result<()> {
        chown(path, Some(USER), Some(USER))?;
        Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
    };
    let random = |name: &str, mib: u64| {
        let to = format!("of={}", folder.join(name).display());
        let count = format!("count={mib}");
        command::run("dd", &["if=/dev/urandom", &to, "bs=1M", &count])
    };
    random("large", LARGE_MIB)?;
    own(&folder.join("large"), 0o640)?;
    random("public", LARGE_MIB)?;
    own(&folder.join("public"), 0o644)?;
    fs::write(folder.join("roots"), "of root alone\n")?;
    fs::set_permissions(folder.join("roots"), fs::Permissions::from_mode(0o600))?;
    for number in 0..FOLDERS {
        let inner = folder.join(format!("many/d{number}"));
        fs::create_dir_all(&inner)?;
        own(&inner, 0o755)?;
        for file in 0..FILES {
            let file = inner.join(format!("f{file}"));
            fs::write(&file, format!("{}\n", file.display()))?;
            own(&file, 0o644)?;
        }
    }
    own(&folder.join("many"), 0o755)?;
    let links = folder.join("links");
    fs::create_dir_all(links.join("below"))?;
    fs::write(links.join("one"), "one file, three names\n")?;
    own(&links.join("one"), 0o644)?;
    for other in ["two", "below/three"] {
        fs::hard_link(links.join("one"), links.join(other))?;
    }
    symlink("one", links.join("soft"))?;
    command::run("mkfifo", &[&links.join("pipe").display().to_string()])?;
    Ok(())
}

fn exports(filer: &Filer) -> String {
    format!(
        "[[export]]\npath = \"/\"\nclients = \"10.99.0.0/24\"\nsquash = \"none\"\n\n\
         [[backend]]\nname = \"filer1\"\nkind = \"nfs\"\nmode = \"assimilated\"\nserver = \"{}\"\n\
         mount_port = 20048\nexport = \"{}\"\n\n\
         [[junction]]\npath = \"/projects\"\nbackend = \"filer1\"\n",
        filer.address,
        filer.folder.display()
    )
}

/// Waits for all that is scanned to be done.
pub fn scan_ends(limit: Duration) -> Result<()> {
    clock::wait_for("the scan's end", limit, || {
        let done = Scrape::of(METRICS)?.sum("headrace_scan_state", &["state=\"done\""]);
        Ok((done > 0.0).then_some(()))
    })
}

/// As the programs of a user meet it.
const WORK: &str = r#"
set -e
cd /run/mnt/projects
[ "$(cat many/d7/f7 | wc -l)" = 1 ]
[ "$(ls many | wc -l)" = 300 ]
[ "$(find many -type f | wc -l)" = 12000 ]
[ "$(stat -c %u:%g:%a large)" = 1001:1001:640 ]
[ "$(stat -c %h links/one)" = 3 ]
[ "$(stat -c %i links/one)" = "$(stat -c %i links/below/three)" ]
[ "$(cat links/soft)" = "one file, three names" ] && [ -p links/pipe ]
[ "$(cat roots)" = "of root alone" ]
! setpriv --reuid 1002 --regid 1002 --clear-groups cat large >/dev/null 2>&1
# Written by a layout, read through another name.
setpriv --reuid 1001 --regid 1001 --clear-groups sh -c 'echo more >>links/one'
[ "$(tail -n 1 links/below/three)" = more ]
mv many/d0/f0 away && [ -s away ]
ln many/d1/f1 second && rm many/d1/f1 && [ -s second ]
# Another file system than around it: what is moved out is copied, and taken off the filer.
mv many/d6/f6 /run/mnt/out && [ "$(cat /run/mnt/out | wc -l)" = 1 ] && [ ! -e many/d6/f6 ]
[ "$(getfattr --only-values -n user.headrace.backend /run/mnt/out)" = ds0 ]
mkdir new && cp many/d2/* new && diff -r many/d2 new
truncate -s 10 many/d3/f3 && [ "$(stat -c %s many/d3/f3)" = 10 ]
rm links/one && [ "$(stat -c %h links/two)" = 2 ]
rm -r many/d4 && [ ! -e many/d4 ]
"#;

/// Writes a file over by a layout; then it is so on the filer.
fn write_directly(lab: &Lab, filer: &Filer, client: &mut Guest, name: &str) -> Result<()> {
    let before = lab.net.traffic()?;
    let sum = client.sh(
        &format!(
            "dd if=/dev/urandom of=/run/random bs=1M count={LARGE_MIB} 2>/dev/null && \
             setpriv --reuid {USER} --regid {USER} --clear-groups dd if=/run/random of={MOUNT}/projects/{name} bs=1M conv=notrunc,fsync 2>/dev/null && \
             sha256sum </run/random && rm /run/random"
        ),
        MINUTE,
    )?;
    let sum = sum.split(' ').next().context("a sum")?;
    let moved = lab.net.traffic()?.since(&before);
    let through = moved.to_mds().both_bytes();
    ensure!(
        through < 4 * MIB,
        "{} of {} written passed the metadata server",
        human(through),
        human(LARGE_MIB * MIB)
    );
    let there = filer.folder.join(name).display().to_string();
    let there = command::run("sha256sum", &[&there])?;
    ensure!(there.starts_with(sum), "the filer has other bytes");
    Ok(())
}

fn gone(path: &Path) -> Result<()> {
    clock::wait_for(
        format!("the end of {} on the filer", path.display()),
        MINUTE,
        || Ok((!path.exists()).then_some(())),
    )
}

/// Of the file system that a folder of this host is in.
fn kib_of(folder: &Path) -> Result<u64> {
    let folder = folder.display().to_string();
    let said = command::run("df", &["-k", "--output=size", &folder])?;
    let size = said.lines().last().context("a size")?;
    Ok(size.trim().parse()?)
}

fn left() -> Result<f64> {
    Ok(Scrape::of(METRICS)?.sum("headrace_scan_directories", &["state=\"left\""]))
}

/// A server that takes the filer over from its start on.
pub fn split_over(lab: &Lab, filer: &Filer) -> Result<Split> {
    headrace::split(
        &lab.headrace,
        &lab.state,
        &SplitOptions {
            own_data_servers: 1,
            exports: exports(filer),
            lease_seconds: 10,
            grace_seconds: 10,
            ..SplitOptions::default()
        },
    )
}

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let mut filer = Filer::empty(lab)?;
    left_by_others(&filer.folder)?;
    let mut split = split_over(lab, &filer)?;
    // In the middle of the scan, as far as a look from outside can hit it.
    clock::wait_for("the scan's beginning", MINUTE, || {
        Ok((left()? > 20.0).then_some(()))
    })?;
    split.mds.kill9()?;
    split.mds.start()?;
    let (mut a, mut b) = lab.two_mounted()?;
    a.sh(WORK, MINUTE * 3)?;
    clock::wait_for("the scan's end", MINUTE, || {
        Ok((left()? == 0.0).then_some(()))
    })?;
    for client in [&mut a, &mut b] {
        is_apart(client, "projects", kib_of(&filer.folder)?)?;
    }
    let mut facts = Vec::new();
    for client in [&mut a, &mut b] {
        for name in ["large", "public"] {
            let address = client.address();
            let share = filer.read_directly(lab, (client, address), name)?;
            facts.push(format!(
                "{}: {:.2} % of the bytes of {name} past the metadata server",
                client.release(),
                100.0 * share
            ));
        }
    }
    for (client, name) in [(&mut a, "large"), (&mut b, "public")] {
        write_directly(lab, &filer, client, name)?;
    }
    mount_afresh(&mut b, "vers=4.2")?;
    let address = b.address();
    filer.read_directly(lab, (&mut b, address), "large")?;
    // What goes here goes there; what was only renamed or has a name left stays.
    let there = |name: &str| filer.folder.join(name);
    for file in 0..FILES {
        gone(&there(&format!("many/d4/f{file}")))?;
    }
    gone(&there("many/d6/f6"))?;
    ensure!(there("many/d0/f0").exists(), "a renamed file was removed");
    ensure!(
        there("many/d1/f1").exists(),
        "a file with another name was removed"
    );
    ensure!(
        there("links/one").metadata()?.nlink() == 3,
        "a name went too early"
    );
    a.sh(
        &format!(
            "rm {MOUNT}/projects/away {MOUNT}/projects/second && rm -r {MOUNT}/projects/links"
        ),
        MINUTE,
    )?;
    for name in [
        "many/d0/f0",
        "many/d1/f1",
        "links/one",
        "links/two",
        "links/below/three",
    ] {
        gone(&there(name))?;
    }
    ensure!(there("many/d5/f5").exists(), "another file was removed");
    filer.still_runs()?;
    split.mds.still_runs()?;
    Ok(Verdict::Held(facts))
}

/// The suites of POSIX in an export that was taken over. What fsx works on was there before, and stays there.
pub fn suites(lab: &mut Lab) -> Result<Verdict> {
    let mut filer = Filer::empty(lab)?;
    let mut client = lab.client("a")?;
    for name in fsx_files(client.release()) {
        let file = filer.folder.join(name);
        fs::write(&file, "as it was before\n")?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666))?;
    }
    let mut split = split_over(lab, &filer)?;
    scan_ends(MINUTE)?;
    mount_from(&mut client, "10.99.0.1:/projects", "vers=4.2")?;
    for name in fsx_files(client.release()) {
        let backend = format!("getfattr --only-values -n user.headrace.backend {MOUNT}/{name}");
        let backend = client.sh(&backend, MINUTE)?;
        ensure!(backend == "filer1", "{name} lies on {backend}");
    }
    run_fsx(&mut client)?;
    let verdict = run_pjdfstest(lab, &mut client, EXPECTED)?;
    filer.still_runs()?;
    split.mds.still_runs()?;
    Ok(verdict)
}
