//! Which files may be written behind the server's back, straight to their data servers: the write
//! intents of the catalog, in memory. An intent is durable before a write grant leaves, and is
//! cleared once nobody can write any more and size and times are settled.

use crate::server::Server;
use crate::state::{ClientId, GateMode};
use crate::status::Refusal;
use catalog::{InodeId, Tx, WriteIntent, transact};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Writers {
    /// Who had a pen since this start, by number.
    clients: Vec<u64>,
    /// Clients of an earlier start: they hold no layout that this server knows, and may still write.
    former: Vec<u64>,
    /// The last moment at which it became doubtful whether size and times show all that was written.
    doubted: u64,
    /// The last at which somebody told that it wrote.
    told: u64,
    /// Up to here size and times account for everything.
    settled: u64,
}

impl Writers {
    fn unsettled(&self) -> bool {
        self.doubted > self.settled || !self.former.is_empty()
    }
}

/// What was in doubt when the data servers were asked: what is doubted later stays so, whatever they answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Doubt {
    at: u64,
    /// Somebody told that it wrote: change moves, however alike the objects look.
    pub told: bool,
}

/// Who is to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pen {
    Client(ClientId),
    /// For clients without layouts.
    ThisServer,
}

impl Pen {
    /// As an intent names it. No client has the number 0.
    fn number(self) -> u64 {
        match self {
            Self::Client(client) => client.0,
            Self::ThisServer => 0,
        }
    }
}

/// Clients that an intent names. That there are any is what counts after a restart; when it is full
/// a further one is covered by it as it is.
const NAMES_MAX: usize = 64;

#[derive(Default)]
struct Intents {
    files: BTreeMap<InodeId, Writers>,
    /// Those with clients of an earlier start.
    former: BTreeSet<InodeId>,
    /// Counts doubts: the order of events.
    moment: u64,
}

impl Intents {
    fn doubt(&mut self, inode: InodeId) -> Option<&mut Writers> {
        let writers = self.files.get_mut(&inode)?;
        self.moment += 1;
        writers.doubted = self.moment;
        Some(writers)
    }

    fn tell(&mut self, inode: InodeId) {
        if let Some(writers) = self.doubt(inode) {
            writers.told = writers.doubted;
        }
    }
}

#[derive(Default)]
pub(crate) struct Writing(Mutex<Intents>);

/// Who might be writing a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suspicion {
    Nobody,
    /// Holders that the state knows; what they wrote and committed is settled.
    Holders,
    /// Size and times must be asked for before they are told.
    Unsettled,
}

impl Writing {
    /// Takes over the intents that an earlier start left. It may have been told of what its end took back.
    pub fn recall(&self, intents: Vec<WriteIntent>) {
        let mut writing = self.0.lock();
        for intent in intents {
            if !intent.clients.is_empty() {
                writing.former.insert(intent.inode);
            }
            let writers = Writers {
                former: intent.clients,
                ..Writers::default()
            };
            writing.files.insert(intent.inode, writers);
            writing.tell(intent.inode);
        }
    }

    pub fn suspicion(&self, inode: InodeId) -> Suspicion {
        match self.0.lock().files.get(&inode) {
            None => Suspicion::Nobody,
            Some(writers) if writers.unsettled() => Suspicion::Unsettled,
            Some(_) => Suspicion::Holders,
        }
    }

    /// Whether clients of an earlier start may still write: they must be fenced before anything
    /// that excludes writers.
    pub fn has_former(&self, inode: InodeId) -> bool {
        self.0.lock().former.contains(&inode)
    }

    /// At most `limit` files with such clients, behind `after`.
    pub fn former_after(&self, after: Option<InodeId>, limit: usize) -> Vec<InodeId> {
        let from = after.map_or(Unbounded, Excluded);
        let writing = self.0.lock();
        writing
            .former
            .range((from, Unbounded))
            .take(limit)
            .copied()
            .collect()
    }

    /// At most `limit` files whose intent stands, behind `after`.
    pub fn after(&self, after: Option<InodeId>, limit: usize) -> Vec<InodeId> {
        let from = after.map_or(Unbounded, Excluded);
        let writing = self.0.lock();
        let files = writing.files.range((from, Unbounded));
        files.take(limit).map(|(inode, _)| *inode).collect()
    }

    pub fn fenced_former(&self, inode: InodeId) {
        let mut writing = self.0.lock();
        writing.former.remove(&inode);
        // They could write up to now.
        if let Some(writers) = writing.doubt(inode) {
            writers.former.clear();
        }
    }

    /// Bytes may have been written that size and times don't show yet.
    pub fn unsettle(&self, inode: InodeId) {
        self.0.lock().doubt(inode);
    }

    /// The same, where it is known that there are.
    pub fn wrote(&self, inode: InodeId) {
        self.0.lock().tell(inode);
    }

    /// When it became doubtful last. The same before and after: nobody wrote through this server meanwhile.
    pub fn last_doubted(&self, inode: InodeId) -> u64 {
        let writing = self.0.lock();
        writing
            .files
            .get(&inode)
            .map_or(0, |writers| writers.doubted)
    }

    /// To be taken before the data servers are asked.
    pub fn doubt(&self, inode: InodeId) -> Doubt {
        let writing = self.0.lock();
        let writers = writing.files.get(&inode);
        Doubt {
            at: writing.moment,
            told: writers.is_some_and(|writers| writers.told > writers.settled),
        }
    }

    /// Size and times account for what was in `doubt`.
    pub fn settled(&self, inode: InodeId, doubt: Doubt) {
        if let Some(writers) = self.0.lock().files.get_mut(&inode) {
            writers.settled = writers.settled.max(doubt.at);
        }
    }

    pub fn forget(&self, inode: InodeId) {
        let mut writing = self.0.lock();
        writing.former.remove(&inode);
        writing.files.remove(&inode);
    }

    fn covers(&self, inode: InodeId, pen: Pen) -> bool {
        let writing = self.0.lock();
        writing.files.get(&inode).is_some_and(|writers| {
            writers.clients.len() >= NAMES_MAX || writers.clients.contains(&pen.number())
        })
    }

    /// Puts the durable intent with one more name. To be called in each attempt of a transaction: another
    /// name may have come meanwhile.
    pub fn note(&self, tx: &mut Tx, inode: InodeId, size_epoch: u64, pen: Pen) {
        tx.intent_put(&WriteIntent {
            inode,
            size_epoch,
            clients: self.with(inode, pen),
        });
    }

    /// The clients that the durable intent must name once this one is added.
    fn with(&self, inode: InodeId, pen: Pen) -> Vec<u64> {
        let client = pen.number();
        let writing = self.0.lock();
        let mut clients = vec![client];
        if let Some(writers) = writing.files.get(&inode) {
            let earlier = writers.former.iter().chain(&writers.clients);
            clients.extend(earlier.filter(|known| **known != client));
        }
        clients.truncate(2 * NAMES_MAX);
        clients
    }

    /// The intent that was noted is durable.
    pub fn add(&self, inode: InodeId, pen: Pen) {
        let mut writing = self.0.lock();
        let writers = writing.files.entry(inode).or_default();
        if !writers.clients.contains(&pen.number()) {
            writers.clients.push(pen.number());
        }
    }
}

impl Server {
    /// Makes durable that `inode` may be written from now on. The caller is inside the gate.
    pub(crate) async fn intend(
        &self,
        inode: InodeId,
        size_epoch: u64,
        pen: Pen,
    ) -> Result<(), Refusal> {
        if self.writing.covers(inode, pen) {
            return Ok(());
        }
        transact!(
            self.catalog,
            self.clock.wall(),
            |tx| -> Result<(), Refusal> {
                self.writing.note(tx, inode, size_epoch, pen);
                Ok(())
            }
        )?;
        self.writing.add(inode, pen);
        Ok(())
    }

    /// Clears the intent when nobody can write `inode` any more and its size is settled; otherwise
    /// leaves it, and the next return or expiry tries again.
    pub(crate) async fn clear_intent(self: &Arc<Self>, inode: InodeId) -> Result<(), Refusal> {
        let needless = || {
            self.state.lock().has_rw_holder(inode, None)
                || self.writing.suspicion(inode) != Suspicion::Holders
        };
        // Every return comes here: only one that can clear keeps others out for it.
        if needless() {
            return Ok(());
        }
        let _alone = self.enter(inode, GateMode::Exclusive).await?;
        if needless() {
            return Ok(());
        }
        transact!(
            self.catalog,
            self.clock.wall(),
            |tx| -> Result<(), Refusal> {
                tx.intent_clear(inode);
                // One that a crash brings back is settled once more.
                tx.needs_no_sync();
                Ok(())
            }
        )?;
        self.writing.forget(inode);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: InodeId = InodeId { home: 1, number: 2 };

    fn client(id: u64) -> Pen {
        Pen::Client(ClientId(id))
    }

    #[test]
    fn an_intent_grows_no_further_than_its_names_and_covers_whoever_comes_then() {
        let writing = Writing::default();
        for client in (1..=10_000).map(client) {
            if !writing.covers(FILE, client) {
                assert!(writing.with(FILE, client).contains(&client.number()));
                writing.add(FILE, client);
            }
        }
        assert_eq!(writing.with(FILE, client(20_000)).len(), NAMES_MAX + 1);
        assert!(writing.covers(FILE, client(20_000)));
    }

    #[test]
    fn an_intent_of_many_clients_of_an_earlier_start_stays_bounded_and_is_fenced() {
        let writing = Writing::default();
        writing.recall(vec![WriteIntent {
            inode: FILE,
            size_epoch: 0,
            clients: (1..=500).collect(),
        }]);
        assert!(writing.has_former(FILE));
        assert_eq!(writing.with(FILE, client(1_000)).len(), 2 * NAMES_MAX);
        writing.fenced_former(FILE);
        assert!(!writing.has_former(FILE));
        assert_eq!(writing.with(FILE, client(1_000)), [1_000]);
    }

    #[test]
    fn what_is_doubted_while_the_data_servers_are_asked_stays_in_doubt() {
        let writing = Writing::default();
        writing.add(FILE, client(1));
        assert_eq!(writing.suspicion(FILE), Suspicion::Holders);
        writing.unsettle(FILE);
        let asked = writing.doubt(FILE);
        writing.wrote(FILE);
        writing.settled(FILE, asked);
        assert!(!asked.told && writing.doubt(FILE).told);
        assert_eq!(writing.suspicion(FILE), Suspicion::Unsettled);
        writing.settled(FILE, writing.doubt(FILE));
        assert_eq!(writing.suspicion(FILE), Suspicion::Holders);
        assert!(!writing.doubt(FILE).told, "told once");
    }

    #[test]
    fn an_answer_from_before_the_intent_was_cleared_says_nothing_of_the_next() {
        let writing = Writing::default();
        writing.add(FILE, client(1));
        let asked = writing.doubt(FILE);
        writing.forget(FILE);
        writing.add(FILE, client(2));
        writing.unsettle(FILE);
        writing.settled(FILE, asked);
        assert_eq!(writing.suspicion(FILE), Suspicion::Unsettled);
    }

    #[test]
    fn clients_of_an_earlier_start_leave_doubt_until_they_are_fenced_and_after() {
        let writing = Writing::default();
        writing.recall(vec![WriteIntent {
            inode: FILE,
            size_epoch: 0,
            clients: vec![7],
        }]);
        writing.settled(FILE, writing.doubt(FILE));
        assert_eq!(writing.suspicion(FILE), Suspicion::Unsettled);
        writing.fenced_former(FILE);
        assert_eq!(
            writing.suspicion(FILE),
            Suspicion::Unsettled,
            "they could write up to now"
        );
        writing.settled(FILE, writing.doubt(FILE));
        assert_eq!(writing.suspicion(FILE), Suspicion::Holders);
    }

    #[test]
    fn files_that_cannot_be_settled_yet_keep_no_other_from_its_turn() {
        let writing = Writing::default();
        let file = |number| InodeId { home: 1, number };
        writing.recall(
            (1..=10)
                .map(|number| WriteIntent {
                    inode: file(number),
                    size_epoch: 0,
                    clients: vec![7],
                })
                .collect(),
        );
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let turn = writing.former_after(after, 4);
            assert_eq!(turn, writing.after(after, 4));
            after = turn.last().copied();
            if after.is_none() {
                break;
            }
            seen.extend(turn);
        }
        assert_eq!(seen, (1..=10).map(file).collect::<Vec<_>>());
    }
}
