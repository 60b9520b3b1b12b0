//! The model server: requests become tasks that stop at every await, over a durable model of the
//! catalog and of the data servers. A crash keeps the durable part alone.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use mds::state::*;

use crate::oracle::Oracle;
use crate::{Answer, Check, FILES, Op, Packet, Refused, Request, Rng, SLOTS, Sabotage, Setup, SetupAnswer, inode};

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
    pub generation: u32,
}

#[derive(Debug, Clone)]
pub struct Record {
    pub owner: usize,
    pub verifier: u64,
    pub reclaimable: bool,
}

#[derive(Debug)]
enum Work {
    Start,
    Opening(OpenReservation),
    /// Bool: the write intent is durable.
    Layout(LayoutReservation, LayoutMode, bool),
    /// How far it is.
    Truncate(u8),
    /// A RECLAIM_COMPLETE whose record is on its way to disk.
    Complete,
    Recording(usize, u64, CreatedSession),
    Fence(Grant, bool),
    Lapse(ClientId, bool),
    EndGrace(Vec<u64>, bool),
    Settle(usize, bool),
}

#[derive(Debug)]
struct Task {
    work: Work,
    request: Option<(Request, SlotRef, ClientId)>,
    ticket: Option<(usize, Ticket)>,
    inside: bool,
}

/// What happened how often: a history in which nothing does proves nothing.
pub type Tally = BTreeMap<&'static str, u64>;

pub struct Server {
    pub state: State,
    pub boot: u32,
    pub files: Vec<File>,
    pub records: BTreeMap<u64, Record>,
    pub tally: Tally,
    sabotage: Sabotage,
    tasks: Vec<Task>,
    answers: BTreeMap<u64, Answer>,
    last_serial: u64,
}

pub fn limits() -> Limits {
    Limits {
        lease: Duration::from_nanos(900),
        grace: Duration::from_nanos(900),
        recall: Duration::from_nanos(250),
        slots: SLOTS,
        gate_queue: 4,
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
            files: vec![File::default(); FILES],
            records,
            tally: Tally::new(),
            sabotage,
            tasks: Vec::new(),
            answers: BTreeMap::new(),
            last_serial: 0,
        }
    }

    pub fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
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
        oracle.crashed();
        for (file, floor) in self.files.iter_mut().zip(&mut oracle.floor) {
            if let Some(size) = file.order.take() {
                file.len = size;
                file.size = size;
                *floor = (*floor).min(size);
            }
        }
        self.state = start(self.boot, now, &self.records, self.sabotage);
    }

    pub fn setup(&mut self, now: Time, client: usize, verifier: u64, call: &Setup, oracle: &mut Oracle) -> Option<SetupAnswer> {
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
            Setup::CreateSession { client: id, sequence } => {
                let asked = CreateSession {
                    client: *id,
                    sequence: *sequence,
                    principal: owner_name(client),
                    connection: ConnectionId(client as u64),
                    fore: channel(),
                    back: channel(),
                    back_channel: true,
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

    fn push(&mut self, work: Work, request: Option<(Request, SlotRef, ClientId)>) {
        self.tasks.push(Task {
            work,
            request,
            ticket: None,
            inside: false,
        });
    }

    pub fn request(&mut self, now: Time, request: Request, oracle: &mut Oracle, net: &mut Vec<Packet>) -> Check {
        let asked = SequenceRequest {
            connection: request.connection,
            session: request.session,
            slot: request.slot,
            sequence: request.sequence,
            highest_slot: SLOTS - 1,
            cache_this: true,
            digest: request.id,
        };
        let client = request.client;
        match self.state.sequence(now, asked) {
            Ok(Sequenced::Execute(admitted)) => {
                oracle.executes(request.id)?;
                self.push(Work::Start, Some((request, admitted.slot, admitted.client)));
            }
            Ok(Sequenced::Replay(reply)) => {
                self.count("replays");
                if reply[..] != request.id.to_be_bytes() {
                    return Err(format!("invariant 1: the retry of request {} got another's answer", request.id));
                }
                if self.sabotage == Sabotage::ExecuteRetries {
                    oracle.executes(request.id)?;
                }
                net.push(Packet::Reply { client, id: request.id });
            }
            Ok(Sequenced::Uncached(_)) => return Err("invariant 1: a reply to be cached was not".into()),
            Err(SequenceRefusal::BadSession) => net.push(Packet::BadSession { client, id: request.id }),
            Err(_) => {}
        }
        Ok(())
    }

    /// What time brings about.
    pub fn housekeeping(&mut self, now: Time, oracle: &mut Oracle) {
        for lapsed in self.state.lapse(now) {
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
        self.state.overdue(now);
        for grant in self.state.fences() {
            let known = self
                .tasks
                .iter()
                .any(|task| matches!(task.work, Work::Fence(known, _) if known.id == grant.id));
            if !known {
                self.push(Work::Fence(grant, false), None);
            }
        }
        let ending = self.tasks.iter().any(|task| matches!(task.work, Work::EndGrace(..)));
        if let Some(end) = self.state.grace_due(now)
            && !ending
        {
            self.push(Work::EndGrace(end.lapsed_records, false), None);
        }
        for file in 0..FILES {
            let known = self
                .tasks
                .iter()
                .any(|task| matches!(task.work, Work::Settle(known, _) if known == file));
            if !known && self.files[file].intent.is_some() && !self.state.has_rw_holder(inode(file), None) {
                self.push(Work::Settle(file, false), None);
            }
        }
    }

    fn enter(&mut self, task: &mut Task, file: usize, mode: GateMode) -> GateAnswer {
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

    fn leave(&mut self, task: &mut Task) {
        if let Some((file, ticket)) = task.ticket.take() {
            let woken = self.state.gate_leave(inode(file), ticket);
            for waiting in &mut self.tasks {
                if waiting.ticket.is_some_and(|(_, ticket)| woken.contains(&ticket)) {
                    waiting.inside = true;
                }
            }
        }
    }

    fn send_recalls(&mut self, orders: Vec<RecallOrder>, net: &mut Vec<Packet>) {
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
    pub fn step(&mut self, now: Time, rng: &mut Rng, oracle: &mut Oracle, net: &mut Vec<Packet>) -> Check {
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
            let next = self.work(work, &mut task, oracle, net);
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

    /// One step of an operation: what comes next, or the answer.
    #[expect(clippy::too_many_arguments, reason = "a step sees the whole world")]
    fn serve(
        &mut self,
        now: Time,
        work: Work,
        task: &mut Task,
        request: &Request,
        client: ClientId,
        rng: &mut Rng,
        oracle: &mut Oracle,
        net: &mut Vec<Packet>,
    ) -> Result<Result<Work, Answer>, String> {
        let file = request.file;
        let id = inode(file);
        let refused = |why| Ok(Err(Answer::Refused(why)));
        match (work, &request.op) {
            (Work::Start, Op::Open { access, deny, reclaim }) => {
                if task.ticket.is_none() {
                    match self.enter(task, file, GateMode::Shared) {
                        GateAnswer::Entered => {}
                        GateAnswer::Queued => return Ok(Ok(Work::Start)),
                        GateAnswer::Full => return refused(Refused::Later),
                    }
                }
                let asked = OpenRequest {
                    client,
                    owner: Bytes::from_static(b"owner"),
                    inode: id,
                    access: *access,
                    deny: *deny,
                    reclaim: *reclaim,
                };
                match self.state.open_reserve(asked) {
                    Ok(reservation) => Ok(Ok(Work::Opening(reservation))),
                    Err(OpenRefusal::ShareDenied) if *reclaim => {
                        Err(format!("invariant 7: a reclaim of file {file} met a conflicting open"))
                    }
                    Err(OpenRefusal::ShareDenied) => {
                        self.count("denied opens");
                        refused(Refused::Denied)
                    }
                    Err(OpenRefusal::Grace(GraceRefusal::NoGrace | GraceRefusal::NotOnRecord)) => refused(Refused::Reclaim),
                    Err(_) => refused(Refused::Later),
                }
            }
            (Work::Opening(reservation), Op::Open { reclaim, .. }) => {
                if rng.percent(10) {
                    self.state.open_rollback(reservation);
                    return refused(Refused::Later);
                }
                let Ok(stateid) = self.state.open_confirm(reservation) else {
                    return refused(Refused::Stateid);
                };
                oracle.opened(&self.state, client, file, stateid)?;
                if *reclaim {
                    self.count("reclaims");
                    let verifier = self.records.get(&client.0).map_or(0, |record| record.verifier);
                    oracle.reclaimed(request.client, verifier)?;
                }
                if self.state.in_grace() != *reclaim {
                    return Err("invariant 7: grace admitted what it must not".into());
                }
                Ok(Err(Answer::Stateid(stateid)))
            }
            (_, Op::Close { stateid }) => match self.state.close(client, *stateid, id) {
                Ok(_) => {
                    oracle.closed(client, *stateid);
                    Ok(Err(Answer::Done))
                }
                Err(CloseRefusal::Stateid(_)) => refused(Refused::Stateid),
                Err(_) => refused(Refused::Later),
            },
            (_, Op::Lock { open, lock, range, kind, reclaim }) => {
                let who = match lock {
                    Some(lock) => Locker::Existing { lock: *lock },
                    None => Locker::New {
                        open: *open,
                        owner: Bytes::from_static(b"locker"),
                    },
                };
                let asked = LockRequest {
                    client,
                    inode: id,
                    range: *range,
                    kind: *kind,
                    reclaim: *reclaim,
                    who,
                };
                match self.state.lock(asked) {
                    Ok(stateid) => {
                        oracle.locked(client, file, *range, Some(*kind))?;
                        Ok(Err(Answer::Stateid(stateid)))
                    }
                    Err(LockRefusal::Denied(_)) => {
                        self.count("denied locks");
                        oracle.lock_denied(client, file, *range, *kind)?;
                        refused(Refused::Denied)
                    }
                    Err(LockRefusal::Stateid(_)) => refused(Refused::Stateid),
                    Err(LockRefusal::OpenMode) => refused(Refused::Denied),
                    Err(LockRefusal::Grace(GraceRefusal::NoGrace | GraceRefusal::NotOnRecord)) => refused(Refused::Reclaim),
                    Err(_) => refused(Refused::Later),
                }
            }
            (_, Op::Unlock { lock, range }) => match self.state.unlock(client, *lock, id, *range) {
                Ok(stateid) => {
                    oracle.locked(client, file, *range, None)?;
                    Ok(Err(Answer::Stateid(stateid)))
                }
                Err(_) => refused(Refused::Stateid),
            },
            (Work::Start, Op::LayoutGet { stateid, mode }) => {
                let asked = LayoutRequest {
                    client,
                    inode: id,
                    stateid: *stateid,
                    mode: *mode,
                    size_epoch: self.files[file].epoch,
                    servers: &[layout::DataServerId(1)],
                    tag: 0,
                };
                match self.state.layout_reserve(&asked) {
                    Ok(reservation) => Ok(Ok(Work::Layout(reservation, *mode, false))),
                    Err(LayoutRefusal::Stateid(_)) => refused(Refused::Stateid),
                    Err(LayoutRefusal::OpenMode) => refused(Refused::Denied),
                    Err(_) => refused(Refused::Later),
                }
            }
            (Work::Layout(reservation, mode, false), _) => {
                if mode == LayoutMode::Write && self.sabotage != Sabotage::ForgetIntents {
                    self.files[file].intent = Some(self.boot);
                }
                Ok(Ok(Work::Layout(reservation, mode, true)))
            }
            (Work::Layout(reservation, mode, true), _) => {
                let Ok(stateid) = self.state.layout_confirm(reservation) else {
                    self.count("layouts recalled on their way");
                    return refused(Refused::Later);
                };
                let former = self.files[file].intent.is_some_and(|boot| boot < self.boot);
                if self.state.in_grace() || former {
                    return Err(format!("invariant 7: a layout of file {file} before it had settled"));
                }
                self.count("layouts");
                self.last_serial += 1;
                oracle.issued(self.last_serial, client, file, self.boot);
                Ok(Err(Answer::Layout {
                    stateid,
                    write: mode == LayoutMode::Write,
                    generation: self.files[file].generation,
                    serial: self.last_serial,
                }))
            }
            (_, Op::LayoutCommit { stateid, end }) => {
                let Ok(grant) = self.state.layout_of(client, *stateid) else {
                    return refused(Refused::Stateid);
                };
                let target = &mut self.files[file];
                if grant.size_epoch == target.epoch || self.sabotage == Sabotage::BelieveStaleCommits {
                    target.size = target.size.max(*end);
                    oracle.floor[file] = oracle.floor[file].max(*end);
                } else {
                    self.count("stale commits");
                }
                Ok(Err(Answer::Done))
            }
            (_, Op::LayoutReturn { stateid }) => match self.state.layout_return(client, id, *stateid, ReturnMode::Any) {
                Ok(_) => Ok(Err(Answer::Done)),
                Err(_) => refused(Refused::Stateid),
            },
            (work, Op::Truncate { size }) => Ok(self.truncate(now, &work, *size, task, file, client, oracle, net)),
            (Work::Start, Op::ReclaimComplete) => match self.state.reclaim_complete(client) {
                Ok(()) => Ok(Ok(Work::Complete)),
                Err(_) => Ok(Err(Answer::Done)),
            },
            (_, Op::ReclaimComplete) => {
                if self.state.client_record(client).is_some_and(|known| known.confirmed) {
                    let verifier = self.state.client_record(client).map_or([0; 8], |known| known.verifier);
                    let record = Record {
                        owner: request.client,
                        verifier: u64::from_be_bytes(verifier),
                        reclaimable: true,
                    };
                    oracle.begins_anew(record.owner, record.verifier);
                    self.records.insert(client.0, record);
                }
                Ok(Err(Answer::Done))
            }
            (_, Op::Renew) => Ok(Err(Answer::Done)),
            (work, op) => Err(format!("the model is wrong: {work:?} for {op:?}")),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a step sees the whole world")]
    fn truncate(
        &mut self,
        now: Time,
        work: &Work,
        size: u64,
        task: &mut Task,
        file: usize,
        client: ClientId,
        oracle: &mut Oracle,
        net: &mut Vec<Packet>,
    ) -> Result<Work, Answer> {
        let done = match work {
            Work::Truncate(done) => *done,
            _ => 0,
        };
        match done {
            0 => {
                // Grace: who else may write is not known yet.
                if self.state.in_grace() {
                    return Err(Answer::Refused(Refused::Later));
                }
                if task.ticket.is_none() && self.sabotage != Sabotage::SkipGate {
                    match self.enter(task, file, GateMode::Exclusive) {
                        GateAnswer::Entered => {}
                        GateAnswer::Queued => return Ok(Work::Truncate(0)),
                        GateAnswer::Full => return Err(Answer::Refused(Refused::Later)),
                    }
                }
                let orders = self.state.recall(now, inode(file), RecallWhat::All, Some(client));
                self.send_recalls(orders, net);
            }
            1 => {
                if self.state.recalls_pending(inode(file), Some(client)) {
                    return Ok(Work::Truncate(1));
                }
            }
            2 => {
                self.files[file].order = Some(size);
                self.files[file].epoch += 1;
            }
            3 => {
                self.files[file].len = size;
                oracle.floor[file] = oracle.floor[file].min(size);
            }
            _ => {
                self.count("truncates");
                self.files[file].order = None;
                self.files[file].size = size;
                return Err(Answer::Done);
            }
        }
        Ok(Work::Truncate(done + 1))
    }

    /// One step of what nobody asked for.
    fn work(&mut self, work: Work, task: &mut Task, oracle: &mut Oracle, net: &mut Vec<Packet>) -> Option<Work> {
        match work {
            Work::Recording(owner, verifier, created) => {
                let known = self.state.client_record(created.client).filter(|known| known.confirmed)?;
                if created.confirmed_now {
                    for former in &created.supersedes {
                        self.records.remove(former);
                    }
                    let record = Record {
                        owner,
                        verifier,
                        reclaimable: known.reclaimable,
                    };
                    self.records.insert(created.client.0, record);
                }
                net.push(Packet::SetupAnswer {
                    client: owner,
                    verifier,
                    answer: SetupAnswer::Session {
                        client: created.client,
                        session: created.session,
                    },
                });
                None
            }
            Work::Fence(grant, false) => {
                let file = (grant.inode.number - 10) as usize;
                if grant.write && self.sabotage != Sabotage::FenceInNameOnly {
                    self.files[file].generation += 1;
                }
                Some(Work::Fence(grant, true))
            }
            Work::Fence(grant, true) => {
                self.count("fences");
                if grant.write {
                    oracle.fenced(grant.client, (grant.inode.number - 10) as usize);
                }
                self.state.fenced(grant.id);
                None
            }
            Work::Lapse(client, half) => {
                let drops_first = self.sabotage == Sabotage::DropBeforeRecord;
                if half ^ drops_first {
                    let known = self.state.client_record(client)?;
                    let owner = String::from_utf8_lossy(&known.owner).replace("client ", "");
                    let owner = owner.parse().unwrap_or(usize::MAX);
                    oracle.dropped(client, owner, u64::from_be_bytes(known.verifier));
                    self.state.drop_client(client);
                } else {
                    self.records.remove(&client.0);
                }
                (!half).then_some(Work::Lapse(client, true))
            }
            Work::EndGrace(records, false) => {
                for id in &records {
                    if let Some(record) = self.records.remove(id) {
                        oracle.dropped(ClientId(u64::MAX), record.owner, record.verifier);
                    }
                }
                Some(Work::EndGrace(records, true))
            }
            Work::EndGrace(records, true) => {
                let unsettled = self
                    .files
                    .iter()
                    .any(|file| file.intent.is_some_and(|boot| boot < self.boot));
                if unsettled {
                    return Some(Work::EndGrace(records, true));
                }
                self.state.end_grace();
                None
            }
            Work::Settle(file, false) => {
                if task.ticket.is_none() {
                    match self.enter(task, file, GateMode::Exclusive) {
                        GateAnswer::Entered => {}
                        GateAnswer::Queued => return Some(Work::Settle(file, false)),
                        GateAnswer::Full => return None,
                    }
                }
                if self.state.has_rw_holder(inode(file), None) {
                    return None;
                }
                if self.files[file].intent.is_some_and(|boot| boot < self.boot) {
                    self.files[file].generation += 1;
                    oracle.fenced_before(file, self.boot);
                }
                Some(Work::Settle(file, true))
            }
            Work::Settle(file, true) => {
                self.count("settles");
                self.files[file].size = self.files[file].len;
                self.files[file].intent = None;
                None
            }
            _ => None,
        }
    }

    /// A client's WRITE reaches the data server.
    pub fn write(&mut self, file: usize, generation: u32, serial: u64, end: u64, oracle: &Oracle) -> Result<bool, String> {
        let target = &mut self.files[file];
        if generation != target.generation {
            self.count("writes refused by a fence");
            return Ok(false);
        }
        oracle.written(serial)?;
        target.len = target.len.max(end);
        Ok(true)
    }

    pub fn forgotten(&mut self, boot: u32, grant: GrantId) {
        if boot == self.boot {
            self.count("forgotten layouts");
            self.state.recall_forgotten(grant);
        }
    }

    /// What is visible of every file, after each step.
    pub fn check_sizes(&self, oracle: &Oracle) -> Check {
        for (number, file) in self.files.iter().enumerate() {
            // While a truncate cuts, it is alone with the file.
            if file.order.is_none() && file.size > file.len {
                return Err(format!("invariant 6 and 8: file {number} shows {} bytes of {}", file.size, file.len));
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
