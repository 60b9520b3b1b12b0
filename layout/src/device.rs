//! Device ids of data servers: what a layout names and GETDEVICEINFO explains (RFC 8435 §4).
//! An id stands for one address and one pair of I/O sizes for ever; a change mints a new id.
//!
//! Never here: names being resolved, connections.

use crate::DataServerId;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

const MARK: [u8; 4] = *b"HRds";

/// `deviceid4`, opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(pub [u8; 16]);

impl DeviceId {
    pub fn of(server: DataServerId, device_generation: u32) -> Self {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&MARK);
        id[4..8].copy_from_slice(&server.0.to_be_bytes());
        id[8..12].copy_from_slice(&device_generation.to_be_bytes());
        Self(id)
    }

    /// `None` for an id that this server never gave.
    pub fn parse(&self) -> Option<(DataServerId, u32)> {
        let word = |at: usize| {
            u32::from_be_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
        };
        let ours = self.0[..4] == MARK && self.0[12..] == [0; 4];
        ours.then(|| (DataServerId(word(4)), word(8)))
    }
}

/// What GETDEVICEINFO tells, and what a client keeps as long as it knows the id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub addresses: Vec<SocketAddr>,
    /// FSINFO's rtmax and wtmax: a write size that is too large wedges hard mounts.
    pub read_bytes: u32,
    pub write_bytes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChange {
    Unchanged(DeviceId),
    /// The generation must be durable before the id leaves.
    Minted {
        new: DeviceId,
        old: Option<DeviceId>,
    },
}

/// The devices that layouts may name now.
#[derive(Debug, Clone, Default)]
pub struct DeviceTable {
    current: HashMap<DataServerId, (u32, Device)>,
}

impl DeviceTable {
    /// Takes up a device at start, with the generation that the catalog remembers.
    pub fn restore(&mut self, server: DataServerId, device_generation: u32, device: Device) {
        self.current.insert(server, (device_generation, device));
    }

    /// Mints a new id when anything that a client would keep has changed.
    pub fn update(&mut self, server: DataServerId, device: Device) -> DeviceChange {
        let (generation, old) = match self.current.get(&server) {
            Some((generation, known)) if *known == device => {
                return DeviceChange::Unchanged(DeviceId::of(server, *generation));
            }
            Some((generation, _)) => (
                generation.wrapping_add(1),
                Some(DeviceId::of(server, *generation)),
            ),
            None => (1, None),
        };
        self.current.insert(server, (generation, device));
        DeviceChange::Minted {
            new: DeviceId::of(server, generation),
            old,
        }
    }

    /// `None` is NFS4ERR_NOENT: the server left, or the id is of an older generation.
    pub fn device(&self, id: DeviceId) -> Option<&Device> {
        let (server, asked) = id.parse()?;
        let (generation, device) = self.current.get(&server)?;
        (*generation == asked).then_some(device)
    }

    pub fn id_of(&self, server: DataServerId) -> Option<DeviceId> {
        self.current
            .get(&server)
            .map(|(generation, _)| DeviceId::of(server, *generation))
    }

    pub fn remove(&mut self, server: DataServerId) -> Option<DeviceId> {
        self.current
            .remove(&server)
            .map(|(generation, _)| DeviceId::of(server, generation))
    }

    pub fn iter(&self) -> impl Iterator<Item = (DeviceId, DataServerId, &Device)> {
        self.current.iter().map(|(server, (generation, device))| {
            (DeviceId::of(*server, *generation), *server, device)
        })
    }
}

/// Netid and universal address (RFC 5665 §5.2.3) of a TCP address.
pub fn universal_address(address: SocketAddr) -> (&'static str, String) {
    let (high, low) = (address.port() >> 8, address.port() & 0xff);
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => ("tcp", format!("{ip}.{high}.{low}")),
        IpAddr::V6(ip) => ("tcp6", format!("{ip}.{high}.{low}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(port: u16, write_bytes: u32) -> Device {
        Device {
            addresses: vec![SocketAddr::from(([10, 0, 0, 7], port))],
            read_bytes: 1 << 20,
            write_bytes,
        }
    }

    #[test]
    fn a_new_write_size_or_address_mints_a_new_id_and_forgets_the_old() {
        let mut table = DeviceTable::default();
        let server = DataServerId(3);
        let DeviceChange::Minted {
            new: first,
            old: None,
        } = table.update(server, device(2049, 65536))
        else {
            panic!("the first sight of a server mints an id");
        };
        assert_eq!(
            table.update(server, device(2049, 65536)),
            DeviceChange::Unchanged(first)
        );
        let DeviceChange::Minted { new: second, old } = table.update(server, device(2049, 32768))
        else {
            panic!("another write size mints an id");
        };
        assert_eq!(old, Some(first));
        assert!(table.device(first).is_none());
        assert_eq!(table.device(second).map(|d| d.write_bytes), Some(32768));
        assert!(matches!(
            table.update(server, device(2050, 32768)),
            DeviceChange::Minted { .. }
        ));
    }

    #[test]
    fn an_id_from_elsewhere_is_not_ours() {
        assert_eq!(DeviceId([7; 16]).parse(), None);
        assert_eq!(
            DeviceId::of(DataServerId(9), 2).parse(),
            Some((DataServerId(9), 2))
        );
    }

    #[test]
    fn universal_addresses_carry_the_port_in_two_bytes() {
        assert_eq!(
            universal_address(SocketAddr::from(([10, 0, 0, 7], 2049))),
            ("tcp", "10.0.0.7.8.1".to_owned())
        );
        let six = "[2001:db8::1]:20490".parse().expect("a literal address");
        assert_eq!(
            universal_address(six),
            ("tcp6", "2001:db8::1.80.10".to_owned())
        );
    }
}
