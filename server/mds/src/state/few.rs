//! A map of which most have one entry: a file is open once, laid out once, locked in one piece. That entry takes no
//! memory of its own; a second one makes a tree of them.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

#[derive(Debug, Clone, Default)]
pub(super) enum Few<K, V> {
    #[default]
    None,
    One(K, V),
    /// Two at least.
    #[expect(
        clippy::box_collection,
        reason = "a bare tree would take four words in each map that has none"
    )]
    Many(Box<BTreeMap<K, V>>),
}

impl<K: Ord + Copy, V: Copy> Few<K, V> {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Few::None)
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Few::None => 0,
            Few::One(..) => 1,
            Few::Many(many) => many.len(),
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        match self {
            Few::None => None,
            Few::One(one, value) => (one == key).then_some(value),
            Few::Many(many) => many.get(key),
        }
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        match self {
            Few::None => *self = Few::One(key, value),
            Few::One(one, kept) if *one == key => *kept = value,
            Few::One(one, kept) => {
                *self = Few::Many(Box::new(BTreeMap::from([(*one, *kept), (key, value)])));
            }
            Few::Many(many) => {
                many.insert(key, value);
            }
        }
    }

    pub(super) fn remove(&mut self, key: &K) {
        match self {
            Few::None => {}
            Few::One(one, _) => {
                if one == key {
                    *self = Few::None;
                }
            }
            Few::Many(many) => {
                many.remove(key);
                if many.len() == 1
                    && let Some((one, value)) = many.pop_first()
                {
                    *self = Few::One(one, value);
                }
            }
        }
    }

    pub(super) fn first(&self) -> Option<(&K, &V)> {
        match self {
            Few::None => None,
            Few::One(key, value) => Some((key, value)),
            Few::Many(many) => many.first_key_value(),
        }
    }

    pub(super) fn last(&self) -> Option<(&K, &V)> {
        match self {
            Few::None => None,
            Few::One(key, value) => Some((key, value)),
            Few::Many(many) => many.last_key_value(),
        }
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.range(..)
    }

    pub(super) fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    pub(super) fn range(
        &self,
        keys: impl RangeBounds<K>,
    ) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        let (one, many) = match self {
            Few::None => (None, None),
            Few::One(key, value) => (keys.contains(key).then_some((key, value)), None),
            Few::Many(many) => (None, Some(many.range(keys))),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_entry_takes_no_more_than_two_words() {
        assert_eq!(size_of::<Few<u32, u32>>(), 16);
        assert_eq!(size_of::<Few<(u32, u32), u32>>(), 16);
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0u8..6, any::<bool>(), any::<u16>()), 0..40)) {
            let (mut few, mut map) = (Few::default(), BTreeMap::new());
            for (key, adds, value) in steps {
                if adds {
                    few.insert(key, value);
                    map.insert(key, value);
                } else {
                    few.remove(&key);
                    map.remove(&key);
                }
                prop_assert_eq!(matches!(few, Few::Many(_)), map.len() > 1);
                prop_assert_eq!((few.len(), few.is_empty()), (map.len(), map.is_empty()));
                prop_assert!(few.iter().eq(map.iter()));
                prop_assert_eq!((few.first(), few.last()), (map.first_key_value(), map.last_key_value()));
                for from in 0..6 {
                    prop_assert_eq!(few.get(&from), map.get(&from));
                    prop_assert!(few.range(from..=4.max(from)).eq(map.range(from..=4.max(from))));
                    prop_assert!(few.range(..from).rev().eq(map.range(..from).rev()));
                }
            }
        }
    }
}
