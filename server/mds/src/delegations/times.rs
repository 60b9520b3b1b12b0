//! Times that the holder of a delegation sets (RFC 9754 §5): FATTR4_TIME_DELEG_ACCESS and _MODIFY in
//! SETATTR, under the delegation's stateid, on its way back.

use super::holder::{timestamp, within};
use crate::compound::{Compound, File};
use crate::state::{ClientRecordView, DelegationKind, Stateid};
use crate::status::Refusal;
use catalog::{Timestamp, transact};
use layout::ClientKernel;
use wire::nfs4::{Attr, Bitmap4, Fattr4, Nfsstat4, Nfstime4};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DelegatedTimes {
    accessed: Option<Timestamp>,
    modified: Option<Timestamp>,
}

/// Whether a client that wants to tell the times itself is let. Linux isn't (7.2 at the latest): while it
/// does so it no longer waits for its writes before it asks for attributes, and takes a size from before
/// them for the file's. Others are taken at their word.
pub(crate) fn may_tell(client: Option<&ClientRecordView>) -> bool {
    let implementation = client.and_then(|client| client.implementation.as_ref());
    implementation.is_none_or(|it| ClientKernel::parse(&it.domain, &it.name).is_none())
}

impl DelegatedTimes {
    /// Takes them out of what a SETATTR asks for.
    pub fn taken_from(asked: &mut Fattr4) -> Result<Option<Self>, Refusal> {
        let Fattr4::Known(asked) = asked else {
            return Ok(None);
        };
        let told = [
            asked.time_deleg_access.take(),
            asked.time_deleg_modify.take(),
        ];
        if told == [None, None] {
            return Ok(None);
        }
        let [accessed, modified] = told.map(|time| time.map(checked).transpose());
        Ok(Some(Self {
            accessed: accessed?,
            modified: modified?,
        }))
    }

    pub fn mask(self) -> Bitmap4 {
        let mut mask = Bitmap4::EMPTY;
        if self.accessed.is_some() {
            mask.set(Attr::TimeDelegAccess);
        }
        if self.modified.is_some() {
            mask.set(Attr::TimeDelegModify);
        }
        mask
    }

    pub async fn apply(
        self,
        cx: &Compound<'_>,
        file: &File,
        stateid: Stateid,
    ) -> Result<(), Refusal> {
        let held = cx
            .server
            .state
            .lock()
            .delegation_of(cx.client()?, stateid)?;
        let may_modify = self.modified.is_none() || held.kind == DelegationKind::Write;
        if held.inode != file.id || !held.times || !may_modify {
            return Err(Nfsstat4::BadStateid.into());
        }
        if self.modified.is_some() {
            // What was written counts with the time told, not with that of its arrival.
            cx.server.absorb_writes(file.id).await?;
        }
        transact!(cx.server.catalog, cx.now, |tx| -> Result<(), Refusal> {
            let mut inode = tx.inode(file.id).await?;
            if let Some(accessed) = self.accessed {
                inode.atime = within(accessed, inode.atime, cx.now);
            }
            if let Some(modified) = self.modified {
                inode.mtime = within(modified, held.modified, cx.now);
                inode.ctime = inode.ctime.max(inode.mtime);
                inode.change = tx.next_change();
            }
            tx.put(&inode).await?;
            Ok(())
        })?;
        Ok(())
    }
}

fn checked(time: Nfstime4) -> Result<Timestamp, Refusal> {
    timestamp(time).ok_or_else(|| Nfsstat4::Inval.into())
}
