//! Faults of ours as lines of the log: one for each fault, however many operations meet it.
//!
//! Never here: a client's mistakes, and what passes by itself.

use crate::server::Server;
use crate::state::Time;
use crate::status::{Blame, Refusal};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::Duration;
use wire::nfs4::{Nfsstat4, Opnum};

/// A fault that goes on is a line again after this long.
const QUIET: Duration = Duration::from_mins(1);

/// Who met a fault. With the status it says which fault it is: few of both, so that no client makes
/// the log grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Met {
    Operation(Opnum),
    Fence,
    Settle,
    Reap,
    Housekeeping,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    at: Time,
    /// Met since without a line.
    unlogged: u64,
}

#[derive(Default)]
pub(crate) struct FaultLog(Mutex<HashMap<(Met, Nfsstat4), Told>>);

impl FaultLog {
    /// Whether this is to be a line, and how many were none since the last one.
    fn meets(&self, met: Met, status: Nfsstat4, now: Time) -> Option<u64> {
        let mut told = self.0.lock();
        match told.get_mut(&(met, status)) {
            Some(known) if now.since(known.at) < QUIET => {
                known.unlogged += 1;
                None
            }
            known => {
                let unlogged = known.map_or(0, |known| known.unlogged);
                let fresh = Told {
                    at: now,
                    unlogged: 0,
                };
                told.insert((met, status), fresh);
                Some(unlogged)
            }
        }
    }
}

impl Server {
    /// Logs what is ours to mend, and gives the status.
    pub(crate) fn told(&self, operation: Opnum, refusal: &Refusal) -> Nfsstat4 {
        match refusal.blame {
            Blame::Client => {
                tracing::trace!(?operation, status = ?refusal.status, reason = %refusal.reason, "refused");
            }
            _ => self.fault(Met::Operation(operation), refusal),
        }
        refusal.status
    }

    /// One line for what is broken; nothing at the default level for what passes.
    pub(crate) fn fault(&self, met: Met, refusal: &Refusal) {
        let (status, reason) = (refusal.status, &refusal.reason);
        if refusal.blame == Blame::Nobody {
            tracing::debug!(?met, ?status, %reason, "not now");
            return;
        }
        let now = self.clock.monotonic();
        match self.faults.meets(met, status, now) {
            Some(0) => tracing::warn!(?met, ?status, %reason, "failed"),
            Some(unlogged) => {
                tracing::warn!(?met, ?status, %reason, unlogged, "still fails");
            }
            None => tracing::debug!(?met, ?status, %reason, "failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Met = Met::Operation(Opnum::Read);

    #[test]
    fn a_fault_that_goes_on_is_one_line_a_minute_which_says_how_often_it_was_met() {
        let log = FaultLog::default();
        let start = Time::ZERO.plus(Duration::from_hours(1));
        assert_eq!(log.meets(READ, Nfsstat4::Io, start), Some(0));
        for second in 0..59 {
            let now = start.plus(Duration::from_secs(second));
            assert_eq!(log.meets(READ, Nfsstat4::Io, now), None);
        }
        let later = start.plus(QUIET);
        assert_eq!(log.meets(READ, Nfsstat4::Io, later), Some(59));
    }

    #[test]
    fn another_fault_is_another_line() {
        let log = FaultLog::default();
        assert_eq!(log.meets(READ, Nfsstat4::Io, Time::ZERO), Some(0));
        assert_eq!(log.meets(READ, Nfsstat4::Serverfault, Time::ZERO), Some(0));
        assert_eq!(log.meets(Met::Fence, Nfsstat4::Io, Time::ZERO), Some(0));
    }
}
