//! What stands against a delegation: the opens of others, those being made included.

use catalog::InodeId;

use super::super::ClientId;
use super::super::share::{READ, WRITE};
use super::Opens;

impl Opens {
    /// Whether anybody else has the file open, or is about to.
    pub(in crate::state) fn others_have_open(&self, client: ClientId, inode: InodeId) -> bool {
        self.files.get(&inode).is_some_and(|file| {
            let short = client.short();
            let ends = [
                file.by_owner.first_key_value(),
                file.by_owner.last_key_value(),
            ];
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
