//! The model server: requests become tasks that stop at every await, over a durable model of the
//! catalog and of the data servers. A crash keeps the durable part alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use mds::state::*;

use crate::oracle::Oracle;
use crate::{
    Answer, Check, FILES, Packet, Request, Rng, SLOTS, Sabotage, Setup, SetupAnswer, inode,
};

/// A file in the catalog, and its one object.
#[derive(Debug, Clone, Default)]
pub struct File {
    pub size: u64,
    pub epoch: u64,
    /// The boot that wrote the intent.
    pub intent: Option<u32>,
    /// A truncate on its way.
    pub order: Option<u64>,
    /// The object's.
    pub len: u64,
    /// What a restart of its data server leaves of it at least.
    pub durable: u64,
    pub generation: u32,
}

#[derive(Debug, Clone)]
pub struct Record {
    pub owner: usize,
    pub verifier: u64,
    pub reclaimable: bool,
}

#[derive(Debug)]
pub(super) enum Work {
    Start,
    Opening(OpenReservation),
    /// Bool: the write intent is durable.
    Layout(LayoutReservation, LayoutMode, bool),
    /// How far it is.
    Truncate(u8),
    /// Nobody else has a delegation any more.
    Change,
    /// Holders of the folder are told, or have given it back: a ticket.
    Entry(u64),
    /// The change by that number is durable.
    EntryChanged(u64, u64),
    Tell(DelegationId),
    /// A RECLAIM_COMPLETE whose record is on its way to disk.
    Complete,
    Recording(usize, u64, CreatedSession),
    Fence(Grant, bool),
    Lapse(ClientId, bool),
    EndGrace(Vec<u64>, bool),
    Settle(usize, bool),
    /// The object's length was asked for.
    Pad(usize, u64),
}

#[derive(Debug)]
pub(super) struct Task {
    work: Work,
    request: Option<(Request, SlotRef, ClientId)>,
    pub(super) ticket: Option<(usize, Ticket)>,
    inside: bool,
}

/// What happened how often: a history in which nothing does proves nothing.
pub type Tally = BTreeMap<&'static str, u64>;

pub struct Server {
    pub state: State,
    pub boot: u32,
    /// Starts of the data servers: their write verifier.
    pub disk: u32,
    pub files: Vec<File>,
    pub records: BTreeMap<u64, Record>,
    pub tally: Tally,
    pub(super) sabotage: Sabotage,
    tasks: Vec<Task>,
    answers: BTreeMap<u64, Answer>,
    /// Whose turn it is to lock.
    turns: Vec<LockNotice>,
    /// Changes under way, by file.
    pub(super) tickets: BTreeMap<usize, Vec<u64>>,
    /// Of the folder's entries: its change attribute.
    pub(super) entry_changes: u64,
    /// Copy-notify stateids that were read by.
    pub(super) let_through: BTreeSet<[u8; 12]>,
    pub(super) last_serial: u64,
}

/// In nanoseconds.
pub const LEASE: u64 = 900;

pub fn limits() -> Limits {
    Limits {
        lease: Duration::from_nanos(LEASE),
        grace: Duration::from_nanos(900),
        courtesy: Duration::from_micros(4),
        recall: Duration::from_nanos(250),
        lock_turn: Duration::from_nanos(200),
        delegation_recall: Duration::from_nanos(250),
        delegation_rest: Duration::from_nanos(60),
        slots: SLOTS,
        gate_queue: 4,
        copy_notifies_per_client: 2,
        notes_per_delegation: 2,
        ..Limits::default()
    }
}

fn channel() -> Channel {
    Channel {
        header_pad_bytes: 0,
        max_request_bytes: 1 << 20,
        max_response_bytes: 1 << 20,
        max_cached_bytes: 4096,
        max_operations: 16,
        max_requests: SLOTS,
    }
}

fn owner_name(owner: usize) -> Bytes {
    Bytes::from(format!("client {owner}"))
}

fn verifier_bytes(verifier: u64) -> [u8; 8] {
    verifier.to_be_bytes()
}

fn start(boot: u32, now: Time, records: &BTreeMap<u64, Record>, sabotage: Sabotage) -> State {
    let on_record = records
        .iter()
        .filter(|(_, record)| record.reclaimable || sabotage == Sabotage::RecordsAlwaysCount)
        .map(|(id, record)| RecordedClient {
            record: *id,
            owner: owner_name(record.owner),
            principal: owner_name(record.owner),
        })
        .collect();
    let boot = Boot {
        epoch: boot,
        seed: u64::from(boot),
        now,
        on_record,
    };
    State::new(limits(), boot)
}

impl Server {
    pub fn new(sabotage: Sabotage) -> Self {
        let records = BTreeMap::new();
        Server {
            state: start(1, Time::ZERO, &records, sabotage),
            boot: 1,
            disk: 1,
            files: vec![File::default(); FILES],
            records,
            tally: Tally::new(),
            sabotage,
            tickets: BTreeMap::new(),
            entry_changes: 0,
            let_through: BTreeSet::new(),
            tasks: Vec::new(),
            answers: BTreeMap::new(),
            turns: Vec::new(),
            last_serial: 0,
        }
    }

    pub fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// Whether a change of the folder, or word of one, is under way.
    pub(super) fn folder_is_busy(&self) -> bool {
        self.tasks.iter().any(|task| {
            matches!(
                task.work,
                Work::Entry(_) | Work::EntryChanged(..) | Work::Tell(_)
            )
        })
    }

    pub fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    pub fn answer(&self, request: u64) -> Option<&Answer> {
        self.answers.get(&request)
    }

    /// Crash and start: what is durable comes back, orders are replayed.
    pub fn restart(&mut self, now: Time, oracle: &mut Oracle) {
        self.count("server restarts");
        self.boot += 1;
        self.tasks.clear();
        self.turns.clear();
        oracle.crashed();
        for (file, floor) in self.files.iter_mut().zip(&mut oracle.floor) {
            if let Some(size) = file.order.take() {
                (file.len, file.durable) = (size, size);
                file.size = size;
                *floor = (*floor).min(size);
            }
        }
        self.state = start(self.boot, now, &self.records, self.sabotage);
        self.tickets.clear();
    }

    pub fn setup(
        &mut self,
        now: Time,
        client: usize,
        verifier: u64,
        call: &Setup,
        oracle: &mut Oracle,
    ) -> Option<SetupAnswer> {
        match call {
            Setup::ExchangeId => {
                let asked = ExchangeId {
                    owner: owner_name(client),
                    verifier: verifier_bytes(verifier),
                    principal: owner_name(client),
                    update: false,
                    implementation: None,
                };
                Some(match self.state.exchange_id(now, asked) {
                    Ok(known) => SetupAnswer::Known {
                        client: known.client,
                        sequence: known.sequence,
                        confirmed: known.confirmed,
                    },
                    Err(_) => SetupAnswer::Refused,
                })
            }
            Setup::CreateSession {
                client: id,
                sequence,
            } => {
                let asked = CreateSession {
                    client: *id,
                    sequence: *sequence,
                    principal: owner_name(client),
                    connection: ConnectionId(client as u64),
                    fore: channel(),
                    back: channel(),
                    back_channel: true,
                    minor: 2,
                    callback_program: 1,
                    callback_security: Bytes::new(),
                };
                let Ok(created) = self.state.create_session(now, asked) else {
                    return Some(SetupAnswer::Refused);
                };
                if let Some(dropped) = &created.dropped {
                    oracle.dropped(dropped.client, client, 0);
                }
                // A first request may still be on its way to disk: a replay records as well.
                self.push(Work::Recording(client, verifier, created), None);
                None
            }
        }
    }

    pub(super) fn push(&mut self, work: Work, request: Option<(Request, SlotRef, ClientId)>) {
        self.tasks.push(Task {
            work,
            request,
            ticket: None,
            inside: false,
        });
    }

    pub fn request(
        &mut self,
        now: Time,
        request: Request,
        oracle: &mut Oracle,
        net: &mut Vec<Packet>,
    ) -> Check {
        let asked = SequenceRequest {
            connection: request.connection,
            session: request.session,
            slot: request.slot,
            sequence: request.sequence,
            highest_slot: SLOTS - 1,
            cache_this: true,
            digest: request.id,
            request_bytes: 1000,
            operations: 4,
            reply_bytes: 84,
        };
        let client = request.client;
        let away = self.state.metrics().courtesy_clients;
        let sequenced = self.state.sequence(now, asked);
        if self.state.metrics().courtesy_clients < away {
            self.count("returns in courtesy");
        }
        match sequenced {
            Ok(Sequenced::Execute(admitted)) => {
                oracle.executes(request.id)?;
                self.push(Work::Start, Some((request, admitted.slot, admitted.client)));
            }
            Ok(Sequenced::Replay(reply)) => {
                self.count("replays");
                if reply[..] != request.id.to_be_bytes() {
                    return Err(format!(
                        "invariant 1: the retry of request {} got another's answer",
                        request.id
                    ));
                }
                if self.sabotage == Sabotage::ExecuteRetries {
                    oracle.executes(request.id)?;
                }
                net.push(Packet::Reply {
                    client,
                    id: request.id,
                });
            }
            Ok(Sequenced::Uncached(_)) => {
                return Err("invariant 1: a reply to be cached was not".into());
            }
            Err(SequenceRefusal::BadSession) => net.push(Packet::BadSession {
                client,
                id: request.id,
            }),
            Err(_) => {}
        }
        Ok(())
    }

    /// What time brings about.
    pub fn housekeeping(&mut self, now: Time, oracle: &mut Oracle, net: &mut Vec<Packet>) -> Check {
        let turns = self.state.lock_turns_due(now);
        self.tell(turns, oracle, net)?;
        // Of clients that went meanwhile.
        for file in 0..FILES {
            self.tell_waiters(now, file, oracle, net)?;
        }
        let lapsed = self.state.lapse(now);
        self.put_out(&lapsed, oracle);
        self.revoke_overdue(now, oracle);
        self.state.overdue(now);
        for grant in self.state.fences_after(None, usize::MAX) {
            let known = self
                .tasks
                .iter()
                .any(|task| matches!(task.work, Work::Fence(known, _) if known.id == grant.id));
            if !known {
                self.push(Work::Fence(grant, false), None);
            }
        }
        let ending = self
            .tasks
            .iter()
            .any(|task| matches!(task.work, Work::EndGrace(..)));
        if let Some(end) = self.state.grace_due(now)
            && !ending
        {
            self.push(Work::EndGrace(end.lapsed_records, false), None);
        }
        for file in 0..FILES {
            let known = self
                .tasks
                .iter()
                .any(|task| matches!(task.work, Work::Settle(known, _) | Work::Pad(known, _) if known == file));
            if !known
                && self.files[file].intent.is_some()
                && !self.state.has_rw_holder(inode(file), None)
            {
                self.push(Work::Settle(file, false), None);
            }
        }
        Ok(())
    }

    /// The record of each goes, and then what it held.
    pub(super) fn put_out(&mut self, lapsed: &[Lapsed], oracle: &mut Oracle) {
        for lapsed in lapsed {
            oracle.lapsed(lapsed.client);
            let known = self
                .tasks
                .iter()
                .any(|task| matches!(task.work, Work::Lapse(client, _) if client == lapsed.client));
            if !known {
                self.count("lapses");
                self.push(Work::Lapse(lapsed.client, false), None);
            }
        }
    }

    /// Something of the file was unlocked.
    pub(super) fn tell_waiters(
        &mut self,
        now: Time,
        file: usize,
        oracle: &Oracle,
        net: &mut Vec<Packet>,
    ) -> Check {
        let turns = self.state.lock_turns(now, inode(file));
        self.tell(turns, oracle, net)
    }

    fn tell(&mut self, turns: Vec<LockNotice>, oracle: &Oracle, net: &mut Vec<Packet>) -> Check {
        for turn in turns {
            self.count("turns to lock");
            let file = (turn.inode.number - 10) as usize;
            oracle.may_take_a_turn(turn.client, file)?;
            net.push(Packet::Turn {
                client: turn.client,
                file,
            });
            self.turns.push(turn);
        }
        Ok(())
    }

    /// Whether a lock of the file is kept for somebody else.
    pub(super) fn others_turn(&mut self, client: ClientId, file: usize) -> bool {
        self.turns.retain(|turn| self.state.has_lock_turn(turn));
        self.turns
            .iter()
            .any(|turn| turn.client != client && turn.inode == inode(file))
    }

    pub(super) fn enter(&mut self, task: &mut Task, file: usize, mode: GateMode) -> GateAnswer {
        let ticket = self.state.next_ticket();
        let answer = self.state.gate_request(inode(file), mode, ticket);
        if answer != GateAnswer::Full {
            task.ticket = Some((file, ticket));
            task.inside = answer == GateAnswer::Entered;
        }
        if answer == GateAnswer::Queued {
            self.count("waits at a gate");
        }
        answer
    }

    pub(super) fn leave(&mut self, task: &mut Task) {
        if let Some((file, ticket)) = task.ticket.take() {
            let woken = self.state.gate_leave(inode(file), ticket);
            for waiting in &mut self.tasks {
                if waiting
                    .ticket
                    .is_some_and(|(_, ticket)| woken.contains(&ticket))
                {
                    waiting.inside = true;
                }
            }
        }
    }

    pub(super) fn send_recalls(&mut self, orders: Vec<RecallOrder>, net: &mut Vec<Packet>) {
        for order in orders {
            self.count("recalls");
            net.push(Packet::Recall {
                client: order.client,
                file: (order.inode.number - 10) as usize,
                stateid: order.stateid,
                grant: order.grant,
            });
        }
    }

    /// One task runs to its next await.
    pub fn step(
        &mut self,
        now: Time,
        rng: &mut Rng,
        oracle: &mut Oracle,
        net: &mut Vec<Packet>,
    ) -> Check {
        if self.tasks.is_empty() {
            return Ok(());
        }
        let place = rng.below(self.tasks.len());
        if self.tasks[place].ticket.is_some() && !self.tasks[place].inside {
            return Ok(());
        }
        let mut task = self.tasks.swap_remove(place);
        let work = std::mem::replace(&mut task.work, Work::Start);
        let next = if let Some((request, slot, client)) = task.request.clone() {
            match self.serve(now, work, &mut task, &request, client, rng, oracle, net)? {
                Ok(next) => Some(next),
                Err(answer) => {
                    self.leave(&mut task);
                    self.answers.insert(request.id, answer);
                    let reply = Bytes::copy_from_slice(&request.id.to_be_bytes());
                    self.state.complete(now, slot, reply);
                    net.push(Packet::Reply {
                        client: request.client,
                        id: request.id,
                    });
                    None
                }
            }
        } else {
            let next = match work {
                Work::Tell(holder) => self.tell_holder(now, holder, rng, oracle, net)?,
                work => self.work(work, &mut task, oracle, net),
            };
            if next.is_none() {
                self.leave(&mut task);
            }
            next
        };
        if let Some(work) = next {
            task.work = work;
            self.tasks.push(task);
        }
        Ok(())
    }

    pub fn forgotten(&mut self, boot: u32, grant: GrantId) {
        if boot == self.boot {
            self.count("forgotten layouts");
            self.state.recall_forgotten(grant);
        }
    }

    /// What excludes writers is given once those who lost the right to write are fenced.
    pub(super) fn no_writer_lingers(&self, client: ClientId, file: usize) -> Check {
        let mut fences = self.state.fences_of(inode(file)).into_iter();
        match fences.find(|grant| grant.write && grant.client != client) {
            Some(grant) => Err(format!(
                "invariant 5: {client:?} got file {file} before {:?} was fenced",
                grant.client
            )),
            None => Ok(()),
        }
    }

    /// What is visible of every file, after each step.
    pub fn check_sizes(&self, oracle: &Oracle) -> Check {
        for (number, file) in self.files.iter().enumerate() {
            // While a truncate cuts, it is alone with the file.
            if file.order.is_none() && file.size > file.len {
                return Err(format!(
                    "invariant 6 and 8: file {number} shows {} bytes of {}",
                    file.size, file.len
                ));
            }
            if file.size < oracle.floor[number] {
                return Err(format!(
                    "invariant 6 and 9: file {number} shows {} bytes, {} were committed",
                    file.size, oracle.floor[number]
                ));
            }
        }
        Ok(())
    }
}
