//! Whether a file system may have answered as a history says. Pure: events in, faults out.

mod contests;
mod folder;
mod locks;
mod registers;

use std::fmt;

use super::event::{Deed, Event, UnderLock};

/// What a history without a fault is worth: how often its clients met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub events: usize,
    /// Contests that more than one client entered.
    pub contested: usize,
    /// Times that a lock went from one client to another.
    pub handed_over: usize,
    /// Reads of a file while another client wrote it.
    pub read_while_written: usize,
    /// Listings while another client changed the folder.
    pub listed_while_changed: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} operations, {} names that both wanted, {} locks handed over, {} reads and {} listings during the other's changes",
            self.events,
            self.contested,
            self.handed_over,
            self.read_while_written,
            self.listed_while_changed
        )
    }
}

/// Gives every fault as a sentence.
pub fn check(events: &[Event]) -> Result<Tally, Vec<String>> {
    let mut faults = Vec::new();
    let contested = contests::check(events, &mut faults);
    let handed_over = locks::check(events, &mut faults);
    let read_while_written = registers::check(events, &mut faults);
    let listed_while_changed = folder::check(events, &mut faults);
    if faults.is_empty() {
        Ok(Tally {
            events: events.len(),
            contested,
            handed_over,
            read_while_written,
            listed_while_changed,
        })
    } else {
        Err(faults)
    }
}

/// How a fault names an event.
fn named(event: &Event) -> String {
    let what = match &event.deed {
        Deed::Tried { .. } => "try",
        Deed::Maker { .. } | Deed::Read { .. } => "read",
        Deed::Locked { deed, .. } => match deed {
            UnderLock::Appended { .. } => "append",
            UnderLock::ReadLog { .. } | UnderLock::Read { .. } => "read under a lock",
            UnderLock::Added { .. } => "addition",
            UnderLock::Wrote { .. } => "write under a lock",
            UnderLock::Truncated { .. } => "truncate",
        },
        Deed::Wrote { .. } => "write",
        Deed::Made { .. } => "creation",
        Deed::Removed { .. } => "removal",
        Deed::Renamed { .. } => "rename",
        Deed::Listed { .. } => "listing",
    };
    format!("{}'s {what} of {}..{}", event.who, event.began, event.ended)
}

#[cfg(test)]
mod tests {
    use super::super::event::{Content, Hold};
    use super::*;

    pub fn at(who: &str, began: u64, ended: u64, deed: Deed) -> Event {
        Event {
            who: who.to_owned(),
            began,
            ended,
            deed,
        }
    }

    pub fn faults(events: &[Event]) -> String {
        check(events).expect_err("no fault was found").join("\n")
    }

    pub fn content(blocks: &[&[u64]]) -> Content {
        Content {
            bytes: blocks.len() * super::super::event::BLOCK_BYTES,
            blocks: blocks.iter().map(|ids| ids.to_vec()).collect(),
        }
    }

    #[test]
    fn a_sound_history_of_every_kind_of_deed_passes_and_is_counted() {
        let name = |name: &str| name.to_owned();
        let locked = |who, began, ended, deed| {
            let hold = match deed {
                UnderLock::ReadLog { .. } | UnderLock::Read { .. } => Hold::Shared,
                _ => Hold::Exclusive,
            };
            let file = name("f");
            at(who, began, ended, Deed::Locked { file, hold, deed })
        };
        let tried = |won| Deed::Tried {
            what: name("create:x"),
            won,
        };
        let write = |id| Deed::Wrote {
            file: name("r"),
            id,
            blocks: 1,
            cut: false,
        };
        let events = [
            at("a/1", 1, 4, tried(true)),
            at("b/1", 2, 3, tried(false)),
            locked("a/1", 5, 6, UnderLock::Appended { record: 9 }),
            locked("b/1", 7, 8, UnderLock::ReadLog { records: vec![9] }),
            at("a/1", 9, 10, write(1)),
            at("a/1", 11, 14, write(2)),
            at(
                "b/1",
                12,
                13,
                Deed::Read {
                    file: name("r"),
                    content: content(&[&[1]]),
                },
            ),
            at("a/1", 20, 23, Deed::Made { name: name("n") }),
            at("b/1", 21, 22, Deed::Listed { names: vec![] }),
        ];
        let tally = check(&events).unwrap();
        assert_eq!(
            tally,
            Tally {
                events: 9,
                contested: 1,
                handed_over: 1,
                read_while_written: 1,
                listed_while_changed: 1,
            }
        );
    }
}
