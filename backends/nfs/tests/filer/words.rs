//! NFSv3's words for those of a tree. Never here: what a procedure does.

use backend::Nanos;
use backend::tree::{NodeChanges, NodeKind, NodeStat, SetTime, TreeErrorKind};
use wire::nfs3::{
    Fattr3, Ftype3, Nfsstat3, Nfstime3, Sattr3, SetTime as SetTime3, Specdata3, WccAttr,
};

const SECOND: Nanos = 1_000_000_000;

pub fn status_of(kind: TreeErrorKind) -> Nfsstat3 {
    use TreeErrorKind as Kind;
    match kind {
        Kind::Retry { .. } => Nfsstat3::Jukebox,
        Kind::Gone => Nfsstat3::Stale,
        Kind::NoEntry => Nfsstat3::Noent,
        Kind::Exists => Nfsstat3::Exist,
        Kind::Denied => Nfsstat3::Acces,
        Kind::NotOwner => Nfsstat3::Perm,
        Kind::NotFolder => Nfsstat3::Notdir,
        Kind::IsFolder => Nfsstat3::Isdir,
        Kind::NotEmpty => Nfsstat3::Notempty,
        Kind::ReadOnly => Nfsstat3::Rofs,
        Kind::NameTooLong => Nfsstat3::Nametoolong,
        Kind::Invalid => Nfsstat3::Inval,
        Kind::TooManyLinks => Nfsstat3::Mlink,
        Kind::OtherDevice => Nfsstat3::Xdev,
        Kind::Full => Nfsstat3::Nospc,
        Kind::OverQuota => Nfsstat3::Dquot,
        Kind::TooLarge => Nfsstat3::Fbig,
        Kind::Conflict => Nfsstat3::NotSync,
        Kind::BadCookie => Nfsstat3::BadCookie,
        Kind::Unsupported => Nfsstat3::Notsupp,
        Kind::Broken => Nfsstat3::Io,
    }
}

pub fn time_of(nanos: Nanos) -> Nfstime3 {
    Nfstime3 {
        seconds: nanos.div_euclid(SECOND) as u32,
        nseconds: nanos.rem_euclid(SECOND) as u32,
    }
}

pub fn fattr_of(stat: &NodeStat, fsid: u64) -> Fattr3 {
    Fattr3 {
        ftype: match stat.kind {
            NodeKind::Regular => Ftype3::Reg,
            NodeKind::Folder => Ftype3::Dir,
            NodeKind::Symlink => Ftype3::Lnk,
            NodeKind::Block => Ftype3::Blk,
            NodeKind::Character => Ftype3::Chr,
            NodeKind::Fifo => Ftype3::Fifo,
            NodeKind::Socket => Ftype3::Sock,
        },
        mode: stat.mode,
        nlink: stat.nlink,
        uid: stat.uid,
        gid: stat.gid,
        size: stat.size,
        used: stat.used,
        rdev: Specdata3 {
            major: stat.rdev.0,
            minor: stat.rdev.1,
        },
        fsid,
        fileid: stat.fileid,
        atime: time_of(stat.atime),
        mtime: time_of(stat.mtime),
        ctime: time_of(stat.ctime),
    }
}

pub fn wcc_of(stat: &NodeStat) -> WccAttr {
    WccAttr {
        size: stat.size,
        mtime: time_of(stat.mtime),
        ctime: time_of(stat.ctime),
    }
}

pub fn changes_of(attributes: &Sattr3) -> NodeChanges {
    let time = |time| match time {
        SetTime3::DontChange => None,
        SetTime3::ToServerTime => Some(SetTime::Now),
        SetTime3::ToClientTime(at) => Some(SetTime::At(
            Nanos::from(at.seconds) * SECOND + Nanos::from(at.nseconds),
        )),
    };
    NodeChanges {
        mode: attributes.mode,
        uid: attributes.uid,
        gid: attributes.gid,
        size: attributes.size,
        atime: time(attributes.atime),
        mtime: time(attributes.mtime),
    }
}
