//! What one alone can succeed with: O_EXCL, mkdir, link, unlink and rename of one name.

use std::collections::{BTreeMap, BTreeSet};

use super::named;
use crate::history::event::{Deed, Event};

/// Gives the number of names that more than one client tried.
pub fn check(events: &[Event], faults: &mut Vec<String>) -> usize {
    let mut contests: BTreeMap<&str, Vec<(&Event, bool)>> = BTreeMap::new();
    for event in events {
        if let Deed::Tried { what, won } = &event.deed {
            contests.entry(what).or_default().push((event, *won));
        }
    }
    for (what, tries) in &contests {
        judge(what, tries, faults);
    }
    for event in events {
        if let Deed::Maker { name, said } = &event.deed {
            let won = contests
                .get(format!("create:{name}").as_str())
                .and_then(|tries| tries.iter().find(|(_, won)| *won));
            match won {
                Some((winner, _)) if winner.who == *said => {}
                Some((winner, _)) => faults.push(format!(
                    "{name} was made by {}, and {} found {said} in it",
                    winner.who, event.who
                )),
                None => faults.push(format!("{name} is there, and nobody made it")),
            }
        }
    }
    // Who looked at all of them found all of them.
    let lookers: BTreeSet<&str> = makers(events)
        .map(|(event, _)| event.who.as_str())
        .collect();
    let found: BTreeSet<(&str, &str)> = makers(events)
        .map(|(event, name)| (event.who.as_str(), name))
        .collect();
    for (what, tries) in &contests {
        let Some(name) = what.strip_prefix("create:") else {
            continue;
        };
        for looker in &lookers {
            if tries.iter().any(|(_, won)| *won) && !found.contains(&(*looker, name)) {
                faults.push(format!("{name} was made, and {looker} didn't find it"));
            }
        }
    }
    let by_more = |tries: &&Vec<(&Event, bool)>| {
        let first = tries[0].0.client();
        tries.iter().any(|(event, _)| event.client() != first)
    };
    contests.values().filter(by_more).count()
}

fn makers(events: &[Event]) -> impl Iterator<Item = (&Event, &str)> {
    events.iter().filter_map(|event| match &event.deed {
        Deed::Maker { name, .. } => Some((event, name.as_str())),
        _ => None,
    })
}

fn judge(what: &str, tries: &[(&Event, bool)], faults: &mut Vec<String>) {
    let winners: Vec<&Event> = tries.iter().filter(|t| t.1).map(|t| t.0).collect();
    match winners[..] {
        [] => faults.push(format!(
            "{what}: {} tried, and nobody succeeded",
            tries.len()
        )),
        [winner] => {
            for (loser, _) in tries
                .iter()
                .filter(|(try_, won)| !won && try_.is_before(winner))
            {
                faults.push(format!(
                    "{what}: {} failed before {}, which succeeded, had begun",
                    named(loser),
                    named(winner)
                ));
            }
        }
        [one, other, ..] => faults.push(format!(
            "{what}: {} and {} both succeeded",
            named(one),
            named(other)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, faults};
    use super::*;

    fn tried(won: bool) -> Deed {
        Deed::Tried {
            what: "create:x".to_owned(),
            won,
        }
    }

    fn maker(said: &str) -> Event {
        let (name, said) = ("x".to_owned(), said.to_owned());
        at("b/1", 9, 10, Deed::Maker { name, said })
    }

    #[test]
    fn two_that_both_created_a_file_exclusively_are_found() {
        let said = faults(&[at("a/1", 1, 3, tried(true)), at("b/1", 2, 4, tried(true))]);
        assert!(said.contains("both succeeded"), "{said}");
    }

    #[test]
    fn a_name_that_everybody_was_told_is_taken_is_found() {
        let said = faults(&[at("a/1", 1, 3, tried(false)), at("b/1", 2, 4, tried(false))]);
        assert!(said.contains("nobody succeeded"), "{said}");
    }

    #[test]
    fn a_name_that_was_taken_before_anybody_took_it_is_found() {
        let said = faults(&[at("a/1", 1, 2, tried(false)), at("b/1", 3, 4, tried(true))]);
        assert!(said.contains("had begun"), "{said}");
    }

    #[test]
    fn a_file_that_holds_what_a_loser_wrote_is_found() {
        let said = faults(&[at("a/1", 1, 2, tried(true)), maker("b/1")]);
        assert!(said.contains("was made by a/1"), "{said}");
        let said = faults(&[maker("b/1")]);
        assert!(said.contains("nobody made it"), "{said}");
    }

    #[test]
    fn a_file_that_was_made_and_is_not_there_at_the_end_is_found() {
        let other = Deed::Tried {
            what: "create:y".to_owned(),
            won: true,
        };
        let said = faults(&[
            at("a/1", 1, 2, tried(true)),
            at("a/1", 3, 4, other),
            maker("a/1"),
        ]);
        assert_eq!(said, "y was made, and b/1 didn't find it");
    }
}
