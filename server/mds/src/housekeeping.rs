//! What time alone brings about: leases that run out, recalls that nobody answered, the end of
//! grace, data servers that die and come back.

use crate::faults::Met;
use crate::server::Server;
use crate::state::{Dropped, Lapsed, Time};
use crate::status::Refusal;
use catalog::transact;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The longest sleep: what failed for a passing reason is tried again then.
const TICK: Duration = Duration::from_secs(2);
/// Files looked at in each round; the next one goes on behind them.
const SETTLES_PER_ROUND: usize = 256;
const ORPHANS_PER_ROUND: usize = 256;

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
        // Where nobody can come back nobody is waited for, not even until housekeeping begins.
        let nobody = {
            let mut state = self.state.lock();
            let ended = state.grace_due(self.clock.monotonic());
            let nobody = ended.is_some_and(|ended| ended.lapsed_records.is_empty());
            if nobody {
                state.end_grace();
            }
            nobody
        };
        if nobody {
            self.fence_all_soon();
        }
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
        for lapsed in lapsed {
            self.bury(lapsed);
        }
        let turns = self.state.lock().lock_turns_due(now);
        self.send_lock_notices(turns);
        let revoked = self.state.lock().delegations_overdue(now);
        self.delegations_revoked(revoked);
        let overdue = self.state.lock().overdue(now);
        if !overdue.is_empty() {
            self.metrics
                .recalls_timed_out
                .fetch_add(overdue.len() as u64, Relaxed);
            self.layouts_changed.notify_waiters();
        }
        // Those just found, and those that failed for a passing reason: a data server that was away.
        self.fence_all_soon();
        let ended = self.state.lock().grace_due(now);
        if let Some(ended) = ended {
            self.forget_records(&ended.lapsed_records).await?;
            self.state.lock().end_grace();
            tracing::info!(clients_lost = ended.lapsed_records.len(), "grace is over");
            self.fence_all_soon();
        }
        self.tell_of_layouts();
        if !self.state.lock().in_grace() {
            self.settle_what_is_left();
            self.reap_orphans().await?;
        }
        Ok(())
    }

    /// Ends a client whose lease ran out, in the background and once: first its writes, as far as
    /// that takes no long time, then the rest.
    fn bury(self: &Arc<Self>, lapsed: Lapsed) {
        if !self.burials.lock().insert(lapsed.client) {
            return;
        }
        self.copies_called_off.notify_waiters();
        let server = Arc::clone(self);
        self.tasks.spawn(async move {
            let client = lapsed.client;
            server.fence_client(client).await;
            if let Err(refusal) = server.put_out(vec![lapsed]).await {
                server.fault(Met::Housekeeping, &refusal);
            }
            server.burials.lock().remove(&client);
        });
    }

    /// Files without names that nobody holds, as far as a round goes: those whose holders were not
    /// known before grace was over, and those that somebody was at when their last holder left.
    async fn reap_orphans(self: &Arc<Self>) -> Result<(), Refusal> {
        let after = *self.orphans_seen.lock();
        let orphans = self.catalog.orphans(after, ORPHANS_PER_ROUND).await?;
        // From the first again, once the last was looked at.
        *self.orphans_seen.lock() = orphans.last().copied();
        let free = orphans.into_iter();
        for orphan in free.filter(|orphan| !self.must_outlive_its_names(*orphan)) {
            self.reap_if_free(orphan);
        }
        Ok(())
    }

    /// Files that somebody may have written and nobody writes any more, as far as a round goes.
    fn settle_what_is_left(self: &Arc<Self>) {
        let after = *self.intents_seen.lock();
        let files = self.writing.after(after, SETTLES_PER_ROUND);
        *self.intents_seen.lock() = files.last().copied();
        for id in files {
            if !self.state.lock().has_rw_holder(id, None) && !self.writing.has_former(id) {
                self.settle_later(id);
            }
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
        self.delegations_changed.notify_waiters();
        self.copies_called_off.notify_waiters();
        for file in dropped.closed {
            self.tell_lock_waiters(file);
            self.reap_if_free(file);
        }
        self.reports.forget(dropped.client);
        self.forget_wishes_of(dropped.client);
        self.device_watchers
            .lock()
            .values_mut()
            .for_each(|watching| {
                watching.remove(&dropped.client);
            });
        if !dropped.grants.is_empty() {
            self.layouts_changed.notify_waiters();
            self.fence_all_soon();
        }
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
