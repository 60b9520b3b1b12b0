//! Copy-notify stateids in the model: given by a client to another server, which reads by them whenever it likes,
//! also when they were called off, have ended, or what they came of is gone.

use std::time::Duration;

use mds::state::*;

use crate::oracle::Oracle;
use crate::server::{LEASE, Server};
use crate::{Answer, Check, Refused, Sabotage, inode};

impl Server {
    pub(super) fn copy_notify(
        &mut self,
        now: Time,
        (client, file): (ClientId, usize),
        of: Stateid,
        oracle: &mut Oracle,
    ) -> Answer {
        match self.state.copy_notify(now, client, of, inode(file)) {
            Ok(notify) => {
                self.count("copy-notify stateids");
                oracle.lent(now, (client, file), of, notify);
                Answer::Stateid(notify)
            }
            Err(CopyNotifyRefusal::OpenMode) => Answer::Refused(Refused::Denied),
            Err(CopyNotifyRefusal::Stateid(_)) => Answer::Refused(Refused::Stateid),
            Err(CopyNotifyRefusal::TooMany) => {
                self.count("copy-notify stateids too many");
                Answer::Refused(Refused::Later)
            }
        }
    }

    pub(super) fn call_off(
        &mut self,
        now: Time,
        client: ClientId,
        notify: Stateid,
        oracle: &mut Oracle,
    ) -> Result<Answer, String> {
        let called_off = self.state.copy_notify_cancel(client, notify).is_ok();
        if called_off {
            self.count("copy-notify stateids called off");
        }
        oracle.called_off(now, notify, called_off)?;
        Ok(Answer::Done)
    }

    /// A READ by another server.
    pub fn partner_read(
        &mut self,
        now: Time,
        file: usize,
        notify: Stateid,
        oracle: &mut Oracle,
    ) -> Check {
        let believed =
            self.sabotage == Sabotage::PartnersReadOn && self.let_through.contains(&notify.other);
        let judged = self.state.copy_notify_read(now, notify, inode(file));
        let reads = believed || judged.is_some_and(|judged| judged.is_ok());
        if reads {
            self.let_through.insert(notify.other);
            self.count("reads by another server");
        } else {
            self.count("reads refused to another server");
        }
        oracle.partner_read(now, file, notify, reads)
    }
}

/// A right to read that a client has lent.
#[derive(Debug, Clone, Copy)]
pub struct Lent {
    client: ClientId,
    file: usize,
    /// The open or delegation that it came of.
    of: [u8; 12],
    ends: Time,
}

impl Lent {
    pub fn is_of(&self, client: ClientId) -> bool {
        self.client == client
    }

    fn until(now: Time) -> Time {
        now.plus(Duration::from_nanos(LEASE))
    }
}

impl Oracle {
    fn lent(&mut self, now: Time, (client, file): (ClientId, usize), of: Stateid, notify: Stateid) {
        let of = if self.delegations.contains_key(&of.other) {
            of.other
        } else {
            // A lock lasts as long as the open behind it.
            self.open_of(client, file).unwrap_or(of.other)
        };
        let lent = Lent {
            client,
            file,
            of,
            ends: Lent::until(now),
        };
        self.lent.insert(notify.other, lent);
    }

    fn called_off(&mut self, now: Time, notify: Stateid, called_off: bool) -> Check {
        let known = self.lent.get(&notify.other);
        let owed = known.is_some_and(|lent| lent.ends > now && !self.has_lapsed(lent.client));
        if owed && !called_off {
            return Err(format!("invariant 2: {known:?} can't be called off"));
        }
        if called_off {
            self.lent.remove(&notify.other);
        }
        Ok(())
    }

    fn partner_read(&mut self, now: Time, file: usize, notify: Stateid, reads: bool) -> Check {
        let known = self.lent.get(&notify.other).copied();
        let may = known.is_some_and(|lent| {
            lent.file == file
                && lent.ends > now
                && !self.has_lapsed(lent.client)
                && self.lets_read(lent.of)
        });
        if reads != may {
            return Err(format!(
                "invariant 2: another server reads file {file}: {reads}, by {known:?}, which it may: {may}"
            ));
        }
        if let Some(lent) = self.lent.get_mut(&notify.other)
            && reads
        {
            lent.ends = Lent::until(now);
        }
        Ok(())
    }
}
