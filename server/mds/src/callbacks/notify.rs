//! CB_NOTIFY, RFC 8881 §20.4: changes of a folder told to holders of its delegation, one batch after the other.
//! What is to be told, and in which order, is decided in `state`.

use super::{CallbackFailure, RETRY};
use crate::server::Server;
use crate::state::{ClientId, DelegationId, EntryChange, OldEntry};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use wire::Xdr;
use wire::nfs4::{
    Attributes, Bitmap4, CbArgOp, CbNotify4Args, NOTIFY4_ADD_ENTRY, NOTIFY4_REMOVE_ENTRY,
    NOTIFY4_RENAME_ENTRY, Nfsstat4, Notify4, NotifyAdd4, NotifyEntry4, NotifyRemove4,
    NotifyRename4,
};
use wire::xdr::Encoder;

/// Changes of one callback: whatever their names, they fit Linux's back channel, which takes a page.
const AT_ONCE: usize = 4;

/// How long a holder may take to hear of a change before its delegation is asked back.
const PATIENCE: Duration = Duration::from_secs(5);

impl Server {
    /// Tells these holders what has happened, in the background.
    pub(crate) fn send_notes(self: &Arc<Self>, holders: Vec<DelegationId>) {
        for holder in holders {
            let server = Arc::clone(self);
            self.tasks
                .spawn(async move { server.tell_holder(holder).await });
        }
    }

    async fn tell_holder(self: &Arc<Self>, holder: DelegationId) {
        loop {
            let next = self.state.lock().notes_take(holder, AT_ONCE);
            let Some((delegation, changes)) = next else {
                return;
            };
            let notify = CbArgOp::Notify(CbNotify4Args {
                stateid: delegation.stateid.into(),
                fh: self.handle_of_delegation(&delegation),
                changes: changes.iter().map(notification).collect(),
            });
            if !self.is_told(delegation.client, notify).await {
                // What it believes of the folder is no longer true.
                let now = self.clock.monotonic();
                let recall = self.state.lock().notes_lost(now, holder);
                return self.send_delegation_recalls(recall.into_iter().collect());
            }
            self.metrics
                .notifications
                .fetch_add(changes.len() as u64, Relaxed);
        }
    }

    async fn is_told(&self, client: ClientId, notify: CbArgOp) -> bool {
        let deadline = self.clock.monotonic().plus(PATIENCE);
        while self.clock.monotonic() < deadline {
            match self.callback(client, notify.clone()).await {
                // Who is gone holds nothing any more.
                Ok(Nfsstat4::Ok) | Err(CallbackFailure::Gone) => return true,
                // It asks for time; or the grant is still on its way to it.
                Ok(Nfsstat4::Delay | Nfsstat4::BadStateid | Nfsstat4::Badhandle)
                | Err(CallbackFailure::Unreachable) => tokio::time::sleep(RETRY).await,
                Ok(_) | Err(CallbackFailure::TooLong) => return false,
            }
        }
        false
    }
}

fn notification(change: &EntryChange) -> Notify4 {
    let mut out = Encoder::new();
    let kind = match change {
        EntryChange::Added { name, replaced } => {
            added(name, replaced.as_ref()).encode(&mut out);
            NOTIFY4_ADD_ENTRY
        }
        EntryChange::Removed(old) => {
            removed(old).encode(&mut out);
            NOTIFY4_REMOVE_ENTRY
        }
        EntryChange::Renamed { from, to, replaced } => {
            let renamed = NotifyRename4 {
                old_entry: removed(from),
                new_entry: added(to, replaced.as_ref()),
            };
            renamed.encode(&mut out);
            NOTIFY4_RENAME_ENTRY
        }
    };
    Notify4 {
        mask: Bitmap4::of(&[kind]),
        vals: out.finish(),
    }
}

/// No attributes of it: none were promised (`gddr_child_attributes`).
fn entry(name: &Bytes) -> NotifyEntry4 {
    NotifyEntry4 {
        file: name.clone(),
        attrs: Box::new(Attributes::default()),
    }
}

fn removed(old: &OldEntry) -> NotifyRemove4 {
    NotifyRemove4 {
        old_entry: entry(&old.name),
        old_entry_cookie: old.cookie,
    }
}

/// Without its place: names lie in no order that means anything.
fn added(name: &Bytes, replaced: Option<&OldEntry>) -> NotifyAdd4 {
    NotifyAdd4 {
        old_entry: replaced.map(removed).into_iter().collect(),
        new_entry: entry(name),
        new_entry_cookie: Vec::new(),
        prev_entry: Vec::new(),
        last_entry: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::nfs4::{FH_LIMIT, Stateid4};

    #[test]
    fn the_longest_changes_of_one_callback_fit_a_page() {
        const PAGE: usize = 4096;
        /// RPC header with all groups of AUTH_SYS, CB_COMPOUND, and CB_SEQUENCE with eight referring calls.
        const AROUND: usize = 256 + 8 * 28;
        let name = Bytes::from(vec![b'x'; catalog::NAME_MAX_BYTES]);
        let old = OldEntry {
            name: name.clone(),
            cookie: u64::MAX,
        };
        let longest = EntryChange::Renamed {
            from: old.clone(),
            to: name,
            replaced: Some(old),
        };
        let args = CbNotify4Args {
            stateid: Stateid4::ANONYMOUS,
            fh: vec![0; FH_LIMIT].into(),
            changes: vec![notification(&longest); AT_ONCE],
        };
        let mut out = Encoder::new();
        args.encode(&mut out);
        assert!(AROUND + out.len() <= PAGE, "{} bytes", out.len());
    }
}
