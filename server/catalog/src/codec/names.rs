//! Inodes with all that is kept of each in one record, and the entries that name them.

use super::{Fields, Record, RecordError, Writer, kind_byte};
use crate::acl::{Ace, AceKind, Acl, Label, Who};
use crate::inode::{DataStamp, FileKind, Inode, InodeId, XattrTotals};
use bytes::{BufMut, Bytes};
use layout::DataServerId;
use std::sync::Arc;

/// In the place of a kind: a directory that isn't scanned.
const UNSCANNED: u8 = 8;

/// The cold half of an inode: all of a file, and of a directory what creates in it don't touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ColdInode {
    /// `change` and `entries` of a directory are 0 here: they are in its hot keys. So is the identity,
    /// which is in the key.
    pub inode: Inode,
    /// Of a directory: the hot time up to which `mtime` was set by hand.
    pub times_mark: u64,
}

impl Record for ColdInode {
    const NAME: &'static str = "an inode";

    fn put(&self, to: &mut Writer) {
        let inode = &self.inode;
        to.byte(if inode.unscanned {
            UNSCANNED
        } else {
            kind_byte(inode.kind)
        });
        to.number(inode.mode.into());
        to.number(inode.uid.into());
        to.number(inode.gid.into());
        to.number(inode.nlink.into());
        to.number(inode.size);
        to.time(inode.atime);
        to.time(inode.mtime);
        to.time(inode.ctime);
        to.time(inode.btime);
        to.number(inode.change);
        to.number(inode.rdev.0.into());
        to.number(inode.rdev.1.into());
        to.option(inode.target.as_ref(), |to, target| to.bytes(target));
        to.option(inode.parent, Writer::inode_id);
        to.number(inode.size_epoch);
        to.list(&inode.extents, Writer::extent);
        to.option(inode.create_verifier, |to, verifier| {
            to.0.put_slice(&verifier);
        });
        to.number(inode.birth_epoch);
        to.number(self.times_mark);
        let data_stamp = Some(inode.data_stamp.0).filter(|stamp| *stamp != 0);
        to.option(data_stamp, |to, stamp| to.0.put_u64(stamp));
        to.number(inode.used);
        to.option(inode.acl.as_deref(), put_acl);
        to.option(inode.label.as_ref(), |to, label| {
            to.number(label.format.into());
            to.number(label.policy.into());
            to.bytes(&label.data);
        });
        to.number(inode.xattrs.count.into());
        to.number(inode.xattrs.bytes);
        to.option(inode.keeper, |to, keeper| to.number(keeper.0.into()));
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        let unscanned = from.rest.first() == Some(&UNSCANNED);
        let kind = if unscanned {
            from.byte("kind")?;
            FileKind::Directory
        } else {
            from.kind()?
        };
        let inode = Inode {
            id: InodeId { home: 0, number: 0 },
            kind,
            mode: from.number_u32("mode")?,
            uid: from.number_u32("uid")?,
            gid: from.number_u32("gid")?,
            nlink: from.number_u32("nlink")?,
            size: from.number("size")?,
            atime: from.time("atime")?,
            mtime: from.time("mtime")?,
            ctime: from.time("ctime")?,
            btime: from.time("btime")?,
            change: from.number("change")?,
            rdev: (from.number_u32("rdev")?, from.number_u32("rdev")?),
            target: from.option("target", |from| from.bytes("target"))?,
            parent: from.option("parent", |from| from.inode_id("parent"))?,
            size_epoch: from.number("size_epoch")?,
            extents: from.list("extents", Fields::extent)?,
            entries: 0,
            create_verifier: from
                .option("create_verifier", |from| from.array("create_verifier"))?,
            birth_epoch: from.number("birth_epoch")?,
            data_stamp: DataStamp::default(),
            used: 0,
            acl: None,
            label: None,
            xattrs: XattrTotals::default(),
            unscanned,
            keeper: None,
        };
        let mut cold = ColdInode {
            inode,
            times_mark: from.number("times_mark")?,
        };
        let data_stamp = from.option("data_stamp", |from| from.array("data_stamp"))?;
        cold.inode.data_stamp = DataStamp(data_stamp.map_or(0, u64::from_be_bytes));
        cold.inode.used = from.number("used")?;
        cold.inode.acl = from.option("acl", take_acl)?.map(Arc::new);
        cold.inode.label = from.option("label", |from| {
            Ok(Label {
                format: from.number_u32("label")?,
                policy: from.number_u32("label")?,
                data: from.bytes("label")?,
            })
        })?;
        cold.inode.xattrs = XattrTotals {
            count: from.number_u32("xattrs")?,
            bytes: from.number("xattrs")?,
        };
        let keeper = from.option("keeper", |from| from.number_u32("keeper"))?;
        cold.inode.keeper = keeper.map(DataServerId);
        Ok(cold)
    }
}

fn put_acl(to: &mut Writer, acl: &Acl) {
    to.number(acl.flags.into());
    to.byte(u8::from(acl.masked));
    to.list(&acl.aces, |to, ace| {
        to.byte(match ace.kind {
            AceKind::Allow => 0,
            AceKind::Deny => 1,
        });
        to.number(ace.flags.into());
        to.number(ace.mask.into());
        let (kind, id) = match ace.who {
            Who::Owner => (0, None),
            Who::OwningGroup => (1, None),
            Who::Everyone => (2, None),
            Who::User(id) => (3, Some(id)),
            Who::Group(id) => (4, Some(id)),
        };
        to.byte(kind);
        if let Some(id) = id {
            to.number(id.into());
        }
    });
}

fn take_acl(from: &mut Fields<'_>) -> Result<Acl, RecordError> {
    Ok(Acl {
        flags: from.number_u32("acl")?,
        masked: from.flag("acl")?,
        aces: from.list("acl", |from| {
            Ok(Ace {
                kind: match from.byte("acl")? {
                    0 => AceKind::Allow,
                    1 => AceKind::Deny,
                    _ => return Err(from.wrong("acl")),
                },
                flags: from.number_u32("acl")?,
                mask: from.number_u32("acl")?,
                who: match from.byte("acl")? {
                    0 => Who::Owner,
                    1 => Who::OwningGroup,
                    2 => Who::Everyone,
                    3 => Who::User(from.number_u32("acl")?),
                    4 => Who::Group(from.number_u32("acl")?),
                    _ => return Err(from.wrong("acl")),
                },
            })
        })?,
    })
}

/// One name of a [`Bucket`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub name: Bytes,
    pub id: InodeId,
    pub kind: FileKind,
    /// Tells names of one hash apart: 0 or 1.
    pub tiebreak: u8,
}

/// All names of one directory whose hash is the same: nearly always one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Bucket(pub Vec<Named>);

impl Record for Bucket {
    const NAME: &'static str = "a directory entry";

    fn put(&self, to: &mut Writer) {
        to.list(&self.0, |to, named| {
            to.bytes(&named.name);
            to.inode_id(named.id);
            to.byte(kind_byte(named.kind));
            to.byte(named.tiebreak);
        });
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        let names = from.list("names", |from| {
            Ok(Named {
                name: from.bytes("name")?,
                id: from.inode_id("inode")?,
                kind: from.kind()?,
                tiebreak: from.byte("tiebreak")?,
            })
        })?;
        Ok(Bucket(names))
    }
}
