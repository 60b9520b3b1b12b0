//! Where a file lies, as extended attributes that can only be read: `user.headrace.backend`,
//! `user.headrace.location`, `user.headrace.layout`. For whoever has a client and wants to look, as
//! `lfs getstripe` tells on Lustre.
//!
//! State, gate: none. Catalog: reads the inode. They are not listed (LISTXATTRS): who copies all attributes
//! of a file means to copy none of these.

use crate::compound::{Compound, File};
use crate::junction::Junction;
use crate::server::Server;
use crate::status::Refusal;
use bytes::Bytes;
use catalog::Inode;
use layout::Extent;
use std::collections::BTreeSet;
use std::fmt::Write;
use wire::nfs4::Nfsstat4;

/// Linux strips `user.` from names.
const RESERVED: &[u8] = b"headrace.";

/// Refuses a name that only the server gives.
pub(super) fn not_reserved(name: &[u8]) -> Result<(), Refusal> {
    if name.starts_with(RESERVED) {
        return Err(Nfsstat4::Perm.into());
    }
    Ok(())
}

/// `None`: an attribute as any other.
pub(super) async fn told(
    name: &[u8],
    file: &File,
    cx: &Compound<'_>,
) -> Result<Option<Bytes>, Refusal> {
    let Some(asked) = name.strip_prefix(RESERVED) else {
        return Ok(None);
    };
    let text = match &file.export.junction {
        Some(junction) => of_junction(asked, junction, file, cx).await?,
        None => of_catalog(asked, &*cx.inode().await?, cx.server),
    };
    match text {
        Some(text) => Ok(Some(text.into())),
        None => Err(Nfsstat4::Noxattr.into()),
    }
}

fn of_catalog(asked: &[u8], inode: &Inode, server: &Server) -> Option<String> {
    if asked == b"backend"
        && let Some(keeper) = server.objects.home(inode.keeper)
    {
        // Of a folder: where its new files lie.
        return Some(name_of(server, keeper));
    }
    // Other folders, and files without objects yet, lie nowhere.
    let first = inode.extents.first()?;
    match asked {
        b"backend" => Some(servers(&inode.extents, server)),
        b"location" => Some(objects(&inode.extents, server)),
        b"layout" => Some(format!(
            "extents={} mirrors={} stripe_count={} stripe_unit={}",
            inode.extents.len(),
            first.mirrors.len(),
            first.mirrors.first()?.stripes.len(),
            first.stripe_unit,
        )),
        _ => None,
    }
}

/// Of a data server, or of the backend that is one: its record has that word before the name.
fn name_of(server: &Server, id: layout::DataServerId) -> String {
    match server.objects.name_of(id) {
        Some(name) => match name.strip_prefix("backend ") {
            Some(backend) => backend.to_owned(),
            None => name,
        },
        None => format!("data server {}", id.0),
    }
}

fn servers(extents: &[Extent], server: &Server) -> String {
    let mirrors = extents.iter().flat_map(|extent| &extent.mirrors);
    let names: BTreeSet<String> = mirrors
        .flat_map(|mirror| &mirror.stripes)
        .map(|object| name_of(server, object.server))
        .collect();
    names.into_iter().collect::<Vec<_>>().join(",")
}

/// A line for each object.
fn objects(extents: &[Extent], server: &Server) -> String {
    let mut text = String::new();
    for extent in extents {
        for (mirror, copy) in extent.mirrors.iter().enumerate() {
            for (stripe, object) in copy.stripes.iter().enumerate() {
                // A String takes whatever is written to it.
                let _ = writeln!(
                    text,
                    "offset={} mirror={mirror} stripe={stripe} data_server={} object={}",
                    extent.offset,
                    name_of(server, object.server),
                    object.object,
                );
            }
        }
    }
    text
}

async fn of_junction(
    asked: &[u8],
    junction: &Junction,
    file: &File,
    cx: &Compound<'_>,
) -> Result<Option<String>, Refusal> {
    Ok(match asked {
        b"backend" => Some(junction.backend().to_owned()),
        b"location" => {
            let handle = junction.handle(file).await?;
            let stat = junction
                .tree()
                .stat(&junction.caller(file, cx), &handle)
                .await?;
            let direct = junction.tree().direct(&handle, &stat).await?;
            let devices = cx.server.devices.read();
            let server = junction.data_server().filter(|_| direct.is_some());
            let device = server.and_then(|server| devices.device(devices.id_of(server)?));
            Some(match device {
                Some(device) => {
                    let addresses = device.addresses.iter().map(ToString::to_string);
                    format!("read at {}", addresses.collect::<Vec<_>>().join(","))
                }
                None => "through the metadata server".to_owned(),
            })
        }
        _ => None,
    })
}
