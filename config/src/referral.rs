//! Folders that lie on other servers: the section, and how a server is called there.
//! Never here: rules between keys, which are in `rules`.

use crate::address::{ExportPath, HostPort, NFS_PORT};
use crate::fault::Notes;
use crate::section::Change::Reload;
use crate::section::Default::Unset;
use crate::section::{Key, section};
use crate::value::{Element, Value, Written, from_text};

section! {
    "[[referral]]" any_number
    /// A folder that lies on another server, Headrace or not: a client that walks into it is told
    /// where (`fs_locations`), and mounts that server by itself.
    Referral {
        /// The folder in the namespace, inside an export or beside all of them; it is made when it
        /// isn't there. What lay in it is out of sight. Everybody who gets there sees it.
        path: ExportPath = {
            change: Reload,
            example: r#""/data/archive""#,
        };
        /// The servers that have it, each with all of it; clients take the first that answers. By IP
        /// address, unless clients resolve names for their kernel (`request-key`). Linux takes ten of
        /// them, and no other port than 2049.
        servers: Vec<Host> = {
            change: Reload,
            example: r#"["10.0.1.2", "[fd00::2]"]"#,
        };
        /// The folder that is meant there, from that server's root down.
        remote_path: Option<ExportPath> = {
            default: Unset("the same as `path`"),
            change: Reload,
            example: r#""/data""#,
        };
    }
}

impl Referral {
    /// Where it lies on the other servers.
    pub fn remote_path(&self) -> &ExportPath {
        self.remote_path.as_ref().unwrap_or(&self.path)
    }
}

/// A server that clients are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host(HostPort);

impl Host {
    pub fn parse(text: &str) -> Result<Self, String> {
        let host = HostPort::parse(text)?;
        if host.port != NFS_PORT && host.ip().is_none() {
            return Err(format!(
                "clients can be told a port of an IP address alone: leave it out, or write the address of {}",
                host.host
            ));
        }
        Ok(Self(host))
    }

    /// As `fs_location4` writes it (RFC 8881 §11.16): the port behind the address, in two decimal bytes.
    pub fn location(&self) -> String {
        let HostPort { host, port } = &self.0;
        if *port == NFS_PORT {
            host.clone()
        } else {
            format!("{host}.{}.{}", port >> 8, port & 0xff)
        }
    }
}

impl Value for Host {
    const KIND: &'static str = "host:port";

    fn read(written: &Written<'_>, key: &Key, notes: &mut Notes) -> Option<Self> {
        from_text(
            written,
            key,
            "\"host\" or \"host:port\"",
            notes,
            Self::parse,
        )
    }
}

impl Element for Host {
    const LIST_KIND: &'static str = "hosts";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_told_by_name_or_address_and_another_port_behind_its_address() {
        for (written, told) in [
            ("mds2.example.org", "mds2.example.org"),
            ("10.0.1.2", "10.0.1.2"),
            ("10.0.1.2:2049", "10.0.1.2"),
            ("10.0.1.2:20490", "10.0.1.2.80.10"),
            ("[fd00::2]", "fd00::2"),
            ("[fd00::2]:2050", "fd00::2.8.2"),
        ] {
            let host = Host::parse(written).unwrap_or_else(|why| panic!("{written}: {why}"));
            assert_eq!(host.location(), told, "{written}");
        }
        assert!(Host::parse("mds2.example.org:2050").is_err());
    }
}
