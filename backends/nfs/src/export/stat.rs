//! NFSv3's attributes in the words of a tree, and back. Never here: asking for them.

use backend::Nanos;
use backend::tree::{FolderChange, NodeChanges, NodeKind, NodeStat, Rights, SetTime};
use wire::nfs3::{
    ACCESS3_DELETE, ACCESS3_EXECUTE, ACCESS3_EXTEND, ACCESS3_LOOKUP, ACCESS3_MODIFY, ACCESS3_READ,
    Fattr3, Ftype3, Nfstime3, Sattr3, SetTime as SetTime3, WccAttr, WccData,
};

const SECOND: Nanos = 1_000_000_000;
/// How far a size and an mtime move the `change` beside the ctime.
const MIXED_BITS: u32 = 20;

pub(super) const ALL_RIGHTS: u32 = ACCESS3_READ
    | ACCESS3_LOOKUP
    | ACCESS3_MODIFY
    | ACCESS3_EXTEND
    | ACCESS3_DELETE
    | ACCESS3_EXECUTE;

fn nanos(time: Nfstime3) -> Nanos {
    Nanos::from(time.seconds) * SECOND + Nanos::from(time.nseconds)
}

/// Another number for each; neighbours lie far apart.
pub(super) fn scattered(value: u64) -> u64 {
    value.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Filers' clocks tick in milliseconds: what changes twice within a tick keeps its ctime. Size and
/// mtime tell some of those apart, so they are mixed in, within a millisecond. Bytes that are written
/// over within the tick of the last change are not told.
fn change_of(size: u64, mtime: Nfstime3, ctime: Nfstime3) -> u64 {
    let mixed = scattered(scattered(size) ^ nanos(mtime) as u64) >> (64 - MIXED_BITS);
    (nanos(ctime) as u64).wrapping_add(mixed)
}

fn change_before(before: &WccAttr) -> u64 {
    change_of(before.size, before.mtime, before.ctime)
}

pub(super) fn folder_change(wcc: &WccData) -> FolderChange {
    let after = wcc.after.as_ref();
    FolderChange {
        before: wcc.before.as_ref().map(change_before),
        after: after.map(|after| change_of(after.size, after.mtime, after.ctime)),
    }
}

/// `fsid` is the root's: files of a file system that is mounted inside may have the same numbers.
pub(super) fn stat_of(attributes: &Fattr3, fsid: u64) -> NodeStat {
    let kind = match attributes.ftype {
        Ftype3::Reg => NodeKind::Regular,
        Ftype3::Dir => NodeKind::Folder,
        Ftype3::Lnk => NodeKind::Symlink,
        Ftype3::Blk => NodeKind::Block,
        Ftype3::Chr => NodeKind::Character,
        Ftype3::Fifo => NodeKind::Fifo,
        Ftype3::Sock => NodeKind::Socket,
    };
    let elsewhere = if attributes.fsid == fsid {
        0
    } else {
        scattered(attributes.fsid)
    };
    NodeStat {
        kind,
        mode: attributes.mode & 0o7777,
        nlink: attributes.nlink,
        uid: attributes.uid,
        gid: attributes.gid,
        size: attributes.size,
        used: attributes.used,
        rdev: (attributes.rdev.major, attributes.rdev.minor),
        fileid: attributes.fileid ^ elsewhere,
        atime: nanos(attributes.atime),
        mtime: nanos(attributes.mtime),
        ctime: nanos(attributes.ctime),
        change: change_of(attributes.size, attributes.mtime, attributes.ctime),
    }
}

pub(super) fn rights_of(access: u32) -> Rights {
    let has = |bit| access & bit != 0;
    Rights {
        read: has(ACCESS3_READ),
        lookup: has(ACCESS3_LOOKUP),
        modify: has(ACCESS3_MODIFY),
        extend: has(ACCESS3_EXTEND),
        delete: has(ACCESS3_DELETE),
        execute: has(ACCESS3_EXECUTE),
    }
}

/// `None` for a time that NFSv3 can't say: before 1970 or after 2106.
pub(super) fn sattr_of(changes: &NodeChanges) -> Option<Sattr3> {
    let time = |time: Option<SetTime>| match time {
        None => Some(SetTime3::DontChange),
        Some(SetTime::Now) => Some(SetTime3::ToServerTime),
        Some(SetTime::At(at)) => Some(SetTime3::ToClientTime(Nfstime3 {
            seconds: u32::try_from(at.div_euclid(SECOND)).ok()?,
            nseconds: at.rem_euclid(SECOND) as u32,
        })),
    };
    Some(Sattr3 {
        mode: changes.mode,
        uid: changes.uid,
        gid: changes.gid,
        size: changes.size,
        atime: time(changes.atime)?,
        mtime: time(changes.mtime)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u32, nseconds: u32) -> Nfstime3 {
        Nfstime3 { seconds, nseconds }
    }

    #[test]
    fn an_append_within_a_tick_of_the_filers_clock_moves_the_change() {
        let tick = at(1_700_000_000, 4_000_000);
        let changes: std::collections::HashSet<u64> =
            (0..100).map(|size| change_of(size, tick, tick)).collect();
        assert_eq!(changes.len(), 100);
        let later = at(1_700_000_000, 8_000_000);
        let latest = changes.into_iter().max();
        assert!(Some(change_of(0, later, later)) > latest, "ticks rise");
    }

    #[test]
    fn what_the_filer_says_of_before_and_after_compares() {
        let before = WccAttr {
            size: 5,
            mtime: at(7, 8),
            ctime: at(9, 10),
        };
        assert_eq!(change_before(&before), change_of(5, at(7, 8), at(9, 10)));
    }

    #[test]
    fn times_that_nfsv3_cannot_say_are_none() {
        let set = |nanos| NodeChanges {
            mtime: Some(SetTime::At(nanos)),
            ..NodeChanges::default()
        };
        assert!(sattr_of(&set(-1)).is_none());
        assert!(sattr_of(&set(SECOND << 32)).is_none());
        let last = sattr_of(&set((SECOND << 32) - 1)).map(|set| set.mtime);
        let expected = SetTime3::ToClientTime(at(u32::MAX, 999_999_999));
        assert_eq!(last, Some(expected));
    }
}
