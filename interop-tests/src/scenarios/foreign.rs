//! Data servers that are not ours: NFS-Ganesha, and the NFS server inside a Linux kernel.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};

use super::Verdict;
use super::fio::Work;
use crate::harness::bytes::{MIB, human};
use crate::harness::ganesha::Ganesha;
use crate::harness::guest::Guest;
use crate::harness::headrace::{self, SplitOptions};
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount_afresh};
use crate::harness::net::{self, MDS};

const WORK: Work = Work {
    name: "foreign",
    block_kib: 1024,
    direct: true,
    size_mib: 64,
    offset_mib: 0,
    seed: 21,
};

pub fn ganesha(lab: &mut Lab) -> Result<Verdict> {
    let address = net::data_server(5);
    let mut peer = Ganesha::start(&lab.state, address, &lab.state.join("peer"))?;
    let export = lab.state.join("peer");
    let fact = use_it(lab, address, &export.display().to_string(), 20048)?;
    peer.still_runs()?;
    Ok(Verdict::Held(vec![format!("NFS-Ganesha: {fact}")]))
}

/// The kernel's own server, in a guest of its own, with a tmpfs behind it; `None`: this kernel has none.
pub fn kernel_server(lab: &mut Lab) -> Result<Option<Guest>> {
    let kernel = lab.kernel.clone();
    let mut server = match lab.boot("knfsd", &kernel, "nfsd", 1024) {
        Ok(server) => server,
        Err(error) if format!("{error:#}").contains("modprobe nfsd failed") => return Ok(None),
        Err(error) => return Err(error),
    };
    serve_from(&mut server)?;
    Ok(Some(server))
}

pub fn knfsd(lab: &mut Lab) -> Result<Verdict> {
    let Some(server) = kernel_server(lab)? else {
        return Ok(without_nfsd(lab));
    };
    let address = server.address();
    let fact = use_it(lab, address, "/run/objects", 20048)?;
    Ok(Verdict::Held(vec![format!(
        "knfsd of {}: {fact}",
        server.release()
    )]))
}

pub fn without_nfsd(lab: &Lab) -> Verdict {
    Verdict::Skipped(format!(
        "Linux {} as built for User-Mode Linux has no nfsd",
        lab.kernel.release
    ))
}

/// The recipe of [`knfsd`] alone, with an ordinary NFSv3 mount.
pub fn knfsd_alone(lab: &mut Lab) -> Result<Verdict> {
    let kernel = lab.kernel.clone();
    let mut server = lab.boot("knfsd", &kernel, "nfsd", 1024)?;
    serve_from(&mut server)?;
    let mut client = lab.client("a")?;
    let source = format!("{}:/run/objects", server.address());
    client.sh(
        &format!(
            "mkdir -p {MOUNT} && mount -t nfs -o vers=3,nolock,proto=tcp,port=2049,mountport=20048 {source} {MOUNT} && ls {MOUNT}"
        ),
        MINUTE,
    )?;
    let denied = client.run(&format!("touch {MOUNT}/f"), MINUTE)?;
    ensure!(!denied.succeeded(), "a client's root was not squashed");
    server.sh("chmod 777 /run/objects", MINUTE)?;
    client.sh(&format!("echo x >{MOUNT}/f"), MINUTE)?;
    Ok(Verdict::Held(vec![format!(
        "knfsd of {} serves",
        server.release()
    )]))
}

/// Exports with the root of the metadata server alone not squashed, as README tells an operator to.
fn serve_from(server: &mut Guest) -> Result<()> {
    server.sh(
        &format!(
            "set -e
            mkdir -p /run/objects /run/rpcbind; : >/var/lib/nfs/etab; : >/var/lib/nfs/rmtab
            mount -t tmpfs -o mode=755,size=700m tmpfs /run/objects
            mount -t nfsd nfsd /proc/fs/nfsd
            rpcbind -w
            exportfs -i -o rw,no_root_squash,no_subtree_check,fsid=7,insecure {MDS}:/run/objects
            exportfs -i -o rw,root_squash,no_subtree_check,fsid=7,insecure 10.99.0.0/24:/run/objects
            rpc.mountd --port 20048
            rpc.nfsd --no-nfs-version 4 4"
        ),
        MINUTE,
    )?;
    Ok(())
}

fn use_it(lab: &mut Lab, address: Ipv4Addr, export: &str, mount_port: u16) -> Result<String> {
    let _split = headrace::split(
        &lab.headrace,
        &lab.state,
        &SplitOptions {
            foreign: format!(
                "[[data_server]]\nname = \"foreign\"\naddress = \"{address}:2049\"\nexport = \"{export}\"\nmount_port = {mount_port}\n"
            ),
            lease_seconds: 10,
            grace_seconds: 10,
            ..SplitOptions::default()
        },
    )?;
    let (mut a, mut b) = lab.two_mounted()?;
    let file = format!("{MOUNT}/f");
    let before = lab.net.traffic()?;
    a.sh(&WORK.write(&file), MINUTE * 3)?;
    mount_afresh(&mut b, "vers=4.2")?;
    b.sh(&WORK.verify(&file), MINUTE * 3)?;
    a.sh(
        &format!("rm {file} && mkdir {MOUNT}/d && cp -r /usr/include/linux {MOUNT}/d && diff -r /usr/include/linux {MOUNT}/d/linux"),
        MINUTE * 3,
    )?;
    let through_mds = lab.net.traffic()?.since(&before).to_mds().both_bytes();
    // Written once, read twice, and the metadata server saw names alone.
    ensure!(
        through_mds < 20 * MIB,
        "{} of 192 MiB went through the metadata server",
        human(through_mds)
    );
    Ok(format!(
        "fio verified by two clients, {} through the metadata server",
        human(through_mds)
    ))
}
