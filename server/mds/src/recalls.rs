//! Asking clients for their layouts (RFC 8881 §12.5.5, §20.3, §20.6, §20.7): each recall until the
//! client has taken notice or its time is over, at a pace that no number of layouts makes a flood.
//!
//! Never here: which layouts must go (`state::recall`), and what becomes of those that don't.

use crate::callbacks::{CallbackFailure, RETRY};
use crate::server::Server;
use crate::state::{ClientId, LayoutMode, RecallOrder, Time};
use catalog::InodeId;
use futures_util::stream::{self, StreamExt};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use wire::nfs4::{
    Bitmap4, CbArgOp, CbLayoutrecall4Args, CbRecallAny4Args, LAYOUT4_FLEX_FILES, Layoutiomode4,
    Layoutrecall4, LayoutrecallFile4, Nfsstat4,
};

/// Recalls that one client is asked at once: its back channel has few slots.
const AT_ONCE: usize = 4;
/// How often a client says of a layout to write that it doesn't have it before that is believed: the reply to its
/// LAYOUTGET has long been there then.
const UNKNOWN_MAX: u32 = 4;
/// From so many on a client that must give up everything is asked once for all of it.
const BULK: usize = 64;
/// RCA4_TYPE_MASK_FF_LAYOUT_MIN and _MAX (RFC 8435 §11): layouts to read and to write.
const FLEX_LAYOUTS: Bitmap4 = Bitmap4::of(&[16, 17]);

/// Who is being asked for some layouts of his choice, and who wants to hear when there are some.
#[derive(Default)]
pub(crate) struct Asking {
    any: Mutex<BTreeSet<ClientId>>,
    wanting: Mutex<BTreeSet<ClientId>>,
}

impl Server {
    /// Sends each recall in the background.
    pub(crate) fn send_recalls(self: &Arc<Self>, orders: Vec<RecallOrder>) {
        let mut by_client: BTreeMap<ClientId, Vec<RecallOrder>> = BTreeMap::new();
        for order in orders {
            self.metrics.recalls.fetch_add(1, Relaxed);
            by_client.entry(order.client).or_default().push(order);
        }
        for (client, orders) in by_client {
            let everything =
                orders.len() >= BULK && orders.len() == self.state.lock().layouts_held_by(client);
            if everything {
                self.recall_all_of(client, orders);
                continue;
            }
            let server = Arc::clone(self);
            self.tasks.spawn(async move {
                stream::iter(orders)
                    .for_each_concurrent(AT_ONCE, |order| server.send_recall(order))
                    .await;
            });
        }
        self.wake_housekeeping();
    }

    /// One callback for all that a client holds, of whichever file systems.
    fn recall_all_of(self: &Arc<Self>, client: ClientId, orders: Vec<RecallOrder>) {
        let server = Arc::clone(self);
        self.tasks.spawn(async move {
            let deadline = orders.iter().map(|order| order.deadline).max();
            let writes = orders.iter().any(|order| order.mode == LayoutMode::Write);
            let told = server
                .recall(
                    client,
                    Layoutrecall4::All,
                    writes,
                    deadline.unwrap_or(Time::ZERO),
                )
                .await;
            if told == Some(Nfsstat4::NomatchingLayout) {
                for order in &orders {
                    server.unknown_to_client(order).await;
                }
            }
        });
    }

    async fn send_recall(self: &Arc<Self>, order: RecallOrder) {
        let what = Layoutrecall4::File(LayoutrecallFile4 {
            fh: self.handle_of(order.tag, order.inode),
            offset: 0,
            length: u64::MAX,
            stateid: order.stateid.into(),
        });
        let writes = order.mode == LayoutMode::Write && !self.goes(order.inode).await;
        let told = self
            .recall(order.client, what, writes, order.deadline)
            .await;
        if told == Some(Nfsstat4::NomatchingLayout) {
            self.unknown_to_client(&order).await;
        }
    }

    /// Asks again and again until the client has taken notice; what it said then. A client that has no such layout is
    /// asked for a while, if it could write with it: Linux says so as well of one that it doesn't have yet, its
    /// LAYOUTGET's reply being on its way, and returns it when that is there.
    async fn recall(
        &self,
        client: ClientId,
        recall: Layoutrecall4,
        writes: bool,
        deadline: Time,
    ) -> Option<Nfsstat4> {
        let mut unknown = 0;
        let ask = CbArgOp::Layoutrecall(CbLayoutrecall4Args {
            layout_type: LAYOUT4_FLEX_FILES,
            iomode: Layoutiomode4::Any,
            changed: false,
            recall,
        });
        while self.clock.monotonic() < deadline {
            let told = self.callback(client, ask.clone()).await;
            unknown += u32::from(matches!(told, Ok(Nfsstat4::NomatchingLayout)));
            match told {
                // It returns the layout by LAYOUTRETURN, soon: Linux first ends the I/O under way.
                Ok(told @ Nfsstat4::Ok) => return Some(told),
                Ok(told @ Nfsstat4::NomatchingLayout) if !writes || unknown >= UNKNOWN_MAX => {
                    return Some(told);
                }
                Err(CallbackFailure::Gone) => return None,
                // DELAY, or no path now: while it lasts the deadline draws near.
                Ok(_) | Err(CallbackFailure::Unreachable | CallbackFailure::TooLong) => {
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
        None
    }

    /// The client says that it has no such layout. It may yet write with it, if the reply to its LAYOUTGET takes that
    /// long: only a fence makes it true.
    async fn unknown_to_client(self: &Arc<Self>, order: &RecallOrder) {
        if order.mode == LayoutMode::Write && !self.goes(order.inode).await {
            self.state.lock().begin_silent_fence(order.grant);
            self.layouts_changed.notify_waiters();
            self.fence_all_soon();
        } else {
            self.state.lock().recall_forgotten(order.grant);
            self.layouts_changed.notify_waiters();
            self.settle_later(order.inode);
            self.reap_if_free(order.inode);
        }
    }

    /// The objects of a file without names go, whoever may write them.
    async fn goes(&self, inode: InodeId) -> bool {
        let inode = self.catalog.inode(inode).await;
        inode.is_ok_and(|inode| inode.nlink == 0)
    }

    /// There are as many layouts as may be. Asks the client that is at its own limit, or else the one
    /// that holds most, to give half of its layouts back, of its own choice. Who doesn't is asked for
    /// all of them, and what doesn't come back then is fenced.
    pub(crate) fn make_room_for_layouts(self: &Arc<Self>, at_its_limit: Option<ClientId>) {
        let client = at_its_limit.or_else(|| self.state.lock().largest_layout_holder());
        let Some(client) = client.filter(|client| self.asking.any.lock().insert(*client)) else {
            return;
        };
        let server = Arc::clone(self);
        self.tasks.spawn(async move {
            let held = server.state.lock().layouts_held_by(client);
            server.recall_half(client, held / 2).await;
            server.asking.any.lock().remove(&client);
        });
    }

    async fn recall_half(self: &Arc<Self>, client: ClientId, keep: usize) {
        let ask = CbArgOp::RecallAny(CbRecallAny4Args {
            objects_to_keep: u32::try_from(keep).unwrap_or(u32::MAX),
            type_mask: FLEX_LAYOUTS,
        });
        let patience = self.settings().recall_timeout;
        let deadline = self.clock.monotonic().plus(patience);
        loop {
            match self.callback(client, ask.clone()).await {
                Ok(Nfsstat4::Ok) | Err(CallbackFailure::Gone) => break,
                Ok(_) | Err(CallbackFailure::Unreachable | CallbackFailure::TooLong) => {
                    tokio::time::sleep(RETRY).await;
                }
            }
            if self.clock.monotonic() >= deadline {
                break;
            }
        }
        let few = || self.state.lock().layouts_held_by(client) <= keep;
        if self.layouts_until(patience, few).await.is_err() {
            let orders = self
                .state
                .lock()
                .recall_client(self.clock.monotonic(), client);
            self.metrics.recalls.fetch_add(orders.len() as u64, Relaxed);
            self.recall_all_of(client, orders);
            self.wake_housekeeping();
        }
    }

    /// The client was refused a layout for want of room, and asked to be told when there is some
    /// (`loga_signal_layout_avail`, §18.43.3).
    pub(crate) fn tell_when_layouts_are_there(&self, client: ClientId) {
        self.asking.wanting.lock().insert(client);
    }

    pub(crate) fn forget_wishes_of(&self, client: ClientId) {
        self.asking.wanting.lock().remove(&client);
    }

    /// CB_RECALLABLE_OBJ_AVAIL to those who can have layouts again.
    pub(crate) fn tell_of_layouts(self: &Arc<Self>) {
        let wanting: Vec<ClientId> = self.asking.wanting.lock().iter().copied().collect();
        for client in wanting {
            let room = self.state.lock().room_for_layouts(client);
            if room == 0 || !self.asking.wanting.lock().remove(&client) {
                continue;
            }
            let server = Arc::clone(self);
            self.tasks.spawn(async move {
                let tell = CbRecallAny4Args {
                    objects_to_keep: u32::try_from(room).unwrap_or(u32::MAX),
                    type_mask: FLEX_LAYOUTS,
                };
                // A hint: who can't be told asks again by itself.
                let _ = server
                    .callback(client, CbArgOp::RecallableObjAvail(tell))
                    .await;
            });
        }
    }
}
