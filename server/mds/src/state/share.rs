//! Share reservations, RFC 8881 §9.7: the arithmetic of access and deny bits. Who holds them is
//! in `open`.

use super::few::Few;

/// `OPEN4_SHARE_ACCESS_*`: one of three, never none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Access {
    Read = 1,
    Write = 2,
    Both = 3,
}

impl Access {
    /// From the bits of the wire.
    pub fn from_bits(bits: u32) -> Option<Access> {
        match bits {
            1 => Some(Access::Read),
            2 => Some(Access::Write),
            3 => Some(Access::Both),
            _ => None,
        }
    }

    pub fn reads(self) -> bool {
        self != Access::Write
    }

    pub fn writes(self) -> bool {
        self != Access::Read
    }
}

/// `OPEN4_SHARE_DENY_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Deny {
    #[default]
    None = 0,
    Read = 1,
    Write = 2,
    Both = 3,
}

impl Deny {
    /// From the bits of the wire.
    pub fn from_bits(bits: u32) -> Option<Deny> {
        match bits {
            0 => Some(Deny::None),
            1 => Some(Deny::Read),
            2 => Some(Deny::Write),
            3 => Some(Deny::Both),
            _ => None,
        }
    }
}

/// A set of (access, deny) pairs, a bit for each: what §18.18.3 needs to know of earlier opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Pairs(u16);

impl Pairs {
    pub(super) fn one(access: Access, deny: Deny) -> Pairs {
        Pairs(1 << (((access as u16) - 1) * 4 + deny as u16))
    }

    pub(super) fn with(self, other: Pairs) -> Pairs {
        Pairs(self.0 | other.0)
    }

    /// The pairs with nothing beyond these bits.
    pub(super) fn within(self, bits: Bits) -> Pairs {
        let mut inside = 0;
        for place in 0..12u16 {
            let access = (place / 4 + 1) as u8;
            let deny = (place % 4) as u8;
            if access & !bits.access == 0 && deny & !bits.deny == 0 {
                inside |= 1 << place;
            }
        }
        Pairs(self.0 & inside)
    }

    pub(super) fn union(self) -> Bits {
        let mut bits = Bits::default();
        for place in 0..12u16 {
            if self.0 & (1 << place) != 0 {
                bits.access |= (place / 4 + 1) as u8;
                bits.deny |= (place % 4) as u8;
            }
        }
        bits
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bits {
    pub(super) access: u8,
    pub(super) deny: u8,
}

pub(super) const READ: u8 = 1;
pub(super) const WRITE: u8 = 2;

/// How many owners read, write, deny: conflicts are decided by these alone.
#[derive(Debug, Default)]
pub(super) struct FileOpens {
    pub(super) read: u32,
    pub(super) write: u32,
    pub(super) deny_read: u32,
    pub(super) deny_write: u32,
    /// By client and owner.
    pub(super) by_owner: Few<(u32, u32), u32>,
}

impl FileOpens {
    pub(super) fn count(&mut self, bits: Bits, add: bool) {
        let counters = [
            (bits.access & READ, &mut self.read),
            (bits.access & WRITE, &mut self.write),
            (bits.deny & READ, &mut self.deny_read),
            (bits.deny & WRITE, &mut self.deny_write),
        ];
        for (held, counter) in counters {
            if held != 0 {
                *counter = if add { *counter + 1 } else { *counter - 1 };
            }
        }
    }

    /// Whether somebody else than the one with `own` bits stands against `asked`.
    pub(super) fn conflicts(&self, own: Bits, asked: Bits) -> bool {
        let others = |counter: u32, own: u8| counter > u32::from(own != 0);
        (asked.access & READ != 0 && others(self.deny_read, own.deny & READ))
            || (asked.access & WRITE != 0 && others(self.deny_write, own.deny & WRITE))
            || (asked.deny & READ != 0 && others(self.read, own.access & READ))
            || (asked.deny & WRITE != 0 && others(self.write, own.access & WRITE))
    }
}
