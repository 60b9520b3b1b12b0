//! A model client: what the Linux client does with opens, locks and layouts, at random moments,
//! and what it does when its messages, its server or itself fail.

mod choose;
mod partners;
mod reclaim;
mod writes;

use mds::state::*;

use crate::{Answer, FILES, FOLDER, Op, Packet, Refused, Request, Rng, SLOTS, Setup, SetupAnswer};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Exchange,
    Create { client: ClientId, sequence: u32 },
    Reclaim,
    Ready,
}

#[derive(Debug, Clone)]
struct Layout {
    stateid: Stateid,
    write: bool,
    generation: u32,
    serial: u64,
    /// The furthest byte that a COMMIT made durable.
    end: u64,
    /// The furthest that was written and not committed, under which verifier: `None` under several.
    unstable: u64,
    disk: Option<u32>,
    /// Written, and lost with its data server's memory.
    again: Option<u64>,
    in_flight: u32,
    /// To be returned: recalled, or refused by the data server.
    leaving: bool,
}

#[derive(Debug, Clone, Copy)]
struct Delegated {
    stateid: Stateid,
    write: bool,
    leaving: bool,
}

#[derive(Debug, Clone, Default)]
struct Held {
    open: Option<(Stateid, Access, Deny)>,
    lock: Option<Stateid>,
    bytes: Vec<(LockRange, LockKind)>,
    layout: Option<Layout>,
    /// Denied, and waited for; told that it may be had.
    wanted: Option<(LockRange, LockKind)>,
    called: bool,
    delegation: Option<Delegated>,
    /// To be reclaimed: to write, or to read.
    redelegate: Option<bool>,
    /// A copy-notify stateid that another server has.
    lent: Option<Stateid>,
    /// A request for this file has no answer yet.
    busy: bool,
    reclaim: bool,
}

#[derive(Debug, Clone, Default)]
struct ClientSlot {
    sequence: u32,
    outstanding: Option<Request>,
}

pub struct Client {
    index: usize,
    /// Of this start of the client.
    verifier: u64,
    phase: Phase,
    id: Option<ClientId>,
    session: Option<SessionId>,
    slots: Vec<ClientSlot>,
    files: Vec<Held>,
    connection: u64,
    pub asleep_until: Time,
}

impl Client {
    pub fn new(index: usize) -> Self {
        Client {
            index,
            verifier: 1,
            phase: Phase::Exchange,
            id: None,
            session: None,
            slots: vec![ClientSlot::default(); SLOTS as usize],
            files: vec![Held::default(); FILES + 1],
            connection: index as u64,
            asleep_until: Time::ZERO,
        }
    }

    /// Everything in memory is gone.
    pub fn restart(&mut self) {
        *self = Client {
            verifier: self.verifier + 1,
            asleep_until: self.asleep_until,
            ..Client::new(self.index)
        };
    }

    pub fn reconnect(&mut self) {
        self.connection += 100;
    }

    pub fn is_this(&self, verifier: u64) -> bool {
        self.verifier == verifier
    }

    pub fn is(&self, id: ClientId) -> bool {
        self.id == Some(id)
    }

    /// The session is gone: requests without an answer have an unknown fate.
    fn lose_session(&mut self) {
        self.phase = Phase::Exchange;
        self.session = None;
        for slot in &mut self.slots {
            if let Some(lost) = slot.outstanding.take() {
                let held = &mut self.files[lost.file];
                held.busy = false;
                if matches!(lost.op, Op::Close { .. }) {
                    held.open = None;
                }
                if matches!(lost.op, Op::DelegReturn { .. }) {
                    held.delegation = None;
                }
                if let Op::Unlock { range, .. } = lost.op {
                    held.bytes.retain(|(locked, _)| *locked != range);
                }
            }
        }
    }

    /// A new client id: nothing is held but what can be reclaimed.
    fn lose_state(&mut self) {
        for held in &mut self.files {
            held.layout = None;
            held.lock = None;
            held.wanted = None;
            held.reclaim = held.open.is_some();
            held.redelegate = held
                .delegation
                .take()
                .map(|held| held.write)
                .or(held.redelegate)
                .filter(|_| held.reclaim);
            if !held.reclaim {
                held.bytes.clear();
            }
        }
    }

    pub fn act(&mut self, rng: &mut Rng, next_id: &mut u64, net: &mut Vec<Packet>) {
        let setup = |call| Packet::Setup {
            client: self.index,
            verifier: self.verifier,
            call,
        };
        match self.phase {
            Phase::Exchange => return net.push(setup(Setup::ExchangeId)),
            Phase::Create { client, sequence } => {
                return net.push(setup(Setup::CreateSession { client, sequence }));
            }
            Phase::Reclaim | Phase::Ready => {}
        }
        let slot = rng.below(self.slots.len());
        if let Some(request) = &self.slots[slot].outstanding {
            return net.push(Packet::Request(Request {
                connection: ConnectionId(self.connection),
                ..request.clone()
            }));
        }
        let file = if rng.percent(10) {
            FOLDER
        } else {
            rng.below(FILES)
        };
        if self.phase == Phase::Reclaim {
            return self.reclaim(slot, next_id, net);
        }
        if rng.percent(8)
            && let Some(packet) = self.partner(file, rng)
        {
            return net.push(packet);
        }
        if self.files[file].busy {
            return;
        }
        if rng.percent(50)
            && let Some(packet) = self.write(file, rng)
        {
            return net.push(packet);
        }
        // Linux forgets layouts without a word.
        let idle = self.files[file]
            .layout
            .as_ref()
            .is_some_and(|layout| layout.in_flight == 0);
        if idle && rng.percent(8) {
            self.files[file].layout = None;
            return;
        }
        // A grant whose reply was lost for good looks the same.
        if self.files[file].delegation.is_some() && rng.percent(2) {
            self.files[file].delegation = None;
            return;
        }
        let op = if file == FOLDER {
            Some(self.in_the_folder(rng))
        } else {
            self.choose(file, rng)
        };
        if let Some(op) = op {
            self.send(slot, file, op, next_id, net);
        }
    }

    fn send(&mut self, slot: usize, file: usize, op: Op, next_id: &mut u64, net: &mut Vec<Packet>) {
        let Some(session) = self.session else {
            return;
        };
        *next_id += 1;
        self.slots[slot].sequence += 1;
        let request = Request {
            id: *next_id,
            client: self.index,
            connection: ConnectionId(self.connection),
            session,
            slot: slot as u32,
            sequence: self.slots[slot].sequence,
            file,
            op,
        };
        self.files[file].busy = true;
        self.slots[slot].outstanding = Some(request.clone());
        net.push(Packet::Request(request));
    }

    pub fn set_up(&mut self, answer: &SetupAnswer) {
        match (self.phase, answer) {
            (
                Phase::Exchange,
                SetupAnswer::Known {
                    client,
                    sequence,
                    confirmed,
                },
            ) => {
                if !(*confirmed && self.id == Some(*client)) {
                    self.lose_state();
                    self.id = None;
                }
                self.phase = Phase::Create {
                    client: *client,
                    sequence: *sequence,
                };
            }
            (
                Phase::Create { client, .. },
                SetupAnswer::Session {
                    client: answered,
                    session,
                },
            ) if client == *answered => {
                let same = self.id == Some(client);
                self.id = Some(client);
                self.session = Some(*session);
                self.slots = vec![ClientSlot::default(); SLOTS as usize];
                self.phase = if same { Phase::Ready } else { Phase::Reclaim };
            }
            (Phase::Create { .. }, SetupAnswer::Refused) => self.phase = Phase::Exchange,
            _ => {}
        }
    }

    pub fn bad_session(&mut self, id: u64) {
        if self.outstanding(id).is_some() {
            self.lose_session();
        }
    }

    fn outstanding(&self, id: u64) -> Option<usize> {
        self.slots.iter().position(|slot| {
            slot.outstanding
                .as_ref()
                .is_some_and(|request| request.id == id)
        })
    }

    /// An answer arrived; late and doubled ones find no request.
    pub fn answered(&mut self, id: u64, answer: &Answer) {
        let Some(slot) = self.outstanding(id) else {
            return;
        };
        let Some(request) = self.slots[slot].outstanding.take() else {
            return;
        };
        let held = &mut self.files[request.file];
        held.busy = false;
        match (request.op, answer) {
            (
                Op::Open {
                    access,
                    deny,
                    reclaim,
                    ..
                },
                Answer::Stateid(stateid),
            ) => {
                held.open = Some(match held.open {
                    Some((_, known, denied)) if !reclaim => {
                        (*stateid, join(known, access), join_deny(denied, deny))
                    }
                    _ => (*stateid, access, deny),
                });
                if reclaim {
                    held.reclaim = false;
                    held.bytes.clear();
                }
            }
            (Op::Open { reclaim: true, .. }, Answer::Refused(Refused::Later)) => {}
            (Op::Open { reclaim: true, .. }, _) => {
                held.reclaim = false;
                held.redelegate = None;
                held.open = None;
                held.bytes.clear();
            }
            (Op::Close { .. }, Answer::Done) => {
                held.open = None;
                held.lock = None;
                held.wanted = None;
            }
            (
                Op::Lock {
                    range,
                    kind,
                    wait: true,
                    ..
                },
                Answer::Refused(Refused::Denied),
            ) => {
                held.wanted = Some((range, kind));
                held.called = false;
            }
            (Op::Lock { range, kind, .. }, Answer::Stateid(stateid)) => {
                held.wanted = None;
                held.lock = Some(*stateid);
                held.bytes.push((range, kind));
            }
            (Op::Unlock { range, .. }, Answer::Stateid(stateid)) => {
                held.lock = Some(*stateid);
                held.bytes.retain(|(locked, _)| *locked != range);
            }
            (
                Op::LayoutGet { .. },
                Answer::Layout {
                    stateid,
                    write,
                    generation,
                    serial,
                },
            ) => {
                held.layout = Some(Layout {
                    stateid: *stateid,
                    write: *write,
                    generation: *generation,
                    serial: *serial,
                    end: 0,
                    unstable: 0,
                    disk: None,
                    again: None,
                    in_flight: 0,
                    leaving: false,
                });
            }
            (Op::LayoutReturn { .. }, Answer::Done | Answer::Refused(Refused::Stateid))
            | (Op::LayoutCommit { .. }, Answer::Refused(Refused::Stateid)) => held.layout = None,
            (Op::Delegate { write, .. }, Answer::Stateid(stateid)) => {
                held.redelegate = None;
                held.delegation = Some(Delegated {
                    stateid: *stateid,
                    write,
                    leaving: false,
                });
            }
            (Op::Delegate { .. }, _) => held.redelegate = None,
            (Op::CopyNotify { .. }, Answer::Stateid(stateid)) => held.lent = Some(*stateid),
            // Also when it is refused: what was revoked or is not known is held no more.
            (Op::DelegReturn { .. }, _) => held.delegation = None,
            (Op::ReclaimComplete, Answer::Done) => self.phase = Phase::Ready,
            _ => {}
        }
    }

    /// CB_NOTIFY_LOCK.
    pub fn called_to_lock(&mut self, file: usize) {
        self.files[file].called = self.files[file].wanted.is_some();
    }

    /// CB_LAYOUTRECALL: whether the client knows of no such layout.
    pub fn recalled(&mut self, file: usize, stateid: Stateid) -> bool {
        let held = &mut self.files[file];
        match &mut held.layout {
            Some(layout) if layout.stateid.other == stateid.other => {
                layout.leaving = true;
                false
            }
            // A LAYOUTGET without an answer may be what is recalled: the client says DELAY.
            _ => !held.busy && self.phase == Phase::Ready,
        }
    }

    /// CB_RECALL: whether the client knows of such a delegation. A request without an answer may
    /// bring it: then the client asks for time.
    pub fn delegation_recalled(&mut self, file: usize, stateid: Stateid) -> Option<bool> {
        let held = &mut self.files[file];
        match &mut held.delegation {
            Some(delegation) if delegation.stateid == stateid => {
                delegation.leaving = true;
                Some(true)
            }
            _ => (!held.busy).then_some(false),
        }
    }
}

fn join(one: Access, other: Access) -> Access {
    if one == other { one } else { Access::Both }
}

fn join_deny(one: Deny, other: Deny) -> Deny {
    Deny::from_bits(one as u32 | other as u32).unwrap_or(Deny::Both)
}
