//! Asking for users and groups: answers are kept for a while, each question is asked once at a time, and
//! nobody waits longer than a moment for a directory that doesn't answer.
//!
//! Never here: what names look like on the wire (`names`), and no lock over a question.

use super::accounts::{Accounts, Answer, Question};
use super::answers::{Answers, Found};
use crate::server::Server;
use crate::state::Time;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::watch;

/// After a wait in vain nobody waits for so long: answers that come late are kept for later.
const REST: Duration = Duration::from_secs(5);
/// Questions under way: more is a flood of made-up names, or a directory that hangs.
const QUESTIONS: usize = 1024;

/// What a directory is started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryOptions {
    /// How long an answer counts.
    pub keep: Duration,
    /// How long it counts that there is nobody of a name or number.
    pub keep_unknown: Duration,
    /// Answers kept at most.
    pub answers: usize,
    /// How long a request waits for an answer that isn't kept.
    pub patience: Duration,
}

impl Default for DirectoryOptions {
    fn default() -> Self {
        Self {
            keep: Duration::from_mins(10),
            keep_unknown: Duration::from_mins(1),
            answers: 65_536,
            patience: Duration::from_secs(3),
        }
    }
}

/// What was asked, over all directories that a server has had.
#[derive(Debug, Default)]
pub struct AccountCounters {
    /// Questions that no kept answer answered.
    pub asked: AtomicU64,
    pub failed: AtomicU64,
}

/// How owners and groups are written on the wire, and who knows them.
pub struct Directory {
    accounts: Arc<dyn Accounts>,
    /// What stands behind the `@` of names. `None`: ids are written as numbers.
    pub(super) domain: Option<String>,
    options: DirectoryOptions,
    answers: Mutex<Answers>,
    asked: Mutex<HashMap<Question, watch::Receiver<Option<Heard>>>>,
    /// Until when nobody waits.
    resting: Mutex<Time>,
}

/// What came of a question: an answer, nobody, or a failure.
type Heard = Result<Option<Answer>, Unreachable>;

/// Not known now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreachable;

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory")
            .field("domain", &self.domain)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Directory {
    /// `domain` makes owners and groups names; without one they are numbers.
    pub fn new(
        accounts: Arc<dyn Accounts>,
        domain: Option<String>,
        options: DirectoryOptions,
    ) -> Self {
        Self {
            accounts,
            domain,
            options,
            answers: Mutex::new(Answers::new(options.answers)),
            asked: Mutex::default(),
            resting: Mutex::new(Time::ZERO),
        }
    }

    pub(crate) fn kept(&self) -> usize {
        self.answers.lock().len()
    }

    fn keep(&self, question: Question, answer: Option<Answer>, now: Time) {
        let life = match answer {
            Some(_) => self.options.keep,
            None => self.options.keep_unknown,
        };
        self.answers.lock().keep(question, answer, now.plus(life));
    }

    /// The question under way, or begun now.
    fn begin(
        self: &Arc<Self>,
        counters: &Arc<AccountCounters>,
        question: &Question,
        now: Time,
    ) -> Option<watch::Receiver<Option<Heard>>> {
        let mut asked = self.asked.lock();
        // One whose task died is asked again.
        if let Some(under_way) = asked.get(question)
            && under_way.has_changed().is_ok()
        {
            return Some(under_way.clone());
        }
        if asked.len() >= QUESTIONS {
            return None;
        }
        let (tell, told) = watch::channel(None);
        asked.insert(question.clone(), told.clone());
        drop(asked);
        counters.asked.fetch_add(1, Relaxed);
        let (directory, counters, question) =
            (Arc::clone(self), Arc::clone(counters), question.clone());
        // Of its own, so that the answer is kept though nobody waits for it any more.
        tokio::spawn(async move {
            let heard = directory.accounts.ask(question.clone()).await;
            let heard = match heard {
                Ok(answer) => {
                    directory.keep(question.clone(), answer.clone(), now);
                    Ok(answer)
                }
                Err(error) => {
                    counters.failed.fetch_add(1, Relaxed);
                    tracing::debug!(?question, %error, "users and groups can't be asked for");
                    Err(Unreachable)
                }
            };
            directory.asked.lock().remove(&question);
            tell.send_replace(Some(heard));
        });
        Some(told)
    }

    async fn ask(
        self: &Arc<Self>,
        counters: &Arc<AccountCounters>,
        question: Question,
        now: Time,
    ) -> Heard {
        let old = match self.answers.lock().find(&question, now) {
            Found::Fresh(answer) => return Ok(answer),
            Found::Old(answer) => Ok(answer),
            Found::Nothing => Err(Unreachable),
        };
        let Some(mut told) = self.begin(counters, &question, now) else {
            return old;
        };
        let heard = if now < *self.resting.lock() {
            told.borrow().clone()
        } else {
            let heard =
                tokio::time::timeout(self.options.patience, told.wait_for(Option::is_some)).await;
            if heard.is_err() {
                let patience = self.options.patience;
                *self.resting.lock() = now.plus(patience + REST);
                tracing::warn!("users and groups can't be asked for: no answer in {patience:?}");
            }
            heard
                .ok()
                .and_then(Result::ok)
                .and_then(|heard| heard.clone())
        };
        match heard {
            Some(Ok(answer)) => Ok(answer),
            // What was true lately is better than nothing.
            _ => old,
        }
    }

    pub(super) async fn name(
        self: &Arc<Self>,
        counters: &Arc<AccountCounters>,
        question: Question,
        now: Time,
    ) -> Option<Arc<str>> {
        match self.ask(counters, question, now).await {
            Ok(Some(Answer::Name(name))) => Some(name),
            _ => None,
        }
    }

    pub(super) async fn id(
        self: &Arc<Self>,
        counters: &Arc<AccountCounters>,
        question: Question,
        now: Time,
    ) -> Result<Option<u32>, Unreachable> {
        match self.ask(counters, question, now).await? {
            Some(Answer::Id(id)) => Ok(Some(id)),
            _ => Ok(None),
        }
    }
}

impl Server {
    /// Every group of a user, as the server knows them; none of somebody whom it doesn't know.
    pub(crate) async fn groups_of(
        self: &Arc<Self>,
        uid: u32,
        now: Time,
    ) -> Result<Arc<[u32]>, Unreachable> {
        let directory = Arc::clone(&self.settings().directory);
        match directory
            .ask(&self.metrics.accounts, Question::GroupsOf(uid), now)
            .await?
        {
            Some(Answer::Groups(groups)) => Ok(groups),
            _ => Ok(Arc::default()),
        }
    }

    /// Answers of the directory that are kept now.
    pub fn accounts_kept(&self) -> usize {
        self.settings().directory.kept()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::AccountsError;
    use futures_util::future::{BoxFuture, join_all};
    use tokio::sync::Semaphore;

    /// Answers each question as it is let.
    struct Slow {
        gate: Arc<Semaphore>,
        answer: Result<Option<Answer>, AccountsError>,
    }

    impl Accounts for Slow {
        fn ask(&self, _: Question) -> BoxFuture<'static, Result<Option<Answer>, AccountsError>> {
            let (gate, answer) = (Arc::clone(&self.gate), self.answer.clone());
            Box::pin(async move {
                gate.acquire().await.expect("nobody closes it").forget();
                answer
            })
        }
    }

    struct World {
        gate: Arc<Semaphore>,
        directory: Arc<Directory>,
        counters: Arc<AccountCounters>,
    }

    impl World {
        fn with(answer: Result<Option<Answer>, AccountsError>, patience: Duration) -> Self {
            let gate = Arc::new(Semaphore::new(0));
            let slow = Slow {
                gate: Arc::clone(&gate),
                answer,
            };
            let options = DirectoryOptions {
                patience,
                ..DirectoryOptions::default()
            };
            Self {
                gate,
                directory: Arc::new(Directory::new(Arc::new(slow), None, options)),
                counters: Arc::default(),
            }
        }

        async fn ask(&self, now: Time) -> Heard {
            self.directory
                .ask(&self.counters, Question::User(7), now)
                .await
        }

        fn asked(&self) -> u64 {
            self.counters.asked.load(Relaxed)
        }
    }

    const LONG: Duration = Duration::from_mins(1);
    const SHORT: Duration = Duration::from_millis(20);

    fn alice() -> Answer {
        Answer::Name("alice".into())
    }

    #[tokio::test]
    async fn many_who_ask_at_once_ask_once_and_an_answer_is_kept() {
        let world = World::with(Ok(Some(alice())), LONG);
        world.gate.add_permits(1);
        let all = join_all((0..50).map(|_| world.ask(Time::ZERO))).await;
        assert!(all.iter().all(|heard| *heard == Ok(Some(alice()))));
        assert_eq!(world.ask(Time::ZERO).await, Ok(Some(alice())));
        assert_eq!(world.asked(), 1);
        // Until its time is over.
        world.gate.add_permits(1);
        let later = Time::ZERO.plus(DirectoryOptions::default().keep);
        assert_eq!(world.ask(later).await, Ok(Some(alice())));
        assert_eq!(world.asked(), 2);
    }

    #[tokio::test]
    async fn that_there_is_nobody_is_kept_for_a_shorter_while() {
        let world = World::with(Ok(None), LONG);
        world.gate.add_permits(2);
        assert_eq!(world.ask(Time::ZERO).await, Ok(None));
        assert_eq!(world.ask(Time::ZERO).await, Ok(None));
        assert_eq!(world.asked(), 1);
        let later = Time::ZERO.plus(DirectoryOptions::default().keep_unknown);
        assert_eq!(world.ask(later).await, Ok(None));
        assert_eq!(world.asked(), 2);
    }

    #[tokio::test]
    async fn a_directory_that_hangs_is_waited_for_once_and_its_late_answer_is_kept() {
        let world = World::with(Ok(Some(alice())), SHORT);
        assert_eq!(world.ask(Time::ZERO).await, Err(Unreachable));
        let began = std::time::Instant::now();
        for _ in 0..1000 {
            assert_eq!(world.ask(Time::ZERO).await, Err(Unreachable));
        }
        assert!(began.elapsed() < SHORT * 500, "each of them waited");
        assert_eq!(world.asked(), 1);
        world.gate.add_permits(1);
        while world.ask(Time::ZERO).await.is_err() {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.asked(), 1);
    }

    #[tokio::test]
    async fn what_was_true_lately_is_told_while_there_is_no_newer_answer() {
        let world = World::with(Ok(Some(alice())), SHORT);
        world.gate.add_permits(1);
        assert_eq!(world.ask(Time::ZERO).await, Ok(Some(alice())));
        let later = Time::ZERO.plus(Duration::from_hours(1));
        assert_eq!(world.ask(later).await, Ok(Some(alice())));
        assert_eq!(world.asked(), 2);
    }

    #[tokio::test]
    async fn a_failure_is_no_answer_and_not_kept() {
        let world = World::with(Err(AccountsError("away".to_owned())), LONG);
        world.gate.add_permits(2);
        assert_eq!(world.ask(Time::ZERO).await, Err(Unreachable));
        assert_eq!(world.ask(Time::ZERO).await, Err(Unreachable));
        assert_eq!((world.asked(), world.counters.failed.load(Relaxed)), (2, 2));
    }

    #[tokio::test]
    async fn a_flood_of_names_under_way_is_bounded() {
        let world = World::with(Ok(None), SHORT);
        let ask = |number| {
            world
                .directory
                .ask(&world.counters, Question::User(number), Time::ZERO)
        };
        join_all((0..2 * QUESTIONS as u32).map(ask)).await;
        assert_eq!(world.asked(), QUESTIONS as u64);
        assert_eq!(world.directory.asked.lock().len(), QUESTIONS);
    }
}
