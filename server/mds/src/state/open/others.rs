//! What the opens of a file say of it together: what stands against a delegation, those being made included, and
//! whether somebody without privilege may be writing.

use catalog::InodeId;

use super::super::share::{READ, WRITE};
use super::super::{ClientId, State, Stateid, StateidRefusal};
use super::Opens;

impl Opens {
    /// Whether anybody else has the file open, or is about to.
    pub(in crate::state) fn others_have_open(&self, client: ClientId, inode: InodeId) -> bool {
        self.files.get(&inode).is_some_and(|file| {
            let short = client.short();
            let ends = [file.by_owner.first(), file.by_owner.last()];
            ends.into_iter()
                .flatten()
                .any(|((other, _), _)| *other != short)
        })
    }

    /// Whether anybody else has the file open to write or denies reading, or is about to.
    pub(in crate::state) fn others_write_or_deny_read(
        &self,
        client: ClientId,
        inode: InodeId,
    ) -> bool {
        self.files.get(&inode).is_some_and(|file| {
            let short = client.short();
            let own = file.by_owner.range((short, 0)..=(short, u32::MAX));
            let (mut write, mut deny_read) = (file.write, file.deny_read);
            for bits in own.map(|(_, index)| self.bits(*index)) {
                write -= u32::from(bits.access & WRITE != 0);
                deny_read -= u32::from(bits.deny & READ != 0);
            }
            write + deny_read > 0
        })
    }
}

impl State {
    /// The open is of a user without privilege, and stays so.
    pub fn open_without_privilege(
        &mut self,
        client: ClientId,
        stateid: Stateid,
    ) -> Result<(), StateidRefusal> {
        let index = self.opens.find(client, stateid)?;
        if let Some(open) = self.opens.opens.at_mut(index) {
            open.unprivileged = true;
        }
        Ok(())
    }

    /// Whether such a user has the file open to write.
    pub fn is_open_to_write_without_privilege(&self, inode: InodeId) -> bool {
        let file = self.opens.files.get(&inode);
        let mut indices = file.into_iter().flat_map(|file| file.by_owner.values());
        indices.any(|index| {
            let open = self.opens.opens.at(*index);
            open.is_some_and(|open| open.unprivileged && open.pairs.union().access & WRITE != 0)
        })
    }
}
