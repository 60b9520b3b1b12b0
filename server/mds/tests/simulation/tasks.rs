//! The model server's longer work, step by step: truncate, fence, settle, lapse, the end of grace.

use mds::state::*;

use crate::oracle::Oracle;
use crate::server::{Record, Server, Task, Work};
use crate::{Answer, Packet, Refused, Sabotage, SetupAnswer, inode};

impl Server {
    #[expect(clippy::too_many_arguments, reason = "a step sees the whole world")]
    pub(super) fn truncate(
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
                if task.ticket.is_none() && !self.before_change(now, file, client, net) {
                    return Err(Answer::Refused(Refused::Later));
                }
                if task.ticket.is_none() && self.sabotage != Sabotage::SkipGate {
                    match self.enter(task, file, GateMode::Exclusive) {
                        GateAnswer::Entered => {}
                        GateAnswer::Queued => return Ok(Work::Truncate(0)),
                        GateAnswer::Full => {
                            self.after_change(file);
                            return Err(Answer::Refused(Refused::Later));
                        }
                    }
                }
                let orders = self
                    .state
                    .recall(now, inode(file), RecallWhat::All, Some(client));
                self.send_recalls(orders, net);
            }
            1 => {
                let waits = self.state.recalls_pending(inode(file), Some(client))
                    || self.state.writer_lingers(inode(file), Some(client));
                if waits {
                    return Ok(Work::Truncate(1));
                }
            }
            2 => {
                self.files[file].order = Some(size);
                self.files[file].epoch += 1;
            }
            3 => {
                self.set_len(file, size);
                oracle.floor[file] = oracle.floor[file].min(size);
            }
            _ => {
                self.count("truncates");
                self.after_change(file);
                self.files[file].order = None;
                self.files[file].size = size;
                return Err(Answer::Done);
            }
        }
        Ok(Work::Truncate(done + 1))
    }

    /// One step of what nobody asked for.
    pub(super) fn work(
        &mut self,
        work: Work,
        task: &mut Task,
        oracle: &mut Oracle,
        net: &mut Vec<Packet>,
    ) -> Option<Work> {
        match work {
            Work::Recording(owner, verifier, created) => {
                let known = self
                    .state
                    .client_record(created.client)
                    .filter(|known| known.confirmed)?;
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
            Work::Lapse(client, false) => {
                if self.sabotage != Sabotage::KeepRecords {
                    self.records.remove(&client.0);
                }
                Some(Work::Lapse(client, true))
            }
            Work::Lapse(client, true) => {
                let known = self.state.client_record(client)?;
                let owner = String::from_utf8_lossy(&known.owner).replace("client ", "");
                let owner = owner.parse().unwrap_or(usize::MAX);
                oracle.dropped(client, owner, u64::from_be_bytes(known.verifier));
                self.state.drop_client(client);
                None
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
            Work::Settle(file, true) => Some(Work::Pad(file, self.files[file].len)),
            Work::Pad(file, seen) => {
                self.count("settles");
                self.show(file, seen);
                self.files[file].intent = None;
                None
            }
            _ => None,
        }
    }
}
