//! A transaction's own writes over its snapshot, and the record of what it read. Plain data: never
//! a call to the store.

use crate::store::{self, KeyRange, Page, Write};
use crate::view::Guard;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

#[derive(Debug, Default)]
pub(crate) struct Overlay {
    pub writes: BTreeMap<Bytes, Write>,
    pub reads: BTreeSet<Bytes>,
    pub read_ranges: Vec<KeyRange>,
}

/// What the transaction itself says of a key.
pub(crate) enum Own {
    Value(Option<Bytes>),
    /// It takes the snapshot's value to tell.
    Below,
}

impl Overlay {
    /// The value if it doesn't depend on the snapshot; notes the read if it does.
    pub(crate) fn read(&mut self, key: &Bytes, guard: Guard) -> Own {
        match self.writes.get(key) {
            Some(Write::Set(value)) => return Own::Value(Some(value.clone())),
            Some(Write::Delete) => return Own::Value(None),
            Some(Write::Add(_) | Write::Max(_) | Write::Stamp) | None => {}
        }
        if guard == Guard::Conflict {
            self.reads.insert(key.clone());
        }
        Own::Below
    }

    /// The snapshot's value, with this transaction's add or max in it.
    pub(crate) fn merged(&self, key: &Bytes, below: Option<Bytes>) -> Option<Bytes> {
        match self.writes.get(key) {
            None | Some(Write::Stamp) => below,
            Some(Write::Delete) => None,
            Some(write) => Some(store::merge(below.as_ref(), write)),
        }
    }

    /// A page of the snapshot with this transaction's writes in it; notes what was read.
    pub(crate) fn overlaid(
        &mut self,
        range: &KeyRange,
        page: Page,
        limit: usize,
        guard: Guard,
    ) -> Page {
        let covered = match &page.rest {
            None => range.clone(),
            Some(rest) => KeyRange {
                start: range.start.clone(),
                end: rest.start.clone(),
            },
        };
        if guard == Guard::Conflict && !covered.is_empty() {
            self.read_ranges.push(covered.clone());
        }
        if covered.is_empty() {
            return page;
        }
        let mut rows: BTreeMap<Bytes, Bytes> = page.rows.into_iter().collect();
        let own = (
            Bound::Included(&covered.start),
            Bound::Excluded(&covered.end),
        );
        for (key, write) in self.writes.range::<Bytes, _>(own) {
            match write {
                Write::Delete => {
                    rows.remove(key);
                }
                Write::Stamp => {}
                write => {
                    let value = store::merge(rows.get(key), write);
                    rows.insert(key.clone(), value);
                }
            }
        }
        let mut rows: Vec<_> = rows.into_iter().collect();
        if rows.len() <= limit {
            return Page {
                rows,
                rest: page.rest,
            };
        }
        let rest = KeyRange {
            start: rows[limit].0.clone(),
            end: range.end.clone(),
        };
        rows.truncate(limit);
        Page {
            rows,
            rest: Some(rest),
        }
    }

    pub(crate) fn set(&mut self, key: Bytes, value: Bytes) {
        self.writes.insert(key, Write::Set(value));
    }

    pub(crate) fn delete(&mut self, key: Bytes) {
        self.writes.insert(key, Write::Delete);
    }

    pub(crate) fn add(&mut self, key: Bytes, operand: Bytes) {
        let write = match self.writes.get(&key) {
            None | Some(Write::Max(_) | Write::Stamp) => Write::Add(operand),
            Some(Write::Add(earlier)) => Write::Add(store::add(earlier, &operand)),
            Some(Write::Set(value)) => Write::Set(store::add(value, &operand)),
            Some(Write::Delete) => Write::Set(operand),
        };
        self.writes.insert(key, write);
    }

    pub(crate) fn max(&mut self, key: Bytes, operand: u64) {
        let write = match self.writes.get(&key) {
            Some(Write::Max(earlier)) => Write::Max(operand.max(*earlier)),
            None | Some(Write::Add(_) | Write::Stamp) => Write::Max(operand),
            Some(Write::Set(before)) => {
                Write::Set(store::merge(Some(before), &Write::Max(operand)))
            }
            Some(Write::Delete) => Write::Set(store::merge(None, &Write::Max(operand))),
        };
        self.writes.insert(key, write);
    }
}
