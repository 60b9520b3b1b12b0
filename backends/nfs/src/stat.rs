//! NFSv3 attributes as what is known of an object. Never here: asking for them.

use backend::{Nanos, ObjectStat};
use layout::Owner;
use wire::nfs3::{Fattr3, Nfstime3};

fn nanos(time: Nfstime3) -> Nanos {
    Nanos::from(time.seconds) * 1_000_000_000 + Nanos::from(time.nseconds)
}

pub(crate) fn stat_of(attributes: &Fattr3) -> ObjectStat {
    ObjectStat {
        owner: Owner {
            uid: attributes.uid,
            gid: attributes.gid,
        },
        size: attributes.size,
        used: attributes.used,
        mtime: nanos(attributes.mtime),
        ctime: nanos(attributes.ctime),
        atime: nanos(attributes.atime),
    }
}
