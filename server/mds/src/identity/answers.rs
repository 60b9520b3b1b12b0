//! What is kept of a directory's answers, pure: for a time, and as many as a limit says.

use super::accounts::{Answer, Question};
use crate::state::Time;
use std::collections::HashMap;

#[derive(Debug, Clone)]
struct Kept {
    /// `None`: nobody is called that.
    answer: Option<Answer>,
    until: Time,
}

/// What is known of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Fresh(Option<Answer>),
    /// Its time is over: of use where there is no newer one.
    Old(Option<Answer>),
    Nothing,
}

/// Two generations: what nobody asked for since the last change of generations goes with the next.
#[derive(Debug)]
pub(super) struct Answers {
    young: HashMap<Question, Kept>,
    old: HashMap<Question, Kept>,
    young_weight: usize,
    old_weight: usize,
    /// Of both generations.
    limit: usize,
}

/// Groups that count for as much as one other answer.
const GROUPS_OF_ONE: usize = 16;

fn weight(kept: &Kept) -> usize {
    match &kept.answer {
        Some(Answer::Groups(groups)) => 1 + groups.len() / GROUPS_OF_ONE,
        _ => 1,
    }
}

impl Answers {
    pub fn new(limit: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            young_weight: 0,
            old_weight: 0,
            limit,
        }
    }

    pub fn find(&mut self, question: &Question, now: Time) -> Found {
        if let Some(kept) = self.old.remove(question) {
            self.old_weight -= weight(&kept);
            self.insert(question.clone(), kept);
        }
        match self.young.get(question) {
            None => Found::Nothing,
            Some(kept) if now < kept.until => Found::Fresh(kept.answer.clone()),
            Some(kept) => Found::Old(kept.answer.clone()),
        }
    }

    pub fn keep(&mut self, question: Question, answer: Option<Answer>, until: Time) {
        if let Some(kept) = self.old.remove(&question) {
            self.old_weight -= weight(&kept);
        }
        self.insert(question, Kept { answer, until });
    }

    fn insert(&mut self, question: Question, kept: Kept) {
        let more = weight(&kept);
        if self.young_weight + more > self.limit / 2 {
            self.old = std::mem::take(&mut self.young);
            self.old_weight = std::mem::take(&mut self.young_weight);
        }
        self.young_weight += more;
        if let Some(replaced) = self.young.insert(question, kept) {
            self.young_weight -= weight(&replaced);
        }
    }

    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(seconds: u64) -> Time {
        Time::ZERO.plus(Duration::from_secs(seconds))
    }

    #[test]
    fn an_answer_is_fresh_until_its_time_is_over_and_then_better_than_none() {
        let mut answers = Answers::new(100);
        let alice = Some(Answer::Name("alice".into()));
        answers.keep(Question::User(1), alice.clone(), at(10));
        answers.keep(Question::User(2), None, at(3));
        assert_eq!(
            answers.find(&Question::User(1), at(9)),
            Found::Fresh(alice.clone())
        );
        assert_eq!(answers.find(&Question::User(1), at(10)), Found::Old(alice));
        assert_eq!(answers.find(&Question::User(2), at(2)), Found::Fresh(None));
        assert_eq!(answers.find(&Question::User(2), at(5)), Found::Old(None));
        assert_eq!(answers.find(&Question::Group(1), at(0)), Found::Nothing);
    }

    #[test]
    fn what_is_asked_for_stays_though_a_flood_of_other_names_goes_through() {
        let mut answers = Answers::new(64);
        answers.keep(Question::User(7), Some(Answer::Id(7)), at(10));
        for stranger in 0..10_000 {
            answers.keep(Question::Group(stranger), None, at(10));
            assert_ne!(answers.find(&Question::User(7), at(0)), Found::Nothing);
        }
    }

    proptest! {
        #[test]
        fn no_more_is_kept_than_the_limit_and_long_lists_count_for_more(
            steps in proptest::collection::vec((0_u32..200, 0_usize..300, any::<bool>()), 0..400)
        ) {
            let mut answers = Answers::new(64);
            for (user, groups, asks) in steps {
                if asks {
                    answers.find(&Question::GroupsOf(user), at(0));
                } else {
                    let groups: Vec<u32> = (0..groups as u32).collect();
                    answers.keep(Question::GroupsOf(user), Some(Answer::Groups(groups.into())), at(1));
                }
                let weigh = |side: &HashMap<_, _>| side.values().map(weight).sum::<usize>();
                prop_assert_eq!(weigh(&answers.young), answers.young_weight);
                prop_assert_eq!(weigh(&answers.old), answers.old_weight);
                // One list alone may be heavier than half of it.
                prop_assert!(answers.young_weight <= 32 + 300 / GROUPS_OF_ONE);
                prop_assert!(answers.len() <= 64);
            }
        }
    }
}
