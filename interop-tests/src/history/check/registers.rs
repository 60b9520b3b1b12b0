//! Close-to-open: who opens a file after another closed it finds what that one wrote, or something later.
//! Files are written whole and without locks, by everybody. While writers overlap a reader may find any of them, in
//! parts too: a client's own cache keeps one, the server another, and neither is wrong. A client that writes a file
//! itself keeps its pages of it whatever others do meanwhile (fact 59): who reads there then may miss those.

use std::collections::{BTreeMap, BTreeSet};

use super::named;
use crate::history::event::{BLOCK_BYTES, Content, Deed, Event};

#[derive(Default)]
struct Register<'a> {
    writes: BTreeMap<u64, Write<'a>>,
    reads: Vec<(&'a Event, &'a Content)>,
}

struct Write<'a> {
    event: &'a Event,
    blocks: usize,
    cut: bool,
}

/// Gives the number of reads during which another client wrote.
pub fn check(events: &[Event], faults: &mut Vec<String>) -> usize {
    let mut registers: BTreeMap<&str, Register<'_>> = BTreeMap::new();
    for event in events {
        match &event.deed {
            Deed::Wrote {
                file,
                id,
                blocks,
                cut,
            } => {
                let (blocks, cut) = (*blocks, *cut);
                let write = Write { event, blocks, cut };
                registers.entry(file).or_default().writes.insert(*id, write);
            }
            Deed::Read { file, content } => {
                let register = registers.entry(file).or_default();
                register.reads.push((event, content));
            }
            _ => {}
        }
    }
    let mut met = 0;
    for (file, register) in &registers {
        for (read, content) in &register.reads {
            for fault in register.judge(read, content) {
                faults.push(format!("{file}: {}: {fault}", named(read)));
            }
            met +=
                usize::from(register.writes.values().any(|write| {
                    write.event.overlaps(read) && write.event.client() != read.client()
                }));
        }
    }
    met
}

impl Register<'_> {
    fn judge(&self, read: &Event, content: &Content) -> Vec<String> {
        let mut faults = Vec::new();
        let blocks = self.writes.values().map(|write| write.blocks).max();
        let bytes = blocks.unwrap_or_default() * BLOCK_BYTES;
        if content.bytes > bytes {
            faults.push(format!(
                "found {} bytes, nobody wrote more than {bytes}",
                content.bytes
            ));
        }
        let found: BTreeSet<u64> = content.blocks.iter().flatten().copied().collect();
        let missing = content.bytes < bytes || found.contains(&0);
        if missing && !self.may_be_short(read) {
            faults.push(format!(
                "found {} of {bytes} bytes{}, and nobody had truncated it meanwhile",
                content.bytes,
                if found.contains(&0) {
                    ", zeros among them"
                } else {
                    ""
                }
            ));
        }
        faults.extend(
            found
                .into_iter()
                .filter(|id| *id != 0)
                .filter_map(|id| self.fault_of(id, read)),
        );
        faults
    }

    /// A writer that truncates first leaves nothing for a while, and then all of it.
    fn may_be_short(&self, read: &Event) -> bool {
        let cut = |write: &Write<'_>| write.cut && write.event.overlaps(read);
        self.writes.values().any(cut)
            || !self
                .writes
                .values()
                .any(|write| write.event.is_before(read))
    }

    /// Whether another process of the reader's client was writing from before `later` closed until the read.
    fn keeps_its_pages(&self, read: &Event, later: &Event) -> bool {
        let own = |own: &Write<'_>| {
            let own = own.event;
            own.client() == read.client() && own.began < later.ended && own.ended > read.began
        };
        later.client() != read.client() && self.writes.values().any(own)
    }

    fn fault_of(&self, id: u64, read: &Event) -> Option<String> {
        let Some(write) = self.writes.get(&id) else {
            return Some(format!("found {id}, which nobody wrote"));
        };
        if read.is_before(write.event) {
            return Some(format!(
                "found what {} had yet to write",
                named(write.event)
            ));
        }
        let later = self.writes.values().find(|later| {
            write.event.is_before(later.event)
                && later.event.is_before(read)
                && !self.keeps_its_pages(read, later.event)
        })?;
        Some(format!(
            "found what {} wrote, though {} had closed since",
            named(write.event),
            named(later.event)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, content, faults};
    use super::*;

    fn wrote(began: u64, ended: u64, id: u64, cut: bool) -> Event {
        let deed = Deed::Wrote {
            file: "r".to_owned(),
            id,
            blocks: 2,
            cut,
        };
        at("a/1", began, ended, deed)
    }

    fn read(began: u64, ended: u64, blocks: &[&[u64]]) -> Event {
        let deed = Deed::Read {
            file: "r".to_owned(),
            content: content(blocks),
        };
        at("b/1", began, ended, deed)
    }

    fn holds(events: &[Event]) {
        let mut faults = Vec::new();
        check(events, &mut faults);
        assert!(faults.is_empty(), "{faults:?}");
    }

    #[test]
    fn a_read_after_a_close_that_finds_what_was_there_before_is_found() {
        let two = [wrote(1, 2, 1, false), wrote(3, 4, 2, false)];
        let with = |last| [two[0].clone(), two[1].clone(), last];
        let said = faults(&with(read(5, 6, &[&[1], &[1]])));
        assert!(said.contains("had closed since"), "{said}");
        // One old block among new ones is as wrong.
        let said = faults(&with(read(5, 6, &[&[2], &[2, 1]])));
        assert!(said.contains("had closed since"), "{said}");
        holds(&with(read(5, 6, &[&[2], &[2]])));
    }

    #[test]
    fn while_writers_overlap_any_of_them_may_be_found() {
        let overlapping = [
            wrote(1, 2, 1, false),
            wrote(3, 6, 2, false),
            wrote(4, 7, 3, false),
            read(5, 8, &[&[1, 2], &[3]]),
            read(9, 10, &[&[2], &[3]]),
        ];
        holds(&overlapping);
        let said = faults(&[
            wrote(1, 2, 1, false),
            wrote(3, 6, 2, false),
            wrote(4, 7, 3, false),
            read(8, 9, &[&[1], &[3]]),
        ]);
        assert!(said.contains("had closed since"), "{said}");
    }

    #[test]
    fn a_reader_beside_a_writer_of_its_own_client_may_miss_what_closed_meanwhile() {
        let by = |who: &str, mut event: Event| {
            event.who = who.to_owned();
            event
        };
        let with = |own| {
            [
                wrote(1, 2, 1, false),
                own,
                wrote(5, 6, 3, false),
                read(8, 9, &[&[1], &[1]]),
            ]
        };
        holds(&with(by("b/2", wrote(4, 11, 2, false))));
        for own in [
            // Of another client, over before the read, and opened once the other had closed.
            by("a/2", wrote(4, 11, 2, false)),
            by("b/2", wrote(4, 7, 2, false)),
            by("b/2", wrote(7, 11, 2, false)),
        ] {
            let said = faults(&with(own));
            assert!(said.contains("had closed since"), "{said}");
        }
    }

    #[test]
    fn bytes_from_nowhere_and_from_the_future_are_found() {
        let said = faults(&[wrote(1, 2, 1, false), read(3, 4, &[&[9], &[1]])]);
        assert!(said.contains("nobody wrote"), "{said}");
        let said = faults(&[
            wrote(1, 2, 1, false),
            read(3, 4, &[&[2], &[1]]),
            wrote(5, 6, 2, false),
        ]);
        assert!(said.contains("had yet to write"), "{said}");
        let said = faults(&[wrote(1, 2, 1, false), read(3, 4, &[&[1], &[1], &[1]])]);
        assert!(said.contains("nobody wrote more"), "{said}");
    }

    #[test]
    fn a_file_that_is_short_or_holds_zeros_though_nobody_truncates_it_is_found() {
        for blocks in [&[&[1][..]][..], &[&[1], &[0]], &[]] {
            let said = faults(&[wrote(1, 2, 1, false), read(3, 4, blocks)]);
            assert!(said.contains("nobody had truncated"), "{said}");
            // Only while one that truncates is under way.
            holds(&[
                wrote(1, 2, 1, false),
                wrote(3, 6, 2, true),
                read(4, 5, blocks),
            ]);
            let said = faults(&[wrote(1, 2, 1, true), read(3, 4, blocks)]);
            assert!(said.contains("nobody had truncated"), "{said}");
        }
    }
}
