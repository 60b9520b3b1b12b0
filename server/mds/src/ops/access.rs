//! ACCESS, RFC 8881 §18.1; its bits of extended attributes, RFC 8276 §8.5.
//!
//! State, gate, catalog: reads one inode. Linux caches the answer per user and asks with every first touch.

use super::getxattr::has_xattrs;
use super::setxattr::may_write_xattrs;
use crate::compound::Compound;
use crate::exports::Access;
use crate::identity::{Credential, Want, may, may_take_names};
use crate::status::Refusal;
use catalog::{FileKind, Inode};
use wire::nfs4::{
    ACCESS4_DELETE, ACCESS4_EXECUTE, ACCESS4_EXTEND, ACCESS4_LOOKUP, ACCESS4_MODIFY, ACCESS4_READ,
    ACCESS4_XALIST, ACCESS4_XAREAD, ACCESS4_XAWRITE, Access4Args, Access4Ok,
};

pub(crate) async fn access(args: Access4Args, cx: &mut Compound<'_>) -> Result<Access4Ok, Refusal> {
    let file = cx.file()?;
    let inode = cx.inode().await?;
    let credential = cx.credential(file);
    let directory = inode.kind == FileKind::Directory;
    let mut meaningful = if directory {
        ACCESS4_READ | ACCESS4_LOOKUP | ACCESS4_MODIFY | ACCESS4_EXTEND | ACCESS4_DELETE
    } else {
        ACCESS4_READ | ACCESS4_MODIFY | ACCESS4_EXTEND | ACCESS4_EXECUTE
    };
    // RFC 8276 §8.5: of what has extended attributes, and of 4.2 alone.
    if cx.minor >= 2 && has_xattrs(inode.kind) {
        meaningful |= ACCESS4_XAREAD | ACCESS4_XAWRITE | ACCESS4_XALIST;
    }
    let mut granted = 0;
    if file.export.is_pseudo() || may(&credential, &inode, Want::READ) {
        granted |= ACCESS4_READ | ACCESS4_XAREAD | ACCESS4_XALIST;
    }
    if file.export.is_pseudo() || may(&credential, &inode, Want::EXECUTE) {
        granted |= ACCESS4_LOOKUP | ACCESS4_EXECUTE;
    }
    if file.export.access == Access::ReadWrite {
        if may_write_xattrs(&credential, &inode).is_ok() {
            granted |= ACCESS4_XAWRITE;
        }
        granted |= if directory {
            changes_in(&credential, &inode)
        } else if may(&credential, &inode, Want::WRITE) {
            ACCESS4_MODIFY | ACCESS4_EXTEND
        } else {
            0
        };
    }
    let supported = args.access & meaningful;
    Ok(Access4Ok {
        supported,
        access: granted & supported,
    })
}

/// A list can let somebody add names and take none away.
fn changes_in(credential: &Credential, directory: &Inode) -> u32 {
    let mut granted = 0;
    let (adds, takes) = (
        may(credential, directory, Want::ADD_FILE),
        may_take_names(credential, directory),
    );
    if adds || may(credential, directory, Want::ADD_SUBDIRECTORY) {
        granted |= ACCESS4_EXTEND;
    }
    if takes {
        granted |= ACCESS4_DELETE;
    }
    if adds && takes {
        granted |= ACCESS4_MODIFY;
    }
    granted
}
