//! What NFSv3 tells of a file and can set of it, and GETATTR, SETATTR and ACCESS: RFC 1813 §2.6, §3.3.1, §3.3.2,
//! §3.3.4.

use super::call::{Call, ask};
use super::status;
use crate::identity::number;
use crate::ops;
use bytes::Bytes;
use catalog::{Inode, Timestamp};
use wire::nfs3::*;
use wire::nfs4::{
    self, Access4Args, ArgOp, Attr, Attributes, Bitmap4, Fattr4, Ftype4, Nfsstat4, Nfstime4,
    Setattr4Args, Settime4, Stateid4,
};

const MODE_BITS: u32 = 0o7777;

/// What makes up a `fattr3`, and the change by which NFSv4 tells more exactly.
const ASKED: [Attr; 14] = [
    Attr::Type,
    Attr::Change,
    Attr::Size,
    Attr::Fsid,
    Attr::Fileid,
    Attr::Mode,
    Attr::Numlinks,
    Attr::Owner,
    Attr::OwnerGroup,
    Attr::Rawdev,
    Attr::SpaceUsed,
    Attr::TimeAccess,
    Attr::TimeMetadata,
    Attr::TimeModify,
];

pub(super) fn asked() -> Bitmap4 {
    ASKED.into_iter().collect()
}

/// Times are unsigned here, and what is out of their reach is shown at its nearest.
fn time3(seconds: i64, nanos: u32) -> Nfstime3 {
    match u32::try_from(seconds) {
        Ok(seconds) => Nfstime3 {
            seconds,
            nseconds: nanos,
        },
        Err(_) if seconds < 0 => Nfstime3::default(),
        Err(_) => Nfstime3 {
            seconds: u32::MAX,
            nseconds: 0,
        },
    }
}

/// `sattrguard3`: the change time that a file must still have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guard(Nfstime3);

impl Guard {
    pub fn holds(self, inode: &Inode) -> bool {
        let Timestamp { seconds, nanos } = inode.ctime;
        self.0 == time3(seconds, nanos)
    }
}

fn ftype3(kind: Ftype4) -> Option<Ftype3> {
    Some(match kind {
        Ftype4::Reg => Ftype3::Reg,
        Ftype4::Dir => Ftype3::Dir,
        Ftype4::Blk => Ftype3::Blk,
        Ftype4::Chr => Ftype3::Chr,
        Ftype4::Lnk => Ftype3::Lnk,
        Ftype4::Sock => Ftype3::Sock,
        Ftype4::Fifo => Ftype3::Fifo,
        Ftype4::Attrdir | Ftype4::Namedattr => return None,
    })
}

/// `None` where something is missing.
pub(super) fn fattr3(told: &Attributes) -> Option<Fattr3> {
    let time = |time: Nfstime4| time3(time.seconds, time.nseconds);
    let id = |owner: &Option<Bytes>| number(owner.as_deref()?);
    let (device, fsid) = (told.rawdev?, told.fsid?);
    Some(Fattr3 {
        ftype: ftype3(told.file_type?)?,
        mode: told.mode?,
        nlink: told.numlinks?,
        uid: id(&told.owner)?,
        gid: id(&told.owner_group)?,
        size: told.size?,
        used: told.space_used?,
        rdev: Specdata3 {
            major: device.specdata1,
            minor: device.specdata2,
        },
        // Junctions differ in the lower half alone, the catalog's own file system has none.
        fsid: fsid.major ^ fsid.minor,
        fileid: told.fileid?,
        atime: time(told.time_access?),
        mtime: time(told.time_modify?),
        ctime: time(told.time_metadata?),
    })
}

/// As NFSv4 would be asked to set it.
pub(super) fn settings(wanted: &Sattr3) -> Fattr4 {
    let id = |id: u32| Bytes::from(id.to_string());
    let time = |time: SetTime| match time {
        SetTime::DontChange => None,
        SetTime::ToServerTime => Some(Settime4::ServerTime),
        SetTime::ToClientTime(at) => Some(Settime4::ClientTime(Nfstime4 {
            seconds: at.seconds.into(),
            nseconds: at.nseconds,
        })),
    };
    Fattr4::from(Attributes {
        // Some clients send the file's type with it.
        mode: wanted.mode.map(|mode| mode & MODE_BITS),
        owner: wanted.uid.map(id),
        owner_group: wanted.gid.map(id),
        size: wanted.size,
        time_access_set: time(wanted.atime),
        time_modify_set: time(wanted.mtime),
        ..Attributes::default()
    })
}

/// GETATTR, §3.3.1.
pub(super) async fn getattr(args: Getattr3args, call: &mut Call<'_>) -> Getattr3res {
    call.put(&args.object).await?;
    Ok(call.shown().await?)
}

/// SETATTR, §3.3.2. What a file was like before isn't told: others may write it at the same time.
pub(super) async fn setattr(args: Setattr3args, call: &mut Call<'_>) -> Setattr3res {
    let file = call.put(&args.object).await?;
    call.cx.guard = args.guard.map(Guard);
    set(&args.new_attributes, call).await.map_err(status::of)?;
    Ok(WccData {
        before: None,
        after: call.after(&file).await,
    })
}

/// Of the current file.
pub(super) async fn set(wanted: &Sattr3, call: &mut Call<'_>) -> Result<(), Nfsstat4> {
    let args = Setattr4Args {
        stateid: Stateid4::ANONYMOUS,
        obj_attributes: settings(wanted),
    };
    match ops::dispatch(ArgOp::Setattr(args), &mut call.cx).await {
        result if result.status() == Nfsstat4::Ok => Ok(()),
        result => Err(result.status()),
    }
}

/// Their numbers are those of NFSv4.
const RIGHTS: u32 = ACCESS3_READ
    | ACCESS3_LOOKUP
    | ACCESS3_MODIFY
    | ACCESS3_EXTEND
    | ACCESS3_DELETE
    | ACCESS3_EXECUTE;
const _: () = assert!(
    ACCESS3_READ == nfs4::ACCESS4_READ
        && ACCESS3_LOOKUP == nfs4::ACCESS4_LOOKUP
        && ACCESS3_MODIFY == nfs4::ACCESS4_MODIFY
        && ACCESS3_EXTEND == nfs4::ACCESS4_EXTEND
        && ACCESS3_DELETE == nfs4::ACCESS4_DELETE
        && ACCESS3_EXECUTE == nfs4::ACCESS4_EXECUTE
);

/// ACCESS, §3.3.4.
pub(super) async fn access(args: Access3args, call: &mut Call<'_>) -> Access3res {
    let file = call.put(&args.object).await?;
    let asked = Access4Args {
        access: args.access & RIGHTS,
    };
    let granted = ask!(call, Access(asked)).map_err(status::of)?;
    Ok(Access3resok {
        obj_attributes: call.after(&file).await,
        access: granted.access,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_out_of_reach_is_shown_at_its_nearest() {
        assert_eq!(time3(-1, 999), Nfstime3::default());
        let now = Nfstime3 {
            seconds: 1_700_000_000,
            nseconds: 7,
        };
        assert_eq!(time3(1_700_000_000, 7), now);
        assert_eq!(time3(1 << 40, 7).seconds, u32::MAX);
    }
}
