//! Making true that a client writes no more: fencing the files of layouts that did not come back,
//! and of clients of an earlier start, in the background and for who needs it now.
//!
//! A fence runs inside the file's gate, alone: no layout leaves with an owner that is being changed,
//! and no write through this server is on its way. Never here: who is to be fenced.

use crate::faults::Met;
use crate::gate::MOMENT;
use crate::server::Server;
use crate::state::{ClientId, GateMode, GrantId, RecallWhat};
use crate::status::Refusal;
use catalog::InodeId;
use futures_util::stream::{self, StreamExt};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;
use wire::nfs4::Nfsstat4;

/// Files fenced at the same time.
const AT_ONCE: usize = 32;
/// Looked at in one go, so that the state's lock is held briefly.
const BATCH: usize = 256;
/// What somebody waits for the fence that keeps him out, before he is told to come again.
const HURRY: Duration = Duration::from_secs(1);
/// How long a lapsed client is kept on record for the sake of its fences. What isn't done then is
/// done later, and keeps others from what it would spoil.
const LAST_RESPECTS: Duration = Duration::from_secs(5);

/// The one round over all that is to be fenced.
#[derive(Default)]
pub(crate) struct Round {
    wanted: AtomicBool,
    running: Arc<tokio::sync::Mutex<()>>,
}

impl Server {
    /// Sees to it that everything that is to be fenced is tried soon.
    pub(crate) fn fence_all_soon(self: &Arc<Self>) {
        self.fence_round.wanted.store(true, SeqCst);
        let running = Arc::clone(&self.fence_round.running);
        let Ok(mut alone) = running.clone().try_lock_owned() else {
            return;
        };
        let server = Arc::clone(self);
        self.tasks.spawn(async move {
            loop {
                while server.fence_round.wanted.swap(false, SeqCst) {
                    server.fence_all().await;
                }
                drop(alone);
                // Asked for between the last look and here.
                if !server.fence_round.wanted.load(SeqCst) {
                    return;
                }
                match running.clone().try_lock_owned() {
                    Ok(again) => alone = again,
                    Err(_) => return,
                }
            }
        });
    }

    async fn fence_all(self: &Arc<Self>) {
        let mut after: Option<GrantId> = None;
        loop {
            let grants = self.state.lock().fences_after(after, BATCH);
            after = grants.last().map(|grant| grant.id);
            if after.is_none() {
                break;
            }
            self.fence_files(grants.iter().map(|grant| grant.inode).collect())
                .await;
        }
        // Clients of an earlier start may still come back and reclaim.
        if self.state.lock().in_grace() {
            return;
        }
        let mut after = None;
        loop {
            let files = self.writing.former_after(after, BATCH);
            after = files.last().copied();
            if after.is_none() {
                break;
            }
            self.fence_files(files.into_iter().collect()).await;
        }
    }

    async fn fence_files(self: &Arc<Self>, files: BTreeSet<InodeId>) {
        stream::iter(files)
            .for_each_concurrent(AT_ONCE, |file| self.fence_file(file))
            .await;
    }

    /// Fences what of a file is to be fenced, if the gate can be had: who is alone inside and waits
    /// for layouts does it himself.
    pub(crate) async fn fence_file(self: &Arc<Self>, id: InodeId) {
        let fenced = async {
            let _alone = self.enter_within(id, GateMode::Exclusive, MOMENT).await?;
            self.fence_alone(id).await
        };
        if let Err(refusal) = fenced.await
            && refusal.status != Nfsstat4::Delay
        {
            self.fault(Met::Fence, &refusal);
        }
    }

    /// The same for who is alone inside the gate. What was fenced before is not fenced again: by now
    /// somebody else may hold the file.
    pub(crate) async fn fence_alone(self: &Arc<Self>, id: InodeId) -> Result<(), Refusal> {
        if self.state.lock().fences_of(id).is_empty() && !self.writing.has_former(id) {
            return Ok(());
        }
        if self.fence_moves_objects(id).await? {
            // What others write into the old objects, or read from them, would not be the file.
            self.ask_back(id, RecallWhat::All, None).await?;
        }
        let grants = self.state.lock().fences_of(id);
        if grants.iter().any(|grant| grant.write) || self.writing.has_former(id) {
            self.fence(id).await?;
        }
        for grant in grants {
            self.state.lock().fenced(grant.id);
        }
        self.layouts_changed.notify_waiters();
        self.settle_later(id);
        // It may have been the last hold on a file without names.
        self.reap_if_free(id);
        Ok(())
    }

    async fn fence_moves_objects(&self, id: InodeId) -> Result<bool, Refusal> {
        match self.catalog.inode(id).await {
            Ok(inode) => Ok(self.objects.fence_moves(&inode.extents)?),
            Err(catalog::Error::Stale) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives every object of `id` a new owner, or another in its place, so that no layout handed out
    /// before can write.
    async fn fence(&self, id: InodeId) -> Result<(), Refusal> {
        let inode = match self.catalog.inode(id).await {
            Ok(inode) => inode,
            // Reaped meanwhile: its objects go, and with them every grant.
            Err(catalog::Error::Stale) => {
                self.writing.forget(id);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        if !inode.extents.is_empty() {
            self.objects.fence(&inode).await?;
            self.metrics.fences.fetch_add(1, Relaxed);
        }
        self.writing.unsettle(id);
        self.writing.fenced_former(id);
        Ok(())
    }

    /// Refuses while somebody else than `asker` lost the right to write `id` and may still be doing
    /// it, past this server: a layout that is being fenced, a client of an earlier start (invariants
    /// 5 and 7). The fence is hurried on, and waited for a moment. The caller isn't inside the gate.
    pub(crate) async fn writers_out(
        self: &Arc<Self>,
        id: InodeId,
        asker: ClientId,
    ) -> Result<(), Refusal> {
        if !self.writer_lingers(id, asker) {
            return Ok(());
        }
        let server = Arc::clone(self);
        self.tasks.spawn(async move { server.fence_file(id).await });
        self.layouts_until(HURRY, || !self.writer_lingers(id, asker))
            .await
    }

    /// In grace only reclaims are admitted, and those are of what was held when the writing began.
    pub(crate) fn writer_lingers(&self, id: InodeId, asker: ClientId) -> bool {
        let state = self.state.lock();
        state.writer_lingers(id, Some(asker)) || (!state.in_grace() && self.writing.has_former(id))
    }

    /// Ends what a client whose lease ran out may still write, as far as that takes no long time:
    /// before its locks and opens are given to others.
    pub(crate) async fn fence_client(self: &Arc<Self>, client: ClientId) {
        if !self.state.lock().begin_fences_of(client) {
            return;
        }
        self.layouts_changed.notify_waiters();
        self.fence_all_soon();
        let fenced =
            self.layouts_until(LAST_RESPECTS, || !self.state.lock().is_being_fenced(client));
        if fenced.await.is_err() {
            tracing::info!(
                client = client.0,
                "files of a client that is gone can't be fenced yet, and nobody gets locks of them"
            );
        }
    }
}
