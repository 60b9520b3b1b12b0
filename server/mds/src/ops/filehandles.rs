//! PUTFH, PUTROOTFH, PUTPUBFH, GETFH, SAVEFH, RESTOREFH: RFC 8881 §18.19, §18.21, §18.20, §18.8, §18.28, §18.27.
//!
//! State: the COMPOUND's own. A handle is only unsealed here; that its file is gone shows at the
//! first operation that looks at it, as STALE.
//! A handle that is put and saved for a COPY from another server is judged there (RFC 7862 §15.2.3).

use crate::compound::{Compound, File};
use crate::status::Refusal;
use catalog::InodeId;
use std::sync::Arc;
use wire::nfs4::{Getfh4Ok, Nfsstat4, Putfh4Args};

pub(crate) async fn putfh(args: Putfh4Args, cx: &mut Compound<'_>) -> Result<(), Refusal> {
    match (file_of(&args, cx).await, cx.puts_foreign) {
        (Ok(file), _) => cx.set_current(file),
        (Err(_), true) => {
            cx.current = None;
            cx.stateid = None;
        }
        (Err(refusal), false) => return Err(refusal),
    }
    cx.foreign = cx.puts_foreign.then_some(args.object);
    Ok(())
}

async fn file_of(args: &Putfh4Args, cx: &Compound<'_>) -> Result<File, Refusal> {
    let file = cx.named(&args.object)?;
    cx.enter(&file.export).await?;
    // A deleted file's handle is STALE at once (RFC 8881 §4.2.3), whatever comes next; a backend tells by itself.
    if file.node.is_none() {
        cx.server.catalog.inode(file.id).await?;
    }
    Ok(file)
}

pub(crate) async fn putrootfh(cx: &mut Compound<'_>) -> Result<(), Refusal> {
    let settings = cx.server.settings();
    let export = settings.exports.at_root();
    if !export.is_pseudo() && !export.admits(cx.connection.peer.ip()) {
        return Err(Nfsstat4::Access.into());
    }
    cx.enter(export).await?;
    cx.set_current(File::new(InodeId::ROOT, Arc::clone(export)));
    Ok(())
}

pub(crate) fn getfh(cx: &Compound<'_>) -> Result<Getfh4Ok, Refusal> {
    Ok(Getfh4Ok {
        object: cx.handle_of(cx.file()?),
    })
}

pub(crate) fn savefh(cx: &mut Compound<'_>) -> Result<(), Refusal> {
    cx.saved_foreign = cx.foreign.take();
    cx.saved = match cx.file() {
        Err(_) if cx.saved_foreign.is_some() => None,
        file => Some(file?.clone()),
    };
    cx.saved_stateid = cx.stateid;
    Ok(())
}

pub(crate) async fn restorefh(cx: &mut Compound<'_>) -> Result<(), Refusal> {
    // RFC 8881 §18.27.4: nothing saved is NOFILEHANDLE since 4.1, not RESTOREFH.
    let file = cx.saved_file()?.clone();
    // An operation in between may have removed it, and what comes next may not look.
    if file.node.is_none() {
        cx.server.catalog.inode(file.id).await?;
    }
    cx.current = Some(file);
    cx.stateid = cx.saved_stateid;
    Ok(())
}
