//! VERIFY and NVERIFY, RFC 8881 §18.31, §18.15.
//!
//! State, gate: as GETATTR. An attribute that can only be set, or that isn't there, can't be compared.

use crate::compound::Compound;
use crate::identity::Unnamed;
use crate::status::Refusal;
use wire::nfs4::{Attr, Fattr4, Nfsstat4};

async fn matches(fattr: Fattr4, cx: &mut Compound<'_>) -> Result<bool, Refusal> {
    let mut expected = match fattr {
        Fattr4::Known(expected) => expected,
        Fattr4::Unsupported { .. } => return Err(Nfsstat4::Attrnotsupp.into()),
        Fattr4::Malformed { .. } => return Err(Nfsstat4::Badxdr.into()),
    };
    let file = cx.file()?.clone();
    let mask = expected.mask();
    if mask.contains(Attr::RdattrError) {
        return Err(Nfsstat4::Inval.into());
    }
    if mask != cx.readable(&file, mask)? {
        return Err(Nfsstat4::Attrnotsupp.into());
    }
    let inode = cx.shown_inode(mask).await?;
    // As numbers, so that one owner is the same however he is written. RFC 8881 §15.2: an owner whom
    // nobody knows has no error here, and is nobody's.
    match cx.take_names(&mut expected).await {
        Ok(()) => Ok(cx.numbered_attributes(&file, &inode, mask).await? == expected),
        Err(Unnamed::Nobody) => Ok(false),
        Err(Unnamed::NotNow) => Err(Nfsstat4::Delay.into()),
    }
}

pub(crate) async fn verify(fattr: Fattr4, cx: &mut Compound<'_>) -> Result<(), Refusal> {
    if matches(fattr, cx).await? {
        Ok(())
    } else {
        Err(Nfsstat4::NotSame.into())
    }
}

pub(crate) async fn nverify(fattr: Fattr4, cx: &mut Compound<'_>) -> Result<(), Refusal> {
    if matches(fattr, cx).await? {
        Err(Nfsstat4::Same.into())
    } else {
        Ok(())
    }
}
