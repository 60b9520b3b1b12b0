//! One call while it runs: the operations that it is made of, on filehandles as a COMPOUND has them, and what
//! procedures tell of files beside their results.

use super::{attributes, status};
use crate::compound::{Compound, File};
use crate::connection::Connection;
use crate::execute::ReplyRoom;
use crate::identity::Credential;
use crate::server::Server;
use bytes::Bytes;
use std::sync::Arc;
use wire::nfs3::{Fattr3, Fh3, Nfsstat3, PostOpAttr, WccAttr, WccData};
use wire::nfs4::{
    Attr, Attributes, Bitmap4, ChangeInfo4, Ftype4, Getattr4Args, Nfsstat4, Putfh4Args,
};

/// Header of a reply and all of a result beside its data or entries.
const AROUND_BYTES: usize = 256;
/// The one of which a client may know everything: xattrs and the like are asked for by nobody here.
const MINOR: u32 = 2;

/// Runs an operation of NFSv4 on the call's current and saved filehandle.
macro_rules! ask {
    ($call:expr, $operation:ident $(($args:expr))?) => {
        match $crate::ops::dispatch(wire::nfs4::ArgOp::$operation $(($args))?, &mut $call.cx).await {
            wire::nfs4::ResOp::$operation(result) => result,
            other => Err(other.status()),
        }
    };
}
pub(super) use ask;

pub(super) struct Call<'a> {
    pub cx: Compound<'a>,
    room: &'a mut dyn ReplyRoom,
}

/// A folder before its names change.
pub(super) struct Before {
    change: u64,
    attributes: WccAttr,
}

impl<'a> Call<'a> {
    pub fn new(
        server: &'a Arc<Server>,
        connection: &'a Arc<Connection>,
        who: (Option<Credential>, Bytes),
        room: &'a mut dyn ReplyRoom,
    ) -> Self {
        let most = (server.limits.response_bytes as usize).saturating_sub(AROUND_BYTES);
        let mut cx = Compound::new(server, connection, who, MINOR, most);
        cx.legacy = true;
        Self { cx, room }
    }

    /// Waits for room for as much of an answer as the client asks for and may get.
    pub async fn make_room(&mut self, asked: u32) -> usize {
        let bytes = self.cx.room.min(asked as usize);
        self.room.take(bytes).await;
        bytes
    }

    /// The file of a handle becomes the current one.
    pub async fn put(&mut self, handle: &Fh3) -> Result<File, Nfsstat3> {
        let object = handle.bytes().clone();
        ask!(self, Putfh(Putfh4Args { object })).map_err(status::of)?;
        self.here()
    }

    /// The current file, if this server has it.
    pub fn here(&self) -> Result<File, Nfsstat3> {
        match &self.cx.current {
            Some(file) if file.export.elsewhere.is_some() => Err(status::of(Nfsstat4::Moved)),
            Some(file) => Ok(file.clone()),
            None => Err(Nfsstat3::Serverfault),
        }
    }

    /// What the client is to call it; `None` if that doesn't fit a filehandle of NFSv3.
    pub fn handle(&self, file: &File) -> Option<Fh3> {
        self.handle_of(&self.cx.handle_of(file))
    }

    /// The same of a filehandle of NFSv4.
    pub fn handle_of(&self, handle: &Bytes) -> Option<Fh3> {
        let key = &self.cx.server.handle_key;
        Fh3::new(handle.clone()).or_else(|| {
            let named = key.open(handle).ok()?;
            Fh3::new(key.seal_within(&named, Fh3::LIMIT_BYTES)?)
        })
    }

    pub async fn told(&mut self, asked: Bitmap4) -> Result<Box<Attributes>, Nfsstat3> {
        let asked = Getattr4Args {
            attr_request: asked,
        };
        let told = ask!(self, Getattr(asked)).map_err(status::of)?;
        Ok(told.obj_attributes)
    }

    /// Whether the current file is a folder. That is told of every file, also of one that hides the rest.
    pub async fn in_folder(&mut self) -> Result<(), Nfsstat3> {
        let told = self.told([Attr::Type].into_iter().collect()).await?;
        if told.file_type == Some(Ftype4::Dir) {
            Ok(())
        } else {
            Err(Nfsstat3::Notdir)
        }
    }

    /// The number of the current file.
    pub async fn fileid(&mut self) -> Result<u64, Nfsstat3> {
        let told = self.told([Attr::Fileid].into_iter().collect()).await?;
        told.fileid.ok_or(Nfsstat3::Serverfault)
    }

    /// The attributes of the current file.
    pub async fn shown(&mut self) -> Result<Fattr3, Nfsstat3> {
        let told = self.told(attributes::asked()).await?;
        attributes::fattr3(&told).ok_or(Nfsstat3::Serverfault)
    }

    /// The attributes of `file`, if they are to be had.
    pub async fn after(&mut self, file: &File) -> PostOpAttr {
        self.cx.set_current(file.clone());
        self.shown().await.ok()
    }

    /// The current folder. In a junction it can't be told whether anybody was there meanwhile.
    pub async fn before(&mut self) -> Option<Before> {
        if self.here().ok()?.export.junction.is_some() {
            return None;
        }
        let told = self.told(attributes::asked()).await.ok()?;
        Some(Before {
            change: told.change?,
            attributes: WccAttr::from(&attributes::fattr3(&told)?),
        })
    }

    /// What became of a folder. What it was like before is said if nothing but this call changed it: a client
    /// that knew it so keeps what it has of it.
    pub async fn wcc(
        &mut self,
        folder: &File,
        before: Option<Before>,
        cinfo: &ChangeInfo4,
    ) -> WccData {
        self.cx.set_current(folder.clone());
        let Ok(told) = self.told(attributes::asked()).await else {
            return WccData::default();
        };
        let alone = |before: &Before| {
            cinfo.atomic && cinfo.before == before.change && Some(cinfo.after) == told.change
        };
        WccData {
            before: before.filter(alone).map(|before| before.attributes),
            after: attributes::fattr3(&told),
        }
    }
}
