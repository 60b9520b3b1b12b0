//! ACCESS, RFC 8881 §18.1.
//!
//! State, gate, catalog: reads one inode. Linux caches the answer per user and asks with every first touch.

use crate::compound::Compound;
use crate::exports::Access;
use crate::identity::{Want, may};
use crate::status::Refusal;
use catalog::FileKind;
use wire::nfs4::{
    ACCESS4_DELETE, ACCESS4_EXECUTE, ACCESS4_EXTEND, ACCESS4_LOOKUP, ACCESS4_MODIFY, ACCESS4_READ,
    Access4Args, Access4Ok,
};

pub(crate) async fn access(args: Access4Args, cx: &mut Compound<'_>) -> Result<Access4Ok, Refusal> {
    let file = cx.file()?;
    let inode = cx.inode().await?;
    let credential = cx.credential(file);
    let directory = inode.kind == FileKind::Directory;
    let meaningful = if directory {
        ACCESS4_READ | ACCESS4_LOOKUP | ACCESS4_MODIFY | ACCESS4_EXTEND | ACCESS4_DELETE
    } else {
        ACCESS4_READ | ACCESS4_MODIFY | ACCESS4_EXTEND | ACCESS4_EXECUTE
    };
    let mut granted = 0;
    if file.export.is_pseudo() || may(&credential, &inode, Want::READ) {
        granted |= ACCESS4_READ;
    }
    if file.export.is_pseudo() || may(&credential, &inode, Want::EXECUTE) {
        granted |= ACCESS4_LOOKUP | ACCESS4_EXECUTE;
    }
    let writes = if directory {
        Want::CHANGE_ENTRIES
    } else {
        Want::WRITE
    };
    if file.export.access == Access::ReadWrite && may(&credential, &inode, writes) {
        granted |= ACCESS4_MODIFY | ACCESS4_EXTEND | ACCESS4_DELETE;
    }
    let supported = args.access & meaningful;
    Ok(Access4Ok {
        supported,
        access: granted & supported,
    })
}
