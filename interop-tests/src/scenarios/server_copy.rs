//! Two Headrace servers and a client with both mounted: `cp` between them asks the servers to do it.

use anyhow::{Result, ensure};

use super::Verdict;
use super::referral::{OTHER, first_server, other_server};
use crate::harness::bytes::MIB;
use crate::harness::guest::Guest;
use crate::harness::headrace::METRICS;
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount};
use crate::harness::metrics::Scrape;
use crate::harness::net::data_server;

const OTHER_MOUNT: &str = "/run/other";

/// How often the first server was asked for something.
fn asked(operation: &str) -> Result<f64> {
    let label = format!("operation=\"{operation}\"");
    Ok(Scrape::of(METRICS)?.sum("headrace_operations_total", &[&label]))
}

/// Bytes that passed the client while it copied, and the copy compared once they were counted.
fn copied(lab: &Lab, client: &mut Guest, from: &str, to: &str) -> Result<u64> {
    let before = lab.net.traffic()?;
    client.sh(&format!("cp {from} {to}"), MINUTE)?;
    let moved = lab.net.traffic()?.since(&before).sum(|_| true);
    client.sh(
        &format!("echo 3 >/proc/sys/vm/drop_caches; cmp {from} {to}"),
        MINUTE,
    )?;
    Ok(moved.to_server_bytes + moved.to_client_bytes)
}

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    // The first sends copies and takes none; the other takes and sends.
    let net = "\"10.99.0.0/24\"";
    let both = format!("\n[server_copy]\ndestinations = {net}\nsources = {net}\n");
    let (mut other, _data) = other_server(lab, &both)?;
    let exports = format!(
        "[[export]]\npath = \"/\"\nclients = {net}\nsquash = \"none\"\n\n\
         [server_copy]\ndestinations = {net}\n"
    );
    let mut split = first_server(lab, 2, exports)?;
    let mut client = lab.client("a")?;
    mount(&mut client, "vers=4.2")?;
    client.sh(
        &format!(
            "mkdir -p {OTHER_MOUNT} && mount -t nfs4 -o vers=4.2 {}:/ {OTHER_MOUNT} && \
             dd if=/dev/urandom of={MOUNT}/large bs=1M count=64 conv=fsync && \
             dd if=/dev/urandom of={MOUNT}/small bs=64k count=1 conv=fsync",
            data_server(OTHER)
        ),
        MINUTE,
    )?;
    let notified = asked("COPY_NOTIFY")?;
    let by_servers = copied(
        lab,
        &mut client,
        &format!("{MOUNT}/large"),
        &format!("{OTHER_MOUNT}/large"),
    )?;
    ensure!(
        by_servers < MIB,
        "64 MiB were copied from server to server, and {by_servers} bytes passed the client"
    );
    ensure!(asked("COPY_NOTIFY")? > notified, "no COPY_NOTIFY came");
    // Of what two READs hold Linux asks no server.
    let notified = asked("COPY_NOTIFY")?;
    copied(
        lab,
        &mut client,
        &format!("{MOUNT}/small"),
        &format!("{OTHER_MOUNT}/small"),
    )?;
    ensure!(
        (asked("COPY_NOTIFY")? - notified).abs() < 0.5,
        "64 KiB were copied from server to server"
    );
    // The first goes to no source: OFFLOAD_DENIED, and the client reads and writes.
    let refused = asked("COPY")?;
    let by_client = copied(
        lab,
        &mut client,
        &format!("{OTHER_MOUNT}/large"),
        &format!("{MOUNT}/back"),
    )?;
    ensure!(asked("COPY")? > refused, "the first server was not asked");
    ensure!(
        by_client > 64 * MIB,
        "{by_client} bytes passed the client, and no server may have copied"
    );
    // COPY within the first goes on: OFFLOAD_DENIED is no NOTSUPP.
    let within = copied(
        lab,
        &mut client,
        &format!("{MOUNT}/large"),
        &format!("{MOUNT}/again"),
    )?;
    ensure!(within < MIB, "{within} bytes passed the client");
    client.sh(&format!("umount {OTHER_MOUNT} && umount {MOUNT}"), MINUTE)?;
    other.still_runs()?;
    split.mds.still_runs()?;
    client.power_off()?;
    Ok(Verdict::Held(vec![format!(
        "64 MiB from server to server, {by_servers} bytes past the client"
    )]))
}
