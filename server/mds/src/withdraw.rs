//! Taking layouts away and waiting for it; what may go once nobody holds a file.

use crate::faults::Met;
use crate::junction;
use crate::server::Server;
use crate::state::{ClientId, GateMode, RecallWhat};
use crate::status::Refusal;
use catalog::{Inode, InodeId, transact};
use std::sync::Arc;
use std::time::Duration;
use wire::nfs4::Nfsstat4;

/// After the deadline of a recall: until housekeeping has seen that it is over.
const SLACK: Duration = Duration::from_secs(5);

impl Server {
    /// Ends when nobody but `except` holds such a layout of `id`: returned, or fenced when its
    /// time was over; clients of an earlier start are fenced too. The caller holds the gate
    /// exclusively, so that none is given meanwhile.
    pub(crate) async fn withdraw(
        self: &Arc<Self>,
        id: InodeId,
        what: RecallWhat,
        except: Option<ClientId>,
    ) -> Result<(), Refusal> {
        self.ask_back(id, what, except).await?;
        self.fence_alone(id).await
    }

    /// The same, but for the fence of what did not come back.
    pub(crate) async fn ask_back(
        self: &Arc<Self>,
        id: InodeId,
        what: RecallWhat,
        except: Option<ClientId>,
    ) -> Result<(), Refusal> {
        let orders = self
            .state
            .lock()
            .recall(self.clock.monotonic(), id, what, except);
        self.send_recalls(orders);
        let patience = self.settings().recall_timeout + SLACK;
        self.layouts_until(patience, || !self.state.lock().recalls_pending(id, except))
            .await
    }

    /// Where clients read a version of the file that nobody changes, at a data server that caches it: asks for the
    /// layouts of the one that was. It is withdrawn there by now, so nobody waits, and a client that misses the recall
    /// reads nothing by what it holds.
    pub(crate) fn recall_what_was(self: &Arc<Self>, inode: &Inode) {
        if self.objects.is_direct(inode) {
            return;
        }
        let now = self.clock.monotonic();
        let orders = self
            .state
            .lock()
            .recall(now, inode.id, RecallWhat::All, None);
        // As a rule nobody has one, and writers come often.
        if !orders.is_empty() {
            self.send_recalls(orders);
        }
    }

    /// Ends when `holds` of layouts that come back or are fenced; DELAY if it doesn't in time.
    pub(crate) async fn layouts_until(
        &self,
        patience: Duration,
        holds: impl Fn() -> bool,
    ) -> Result<(), Refusal> {
        let awaited = async {
            loop {
                let changed = self.layouts_changed.notified();
                tokio::pin!(changed);
                // Armed before the look, so that no return falls between look and wait.
                changed.as_mut().enable();
                if holds() {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(patience, awaited)
            .await
            .map_err(|_| Nfsstat4::Delay.into())
    }

    /// Whether a file whose last name goes must stay: somebody holds it, or may come back to reclaim it.
    pub(crate) fn must_outlive_its_names(&self, id: InodeId) -> bool {
        let state = self.state.lock();
        state.in_grace() || state.file_is_held(id)
    }

    /// A file without names, still held: its layouts are asked back, and the last holder to go takes it along.
    pub(crate) fn recall_orphan(self: &Arc<Self>, id: InodeId) {
        let orders = self
            .state
            .lock()
            .recall(self.clock.monotonic(), id, RecallWhat::All, None);
        self.send_recalls(orders);
        self.reap_if_free(id);
    }

    /// Gives back what a file without names takes, once nobody holds it.
    pub(crate) fn reap_if_free(self: &Arc<Self>, id: InodeId) {
        if junction::is_node(id) {
            let state = self.state.lock();
            if !state.file_is_held(id) {
                self.nodes.lock().remove(&id);
            }
            return;
        }
        let server = Arc::clone(self);
        self.tasks.spawn(async move {
            match server.reap(id).await {
                Ok(()) => {}
                // Somebody is at it: whoever leaves last tries again, and so does housekeeping.
                Err(refusal) if matches!(refusal.status, Nfsstat4::Delay | Nfsstat4::Stale) => {}
                Err(refusal) => server.fault(Met::Reap, &refusal),
            }
        });
    }

    pub(crate) async fn reap(self: &Arc<Self>, id: InodeId) -> Result<(), Refusal> {
        if self.must_outlive_its_names(id) || self.catalog.inode(id).await?.nlink > 0 {
            return Ok(());
        }
        let _alone = self.enter(id, GateMode::Exclusive).await?;
        if self.must_outlive_its_names(id) {
            return Ok(());
        }
        transact!(
            self.catalog,
            self.clock.wall(),
            |tx| -> Result<(), Refusal> {
                if tx.inode(id).await?.nlink == 0 {
                    tx.reap(id).await?;
                }
                Ok(())
            }
        )?;
        self.reaped(id);
        Ok(())
    }

    /// The inode is gone from the catalog, and its objects stand in the delete queue.
    pub(crate) fn reaped(&self, id: InodeId) {
        self.writing.forget(id);
        self.objects.nudge_deletes();
    }
}
