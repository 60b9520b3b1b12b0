//! The demo: what a newcomer sees Headrace do, ending in a table. It holds only if every step held.

mod elsewhere;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use elsewhere::{Elsewhere, Way, print_ways};

use crate::Places;
use crate::harness::bytes::{human, megabytes_per_second};
use crate::harness::client::{Client, Native};
use crate::harness::clock::{self, let_pass, say};
use crate::harness::headrace::{self, METRICS, Split, SplitOptions};
use crate::harness::kernels::Kernel;
use crate::harness::lab::{Lab, MINUTE, MOUNT, mount, unmount};
use crate::harness::metrics::Scrape;
use crate::harness::net::{self, Clients, Traffic};
use crate::harness::seaweed::Seaweed;
use crate::scenarios::Verdict;
use crate::scenarios::crash::{Left, end_load, start_load, tell_deaths};
use crate::scenarios::{fio, tree};

/// The name by which the runner knows it.
pub const NAME: &str = "demo";

const DATA_SERVERS: u8 = 3;
const DEATHS: u32 = 3;
const SPEED_MIB: u32 = 256;

/// A share of the bytes of large files less than this is a failure.
const LEAST_BYPASS: f64 = 0.999;

struct Speed {
    traffic: Traffic,
    /// The servers' own counters of file data.
    served: Served,
    time: Duration,
}

/// File data as the servers counted it: past the metadata server, and through it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Served {
    direct_bytes: f64,
    proxied_bytes: f64,
}

impl Served {
    /// Since every server's start.
    fn now() -> Result<Self> {
        const BYTES: &str = "headrace_data_bytes_total";
        let mds = Scrape::of(METRICS)?;
        ensure!(mds.has(BYTES), "the metadata server counts no bytes");
        let mut served = Self {
            direct_bytes: 0.0,
            proxied_bytes: mds.sum(BYTES, &["path=\"proxy\""]),
        };
        for index in 0..DATA_SERVERS {
            let scrape = Scrape::of(headrace::data_server_metrics(index))?;
            served.direct_bytes += scrape.sum(BYTES, &["path=\"direct\""]);
        }
        Ok(served)
    }

    /// What was added. What the metadata server proxied is counted by data servers too: it called them.
    fn since(&self, earlier: &Self) -> Self {
        let proxied_bytes = self.proxied_bytes - earlier.proxied_bytes;
        let direct_bytes = self.direct_bytes - earlier.direct_bytes - proxied_bytes;
        Self {
            direct_bytes: direct_bytes.max(0.0),
            proxied_bytes,
        }
    }

    fn bypass_share(&self) -> f64 {
        let all = self.direct_bytes + self.proxied_bytes;
        if all > 0.0 {
            self.direct_bytes / all
        } else {
            0.0
        }
    }
}

/// The metadata server's operations over its restarts: its counters begin anew with each.
#[derive(Debug, Default)]
struct Operations {
    before: f64,
}

impl Operations {
    fn of_this_start() -> Result<f64> {
        Ok(Scrape::of(METRICS)?.sum("headrace_operations_total", &[]))
    }

    /// Called just before the metadata server is killed.
    fn keep(&mut self) -> Result<()> {
        self.before += Self::of_this_start()?;
        Ok(())
    }

    fn sum(&self) -> Result<f64> {
        Ok(self.before + Self::of_this_start()?)
    }
}

pub fn run(native: bool, places: &Places, kernels: &[Kernel]) -> Result<Verdict> {
    let newest = kernels.last().context("no kernels")?.clone();
    let mut lab = Lab::new(
        &places.state,
        &places.cache,
        &places.headrace,
        kernels.to_vec(),
        newest,
        if native {
            Clients::ThisMachine
        } else {
            Clients::Guests
        },
    )?;
    let mut clients: Vec<(Box<dyn Client>, Ipv4Addr)> = Vec::new();
    if native {
        clients.push((Box::new(Native::new(&places.cache)?), net::MDS));
    }
    say(
        "starting a filer, NFS-Ganesha, and an S3 server, SeaweedFS, with files that were there before",
    );
    let mut elsewhere = Elsewhere::start(&lab)?;
    say("starting one metadata server and three data servers, each a process");
    let mut split = headrace::split(
        &lab.headrace,
        &lab.state,
        &SplitOptions {
            own_data_servers: DATA_SERVERS,
            exports: elsewhere.exports(),
            lease_seconds: 8,
            grace_seconds: 8,
            cached: elsewhere.lake.cached(),
            environment: Seaweed::environment().to_vec(),
            ..SplitOptions::default()
        },
    )?;
    if !native {
        say("booting two clients: real Linux kernels, each a process");
        for (index, kernel) in kernels.iter().enumerate() {
            let guest = lab.client_with(["old", "new"][index.min(1)], kernel)?;
            let address = guest.address();
            clients.push((Box::new(guest), address));
        }
    }
    for (client, _) in &mut clients {
        mount(client.as_mut(), "vers=4.2")?;
        say(format!(
            "Linux {} mounted it: mount -t nfs4 -o vers=4.2 {}:/ {MOUNT}",
            client.release(),
            net::MDS
        ));
    }
    let last = clients.len() - 1;
    let begun = lab.net.traffic()?;
    let copied = tree::copy(&lab, clients[0].0.as_mut())?;
    let compared = tree::compare(clients[last].0.as_mut())?;
    fio::write_four_ways(clients[last].0.as_mut())?;
    fio::verify_four_ways(clients[0].0.as_mut())?;
    let speed = large_files(&lab, &mut clients)?;
    let mut operations = Operations::default();
    let survived = metadata_server_dies(&mut split, &mut operations, &mut clients)?;
    let all = lab.net.traffic()?.since(&begun);
    let shown = elsewhere.read(&lab, native, &mut clients)?;
    if native {
        print_own_counts(&speed, operations.sum()?, &mut clients)?;
    } else {
        print_table(&all, &speed, operations.sum()?, &mut clients)?;
    }
    let own = Way::of_own_files(&speed, native);
    print_ways(&[&[own], &shown.ways[..]].concat(), native);
    println!("  source tree      {copied}; {compared}: equal");
    println!(
        "  fio verify       crc32c, 1 MiB and 4 KiB, direct and buffered, by both clients: held"
    );
    println!("  kill -9          {survived}");
    for line in &shown.said {
        println!("  {line}");
    }
    println!("  time             {:.0} s", clock::elapsed().as_secs_f64());
    // Of the network's bytes, where clients and servers are two machines; and of the servers' own.
    let on_the_network = (!native).then(|| speed.traffic.bypass_share());
    for share in on_the_network
        .into_iter()
        .chain([speed.served.bypass_share()])
    {
        ensure!(
            share >= LEAST_BYPASS,
            "only {:.3} % of the bytes of large files bypassed the metadata server",
            share * 100.0
        );
    }
    // Before the servers go: a mount without its server can't be taken down.
    for (client, _) in &mut clients {
        unmount(client.as_mut())?;
    }
    split.mds.stop(MINUTE)?;
    for data_server in &mut split.data_servers {
        data_server.stop(MINUTE)?;
    }
    Ok(Verdict::Held(vec!["everything held".to_owned()]))
}

/// All clients at once write and read large files, each of its own; how fast, and where the bytes went.
fn large_files(lab: &Lab, clients: &mut [(Box<dyn Client>, Ipv4Addr)]) -> Result<Speed> {
    let before = lab.net.traffic()?;
    let served = Served::now()?;
    let begun = Instant::now();
    let mut jobs = Vec::new();
    for (client, _) in clients.iter_mut() {
        let name = client.name().to_owned();
        jobs.push(client.spawn(&format!(
            "cd /run/home && for i in 1 2 3; do for rw in write read; do fio --minimal --thread --name=speed \
             --filename={MOUNT}/speed-{name}-$i --rw=$rw --bs=1m --size={SPEED_MIB}m --direct=1 --ioengine=libaio \
             --iodepth=8 --fallocate=none || exit 1; done; done"
        ))?);
    }
    for ((client, _), job) in clients.iter_mut().zip(&jobs) {
        client.must(job, MINUTE * 4)?;
    }
    let time = begun.elapsed();
    say(format!(
        "large files: {} MiB written and read by each client in {:.0} s",
        3 * SPEED_MIB,
        time.as_secs_f64()
    ));
    Ok(Speed {
        traffic: lab.net.traffic()?.since(&before),
        served: Served::now()?.since(&served),
        time,
    })
}

fn metadata_server_dies(
    split: &mut Split,
    operations: &mut Operations,
    clients: &mut [(Box<dyn Client>, Ipv4Addr)],
) -> Result<String> {
    let mut loads = Vec::new();
    for (seed, (client, _)) in (1..).zip(clients.iter_mut()) {
        loads.push(start_load(client.as_mut(), seed, 0)?);
    }
    for death in 1..=DEATHS {
        let_pass(Duration::from_secs(3));
        operations.keep()?;
        for (client, _) in clients.iter() {
            tell_deaths(client.as_ref(), death, false)?;
        }
        split.mds.kill9()?;
        say(format!(
            "kill -9 of the metadata server, {death} of {DEATHS}"
        ));
        let_pass(Duration::from_millis(500));
        split.mds.start()?;
        for (client, _) in clients.iter() {
            tell_deaths(client.as_ref(), death, true)?;
        }
    }
    let_pass(Duration::from_secs(2));
    let mut said = Vec::new();
    for ((client, _), load) in clients.iter_mut().zip(&loads) {
        if client.is_done(load)? {
            client.must(load, MINUTE)?;
            bail!("the load on Linux {} ended by itself", client.release());
        }
        let load_said = end_load(client.as_mut(), load)?;
        said.push(format!("Linux {}: {load_said}", client.release()));
    }
    let left: Vec<Left> = clients
        .iter()
        .map(|(client, _)| Left::by(client.as_ref()))
        .collect();
    for (index, left) in left.iter().enumerate() {
        let judge = (index + 1) % clients.len();
        left.verify(clients[judge].0.as_mut())?;
    }
    Ok(format!(
        "{DEATHS} times under load, every acknowledged result is there ({})",
        said.join("; ")
    ))
}

/// RPC calls that a client sent, to the metadata server and to data servers.
fn calls_of(client: &mut dyn Client) -> Result<u64> {
    let text = client.sh("awk '/^rpc/ {print $2}' /proc/net/rpc/nfs", MINUTE)?;
    text.trim().parse().context("reading /proc/net/rpc/nfs")
}

fn print_table(
    all: &Traffic,
    speed: &Speed,
    operations: f64,
    clients: &mut [(Box<dyn Client>, Ipv4Addr)],
) -> Result<()> {
    println!();
    println!(
        "  {:28} {:>12} {:>12} {:>10} {:>12}",
        "client", "written", "read", "MB/s", "RPC calls"
    );
    for (client, address) in clients.iter_mut() {
        let bytes = all.sum(|connection| connection.client.ip() == address);
        let fast = speed
            .traffic
            .sum(|connection| connection.client.ip() == address);
        let calls = calls_of(client.as_mut())?;
        println!(
            "  {:28} {:>12} {:>12} {:>10.0} {:>12}",
            format!("{} (Linux {})", client.name(), client.release()),
            human(bytes.to_server_bytes),
            human(bytes.to_client_bytes),
            megabytes_per_second(fast.both_bytes(), speed.time),
            calls
        );
    }
    println!();
    println!(
        "  {:28} {:>12} {:>12} {:>10} {:>12}",
        "server", "received", "sent", "MB/s", "operations"
    );
    let mds = all.to_mds();
    println!(
        "  {:28} {:>12} {:>12} {:>10.0} {:>12.0}",
        "metadata server",
        human(mds.to_server_bytes),
        human(mds.to_client_bytes),
        megabytes_per_second(speed.traffic.to_mds().both_bytes(), speed.time),
        operations
    );
    let fast: BTreeMap<_, _> = speed.traffic.data_servers();
    for (index, (server, bytes)) in all.data_servers().into_iter().enumerate() {
        let operations = Scrape::of(headrace::data_server_metrics(index as u8))?
            .sum("headrace_operations_total", &[]);
        let in_phase = fast.get(&server).copied().unwrap_or_default();
        println!(
            "  {:28} {:>12} {:>12} {:>10.0} {:>12.0}",
            format!("data server {server}"),
            human(bytes.to_server_bytes),
            human(bytes.to_client_bytes),
            megabytes_per_second(in_phase.both_bytes(), speed.time),
            operations
        );
    }
    println!();
    print_served(&speed.served);
    println!(
        "  past the metadata server, on the network: {:.3} % of the bytes of large files, {:.1} % of all bytes of this demo",
        speed.traffic.bypass_share() * 100.0,
        all.bypass_share() * 100.0
    );
    println!(
        "  (bytes above are those of each TCP connection on the network; MB/s while all clients wrote and read large files;"
    );
    println!("  the metadata server's operations are those of all its lives)");
    Ok(())
}

fn print_served(served: &Served) {
    println!(
        "  past the metadata server, as the servers count: {:.3} % of the data of large files ({} past it, {} through it)",
        served.bypass_share() * 100.0,
        human(served.direct_bytes as u64),
        human(served.proxied_bytes as u64)
    );
}

/// The table where client and servers are one machine, and no network lies between them to count on.
fn print_own_counts(
    speed: &Speed,
    operations: f64,
    clients: &mut [(Box<dyn Client>, Ipv4Addr)],
) -> Result<()> {
    println!();
    println!(
        "  {:28} {:>12} {:>12} {:>10} {:>12}",
        "", "written", "read", "MB/s", "operations"
    );
    let fast = speed.served.direct_bytes + speed.served.proxied_bytes;
    for (client, _) in clients.iter_mut() {
        println!(
            "  {:28} {:>12} {:>12} {:>10.0} {:>12}",
            format!("{} (Linux {})", client.name(), client.release()),
            "",
            "",
            megabytes_per_second(fast as u64, speed.time),
            calls_of(client.as_mut())?
        );
    }
    println!(
        "  {:28} {:>12} {:>12} {:>10} {operations:>12.0}",
        "metadata server", "", "", ""
    );
    for index in 0..DATA_SERVERS {
        let scrape = Scrape::of(headrace::data_server_metrics(index))?;
        let moved = |direction| scrape.sum("headrace_data_bytes_total", &[direction]) as u64;
        println!(
            "  {:28} {:>12} {:>12} {:>10} {:>12.0}",
            format!("data server {}", net::data_server(index)),
            human(moved("direction=\"written\"")),
            human(moved("direction=\"read\"")),
            "",
            scrape.sum("headrace_operations_total", &[])
        );
    }
    println!();
    print_served(&speed.served);
    println!(
        "  (bytes are file data as the data servers count it, and the client's operations are its RPC calls: client"
    );
    println!("  and servers are one machine, and nothing between them counts)");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_proxied_is_not_taken_for_direct_because_data_servers_saw_it() {
        let before = Served {
            direct_bytes: 100.0,
            proxied_bytes: 10.0,
        };
        let after = Served {
            direct_bytes: 1_100.0,
            proxied_bytes: 260.0,
        };
        let added = after.since(&before);
        assert!((added.bypass_share() - 0.75).abs() < 1e-9, "{added:?}");
        let all_proxied = Served {
            direct_bytes: 1_100.0,
            proxied_bytes: 1_010.0,
        };
        assert!(all_proxied.since(&before).bypass_share() < 1e-9);
    }
}
