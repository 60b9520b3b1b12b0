//! What a model client writes past its server: WRITEs, unstable until a COMMIT says under the same verifier that
//! they are kept, and written again where it doesn't.

use super::{Client, Layout};
use crate::{Packet, Rng};

impl Client {
    /// A WRITE or COMMIT by a layout that it holds.
    pub(super) fn write(&mut self, file: usize, rng: &mut Rng) -> Option<Packet> {
        let layout = self.files[file].layout.as_mut();
        let layout = layout.filter(|layout| layout.write && !layout.leaving)?;
        layout.in_flight += 1;
        let (client, verifier) = (self.index, self.verifier);
        let (generation, serial) = (layout.generation, layout.serial);
        Some(if layout.unstable > 0 && rng.percent(40) {
            Packet::Sync {
                client,
                verifier,
                file,
                generation,
                serial,
                end: layout.unstable,
            }
        } else {
            Packet::Write {
                client,
                verifier,
                file,
                generation,
                serial,
                end: layout.again.take().unwrap_or(1 + rng.next() % 1000),
            }
        })
    }

    /// A data server answered, or the connection to it broke.
    pub fn wrote(&mut self, file: usize, serial: u64, end: u64, disk: Option<u32>) {
        let Some(layout) = self.layout(file, serial) else {
            return;
        };
        layout.in_flight -= 1;
        if disk.is_none() {
            layout.leaving = true;
            return;
        }
        let first = layout.unstable == 0;
        layout.disk = disk.filter(|disk| first || layout.disk == Some(*disk));
        layout.unstable = layout.unstable.max(end);
    }

    /// A COMMIT was answered: whether what it was about has to be written again.
    pub fn synced(&mut self, file: usize, serial: u64, end: u64, disk: Option<u32>) -> bool {
        let Some(layout) = self.layout(file, serial) else {
            return false;
        };
        layout.in_flight -= 1;
        let Some(disk) = disk else {
            layout.leaving = true;
            return false;
        };
        let kept = layout.disk == Some(disk);
        if kept {
            layout.end = layout.end.max(end);
        } else {
            layout.again = Some(layout.unstable);
        }
        if !kept || layout.unstable == end {
            layout.unstable = 0;
        }
        !kept
    }

    pub fn not_synced(&mut self, file: usize, serial: u64) {
        if let Some(layout) = self.layout(file, serial) {
            layout.in_flight -= 1;
        }
    }

    fn layout(&mut self, file: usize, serial: u64) -> Option<&mut Layout> {
        let layout = self.files[file].layout.as_mut();
        layout.filter(|layout| layout.serial == serial)
    }
}
