//! What must be true, kept by naive means beside the state: lists, byte maps, scans.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mds::state::{Access, ClientId, Deny, LockKind, LockRange, State, Stateid, StateidRefusal};

use crate::delegations::Delegated;
use crate::partners::Lent;
use crate::{Check, FILES, Rng};

/// Locks of the model lie within these bytes.
pub const LOCK_BYTES: usize = 32;

#[derive(Debug, Clone, Copy)]
struct Opened {
    client: ClientId,
    file: usize,
    access: Access,
    deny: Deny,
}

/// A layout that left the server.
#[derive(Debug, Clone, Copy)]
struct Issued {
    client: ClientId,
    file: usize,
    boot: u32,
}

#[derive(Default)]
pub struct Oracle {
    opens: BTreeMap<[u8; 12], Opened>,
    pub(super) delegations: BTreeMap<[u8; 12], Delegated>,
    /// By copy-notify stateids.
    pub(super) lent: BTreeMap<[u8; 12], Lent>,
    locks: Vec<BTreeMap<ClientId, [Option<LockKind>; LOCK_BYTES]>>,
    /// Stateids that must not be honoured any more.
    closed: VecDeque<(ClientId, Stateid)>,
    lapsed: BTreeSet<ClientId>,
    executed: BTreeSet<u64>,
    issued: BTreeMap<u64, Issued>,
    fenced: BTreeSet<u64>,
    /// The least size that an acknowledged LAYOUTCOMMIT or truncate allows, by file.
    pub floor: Vec<u64>,
    /// Clients (and starts of them) whose state was dropped, until they begin anew.
    lost: BTreeSet<(usize, u64)>,
}

fn excludes(access: Access, deny: Deny) -> bool {
    access as u8 & deny as u8 != 0
}

impl Oracle {
    pub fn new() -> Self {
        Oracle {
            locks: vec![BTreeMap::new(); FILES],
            floor: vec![0; FILES],
            ..Oracle::default()
        }
    }

    /// The server crashed: its memory is gone, and with it every stateid.
    pub fn crashed(&mut self) {
        self.opens.clear();
        self.delegations.clear();
        self.lent.clear();
        self.closed.clear();
        self.lapsed.clear();
        self.locks = vec![BTreeMap::new(); FILES];
    }

    pub fn executes(&mut self, request: u64) -> Check {
        if self.executed.insert(request) {
            Ok(())
        } else {
            Err(format!("invariant 1: request {request} was executed twice"))
        }
    }

    pub fn opened(
        &mut self,
        state: &State,
        client: ClientId,
        file: usize,
        stateid: Stateid,
    ) -> Check {
        let open = state
            .open_of(client, stateid)
            .map_err(|refusal| format!("invariant 2: a new open is not honoured: {refusal}"))?;
        for (other, known) in &self.opens {
            if known.file == file
                && *other != stateid.other
                && (excludes(open.access, known.deny) || excludes(known.access, open.deny))
            {
                return Err(format!(
                    "invariant 3: opens {open:?} and {known:?} conflict"
                ));
            }
        }
        self.opened_undelegated(client, file, open.access, open.deny)?;
        self.opens.insert(
            stateid.other,
            Opened {
                client,
                file,
                access: open.access,
                deny: open.deny,
            },
        );
        Ok(())
    }

    /// An open of somebody else that a delegation would be given against.
    pub fn open_against(&self, client: ClientId, file: usize, write: bool) -> Option<String> {
        let against = |open: &&Opened| {
            let reads_on = open.access.writes() || excludes(Access::Read, open.deny);
            open.client != client && open.file == file && (write || reads_on)
        };
        self.opens
            .values()
            .find(against)
            .map(|open| format!("{open:?}"))
    }

    pub fn open_of(&self, client: ClientId, file: usize) -> Option<[u8; 12]> {
        let found = self
            .opens
            .iter()
            .find(|(_, open)| open.client == client && open.file == file);
        found.map(|(other, _)| *other)
    }

    /// Whether an open or a delegation stands, and lets its client read.
    pub fn lets_read(&self, other: [u8; 12]) -> bool {
        let open = self.opens.get(&other);
        let delegation = self.delegations.get(&other);
        open.is_some_and(|open| open.access.reads()) || delegation.is_some_and(|held| !held.revoked)
    }

    pub fn has_lapsed(&self, client: ClientId) -> bool {
        self.lapsed.contains(&client)
    }

    pub fn closed(&mut self, client: ClientId, stateid: Stateid) {
        if let Some(open) = self.opens.remove(&stateid.other) {
            self.locks[open.file].remove(&client);
        }
        self.closed.push_back((
            client,
            Stateid {
                seqid: 0,
                ..stateid
            },
        ));
        if self.closed.len() > 64 {
            self.closed.pop_front();
        }
    }

    pub fn locked(
        &mut self,
        client: ClientId,
        file: usize,
        range: LockRange,
        kind: Option<LockKind>,
    ) -> Check {
        let first = range.offset() as usize;
        let last = first + range.length() as usize - 1;
        if let Some(kind) = kind {
            for (holder, bytes) in &self.locks[file] {
                let conflict = bytes[first..=last]
                    .iter()
                    .flatten()
                    .any(|held| kind == LockKind::Write || *held == LockKind::Write);
                if *holder != client && conflict {
                    return Err(format!(
                        "invariant 3: {client:?} and {holder:?} both lock file {file}"
                    ));
                }
            }
        }
        let bytes = self.locks[file].entry(client).or_insert([None; LOCK_BYTES]);
        bytes[first..=last].fill(kind);
        Ok(())
    }

    /// A lock was refused: somebody must stand against it.
    pub fn lock_denied(
        &self,
        client: ClientId,
        file: usize,
        range: LockRange,
        kind: LockKind,
    ) -> Check {
        let first = range.offset() as usize;
        let last = first + range.length() as usize - 1;
        let conflict = self.locks[file].iter().any(|(holder, bytes)| {
            *holder != client
                && bytes[first..=last]
                    .iter()
                    .flatten()
                    .any(|held| kind == LockKind::Write || *held == LockKind::Write)
        });
        if conflict {
            Ok(())
        } else {
            Err(format!(
                "invariant 3: a lock of file {file} was denied by nobody"
            ))
        }
    }

    /// Only a client that has the file open can be told of its turn to lock it.
    pub fn may_take_a_turn(&self, client: ClientId, file: usize) -> Check {
        let holds = |open: &Opened| open.client == client && open.file == file;
        if self.opens.values().any(holds) {
            Ok(())
        } else {
            Err(format!(
                "invariant 2: {client:?} waits for a lock of file {file}, which it has not open"
            ))
        }
    }

    pub fn lapsed(&mut self, client: ClientId) {
        self.lapsed.insert(client);
    }

    pub fn dropped(&mut self, client: ClientId, owner: usize, verifier: u64) {
        self.lapsed.remove(&client);
        let gone: Vec<[u8; 12]> = self
            .opens
            .iter()
            .filter(|(_, open)| open.client == client)
            .map(|(other, _)| *other)
            .collect();
        for other in gone {
            self.closed(client, Stateid { seqid: 0, other });
        }
        self.delegations.retain(|_, held| held.client != client);
        self.lent.retain(|_, lent| !lent.is_of(client));
        for locks in &mut self.locks {
            locks.remove(&client);
        }
        self.lost.insert((owner, verifier));
    }

    /// A client's reclaims are complete: what it has from now on is its own.
    pub fn begins_anew(&mut self, owner: usize, verifier: u64) {
        self.lost.remove(&(owner, verifier));
    }

    pub fn reclaimed(&self, owner: usize, verifier: u64) -> Check {
        if self.lost.contains(&(owner, verifier)) {
            return Err(format!(
                "invariant 7: client {owner} reclaimed what it had lost before the restart"
            ));
        }
        Ok(())
    }

    pub fn issued(&mut self, serial: u64, client: ClientId, file: usize, boot: u32) {
        self.issued.insert(serial, Issued { client, file, boot });
    }

    pub fn fenced(&mut self, client: ClientId, file: usize) {
        let serials = self
            .issued
            .iter()
            .filter(|(_, issued)| issued.client == client && issued.file == file)
            .map(|(serial, _)| *serial);
        self.fenced.extend(serials);
    }

    /// Everything that earlier boots gave out for a file is fenced.
    pub fn fenced_before(&mut self, file: usize, boot: u32) {
        let serials = self
            .issued
            .iter()
            .filter(|(_, issued)| issued.boot < boot && issued.file == file)
            .map(|(serial, _)| *serial);
        self.fenced.extend(serials);
    }

    pub fn written(&self, serial: u64) -> Check {
        if self.fenced.contains(&serial) {
            return Err(format!(
                "invariant 5: a write by fenced layout {serial} reached the file"
            ));
        }
        Ok(())
    }

    /// Stateids of live clients are honoured, others are not.
    pub fn check_a_stateid(&self, state: &State, rng: &mut Rng) -> Check {
        if !self.opens.is_empty() {
            let place = rng.below(self.opens.len());
            let Some((other, open)) = self.opens.iter().nth(place) else {
                return Ok(());
            };
            let stateid = Stateid {
                seqid: 0,
                other: *other,
            };
            let tested = state.test_stateid(open.client, stateid);
            let expected = if self.lapsed.contains(&open.client) {
                Err(StateidRefusal::Expired)
            } else {
                Ok(())
            };
            if tested != expected {
                return Err(format!(
                    "invariant 2: {open:?} is {tested:?}, not {expected:?}"
                ));
            }
        }
        if !self.delegations.is_empty() {
            let place = rng.below(self.delegations.len());
            self.check_a_delegation(state, place)?;
        }
        if !self.closed.is_empty() {
            let (client, stateid) = self.closed[rng.below(self.closed.len())];
            if state.test_stateid(client, stateid).is_ok() {
                return Err(format!(
                    "invariant 2: {stateid:?} is honoured after its end"
                ));
            }
        }
        Ok(())
    }
}
