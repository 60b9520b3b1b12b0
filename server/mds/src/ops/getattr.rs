//! GETATTR, RFC 8881 §18.7.
//!
//! State: whether anybody may be writing; who writes by a delegation is asked by CB_GETATTR. Catalog: reads one
//! inode; a file that is being written is first asked of its data servers, and what they say is committed
//! before it is told.
//! Linux: a writer asks too, by another process, and believes the size that it is told (fact 40).

use crate::compound::Compound;
use crate::status::Refusal;
use wire::nfs4::{Getattr4Args, Getattr4Ok};

pub(crate) async fn getattr(
    args: Getattr4Args,
    cx: &mut Compound<'_>,
) -> Result<Getattr4Ok, Refusal> {
    let file = cx.file()?.clone();
    let inode = cx.shown_inode(args.attr_request).await?;
    Ok(Getattr4Ok {
        obj_attributes: cx.attributes(&file, &inode, args.attr_request).await?,
    })
}
