//! The model server's operations, from await to await: the smallest that use the state right.

use bytes::Bytes;
use mds::state::*;

use crate::oracle::Oracle;
use crate::server::{Record, Server, Task, Work};
use crate::{Answer, Op, Packet, Refused, Request, Rng, Sabotage, inode};

impl Server {
    /// One step of an operation: what comes next, or the answer.
    #[expect(clippy::too_many_arguments, reason = "a step sees the whole world")]
    pub(super) fn serve(
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
            (
                Work::Start,
                Op::Open {
                    access,
                    deny,
                    reclaim,
                    under,
                },
            ) => {
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
                    under: *under,
                };
                match self.state.open_reserve(asked.clone()) {
                    Ok(reservation) => {
                        if *reclaim && let Some(known) = self.state.client_record(client) {
                            oracle.reclaimed(request.client, u64::from_be_bytes(known.verifier))?;
                        }
                        Ok(Ok(Work::Opening(reservation)))
                    }
                    Err(OpenRefusal::ReclaimConflict) => Err(format!(
                        "invariant 7: a reclaim of file {file} met a conflicting open"
                    )),
                    Err(OpenRefusal::ShareDenied) => {
                        let gone = self.state.make_way_for_open(&asked);
                        if !gone.is_empty() {
                            self.count("clients put out for others");
                            self.put_out(&gone, oracle);
                            return Ok(Ok(Work::Start));
                        }
                        self.count("denied opens");
                        refused(Refused::Denied)
                    }
                    Err(OpenRefusal::Delegated(touch)) => {
                        self.recall_delegations(now, file, touch, client, net);
                        refused(Refused::Later)
                    }
                    Err(OpenRefusal::Stateid(_)) => refused(Refused::Stateid),
                    Err(OpenRefusal::Grace(GraceRefusal::NoGrace | GraceRefusal::NotOnRecord)) => {
                        refused(Refused::Reclaim)
                    }
                    Err(_) => refused(Refused::Later),
                }
            }
            (Work::Opening(reservation), Op::Open { reclaim, under, .. }) => {
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
                }
                // A reclaim that was reserved in grace may be confirmed after: it has excluded
                // others all the while.
                if under.is_some() {
                    self.count("opens taken over from a delegation");
                }
                if self.state.in_grace() && !reclaim && under.is_none() {
                    return Err("invariant 7: grace admitted what it must not".into());
                }
                Ok(Err(Answer::Stateid(stateid)))
            }
            (_, Op::Close { stateid }) => match self.state.close(client, *stateid, id) {
                Ok(_) => {
                    oracle.closed(client, *stateid);
                    self.tell_waiters(now, file, oracle, net)?;
                    Ok(Err(Answer::Done))
                }
                Err(CloseRefusal::Stateid(_)) => refused(Refused::Stateid),
                Err(_) => refused(Refused::Later),
            },
            (
                _,
                Op::Lock {
                    open,
                    lock,
                    range,
                    kind,
                    wait,
                },
            ) => {
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
                    reclaim: false,
                    wait: wait.then_some(0),
                    who,
                };
                match self.state.lock(now, asked) {
                    Ok(stateid) => {
                        self.no_writer_lingers(client, file)?;
                        oracle.locked(client, file, *range, Some(*kind))?;
                        self.tell_waiters(now, file, oracle, net)?;
                        Ok(Err(Answer::Stateid(stateid)))
                    }
                    Err(LockRefusal::Denied(denied)) => {
                        let gone = self.state.make_way_for_lock(denied.client);
                        if !gone.is_empty() {
                            self.count("clients put out for others");
                            self.put_out(&gone, oracle);
                            return Ok(Ok(Work::Start));
                        }
                        self.count("denied locks");
                        if !self.others_turn(client, file) {
                            oracle.lock_denied(client, file, *range, *kind)?;
                        }
                        refused(Refused::Denied)
                    }
                    Err(LockRefusal::Stateid(_)) => refused(Refused::Stateid),
                    Err(LockRefusal::OpenMode) => refused(Refused::Denied),
                    Err(LockRefusal::Grace(GraceRefusal::NoGrace | GraceRefusal::NotOnRecord)) => {
                        refused(Refused::Reclaim)
                    }
                    Err(_) => refused(Refused::Later),
                }
            }
            (_, Op::Unlock { lock, range }) => match self.state.unlock(client, *lock, id, *range) {
                Ok(stateid) => {
                    oracle.locked(client, file, *range, None)?;
                    self.tell_waiters(now, file, oracle, net)?;
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
                    return Err(format!(
                        "invariant 7: a layout of file {file} before it had settled"
                    ));
                }
                self.no_writer_lingers(client, file)?;
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
                if self.sabotage == Sabotage::BelieveStaleCommits {
                    let target = &mut self.files[file];
                    target.size = target.size.max(*end);
                    oracle.floor[file] = oracle.floor[file].max(*end);
                } else if grant.size_epoch == self.files[file].epoch {
                    // What the object says counts; what the client committed must be in it.
                    self.show(file, self.files[file].len);
                    oracle.floor[file] = oracle.floor[file].max(*end);
                } else {
                    self.count("stale commits");
                }
                Ok(Err(Answer::Done))
            }
            (_, Op::LayoutReturn { stateid }) => {
                match self
                    .state
                    .layout_return(client, id, *stateid, ReturnMode::Any, Span::WHOLE)
                {
                    Ok(_) => Ok(Err(Answer::Done)),
                    Err(_) => refused(Refused::Stateid),
                }
            }
            (work, Op::Truncate { size }) => {
                Ok(self.truncate(now, &work, *size, task, file, client, oracle, net))
            }
            (
                _,
                Op::Delegate {
                    write,
                    reclaim,
                    notices,
                },
            ) => {
                let who = (client, file);
                let given = self.give_delegation(now, who, *write, *reclaim, *notices, oracle)?;
                Ok(Err(given))
            }
            (_, Op::DelegReturn { stateid }) => Ok(Err(self.return_delegation(
                (client, file),
                *stateid,
                oracle,
            ))),
            (_, Op::CopyNotify { stateid }) => {
                Ok(Err(self.copy_notify(now, (client, file), *stateid, oracle)))
            }
            (_, Op::CallOff { stateid }) => Ok(Err(self.call_off(now, client, *stateid, oracle)?)),
            (work, Op::ChangeEntry { added }) => {
                self.change_entry(now, &work, (client, *added), oracle, net)
            }
            (work, Op::Change) => self.change(now, &work, (client, file), oracle, net),
            (Work::Start, Op::ReclaimComplete) => match self.state.reclaim_complete(client) {
                Ok(()) => Ok(Ok(Work::Complete)),
                Err(ReclaimCompleteRefusal::AlreadyComplete) => Ok(Err(Answer::Done)),
                Err(_) => refused(Refused::Later),
            },
            (_, Op::ReclaimComplete) => {
                if self
                    .state
                    .client_record(client)
                    .is_some_and(|known| known.confirmed)
                {
                    let verifier = self
                        .state
                        .client_record(client)
                        .map_or([0; 8], |known| known.verifier);
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
}
