//! Which part of the namespace a client may see, and as whom. Plain data, matched by address.

use bytes::Bytes;
use catalog::InodeId;
use ipnet::IpNet;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Squash {
    None,
    Root,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

/// Which delegations clients may have of an export's files and folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delegations {
    pub read: bool,
    pub write: bool,
    pub folders: bool,
}

impl Delegations {
    pub const ALL: Delegations = Delegations {
        read: true,
        write: true,
        folders: true,
    };
}

/// One `[[export]]`, resolved to the folder that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportRule {
    /// Stable over restarts: it is part of every filehandle. 0 is the pseudo file system.
    pub number: u32,
    /// Absolute, without a trailing slash; the root is "/".
    pub path: String,
    pub root: InodeId,
    pub clients: Vec<IpNet>,
    pub access: Access,
    pub squash: Squash,
    pub anonymous: (u32, u32),
    pub delegations: Delegations,
    /// Callers' groups are those that the server knows, and not those that AUTH_SYS says.
    pub manage_gids: bool,
}

impl ExportRule {
    pub const PSEUDO: u32 = 0;

    pub fn admits(&self, client: IpAddr) -> bool {
        // A client that reaches a dual-stack socket over IPv4 shows as a mapped IPv6 address.
        let client = client.to_canonical();
        self.clients.iter().any(|network| network.contains(&client))
    }

    pub fn is_pseudo(&self) -> bool {
        self.number == Self::PSEUDO
    }
}

/// A step of the way to an export: a folder of the pseudo file system, or the export's own root.
#[derive(Debug, Clone)]
pub struct Step {
    pub id: InodeId,
    pub export: Arc<ExportRule>,
}

/// All exports, and the pseudo file system that leads to them (RFC 8881 §7.3): the folders above
/// an export, read-only, showing nothing but the way.
#[derive(Debug, Clone)]
pub struct Exports {
    rules: HashMap<u32, Arc<ExportRule>>,
    /// What each pseudo folder shows.
    way: HashMap<InodeId, BTreeMap<Bytes, Step>>,
}

impl Exports {
    /// `walk` gives, for each rule, the folders that its path goes through, from the root's
    /// child on, its own root last.
    pub fn new(rules: Vec<(ExportRule, Vec<InodeId>)>) -> Self {
        let pseudo = Arc::new(ExportRule {
            number: ExportRule::PSEUDO,
            path: "/".into(),
            root: InodeId::ROOT,
            clients: Vec::new(),
            access: Access::ReadOnly,
            squash: Squash::All,
            anonymous: (65534, 65534),
            delegations: Delegations::default(),
            manage_gids: false,
        });
        let mut all = HashMap::from([(ExportRule::PSEUDO, Arc::clone(&pseudo))]);
        let mut way: HashMap<InodeId, BTreeMap<Bytes, Step>> = HashMap::new();
        for (rule, walk) in rules {
            let rule = Arc::new(rule);
            all.insert(rule.number, Arc::clone(&rule));
            let mut folder = InodeId::ROOT;
            let names = rule.path.split('/').filter(|name| !name.is_empty());
            for (name, id) in names.zip(walk) {
                let export = if id == rule.root { &rule } else { &pseudo };
                way.entry(folder).or_default().insert(
                    Bytes::copy_from_slice(name.as_bytes()),
                    Step {
                        id,
                        export: Arc::clone(export),
                    },
                );
                folder = id;
            }
        }
        Self { rules: all, way }
    }

    pub fn by_number(&self, number: u32) -> Option<&Arc<ExportRule>> {
        self.rules.get(&number)
    }

    /// The export of the namespace's root, or the pseudo file system where "/" is not exported.
    pub fn at_root(&self) -> &Arc<ExportRule> {
        self.rules
            .values()
            .find(|rule| rule.root == InodeId::ROOT && !rule.is_pseudo())
            .unwrap_or(&self.rules[&ExportRule::PSEUDO])
    }

    /// What a pseudo folder shows to `client`: only the way to exports that admit it.
    pub fn shown(&self, folder: InodeId, client: IpAddr) -> impl Iterator<Item = (&Bytes, &Step)> {
        self.way
            .get(&folder)
            .into_iter()
            .flatten()
            .filter(move |(_, step)| self.leads_somewhere(step, client))
    }

    pub fn step(&self, folder: InodeId, name: &[u8], client: IpAddr) -> Option<&Step> {
        self.way
            .get(&folder)?
            .get(name)
            .filter(|step| self.leads_somewhere(step, client))
    }

    fn leads_somewhere(&self, step: &Step, client: IpAddr) -> bool {
        if step.export.is_pseudo() {
            self.shown(step.id, client).next().is_some()
        } else {
            step.export.admits(client)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(number: u64) -> InodeId {
        InodeId { home: 1, number }
    }

    fn rule(number: u32, path: &str, root: InodeId, network: &str) -> ExportRule {
        ExportRule {
            number,
            path: path.into(),
            root,
            clients: vec![network.parse().unwrap()],
            access: Access::ReadWrite,
            squash: Squash::Root,
            anonymous: (65534, 65534),
            delegations: Delegations::default(),
            manage_gids: false,
        }
    }

    #[test]
    fn the_pseudo_file_system_shows_only_the_way_to_exports_that_admit_the_client() {
        let (projects, vision, scratch) = (folder(2), folder(3), folder(4));
        let exports = Exports::new(vec![
            (
                rule(7, "/projects/vision", vision, "10.0.0.0/8"),
                vec![projects, vision],
            ),
            (rule(8, "/scratch", scratch, "11.0.0.0/8"), vec![scratch]),
        ]);
        let client = "10.1.1.1".parse().unwrap();
        assert!(exports.at_root().is_pseudo());
        let way = exports.step(InodeId::ROOT, b"projects", client).unwrap();
        assert!(way.export.is_pseudo());
        assert_eq!(
            exports
                .step(way.id, b"vision", client)
                .unwrap()
                .export
                .number,
            7
        );
        assert!(exports.step(InodeId::ROOT, b"scratch", client).is_none());
        assert!(exports.step(way.id, b"secret", client).is_none());
        assert_eq!(exports.shown(InodeId::ROOT, client).count(), 1);
        assert_eq!(
            exports
                .shown(InodeId::ROOT, "12.0.0.1".parse().unwrap())
                .count(),
            0
        );
    }

    #[test]
    fn an_exported_root_needs_no_pseudo_file_system() {
        let exports = Exports::new(vec![(rule(7, "/", InodeId::ROOT, "10.0.0.0/8"), vec![])]);
        assert_eq!(exports.at_root().number, 7);
    }

    #[test]
    fn a_client_is_matched_by_network_over_both_address_families() {
        let rule = rule(1, "/", InodeId::ROOT, "10.0.0.0/8");
        assert!(rule.admits("10.2.3.4".parse().unwrap()));
        assert!(rule.admits("::ffff:10.2.3.4".parse().unwrap()));
        assert!(!rule.admits("11.0.0.1".parse().unwrap()));
    }
}
