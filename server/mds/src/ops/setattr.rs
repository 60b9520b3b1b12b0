//! SETATTR, RFC 8881 §18.34.
//!
//! State: a size is judged by its stateid, as a WRITE. Gate: a size takes the inode exclusively
//! (`truncate`). Catalog: one transaction, also for a size with other attributes beside it.
//! Delegations of others are recalled first; their holder sets times by RFC 9754 (`delegations::times`).
//! Linux: `O_TRUNC` comes as OPEN's createattrs or as this, with the open stateid.

use crate::attributes::Changes;
use crate::compound::Compound;
use crate::delegations::times::DelegatedTimes;
use crate::identity::{Want, may, owns};
use crate::state::{ClientId, IoKind, Stateid};
use crate::status::Refusal;
use crate::truncate::Resize;
use catalog::{FileKind, transact};
use wire::nfs4::{Bitmap4, Nfsstat4, Setattr4Args, Setattr4Ok};

pub(crate) async fn setattr(
    args: Setattr4Args,
    cx: &mut Compound<'_>,
) -> Result<Setattr4Ok, Refusal> {
    let file = Compound::changeable(cx.file()?)?;
    let mut asked = args.obj_attributes;
    let times = DelegatedTimes::taken_from(&mut asked)?;
    let changes = Changes::of_old(asked, cx).await?;
    let credential = cx.credential(&file);
    // Who may not change it recalls nothing.
    changes.permitted(&credential, &*cx.inode().await?)?;
    let _undelegated = cx.server.undelegated(file.id, cx.client().ok()).await?;
    if let Some(size) = changes.size {
        let inode = cx.inode().await?;
        match inode.kind {
            FileKind::Regular => {}
            FileKind::Directory => return Err(Nfsstat4::Isdir.into()),
            _ => return Err(Nfsstat4::Inval.into()),
        }
        // Judged as a whole before anything is done.
        changes.fits(inode.kind)?;
        changes.permitted(&credential, &inode)?;
        let (client, stateid) = (cx.client()?, cx.resolve(args.stateid)?);
        let opened = authorized(cx, client, stateid, &file).await?;
        // By NFSv3 it can't be told that its owner has it open (RFC 1813 §4.4).
        let opened = opened || cx.legacy && owns(&credential, &inode);
        if !opened && !may(&credential, &inode, Want::WRITE) {
            return Err(Nfsstat4::Access.into());
        }
        // With all the rest in one transaction: the answer's bitmap has no word for half of it.
        let asked = Resize {
            size,
            asker: Some(client),
            changes: &changes,
            credential: &credential,
        };
        cx.server.truncate(file.id, asked).await?;
    } else {
        // Times and set-id bits of now must not be overtaken by writes that came before and are not counted yet.
        if changes.mtime.is_some() || changes.sets_id() {
            cx.server.absorb_writes(file.id).await?;
        }
        transact!(cx.server.catalog, cx.now, |tx| -> Result<(), Refusal> {
            let mut inode = tx.inode(file.id).await?;
            changes.fits(inode.kind)?;
            changes.permitted(&credential, &inode)?;
            changes.apply(&credential, &mut inode, cx.now);
            inode.change = tx.next_change();
            tx.put(&inode).await?;
            Ok(())
        })?;
    }
    if let Some(times) = times {
        times.apply(cx, &file, cx.resolve(args.stateid)?).await?;
    }
    let told = times.map_or(Bitmap4::EMPTY, DelegatedTimes::mask);
    Ok(Setattr4Ok {
        attrsset: changes.asked.union(told),
    })
}

/// Whether an open of the caller's grants the write; a special stateid leaves it to the mode bits.
async fn authorized(
    cx: &Compound<'_>,
    client: ClientId,
    stateid: Stateid,
    file: &crate::compound::File,
) -> Result<bool, Refusal> {
    let granted = cx
        .server
        .authorize_io(client, stateid, file.id, IoKind::Write)
        .await?;
    Ok(granted != crate::state::IoGrant::Special)
}
