//! From `[[export]]` to folders of the namespace.

use crate::clock::wall;
use catalog::{Catalog, FileKind, InodeId, NewInode, transact};
use ipnet::IpNet;
use mds::{Access, Delegations, ExportRule, Exports, Squash};
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

/// Stable over restarts and other exports' coming and going: filehandles carry it.
fn number(path: &str) -> u32 {
    let mut hasher = SipHasher13::new();
    hasher.write(path.as_bytes());
    // 0 is the pseudo file system.
    (hasher.finish() as u32).max(1)
}

/// Finds the folder of each export, and makes those that aren't there.
pub async fn resolve(catalog: &Arc<Catalog>, exports: &[ExportSpec]) -> anyhow::Result<Exports> {
    let mut rules = Vec::new();
    for export in exports {
        let mut walk = Vec::new();
        let mut folder = InodeId::ROOT;
        for name in export.path.split('/').filter(|name| !name.is_empty()) {
            folder = step(catalog, folder, name).await.map_err(|error| match error {
                catalog::Error::NotDirectory => {
                    anyhow::anyhow!("export {}: {name} is there and is no folder; export its folder or rename it", export.path)
                }
                error => anyhow::anyhow!("export {}: {error}", export.path),
            })?;
            walk.push(folder);
        }
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
        };
        rules.push((rule, walk));
    }
    Ok(Exports::new(rules))
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
