//! The harness against a server that is known to work: what fails here is the harness's fault.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Verdict;
use super::suites::{EXPECTED, run_fsx, run_pjdfstest};
use crate::harness::bytes::MIB;
use crate::harness::clock::say;
use crate::harness::ganesha::Ganesha;
use crate::harness::guest::Guest;
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount_from};
use crate::harness::net;

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let mut server = Ganesha::start(&lab.state, net::MDS, Path::new("/run/peer"))?;
    let mut client = lab.client("a")?;
    mount_from(&mut client, "10.99.0.1:/peer", "vers=4.1")?;
    let before = lab.net.traffic()?;
    client.sh(
        &format!("dd if=/dev/zero of={MOUNT}/f bs=1M count=64 conv=fsync"),
        MINUTE,
    )?;
    let moved = lab.net.traffic()?.since(&before).to_mds().to_server_bytes;
    ensure!(
        (64 * MIB..70 * MIB).contains(&moved),
        "64 MiB were written, {moved} bytes were counted"
    );
    run_load(&mut client)?;

    // A client that crashes and comes back with its address.
    let recipe = client.kill9();
    let mut client = lab.boot_again(&recipe)?;
    mount_from(&mut client, "10.99.0.1:/peer", "vers=4.1")?;
    client.sh(
        &format!("/run/shared/interop verify {MOUNT}/load /run/shared/manifest"),
        MINUTE,
    )?;
    let failed = client.run("echo to stdout; echo to stderr >&2; exit 3", MINUTE)?;
    ensure!(
        failed.status == 3 && failed.stdout == "to stdout\n" && failed.stderr == "to stderr\n",
        "{failed:?}"
    );
    let job = client.spawn("sleep 1000")?;
    ensure!(
        client.wait(&job, Duration::from_secs(1)).is_err(),
        "a script without end has ended"
    );
    server.still_runs()?;
    client.power_off()?;
    Ok(Verdict::Held(vec![format!("{moved} bytes for 64 MiB")]))
}

fn run_load(client: &mut Guest) -> Result<()> {
    client.sh(
        &format!(
            "mkdir {MOUNT}/load && /run/shared/interop load {MOUNT}/load /run/shared/manifest /run/stop --seed 1 --seconds 4"
        ),
        MINUTE,
    )?;
    Ok(())
}

/// What fails on another server too is likely the client's.
pub fn suites(lab: &mut Lab) -> Result<Verdict> {
    let _server = Ganesha::start(&lab.state, net::MDS, &lab.state.join("peer"))?;
    let mut client = lab.client("a")?;
    mount_from(&mut client, "10.99.0.1:/peer", "vers=4.2")?;
    let fsx = run_fsx(&mut client);
    if let Err(error) = &fsx {
        say(format!("{error:#}"));
    }
    run_pjdfstest(lab, &mut client, EXPECTED)
}
