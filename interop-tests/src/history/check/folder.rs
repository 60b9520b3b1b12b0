//! Listing a folder that changes: every name that was there all the while is listed once, none that was gone before or
//! came after, and none twice. A name is made at most once in a history, by creating it or as the target of a rename.

use std::collections::{BTreeMap, BTreeSet};

use super::named;
use crate::history::event::{Deed, Event};

#[derive(Default)]
struct Life<'a> {
    made: Option<&'a Event>,
    gone: Option<&'a Event>,
}

/// Gives the number of listings during which another client changed the folder.
pub fn check(events: &[Event], faults: &mut Vec<String>) -> usize {
    let mut lives: BTreeMap<&str, Life<'_>> = BTreeMap::new();
    let mut changes = Vec::new();
    for event in events {
        let (made, gone) = match &event.deed {
            Deed::Made { name } => (Some(name), None),
            Deed::Removed { name } => (None, Some(name)),
            Deed::Renamed { from, to } => (Some(to), Some(from)),
            _ => continue,
        };
        if let Some(name) = made {
            lives.entry(name).or_default().made = Some(event);
        }
        if let Some(name) = gone {
            lives.entry(name).or_default().gone = Some(event);
        }
        changes.push(event);
    }
    let mut met = 0;
    for event in events {
        if let Deed::Listed { names } = &event.deed {
            for fault in judge(event, names, &lives) {
                faults.push(format!("{}: {fault}", named(event)));
            }
            met += usize::from(
                changes
                    .iter()
                    .any(|change| change.overlaps(event) && change.client() != event.client()),
            );
        }
    }
    met
}

fn judge(listing: &Event, names: &[String], lives: &BTreeMap<&str, Life<'_>>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name.as_str()) {
            faults.push(format!("{name} is there twice"));
        }
        let life = lives.get(name.as_str());
        match life.and_then(|life| life.made) {
            None => faults.push(format!("{name} is there, and nobody made it")),
            Some(made) if listing.is_before(made) => {
                faults.push(format!("{name} is there before {}", named(made)));
            }
            Some(_) => {}
        }
        if let Some(gone) = life.and_then(|life| life.gone)
            && gone.is_before(listing)
        {
            faults.push(format!("{name} is there after {}", named(gone)));
        }
    }
    for (name, life) in lives {
        let there = life.made.is_some_and(|made| made.is_before(listing))
            && life.gone.is_none_or(|gone| listing.is_before(gone));
        if there && !seen.contains(name) {
            faults.push(format!("{name} is missing"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, faults};
    use super::*;

    fn name(name: &str) -> String {
        name.to_owned()
    }

    fn made(began: u64, one: &str) -> Event {
        at("a/1", began, began + 1, Deed::Made { name: name(one) })
    }

    fn removed(began: u64, one: &str) -> Event {
        at("a/1", began, began + 1, Deed::Removed { name: name(one) })
    }

    fn listed(began: u64, names: &[&str]) -> Event {
        let names = names.iter().map(|one| name(one)).collect();
        at("b/1", began, began + 5, Deed::Listed { names })
    }

    fn holds(events: &[Event]) {
        let mut faults = Vec::new();
        check(events, &mut faults);
        assert!(faults.is_empty(), "{faults:?}");
    }

    #[test]
    fn an_untouched_name_that_is_missing_or_there_twice_is_found() {
        let said = faults(&[made(1, "x"), made(3, "y"), listed(5, &["y"])]);
        assert!(said.contains("x is missing"), "{said}");
        let said = faults(&[made(1, "x"), listed(5, &["x", "x"])]);
        assert!(said.contains("x is there twice"), "{said}");
    }

    #[test]
    fn a_name_that_was_gone_that_comes_later_or_that_nobody_made_is_found() {
        let said = faults(&[made(1, "x"), removed(3, "x"), listed(5, &["x"])]);
        assert!(said.contains("x is there after"), "{said}");
        let said = faults(&[listed(1, &["x"]), made(10, "x")]);
        assert!(said.contains("x is there before"), "{said}");
        let said = faults(&[listed(1, &["x"])]);
        assert!(said.contains("nobody made it"), "{said}");
    }

    #[test]
    fn a_rename_takes_one_name_and_gives_another() {
        let renamed = Deed::Renamed {
            from: name("x"),
            to: name("y"),
        };
        let renamed = at("a/1", 3, 4, renamed);
        let with = |names| [made(1, "x"), renamed.clone(), listed(5, names)];
        holds(&with(&["y"]));
        let said = faults(&with(&["x"]));
        assert!(said.contains("x is there after"), "{said}");
        assert!(said.contains("y is missing"), "{said}");
    }

    #[test]
    fn what_changes_meanwhile_may_be_listed_or_not() {
        for names in [&["x", "z"][..], &["z"], &["x"], &[]] {
            holds(&[
                made(1, "x"),
                at("a/1", 4, 7, Deed::Removed { name: name("x") }),
                at("a/2", 4, 20, Deed::Made { name: name("z") }),
                listed(5, names),
            ]);
        }
    }
}
