//! Bodies of the flexible file layout (RFC 8435): device addresses, layouts, and what clients report back.
//! Which device or mirror to name is not decided here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use super::codec::{Opaques, decode_opaques, encode_opaques};
use super::types::*;
use crate::xdr::{DecodeError, Decoder, Encoder, Xdr};

pub const FF_FLAGS_NO_LAYOUTCOMMIT: u32 = 1;
pub const FF_FLAGS_NO_IO_THRU_MDS: u32 = 2;
pub const FF_FLAGS_NO_READ_IO: u32 = 4;
pub const FF_FLAGS_WRITE_ONE_MIRROR: u32 = 8;

messages! {
    pub struct DeviceVersion {
        pub version: u32,
        pub minorversion: u32,
        pub rsize: u32,
        pub wsize: u32,
        pub tightly_coupled: bool,
    }

    /// `ff_device_addr4`.
    pub struct DeviceAddr {
        pub netaddrs: Vec<Netaddr4> = 256,
        pub versions: Vec<DeviceVersion> = 64,
    }

    /// `ff_layout4`.
    pub struct Layout {
        pub stripe_unit: u64,
        pub mirrors: Vec<Mirror> = 1024,
        pub flags: u32,
        pub stats_collect_hint: u32,
    }

    /// `ff_mirror4`.
    pub struct Mirror {
        pub data_servers: Vec<DataServer> = 4096,
    }

    /// `ff_layouthint4`: how many mirrors.
    pub struct LayoutHint {
        pub mirrors_hint: Option<u32>,
    }

    /// `ff_ioerr4`.
    pub struct IoErr {
        pub offset: u64,
        pub length: u64,
        pub stateid: Stateid4,
        pub errors: Vec<DeviceError4> = LIST_LIMIT,
    }

    /// `ff_io_latency4`.
    pub struct IoLatency {
        pub ops_requested: u64,
        pub bytes_requested: u64,
        pub ops_completed: u64,
        pub bytes_completed: u64,
        pub bytes_not_delivered: u64,
        pub total_busy_time: Nfstime4,
        pub aggregate_completion_time: Nfstime4,
    }

    /// `ff_layoutupdate4`, the body of LAYOUTSTATS.
    pub struct LayoutUpdate {
        pub addr: Netaddr4,
        pub fhandle: Fh4 = FH_LIMIT,
        pub read: IoLatency,
        pub write: IoLatency,
        pub duration: Nfstime4,
        pub local: bool,
    }

    /// `ff_iostats4`.
    pub struct IoStats {
        pub offset: u64,
        pub length: u64,
        pub stateid: Stateid4,
        pub read: IoInfo4,
        pub write: IoInfo4,
        pub deviceid: Deviceid4,
        pub layoutupdate: LayoutUpdate,
    }

    /// `ff_layoutreturn4`, the body of LAYOUTRETURN.
    pub struct LayoutReturn {
        pub ioerr_report: Vec<IoErr> = LIST_LIMIT,
        pub iostats_report: Vec<IoStats> = LIST_LIMIT,
    }
}

/// `ff_data_server4`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataServer {
    pub deviceid: Deviceid4,
    pub efficiency: u32,
    pub stateid: Stateid4,
    /// One filehandle per version of the device.
    pub fh_vers: Vec<Fh4>,
    pub user: Bytes,
    pub group: Bytes,
}

impl Xdr for DataServer {
    fn encode(&self, out: &mut Encoder) {
        self.deviceid.encode(out);
        out.u32(self.efficiency);
        self.stateid.encode(out);
        encode_opaques(&self.fh_vers, out);
        out.opaque(&self.user);
        out.opaque(&self.group);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            deviceid: Deviceid4::decode(input)?,
            efficiency: input.u32()?,
            stateid: Stateid4::decode(input)?,
            fh_vers: decode_opaques(
                input,
                "fh_vers",
                Opaques {
                    count: 64,
                    each: FH_LIMIT,
                },
            )?,
            user: input.opaque("user", OPAQUE_LIMIT)?,
            group: input.opaque("group", OPAQUE_LIMIT)?,
        })
    }
}

fn opaque_len(bytes: &Bytes) -> usize {
    4 + bytes.len().next_multiple_of(4)
}

impl Layout {
    /// Bytes on the wire.
    pub fn encoded_len(&self) -> usize {
        8 + 4 + self.mirrors.iter().map(Mirror::encoded_len).sum::<usize>() + 4 + 4
    }
}

impl Mirror {
    fn encoded_len(&self) -> usize {
        4 + self
            .data_servers
            .iter()
            .map(DataServer::encoded_len)
            .sum::<usize>()
    }
}

impl DataServer {
    fn encoded_len(&self) -> usize {
        let handles: usize = self.fh_vers.iter().map(opaque_len).sum();
        16 + 4 + 16 + 4 + handles + opaque_len(&self.user) + opaque_len(&self.group)
    }
}

impl Netaddr4 {
    /// TCP at `address`, as RFC 5665 writes it: the port is two more numbers after the host.
    pub fn tcp(address: SocketAddr) -> Self {
        let (netid, host) = match address.ip() {
            IpAddr::V4(host) => ("tcp", host.to_string()),
            IpAddr::V6(host) => ("tcp6", host.to_string()),
        };
        let [high, low] = address.port().to_be_bytes();
        Self {
            netid: Bytes::from_static(netid.as_bytes()),
            uaddr: format!("{host}.{high}.{low}").into(),
        }
    }

    /// `None` when the address is none of IPv4 or IPv6, or doesn't go with its netid.
    pub fn to_socket_addr(&self) -> Option<SocketAddr> {
        let uaddr = std::str::from_utf8(&self.uaddr).ok()?;
        let (rest, low) = uaddr.rsplit_once('.')?;
        let (host, high) = rest.rsplit_once('.')?;
        let port = u16::from_be_bytes([high.parse().ok()?, low.parse().ok()?]);
        let host = match &self.netid[..] {
            b"tcp" | b"udp" | b"rdma" => IpAddr::V4(host.parse::<Ipv4Addr>().ok()?),
            b"tcp6" | b"udp6" | b"rdma6" => IpAddr::V6(host.parse::<Ipv6Addr>().ok()?),
            _ => return None,
        };
        Some(SocketAddr::new(host, port))
    }
}
