//! What a model client does with another server that copies for it, and with a folder.

use mds::state::*;

use super::Client;
use crate::folder::EVERY_NOTICE;
use crate::{FILES, FOLDER, Op, Packet, Rng};

impl Client {
    /// Lends the right to read a file, or takes it back.
    pub(super) fn lend(&self, file: usize, rng: &mut Rng) -> Option<Op> {
        let held = &self.files[file];
        if let Some(stateid) = held.lent
            && rng.percent(60)
        {
            return Some(Op::CallOff { stateid });
        }
        let open = held.open.map(|(stateid, ..)| stateid);
        let delegation = held.delegation.map(|held| held.stateid);
        let stateid = if rng.percent(30) {
            delegation.or(open)?
        } else {
            held.lock.or(open)?
        };
        Some(Op::CopyNotify { stateid })
    }

    /// The other server reads by the last one that it was given, whatever has become of that; sometimes another file.
    pub(super) fn partner(&self, file: usize, rng: &mut Rng) -> Option<Packet> {
        let stateid = self.files[file].lent?;
        let file = if rng.percent(5) {
            rng.below(FILES)
        } else {
            file
        };
        Some(Packet::PartnerRead { file, stateid })
    }

    pub(super) fn in_the_folder(&self, rng: &mut Rng) -> Op {
        match self.files[FOLDER].delegation {
            Some(held) if held.leaving || rng.percent(3) => Op::DelegReturn {
                stateid: held.stateid,
            },
            None if rng.percent(40) => Op::Delegate {
                write: false,
                reclaim: false,
                notices: if rng.percent(75) {
                    EVERY_NOTICE
                } else {
                    Notices::NONE
                },
            },
            _ => Op::ChangeEntry {
                added: rng.percent(50),
            },
        }
    }
}
