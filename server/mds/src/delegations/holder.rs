//! Asking the holder of a delegation to write what a file is like (RFC 8881 §10.4.3, RFC 9754 §5): it
//! alone knows its size and whether it was changed. One that doesn't answer is recalled.
//!
//! A size told this way is shown and not kept: no byte of it can be read before the delegation is back.

use crate::server::Server;
use crate::state::{ClientId, Delegation, Touch};
use crate::status::Refusal;
use catalog::{Inode, InodeId, Timestamp, transact};
use std::sync::Arc;
use wire::nfs4::{Attr, Bitmap4, Nfstime4};

/// What a holder said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub change: u64,
    pub size: u64,
    pub accessed: Option<Timestamp>,
    pub modified: Option<Timestamp>,
}

/// Attributes that a holder may know better.
const HOLDERS: [Attr; 6] = [
    Attr::Change,
    Attr::Size,
    Attr::SpaceUsed,
    Attr::TimeAccess,
    Attr::TimeMetadata,
    Attr::TimeModify,
];

impl Server {
    /// The inode as `asker` may expect it: what a holder of a delegation to write says counts.
    pub(crate) async fn shown_inode(
        self: &Arc<Self>,
        id: InodeId,
        asker: Option<ClientId>,
        asked: Bitmap4,
    ) -> Result<Arc<Inode>, Refusal> {
        let concerned = HOLDERS.iter().any(|attribute| asked.contains(*attribute));
        let holder = concerned
            .then(|| self.state.lock().writing_delegate(id, asker))
            .flatten();
        let Some(holder) = holder else {
            return self.fresh_inode(id).await;
        };
        Box::pin(self.told_inode(id, asker, holder)).await
    }

    async fn told_inode(
        self: &Arc<Self>,
        id: InodeId,
        asker: Option<ClientId>,
        holder: Delegation,
    ) -> Result<Arc<Inode>, Refusal> {
        if let Some(told) = self.ask_holder(holder).await {
            let inode = self.fresh_inode(id).await?;
            self.counted(inode, &holder, told).await
        } else {
            self.withdraw_delegations(id, Touch::Read, asker).await?;
            self.fresh_inode(id).await
        }
    }

    /// `inode` with what its holder told. A change that it has made and not written yet is one that
    /// everybody must see: a new change attribute, each time it is asked for (§10.4.3).
    async fn counted(
        &self,
        inode: Arc<Inode>,
        holder: &Delegation,
        told: Told,
    ) -> Result<Arc<Inode>, Refusal> {
        // Of two times of one write, that of its arrival here and the holder's, the holder's counts
        // (RFC 9754 §5): it sets it on its way back, and nobody must see time go backwards then.
        let known = if holder.times {
            holder.modified
        } else {
            inode.mtime
        };
        let modified = |now| within(told.modified.unwrap_or(now), known, now);
        let changed = told.change != holder.change
            || told.size > inode.size
            || (told.modified.is_some() && modified(self.clock.wall()) != inode.mtime);
        let mut shown = Arc::unwrap_or_clone(inode);
        if changed {
            let now = self.clock.wall();
            let done = transact!(self.catalog, now, |tx| -> Result<Inode, Refusal> {
                let mut inode = tx.inode(shown.id).await?;
                inode.mtime = modified(now);
                inode.ctime = inode.ctime.max(inode.mtime);
                inode.change = tx.next_change();
                tx.put(&inode).await?;
                Ok(inode)
            })?;
            shown = done.value;
        }
        shown.size = shown.size.max(told.size);
        if let Some(accessed) = told.accessed {
            shown.atime = within(accessed, shown.atime, self.clock.wall());
        }
        Ok(Arc::new(shown))
    }
}

/// A time that a client tells: not before the one that is known, and not in the future (RFC 9754 §5).
pub(crate) fn within(told: Timestamp, known: Timestamp, now: Timestamp) -> Timestamp {
    told.min(now).max(known)
}

pub(crate) fn timestamp(time: Nfstime4) -> Option<Timestamp> {
    (time.nseconds < 1_000_000_000).then_some(Timestamp {
        seconds: time.seconds,
        nanos: time.nseconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    #[test]
    fn a_told_time_lies_between_the_known_one_and_now() {
        assert_eq!(within(second(5), second(3), second(9)), second(5));
        assert_eq!(within(second(2), second(3), second(9)), second(3));
        assert_eq!(within(second(99), second(3), second(9)), second(9));
    }

    #[test]
    fn a_time_with_too_many_nanoseconds_is_none() {
        let odd = Nfstime4 {
            seconds: 1,
            nseconds: 1_000_000_000,
        };
        assert_eq!(timestamp(odd), None);
    }
}
