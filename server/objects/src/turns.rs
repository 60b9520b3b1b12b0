//! Turns at a file's objects: a truncate, a fence and the replay of their orders never mix. Waiting
//! for a turn is queueing for the file, not holding a lock over data.
//!
//! Never here: readers and writers of the bytes; those are kept out by the caller's gate.

use catalog::InodeId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<InodeId, Arc<Semaphore>>>);

pub(crate) struct Turn {
    turns: Arc<Turns>,
    inode: InodeId,
    permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    pub(crate) async fn enter(self: &Arc<Self>, inode: InodeId) -> Turn {
        let queue = self
            .0
            .lock()
            .entry(inode)
            .or_insert_with(|| Arc::new(Semaphore::new(1)))
            .clone();
        // The semaphore is never closed, so that the permit is there.
        let permit = queue.acquire_owned().await.ok();
        Turn {
            turns: self.clone(),
            inode,
            permit,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queues = self.turns.0.lock();
        drop(self.permit.take());
        // Nobody waits: only the table knows the queue.
        if queues
            .get(&self.inode)
            .is_some_and(|queue| Arc::strong_count(queue) == 1)
        {
            queues.remove(&self.inode);
        }
    }
}
