//! What of a file's placement a given client may hold as a layout, and how many bytes that takes.
//! Fact 1: Linux asks with a `maxcount` of 4096 and goes through the metadata server when it doesn't fit.
//!
//! Never here: the encoding itself, credentials.

use crate::{Capability, Extent, ExtentState, Mirror};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    ReadWrite,
}

/// Why a client reaches a range of the file through the metadata server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoOffer {
    #[error("no object is bound yet")]
    Unbound,
    #[error("the file is striped and the client's kernel refuses stripes")]
    Stripes,
    #[error("the client's kernel mixes up several extents")]
    ManyExtents,
    #[error("the extent is being moved or repaired")]
    Frozen,
    #[error("no copy is up to date")]
    Stale,
    #[error("the layout takes {0} bytes, more than the client allows")]
    TooLarge(usize),
}

/// One extent as one client may hold it.
#[derive(Debug, Clone)]
pub struct Grant<'a> {
    pub offset: u64,
    /// `u64::MAX`: to the end of the file.
    pub length: u64,
    pub stripe_unit: u32,
    pub mirrors: Vec<&'a Mirror>,
}

/// The extent that holds `offset`, whole: exact small ranges cause a storm of LAYOUTGETs (fact 6).
pub fn grant(
    extents: &[Extent],
    offset: u64,
    access: Access,
    capability: Capability,
    result_limit_bytes: usize,
) -> Result<Grant<'_>, NoOffer> {
    let index = extents
        .iter()
        .position(|extent| {
            extent.offset <= offset && (offset < extent.end() || extent.length == u64::MAX)
        })
        .ok_or(NoOffer::Unbound)?;
    let extent = &extents[index];
    if index > 0 && !capability.many_extents {
        return Err(NoOffer::ManyExtents);
    }
    match extent.state {
        ExtentState::Unbound => return Err(NoOffer::Unbound),
        ExtentState::Frozen if access == Access::ReadWrite => return Err(NoOffer::Frozen),
        ExtentState::Frozen | ExtentState::Bound => {}
    }
    if extent.stripe_count() > 1 && !capability.stripes {
        return Err(NoOffer::Stripes);
    }
    let mut mirrors: Vec<&Mirror> = extent
        .mirrors
        .iter()
        .filter(|mirror| !mirror.stale)
        .collect();
    if mirrors.is_empty() {
        return Err(NoOffer::Stale);
    }
    // A reader can do with fewer copies; a writer must know them all.
    while access == Access::Read && mirrors.len() > 1 && result_bytes(&mirrors) > result_limit_bytes
    {
        mirrors.pop();
    }
    let bytes = result_bytes(&mirrors);
    if bytes > result_limit_bytes {
        return Err(NoOffer::TooLarge(bytes));
    }
    Ok(Grant {
        offset: extent.offset,
        length: extent.length,
        stripe_unit: extent.stripe_unit,
        mirrors,
    })
}

/// Largest XDR size of a uid or gid as a decimal string.
const ID_STRING_BYTES: usize = 4 + 12;
/// LAYOUTGET4resok around the body of one layout4: return-on-close, stateid, count; then offset,
/// length, iomode, type, length of the body.
const RESULT_AROUND_BYTES: usize = 4 + 16 + 4 + 8 + 8 + 4 + 4 + 4;
/// ff_layout4 around its mirrors: stripe unit, count; flags, stats hint.
const BODY_AROUND_BYTES: usize = 8 + 4 + 4 + 4;

/// ff_data_server4 with one filehandle: device id, efficiency, stateid, count and length of handles, names.
pub fn data_server_bytes(handle_bytes: usize) -> usize {
    16 + 4 + 16 + 4 + 4 + handle_bytes.next_multiple_of(4) + 2 * ID_STRING_BYTES
}

/// An upper bound, exact but for the length of the decimal ids, of a LAYOUTGET4resok with one extent.
pub fn result_bytes(mirrors: &[&Mirror]) -> usize {
    let mirrors: usize = mirrors
        .iter()
        .map(|mirror| {
            4 + mirror
                .stripes
                .iter()
                .map(|o| data_server_bytes(o.handle.len()))
                .sum::<usize>()
        })
        .sum();
    RESULT_AROUND_BYTES + BODY_AROUND_BYTES + mirrors
}

/// How many data servers (copies × stripes) fit, whatever their filehandles: the limit of placement.
pub fn most_objects(copies: usize, result_limit_bytes: usize) -> usize {
    let around = RESULT_AROUND_BYTES + BODY_AROUND_BYTES + 4 * copies;
    result_limit_bytes.saturating_sub(around) / data_server_bytes(crate::HANDLE_LIMIT_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataServerId, ObjectId, ObjectRef, Owner};
    use bytes::Bytes;

    const NEW: Capability = Capability {
        stripes: true,
        many_extents: true,
    };
    const OLD: Capability = Capability {
        stripes: false,
        many_extents: false,
    };

    fn mirror(stripes: u32, handle_bytes: usize) -> Mirror {
        let object = |server| ObjectRef {
            server: DataServerId(server),
            object: ObjectId(1),
            handle: Bytes::from(vec![1; handle_bytes]),
            owner: Owner { uid: 1, gid: 1 },
            generation: 0,
        };
        Mirror {
            stripes: (0..stripes).map(object).collect(),
            stale: false,
        }
    }

    #[test]
    fn fact_9_a_striped_file_is_no_layout_for_an_old_kernel() {
        let file = [Extent::bound(1 << 20, vec![mirror(2, 32)])];
        assert_eq!(
            grant(&file, 0, Access::Read, OLD, 4096).err(),
            Some(NoOffer::Stripes)
        );
        let grant = grant(&file, 0, Access::Read, NEW, 4096).expect("a new kernel stripes");
        assert_eq!(
            (grant.offset, grant.length, grant.stripe_unit),
            (0, u64::MAX, 1 << 20)
        );
    }

    #[test]
    fn fact_31_an_old_kernel_gets_the_first_extent_alone() {
        let mut first = Extent::bound(0, vec![mirror(1, 32)]);
        first.length = 1 << 30;
        let mut second = Extent::bound(0, vec![mirror(1, 32)]);
        second.offset = 1 << 30;
        let file = [first, second];
        assert!(grant(&file, 5, Access::ReadWrite, OLD, 4096).is_ok());
        assert_eq!(
            grant(&file, 1 << 30, Access::ReadWrite, OLD, 4096).err(),
            Some(NoOffer::ManyExtents)
        );
        assert!(grant(&file, 1 << 30, Access::ReadWrite, NEW, 4096).is_ok());
    }

    #[test]
    fn a_layout_that_does_not_fit_is_told_by_its_size() {
        let file = [Extent::bound(1 << 20, vec![mirror(32, 64)])];
        assert!(matches!(
            grant(&file, 0, Access::ReadWrite, NEW, 4096).err(),
            Some(NoOffer::TooLarge(_))
        ));
        let mirrors = [Extent::bound(1 << 20, vec![mirror(16, 64), mirror(16, 64)])];
        let fewer = grant(&mirrors, 0, Access::Read, NEW, 4096).expect("one copy fits");
        assert_eq!(fewer.mirrors.len(), 1);
        assert!(grant(&mirrors, 0, Access::ReadWrite, NEW, 4096).is_err());
    }

    #[test]
    fn fact_1_as_many_objects_as_placement_may_choose_fit_4096_bytes() {
        for copies in 1..4 {
            let stripes = most_objects(copies, 4096) / copies;
            let mirrors: Vec<Mirror> = (0..copies).map(|_| mirror(stripes as u32, 64)).collect();
            assert!(result_bytes(&mirrors.iter().collect::<Vec<_>>()) <= 4096);
            assert!(stripes * copies >= 24);
        }
    }

    #[test]
    fn nobody_writes_to_an_extent_under_repair() {
        let mut extent = Extent::bound(0, vec![mirror(1, 32)]);
        extent.state = ExtentState::Frozen;
        let file = [extent];
        assert_eq!(
            grant(&file, 0, Access::ReadWrite, NEW, 4096).err(),
            Some(NoOffer::Frozen)
        );
        assert!(grant(&file, 0, Access::Read, NEW, 4096).is_ok());
    }
}
