//! Those who wait for a byte-range lock, RFC 8881 §9.6 and §20.11: in which order, and whose turn
//! it is when a lock comes free. What is held is `lock`'s; the callback itself is not here.
//!
//! Waiting → its turn (the lock is kept for it, for a bounded time) → taken, or lost. Only a turn
//! keeps others out: to queue behind somebody who can't have his lock yet could wait for oneself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use catalog::InodeId;

use super::lock::DeniedLock;
use super::range::{LockKind, LockRange};
use super::table::{Keyed, Map};
use super::{ClientId, Limits, State, Time};

/// A waiter that has not asked again for so long has given up: Linux asks each 30 seconds.
const PATIENCE: Duration = Duration::from_secs(90);

/// One CB_NOTIFY_LOCK to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockNotice {
    pub client: ClientId,
    pub inode: InodeId,
    pub owner: Bytes,
    /// Through which export the client knows the file.
    pub tag: u32,
    /// Until then the lock is kept for it.
    pub until: Time,
    number: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) client: ClientId,
    pub(super) inode: InodeId,
    pub(super) owner: Bytes,
    pub(super) range: LockRange,
    pub(super) kind: LockKind,
}

#[derive(Debug)]
struct Waiter {
    wanted: Wanted,
    tag: u32,
    asked: Time,
    turn: Option<Time>,
}

#[derive(Debug, Default)]
struct FileWaiters {
    all: BTreeSet<u64>,
    turns: BTreeSet<u64>,
}

/// By number: the order in which they came.
#[derive(Debug)]
pub(super) struct Waiters {
    waiters: BTreeMap<u64, Waiter>,
    files: Map<InodeId, FileWaiters>,
    clients: BTreeMap<ClientId, BTreeSet<u64>>,
    turns: BTreeSet<(Time, u64)>,
    last: u64,
}

impl Waiters {
    pub(super) fn new(keyed: Keyed) -> Self {
        Waiters {
            waiters: BTreeMap::new(),
            files: Map::with_hasher(keyed),
            clients: BTreeMap::new(),
            turns: BTreeSet::new(),
            last: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.turns.first().map(|(until, _)| *until)
    }

    /// Puts a request at the end of its file's queue, or notes that it still waits where it is.
    /// Beyond a limit it isn't queued, and its client polls.
    pub(super) fn wait(&mut self, now: Time, wanted: Wanted, tag: u32, limits: &Limits) {
        let file = self.files.entry(wanted.inode).or_default();
        let known = file.all.iter().find(|number| {
            self.waiters
                .get(number)
                .is_some_and(|waiter| waiter.wanted == wanted)
        });
        if let Some(number) = known {
            if let Some(waiter) = self.waiters.get_mut(number) {
                waiter.asked = now;
            }
            return;
        }
        let of_client = self.clients.get(&wanted.client).map_or(0, BTreeSet::len);
        if file.all.len() >= limits.lock_waiters_per_file
            || of_client >= limits.lock_waiters_per_client
        {
            return;
        }
        self.last += 1;
        file.all.insert(self.last);
        self.clients
            .entry(wanted.client)
            .or_default()
            .insert(self.last);
        let waiter = Waiter {
            wanted,
            tag,
            asked: now,
            turn: None,
        };
        self.waiters.insert(self.last, waiter);
    }

    fn remove(&mut self, number: u64) -> Option<InodeId> {
        let waiter = self.waiters.remove(&number)?;
        let Wanted { inode, client, .. } = waiter.wanted;
        if let Some(until) = waiter.turn {
            self.turns.remove(&(until, number));
        }
        if let Some(file) = self.files.get_mut(&inode) {
            file.all.remove(&number);
            file.turns.remove(&number);
            if file.all.is_empty() {
                self.files.remove(&inode);
            }
        }
        if let Some(numbers) = self.clients.get_mut(&client) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.clients.remove(&client);
            }
        }
        Some(inode)
    }

    /// The lock has been taken: whoever waited for it, or for a part of it, waits no more.
    pub(super) fn served(&mut self, taken: &Wanted) {
        let Some(file) = self.files.get(&taken.inode) else {
            return;
        };
        let served = file.all.iter().copied().filter(|number| {
            self.waiters.get(number).is_some_and(|waiter| {
                waiter.wanted.client == taken.client
                    && waiter.wanted.owner == taken.owner
                    && taken.range.covers(waiter.wanted.range)
            })
        });
        for number in served.collect::<Vec<_>>() {
            self.remove(number);
        }
    }

    /// Somebody else whose turn it is, in the way of this.
    pub(super) fn in_turn(&self, wanted: &Wanted) -> Option<DeniedLock> {
        let file = self.files.get(&wanted.inode)?;
        let first = file
            .turns
            .iter()
            .filter_map(|number| self.waiters.get(number))
            .map(|waiter| &waiter.wanted)
            .find(|other| {
                (other.client, &other.owner) != (wanted.client, &wanted.owner)
                    && other.range.overlaps(wanted.range)
                    && (other.kind == LockKind::Write || wanted.kind == LockKind::Write)
            })?;
        Some(DeniedLock {
            range: first.range,
            kind: first.kind,
            client: first.client,
            owner: first.owner.clone(),
        })
    }

    pub(super) fn drop_client(&mut self, client: ClientId) {
        for number in self.clients.get(&client).cloned().unwrap_or_default() {
            self.remove(number);
        }
    }

    /// The client has the file no longer open.
    pub(super) fn drop_file_of(&mut self, client: ClientId, inode: InodeId) {
        let numbers: Vec<u64> = match (self.files.get(&inode), self.clients.get(&client)) {
            (Some(file), Some(numbers)) => numbers.intersection(&file.all).copied().collect(),
            _ => return,
        };
        for number in numbers {
            self.remove(number);
        }
    }
}

impl State {
    /// Whether CB_NOTIFY_LOCK can reach the client: what OPEN may promise it (§18.16.3).
    pub fn can_call_back(&self, client: ClientId) -> bool {
        self.clients.live(client).is_some_and(|client| {
            client.sessions.iter().any(|id| {
                let session = self.sessions.table.get(id);
                session.is_some_and(super::session::Session::has_back_connection)
            })
        })
    }

    /// Something of this file was unlocked, or somebody gave up: whose turn it is now, in the
    /// order in which they came.
    pub fn lock_turns(&mut self, now: Time, inode: InodeId) -> Vec<LockNotice> {
        let Some(file) = self.waiters.files.get(&inode) else {
            return Vec::new();
        };
        let mut notices = Vec::new();
        for number in file
            .all
            .difference(&file.turns)
            .copied()
            .collect::<Vec<_>>()
        {
            let Some(waiter) = self.waiters.waiters.get(&number) else {
                continue;
            };
            if waiter.asked.plus(PATIENCE.max(self.limits.lease)) < now {
                self.waiters.remove(number);
                continue;
            }
            if self.locks.stands_against(&waiter.wanted).is_some()
                || self.waiters.in_turn(&waiter.wanted).is_some()
            {
                continue;
            }
            let until = now.plus(self.limits.lock_turn);
            if let Some(waiter) = self.waiters.waiters.get_mut(&number) {
                waiter.turn = Some(until);
                notices.push(LockNotice {
                    client: waiter.wanted.client,
                    inode,
                    owner: waiter.wanted.owner.clone(),
                    tag: waiter.tag,
                    until,
                    number,
                });
            }
            self.waiters.turns.insert((until, number));
            if let Some(file) = self.waiters.files.get_mut(&inode) {
                file.turns.insert(number);
            }
        }
        notices
    }

    /// Whether it still is this waiter's turn.
    pub fn has_lock_turn(&self, notice: &LockNotice) -> bool {
        self.waiters.turns.contains(&(notice.until, notice.number))
    }

    /// The client can't be told, or doesn't want it: its turn is the next one's.
    pub fn lock_turn_lost(&mut self, now: Time, notice: &LockNotice) -> Vec<LockNotice> {
        if !self.has_lock_turn(notice) {
            return Vec::new();
        }
        self.waiters.remove(notice.number);
        self.lock_turns(now, notice.inode)
    }

    /// Turns that nobody took in time go to the next.
    pub fn lock_turns_due(&mut self, now: Time) -> Vec<LockNotice> {
        let mut files = BTreeSet::new();
        while let Some((until, number)) = self.waiters.turns.first().copied()
            && until <= now
        {
            self.waiters.turns.remove(&(until, number));
            files.extend(self.waiters.remove(number));
        }
        files
            .into_iter()
            .flat_map(|inode| self.lock_turns(now, inode))
            .collect()
    }
}

#[cfg(test)]
mod tests;
