//! A copy that goes on after its answer, until its client has heard how it ended (RFC 7862 §4.4, §16.1).

use super::there::There;
use super::{Job, Source, answer};
use crate::callbacks::CallbackFailure;
use crate::ops::io::Writer;
use crate::server::Server;
use crate::state::{ClientId, OffloadFault, State, Stateid};
use crate::status::{offload_fault, offload_status};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wire::nfs4::{
    CbArgOp, CbOffload4Args, Copy4Ok, Fh4, Nfsstat4, OffloadInfo4, StableHow4, Verifier4,
    WriteResponse4,
};

/// Between two tries to tell a client that its copy has ended, or to go on with it.
const RETRY: Duration = Duration::from_millis(500);

pub(super) struct Background {
    server: Arc<Server>,
    client: ClientId,
    stateid: Stateid,
    /// Of the target, for CB_OFFLOAD.
    fh: Fh4,
}

pub(super) enum Task {
    Within(Job),
    FromThere(Box<There>),
}

impl Background {
    /// What the client is told when `stateid` ends.
    pub fn of(writer: &Writer, stateid: Stateid, fh: Fh4) -> Self {
        Self {
            server: Arc::clone(&writer.server),
            client: writer.client,
            stateid,
            fh,
        }
    }

    /// Sets it going: what COPY answers.
    pub fn begin(self, task: Task) -> Copy4Ok {
        let response = WriteResponse4 {
            callback_id: Some(self.stateid.into()),
            count: 0,
            committed: StableHow4::Unstable,
            writeverf: Verifier4::default(),
        };
        let server = Arc::clone(&self.server);
        server.tasks.spawn(self.run(task));
        answer(response, false)
    }

    async fn run(self, task: Task) {
        let (copied, end) = match task {
            Task::Within(job) => self.copy(&job).await,
            Task::FromThere(there) => {
                let ended = self.copy_unless_called_off(&there).await;
                there.close().await;
                ended
            }
        };
        let wanted = self
            .state()
            .offload_end(self.client, self.stateid, end.map(|_| ()));
        if wanted {
            self.tell(copied, end).await;
        }
    }

    async fn copy_unless_called_off(&self, there: &There) -> (u64, Result<[u8; 8], OffloadFault>) {
        let copy = self.copy_from(there);
        tokio::pin!(copy);
        tokio::select! {
            ended = &mut copy => ended,
            () = self.called_off() => {
                // What it waits for there is given up; what it writes here is ended.
                there.give_up();
                copy.await
            }
        }
    }

    fn state(&self) -> parking_lot::MutexGuard<'_, State> {
        self.server.state.lock()
    }

    /// Whether nobody wants it any more.
    fn is_off(&self, copied: u64) -> bool {
        let mut state = self.state();
        state
            .offload_progress(self.client, self.stateid, copied)
            .is_break()
    }

    async fn called_off(&self) {
        loop {
            let changed = self.server.copies_called_off.notified();
            tokio::pin!(changed);
            // Armed before the look, so that no call falls between look and wait.
            changed.as_mut().enable();
            if self.state().offload_is_off(self.client, self.stateid) {
                return;
            }
            changed.await;
        }
    }

    async fn copy_from(&self, there: &There) -> (u64, Result<[u8; 8], OffloadFault>) {
        match there.open().await {
            Ok(job) => self.copy(&job).await,
            Err(refusal) => (0, Err(offload_fault(&refusal))),
        }
    }

    /// How far it came and how it ended.
    async fn copy(&self, job: &Job) -> (u64, Result<[u8; 8], OffloadFault>) {
        let mut copied = 0;
        let mut waits_since = None;
        loop {
            match job.stretch(copied, job.stretch_bytes()).await {
                Ok(stretch) => {
                    waits_since = None;
                    copied += stretch.bytes;
                    // A source that was cut meanwhile has no more.
                    if stretch.ended || copied == job.range.length {
                        return (copied, Ok(stretch.verifier));
                    }
                }
                // A data server is away, or somebody is alone with a file: both pass. Meanwhile another
                // server forgets us.
                Err(refusal) if refusal.status == Nfsstat4::Delay => {
                    let since = *waits_since.get_or_insert_with(Instant::now);
                    let lease = self.server.identity.lease;
                    if matches!(job.source, Source::There(_)) && since.elapsed() > lease {
                        return (copied, Err(OffloadFault::Denied));
                    }
                    tokio::time::sleep(RETRY).await;
                }
                Err(refusal) => return (copied, Err(offload_fault(&refusal))),
            }
            if self.is_off(copied) {
                // Nobody will be told.
                return (copied, Err(OffloadFault::Broken));
            }
        }
    }

    /// CB_OFFLOAD, until the client has heard it or is gone.
    async fn tell(&self, copied: u64, end: Result<[u8; 8], OffloadFault>) {
        let info = match end {
            Ok(verifier) => OffloadInfo4::Ok(WriteResponse4 {
                callback_id: None,
                count: copied,
                committed: StableHow4::FileSync,
                writeverf: Verifier4(verifier),
            }),
            Err(fault) => OffloadInfo4::Failed {
                status: offload_status(Err(fault)),
                bytes_copied: copied,
            },
        };
        let told = CbOffload4Args {
            fh: self.fh.clone(),
            stateid: self.stateid.into(),
            info,
        };
        let (server, client) = (&self.server, self.client);
        let deadline = server.clock.monotonic().plus(server.identity.lease);
        while server.clock.monotonic() < deadline {
            let heard = server
                .callback(client, CbArgOp::Offload(told.clone()))
                .await;
            match heard {
                // BADHANDLE and the like: it doesn't wait for this copy any more.
                Ok(status) if status != Nfsstat4::Delay => {
                    return self.state().offload_told(client, self.stateid);
                }
                Err(CallbackFailure::Gone) => return,
                // OFFLOAD_STATUS tells it as well.
                Ok(_) | Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }
}
