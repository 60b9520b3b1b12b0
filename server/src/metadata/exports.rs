//! From `[[export]]`, `[[referral]]` and `[[junction]]` to folders of the namespace.

use super::junctions::JunctionSpec;
use crate::clock::wall;
use anyhow::Context;
use catalog::{Catalog, FileKind, InodeId, NewInode, transact};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use mds::{Access, Delegations, Elsewhere, ExportRule, Exports, Junction, Squash};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use std::sync::Arc;

#[derive(Debug, Clone)]
pub struct ExportSpec {
    /// Absolute; "/" is the whole namespace.
    pub path: String,
    pub clients: Vec<IpNet>,
    pub access: Access,
    pub squash: Squash,
    pub anonymous: (u32, u32),
    pub delegations: Delegations,
    pub manage_gids: bool,
}

/// A folder of which other servers have what lies in it.
#[derive(Debug, Clone)]
pub struct ReferralSpec {
    /// Absolute, and not "/".
    pub path: String,
    /// As clients are told them (RFC 8881 §11.16).
    pub servers: Vec<String>,
    pub remote_path: String,
}

/// Stable over restarts and other exports' coming and going: filehandles carry it.
fn number(path: &str) -> u32 {
    let mut hasher = SipHasher13::new();
    hasher.write(path.as_bytes());
    // 0 is the pseudo file system.
    (hasher.finish() as u32).max(1)
}

/// All that has a place in the namespace.
pub struct Places<'a> {
    pub exports: &'a [ExportSpec],
    pub referrals: &'a [ReferralSpec],
    pub junctions: &'a [(JunctionSpec, Junction)],
}

/// Finds the folder of each, and makes those that aren't there.
pub async fn resolve(catalog: &Arc<Catalog>, places: Places<'_>) -> anyhow::Result<Exports> {
    let mut rules = Vec::new();
    for export in places.exports {
        let walk = walk(catalog, "export", &export.path).await?;
        let folder = walk.last().copied().unwrap_or(InodeId::ROOT);
        let rule = ExportRule {
            number: number(&export.path),
            path: export.path.clone(),
            root: folder,
            clients: export.clients.clone(),
            access: export.access,
            squash: export.squash,
            anonymous: export.anonymous,
            delegations: export.delegations,
            manage_gids: export.manage_gids,
            elsewhere: None,
            junction: None,
        };
        rules.push((rule, walk));
    }
    for referral in places.referrals {
        let walk = walk(catalog, "referral", &referral.path).await?;
        let rule = ExportRule {
            // Of another kind than an export of that path.
            number: number(&format!("referral {}", referral.path)),
            path: referral.path.clone(),
            root: walk
                .last()
                .copied()
                .context("a referral is below the root")?,
            // There is nothing in it to be kept from anybody.
            clients: vec![
                IpNet::from(Ipv4Net::default()),
                IpNet::from(Ipv6Net::default()),
            ],
            access: Access::ReadOnly,
            squash: Squash::All,
            anonymous: (65534, 65534),
            delegations: Delegations::default(),
            manage_gids: false,
            elsewhere: Some(Elsewhere {
                servers: referral.servers.clone(),
                path: referral.remote_path.clone(),
            }),
            junction: None,
        };
        rules.push((rule, walk));
    }
    for (spec, junction) in places.junctions {
        let walk = walk(catalog, "junction", &spec.path).await?;
        let root = walk.last().copied();
        let around = rules.iter().map(|(rule, _)| rule);
        let around = around.filter(|rule| rule.elsewhere.is_none() && rule.junction.is_none());
        let around = around
            .filter(|rule| rule.holds(&spec.path))
            .max_by_key(|rule| rule.path.len())
            .with_context(|| format!("junction {}: it lies in no export", spec.path))?;
        let rule = ExportRule {
            number: number(&format!("junction {}", spec.path)),
            path: spec.path.clone(),
            root: root.context("a junction is below the root")?,
            access: match (around.access, spec.access) {
                (Access::ReadWrite, Access::ReadWrite) => Access::ReadWrite,
                _ => Access::ReadOnly,
            },
            delegations: Delegations::default(),
            junction: Some(junction.clone()),
            ..around.clone()
        };
        rules.push((rule, walk));
    }
    Ok(Exports::new(rules))
}

/// The folders that a path goes through.
pub(super) async fn walk(
    catalog: &Catalog,
    kind: &str,
    path: &str,
) -> anyhow::Result<Vec<InodeId>> {
    let mut walk = Vec::new();
    let mut folder = InodeId::ROOT;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        folder = step(catalog, folder, name).await.map_err(|error| match error {
            catalog::Error::NotDirectory => {
                anyhow::anyhow!("{kind} {path}: {name} is there and is no folder; take another path or rename it")
            }
            error => anyhow::anyhow!("{kind} {path}: {error}"),
        })?;
        walk.push(folder);
    }
    Ok(walk)
}

async fn step(catalog: &Catalog, folder: InodeId, name: &str) -> Result<InodeId, catalog::Error> {
    let made = transact!(catalog, wall(), |tx| -> Result<InodeId, catalog::Error> {
        match tx.lookup(folder, name.as_bytes()).await? {
            Some(entry) if entry.kind == FileKind::Directory => Ok(entry.id),
            Some(_) => Err(catalog::Error::NotDirectory),
            None => {
                let new = NewInode::plain(FileKind::Directory, 0o755, 0, 0);
                Ok(tx.create(folder, name.as_bytes(), new).await?.id)
            }
        }
    })?;
    Ok(made.value)
}
