//! What goes on whether or not a caller waits for it, and how it ends with the server.
//!
//! Never here: what is done.

use crate::failure::come_again;
use crate::mirror::Mirror;
use backend::tree::{TreeError, TreeErrorKind};
use std::time::Duration;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[derive(Default)]
pub(crate) struct Work {
    tasks: TaskTracker,
    /// Before `stopped`: nothing goes on that the next start takes up by itself.
    leaving: CancellationToken,
    stopped: CancellationToken,
}

pub(crate) fn died(error: &JoinError) -> TreeError {
    TreeError::new(TreeErrorKind::Broken, format!("the work died: {error}"))
}

impl Work {
    fn until<T: Send + 'static>(
        &self,
        end: CancellationToken,
        work: impl Future<Output = Result<T, TreeError>> + Send + 'static,
    ) -> JoinHandle<Result<T, TreeError>> {
        self.tasks.spawn(async move {
            let done = end.run_until_cancelled(work).await;
            done.unwrap_or_else(|| Err(come_again("the server is being stopped")))
        })
    }
}

impl Mirror {
    /// Runs to its end, whether or not the caller waits, unless the mirror is stopped. Boxed by whoever
    /// calls: such work is large.
    pub(crate) async fn carried_out<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, TreeError>> + Send + 'static,
    ) -> Result<T, TreeError> {
        let done = self.task(work).await;
        done.unwrap_or_else(|error| Err(died(&error)))
    }

    pub(crate) fn task<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, TreeError>> + Send + 'static,
    ) -> JoinHandle<Result<T, TreeError>> {
        self.work.until(self.work.stopped.clone(), work)
    }

    /// What the next start takes up where it isn't done, so that no end of the server waits for it.
    pub(crate) fn in_the_background(
        &self,
        work: impl Future<Output = Result<(), TreeError>> + Send + 'static,
    ) {
        drop(self.work.until(self.work.leaving.clone(), work));
    }

    /// Lets come to its end what callers asked for, for so long. Whatever is under way then ends where it is: the next
    /// attachment puts it in order.
    pub(crate) async fn end(&self, patience: Duration) {
        let work = &self.work;
        work.leaving.cancel();
        work.tasks.close();
        let ended = tokio::time::timeout(patience, work.tasks.wait()).await;
        work.stopped.cancel();
        if ended.is_err() {
            work.tasks.wait().await;
        }
    }
}
