//! Copies that go on after their answer, RFC 7862 §4.4 and §15.9: whose they are, how far they have
//! come, how they ended. The copying itself is not here.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::limits::Limits;
use super::stateid::{Parts, StateKind, check_seqid};
use super::table::{Keyed, Map, Table};
use super::{ClientId, State, Stateid, StateidRefusal};

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OffloadRefusal {
    #[error("there are as many copies under way as the limits allow")]
    TooMany,
    #[error("no such client")]
    UnknownClient,
}

/// Why a copy ended before it was whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffloadFault {
    Full,
    /// One of the files is gone.
    Gone,
    /// The source ends before what was asked for.
    PastEnd,
    /// The other server can't be reached, or read from.
    Denied,
    /// The other server doesn't honour the copy-notify stateid.
    NotAuthorized,
    /// The other server doesn't speak NFSv4.2, or not for this.
    Unfit,
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffloadView {
    pub copied: u64,
    /// `None` while it goes on.
    pub end: Option<Result<(), OffloadFault>>,
}

#[derive(Debug)]
struct Offload {
    client: ClientId,
    copied: u64,
    cancelled: bool,
    end: Option<Result<(), OffloadFault>>,
}

#[derive(Debug)]
pub(super) struct Offloads {
    epoch: u32,
    table: Table<Offload>,
    clients: Map<ClientId, BTreeSet<u32>>,
}

/// Seqid of every such stateid: what it names never changes its rights.
const SEQID: u32 = 1;

impl Offloads {
    pub(super) fn new(epoch: u32, keyed: Keyed) -> Self {
        Offloads {
            epoch,
            table: Table::new(),
            clients: Map::with_hasher(keyed),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    fn find(&self, client: ClientId, stateid: Stateid) -> Result<u32, StateidRefusal> {
        let parts = stateid.parts(self.epoch)?;
        if parts.kind != StateKind::Offload {
            return Err(StateidRefusal::Bad);
        }
        self.table
            .get(parts.index, parts.generation)
            .filter(|offload| offload.client == client)
            .ok_or(StateidRefusal::Bad)?;
        check_seqid(stateid.seqid, SEQID)?;
        Ok(parts.index)
    }

    fn begin(&mut self, client: ClientId, limits: &Limits) -> Result<Stateid, OffloadRefusal> {
        let held = self.clients.entry(client).or_default();
        if held.len() >= limits.copies_per_client || self.table.is_full() {
            // Those that ended and were told of are gone; one that ended untold makes room.
            let ended = held.iter().copied().find(|index| {
                self.table
                    .at(*index)
                    .is_some_and(|offload| offload.end.is_some())
            });
            let Some(ended) = ended else {
                return Err(OffloadRefusal::TooMany);
            };
            held.remove(&ended);
            self.table.remove(ended);
        }
        let index = self.table.insert(Offload {
            client,
            copied: 0,
            cancelled: false,
            end: None,
        });
        held.insert(index);
        let parts = Parts {
            kind: StateKind::Offload,
            index,
            generation: self.table.generation(index),
        };
        Ok(Stateid::compose(self.epoch, parts, SEQID))
    }

    fn remove(&mut self, index: u32) {
        let Some(offload) = self.table.remove(index) else {
            return;
        };
        if let Some(held) = self.clients.get_mut(&offload.client) {
            held.remove(&index);
            if held.is_empty() {
                self.clients.remove(&offload.client);
            }
        }
    }

    /// Its copies end by themselves when they next ask whether to go on.
    pub(super) fn drop_client(&mut self, client: ClientId) {
        for index in self.clients.remove(&client).unwrap_or_default() {
            self.table.remove(index);
        }
    }
}

impl State {
    /// A copy is to go on after its COPY is answered.
    pub fn offload_begin(&mut self, client: ClientId) -> Result<Stateid, OffloadRefusal> {
        if self.clients.live(client).is_none() {
            return Err(OffloadRefusal::UnknownClient);
        }
        self.offloads.begin(client, &self.limits)
    }

    /// Notes that `copied` bytes are durable. Break: it was cancelled, or its client is gone.
    pub fn offload_progress(
        &mut self,
        client: ClientId,
        stateid: Stateid,
        copied: u64,
    ) -> ControlFlow<()> {
        let live = self.clients.live(client).is_some();
        let offload = self
            .offloads
            .find(client, stateid)
            .ok()
            .and_then(|index| self.offloads.table.at_mut(index));
        match offload {
            Some(offload) => {
                offload.copied = copied;
                if live && !offload.cancelled {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            }
            None => ControlFlow::Break(()),
        }
    }

    /// Whether the copy was called off, or is gone with its client.
    pub fn offload_is_off(&self, client: ClientId, stateid: Stateid) -> bool {
        let found = self.offloads.find(client, stateid);
        let offload = found.ok().and_then(|index| self.offloads.table.at(index));
        self.honour(client).is_err() || offload.is_none_or(|offload| offload.cancelled)
    }

    /// The copy has ended. What it came to stays for OFFLOAD_STATUS until [`State::offload_told`];
    /// `false` when nobody wants to be told: it was called off, or its client is gone.
    pub fn offload_end(
        &mut self,
        client: ClientId,
        stateid: Stateid,
        end: Result<(), OffloadFault>,
    ) -> bool {
        let Ok(index) = self.offloads.find(client, stateid) else {
            return false;
        };
        let wanted = self.offloads.table.at_mut(index).is_some_and(|offload| {
            offload.end = Some(end);
            !offload.cancelled
        });
        if !wanted {
            self.offloads.remove(index);
        }
        wanted
    }

    /// The client knows how the copy ended.
    pub fn offload_told(&mut self, client: ClientId, stateid: Stateid) {
        if let Ok(index) = self.offloads.find(client, stateid) {
            self.offloads.remove(index);
        }
    }

    /// OFFLOAD_STATUS, §15.9.
    pub fn offload_status(
        &self,
        client: ClientId,
        stateid: Stateid,
    ) -> Result<OffloadView, StateidRefusal> {
        self.honour(client)?;
        let index = self.offloads.find(client, stateid)?;
        let offload = self.offloads.table.at(index).ok_or(StateidRefusal::Bad)?;
        Ok(OffloadView {
            copied: offload.copied,
            end: offload.end,
        })
    }

    /// OFFLOAD_CANCEL, §15.8. One that has ended is forgotten.
    pub fn offload_cancel(
        &mut self,
        client: ClientId,
        stateid: Stateid,
    ) -> Result<(), StateidRefusal> {
        self.honour(client)?;
        let index = self.offloads.find(client, stateid)?;
        let ended = self.offloads.table.at_mut(index).is_some_and(|offload| {
            offload.cancelled = true;
            offload.end.is_some()
        });
        if ended {
            self.offloads.remove(index);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::*;
    use super::*;

    #[test]
    fn a_copy_goes_on_until_it_is_cancelled() {
        let mut state = open_for_business(Limits::default());
        let (a, b) = (ready(&mut state, "a"), ready(&mut state, "b"));
        let copy = state.offload_begin(a).unwrap();
        assert_eq!(
            state.offload_progress(a, copy, 7),
            ControlFlow::Continue(())
        );
        let view = OffloadView {
            copied: 7,
            end: None,
        };
        assert_eq!(state.offload_status(a, copy), Ok(view));
        assert_eq!(state.offload_status(b, copy), Err(StateidRefusal::Bad));
        assert_eq!(state.offload_cancel(b, copy), Err(StateidRefusal::Bad));
        assert_eq!(state.offload_cancel(a, copy), Ok(()));
        assert_eq!(state.offload_progress(a, copy, 8), ControlFlow::Break(()));
        assert!(!state.offload_end(a, copy, Ok(())));
        assert_eq!(state.offload_status(a, copy), Err(StateidRefusal::Bad));
    }

    #[test]
    fn a_copy_that_ended_makes_room_and_one_that_runs_does_not() {
        let mut state = open_for_business(Limits {
            copies_per_client: 2,
            ..Limits::default()
        });
        let a = ready(&mut state, "a");
        let first = state.offload_begin(a).unwrap();
        state.offload_begin(a).unwrap();
        assert_eq!(state.offload_begin(a), Err(OffloadRefusal::TooMany));
        assert!(state.offload_end(a, first, Ok(())));
        assert!(state.offload_begin(a).is_ok());
        assert_eq!(state.offload_status(a, first), Err(StateidRefusal::Bad));
    }

    #[test]
    fn copies_go_with_their_client() {
        let mut state = open_for_business(Limits::default());
        let a = ready(&mut state, "a");
        let copy = state.offload_begin(a).unwrap();
        state.forget_client(a);
        assert_eq!(state.offload_progress(a, copy, 1), ControlFlow::Break(()));
        assert_eq!(state.offloads.len(), 0);
    }
}
