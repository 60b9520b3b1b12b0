//! What is told of a file system that is elsewhere, and where it is (RFC 8881 §11.4, §11.16).

use super::set_of;
use crate::compound::{Compound, File};
use crate::exports::{Elsewhere, ExportRule};
use crate::status::Refusal;
use bytes::Bytes;
use catalog::Inode;
use wire::nfs4::*;

/// All that there is of it here.
const TOLD: &[Attr] = &[
    Attr::Fsid,
    Attr::RdattrError,
    Attr::FsLocations,
    Attr::MountedOnFileid,
];

/// The second half of an fsid, beside the number of what keeps it: exports' numbers are below.
const KEPT: u64 = 1 << 32;

fn pathname(path: &str) -> Pathname4 {
    let names = path.split('/').filter(|name| !name.is_empty());
    Pathname4(
        names
            .map(|name| Bytes::copy_from_slice(name.as_bytes()))
            .collect(),
    )
}

impl Elsewhere {
    fn location(&self) -> FsLocation4 {
        let server = self.servers.iter();
        FsLocation4 {
            server: server
                .map(|name| Bytes::copy_from_slice(name.as_bytes()))
                .collect(),
            rootpath: pathname(&self.path),
        }
    }
}

/// Where an export's files are: of one that is here, nowhere else.
pub(super) fn locations(export: &ExportRule) -> FsLocations4 {
    FsLocations4 {
        fs_root: pathname(&export.path),
        locations: export.elsewhere.iter().map(Elsewhere::location).collect(),
    }
}

impl Compound<'_> {
    /// Those attributes of a referral that there are. Who doesn't ask where it is, is told that it isn't
    /// here; a listing tells it of the one entry, if it may (§11.4.2).
    pub(super) fn absent_attributes(
        &self,
        file: &File,
        inode: &Inode,
        asked: Bitmap4,
    ) -> Result<Box<Attributes>, Refusal> {
        let locates = asked.contains(Attr::FsLocations);
        if !locates && !asked.contains(Attr::RdattrError) {
            return Err(Nfsstat4::Moved.into());
        }
        let mut told = Box::new(Attributes {
            fsid: Some(self.fsid_of(file, inode)),
            rdattr_error: Some(if locates {
                Nfsstat4::Ok
            } else {
                Nfsstat4::Moved
            }),
            fs_locations: Some(Box::new(locations(&file.export))),
            mounted_on_fileid: Some(inode.id.number),
            ..Attributes::default()
        });
        told.retain(asked.intersection(set_of(TOLD)));
        Ok(told)
    }

    /// What is elsewhere is a file system of its own, and so are a backend's own tree and what one data server keeps;
    /// all else in the catalog is one.
    pub(super) fn fsid_of(&self, file: &File, inode: &Inode) -> Fsid4 {
        let minor = if file.export.covers() {
            u64::from(file.export.number)
        } else {
            inode.keeper.map_or(0, |keeper| KEPT | u64::from(keeper.0))
        };
        Fsid4 {
            major: self.server.identity.fsid,
            minor,
        }
    }
}
