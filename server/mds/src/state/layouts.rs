//! LAYOUTGET and LAYOUTRETURN, RFC 8881 §18.43 and §18.44, as far as they are memory, and the
//! questions asked about a file's layouts. The table is in `grant`, recalls are in `recall`.

use catalog::InodeId;
use layout::DataServerId;

use super::coverage::Span;
use super::grant::{
    Grant, GrantPhase, Layout, LayoutMode, LayoutRefusal, LayoutRequest, LayoutReservation,
    ReturnMode, Returned,
};
use super::share::Access;
use super::stateid::{StateKind, check_seqid, is_earlier, next_seqid};
use super::{ClientId, State, Stateid, StateidRefusal};

impl State {
    /// LAYOUTGET up to the write intent.
    pub fn layout_reserve(
        &mut self,
        request: &LayoutRequest,
    ) -> Result<LayoutReservation, LayoutRefusal> {
        let access = match request.mode {
            LayoutMode::Read => Access::Read,
            LayoutMode::Write => Access::Write,
        };
        let kind = request.stateid.parts(self.opens.epoch())?.kind;
        let may = if kind == StateKind::Layout {
            let index = self.grants.find(request.client, request.stateid)?;
            let layout = self.grants.layouts.at(index).ok_or(StateidRefusal::Bad)?;
            if layout.inode != request.inode {
                return Err(StateidRefusal::Bad.into());
            }
            self.opens.client_may(request.client, request.inode, access)
                || self
                    .delegations
                    .client_may(request.client, request.inode, access)
        } else if kind == StateKind::Delegation {
            self.delegation_for(request.client, request.stateid, request.inode, access)?
        } else {
            let open = self.open_behind(request.client, request.stateid)?;
            if open.inode != request.inode {
                return Err(StateidRefusal::Bad.into());
            }
            match request.mode {
                LayoutMode::Read => open.access.reads(),
                LayoutMode::Write => open.access.writes(),
            }
        };
        self.may_take_new(request.client)?;
        if !may {
            return Err(LayoutRefusal::OpenMode);
        }
        // Whoever is inside alone waits for layouts to come back: a new one would be recalled at
        // once, and waiting at the gate could hold the slot that the return needs.
        if self.gates.is_claimed(request.inode) {
            return Err(self.layout_kept_out(request.client, request.inode));
        }
        // A new holder would be hit by the fence, or be overwritten before it (invariant 5).
        if self.grants.lingers(request.inode, Some(request.client)) {
            return Err(LayoutRefusal::Fencing);
        }
        self.grants.admit(request, &self.limits)
    }

    /// Why a LAYOUTGET is not let in to a file that somebody has to himself. Who holds a layout of
    /// it is being asked for it, or soon will be; another only has to wait.
    pub fn layout_kept_out(&self, client: ClientId, inode: InodeId) -> LayoutRefusal {
        if self.grants.index_of(client, inode).is_some() {
            LayoutRefusal::RecallConflict
        } else {
            LayoutRefusal::Busy
        }
    }

    /// The write intent is durable: the layout may leave, unless it was recalled meanwhile.
    pub fn layout_confirm(
        &mut self,
        reservation: LayoutReservation,
    ) -> Result<Stateid, LayoutRefusal> {
        let void = self.clients.live(reservation.client).is_none()
            || self
                .grants
                .layouts
                .get(reservation.id.index, reservation.id.generation)
                .is_none_or(|layout| {
                    layout.serial != reservation.serial || layout.phase != GrantPhase::Held
                });
        if void {
            self.layout_rollback(reservation);
            return Err(LayoutRefusal::RecallConflict);
        }
        let index = reservation.id.index;
        let inode = self.grants.layouts.at(index).map(|layout| layout.inode);
        if inode.is_some_and(|inode| self.grants.lingers(inode, Some(reservation.client))) {
            self.layout_rollback(reservation);
            return Err(LayoutRefusal::Fencing);
        }
        self.grants.change(index, |layout| {
            layout.release(reservation.mode);
            layout.size_epoch = if layout.held.any() {
                layout.size_epoch.min(reservation.size_epoch)
            } else {
                reservation.size_epoch
            };
            layout.take(reservation.mode);
            layout.seqid = next_seqid(layout.seqid);
            layout.granted = layout.seqid;
        });
        let grant = self.grants.view(index).ok_or(StateidRefusal::Bad)?;
        Ok(grant.stateid)
    }

    #[expect(clippy::needless_pass_by_value, reason = "the reservation is spent")]
    pub fn layout_rollback(&mut self, reservation: LayoutReservation) {
        if let Some(index) = self.grants.by_id(reservation.id) {
            self.grants.change(index, |layout| {
                layout.release(reservation.mode);
            });
        }
    }

    /// The layout that a stateid names, while it is honoured.
    pub fn layout_of(&self, client: ClientId, stateid: Stateid) -> Result<Grant, StateidRefusal> {
        self.honour(client)?;
        let index = self.grants.find(client, stateid)?;
        self.grants.view(index).ok_or(StateidRefusal::Bad)
    }

    /// As `layout_of`, for an operation that must name the latest seqid.
    pub fn latest_layout_of(
        &self,
        client: ClientId,
        stateid: Stateid,
    ) -> Result<Grant, StateidRefusal> {
        let grant = self.layout_of(client, stateid)?;
        check_seqid(stateid.seqid, grant.stateid.seqid)?;
        Ok(grant)
    }

    /// LAYOUTRETURN of one file or of a part of it, §18.44. One that was sent before its client knew of the latest
    /// LAYOUTGET's answer is OLD: that layout would be used after its return. Returns that pass
    /// each other, or a recall, are not.
    pub fn layout_return(
        &mut self,
        client: ClientId,
        inode: InodeId,
        stateid: Stateid,
        mode: ReturnMode,
        span: Span,
    ) -> Result<Returned, StateidRefusal> {
        self.honour(client)?;
        let index = self.grants.find(client, stateid)?;
        let before = self.grants.view(index).ok_or(StateidRefusal::Bad)?;
        if before.inode != inode {
            return Err(StateidRefusal::Bad);
        }
        let granted = self.grants.layouts.at(index).map(|layout| layout.granted);
        if granted.is_some_and(|granted| is_earlier(stateid.seqid, granted)) {
            return Err(StateidRefusal::Old);
        }
        self.give_back(index, mode, span);
        let left = self
            .layout_of(
                client,
                Stateid {
                    seqid: 1,
                    ..stateid
                },
            )
            .ok();
        Ok(Returned {
            stateid: left.map(|left| left.stateid),
            was_writer: before.write && left.is_none_or(|left| !left.write),
            held: self.file_is_held(inode),
        })
    }

    pub(super) fn give_back(&mut self, index: u32, mode: ReturnMode, span: Span) {
        self.grants.change(index, |layout| {
            layout.give_back(mode, span);
            layout.seqid = next_seqid(layout.seqid);
        });
    }

    /// LAYOUTRETURN of all files that are `of` what is returned: what was given back, as it was before.
    pub fn layout_return_all(
        &mut self,
        client: ClientId,
        mode: ReturnMode,
        of: impl Fn(InodeId) -> bool,
    ) -> Vec<Grant> {
        let mut returned = Vec::new();
        for index in self.grants.of_client(client) {
            let honoured = self.grants.view(index).filter(|grant| {
                let named = match mode {
                    ReturnMode::Read => grant.read,
                    ReturnMode::Write => grant.write,
                    ReturnMode::Any => grant.read || grant.write,
                };
                named && of(grant.inode) && grant.phase != GrantPhase::Fencing
            });
            if let Some(grant) = honoured {
                self.give_back(index, mode, Span::WHOLE);
                returned.push(grant);
            }
        }
        returned
    }

    pub fn holders(&self, inode: InodeId) -> Vec<Grant> {
        self.grants_of(self.grants.of_file(inode))
    }

    /// Those who may write, or may still be writing.
    pub fn rw_holders(&self, inode: InodeId) -> Vec<Grant> {
        let mut grants = self.holders(inode);
        grants.retain(|grant| grant.write);
        grants
    }

    /// Those whose layouts point at a data server.
    pub fn holders_on(&self, server: DataServerId) -> Vec<Grant> {
        let indices = self.grants.servers.get(&server);
        self.grants_of(indices.into_iter().flatten().copied())
    }

    pub(super) fn grants_of(&self, indices: impl IntoIterator<Item = u32>) -> Vec<Grant> {
        indices
            .into_iter()
            .filter_map(|index| self.grants.view(index))
            .filter(|grant| grant.read || grant.write)
            .collect()
    }

    /// Whether somebody else than `except` may be writing past this server, or is about to: a
    /// layout whose write intent is on its way counts.
    pub fn has_rw_holder(&self, inode: InodeId, except: Option<ClientId>) -> bool {
        let Some(file) = self.grants.files.get(&inode) else {
            return false;
        };
        let own = except
            .and_then(|client| self.grants.index_of(client, inode))
            .and_then(|index| self.grants.layouts.at(index))
            .is_some_and(Layout::writes);
        file.writers > u32::from(own)
    }
}

#[cfg(test)]
mod tests;
