//! Files that a server had before it became a data server, as objects.
//!
//! Never here: their names, and how they are found.

use crate::observe::stamp_of;
use crate::{Error, Objects};
use backend::{FoundObject, ObjectStat};
use bytes::Bytes;
use catalog::{DataStamp, DeadObject, FoundFile};
use layout::{AsFound, DataServerId, Extent, Mirror, ObjectId, ObjectRef, Owner};

/// By which everybody reads.
const OTHERS_READ: u32 = 0o004;

impl Objects {
    /// The one object of a file, and its state. A layout to read goes by what the file's mode lets everybody
    /// do, in the group that the object has from its first fence on; where that is nothing, and to
    /// write, the fence comes first.
    pub fn found(
        &self,
        server: DataServerId,
        fileid: u64,
        handle: Bytes,
        (mode, stat): (u32, &ObjectStat),
    ) -> (Extent, DataStamp) {
        let object = ObjectId::found(server, fileid);
        let gid = self.options.owners.owner(object, 0).gid;
        let found = match mode & OTHERS_READ {
            0 => AsFound::Closed,
            _ => AsFound::Open,
        };
        let stripe = ObjectRef {
            server,
            object,
            handle,
            owner: Owner::as_found(found, gid),
            generation: 0,
        };
        let mirror = Mirror {
            stripes: vec![stripe],
            stale: false,
        };
        let stamp = stamp_of([(object, stat)]);
        (Extent::bound(0, vec![mirror]), stamp)
    }

    /// Removes a dead object from its server, under the names that it had there before if it did.
    pub(crate) async fn remove(
        &self,
        desk: &crate::member::Desk,
        dead: DeadObject,
    ) -> Result<(), Error> {
        if !dead.object.is_found() {
            return Ok(desk.ask(|| desk.server().remove(dead.object)).await?);
        }
        let Some(FoundFile { handle, names }) = self.catalog.read().found(dead).await? else {
            return Ok(());
        };
        let names = names.into_iter().map(|at| (at.folder, at.name));
        let file = FoundObject {
            handle,
            fileid: dead.object.0 as u64,
            names: names.collect(),
        };
        Ok(desk.ask(|| desk.server().remove_found(&file)).await?)
    }
}
