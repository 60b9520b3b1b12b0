//! Directories that are file systems of their own, each with a data server that keeps it: what is made below
//! is of the same keeper, and no name leads across. Never a call to it, never the choice.

use crate::error::Error;
use crate::inode::{Inode, InodeId};
use crate::keys;
use crate::tx::Tx;
use crate::view::Guard;
use layout::DataServerId;

impl Tx {
    /// Makes an empty directory the root of what `keeper` keeps: all that is made in it from now on, in
    /// directories made there, and so on.
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
        // Its times and its change attribute stay. Whoever makes something in it has read this record.
        self.store_inode(&cold.inode, cold.times_mark);
        Ok(())
    }

    /// Refuses what isn't of the directory's keeper: the root of another file system.
    pub(crate) async fn of_keeper(&self, directory: &Inode, id: InodeId) -> Result<(), Error> {
        same_keeper(directory, &self.cold(id).await?.inode)
    }
}

pub(crate) fn same_keeper(one: &Inode, other: &Inode) -> Result<(), Error> {
    if one.keeper == other.keeper {
        Ok(())
    } else {
        Err(Error::OtherKeeper)
    }
}
