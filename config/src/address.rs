//! Names of places: hosts with ports, networks, paths in a namespace, ranges of ids.
//! Never here: resolving, connecting, or looking at this machine.

use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// The port of NFS.
pub const NFS_PORT: u16 = 2049;

/// A host, by address or name, and a port. Not resolved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// An IP address without brackets, or a host name in small letters.
    pub host: String,
    pub port: u16,
}

impl HostPort {
    pub fn parse(text: &str) -> Result<Self, String> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest
                .split_once(']')
                .ok_or("expected `]` after the IPv6 address")?;
            host.parse::<Ipv6Addr>()
                .map_err(|_| "expected an IPv6 address between the brackets")?;
            match rest.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if rest.is_empty() => (host, None),
                None => return Err("expected `:` and a port after the bracket".to_owned()),
            }
        } else if text.parse::<Ipv6Addr>().is_ok() {
            return Err(format!(
                "write an IPv6 address in brackets: \"[{text}]:{NFS_PORT}\""
            ));
        } else {
            match text.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        let port = match port {
            None => NFS_PORT,
            Some(port) => parse_port(port)?,
        };
        Ok(Self {
            host: checked_host(host)?,
            port,
        })
    }

    /// The address, when it is written as one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

fn parse_port(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err("expected a port from 1 to 65535 after the colon".to_owned()),
    }
}

fn checked_host(host: &str) -> Result<String, String> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return if ip.is_unspecified() || ip.is_multicast() {
            Err("expected the address of one host".to_owned())
        } else {
            Ok(ip.to_string())
        };
    }
    let looks_like_ip = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    if looks_like_ip || name.len() > 253 || !name.split('.').all(label_ok) {
        return Err("expected \"host:port\", the host by IP address or name".to_owned());
    }
    Ok(name.to_ascii_lowercase())
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A network, written `"10.0.0.0/24"`, or one host, `"10.0.0.7"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr(IpNet);

impl Cidr {
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(host) = text.parse::<IpAddr>() {
            return Ok(Self(IpNet::from(host)));
        }
        match text.parse::<IpNet>() {
            Ok(net) if net.trunc() == net => Ok(Self(net)),
            Ok(net) => Err(format!(
                "bits are set outside of the prefix: did you mean \"{}\", or the host \"{}\"?",
                net.trunc(),
                net.addr()
            )),
            Err(_) => {
                Err("expected a network such as \"10.0.0.0/24\", or an IP address".to_owned())
            }
        }
    }

    pub fn network(&self) -> IpNet {
        self.0
    }

    /// Whether a peer of this address is in the network. An IPv4 peer on an IPv6 socket
    /// (`::ffff:10.0.0.7`) counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            write!(f, "{}", self.0.addr())
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// An absolute path in a server's namespace, without `.`, `..`, empty parts or a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExportPath(String);

impl ExportPath {
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("expected an absolute path: \"/{text}\"?"));
        };
        if rest.is_empty() {
            return Ok(Self(text.to_owned()));
        }
        for part in rest.split('/') {
            match part {
                "" => {
                    let tidy: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
                    return Err(format!("did you mean \"/{}\"?", tidy.join("/")));
                }
                "." | ".." => return Err(format!("`{part}` can't be part of an export's path")),
                part if part.len() > 255 => {
                    return Err("a name in a path has at most 255 bytes".to_owned());
                }
                part if part.contains('\0') => {
                    return Err("a name in a path holds no NUL".to_owned());
                }
                _ => {}
            }
        }
        if text.len() > 1024 {
            return Err("a path has at most 1024 bytes".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names from the root down; none for `/`.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }

    /// Whether `inner` is this path or lies below it.
    pub fn holds(&self, inner: &Self) -> bool {
        let mut theirs = inner.components();
        self.components()
            .all(|part| theirs.next().is_some_and(|other| other == part))
    }
}

impl fmt::Display for ExportPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a person calls a data server or a host: letters, digits, `.`, `_`, `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    pub fn parse(text: &str) -> Result<Self, String> {
        let fits = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected 1 to 64 letters, digits, `.`, `_`, `-`".to_owned())
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The user and group ids that data objects are owned by (RFC 8435 §2.2), from `base` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    pub base: u32,
    pub count: u32,
}

impl IdRange {
    /// Fewer would give a fenced client its old id back too soon.
    pub const SMALLEST_COUNT: u32 = 256;
    /// 65534 is `nobody` on Linux.
    const NOBODY: u32 = 65534;

    pub fn new(base: u32, count: u32) -> Result<Self, String> {
        let range = Self { base, count };
        if count < Self::SMALLEST_COUNT {
            return Err(format!(
                "expected a count of at least {}: a fence takes a new id each time",
                Self::SMALLEST_COUNT
            ));
        }
        if base.checked_add(count).is_none() {
            return Err("expected a range that ends before 4294967295".to_owned());
        }
        for (id, whose) in [(0, "root"), (Self::NOBODY, "nobody")] {
            if range.contains(id) {
                return Err(format!("the range holds {id}, which is {whose}"));
            }
        }
        Ok(range)
    }

    pub fn contains(&self, id: u32) -> bool {
        id >= self.base && u64::from(id) < u64::from(self.base) + u64::from(self.count)
    }

    /// Those of the given accounts' ids that lie in the range: they could read and write data
    /// objects on a data server that knows them.
    pub fn accounts_inside(&self, ids: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let mut inside: Vec<u32> = ids.into_iter().filter(|id| self.contains(*id)).collect();
        inside.sort_unstable();
        inside.dedup();
        inside
    }
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.base, self.base + (self.count - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_host_is_an_address_or_a_name_and_the_port_is_that_of_nfs_unless_said() {
        for (text, host, port) in [
            ("10.0.0.7:3049", "10.0.0.7", 3049),
            ("10.0.0.7", "10.0.0.7", 2049),
            ("[fd00::7]:2050", "fd00::7", 2050),
            ("[fd00::7]", "fd00::7", 2049),
            ("NVMe1.rack.:2049", "nvme1.rack", 2049),
        ] {
            let expected = HostPort {
                host: host.to_owned(),
                port,
            };
            assert_eq!(HostPort::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn an_address_that_no_server_can_have_is_refused() {
        for text in [
            "",
            ":2049",
            "10.0.0.7:0",
            "10.0.0.7:65536",
            "10.0.0.7:nfs",
            "10.0.0.300:2049",
            "10.0.0:2049",
            "0.0.0.0:2049",
            "fd00::7",
            "[fd00::7",
            "[fd00::7]2049",
            "a host:2049",
            "-x:2049",
            "a..b:2049",
        ] {
            assert!(HostPort::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_network_with_stray_bits_names_both_things_it_may_mean() {
        let hint = Cidr::parse("10.0.0.7/24").expect_err("stray bits");
        assert!(hint.contains("\"10.0.0.0/24\""), "{hint}");
        assert!(hint.contains("\"10.0.0.7\""), "{hint}");
        for text in ["10.0.0.0/33", "10.0.0/24", "*", "", "host"] {
            assert!(Cidr::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_ipv4_peer_of_an_ipv6_socket_is_in_its_ipv4_network() {
        let net = Cidr::parse("10.0.0.0/24").expect("a network");
        assert!(net.contains("::ffff:10.0.0.9".parse().expect("an address")));
        assert!(!net.contains("::ffff:10.0.1.9".parse().expect("an address")));
        assert!(!net.contains("fd00::1".parse().expect("an address")));
    }

    #[test]
    fn a_path_holds_those_below_it_and_not_those_that_begin_alike() {
        let path = |text: &str| ExportPath::parse(text).expect("a path");
        assert!(path("/").holds(&path("/a")));
        assert!(path("/a").holds(&path("/a/b")));
        assert!(path("/a").holds(&path("/a")));
        assert!(!path("/a").holds(&path("/ab")));
        assert!(!path("/a/b").holds(&path("/a")));
    }

    #[test]
    fn a_relative_or_untidy_path_is_refused() {
        for text in [
            "", "data", "./data", "/data/", "/a//b", "/a/../b", "/.", "/a\0",
        ] {
            assert!(ExportPath::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ids_of_root_nobody_and_nobody_at_all_are_never_in_the_range() {
        assert!(IdRange::new(0, 4096).is_err());
        assert!(IdRange::new(65000, 4096).is_err());
        assert!(IdRange::new(u32::MAX - 4095, 4096).is_err());
        assert!(IdRange::new(u32::MAX - 4096, 4096).is_ok());
        assert!(IdRange::new(100_000, 255).is_err());
    }

    #[test]
    fn accounts_of_the_host_inside_the_range_are_named() {
        let ids = IdRange::new(100_000, 1000).expect("a range");
        assert_eq!(
            ids.accounts_inside([0, 1000, 100_999, 101_000, 100_000]),
            [100_000, 100_999]
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_of_places_panic(text: String) {
            let _ = HostPort::parse(&text);
            let _ = Cidr::parse(&text);
            let _ = ExportPath::parse(&text);
            let _ = Name::parse(&text);
        }

        #[test]
        fn no_range_panics_and_an_accepted_one_can_be_printed(base: u32, count: u32) {
            if let Ok(range) = IdRange::new(base, count) {
                prop_assert!(range.contains(base));
                prop_assert!(!range.to_string().is_empty());
            }
        }
    }
}
