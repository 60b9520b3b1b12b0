//! The placement record of a file.

use bytes::Bytes;
use std::fmt;

/// Largest NFSv3 filehandle (RFC 1813 §2.4).
pub const HANDLE_LIMIT_BYTES: usize = 64;

/// Number of a data server in the catalog: given once, never reused, unlike its name or address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DataServerId(pub u32);

/// Name of a data object, unique over all data servers and for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(pub u128);

/// 32 hexadecimal digits: the object's file name on a data server.
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Upper half of the ids of files that a server had before it became a data server. No other object's
/// id begins with this bit alone: those are counted from the first start on, and trials' are all ones.
const FOUND: u64 = 1 << 63;

impl ObjectId {
    /// The object that a file is which was there before: `fileid` is the server's own number of it.
    pub fn found(server: DataServerId, fileid: u64) -> Self {
        Self(u128::from(FOUND | u64::from(server.0)) << 64 | u128::from(fileid))
    }

    /// Whether it is a file that was there before, under names of its own.
    pub fn is_found(self) -> bool {
        ((self.0 >> 64) as u64) & !u64::from(u32::MAX) == FOUND
    }

    /// The inverse of `Display`; anything else than 32 hexadecimal digits is `None`.
    pub fn parse(name: &str) -> Option<Self> {
        let digits = name.len() == 32
            && name
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        digits
            .then(|| u128::from_str_radix(name, 16).ok().map(Self))
            .flatten()
    }
}

/// The synthetic owner that a data server checks (RFC 8435 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// What the owner of a file that was there before lets layouts do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsFound {
    /// Everybody may read it.
    Open,
    Closed,
}

impl Owner {
    /// In the place of the owner that a file had before it became an object: a fence gives it one that
    /// layouts can carry. No range of ids has these two (RFC 8435 §2.2 asks for ids of nobody).
    pub fn as_found(found: AsFound, gid: u32) -> Self {
        let uid = match found {
            AsFound::Open => 0,
            AsFound::Closed => u32::MAX,
        };
        Self { uid, gid }
    }

    /// `None`: the owner is one of ours.
    pub fn found(self) -> Option<AsFound> {
        match self.uid {
            0 => Some(AsFound::Open),
            u32::MAX => Some(AsFound::Closed),
            _ => None,
        }
    }
}

/// One data object: one stripe of one mirror of one extent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRef {
    pub server: DataServerId,
    pub object: ObjectId,
    /// NFSv3 filehandle on that data server, at most 64 bytes.
    pub handle: Bytes,
    /// Who may write it now. A fence gives it another.
    pub owner: Owner,
    /// Raised by each fence.
    pub generation: u32,
}

/// A whole copy of an extent, over one or more stripes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    pub stripes: Vec<ObjectRef>,
    /// Durable mark: this copy misses writes and serves no reader.
    pub stale: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtentState {
    /// No object yet: bound by the first LAYOUTGET or proxy write.
    Unbound,
    Bound,
    /// Being moved or repaired: no new write grants.
    Frozen,
}

/// A range of a file and where it lies. Coarse: today one covers the whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    pub offset: u64,
    /// `u64::MAX`: to the end of the file.
    pub length: u64,
    /// Bytes; a power of two. 0 where a mirror has one stripe (RFC 8435 §5.1).
    pub stripe_unit: u32,
    pub mirrors: Vec<Mirror>,
    pub state: ExtentState,
}

/// What makes an extent unfit to be used or stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    #[error("the stripe unit {0} is not a power of two of at least 4096 bytes")]
    StripeUnit(u32),
    #[error("one stripe goes with the stripe unit 0, not {0}")]
    UnitOfOneStripe(u32),
    #[error("{0} stripes: some kernels need a power of two past 4 GiB")]
    StripeCount(usize),
    #[error("the mirrors have different numbers of stripes")]
    UnequalMirrors,
    #[error("a bound extent has no object")]
    NoObject,
    #[error("an unbound extent has objects")]
    ObjectsOfUnbound,
    #[error("a filehandle has {0} bytes, more than 64")]
    Handle(usize),
    #[error("the extent ends past the largest offset")]
    Range,
}

impl Extent {
    /// The whole file, no object yet.
    pub fn unbound() -> Self {
        Self {
            offset: 0,
            length: u64::MAX,
            stripe_unit: 0,
            mirrors: Vec::new(),
            state: ExtentState::Unbound,
        }
    }

    /// The whole file on these copies.
    pub fn bound(stripe_unit: u32, mirrors: Vec<Mirror>) -> Self {
        let striped = mirrors.iter().any(|mirror| mirror.stripes.len() > 1);
        Self {
            offset: 0,
            length: u64::MAX,
            stripe_unit: if striped { stripe_unit } else { 0 },
            mirrors,
            state: ExtentState::Bound,
        }
    }

    /// First offset past it; `u64::MAX` for the last extent of a file.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    pub fn is_bound(&self) -> bool {
        self.state != ExtentState::Unbound
    }

    /// Stripes of each mirror; 0 while unbound.
    pub fn stripe_count(&self) -> usize {
        self.mirrors
            .first()
            .map_or(0, |mirror| mirror.stripes.len())
    }

    /// Every object, stale copies included.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectRef> {
        self.mirrors.iter().flat_map(|mirror| &mirror.stripes)
    }

    pub fn objects_mut(&mut self) -> impl Iterator<Item = &mut ObjectRef> {
        self.mirrors
            .iter_mut()
            .flat_map(|mirror| &mut mirror.stripes)
    }

    /// Says whether geometry and the encoding of layouts can rely on this record.
    pub fn check(&self) -> Result<(), Unsound> {
        if self.length != u64::MAX && self.offset.checked_add(self.length).is_none() {
            return Err(Unsound::Range);
        }
        let count = self.stripe_count();
        match (self.is_bound(), self.mirrors.is_empty()) {
            (true, true) => return Err(Unsound::NoObject),
            (false, false) => return Err(Unsound::ObjectsOfUnbound),
            (false, true) => return Ok(()),
            (true, false) => {}
        }
        if count == 0 {
            return Err(Unsound::NoObject);
        }
        if self
            .mirrors
            .iter()
            .any(|mirror| mirror.stripes.len() != count)
        {
            return Err(Unsound::UnequalMirrors);
        }
        if count == 1 && self.stripe_unit != 0 {
            return Err(Unsound::UnitOfOneStripe(self.stripe_unit));
        }
        if count > 1 && !(self.stripe_unit.is_power_of_two() && self.stripe_unit >= 4096) {
            return Err(Unsound::StripeUnit(self.stripe_unit));
        }
        if !count.is_power_of_two() {
            return Err(Unsound::StripeCount(count));
        }
        if let Some(object) = self
            .objects()
            .find(|object| object.handle.len() > HANDLE_LIMIT_BYTES)
        {
            return Err(Unsound::Handle(object.handle.len()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_there_is_told_from_objects_and_trials() {
        let found = ObjectId::found(DataServerId(u32::MAX), u64::MAX);
        assert!(found.is_found());
        assert_ne!(found, ObjectId::found(DataServerId(1), u64::MAX));
        assert!(!ObjectId(u128::MAX << 64).is_found(), "a trial");
        assert!(!ObjectId(u128::from(1_u64 << 40) << 64 | 7).is_found());
    }

    #[test]
    fn an_owner_that_was_found_is_told_from_one_of_a_range() {
        for found in [AsFound::Open, AsFound::Closed] {
            assert_eq!(Owner::as_found(found, 7).found(), Some(found));
        }
        assert_eq!(
            Owner {
                uid: 70_001,
                gid: 0
            }
            .found(),
            None
        );
    }
}
