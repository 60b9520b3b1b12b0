//! LAYOUTCOMMIT, RFC 8881 §18.42.
//!
//! State: the layout named. Gate: shared, if that takes a moment at most. Catalog: size, times and change,
//! as the data servers tell them: what the client says is no more than an occasion to ask.
//! Linux takes a LAYOUTCOMMIT refused with GRACE, BADLAYOUT or DELEG_REVOKED for done, so the write
//! intent already knows about these bytes, and settle asks for them (invariant 6).

use crate::attributes::without_set_id;
use crate::compound::{Compound, File};
use crate::gate::MOMENT;
use crate::state::GateMode;
use crate::status::Refusal;
use catalog::{FileKind, transact};
use wire::nfs4::{LAYOUT4_FLEX_FILES, Layoutcommit4Args, Layoutcommit4Ok, Nfsstat4};

pub(crate) async fn layoutcommit(
    args: Layoutcommit4Args,
    cx: &mut Compound<'_>,
) -> Result<Layoutcommit4Ok, Refusal> {
    let file = cx.file()?.clone();
    if args.layoutupdate.layout_type != LAYOUT4_FLEX_FILES {
        return Err(Nfsstat4::UnknownLayouttype.into());
    }
    if args
        .last_write_offset
        .is_some_and(|last| last < args.offset || last == u64::MAX)
    {
        return Err(Nfsstat4::Inval.into());
    }
    let before = cx.inode().await?;
    match before.kind {
        FileKind::Regular => {}
        FileKind::Directory => return Err(Nfsstat4::Isdir.into()),
        FileKind::Symlink => return Err(Nfsstat4::Symlink.into()),
        // WRONG_TYPE is no error of this operation (RFC 8881 §15.2).
        _ => return Err(Nfsstat4::Inval.into()),
    }
    let usable = usable(&args, &file, cx);
    if usable.is_ok() && args.last_write_offset.is_some() {
        cx.server.writing.wrote(file.id);
    } else {
        // Also for a stateid that can't be used: the client will not tell again what it wrote.
        cx.server.writing.unsettle(file.id);
    }
    let entered = cx.server.enter_within(file.id, GateMode::Shared, MOMENT);
    let after = match entered.await {
        Ok(_inside) => cx.server.refresh(file.id).await?,
        // A truncate is under way: it takes these bytes into account by itself, and waits for this
        // client, which must not wait for it.
        Err(_) => return Ok(Layoutcommit4Ok { newsize: None }),
    };
    usable?;
    let credential = cx.credential(&file);
    if !credential.is_root()
        && after.data_stamp != before.data_stamp
        && after.mode != without_set_id(after.mode)
    {
        cx.server.drop_set_id(file.id, cx.now).await?;
    }
    Ok(Layoutcommit4Ok {
        newsize: (after.size != before.size).then_some(after.size),
    })
}

/// Whether the client holds the layout that it names. BADLAYOUT is the one refusal of a stateid that
/// Linux takes for an answer: any other, of a layout of an earlier start, it repeats for ever.
fn usable(args: &Layoutcommit4Args, file: &File, cx: &Compound<'_>) -> Result<(), Refusal> {
    let client = cx.client()?;
    if args.reclaim {
        // Of a layout of an earlier start: only while reclaims are admitted (§18.42.3).
        cx.server.state.lock().may_reclaim(client)?;
        return Ok(());
    }
    let bad = |_| Nfsstat4::Badlayout;
    let stateid = cx.resolve(args.stateid).map_err(|_| Nfsstat4::Badlayout)?;
    let grant = cx
        .server
        .state
        .lock()
        .layout_of(client, stateid)
        .map_err(bad)?;
    if grant.inode != file.id || !grant.write {
        return Err(Nfsstat4::Badlayout.into());
    }
    Ok(())
}

impl crate::Server {
    /// A set-id bit doesn't outlive a write by somebody without privilege (POSIX write).
    pub(crate) async fn drop_set_id(
        &self,
        id: catalog::InodeId,
        now: catalog::Timestamp,
    ) -> Result<(), Refusal> {
        transact!(self.catalog, now, |tx| -> Result<(), Refusal> {
            let mut inode = tx.inode(id).await?;
            inode.mode = without_set_id(inode.mode);
            inode.ctime = now;
            inode.change = tx.next_change();
            tx.put(&inode).await?;
            Ok(())
        })?;
        Ok(())
    }
}
