//! CREATE of NFSv3, RFC 1813 §3.3.8: what OPEN does with a name, without an open behind it.
//!
//! State, gate, catalog: as of OPEN, whose reservation has no place here: nothing is held when it is answered.

use super::{ATTEMPTS, create, truncated};
use crate::compound::Compound;
use crate::ops::legacy::Made;
use crate::status::Refusal;
use bytes::Bytes;
use catalog::FileKind;
use wire::nfs4::{Createhow4, Nfsstat4};

pub(in crate::ops) async fn make(
    name: Bytes,
    how: &Createhow4,
    cx: &mut Compound<'_>,
) -> Result<Made, Refusal> {
    let client = cx.client()?;
    let folder = cx.file()?.clone();
    for _ in 0..ATTEMPTS {
        let Some(target) = create(&folder, name.clone(), how, client, cx).await? else {
            continue;
        };
        if !target.created {
            match cx.server.catalog.inode(target.file.id).await {
                Ok(inode) => existing(inode.kind)?,
                // It went since it was found.
                Err(catalog::Error::Stale) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(size) = target.truncate_to {
            let credential = cx.credential(&target.file);
            truncated(target.file.id, size, client, &credential, cx).await?;
        }
        return Ok(Made {
            file: target.file,
            cinfo: target.cinfo,
            created: target.created,
        });
    }
    Err(Nfsstat4::Delay.into())
}

/// What is there and can't be what was asked for.
pub(in crate::ops) fn existing(kind: FileKind) -> Result<(), Refusal> {
    match kind {
        FileKind::Regular => Ok(()),
        FileKind::Directory => Err(Nfsstat4::Isdir.into()),
        _ => Err(Nfsstat4::Exist.into()),
    }
}
