//! LISTXATTRS, RFC 8276 §8.4.3.
//!
//! State, gate: none. Catalog: the inode, and a bounded scan of names. Cookies are places in the inode's own
//! order, which no other name moves: whatever changes meanwhile, a name that stays is shown once.
//! Linux: asks again with the cookie until the end; TOOSMALL becomes the ERANGE of `listxattr(2)`.

use super::getxattr::may_read_xattrs;
use crate::compound::Compound;
use crate::status::Refusal;
use wire::nfs4::{Listxattrs4Args, Listxattrs4Ok, Nfsstat4};

/// Names read from the catalog at once.
const BATCH: usize = 256;
/// Cookie, length of the list and eof, which `maxcount` counts too.
const AROUND_BYTES: usize = 8 + 4 + 4;

pub(crate) async fn listxattrs(
    args: Listxattrs4Args,
    cx: &mut Compound<'_>,
) -> Result<Listxattrs4Ok, Refusal> {
    // Of no list: §8.4.5 has no BAD_COOKIE.
    if args.cookie >= 1 << 63 {
        return Err(Nfsstat4::Inval.into());
    }
    let file = cx.file()?;
    if !may_read_xattrs(cx).await? {
        return Err(Nfsstat4::Access.into());
    }
    // Number and status of the operation come before its result.
    let room = (args.maxcount as usize).min(cx.room.saturating_sub(8));
    let mut left = room.checked_sub(AROUND_BYTES).ok_or(Nfsstat4::Toosmall)?;
    let reader = cx.server.catalog.read();
    let mut listed = Listxattrs4Ok {
        cookie: args.cookie,
        names: Vec::new(),
        eof: false,
    };
    loop {
        let (batch, more) = reader.xattrs(file.id, listed.cookie, BATCH).await?;
        for xattr in batch {
            let bytes = 4 + xattr.name.len().next_multiple_of(4);
            let Some(rest) = left.checked_sub(bytes) else {
                if listed.names.is_empty() {
                    return Err(Nfsstat4::Toosmall.into());
                }
                return Ok(listed);
            };
            left = rest;
            listed.cookie = xattr.cookie;
            listed.names.push(xattr.name);
        }
        if !more {
            listed.eof = true;
            return Ok(listed);
        }
    }
}
