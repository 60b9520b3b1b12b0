//! What a model client takes back after a restart of its server, one thing after the other.

use mds::state::Notices;

use super::Client;
use crate::{FILES, Op, Packet};

impl Client {
    /// Opens first, then the locks under them, then RECLAIM_COMPLETE.
    pub(super) fn reclaim(&mut self, slot: usize, next_id: &mut u64, net: &mut Vec<Packet>) {
        if self.files.iter().any(|held| held.busy) {
            return;
        }
        let leaving = (0..FILES).find_map(|file| {
            let held = self.files[file].delegation.filter(|held| held.leaving)?;
            Some((file, held.stateid))
        });
        if let Some((file, stateid)) = leaving {
            return self.send(slot, file, Op::DelegReturn { stateid }, next_id, net);
        }
        let next = (0..FILES).find(|file| self.files[*file].reclaim);
        let again = (0..FILES).find_map(|file| Some((file, self.files[file].redelegate?)));
        if let (None, Some((file, write))) = (next, again) {
            let op = Op::Delegate {
                write,
                reclaim: true,
                notices: Notices::NONE,
            };
            return self.send(slot, file, op, next_id, net);
        }
        let Some(file) = next else {
            return self.send(slot, 0, Op::ReclaimComplete, next_id, net);
        };
        if let Some((_, access, deny)) = self.files[file].open {
            let op = Op::Open {
                access,
                deny,
                reclaim: true,
                under: None,
            };
            self.send(slot, file, op, next_id, net);
        }
    }
}
