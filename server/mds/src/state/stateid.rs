//! Stateids, RFC 8881 §8.2: what they are made of and how a client's copy is judged.
//! What a stateid stands for is in `open`, `lock`, `grant` and `delegation`.

/// `stateid4`. `other` is ours: the boot's epoch, kind and index, generation, each 4 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stateid {
    pub seqid: u32,
    pub other: [u8; 12],
}

/// The stateids with a meaning of their own (§8.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialStateid {
    /// All zeros: no state, share reservations are honoured.
    Anonymous,
    /// All ones: a READ that passes by locks.
    ReadBypass,
    /// The compound's current stateid. `ops` replaces it before the state sees it.
    Current,
    /// Never valid.
    Invalid,
}

/// Why a stateid is not honoured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateidRefusal {
    #[error("the stateid names nothing, or something of another client or file")]
    Bad,
    #[error("the stateid has been superseded by a later seqid")]
    Old,
    #[error("the stateid is of an earlier start of this server")]
    Stale,
    #[error("the client's lease ran out, and all its state with it")]
    Expired,
    #[error("the layout was not returned in time and is being fenced")]
    Revoked,
    #[error("the delegation was not returned in time")]
    DelegationRevoked,
}

/// What a stateid may stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StateKind {
    Open = 1,
    Lock = 2,
    Layout = 3,
    Offload = 5,
    CopyNotify = 6,
    Delegation = 4,
}

/// The parts of a stateid of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) kind: StateKind,
    pub(super) index: u32,
    pub(super) generation: u32,
}

const INDEX_BITS: u32 = 28;

impl Stateid {
    pub const ANONYMOUS: Stateid = Stateid {
        seqid: 0,
        other: [0; 12],
    };
    pub const READ_BYPASS: Stateid = Stateid {
        seqid: u32::MAX,
        other: [0xff; 12],
    };
    pub const CURRENT: Stateid = Stateid {
        seqid: 1,
        other: [0; 12],
    };
    pub const INVALID: Stateid = Stateid {
        seqid: u32::MAX,
        other: [0; 12],
    };

    /// Which special stateid this is. An `other` of zeros or ones with any further seqid is not
    /// special, and not of ours either.
    pub fn special(&self) -> Option<SpecialStateid> {
        match *self {
            Stateid::ANONYMOUS => Some(SpecialStateid::Anonymous),
            Stateid::READ_BYPASS => Some(SpecialStateid::ReadBypass),
            Stateid::CURRENT => Some(SpecialStateid::Current),
            Stateid::INVALID => Some(SpecialStateid::Invalid),
            _ => None,
        }
    }

    /// Whether this `other`, of one that was given out, names a layout.
    pub(super) fn is_of_layout(other: [u8; 12]) -> bool {
        u32::from(other[4]) >> (INDEX_BITS - 24) == StateKind::Layout as u32
    }

    pub(super) fn compose(epoch: u32, parts: Parts, seqid: u32) -> Self {
        let mut other = [0; 12];
        other[..4].copy_from_slice(&epoch.to_be_bytes());
        let place = ((parts.kind as u32) << INDEX_BITS) | parts.index;
        other[4..8].copy_from_slice(&place.to_be_bytes());
        other[8..].copy_from_slice(&parts.generation.to_be_bytes());
        Stateid { seqid, other }
    }

    pub(super) fn parts(&self, epoch: u32) -> Result<Parts, StateidRefusal> {
        let word = |at: usize| {
            u32::from_be_bytes([
                self.other[at],
                self.other[at + 1],
                self.other[at + 2],
                self.other[at + 3],
            ])
        };
        if self.other == [0; 12] || self.other == [0xff; 12] {
            return Err(StateidRefusal::Bad);
        }
        let boot = word(0);
        if boot != epoch {
            // Epochs only rise: one of the future was never given out.
            return Err(if boot < epoch && boot != 0 {
                StateidRefusal::Stale
            } else {
                StateidRefusal::Bad
            });
        }
        let place = word(4);
        let kind = match place >> INDEX_BITS {
            1 => StateKind::Open,
            2 => StateKind::Lock,
            3 => StateKind::Layout,
            5 => StateKind::Offload,
            6 => StateKind::CopyNotify,
            4 => StateKind::Delegation,
            _ => return Err(StateidRefusal::Bad),
        };
        Ok(Parts {
            kind,
            index: place & ((1 << INDEX_BITS) - 1),
            generation: word(8),
        })
    }
}

/// The next seqid: never zero, which in a request means "the latest" (§8.2.2).
pub(super) fn next_seqid(seqid: u32) -> u32 {
    match seqid.wrapping_add(1) {
        0 => 1,
        next => next,
    }
}

/// Judges a client's seqid against the current one; zero asks for the latest (§8.2.2).
pub(super) fn check_seqid(given: u32, current: u32) -> Result<(), StateidRefusal> {
    if given == 0 || given == current {
        Ok(())
    } else if is_earlier(given, current) {
        Err(StateidRefusal::Old)
    } else {
        Err(StateidRefusal::Bad)
    }
}

/// Whether `given` came before `current`, over the wrap.
pub(super) fn is_earlier(given: u32, current: u32) -> bool {
    current.wrapping_sub(given).wrapping_sub(1) < u32::MAX / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: Parts = Parts {
        kind: StateKind::Lock,
        index: 0x0abc_def0,
        generation: 77,
    };

    #[test]
    fn a_stateid_gives_back_what_it_was_made_of() {
        let stateid = Stateid::compose(9, PARTS, 3);
        assert_eq!(stateid.parts(9), Ok(PARTS));
    }

    #[test]
    fn a_stateid_of_an_earlier_boot_is_stale_and_of_a_later_one_bad() {
        let stateid = Stateid::compose(9, PARTS, 3);
        assert_eq!(stateid.parts(10), Err(StateidRefusal::Stale));
        assert_eq!(stateid.parts(8), Err(StateidRefusal::Bad));
    }

    #[test]
    fn special_stateids_are_told_apart_by_their_seqid() {
        assert_eq!(Stateid::CURRENT.special(), Some(SpecialStateid::Current));
        assert_eq!(
            Stateid::ANONYMOUS.special(),
            Some(SpecialStateid::Anonymous)
        );
        let odd = Stateid {
            seqid: 2,
            other: [0; 12],
        };
        assert_eq!(odd.special(), None);
        assert_eq!(odd.parts(1), Err(StateidRefusal::Bad));
    }

    #[test]
    fn an_old_seqid_is_old_and_a_future_one_bad_over_the_wrap_too() {
        assert_eq!(check_seqid(0, 5), Ok(()));
        assert_eq!(check_seqid(5, 5), Ok(()));
        assert_eq!(check_seqid(4, 5), Err(StateidRefusal::Old));
        assert_eq!(check_seqid(6, 5), Err(StateidRefusal::Bad));
        assert_eq!(next_seqid(u32::MAX), 1);
        assert_eq!(check_seqid(u32::MAX, 1), Err(StateidRefusal::Old));
        assert_eq!(check_seqid(1, u32::MAX), Err(StateidRefusal::Bad));
    }
}
