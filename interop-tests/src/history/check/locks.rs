//! What is done under locks: the locks exclude each other, so the deeds have one order, and each must find what those
//! before it left. That covers appends, counters, and truncates, which nothing may undo.

use std::collections::BTreeMap;

use super::named;
use crate::history::event::{BLOCK_BYTES, Content, Deed, Event, Hold, UnderLock};

/// Deeds told with a fault, that led to it.
const SHOWN_BEFORE: usize = 12;

struct Held<'a> {
    event: &'a Event,
    hold: Hold,
    deed: &'a UnderLock,
}

/// Gives how often a lock went from one client to another.
pub fn check(events: &[Event], faults: &mut Vec<String>) -> usize {
    let mut files: BTreeMap<&str, Vec<Held<'_>>> = BTreeMap::new();
    for event in events {
        if let Deed::Locked { file, hold, deed } = &event.deed {
            let hold = *hold;
            files
                .entry(file)
                .or_default()
                .push(Held { event, hold, deed });
        }
    }
    let mut handed_over = 0;
    for (file, held) in &mut files {
        held.sort_by_key(|held| held.event.began);
        let before = faults.len();
        exclude(file, held, faults);
        // Without an order there is nothing to replay.
        if faults.len() == before {
            replay(file, held, faults);
        }
        handed_over += held
            .windows(2)
            .filter(|pair| pair[0].event.client() != pair[1].event.client())
            .count();
    }
    handed_over
}

fn exclude(file: &str, held: &[Held<'_>], faults: &mut Vec<String>) {
    // Of each kind the one that ends last among those that began earlier.
    let mut latest: Option<&Held<'_>> = None;
    let mut latest_exclusive: Option<&Held<'_>> = None;
    for one in held {
        let other = match one.hold {
            Hold::Exclusive => latest,
            Hold::Shared => latest_exclusive,
        };
        if let Some(other) = other.filter(|other| other.event.ended > one.event.began) {
            faults.push(format!(
                "{file}: {} and {} held the lock at the same time",
                named(other.event),
                named(one.event)
            ));
        }
        let later = |old: Option<&Held<'_>>| old.is_none_or(|o| o.event.ended < one.event.ended);
        if later(latest) {
            latest = Some(one);
        }
        if one.hold == Hold::Exclusive && later(latest_exclusive) {
            latest_exclusive = Some(one);
        }
    }
}

/// What a file must hold, by those that held its lock so far.
#[derive(Default)]
struct Model {
    records: Vec<u64>,
    number: u64,
    blocks: Vec<u64>,
}

fn replay(file: &str, held: &[Held<'_>], faults: &mut Vec<String>) {
    let mut model = Model::default();
    for (place, one) in held.iter().enumerate() {
        if let Err(fault) = model.step(one.deed) {
            let before = &held[place.saturating_sub(SHOWN_BEFORE)..=place];
            let before: Vec<String> = before.iter().map(|held| held.event.to_string()).collect();
            let before = before.join("\n  ");
            faults.push(format!(
                "{file}: {}: {fault}; the last deeds on it:\n  {before}",
                named(one.event)
            ));
            // What follows would be told again of each later one.
            return;
        }
    }
}

impl Model {
    fn step(&mut self, deed: &UnderLock) -> Result<(), String> {
        match deed {
            UnderLock::Appended { record } => self.records.push(*record),
            UnderLock::ReadLog { records } => return self.log_is(records),
            UnderLock::Added { found } => {
                if *found != self.number {
                    return Err(format!("found {found}, after {} additions", self.number));
                }
                self.number += 1;
            }
            UnderLock::Wrote { first, blocks, id } => {
                let end = first + blocks;
                if self.blocks.len() < end {
                    self.blocks.resize(end, 0);
                }
                self.blocks[*first..end].fill(*id);
            }
            UnderLock::Truncated { blocks } => self.blocks.resize(*blocks, 0),
            UnderLock::Read { content } => return self.content_is(content),
        }
        Ok(())
    }

    fn log_is(&self, found: &[u64]) -> Result<(), String> {
        let same = self.records.iter().zip(found).take_while(|(a, b)| a == b);
        let place = same.count();
        if place == self.records.len() && place == found.len() {
            return Ok(());
        }
        Err(format!(
            "found {} records where {} were appended; from record {place} on it found {:?} instead of {:?}",
            found.len(),
            self.records.len(),
            &found[place..found.len().min(place + 3)],
            &self.records[place..self.records.len().min(place + 3)],
        ))
    }

    fn content_is(&self, found: &Content) -> Result<(), String> {
        let bytes = self.blocks.len() * BLOCK_BYTES;
        if found.bytes != bytes {
            return Err(format!(
                "found {} bytes, {bytes} are left of what was written and truncated",
                found.bytes
            ));
        }
        let wrong = found
            .blocks
            .iter()
            .zip(&self.blocks)
            .position(|(found, id)| found[..] != [*id]);
        match wrong {
            None => Ok(()),
            Some(place) => Err(format!(
                "found {:?} in block {place}, where {} was written last",
                found.blocks[place], self.blocks[place]
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, content, faults};
    use super::*;

    fn held(who: &str, began: u64, hold: Hold, deed: UnderLock) -> Event {
        let file = "f".to_owned();
        at(who, began, began + 2, Deed::Locked { file, hold, deed })
    }

    fn after(events: Vec<UnderLock>) -> String {
        let events: Vec<Event> = events
            .into_iter()
            .enumerate()
            .map(|(index, deed)| held("a/1", index as u64 * 10, Hold::Exclusive, deed))
            .collect();
        faults(&events)
    }

    fn log(records: &[u64]) -> UnderLock {
        UnderLock::ReadLog {
            records: records.to_vec(),
        }
    }

    fn appended(record: u64) -> UnderLock {
        UnderLock::Appended { record }
    }

    fn wrote(first: usize, blocks: usize, id: u64) -> UnderLock {
        UnderLock::Wrote { first, blocks, id }
    }

    #[test]
    fn two_that_hold_one_lock_at_the_same_time_are_found() {
        let added = |found| UnderLock::Added { found };
        let pair = |first, second| {
            [
                held("a/1", 1, first, added(0)),
                held("b/1", 2, second, added(1)),
            ]
        };
        for (first, second) in [
            (Hold::Exclusive, Hold::Exclusive),
            (Hold::Exclusive, Hold::Shared),
            (Hold::Shared, Hold::Exclusive),
        ] {
            let said = faults(&pair(first, second));
            assert!(said.contains("at the same time"), "{said}");
        }
        let mut none = Vec::new();
        check(&pair(Hold::Shared, Hold::Shared), &mut none);
        assert!(none.is_empty(), "{none:?}");
    }

    #[test]
    fn a_short_hold_within_a_long_one_is_found_behind_another() {
        let mut long = held("a/1", 1, Hold::Exclusive, appended(1));
        long.ended = 20;
        let said = faults(&[
            long,
            held("b/1", 3, Hold::Exclusive, appended(2)),
            held("b/2", 8, Hold::Exclusive, appended(3)),
        ]);
        assert_eq!(said.lines().count(), 2, "{said}");
    }

    #[test]
    fn an_append_that_is_lost_doubled_or_out_of_order_is_found() {
        for found in [&[1][..], &[2], &[1, 1, 2], &[2, 1], &[1, 0]] {
            let said = after(vec![appended(1), appended(2), log(found)]);
            assert!(said.contains("from record"), "{found:?}: {said}");
        }
    }

    #[test]
    fn a_count_that_two_found_alike_or_that_skips_one_is_found() {
        for found in [0, 2] {
            let said = after(vec![
                UnderLock::Added { found: 0 },
                UnderLock::Added { found },
            ]);
            assert!(said.contains("after 1 additions"), "{said}");
        }
    }

    #[test]
    fn a_truncate_that_is_undone_is_found_by_size_and_by_bytes() {
        let cut = || vec![wrote(0, 4, 7), UnderLock::Truncated { blocks: 1 }];
        let read = |blocks: &[&[u64]]| UnderLock::Read {
            content: content(blocks),
        };
        let with = |more: Vec<UnderLock>| after(cut().into_iter().chain(more).collect());
        let said = with(vec![read(&[&[7], &[7], &[7], &[7]])]);
        assert!(said.contains("found 4000 bytes, 1000"), "{said}");
        let said = with(vec![wrote(3, 1, 8), read(&[&[7], &[7], &[0], &[8]])]);
        assert!(said.contains("[7] in block 1, where 0"), "{said}");
        let said = with(vec![wrote(1, 1, 8), read(&[&[7], &[8, 7]])]);
        assert!(said.contains("[8, 7] in block 1, where 8"), "{said}");
    }

    #[test]
    fn a_write_under_a_lock_that_the_next_does_not_find_is_found() {
        let said = after(vec![
            wrote(0, 2, 7),
            wrote(1, 1, 8),
            UnderLock::Read {
                content: content(&[&[7], &[7]]),
            },
        ]);
        assert!(said.contains("where 8 was written last"), "{said}");
    }
}
