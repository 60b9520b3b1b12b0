//! The model data servers: WRITE is unstable until a COMMIT, and a restart loses any part of what wasn't
//! committed. What this server asks of them is durable when they answer.

use crate::oracle::Oracle;
use crate::server::Server;
use crate::{Rng, Sabotage};

impl Server {
    /// A client's WRITE arrives: the start of the data server that took it.
    pub fn write(
        &mut self,
        file: usize,
        generation: u32,
        serial: u64,
        end: u64,
        oracle: &Oracle,
    ) -> Result<Option<u32>, String> {
        let target = &mut self.files[file];
        if generation != target.generation {
            self.count("writes refused by a fence");
            return Ok(None);
        }
        oracle.written(serial)?;
        target.len = target.len.max(end);
        Ok(Some(self.disk))
    }

    /// A client's COMMIT arrives.
    pub fn sync(&mut self, file: usize, generation: u32) -> Option<u32> {
        let target = &mut self.files[file];
        if generation != target.generation {
            return None;
        }
        target.durable = target.len;
        self.count("commits");
        Some(self.disk)
    }

    pub fn restart_disk(&mut self, rng: &mut Rng) {
        self.count("data server restarts");
        if self.sabotage != Sabotage::KeepVerifier {
            self.disk += 1;
        }
        let mut lost = 0;
        for file in &mut self.files {
            let unstable = file.len.saturating_sub(file.durable);
            let loses = rng.next() % (unstable + 1);
            file.len -= loses;
            lost += u64::from(loses > 0);
        }
        *self.tally.entry("unstable writes lost").or_default() += lost;
    }

    /// SETATTR of the size: cuts or extends.
    pub(super) fn set_len(&mut self, file: usize, size: u64) {
        let target = &mut self.files[file];
        (target.len, target.durable) = (size, size);
    }

    /// Shows what was seen of the object, once every byte of it is backed for good.
    pub(super) fn show(&mut self, file: usize, seen: u64) {
        let durably = self.sabotage != Sabotage::PadInMemory;
        let target = &mut self.files[file];
        target.len = target.len.max(seen);
        if durably {
            target.durable = target.durable.max(seen);
        }
        target.size = target.size.max(seen);
    }
}
