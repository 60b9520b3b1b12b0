//! Where the bytes of large files go: past the metadata server, over all data servers. Counted on the network by
//! connection, and by the servers themselves.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use anyhow::{Result, ensure};

use super::Verdict;
use crate::harness::bytes::{MIB, human};
use crate::harness::clock::say;
use crate::harness::guest::Guest;
use crate::harness::headrace::{DemoOptions, METRICS};
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount, mount_afresh, unmount};
use crate::harness::metrics::Scrape;
use crate::harness::net::{MDS, MDS_PORT, Net, Traffic};

const DATA_SERVERS: usize = 3;
const LEAST_BYPASS: f64 = 0.999;

pub fn run(lab: &mut Lab) -> Result<Verdict> {
    let _server = lab.demo(DemoOptions::default())?;
    let mut client = lab.client("a")?;
    mount(&mut client, "vers=4.2")?;
    let mut facts = Vec::new();

    // Nine files, so that even one data server a file reaches every one of them.
    let before = lab.net.traffic()?;
    for index in 0..9 {
        write(&mut client, &format!("large{index}"), 96)?;
    }
    mount_afresh(&mut client, "vers=4.2")?;
    for index in 0..9 {
        read(&mut client, &format!("large{index}"))?;
    }
    let traffic = lab.net.traffic()?.since(&before);
    facts.push(judge("nine files", &traffic, 9 * 96 * MIB)?);

    if lab.kernel.takes_stripes() {
        facts.push(one_striped_file(&lab.net, &mut client)?);
    }
    facts.push(several_connections(&lab.net, &mut client)?);
    servers_say_the_same()?;
    client.power_off()?;
    Ok(Verdict::Held(facts))
}

fn one_striped_file(net: &Net, client: &mut Guest) -> Result<String> {
    let before = net.traffic()?;
    write(client, "striped", 384)?;
    mount_afresh(client, "vers=4.2")?;
    read(client, "striped")?;
    judge(
        "one striped file",
        &net.traffic()?.since(&before),
        384 * MIB,
    )
}

/// Fact 13: connections to data servers are as many as the mount asked for to the metadata server.
fn several_connections(net: &Net, client: &mut Guest) -> Result<String> {
    const NCONNECT: usize = 4;
    unmount(client)?;
    let before = net.traffic()?;
    mount(client, &format!("vers=4.2,nconnect={NCONNECT}"))?;
    write(client, "several", 96)?;
    let traffic = net.traffic()?.since(&before);
    let mut by_server = BTreeMap::<_, usize>::new();
    for (connection, counted) in traffic.connections() {
        if counted.to_server_bytes > MIB {
            *by_server.entry(connection.server).or_default() += 1;
        }
    }
    by_server.remove(&SocketAddrV4::new(MDS, MDS_PORT));
    let most = by_server.values().copied().max().unwrap_or(0);
    ensure!(
        most == NCONNECT,
        "nconnect={NCONNECT}: data went to the data servers over {by_server:?} connections"
    );
    Ok(format!(
        "{most} connections to a data server with nconnect={NCONNECT}"
    ))
}

fn write(client: &mut Guest, name: &str, mib: u32) -> Result<()> {
    client.sh(
        &format!("dd if=/dev/zero of={MOUNT}/{name} bs=1M count={mib} oflag=direct conv=fsync status=none"),
        MINUTE * 3,
    )?;
    Ok(())
}

fn read(client: &mut Guest, name: &str) -> Result<()> {
    client.sh(
        &format!("dd if={MOUNT}/{name} of=/dev/null bs=1M iflag=direct status=none"),
        MINUTE * 3,
    )?;
    Ok(())
}

fn judge(what: &str, traffic: &Traffic, payload_bytes: u64) -> Result<String> {
    let servers = traffic.data_servers();
    let shown: Vec<String> = servers
        .iter()
        .map(|(server, counted)| {
            format!(
                "{server} took {} and gave {}",
                human(counted.to_server_bytes),
                human(counted.to_client_bytes)
            )
        })
        .collect();
    let share = traffic.bypass_share();
    let fact = format!(
        "{what}: {:.3} % of the bytes bypassed the metadata server",
        share * 100.0
    );
    say(format!("{fact}; {}", shown.join(", ")));
    for connection in traffic.connections() {
        let (ends, counted) = connection;
        say(format!(
            "    {} to {}: {} there, {} back",
            ends.client,
            ends.server,
            human(counted.to_server_bytes),
            human(counted.to_client_bytes)
        ));
    }
    ensure!(share >= LEAST_BYPASS, "{fact}; {}", shown.join(", "));
    let loaded = servers.values().filter(|counted| {
        let fair = payload_bytes / DATA_SERVERS as u64;
        counted.to_server_bytes > fair / 4 && counted.to_client_bytes > fair / 4
    });
    ensure!(
        loaded.count() == DATA_SERVERS,
        "{what}: not every data server carried load: {}",
        shown.join(", ")
    );
    Ok(fact)
}

/// The servers' own counters: nothing of it was proxied.
fn servers_say_the_same() -> Result<()> {
    let scrape = Scrape::of(METRICS)?;
    let name = "headrace_data_bytes_total";
    ensure!(scrape.has(name), "/metrics has no {name}");
    let direct = scrape.sum(name, &["role=\"ds\"", "path=\"direct\""]);
    let proxied = scrape.sum(name, &["role=\"mds\"", "path=\"proxy\""]);
    say(format!(
        "the servers counted {} direct and {} through the metadata server",
        human(direct as u64),
        human(proxied as u64)
    ));
    ensure!(
        proxied <= (1.0 - LEAST_BYPASS) * direct,
        "{proxied} bytes went through the metadata server, {direct} past it"
    );
    Ok(())
}
