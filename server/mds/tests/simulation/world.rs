//! The world of one seed: who does something next, and what the network does to messages.

use std::fmt::Write as _;
use std::time::Duration;

use mds::state::Time;

use crate::client::Client;
use crate::oracle::Oracle;
use crate::server::{Server, Tally};
use crate::{CLIENTS, Check, Packet, Rng, Sabotage};

pub struct World {
    rng: Rng,
    now: Time,
    server: Server,
    clients: Vec<Client>,
    net: Vec<Packet>,
    oracle: Oracle,
    last_request: u64,
}

impl World {
    pub fn new(seed: u64, sabotage: Sabotage) -> Self {
        World {
            rng: Rng(seed),
            now: Time::ZERO,
            server: Server::new(sabotage),
            clients: (0..CLIENTS).map(Client::new).collect(),
            net: Vec::new(),
            oracle: Oracle::new(),
            last_request: 0,
        }
    }

    pub fn step(&mut self) -> Check {
        self.now = self.now.plus(Duration::from_nanos(self.rng.next() % 3));
        match self.rng.below(100) {
            0..45 => self.deliver()?,
            45..72 => self
                .server
                .step(self.now, &mut self.rng, &mut self.oracle, &mut self.net)?,
            72..96 => {
                let client = self.rng.below(CLIENTS);
                if self.clients[client].asleep_until <= self.now {
                    self.clients[client].act(&mut self.rng, &mut self.last_request, &mut self.net);
                }
            }
            96..99 => {
                self.server
                    .housekeeping(self.now, &mut self.oracle, &mut self.net)?;
            }
            _ => self.chaos(),
        }
        self.check()
    }

    fn check(&mut self) -> Check {
        self.server.check_sizes(&self.oracle)?;
        self.server.check_word(&self.oracle)?;
        self.oracle
            .check_a_stateid(&self.server.state, &mut self.rng)
    }

    /// What goes wrong now and then.
    fn chaos(&mut self) {
        let client = self.rng.below(CLIENTS);
        if self.rng.per_mille(40) {
            self.server.restart(self.now, &mut self.oracle);
        }
        if self.rng.per_mille(80) {
            self.server.restart_disk(&mut self.rng);
        }
        if self.rng.per_mille(30) {
            self.server.count("client restarts");
            self.clients[client].restart();
        }
        if self.rng.per_mille(120) {
            let longest = [300, 1500, 3000][self.rng.below(3)];
            let sleep = Duration::from_nanos(self.rng.next() % longest);
            self.clients[client].asleep_until = self.now.plus(sleep);
        }
        if self.rng.percent(10) {
            self.clients[client].reconnect();
        }
    }

    /// One message of any age arrives, or is lost, or arrives and comes again.
    fn deliver(&mut self) -> Check {
        if self.net.is_empty() {
            return Ok(());
        }
        let place = self.rng.below(self.net.len());
        let packet = self.net.swap_remove(place);
        let fate = self.rng.below(100);
        let to_data_server = matches!(
            packet,
            Packet::Write { .. }
                | Packet::Written { .. }
                | Packet::Sync { .. }
                | Packet::Synced { .. }
                | Packet::Forgotten { .. }
                | Packet::Disowned { .. }
        );
        if fate < 5 {
            self.lose(&packet);
            return Ok(());
        }
        if fate < 10 && !to_data_server {
            self.net.push(packet.clone());
        }
        self.arrive(packet)
    }

    /// A lost data server message ends the write at the client as an error.
    fn lose(&mut self, packet: &Packet) {
        if let Packet::Write {
            client,
            verifier,
            file,
            serial,
            end,
            ..
        }
        | Packet::Written {
            client,
            verifier,
            file,
            serial,
            end,
            ..
        } = packet
            && self.clients[*client].is_this(*verifier)
        {
            self.clients[*client].wrote(*file, *serial, *end, None);
        }
        if let Packet::Sync {
            client,
            verifier,
            file,
            serial,
            ..
        }
        | Packet::Synced {
            client,
            verifier,
            file,
            serial,
            ..
        } = packet
            && self.clients[*client].is_this(*verifier)
        {
            self.clients[*client].not_synced(*file, *serial);
        }
    }

    fn arrive(&mut self, packet: Packet) -> Check {
        match packet {
            Packet::Setup {
                client,
                verifier,
                call,
            } => {
                let answer = self
                    .server
                    .setup(self.now, client, verifier, &call, &mut self.oracle);
                self.net.extend(answer.map(|answer| Packet::SetupAnswer {
                    client,
                    verifier,
                    answer,
                }));
            }
            Packet::SetupAnswer {
                client,
                verifier,
                answer,
            } => {
                if self.clients[client].is_this(verifier) {
                    self.clients[client].set_up(&answer);
                }
            }
            Packet::Request(request) => {
                self.server
                    .request(self.now, request, &mut self.oracle, &mut self.net)?;
            }
            Packet::Reply { client, id } => {
                if let Some(answer) = self.server.answer(id) {
                    self.clients[client].answered(id, answer);
                }
            }
            Packet::BadSession { client, id } => self.clients[client].bad_session(id),
            Packet::Recall {
                client,
                file,
                stateid,
                grant,
            } => {
                let holder = self.clients.iter_mut().find(|holder| holder.is(client));
                if holder.is_some_and(|holder| {
                    holder.asleep_until <= self.now && holder.recalled(file, stateid)
                }) {
                    let boot = self.server.boot;
                    self.net.push(Packet::Forgotten { boot, grant });
                }
            }
            Packet::Turn { client, file } => {
                if let Some(waiter) = self.clients.iter_mut().find(|waiter| waiter.is(client)) {
                    waiter.called_to_lock(file);
                }
            }
            Packet::RecallDelegation {
                client,
                file,
                delegation,
            } => {
                let holder = self.clients.iter_mut().find(|holder| holder.is(client));
                let Some(holder) = holder.filter(|holder| holder.asleep_until <= self.now) else {
                    return Ok(());
                };
                match holder.delegation_recalled(file, delegation.stateid) {
                    Some(true) => {}
                    Some(false) => {
                        let boot = self.server.boot;
                        self.net.push(Packet::Disowned { boot, delegation });
                    }
                    // Asked again, as long as there is something to ask for.
                    None if self.server.state.is_delegated(delegation.id) => {
                        self.net.push(Packet::RecallDelegation {
                            client,
                            file,
                            delegation,
                        });
                    }
                    None => {}
                }
            }
            Packet::PartnerRead { file, stateid } => {
                self.server
                    .partner_read(self.now, file, stateid, &mut self.oracle)?;
            }
            Packet::Disowned { boot, delegation } => {
                self.server.disowned(boot, &delegation, &mut self.oracle);
            }
            Packet::Forgotten { boot, grant } => self.server.forgotten(boot, grant),
            Packet::Write {
                client,
                verifier,
                file,
                generation,
                serial,
                end,
            } => {
                let disk = self
                    .server
                    .write(file, generation, serial, end, &self.oracle)?;
                self.net.push(Packet::Written {
                    client,
                    verifier,
                    file,
                    serial,
                    end,
                    disk,
                });
            }
            Packet::Written {
                client,
                verifier,
                file,
                serial,
                end,
                disk,
            } => {
                if self.clients[client].is_this(verifier) {
                    self.clients[client].wrote(file, serial, end, disk);
                }
            }
            Packet::Sync {
                client,
                verifier,
                file,
                generation,
                serial,
                end,
            } => {
                let disk = self.server.sync(file, generation);
                self.net.push(Packet::Synced {
                    client,
                    verifier,
                    file,
                    serial,
                    end,
                    disk,
                });
            }
            Packet::Synced {
                client,
                verifier,
                file,
                serial,
                end,
                disk,
            } => {
                let writer = &mut self.clients[client];
                if writer.is_this(verifier) && writer.synced(file, serial, end, disk) {
                    self.server.count("writes to be sent again");
                }
            }
        }
        Ok(())
    }

    /// Every client falls silent for good: leases run out, everything is fenced and settled, and
    /// nothing may be left, in memory or between what is shown and what is stored.
    pub fn wind_down(&mut self) -> Check {
        self.net
            .retain(|packet| matches!(packet, Packet::Write { .. }));
        while let Some(packet) = self.net.pop() {
            if matches!(packet, Packet::Write { .. }) {
                self.arrive(packet)?;
            }
        }
        for _ in 0..20_000 {
            self.now = self.now.plus(Duration::from_nanos(5));
            self.server
                .housekeeping(self.now, &mut self.oracle, &mut self.net)?;
            self.server
                .step(self.now, &mut self.rng, &mut self.oracle, &mut self.net)?;
            self.check()?;
            let left = self.server.state.metrics();
            let settled = self.server.files.iter().all(|file| file.intent.is_none());
            if settled
                && self.server.is_idle()
                && left.clients + left.fences == 0
                && !self.server.state.in_grace()
            {
                break;
            }
        }
        let left = self.server.state.metrics();
        if left != mds::state::Metrics::default() || !self.server.is_idle() {
            return Err(format!(
                "something is left behind when everybody has gone: {left:?}"
            ));
        }
        for (number, file) in self.server.files.iter().enumerate() {
            if file.size != file.len || file.intent.is_some() {
                return Err(format!(
                    "invariant 6: file {number} shows {} bytes for good, {} were written",
                    file.size, file.len
                ));
            }
        }
        Ok(())
    }

    /// What must have happened for the checks to mean anything.
    pub fn tally(&self) -> Tally {
        let mut tally: Tally = [
            "replays",
            "lapses",
            "recalls",
            "fences",
            "settles",
            "truncates",
            "layouts",
            "layouts recalled on their way",
            "stale commits",
            "denied opens",
            "denied locks",
            "turns to lock",
            "clients put out for others",
            "returns in courtesy",
            "reclaims",
            "delegations",
            "delegations reclaimed",
            "delegation recalls",
            "disowned delegations",
            "revocations",
            "revoked delegations freed",
            "opens taken over from a delegation",
            "changes",
            "changes of entries",
            "changes told",
            "holders with too much to be told",
            "word of changes lost",
            "folders asked back",
            "copy-notify stateids",
            "copy-notify stateids called off",
            "copy-notify stateids too many",
            "reads by another server",
            "reads refused to another server",
            "waits at a gate",
            "writes refused by a fence",
            "forgotten layouts",
            "commits",
            "unstable writes lost",
            "writes to be sent again",
            "data server restarts",
            "server restarts",
            "client restarts",
        ]
        .map(|what| (what, 0))
        .into();
        tally.extend(self.server.tally.clone());
        tally
    }

    pub fn summary(&self) -> String {
        let mut summary = format!(
            "{:?} {:?} {:?}",
            self.now,
            self.server.state.metrics(),
            self.server.files
        );
        for (what, count) in self.tally() {
            let _ = write!(summary, " {what}:{count}");
        }
        summary
    }
}
