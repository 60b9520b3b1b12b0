//! Decides transactions in their order: conflict or not, what they merge to, whether one was answered
//! before. Pure but for reads of the state under it; never I/O of its own.

use super::batch::{Batch, Operation};
use super::{
    Committed, IdempotencyKey, KeyRange, Merged, Outcome, StoreError, Transaction, Version, Write,
};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;

/// Keys whose last write is remembered. A transaction that read before the oldest is a conflict.
const WINDOW_KEYS: usize = 1 << 17;
/// Answers kept for transactions sent again.
pub(crate) const ANSWERS: usize = 1 << 14;

/// State before the batch.
pub(crate) trait Base {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;
    /// All keys in a range.
    fn keys(&self, range: &KeyRange) -> Result<Vec<Bytes>, StoreError>;
}

/// Last writes of recently written keys.
#[derive(Debug, Default)]
struct Window {
    last: BTreeMap<Bytes, Version>,
    order: VecDeque<(Version, Bytes)>,
    /// Writes up to this version are forgotten.
    floor: Version,
}

impl Window {
    fn wrote(&mut self, key: Bytes, version: Version) {
        self.last.insert(key.clone(), version);
        self.order.push_back((version, key));
        while self.order.len() > WINDOW_KEYS {
            if let Some((version, key)) = self.order.pop_front() {
                if self.last.get(&key) == Some(&version) {
                    self.last.remove(&key);
                }
                self.floor = self.floor.max(version);
            }
        }
    }

    fn conflicts(&self, transaction: &Transaction) -> bool {
        if transaction.reads.is_empty() && transaction.read_ranges.is_empty() {
            return false;
        }
        let newer = |version: &Version| *version > transaction.read_version;
        newer(&self.floor)
            || transaction
                .reads
                .iter()
                .any(|key| self.last.get(key).is_some_and(newer))
            || transaction
                .read_ranges
                .iter()
                .filter(|range| !range.is_empty())
                .any(|range| {
                    let bounds = (Bound::Included(&range.start), Bound::Excluded(&range.end));
                    self.last
                        .range::<Bytes, _>(bounds)
                        .any(|(_, version)| newer(version))
                })
    }
}

#[derive(Debug, Default)]
pub(crate) struct Resolver {
    window: Window,
    answers: HashMap<IdempotencyKey, Committed>,
    answer_order: VecDeque<IdempotencyKey>,
    version: Version,
}

/// A decided batch, and the outcome for each transaction in the order given.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub batch: Batch,
    pub outcomes: Vec<Outcome>,
}

impl Resolver {
    /// Goes on after `version`: what was written up to it can't be told apart any more.
    pub(crate) fn at(version: Version) -> Self {
        Resolver {
            window: Window {
                floor: version,
                ..Window::default()
            },
            version,
            ..Resolver::default()
        }
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn has_answered(&self, key: IdempotencyKey) -> bool {
        self.answers.contains_key(&key)
    }

    pub(crate) fn remember(&mut self, key: IdempotencyKey, committed: Committed) {
        if self.answers.insert(key, committed).is_none() {
            self.answer_order.push_back(key);
        }
        while self.answer_order.len() > ANSWERS {
            if let Some(oldest) = self.answer_order.pop_front() {
                self.answers.remove(&oldest);
            }
        }
    }

    /// Decides all of `waiting`. What it decides holds only if the batch becomes durable: a caller
    /// that fails to write it must never come back with another.
    pub(crate) fn resolve<'a>(
        &mut self,
        waiting: impl Iterator<Item = &'a Transaction>,
        base: &dyn Base,
    ) -> Result<Resolved, StoreError> {
        let mut overlay: BTreeMap<Bytes, Option<Bytes>> = BTreeMap::new();
        let mut answers = Vec::new();
        let mut outcomes = Vec::new();
        for transaction in waiting {
            if let Some(committed) = self.answers.get(&transaction.idempotency) {
                outcomes.push(Outcome::Committed(committed.clone()));
                continue;
            }
            if self.window.conflicts(transaction) {
                outcomes.push(Outcome::Conflict);
                continue;
            }
            let committed = Committed {
                version: self.version + 1,
                merged: apply(
                    transaction,
                    self.version + 1,
                    base,
                    &mut overlay,
                    &mut self.window,
                )?,
            };
            self.version += 1;
            self.remember(transaction.idempotency, committed.clone());
            answers.push((transaction.idempotency, committed.clone()));
            outcomes.push(Outcome::Committed(committed));
        }
        let operations = overlay
            .into_iter()
            .map(|(key, value)| match value {
                Some(value) => Operation::Set(key, value),
                None => Operation::Delete(key),
            })
            .collect();
        Ok(Resolved {
            batch: Batch {
                version: self.version,
                operations,
                answers,
            },
            outcomes,
        })
    }
}

fn apply(
    transaction: &Transaction,
    version: Version,
    base: &dyn Base,
    overlay: &mut BTreeMap<Bytes, Option<Bytes>>,
    window: &mut Window,
) -> Result<Vec<Merged>, StoreError> {
    for range in transaction.clears.iter().filter(|range| !range.is_empty()) {
        let bounds = (Bound::Included(&range.start), Bound::Excluded(&range.end));
        let mut keys = base.keys(range)?;
        keys.extend(
            overlay
                .range::<Bytes, _>(bounds)
                .map(|(key, _)| key.clone()),
        );
        for key in keys {
            overlay.insert(key.clone(), None);
            window.wrote(key, version);
        }
    }
    let mut merged = Vec::new();
    for (key, write) in &transaction.writes {
        let value = match write {
            Write::Set(value) => Some(value.clone()),
            Write::Delete => None,
            Write::Stamp => Some(Bytes::copy_from_slice(&version.to_be_bytes())),
            Write::Add(_) | Write::Max(_) => {
                let before = match overlay.get(key) {
                    Some(value) => value.clone(),
                    None => base.get(key)?,
                };
                let after = merge(before.as_ref(), write);
                merged.push(Merged {
                    key: key.clone(),
                    before,
                    after: after.clone(),
                });
                Some(after)
            }
        };
        overlay.insert(key.clone(), value);
        window.wrote(key.clone(), version);
    }
    Ok(merged)
}

/// Value of a key after an add or max; of the write itself for the rest.
pub(crate) fn merge(before: Option<&Bytes>, write: &Write) -> Bytes {
    match write {
        Write::Add(operand) => add(before.map_or(&[][..], |value| value.as_ref()), operand),
        Write::Max(operand) => {
            let mut wide = [0; 8];
            if let Some(before) = before {
                let count = before.len().min(8);
                wide[..count].copy_from_slice(&before[..count]);
            }
            Bytes::copy_from_slice(&u64::from_le_bytes(wide).max(*operand).to_le_bytes())
        }
        Write::Set(value) => value.clone(),
        Write::Delete | Write::Stamp => Bytes::new(),
    }
}

/// Sum of two little-endian numbers, as wide as the operand, wrapping.
pub(crate) fn add(before: &[u8], operand: &[u8]) -> Bytes {
    let mut carry = 0_u16;
    operand
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            let sum = u16::from(before.get(at).copied().unwrap_or(0)) + u16::from(*byte) + carry;
            carry = sum >> 8;
            sum as u8
        })
        .collect::<Vec<u8>>()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Empty;

    impl Base for Empty {
        fn get(&self, _: &[u8]) -> Result<Option<Bytes>, StoreError> {
            Ok(None)
        }
        fn keys(&self, _: &KeyRange) -> Result<Vec<Bytes>, StoreError> {
            Ok(Vec::new())
        }
    }

    fn writing(number: u128, read_version: Version, key: &'static str) -> Transaction {
        let mut transaction = Transaction::blind(IdempotencyKey(number));
        transaction.read_version = read_version;
        transaction
            .writes
            .insert(key.into(), Write::Add(Bytes::from_static(&[1])));
        transaction
    }

    fn reading(mut transaction: Transaction, key: &'static str) -> Transaction {
        transaction.reads.insert(key.into());
        transaction
    }

    #[test]
    fn of_two_that_read_what_the_other_writes_one_wins() {
        let mut resolver = Resolver::at(0);
        let both = [
            reading(writing(1, 0, "a"), "b"),
            reading(writing(2, 0, "b"), "a"),
        ];
        let resolved = resolver.resolve(both.iter(), &Empty).unwrap();
        assert!(matches!(
            resolved.outcomes[..],
            [Outcome::Committed(_), Outcome::Conflict]
        ));
    }

    #[test]
    fn a_range_read_conflicts_with_a_key_that_appears_in_it() {
        let mut resolver = Resolver::at(0);
        let mut second = writing(2, 0, "z");
        second.read_ranges.push(KeyRange {
            start: "a".into(),
            end: "c".into(),
        });
        let both = [writing(1, 0, "b"), second];
        let resolved = resolver.resolve(both.iter(), &Empty).unwrap();
        assert!(matches!(
            resolved.outcomes[..],
            [Outcome::Committed(_), Outcome::Conflict]
        ));
    }

    #[test]
    fn blind_adds_to_one_key_both_commit_and_each_learns_its_own_before_and_after() {
        let mut resolver = Resolver::at(0);
        let both = [writing(1, 0, "a"), writing(2, 0, "a")];
        let resolved = resolver.resolve(both.iter(), &Empty).unwrap();
        let after: Vec<_> = resolved
            .outcomes
            .iter()
            .map(|outcome| match outcome {
                Outcome::Committed(committed) => committed.merged[0].after[0],
                _ => 0,
            })
            .collect();
        assert_eq!(after, [1, 2]);
        assert_eq!(
            resolved.batch.operations,
            [Operation::Set("a".into(), Bytes::from_static(&[2]))]
        );
    }

    #[test]
    fn a_transaction_sent_twice_is_applied_once() {
        let mut resolver = Resolver::at(0);
        let transaction = writing(1, 0, "a");
        let first = resolver
            .resolve([&transaction].into_iter(), &Empty)
            .unwrap();
        let second = resolver
            .resolve([&transaction].into_iter(), &Empty)
            .unwrap();
        assert_eq!(first.outcomes, second.outcomes);
        assert!(second.batch.operations.is_empty());
    }

    #[test]
    fn what_was_read_before_the_window_is_a_conflict() {
        let mut resolver = Resolver::at(7);
        let old = reading(writing(1, 6, "a"), "b");
        let young = reading(writing(2, 7, "a"), "b");
        let resolved = resolver
            .resolve([&old, &young].into_iter(), &Empty)
            .unwrap();
        assert!(matches!(
            resolved.outcomes[..],
            [Outcome::Conflict, Outcome::Committed(_)]
        ));
    }

    #[test]
    fn the_window_forgets_its_oldest_writes_and_then_distrusts_old_reads() {
        let mut window = Window::default();
        for version in 1..=WINDOW_KEYS as u64 + 10 {
            window.wrote(version.to_be_bytes().to_vec().into(), version);
        }
        assert_eq!((window.last.len(), window.floor), (WINDOW_KEYS, 10));
        assert!(window.conflicts(&reading(writing(1, 9, "a"), "b")));
        assert!(!window.conflicts(&reading(writing(1, 10, "a"), "b")));
        assert!(!window.conflicts(&writing(1, 0, "a")), "it read nothing");
    }

    #[test]
    fn answers_are_kept_for_so_many_transactions_and_no_more() {
        let mut resolver = Resolver::at(0);
        for number in 0..=ANSWERS as u128 {
            resolver
                .resolve([&writing(number, 0, "a")].into_iter(), &Empty)
                .unwrap();
        }
        assert!(!resolver.has_answered(IdempotencyKey(0)));
        assert!(resolver.has_answered(IdempotencyKey(1)));
        assert_eq!(resolver.answers.len(), ANSWERS);
    }

    #[test]
    fn packed_fields_add_up_independently() {
        let packed = |low: i64, high: i64| {
            let sum = i128::from(low) + (i128::from(high) << 64);
            Bytes::copy_from_slice(&sum.to_le_bytes())
        };
        let value = add(&packed(5, 3), &packed(1, -1));
        assert_eq!(value, packed(6, 2));
        let value = add(&value, &packed(-6, -2));
        assert_eq!(value, packed(0, 0));
    }
}
