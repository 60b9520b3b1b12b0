//! The network of one sandbox: a bridge with an address for each server, a tap for each guest, no route out;
//! and a count of the bytes of every TCP connection that crosses the bridge to a server, kept by nftables.
//! What servers say to each other goes over loopback and is not counted.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context, Result};
use serde_json::Value;

use super::command::{self, words};

/// Where the metadata server listens.
pub const MDS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
pub const MDS_PORT: u16 = 2049;
pub const DS_PORT: u16 = 20491;

/// Address of data server `index`, from 0.
pub fn data_server(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, 2 + index)
}

/// Address of guest `index`, from 0.
pub fn guest(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, 11 + index)
}

const COUNTERS: &str = "
table inet headrace {
  set to_server { type ipv4_addr . inet_service . ipv4_addr . inet_service; flags dynamic; size 65535; counter; }
  set to_client { type ipv4_addr . inet_service . ipv4_addr . inet_service; flags dynamic; size 65535; counter; }
  chain arriving {
    type filter hook input priority 0; policy accept;
    iifname \"br0\" ip protocol tcp update @to_server { ip saddr . tcp sport . ip daddr . tcp dport };
  }
  chain leaving {
    type filter hook output priority 0; policy accept;
    oifname \"br0\" ip protocol tcp update @to_client { ip daddr . tcp dport . ip saddr . tcp sport };
  }
}
";

#[derive(Debug)]
pub struct Net {
    bridge: &'static str,
    /// nftables' name of the counters.
    table: &'static str,
    counts: bool,
}

/// Whether clients are machines of their own on the bridge, whose bytes are counted there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    Guests,
    ThisMachine,
}

impl Net {
    /// Builds the bridge with addresses for the metadata server and eight data servers.
    pub fn up(clients: Clients) -> Result<Self> {
        words("ip link set lo up")?;
        words("ip link add br0 type bridge forward_delay 0")?;
        words(&format!("ip addr add {MDS}/24 dev br0"))?;
        for index in 0..8 {
            words(&format!("ip addr add {}/24 dev br0", data_server(index)))?;
        }
        words("ip link set br0 up")?;
        let counts = clients == Clients::Guests;
        if counts {
            command::run_with_input("nft", &["-f", "-"], COUNTERS).context(
                "nftables counts the bytes of each connection, and this kernel refused it",
            )?;
        }
        Ok(Self {
            bridge: "br0",
            table: "headrace",
            counts,
        })
    }

    /// A tap on the bridge for a guest. Asking again for the same one is no fault: a guest that is booted anew uses it.
    pub fn tap(&self, name: &str) -> Result<()> {
        if words(&format!("ip link show dev {name}")).is_ok() {
            return Ok(());
        }
        words(&format!("ip tuntap add {name} mode tap"))?;
        words(&format!("ip link set {name} master {} up", self.bridge))?;
        Ok(())
    }

    /// Drops all that a guest sends to servers, until [`Net::join_again`].
    pub fn cut_off(&self, guest: Ipv4Addr) -> Result<()> {
        let rules = format!(
            "table inet {table}_cut {{\n chain arriving {{\n type filter hook input priority -10\n ip saddr {guest} drop\n }}\n }}\n",
            table = self.table
        );
        command::run_with_input("nft", &["-f", "-"], &rules)?;
        Ok(())
    }

    pub fn join_again(&self) -> Result<()> {
        words(&format!("nft delete table inet {}_cut", self.table))?;
        Ok(())
    }

    /// The bytes of every connection since the network came up; none where they aren't counted.
    pub fn traffic(&self) -> Result<Traffic> {
        let mut traffic = Traffic::default();
        if !self.counts {
            return Ok(traffic);
        }
        for set in ["to_server", "to_client"] {
            let text = command::run("nft", &["-j", "list", "set", "inet", self.table, set])?;
            let list: Value = serde_json::from_str(&text).context("reading nft's JSON")?;
            for (connection, bytes) in elements(&list) {
                let entry = traffic.connections.entry(connection).or_default();
                if set == "to_server" {
                    entry.to_server_bytes += bytes;
                } else {
                    entry.to_client_bytes += bytes;
                }
            }
        }
        Ok(traffic)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    pub client: SocketAddrV4,
    pub server: SocketAddrV4,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub to_server_bytes: u64,
    pub to_client_bytes: u64,
}

impl Counted {
    pub fn both_bytes(self) -> u64 {
        self.to_server_bytes + self.to_client_bytes
    }
}

/// Bytes on the network, headers of IP and TCP included, by connection.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    connections: BTreeMap<Connection, Counted>,
}

impl Traffic {
    /// What was added since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut connections = BTreeMap::new();
        for (connection, now) in &self.connections {
            let before = earlier
                .connections
                .get(connection)
                .copied()
                .unwrap_or_default();
            connections.insert(
                *connection,
                Counted {
                    to_server_bytes: now.to_server_bytes.saturating_sub(before.to_server_bytes),
                    to_client_bytes: now.to_client_bytes.saturating_sub(before.to_client_bytes),
                },
            );
        }
        Self { connections }
    }

    pub fn connections(&self) -> impl Iterator<Item = (&Connection, &Counted)> {
        self.connections.iter()
    }

    /// Sum over the connections that `wanted` accepts.
    pub fn sum(&self, wanted: impl Fn(&Connection) -> bool) -> Counted {
        let mut sum = Counted::default();
        for (connection, counted) in &self.connections {
            if wanted(connection) {
                sum.to_server_bytes += counted.to_server_bytes;
                sum.to_client_bytes += counted.to_client_bytes;
            }
        }
        sum
    }

    pub fn to_mds(&self) -> Counted {
        self.sum(|c| c.server == SocketAddrV4::new(MDS, MDS_PORT))
    }

    /// Data servers that took part in this traffic, each with its bytes.
    pub fn data_servers(&self) -> BTreeMap<SocketAddrV4, Counted> {
        let mut servers: BTreeMap<SocketAddrV4, Counted> = BTreeMap::new();
        for (connection, counted) in &self.connections {
            if connection.server != SocketAddrV4::new(MDS, MDS_PORT) {
                let entry = servers.entry(connection.server).or_default();
                entry.to_server_bytes += counted.to_server_bytes;
                entry.to_client_bytes += counted.to_client_bytes;
            }
        }
        servers
    }

    /// Share of all bytes that did not go to or from the metadata server, 0 to 1.
    pub fn bypass_share(&self) -> f64 {
        let all = self.sum(|_| true).both_bytes();
        if all == 0 {
            return 0.0;
        }
        1.0 - self.to_mds().both_bytes() as f64 / all as f64
    }
}

fn elements(list: &Value) -> Vec<(Connection, u64)> {
    let mut found = Vec::new();
    let objects = list["nftables"].as_array().cloned().unwrap_or_default();
    for element in objects
        .iter()
        .filter_map(|object| object["set"]["elem"].as_array())
        .flatten()
    {
        let element = &element["elem"];
        let key = &element["val"]["concat"];
        let address = |index: usize| key[index].as_str().and_then(|text| text.parse().ok());
        let port = |index: usize| key[index].as_u64().and_then(|n| u16::try_from(n).ok());
        if let (Some(client), Some(client_port), Some(server), Some(server_port), Some(bytes)) = (
            address(0),
            port(1),
            address(2),
            port(3),
            element["counter"]["bytes"].as_u64(),
        ) {
            let connection = Connection {
                client: SocketAddrV4::new(client, client_port),
                server: SocketAddrV4::new(server, server_port),
            };
            found.push((connection, bytes));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"set": {"name": "to_server", "elem": [
        {"elem": {"val": {"concat": ["10.99.0.11", 732, "10.99.0.1", 2049]}, "counter": {"packets": 9, "bytes": 100}}},
        {"elem": {"val": {"concat": ["10.99.0.11", 733, "10.99.0.2", 20491]}, "counter": {"packets": 9, "bytes": 900}}}
    ]}}]}"#;

    fn traffic() -> Traffic {
        let list: Value = serde_json::from_str(LISTED).unwrap();
        let mut traffic = Traffic::default();
        for (connection, bytes) in elements(&list) {
            let entry = traffic.connections.entry(connection).or_default();
            entry.to_server_bytes += bytes;
        }
        traffic
    }

    #[test]
    fn bytes_are_told_apart_by_connection() {
        let traffic = traffic();
        assert_eq!(traffic.to_mds().both_bytes(), 100);
        assert_eq!(traffic.data_servers().len(), 1);
        assert!((traffic.bypass_share() - 0.9).abs() < 1e-9);
    }

    #[test]
    fn a_difference_holds_only_what_was_added() {
        let traffic = traffic();
        assert_eq!(traffic.since(&traffic).sum(|_| true).both_bytes(), 0);
    }
}
