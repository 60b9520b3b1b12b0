//! Removing what a server had before it became a data server, under its own names.
//!
//! Never here: which names these are.

use crate::server::{NfsDataServer, is_lost};
use backend::{Error, ErrorKind, FoundObject};
use bytes::Bytes;
use std::time::Duration;
use wire::nfs3::{Filename3, Nfsstat3};

impl NfsDataServer {
    /// Removes one name of a file, unless it is another's by now. A folder that is gone has none.
    pub(crate) async fn take_away(
        &self,
        folder: &Bytes,
        name: &Bytes,
        file: &FoundObject,
    ) -> Result<(), Error> {
        let folder = self.handle(folder)?;
        let Some(name) = Filename3::new(name.clone()) else {
            return Err(self.nonsense("a name that no file can have"));
        };
        let found = match self.client.lookup(&folder, &name).await {
            Ok(found) => found,
            Err(error) => return self.nothing_there(&error).await,
        };
        let fileid = found.obj_attributes.map(|attributes| attributes.fileid);
        if found.object.bytes() != &file.handle[..] && fileid != Some(file.fileid) {
            let name = name.bytes().escape_ascii();
            tracing::warn!(
                "data server {}: {name} is another file than it was, and stays",
                self.address.name
            );
            return Ok(());
        }
        match self.client.remove(&folder, &name).await {
            Ok(_) => Ok(()),
            Err(error) => self.nothing_there(&error).await,
        }
    }

    /// `Ok` where an answer says that there is no such name, and the file system is still the one that it was.
    async fn nothing_there(&self, error: &nfs_client::Error) -> Result<(), Error> {
        if error.status() == Some(Nfsstat3::Noent) {
            return Ok(());
        }
        if !is_lost(error) {
            return Err(self.error(error));
        }
        let root = self.client.getattr(&self.root()).await;
        root.map(drop).map_err(|error| {
            let kind = ErrorKind::Retry {
                after: Duration::from_secs(1),
            };
            let why = format!(
                "data server {}: its root is gone: {error}",
                self.address.name
            );
            Error::new(kind, why)
        })
    }
}
