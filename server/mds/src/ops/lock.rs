//! LOCK, LOCKT, LOCKU, FREE_STATEID, TEST_STATEID: RFC 8881 §18.10 to §18.12, §18.38, §18.48.
//!
//! State: byte-range locks, and those who wait for one (READW, WRITEW: §9.6). Gate, catalog: none.
//! DELAY while a former writer isn't fenced.
//! Linux: a waiter that OPEN promised CB_NOTIFY_LOCK asks again when it comes, and else each 30
//! seconds; one that a signal stopped says nothing. A LOCK of a lock-owner that is known keeps the
//! stateid's `other`.

use crate::compound::Compound;
use crate::state::{
    DeniedLock, LockKind, LockRange, LockRefusal, LockRequest, Locker, StateidRefusal,
};
use crate::status::{Refusal, stateid_status};
use bytes::Bytes;
use catalog::FileKind;
use wire::nfs4::{
    Clientid4, FreeStateid4Args, Lock4Args, Lock4Denied, Lock4Error, Lock4Ok, LockType4, Locker4,
    Lockt4Args, Locku4Args, Locku4Ok, Nfsstat4, StateOwner4, TestStateid4Args, TestStateid4Ok,
};

/// A refusal, or the lock in the way.
pub(crate) enum LockFailure {
    Refused(Refusal),
    Denied(Lock4Denied),
}

impl<R: Into<Refusal>> From<R> for LockFailure {
    fn from(refusal: R) -> Self {
        Self::Refused(refusal.into())
    }
}

impl LockFailure {
    pub fn into_wire(self, told: impl FnOnce(&Refusal) -> Nfsstat4) -> Lock4Error {
        match self {
            LockFailure::Refused(refusal) => Lock4Error::Status(told(&refusal)),
            LockFailure::Denied(denied) => Lock4Error::Denied(denied),
        }
    }
}

fn denied(lock: DeniedLock) -> LockFailure {
    let locktype = match lock.kind {
        LockKind::Read => LockType4::ReadLt,
        LockKind::Write => LockType4::WriteLt,
    };
    LockFailure::Denied(Lock4Denied {
        offset: lock.range.offset(),
        length: lock.range.length(),
        locktype,
        owner: StateOwner4 {
            clientid: Clientid4(lock.client.0),
            owner: lock.owner,
        },
    })
}

fn kind(locktype: LockType4) -> LockKind {
    if locktype.is_write() {
        LockKind::Write
    } else {
        LockKind::Read
    }
}

fn waits(locktype: LockType4) -> bool {
    matches!(locktype, LockType4::ReadwLt | LockType4::WritewLt)
}

async fn regular(cx: &Compound<'_>) -> Result<catalog::InodeId, Refusal> {
    let inode = cx.inode().await?;
    match inode.kind {
        FileKind::Regular => Ok(inode.id),
        FileKind::Directory => Err(Nfsstat4::Isdir.into()),
        FileKind::Symlink => Err(Nfsstat4::Symlink.into()),
        _ => Err(Nfsstat4::WrongType.into()),
    }
}

pub(crate) async fn lock(args: Lock4Args, cx: &mut Compound<'_>) -> Result<Lock4Ok, LockFailure> {
    let inode = regular(cx).await?;
    let range = LockRange::new(args.offset, args.length).ok_or(Nfsstat4::Inval)?;
    let who = match args.locker {
        Locker4::New(new) => Locker::New {
            open: cx.resolve(new.open_stateid)?,
            // A slice would keep the whole record that it came in.
            owner: Bytes::copy_from_slice(&new.lock_owner.owner),
        },
        Locker4::Existing(existing) => Locker::Existing {
            lock: cx.resolve(existing.lock_stateid)?,
        },
    };
    let request = LockRequest {
        client: cx.client()?,
        inode,
        range,
        kind: kind(args.locktype),
        reclaim: args.reclaim,
        wait: waits(args.locktype).then_some(cx.file()?.export.number),
        who,
    };
    if !request.reclaim {
        // Who had this lock may still be writing under it (invariant 7).
        cx.server.writers_out(inode, request.client).await?;
    }
    match cx.server.take_lock(cx.time, request).await? {
        Ok(stateid) => {
            // A write lock may have become one for reading.
            cx.server.tell_lock_waiters(inode);
            Ok(Lock4Ok {
                lock_stateid: cx.set_stateid(stateid),
            })
        }
        Err(LockRefusal::Denied(lock)) => Err(denied(lock)),
        Err(refusal) => Err(Refusal::from(refusal).into()),
    }
}

pub(crate) async fn lockt(args: Lockt4Args, cx: &mut Compound<'_>) -> Result<(), LockFailure> {
    let inode = regular(cx).await?;
    let range = LockRange::new(args.offset, args.length).ok_or(Nfsstat4::Inval)?;
    let client = cx.client()?;
    loop {
        let (lock, gone) = {
            let mut state = cx.server.state.lock();
            state.may_take_new(client)?;
            let owner = &args.owner.owner;
            let Some(lock) = state.lock_test(client, inode, range, kind(args.locktype), owner)
            else {
                return Ok(());
            };
            let gone = state.make_way_for_lock(lock.client);
            (lock, gone)
        };
        if gone.is_empty() {
            return Err(denied(lock));
        }
        cx.server.put_out(gone).await?;
    }
}

pub(crate) fn locku(args: &Locku4Args, cx: &mut Compound<'_>) -> Result<Locku4Ok, Refusal> {
    let inode = cx.file()?.id;
    let range = LockRange::new(args.offset, args.length).ok_or(Nfsstat4::Inval)?;
    let (client, stateid) = (cx.client()?, cx.resolve(args.lock_stateid)?);
    let stateid = cx
        .server
        .state
        .lock()
        .unlock(client, stateid, inode, range)?;
    cx.server.tell_lock_waiters(inode);
    Ok(Locku4Ok {
        lock_stateid: cx.set_stateid(stateid),
    })
}

pub(crate) fn free_stateid(args: &FreeStateid4Args, cx: &mut Compound<'_>) -> Result<(), Refusal> {
    let (client, stateid) = (cx.client()?, cx.resolve(args.stateid)?);
    cx.server.state.lock().free_stateid(client, stateid)?;
    Ok(())
}

pub(crate) fn test_stateid(
    args: &TestStateid4Args,
    cx: &mut Compound<'_>,
) -> Result<TestStateid4Ok, Refusal> {
    let client = cx.client()?;
    let mut status_codes = Vec::with_capacity(args.stateids.len());
    for asked in &args.stateids {
        // Judged as it is: "current" has no meaning here (RFC 8881 §18.48.3).
        let stateid = crate::state::Stateid {
            seqid: asked.seqid,
            other: asked.other,
        };
        let tested: Result<(), StateidRefusal> =
            cx.server.state.lock().test_stateid(client, stateid);
        status_codes.push(tested.map_or_else(stateid_status, |()| Nfsstat4::Ok));
    }
    Ok(TestStateid4Ok { status_codes })
}
