//! Taking layouts away, RFC 8881 §12.5.5 and §20.3: recall, deadline, fence. It decides who must
//! give back what and by when; the callbacks and the fences themselves happen elsewhere.
//!
//! Held → Recalling → returned, or → Fencing → gone. No step is skipped backwards.

use catalog::InodeId;
use layout::DataServerId;

use super::client::Notice;
use super::coverage::Span;
use super::grant::{Grant, GrantId, GrantPhase, LayoutMode, ReturnMode};
use super::stateid::next_seqid;
use super::{ClientId, State, Stateid, Time};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecallWhat {
    All,
    /// Only of those who may write.
    Writers,
}

/// One CB_LAYOUTRECALL to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecallOrder {
    pub grant: GrantId,
    pub client: ClientId,
    pub inode: InodeId,
    /// For the callback: the recall has raised its seqid (§12.5.3).
    pub stateid: Stateid,
    pub mode: LayoutMode,
    /// After it `overdue` fences.
    pub deadline: Time,
    pub tag: u32,
}

impl State {
    /// Recalls a file's layouts from everybody but `except`. Those recalled before are not
    /// ordered again; layouts on their way to a client are void and need no callback.
    pub fn recall(
        &mut self,
        now: Time,
        inode: InodeId,
        what: RecallWhat,
        except: Option<ClientId>,
    ) -> Vec<RecallOrder> {
        let mut orders = Vec::new();
        for index in self.grants.of_file(inode) {
            let wanted = self.grants.layouts.at(index).is_some_and(|layout| {
                Some(layout.client) != except
                    && (what == RecallWhat::All || layout.held.write || layout.reservations > 0)
            });
            if wanted {
                orders.extend(self.recall_index(now, index));
            }
        }
        orders
    }

    pub fn recall_one(&mut self, now: Time, id: GrantId) -> Option<RecallOrder> {
        let index = self.grants.by_id(id)?;
        self.recall_index(now, index)
    }

    /// Everything of one client.
    pub fn recall_client(&mut self, now: Time, client: ClientId) -> Vec<RecallOrder> {
        let indices = self.grants.of_client(client);
        indices
            .into_iter()
            .filter_map(|index| self.recall_index(now, index))
            .collect()
    }

    pub fn files_held_by(&self, client: ClientId) -> Vec<InodeId> {
        let held = self.grants_of(self.grants.of_client(client));
        held.into_iter().map(|grant| grant.inode).collect()
    }

    pub fn layouts_held_by(&self, client: ClientId) -> usize {
        self.grants.held_by(client)
    }

    pub fn largest_layout_holder(&self) -> Option<ClientId> {
        let held = self.grants.clients.iter();
        held.max_by_key(|(_, layouts)| layouts.len())
            .map(|(client, _)| *client)
    }

    /// How many more layouts a client could have: none before a part of what may be is free, so that
    /// those who are told don't find it taken.
    pub fn room_for_layouts(&self, client: ClientId) -> usize {
        let left = |most: usize, held: usize| {
            let left = most.saturating_sub(held);
            if left > most / 16 { left } else { 0 }
        };
        let own = left(self.limits.layouts_per_client, self.grants.held_by(client));
        own.min(left(self.limits.layouts, self.grants.layouts.len()))
    }

    /// Whether any of these is still out.
    pub fn any_left(&self, grants: &[GrantId]) -> bool {
        grants.iter().any(|id| self.grants.by_id(*id).is_some())
    }

    /// Everything that points at one data server.
    pub fn recall_server(&mut self, now: Time, server: DataServerId) -> Vec<RecallOrder> {
        let indices: Vec<u32> = self
            .grants
            .servers
            .get(&server)
            .map(|indices| indices.iter().copied().collect())
            .unwrap_or_default();
        indices
            .into_iter()
            .filter_map(|index| self.recall_index(now, index))
            .collect()
    }

    fn recall_index(&mut self, now: Time, index: u32) -> Option<RecallOrder> {
        // A client out of its lease had all the time there is.
        let holder = self.grants.layouts.at(index).map(|layout| layout.client);
        let deadline = match holder {
            Some(client) if self.is_courteous(client) => now,
            _ => now.plus(self.limits.recall),
        };
        let mut ordered = false;
        self.grants.change(index, |layout| {
            layout.serial = layout.serial.wrapping_add(1);
            if layout.phase == GrantPhase::Held && layout.held.any() {
                layout.phase = GrantPhase::Recalling { deadline };
                layout.seqid = next_seqid(layout.seqid);
                ordered = true;
            }
        });
        let grant = self.grants.view(index).filter(|_| ordered)?;
        Some(RecallOrder {
            grant: grant.id,
            client: grant.client,
            inode: grant.inode,
            stateid: grant.stateid,
            mode: if grant.write {
                LayoutMode::Write
            } else {
                LayoutMode::Read
            },
            deadline,
            tag: grant.tag,
        })
    }

    /// The client answered NOMATCHING_LAYOUT: it has forgotten the layout, which is as good as
    /// returning it (§12.5.5.1). What the layout was, if it was still out.
    pub fn recall_forgotten(&mut self, id: GrantId) -> Option<Grant> {
        let index = self.grants.by_id(id)?;
        let grant = self.grants.view(index)?;
        if !matches!(grant.phase, GrantPhase::Recalling { .. }) {
            return None;
        }
        self.give_back(index, ReturnMode::Any, Span::WHOLE);
        Some(grant)
    }

    /// Whether somebody else than `except` has been asked for his layout of a file and may still
    /// return it: those whose time is over are `fences_of` it.
    pub fn recalls_pending(&self, inode: InodeId, except: Option<ClientId>) -> bool {
        self.grants.is_recalled(inode, except)
    }

    /// Whether somebody else than `except` lost the right to write a file and may still be doing
    /// it, since the fence isn't done. Nothing that excludes writers is given meanwhile.
    pub fn writer_lingers(&self, inode: InodeId, except: Option<ClientId>) -> bool {
        self.grants.lingers(inode, except)
    }

    /// Recalls whose time is over: to be fenced now.
    pub fn overdue(&mut self, now: Time) -> Vec<Grant> {
        let mut grants = Vec::new();
        while let Some((_, index)) = self
            .grants
            .deadlines
            .first()
            .copied()
            .filter(|(deadline, _)| *deadline <= now)
        {
            grants.extend(self.begin_fence(self.grants.id(index)));
        }
        grants
    }

    /// Stops honouring a layout, recalled or not. It is gone when `fenced` says so, and the client hears that
    /// something of its own was revoked.
    pub fn begin_fence(&mut self, id: GrantId) -> Option<Grant> {
        let fencing = self.begin_silent_fence(id)?;
        if let Some(client) = self.clients.live_mut(fencing.client) {
            client.notice = Notice::Due;
        }
        Some(fencing)
    }

    /// The same of a layout that the client says it doesn't have. Linux gives up all its layouts when it hears that one
    /// was revoked, leaves what it is writing by them dirty behind a close(2), and says of each of them later that it
    /// doesn't have it: told each time, it would never keep a layout again.
    pub fn begin_silent_fence(&mut self, id: GrantId) -> Option<Grant> {
        let index = self.grants.by_id(id)?;
        let before = self.grants.view(index)?;
        if before.phase == GrantPhase::Fencing {
            return None;
        }
        self.grants.change(index, |layout| {
            layout.serial = layout.serial.wrapping_add(1);
            layout.phase = GrantPhase::Fencing;
        });
        self.grants
            .view(index)
            .filter(|grant| grant.phase == GrantPhase::Fencing)
    }

    /// Stops honouring everything of a client whose lease ran out; says whether that leaves
    /// anything to fence.
    pub fn begin_fences_of(&mut self, client: ClientId) -> bool {
        let indices = self.grants.of_client(client);
        for index in indices {
            self.begin_fence(self.grants.id(index));
        }
        self.is_being_fenced(client)
    }

    /// Whether a layout to write of this client still has to be fenced.
    pub fn is_being_fenced(&self, client: ClientId) -> bool {
        let indices = self.grants.clients.get(&client).into_iter().flatten();
        self.grants_of(indices.copied())
            .iter()
            .any(|grant| grant.write && grant.phase == GrantPhase::Fencing)
    }

    /// Fences begun and not done, at most `limit` of those after `after`: for whoever carries them
    /// out, again and again.
    pub fn fences_after(&self, after: Option<GrantId>, limit: usize) -> Vec<Grant> {
        let from = after.map_or(0, |id| id.index.saturating_add(1));
        self.grants_of(self.grants.fencing.range(from..).copied().take(limit))
    }

    /// Those of one file.
    pub fn fences_of(&self, inode: InodeId) -> Vec<Grant> {
        let mut grants = self.holders(inode);
        grants.retain(|grant| grant.phase == GrantPhase::Fencing);
        grants
    }

    /// Every object of a layout is fenced, or durably abandoned: invariant 5 holds without it.
    pub fn fenced(&mut self, id: GrantId) -> Option<Grant> {
        let index = self.grants.by_id(id)?;
        let grant = self.grants.view(index)?;
        if grant.phase != GrantPhase::Fencing {
            return None;
        }
        self.give_back(index, ReturnMode::Any, Span::WHOLE);
        Some(grant)
    }
}
