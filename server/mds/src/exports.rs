//! Which part of the namespace a client may see, and as whom. Plain data, matched by address.

use crate::junction::Junction;
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

/// Where a file system is that isn't here (RFC 8881 §11.16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// As `fs_location4` writes them: names, or addresses with the port behind them where it isn't 2049.
    pub servers: Vec<String>,
    /// Its root there, from those servers' root down.
    pub path: String,
}

/// One `[[export]]`, `[[referral]]` or `[[junction]]`, resolved to the folder that it names.
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
    /// A referral: other servers have what lies in its folder.
    pub elsewhere: Option<Elsewhere>,
    /// A junction: a backend's own tree is what lies in its folder.
    pub junction: Option<Junction>,
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

    /// Whether `path` lies below its folder.
    pub fn holds(&self, path: &str) -> bool {
        lies_inside(path, &self.path)
    }

    /// Its folder is covered by another file system.
    pub(crate) fn covers(&self) -> bool {
        self.elsewhere.is_some() || self.junction.is_some()
    }
}

fn lies_inside(path: &str, export: &str) -> bool {
    export == "/"
        || path
            .strip_prefix(export)
            .is_some_and(|rest| rest.starts_with('/'))
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
    /// Folders that other file systems cover: referrals and junctions, by their folder.
    covered: HashMap<InodeId, Arc<ExportRule>>,
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
            elsewhere: None,
            junction: None,
        });
        let mut all = HashMap::from([(ExportRule::PSEUDO, Arc::clone(&pseudo))]);
        let mut way: HashMap<InodeId, BTreeMap<Bytes, Step>> = HashMap::new();
        let mut covered = HashMap::new();
        let exported: Vec<String> = rules
            .iter()
            .filter(|(rule, _)| !rule.covers())
            .map(|(rule, _)| rule.path.clone())
            .collect();
        for (rule, walk) in rules {
            let rule = Arc::new(rule);
            all.insert(rule.number, Arc::clone(&rule));
            if rule.covers() {
                covered.insert(rule.root, Arc::clone(&rule));
                // The folders above one inside an export are the export's own.
                if exported.iter().any(|path| lies_inside(&rule.path, path)) {
                    continue;
                }
            }
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
        Self {
            rules: all,
            covered,
            way,
        }
    }

    /// The export of a folder's entry: the folder's own, unless another file system covers the entry.
    pub fn beyond(&self, folder: &Arc<ExportRule>, entry: InodeId) -> Arc<ExportRule> {
        Arc::clone(self.covered.get(&entry).unwrap_or(folder))
    }

    /// What a folder that `rule` covers would be of, were it not covered.
    pub fn around(&self, rule: &ExportRule) -> Arc<ExportRule> {
        let around = self.rules.values().filter(|other| {
            !other.covers() && !other.is_pseudo() && lies_inside(&rule.path, &other.path)
        });
        let innermost = around.max_by_key(|other| other.path.len());
        Arc::clone(innermost.unwrap_or(&self.rules[&ExportRule::PSEUDO]))
    }

    pub fn is_covered(&self, folder: InodeId) -> bool {
        self.covered.contains_key(&folder)
    }

    /// All that clients can be let into or sent on from, but for the way there.
    pub fn all(&self) -> impl Iterator<Item = &Arc<ExportRule>> {
        self.rules.values().filter(|rule| !rule.is_pseudo())
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
            elsewhere: None,
            junction: None,
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
    fn a_referral_is_reached_from_the_export_around_it_or_by_the_pseudo_file_system() {
        let (data, inside, apart, below) = (folder(2), folder(3), folder(4), folder(5));
        let elsewhere = |rule: ExportRule| ExportRule {
            elsewhere: Some(Elsewhere {
                servers: vec!["10.0.0.3".into()],
                path: "/data".into(),
            }),
            ..rule
        };
        let everybody = "0.0.0.0/0";
        let exports = Exports::new(vec![
            (
                elsewhere(rule(8, "/data/inside", inside, everybody)),
                vec![data, inside],
            ),
            (
                elsewhere(rule(9, "/apart/below", below, everybody)),
                vec![apart, below],
            ),
            (rule(7, "/data", data, "10.0.0.0/8"), vec![data]),
        ]);
        let client = "10.1.1.1".parse().unwrap();
        let step = exports.step(InodeId::ROOT, b"data", client).unwrap();
        assert_eq!(step.export.number, 7);
        assert_eq!(exports.beyond(&step.export, inside).number, 8);
        assert_eq!(exports.beyond(&step.export, folder(6)).number, 7);
        let step = exports.step(InodeId::ROOT, b"apart", client).unwrap();
        assert!(step.export.is_pseudo());
        assert_eq!(
            exports.step(apart, b"below", client).unwrap().export.number,
            9
        );
        assert!(exports.is_covered(below) && !exports.is_covered(data));
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
