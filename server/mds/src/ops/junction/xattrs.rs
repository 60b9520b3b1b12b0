//! GETXATTR, SETXATTR, LISTXATTRS and REMOVEXATTR in a junction, RFC 8276 §8.4: the tree's own, where it
//! has some. Cookies of a listing are places in it.
//! Linux: passes NOTSUPP on as 524, which no program knows; where there are no attributes, looking for them finds none.

use super::Place;
use crate::compound::{Compound, File};
use crate::junction::inode_of;
use crate::ops::getxattr::{checked, may_read_xattrs};
use crate::ops::location;
use crate::ops::setxattr::may_write_xattrs;
use crate::status::Refusal;
use backend::tree::{TreeError, TreeErrorKind, XattrHow};
use wire::nfs4::{
    ChangeInfo4, Getxattr4Args, Getxattr4Ok, Listxattrs4Args, Listxattrs4Ok, Nfsstat4,
    Removexattr4Args, Removexattr4Ok, Setxattr4Args, Setxattr4Ok, SetxattrOption4,
};

/// Cookie, length of the list and eof, which `maxcount` counts too.
const AROUND_BYTES: usize = 8 + 4 + 4;

fn of_xattr(place: &Place, error: TreeError) -> Refusal {
    match error.kind {
        TreeErrorKind::NoEntry => Nfsstat4::Noxattr.into(),
        TreeErrorKind::TooLarge => Nfsstat4::Xattr2big.into(),
        _ => super::count(&place.junction, error),
    }
}

async fn readable(cx: &Compound<'_>) -> Result<Place, Refusal> {
    let place = Place::of(cx.file()?, cx).await?;
    if !place.can.judges && !may_read_xattrs(cx).await? {
        return Err(Nfsstat4::Access.into());
    }
    Ok(place)
}

async fn writable(cx: &Compound<'_>) -> Result<(File, Place), Refusal> {
    let file = Compound::changeable(cx.file()?)?;
    let place = Place::of(&file, cx).await?;
    if !place.can.judges {
        let inode = inode_of(file.id, &place.stat().await?);
        may_write_xattrs(&place.credential, &inode)?;
    }
    Ok((file, place))
}

pub(super) async fn getxattr(
    args: Getxattr4Args,
    cx: &mut Compound<'_>,
) -> Result<Getxattr4Ok, Refusal> {
    let name = checked(args.name)?;
    let place = readable(cx).await?;
    if let Some(value) = location::told(&name, cx.file()?, cx).await? {
        return Ok(Getxattr4Ok { value });
    }
    if !place.can.xattrs {
        return Err(Nfsstat4::Noxattr.into());
    }
    let value = place
        .tree()
        .xattr(&place.caller, &place.handle, &name)
        .await;
    Ok(Getxattr4Ok {
        value: value.map_err(|error| of_xattr(&place, error))?,
    })
}

pub(super) async fn listxattrs(
    args: Listxattrs4Args,
    cx: &mut Compound<'_>,
) -> Result<Listxattrs4Ok, Refusal> {
    let place = readable(cx).await?;
    let names = if place.can.xattrs {
        let names = place.tree().xattrs(&place.caller, &place.handle).await;
        names.map_err(|error| of_xattr(&place, error))?
    } else {
        Vec::new()
    };
    let room = (args.maxcount as usize).min(cx.room.saturating_sub(8));
    let mut left = room.checked_sub(AROUND_BYTES).ok_or(Nfsstat4::Toosmall)?;
    let mut listed = Listxattrs4Ok {
        cookie: args.cookie,
        names: Vec::new(),
        eof: false,
    };
    let done = usize::try_from(args.cookie).map_err(|_| Nfsstat4::Inval)?;
    for name in names.into_iter().skip(done) {
        let Some(rest) = left.checked_sub(4 + name.len().next_multiple_of(4)) else {
            if listed.names.is_empty() {
                return Err(Nfsstat4::Toosmall.into());
            }
            return Ok(listed);
        };
        left = rest;
        listed.cookie += 1;
        listed.names.push(name);
    }
    listed.eof = true;
    Ok(listed)
}

pub(super) async fn setxattr(
    args: Setxattr4Args,
    cx: &mut Compound<'_>,
) -> Result<Setxattr4Ok, Refusal> {
    let name = checked(args.key)?;
    location::not_reserved(&name)?;
    if args.value.len() > cx.server.limits.xattr_value_bytes as usize {
        return Err(Nfsstat4::Xattr2big.into());
    }
    let how = match args.option {
        SetxattrOption4::Either => XattrHow::Either,
        SetxattrOption4::Create => XattrHow::Create,
        SetxattrOption4::Replace => XattrHow::Replace,
    };
    let (_, place) = writable(cx).await?;
    if !place.can.xattrs {
        return Err(Nfsstat4::Perm.into());
    }
    let before = place.stat().await?.change;
    let set = place
        .tree()
        .set_xattr(&place.caller, &place.handle, &name, &args.value, how)
        .await;
    set.map_err(|error| of_xattr(&place, error))?;
    Ok(Setxattr4Ok {
        info: changed(&place, before).await?,
    })
}

pub(super) async fn removexattr(
    args: Removexattr4Args,
    cx: &mut Compound<'_>,
) -> Result<Removexattr4Ok, Refusal> {
    let name = checked(args.name)?;
    location::not_reserved(&name)?;
    let (_, place) = writable(cx).await?;
    if !place.can.xattrs {
        return Err(Nfsstat4::Noxattr.into());
    }
    let before = place.stat().await?.change;
    let removed = place
        .tree()
        .remove_xattr(&place.caller, &place.handle, &name)
        .await;
    removed.map_err(|error| of_xattr(&place, error))?;
    Ok(Removexattr4Ok {
        info: changed(&place, before).await?,
    })
}

async fn changed(place: &Place, before: u64) -> Result<ChangeInfo4, Refusal> {
    Ok(ChangeInfo4 {
        atomic: false,
        before,
        after: place.stat().await?.change,
    })
}
