//! Existing exports of a Linux kernel's own NFS server: one shown in place, one taken over.

use anyhow::{Context, Result, ensure};

use super::Verdict;
use super::assimilate::scan_ends;
use super::fio::Work;
use super::foreign::{kernel_server, without_nfsd};
use super::junction::{WORK, is_apart};
use crate::harness::bytes::{MIB, human};
use crate::harness::clock::say;
use crate::harness::guest::Guest;
use crate::harness::headrace::{self, SplitOptions};
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount_afresh};

const LARGE_MIB: u64 = 64;
const OWNER: &str = "setpriv --reuid 1001 --regid 1001 --clear-groups";

/// What others left in both exports, long before this server came.
const LEFT: &str = r#"
set -e
for export in place taken; do
    mkdir -p /run/objects/$export/team && cd /run/objects/$export
    for i in $(seq 0 199); do echo "note $i" >team/note-$i; done
    ln -s note-7 team/latest
    dd if=/dev/urandom of=large bs=1M count=64 2>/dev/null
    chown -R 1001:1001 team large && chmod 640 large
    (umask 077 && echo of root alone >roots)
    chmod 777 .
done
"#;

const WRITTEN: Work = Work {
    name: "taken",
    block_kib: 1024,
    direct: true,
    size_mib: LARGE_MIB as u32,
    offset_mib: 0,
    seed: 22,
};

fn exports(server: &Guest) -> String {
    let shown = |path: &str, mode: &str, export: &str| {
        format!(
            "\n[[backend]]\nname = \"{export}\"\nkind = \"nfs\"\nmode = \"{mode}\"\nserver = \"{}\"\n\
             mount_port = 20048\nexport = \"/run/objects/{export}\"\n\n\
             [[junction]]\npath = \"{path}\"\nbackend = \"{export}\"\n",
            server.address()
        )
    };
    let all = "[[export]]\npath = \"/\"\nclients = \"10.99.0.0/24\"\nsquash = \"none\"\n";
    let in_place = shown("/projects", "pass-through", "place");
    let taken_over = shown("/taken", "assimilated", "taken");
    format!("{all}{in_place}{taken_over}")
}

/// What the kernel's server has been read so far, bytes: guests' traffic with each other passes this host by.
fn read_there(server: &mut Guest) -> Result<u64> {
    let bytes = server.sh("awk '/^io/ { print $2 }' /proc/net/rpc/nfsd", MINUTE)?;
    bytes.trim().parse().context("a count of bytes")
}

/// A client reads the large file of an export as its owner; the share of the bytes that came straight from the filer.
fn read_directly(
    lab: &Lab,
    server: &mut Guest,
    client: &mut Guest,
    (path, export): (&str, &str),
) -> Result<f64> {
    let sum = server.sh(&format!("sha256sum </run/objects/{export}/large"), MINUTE)?;
    let (before, read_before) = (lab.net.traffic()?, read_there(server)?);
    let read = client.sh(
        &format!("echo 3 >/proc/sys/vm/drop_caches && {OWNER} sha256sum <{MOUNT}/{path}/large"),
        MINUTE,
    )?;
    ensure!(read == sum, "other bytes were read: {read}, not {sum}");
    let through = lab.net.traffic()?.since(&before).to_mds().both_bytes();
    let direct = read_there(server)? - read_before;
    let share = direct as f64 / (direct + through) as f64;
    ensure!(
        direct >= LARGE_MIB * MIB && share >= 0.99,
        "of {path}/large {} came from the filer, and {} passed the metadata server",
        human(direct),
        human(through),
    );
    Ok(share)
}

/// A client writes what the other then reads, past the metadata server.
fn write_directly(lab: &Lab, server: &mut Guest, (a, b): (&mut Guest, &mut Guest)) -> Result<()> {
    let file = format!("{MOUNT}/taken/written");
    let before = lab.net.traffic()?;
    a.sh(&WRITTEN.write(&file), MINUTE * 3)?;
    mount_afresh(b, "vers=4.2")?;
    b.sh(&WRITTEN.verify(&file), MINUTE * 3)?;
    let through = lab.net.traffic()?.since(&before).to_mds().both_bytes();
    ensure!(
        through < 8 * MIB,
        "{} of {} written and read passed the metadata server",
        human(through),
        human(LARGE_MIB * MIB)
    );
    let large = format!("{MOUNT}/taken/large");
    let sum = a.sh(
        &format!(
            "dd if=/dev/urandom of=/run/random bs=1M count=8 2>/dev/null && \
             {OWNER} dd if=/run/random of={large} bs=1M conv=notrunc,fsync 2>/dev/null && \
             head -c 8M {large} | cmp - /run/random && sha256sum </run/random"
        ),
        MINUTE,
    )?;
    let there = server.sh("head -c 8M /run/objects/taken/large | sha256sum", MINUTE)?;
    ensure!(
        there == sum,
        "the filer has other bytes of what was there before"
    );
    Ok(())
}

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let Some(mut server) = kernel_server(lab)? else {
        return Ok(without_nfsd(lab));
    };
    server.sh(LEFT, MINUTE)?;
    let mut split = headrace::split(
        &lab.headrace,
        &lab.state,
        &SplitOptions {
            own_data_servers: 1,
            exports: exports(&server),
            lease_seconds: 10,
            grace_seconds: 10,
            ..SplitOptions::default()
        },
    )?;
    let (mut a, mut b) = lab.two_mounted()?;
    a.sh(WORK, MINUTE * 3)?;
    let kib = server.sh("df -k --output=size /run/objects | tail -n 1", MINUTE)?;
    say("worked in by programs of a user");
    is_apart(&mut b, "projects", kib.trim().parse().context("a size")?)?;
    scan_ends(MINUTE)?;
    let mut facts = vec![format!("the filer runs {}", server.release())];
    for client in [&mut a, &mut b] {
        for at in [("projects", "place"), ("taken", "taken")] {
            let share = read_directly(lab, &mut server, client, at)?;
            facts.push(format!(
                "{}: {:.2} % of the bytes of {} past the metadata server",
                client.release(),
                100.0 * share,
                at.0
            ));
        }
    }
    write_directly(lab, &mut server, (&mut a, &mut b))?;
    say("read and written directly by both");
    // Behind this server's back, and over a restart of the filer: its handles name the same files.
    server.sh(
        "set -e
        echo 'changed at the filer' >/run/objects/place/team/note-9
        rpc.nfsd 0 && rpc.nfsd --no-nfs-version 4 4",
        MINUTE,
    )?;
    a.sh(
        &format!(
            "for i in $(seq 100); do \
               [ \"$(cat {MOUNT}/projects/team/note-9)\" = 'changed at the filer' ] && exit 0; sleep 1; done; exit 1"
        ),
        MINUTE * 2,
    )?;
    say("changed at the filer, which then began anew: seen");
    mount_afresh(&mut b, "vers=4.2")?;
    b.sh(
        &WRITTEN.verify(&format!("{MOUNT}/taken/written")),
        MINUTE * 3,
    )?;
    split.mds.still_runs()?;
    Ok(Verdict::Held(facts))
}
