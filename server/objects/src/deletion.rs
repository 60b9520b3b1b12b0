//! Removes what the catalog's delete queue names, each data server at its own pace: one that is away
//! holds up none but its own.
//!
//! Never here: the decision that an object is dead.

use crate::member::{Desk, Health};
use crate::{Error, Objects};
use catalog::DeadObject;
use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt};
use layout::ObjectId;
use std::sync::Arc;
use std::time::Duration;

const REMOVES_AT_ONCE: usize = 8;
const BATCH: usize = 128;
/// Between rounds when nobody says that there is something new, and after one that failed.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

impl Objects {
    /// Objects in the delete queue, as far as that is known without a wait.
    pub fn to_delete(&self) -> Option<u64> {
        let counts = self.catalog.counts().now_or_never()?;
        Some(counts.ok()?.dead_objects)
    }

    /// Something was added to the delete queue.
    pub fn nudge_deletes(&self) {
        for desk in self.desks() {
            desk.graves.notify_one();
        }
    }

    /// Empties one server's queue; says how many objects it removed. Ends early when the server fails.
    pub(crate) async fn bury(&self, desk: &Arc<Desk>) -> Result<usize, Error> {
        let mut removed = 0;
        loop {
            if desk.health() == Health::Down {
                return Ok(removed);
            }
            let before_its_own = DeadObject {
                server: desk.id(),
                object: ObjectId(0),
            };
            let mut dead = self
                .catalog
                .delete_queue(Some(before_its_own), BATCH)
                .await?;
            dead.retain(|dead| dead.server == desk.id());
            if dead.is_empty() {
                return Ok(removed);
            }
            let answers: Vec<(DeadObject, Result<(), Error>)> = stream::iter(dead)
                .map(|dead| (desk.clone(), dead))
                .map(|(desk, dead)| async move { (dead, self.remove(&desk, dead).await) })
                .buffer_unordered(REMOVES_AT_ONCE)
                .collect()
                .await;
            let mut failure = None;
            let mut done = Vec::new();
            for (dead, answer) in answers {
                match answer {
                    Ok(()) => done.push(dead),
                    Err(error) => failure = Some(error),
                }
            }
            if !done.is_empty() {
                removed += done.len();
                self.catalog.delete_done(self.now(), &done).await?;
            }
            if let Some(error) = failure {
                return Err(error);
            }
        }
    }
}
