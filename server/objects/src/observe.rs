//! Size and times of a file as its data servers know them, and the padding that makes a size
//! visible. Callers who ask the same share the question, but nobody gets an answer to a question
//! that was asked before he came, unless a maximum age allows it.
//!
//! Never here: committing what was learnt.

use crate::proxy::live_objects;
use crate::{Error, Objects};
use backend::{Nanos, ObjectStat};
use catalog::Inode;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use layout::{Extent, ObjectId, object_size_for, written_end};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

const CALLS_AT_ONCE: usize = 16;
pub(crate) const ATTEMPTS: u32 = 4;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The end of what was written: every truncate reaches the objects before it is answered.
    pub size: u64,
    /// The newest of all objects, nanoseconds; 0 when there is no object.
    pub mtime: Nanos,
    /// Bytes on disk.
    pub used: u64,
    pub objects: Vec<(ObjectId, ObjectStat)>,
}

impl Observed {
    /// Whether a client wrote since size and times of `inode` were committed. A file without a byte was not written:
    /// its objects are younger than what is known of them where they came from a pool or were bound late.
    pub fn is_written_since(&self, inode: &Inode) -> bool {
        self.size > inode.size || (inode.size > 0 && self.mtime > inode.data_mtime)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Padded {
    /// The newest of all objects after padding, which moves it: no write of a client is newer.
    pub mtime: Nanos,
}

type Answer = Result<Arc<Observed>, Error>;
type Question = Shared<BoxFuture<'static, Answer>>;
/// A question that lives as long as somebody waits for its answer. Kept alive from here, one that all have left
/// would keep everything that it needs, for ever.
type Known = WeakShared<BoxFuture<'static, Answer>>;

/// One file's questions: at most one is being asked, and one waits for it to end.
#[derive(Default)]
struct Asked {
    running: Option<(u64, Known)>,
    waiting: Option<(u64, Known)>,
    last: Option<(Instant, Arc<Observed>)>,
}

#[derive(Default)]
pub(crate) struct Questions {
    files: HashMap<Vec<ObjectId>, Asked>,
    next: u64,
}

/// Files whose last answers are kept, and the numbers of questions that all who asked have left.
const FILES_MAX: usize = 65_536;

impl Questions {
    fn forget_the_old(&mut self, max_age: Duration) {
        if self.files.len() < FILES_MAX {
            return;
        }
        self.files.retain(|_, asked| {
            let fresh = |(at, _): &(Instant, _)| at.elapsed() < max_age;
            let awaited = |(_, question): &(u64, Known)| question.upgrade().is_some();
            asked.last.as_ref().is_some_and(fresh)
                || asked.running.as_ref().is_some_and(awaited)
                || asked.waiting.as_ref().is_some_and(awaited)
        });
    }
}

pub(crate) type SharedQuestions = Arc<Mutex<Questions>>;

impl Objects {
    /// What the data servers know of a file.
    pub async fn observe(&self, extents: &[Extent]) -> Result<Observed, Error> {
        let key: Vec<ObjectId> = live_objects(extents).map(|object| object.object).collect();
        if key.is_empty() {
            return Ok(Observed::default());
        }
        let question = match self.ask(key, extents) {
            Ok(question) => question,
            Err(known) => return Ok((*known).clone()),
        };
        question.await.map(|observed| (*observed).clone())
    }

    fn ask(&self, key: Vec<ObjectId>, extents: &[Extent]) -> Result<Question, Arc<Observed>> {
        let max_age = self.options.observe_max_age;
        let mut questions = self.questions.lock();
        questions.forget_the_old(max_age);
        let number = questions.next;
        let asked = questions.files.entry(key.clone()).or_default();
        if let Some((at, known)) = &asked.last
            && at.elapsed() < max_age
        {
            return Err(known.clone());
        }
        let alive = |known: &Option<(u64, Known)>| known.as_ref()?.1.upgrade();
        if let Some(waiting) = alive(&asked.waiting) {
            return Ok(waiting);
        }
        let before = alive(&asked.running);
        let question = Ask {
            number,
            key,
            extents: extents.to_vec(),
            before,
            objects: self.weak(),
            questions: self.questions.clone(),
            max_age,
        };
        let question = question.run().boxed().shared();
        asked.waiting = question.downgrade().map(|known| (number, known));
        questions.next += 1;
        Ok(question)
    }

    async fn stat_all(&self, extents: &[Extent]) -> Answer {
        let mut asked = Vec::new();
        for (place, extent) in extents.iter().enumerate() {
            for object in live_objects(std::slice::from_ref(extent)) {
                asked.push((self.desk(object.server)?, place, object.clone()));
            }
        }
        let stats: Vec<_> = stream::iter(asked)
            .map(|(desk, place, object)| async move {
                let stat = desk
                    .insist(ATTEMPTS, || desk.server().stat(&object.handle))
                    .await?;
                Ok::<_, Error>((place, object.object, stat))
            })
            .buffer_unordered(CALLS_AT_ONCE)
            .try_collect()
            .await?;
        Ok(Arc::new(Observed {
            size: written_end(
                stats
                    .iter()
                    .map(|(place, _, stat)| (&extents[*place], stat.size)),
            ),
            mtime: stats
                .iter()
                .map(|(_, _, stat)| stat.mtime)
                .max()
                .unwrap_or(0),
            used: stats.iter().map(|(_, _, stat)| stat.used).sum(),
            objects: stats
                .into_iter()
                .map(|(_, object, stat)| (object, stat))
                .collect(),
        }))
    }

    /// Makes every object long enough for `size` to be visible (invariant 8), cutting nothing.
    pub async fn pad(&self, extents: &[Extent], size: u64) -> Result<Padded, Error> {
        let mut asked = Vec::new();
        for extent in extents {
            for object in live_objects(std::slice::from_ref(extent)) {
                asked.push((
                    self.desk(object.server)?,
                    object.clone(),
                    object_size_for(extent, size),
                ));
            }
        }
        let stats: Vec<ObjectStat> = stream::iter(asked)
            .map(|(desk, object, size)| async move {
                desk.insist(ATTEMPTS, || desk.server().extend(&object.handle, size))
                    .await
            })
            .buffer_unordered(CALLS_AT_ONCE)
            .try_collect()
            .await?;
        Ok(Padded {
            mtime: stats.iter().map(|stat| stat.mtime).max().unwrap_or(0),
        })
    }

    /// Cuts or extends every object to its part of `size`. The caller keeps writers out.
    pub(crate) async fn cut(&self, extents: &[Extent], size: u64) -> Result<Padded, Error> {
        let mut asked = Vec::new();
        for extent in extents {
            // A stale copy too: what was cut must not come back by a repair that reads it.
            for object in extent.objects() {
                asked.push((
                    self.desk(object.server)?,
                    object.clone(),
                    object_size_for(extent, size),
                ));
            }
        }
        let stats: Vec<ObjectStat> = stream::iter(asked)
            .map(|(desk, object, size)| async move {
                desk.insist(ATTEMPTS, || desk.server().set_size(&object.handle, size))
                    .await
            })
            .buffer_unordered(CALLS_AT_ONCE)
            .try_collect()
            .await?;
        Ok(Padded {
            mtime: stats.iter().map(|stat| stat.mtime).max().unwrap_or(0),
        })
    }
}

struct Ask {
    number: u64,
    key: Vec<ObjectId>,
    extents: Vec<Extent>,
    /// The question that was being asked when this one came.
    before: Option<Question>,
    objects: Weak<Objects>,
    questions: SharedQuestions,
    max_age: Duration,
}

impl Ask {
    async fn run(self) -> Answer {
        if let Some(before) = &self.before {
            let _ = before.clone().await;
        }
        // From here on whoever comes needs a question of his own.
        if let Some(asked) = self.questions.lock().files.get_mut(&self.key) {
            asked.running = asked.waiting.take();
        }
        let answer = match self.objects.upgrade() {
            Some(objects) => objects.stat_all(&self.extents).await,
            None => Err(Error::Pending),
        };
        let mut questions = self.questions.lock();
        if let Some(asked) = questions.files.get_mut(&self.key) {
            if asked
                .running
                .as_ref()
                .is_some_and(|(number, _)| *number == self.number)
            {
                asked.running = None;
            }
            asked.last = match &answer {
                Ok(observed) if !self.max_age.is_zero() => Some((Instant::now(), observed.clone())),
                _ => None,
            };
            if asked.running.is_none() && asked.waiting.is_none() && asked.last.is_none() {
                questions.files.remove(&self.key);
            }
        }
        answer
    }
}
