//! What time alone brings about: leases that run out, recalls that nobody answered, the end of
//! grace, data servers that die and come back.

use crate::faults::Met;
use crate::server::Server;
use crate::state::{Dropped, Time};
use crate::status::Refusal;
use catalog::transact;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The longest sleep: what failed for a passing reason is tried again then.
const TICK: Duration = Duration::from_secs(2);
/// Files settled again at each tick.
const SETTLES_PER_TICK: usize = 256;
const ORPHANS_AT_ONCE: usize = 1024;

impl Server {
    pub(crate) fn wake_housekeeping(&self) {
        self.housekeeping.notify_one();
    }

    /// Whether the round of housekeeping came about lately.
    pub fn keeps_house(&self) -> bool {
        let last = Time(self.last_round.load(Relaxed));
        self.clock.monotonic().since(last) < 15 * TICK
    }

    /// Takes over what an earlier start left. Before the first request.
    pub async fn recover(self: &Arc<Self>) -> Result<(), catalog::Error> {
        self.writing.recall(self.catalog.intents().await?);
        Ok(())
    }

    /// Runs until the server is dropped by everybody else; the caller ends it by dropping the future.
    pub async fn keep_house(self: Arc<Self>) {
        let mut health = self.objects.health();
        let mut known = BTreeMap::new();
        loop {
            let sleep = {
                let now = self.clock.monotonic();
                let due = self.state.lock().next_deadline();
                due.map_or(TICK, |due| due.since(now)).min(TICK)
            };
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                () = self.housekeeping.notified() => {}
                Ok(()) = health.changed() => {}
            }
            let now_known = health.borrow_and_update().as_ref().clone();
            self.data_servers_changed(&known, &now_known);
            known = now_known;
            self.last_round.store(self.clock.monotonic().0, Relaxed);
            if let Err(refusal) = self.tidy().await {
                self.fault(Met::Housekeeping, &refusal);
            }
        }
    }

    async fn tidy(self: &Arc<Self>) -> Result<(), Refusal> {
        let now = self.clock.monotonic();
        let lapsed = self.state.lock().lapse(now);
        self.put_out(lapsed).await?;
        let turns = self.state.lock().lock_turns_due(now);
        self.send_lock_notices(turns);
        let overdue = self.state.lock().overdue(now);
        self.metrics
            .recalls_timed_out
            .fetch_add(overdue.len() as u64, Relaxed);
        self.end_by_force(overdue).await;
        // Fences that failed for a passing reason, a data server that was away.
        let unfinished = self.state.lock().fences();
        self.end_by_force(unfinished).await;
        let ended = self.state.lock().grace_due(now);
        if let Some(ended) = ended {
            self.forget_records(&ended.lapsed_records).await?;
            self.state.lock().end_grace();
            tracing::info!(clients_lost = ended.lapsed_records.len(), "grace is over");
            self.reap_orphans().await?;
        }
        if !self.state.lock().in_grace() {
            self.settle_what_is_left().await;
        }
        Ok(())
    }

    /// Files that lost their last name while nobody could tell who held them.
    async fn reap_orphans(self: &Arc<Self>) -> Result<(), Refusal> {
        let mut after = None;
        loop {
            let orphans = self.catalog.orphans(after, ORPHANS_AT_ONCE).await?;
            for orphan in &orphans {
                self.reap_if_free(*orphan);
            }
            match orphans.last() {
                Some(last) => after = Some(*last),
                None => return Ok(()),
            }
        }
    }

    /// Files that somebody may have written and nobody writes any more, as far as a tick goes.
    async fn settle_what_is_left(self: &Arc<Self>) {
        for id in self.writing.former().into_iter().take(SETTLES_PER_TICK) {
            // Clients of an earlier start hold no layout that this server gave: out they go.
            match self.fence(id).await {
                Ok(()) => self.settle_later(id),
                Err(refusal) => {
                    tracing::debug!(inode = ?id, reason = %refusal.reason, "not settled yet");
                }
            }
        }
        let idle = self.writing.idle(SETTLES_PER_TICK, |id| {
            !self.state.lock().has_rw_holder(id, None)
        });
        for id in idle {
            self.settle_later(id);
        }
    }

    pub(crate) async fn forget_records(&self, records: &[u64]) -> Result<(), Refusal> {
        if records.is_empty() {
            return Ok(());
        }
        transact!(
            self.catalog,
            self.clock.wall(),
            |tx| -> Result<(), Refusal> {
                for record in records {
                    tx.remove_client(*record);
                }
                Ok(())
            }
        )?;
        Ok(())
    }

    /// Ends what a client left behind that is gone for good.
    pub(crate) fn clean_up(self: &Arc<Self>, dropped: Dropped) {
        for file in dropped.closed {
            self.tell_lock_waiters(file);
            self.reap_if_free(file);
        }
        let server = Arc::clone(self);
        self.tasks
            .spawn(async move { server.end_by_force(dropped.grants).await });
    }

    /// Layouts that name a data server which went away are recalled: a client by itself waits a
    /// minute before it gives a silent one up.
    fn data_servers_changed(
        self: &Arc<Self>,
        before: &BTreeMap<layout::DataServerId, objects::Health>,
        now: &BTreeMap<layout::DataServerId, objects::Health>,
    ) {
        for (server, health) in now {
            let went_down = *health == objects::Health::Down && before.get(server) != Some(health);
            if went_down {
                let orders = self
                    .state
                    .lock()
                    .recall_server(self.clock.monotonic(), *server);
                // That it is down was told where it was seen.
                tracing::debug!(
                    data_server = server.0,
                    layouts = orders.len(),
                    "its layouts are recalled"
                );
                self.send_recalls(orders);
            }
        }
    }
}
