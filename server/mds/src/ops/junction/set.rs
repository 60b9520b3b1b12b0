//! ACCESS and SETATTR in a junction: RFC 8881 §18.1, §18.34. A tree that judges is asked in the caller's
//! name; of another this server judges by the mode bits.

use super::Place;
use crate::attributes::Changes;
use crate::compound::Compound;
use crate::exports::Access;
use crate::identity::{Want, may, owns};
use crate::junction::inode_of;
use crate::state::{IoGrant, IoKind};
use crate::status::Refusal;
use backend::tree::NodeChanges;
use catalog::FileKind;
use wire::nfs4::{
    ACCESS4_DELETE, ACCESS4_EXECUTE, ACCESS4_EXTEND, ACCESS4_LOOKUP, ACCESS4_MODIFY, ACCESS4_READ,
    ACCESS4_XALIST, ACCESS4_XAREAD, ACCESS4_XAWRITE, Access4Args, Access4Ok, Nfsstat4,
    Setattr4Args, Setattr4Ok,
};

pub(super) async fn access(args: Access4Args, cx: &mut Compound<'_>) -> Result<Access4Ok, Refusal> {
    let file = cx.file()?.clone();
    let place = Place::of(&file, cx).await?;
    if !place.can.judges {
        return crate::ops::access::access(args, cx).await;
    }
    let rights = place.tree().rights(&place.caller, &place.handle).await;
    let rights = place.heard(rights)?;
    let folder = rights.lookup
        || !rights.execute && place.stat().await?.kind == backend::tree::NodeKind::Folder;
    let mut meaningful = if folder {
        ACCESS4_READ | ACCESS4_LOOKUP | ACCESS4_MODIFY | ACCESS4_EXTEND | ACCESS4_DELETE
    } else {
        ACCESS4_READ | ACCESS4_MODIFY | ACCESS4_EXTEND | ACCESS4_EXECUTE
    };
    if cx.minor >= 2 {
        meaningful |= ACCESS4_XAREAD | ACCESS4_XAWRITE | ACCESS4_XALIST;
    }
    let mut granted = 0;
    let mut grant = |right: bool, bits: u32| {
        if right {
            granted |= bits;
        }
    };
    grant(rights.read, ACCESS4_READ | ACCESS4_XAREAD | ACCESS4_XALIST);
    grant(rights.lookup, ACCESS4_LOOKUP);
    grant(rights.execute, ACCESS4_EXECUTE);
    if file.export.access == Access::ReadWrite {
        grant(rights.modify, ACCESS4_MODIFY | ACCESS4_XAWRITE);
        grant(rights.extend, ACCESS4_EXTEND);
        grant(rights.delete, ACCESS4_DELETE);
    }
    let supported = args.access & meaningful;
    Ok(Access4Ok {
        supported,
        access: granted & supported,
    })
}

pub(super) async fn setattr(
    args: Setattr4Args,
    cx: &mut Compound<'_>,
) -> Result<Setattr4Ok, Refusal> {
    let file = Compound::changeable(cx.file()?)?;
    let changes = Changes::of_old(args.obj_attributes, cx).await?;
    let place = Place::of(&file, cx).await?;
    let inode = inode_of(file.id, &place.stat().await?);
    changes.still_guarded(&inode)?;
    if changes.size.is_some() {
        match inode.kind {
            FileKind::Regular => {}
            FileKind::Directory => return Err(Nfsstat4::Isdir.into()),
            _ => return Err(Nfsstat4::Inval.into()),
        }
        let (client, stateid) = (cx.client()?, cx.resolve(args.stateid)?);
        let granted = cx
            .server
            .authorize_io(client, stateid, file.id, IoKind::Write)
            .await?;
        let opened = cx.legacy && owns(&place.credential, &inode);
        let by_mode = granted == IoGrant::Special && !place.can.judges && !opened;
        if by_mode && !may(&place.credential, &inode, Want::WRITE) {
            return Err(Nfsstat4::Access.into());
        }
    }
    let mut wanted = changes.of_node(inode.mode);
    if !place.can.judges {
        changes.permitted(&place.credential, &inode)?;
        let mut after = inode.clone();
        changes.apply(&place.credential, &mut after, cx.now);
        wanted = NodeChanges {
            mode: (after.mode != inode.mode || wanted.mode.is_some()).then_some(after.mode),
            ..wanted
        };
    }
    let set = place.tree().set(&place.caller, &place.handle, &wanted);
    place.heard(set.await)?;
    Ok(Setattr4Ok {
        attrsset: changes.asked,
    })
}
