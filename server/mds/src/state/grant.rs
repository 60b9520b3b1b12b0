//! Layouts as grants, RFC 8881 §12.5: the table of who holds the right to go to a file's data
//! servers. What a layout says is made elsewhere; giving and taking are in `layouts`, `recall`.
//!
//! One grant per client and file, whole extents, reading or writing or both. It is reserved
//! before its write intent is durable and confirmed after: a recall in between voids it.

use std::collections::{BTreeMap, BTreeSet};

use catalog::InodeId;
use layout::DataServerId;

use super::coverage::{Coverage, Span};
use super::few::Few;
use super::lease::GraceRefusal;
use super::stateid::{Parts, StateKind, is_earlier};
use super::table::{Keyed, Map, Table};
use super::{ClientId, Limits, Stateid, StateidRefusal, Time};

/// `layoutiomode4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LayoutMode {
    Read,
    Write,
}

/// What LAYOUTRETURN gives back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReturnMode {
    Read,
    Write,
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayoutRequest<'a> {
    pub client: ClientId,
    pub inode: InodeId,
    /// Of an open, a lock, or the layout that the client has.
    pub stateid: Stateid,
    pub mode: LayoutMode,
    /// Of the inode, as it was read for this layout.
    pub size_epoch: u64,
    /// Where the layout points.
    pub servers: &'a [DataServerId],
    /// The caller's own, kept from the first grant on: through which export the client knows the
    /// file, for the callback that takes the layout away.
    pub tag: u32,
}

/// A layout between its decision and its durable write intent. Confirm it or roll it back.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a reservation keeps the file held until it is confirmed or rolled back"]
pub struct LayoutReservation {
    pub(super) client: ClientId,
    pub(super) id: GrantId,
    pub(super) serial: u32,
    pub(super) mode: LayoutMode,
    pub(super) size_epoch: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayoutRefusal {
    #[error(transparent)]
    Stateid(#[from] StateidRefusal),
    #[error("the file is not open for this")]
    OpenMode,
    #[error("the file's layouts are being recalled")]
    RecallConflict,
    #[error("a layout of this file is being fenced")]
    Fencing,
    #[error("somebody is alone with the file")]
    Busy,
    #[error("the client holds as many layouts as it may")]
    TooMany,
    #[error("there are as many layouts as the limits allow")]
    Full,
    #[error(transparent)]
    Grace(#[from] GraceRefusal),
}

/// A grant by number; a number of one that is gone finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GrantId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantPhase {
    Held,
    /// The client has been asked for it, or is about to be.
    Recalling {
        deadline: Time,
    },
    /// Too late to return it: gone when its objects are fenced.
    Fencing,
}

/// A grant as others may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    pub id: GrantId,
    pub client: ClientId,
    pub inode: InodeId,
    pub read: bool,
    pub write: bool,
    pub size_epoch: u64,
    pub stateid: Stateid,
    pub phase: GrantPhase,
    pub tag: u32,
}

/// What LAYOUTRETURN left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Returned {
    /// `None` when nothing of the layout is left.
    pub stateid: Option<Stateid>,
    /// A right to write was given back.
    pub was_writer: bool,
    /// Somebody still holds the file.
    pub held: bool,
}

/// The right to read, to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Held {
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Held {
    pub(super) fn any(self) -> bool {
        self.read || self.write
    }
}

#[derive(Debug)]
pub(super) struct Layout {
    pub(super) client: ClientId,
    pub(super) inode: InodeId,
    /// The oldest epoch that any of its segments was given with.
    pub(super) size_epoch: u64,
    pub(super) servers: Box<[DataServerId]>,
    pub(super) phase: GrantPhase,
    pub(super) seqid: u32,
    /// The seqid by which something was last given: a return under an earlier one doesn't mean it.
    pub(super) granted: u32,
    pub(super) tag: u32,
    /// Raised by each recall: it voids the reservations before it.
    pub(super) serial: u32,
    /// All of them, and those for writing.
    pub(super) reservations: u16,
    pub(super) write_reservations: u16,
    pub(super) held: Held,
    /// What came back of it in parts; most layouts come back whole.
    pub(super) parts: Option<Box<PartsReturned>>,
}

#[derive(Debug, Default)]
pub(super) struct PartsReturned {
    read: Coverage,
    write: Coverage,
}

impl Layout {
    /// Whether the client may be writing, or may be about to: its write intent is not to be
    /// cleared.
    pub(super) fn writes(&self) -> bool {
        self.held.write || self.write_reservations > 0
    }

    /// Whether a client that lost the right to write may still be doing it: its fence isn't done.
    fn lingers(&self) -> bool {
        self.held.write && self.phase == GrantPhase::Fencing
    }

    fn is_recalled(&self) -> bool {
        matches!(self.phase, GrantPhase::Recalling { .. })
    }

    /// A new segment of `mode`, whole: earlier returns don't count for it.
    pub(super) fn take(&mut self, mode: LayoutMode) {
        match mode {
            LayoutMode::Read => self.held.read = true,
            LayoutMode::Write => self.held.write = true,
        }
        if let Some(parts) = &mut self.parts {
            match mode {
                LayoutMode::Read => parts.read = Coverage::default(),
                LayoutMode::Write => parts.write = Coverage::default(),
            }
        }
    }

    /// The right goes when all of its range has come back, in one piece or in several.
    pub(super) fn give_back(&mut self, mode: ReturnMode, span: Span) {
        let (mut reads, mut writes) = (span == Span::WHOLE, span == Span::WHOLE);
        if span != Span::WHOLE {
            let parts = self.parts.get_or_insert_default();
            if mode != ReturnMode::Write {
                parts.read.add(span);
            }
            if mode != ReturnMode::Read {
                parts.write.add(span);
            }
            (reads, writes) = (parts.read.is_whole(), parts.write.is_whole());
        }
        self.held.read &= !(reads && mode != ReturnMode::Write);
        self.held.write &= !(writes && mode != ReturnMode::Read);
    }

    pub(super) fn release(&mut self, mode: LayoutMode) {
        self.reservations = self.reservations.saturating_sub(1);
        if mode == LayoutMode::Write {
            self.write_reservations = self.write_reservations.saturating_sub(1);
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct FileLayouts {
    pub(super) by_client: Few<u32, u32>,
    pub(super) writers: u32,
    /// Asked back and not yet overdue.
    recalled: u32,
    /// Their right to write is gone, and the fence that makes it true isn't done.
    lingering: u32,
}

#[derive(Debug)]
pub(super) struct Grants {
    epoch: u32,
    pub(super) layouts: Table<Layout>,
    pub(super) files: Map<InodeId, FileLayouts>,
    pub(super) clients: BTreeMap<ClientId, BTreeSet<u32>>,
    pub(super) servers: BTreeMap<DataServerId, BTreeSet<u32>>,
    pub(super) deadlines: BTreeSet<(Time, u32)>,
    pub(super) fencing: BTreeSet<u32>,
}

impl Grants {
    pub(super) fn new(epoch: u32, keyed: Keyed) -> Self {
        Grants {
            epoch,
            layouts: Table::new(),
            files: Map::with_hasher(keyed),
            clients: BTreeMap::new(),
            servers: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            fencing: BTreeSet::new(),
        }
    }

    /// Layouts, recalls, fences.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        (self.layouts.len(), self.deadlines.len(), self.fencing.len())
    }

    pub(super) fn held_by(&self, client: ClientId) -> usize {
        self.clients.get(&client).map_or(0, BTreeSet::len)
    }

    pub(super) fn is_held(&self, inode: InodeId) -> bool {
        self.files.contains_key(&inode)
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(super) fn index_of(&self, client: ClientId, inode: InodeId) -> Option<u32> {
        self.files
            .get(&inode)?
            .by_client
            .get(&client.short())
            .copied()
    }

    pub(super) fn by_id(&self, id: GrantId) -> Option<u32> {
        self.layouts.get(id.index, id.generation).map(|_| id.index)
    }

    pub(super) fn id(&self, index: u32) -> GrantId {
        GrantId {
            index,
            generation: self.layouts.generation(index),
        }
    }

    pub(super) fn view(&self, index: u32) -> Option<Grant> {
        let layout = self.layouts.at(index)?;
        let id = self.id(index);
        let parts = Parts {
            kind: StateKind::Layout,
            index,
            generation: id.generation,
        };
        Some(Grant {
            id,
            client: layout.client,
            inode: layout.inode,
            read: layout.held.read,
            write: layout.held.write,
            size_epoch: layout.size_epoch,
            stateid: Stateid::compose(self.epoch, parts, layout.seqid),
            phase: layout.phase,
            tag: layout.tag,
        })
    }

    /// The layout that a client's stateid names. An earlier seqid is no fault: LAYOUTGETs and
    /// LAYOUTRETURNs run in parallel (§12.5.3). Zero is.
    pub(super) fn find(&self, client: ClientId, stateid: Stateid) -> Result<u32, StateidRefusal> {
        let parts = stateid.parts(self.epoch)?;
        if parts.kind != StateKind::Layout || stateid.seqid == 0 {
            return Err(StateidRefusal::Bad);
        }
        let layout = self
            .layouts
            .get(parts.index, parts.generation)
            .filter(|layout| layout.client == client && layout.held.any())
            .ok_or(StateidRefusal::Bad)?;
        if layout.phase == GrantPhase::Fencing {
            return Err(StateidRefusal::Revoked);
        }
        if stateid.seqid != layout.seqid && !is_earlier(stateid.seqid, layout.seqid) {
            return Err(StateidRefusal::Bad);
        }
        Ok(parts.index)
    }

    /// Changes what a layout holds, its phase or its reservations, and keeps every index in
    /// step. A layout with nothing left is gone.
    pub(super) fn change(&mut self, index: u32, apply: impl FnOnce(&mut Layout)) {
        let Some(layout) = self.layouts.at_mut(index) else {
            return;
        };
        let (wrote, was_phase) = (layout.writes(), layout.phase);
        let (was_recalled, lingered) = (layout.is_recalled(), layout.lingers());
        apply(layout);
        if !layout.held.any() {
            layout.phase = GrantPhase::Held;
        }
        let (writes, phase) = (layout.writes(), layout.phase);
        let (is_recalled, lingers) = (layout.is_recalled(), layout.lingers());
        let (client, inode) = (layout.client, layout.inode);
        let empty = !layout.held.any() && layout.reservations == 0;

        if let GrantPhase::Recalling { deadline } = was_phase {
            self.deadlines.remove(&(deadline, index));
        }
        if let GrantPhase::Recalling { deadline } = phase {
            self.deadlines.insert((deadline, index));
        }
        if phase == GrantPhase::Fencing {
            self.fencing.insert(index);
        } else if was_phase == GrantPhase::Fencing {
            self.fencing.remove(&index);
        }
        if let Some(file) = self.files.get_mut(&inode) {
            file.writers -= u32::from(wrote);
            file.writers += u32::from(writes);
            file.recalled -= u32::from(was_recalled);
            file.recalled += u32::from(is_recalled);
            file.lingering -= u32::from(lingered);
            file.lingering += u32::from(lingers);
            if empty {
                file.by_client.remove(&client.short());
                if file.by_client.is_empty() {
                    self.files.remove(&inode);
                }
            }
        }
        if !empty {
            return;
        }
        if let Some(indices) = self.clients.get_mut(&client) {
            indices.remove(&index);
            if indices.is_empty() {
                self.clients.remove(&client);
            }
        }
        if let Some(layout) = self.layouts.remove(index) {
            for server in &layout.servers {
                if let Some(indices) = self.servers.get_mut(server) {
                    indices.remove(&index);
                    if indices.is_empty() {
                        self.servers.remove(server);
                    }
                }
            }
        }
    }

    fn add(&mut self, request: &LayoutRequest) -> u32 {
        let index = self.layouts.insert(Layout {
            client: request.client,
            inode: request.inode,
            size_epoch: request.size_epoch,
            servers: Box::default(),
            phase: GrantPhase::Held,
            seqid: 0,
            granted: 0,
            tag: request.tag,
            serial: 0,
            reservations: 0,
            write_reservations: 0,
            held: Held::default(),
            parts: None,
        });
        self.files
            .entry(request.inode)
            .or_default()
            .by_client
            .insert(request.client.short(), index);
        self.clients
            .entry(request.client)
            .or_default()
            .insert(index);
        index
    }

    fn point_at(&mut self, index: u32, servers: &[DataServerId]) {
        let Some(layout) = self.layouts.at_mut(index) else {
            return;
        };
        if servers.iter().all(|server| layout.servers.contains(server)) {
            return;
        }
        let mut union: BTreeSet<DataServerId> = layout.servers.iter().copied().collect();
        union.extend(servers);
        layout.servers = union.into_iter().collect();
        for server in servers {
            self.servers.entry(*server).or_default().insert(index);
        }
    }

    pub(super) fn of_client(&self, client: ClientId) -> Vec<u32> {
        self.clients
            .get(&client)
            .map(|indices| indices.iter().copied().collect())
            .unwrap_or_default()
    }

    pub(super) fn of_file(&self, inode: InodeId) -> Vec<u32> {
        self.files
            .get(&inode)
            .map(|file| file.by_client.values().copied().collect())
            .unwrap_or_default()
    }

    /// The client is gone: what it did not return is to be fenced, what it was about to get is
    /// void.
    pub(super) fn drop_client(&mut self, client: ClientId) -> Vec<Grant> {
        let mut grants = Vec::new();
        for index in self.of_client(client) {
            self.change(index, |layout| {
                layout.serial = layout.serial.wrapping_add(1);
                if layout.held.any() {
                    layout.phase = GrantPhase::Fencing;
                }
            });
            grants.extend(
                self.view(index)
                    .filter(|grant| grant.phase == GrantPhase::Fencing),
            );
        }
        grants
    }

    /// Whether the client's layout of the file is one of those that `which` tells.
    fn own(
        &self,
        file: &FileLayouts,
        client: Option<ClientId>,
        which: impl Fn(&Layout) -> bool,
    ) -> u32 {
        let own = client
            .and_then(|client| file.by_client.get(&client.short()))
            .and_then(|index| self.layouts.at(*index));
        u32::from(own.is_some_and(which))
    }

    /// Whether somebody else than `except` has been asked for his layout and has time left.
    pub(super) fn is_recalled(&self, inode: InodeId, except: Option<ClientId>) -> bool {
        self.files
            .get(&inode)
            .is_some_and(|file| file.recalled > self.own(file, except, Layout::is_recalled))
    }

    pub(super) fn lingers(&self, inode: InodeId, except: Option<ClientId>) -> bool {
        self.files
            .get(&inode)
            .is_some_and(|file| file.lingering > self.own(file, except, Layout::lingers))
    }

    pub(super) fn admit(
        &mut self,
        request: &LayoutRequest,
        limits: &Limits,
    ) -> Result<LayoutReservation, LayoutRefusal> {
        let known = self.index_of(request.client, request.inode);
        let index = if let Some(index) = known {
            match self.layouts.at(index).map(|layout| layout.phase) {
                Some(GrantPhase::Recalling { .. }) => return Err(LayoutRefusal::RecallConflict),
                Some(GrantPhase::Fencing) => return Err(LayoutRefusal::Fencing),
                Some(GrantPhase::Held) | None => index,
            }
        } else {
            if self.held_by(request.client) >= limits.layouts_per_client {
                return Err(LayoutRefusal::TooMany);
            }
            if self.layouts.len() >= limits.layouts || self.layouts.is_full() {
                return Err(LayoutRefusal::Full);
            }
            self.add(request)
        };
        self.point_at(index, request.servers);
        let mut serial = 0;
        let mut full = false;
        self.change(index, |layout| {
            serial = layout.serial;
            match layout.reservations.checked_add(1) {
                Some(more) => {
                    layout.reservations = more;
                    layout.write_reservations += u16::from(request.mode == LayoutMode::Write);
                }
                None => full = true,
            }
        });
        if full {
            return Err(LayoutRefusal::TooMany);
        }
        Ok(LayoutReservation {
            client: request.client,
            id: self.id(index),
            serial,
            mode: request.mode,
            size_epoch: request.size_epoch,
        })
    }
}
