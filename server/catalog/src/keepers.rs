//! Directories whose files lie on one data server, whatever others there are.
//! Never a call to it, never the choice.

use crate::error::Error;
use crate::inode::{FileKind, Inode, InodeId};
use crate::keys;
use crate::tx::Tx;
use crate::view::Guard;
use layout::DataServerId;

impl Tx {
    /// Has `keeper` hold the files that are made in an empty directory from now on, in directories made
    /// there, and so on. What is moved there keeps what it has.
    pub async fn keep(&mut self, directory: InodeId, keeper: DataServerId) -> Result<(), Error> {
        let mut cold = self.directory(directory).await?;
        if cold.inode.keeper == Some(keeper) {
            return Ok(());
        }
        let entries = self.rows(keys::entries(directory), 1, Guard::Conflict);
        if cold.inode.unscanned || !entries.await?.is_empty() {
            return Err(Error::NotEmpty);
        }
        cold.inode.keeper = Some(keeper);
        // Nothing that a client sees of it changes. Whoever makes something in it has read this record.
        self.store_inode(&cold.inode, cold.times_mark);
        Ok(())
    }
}

/// What something made in a directory has of it.
pub(crate) fn inherited(directory: &Inode, kind: FileKind) -> Option<DataServerId> {
    match kind {
        FileKind::Regular | FileKind::Directory => directory.keeper,
        _ => None,
    }
}
