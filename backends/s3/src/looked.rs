//! What objects looked like when they were looked at. A listing tells which version lies under each key, and not what
//! it says of its owner, mode and times: for that a version is looked at once, and remembered over restarts.
//!
//! A version is known by its ETag and its time, which has whole seconds. Two of the same bytes may have both in
//! common where one follows the other within a second, or where both came in parts (their time is that of the
//! beginning). So what is remembered was older than that when it was looked at, by the bucket's own clock, and came whole.
//!
//! Never here: which objects are listed.

use crate::bucket::{Bucket, Dress, Listed, Object};
use crate::failure::of_state;
use crate::ids::{Ids, IdsError};
use crate::meta::Metadata;
use crate::mirror::{At, Mirror};
use crate::rows::{fields, join, number, text};
use crate::work::died;
use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use backend::Nanos;
use backend::tree::TreeError;
use fjall::Keyspace;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows; for more, those of the oldest ids go.
const MOST: usize = 1_000_000;
/// How far the clocks of a bucket's servers are apart, and two seconds for times that have no fractions.
const APART: Duration = Duration::from_secs(12);
const DAMAGED: IdsError = IdsError::Damaged("a row of what was looked at");

/// The version under a key, as a listing tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub etag: String,
    pub modified: Nanos,
    pub size: u64,
}

impl Told {
    pub(crate) fn listed(listed: &Listed) -> Self {
        Self {
            etag: listed.etag.clone(),
            modified: listed.modified,
            size: listed.size,
        }
    }

    fn is(&self, object: &Object) -> bool {
        // Some tell fractions, and in listings alone.
        let second = |time: Nanos| time / Duration::from_secs(1).as_nanos() as Nanos;
        let same_time = second(self.modified) == second(object.modified);
        self.etag == object.etag && self.size == object.size && same_time
    }
}

pub(crate) struct Looked {
    ids: Arc<Ids>,
    /// By the file's id.
    rows: Keyspace,
    count: Mutex<usize>,
}

fn to_bytes(object: &Object) -> Vec<u8> {
    let (size, modified) = (object.size.to_be_bytes(), object.modified.to_be_bytes());
    let mut parts = vec![object.etag.as_bytes(), &size, &modified];
    for (name, value) in &object.meta {
        parts.extend([name.as_bytes(), value.as_bytes()]);
    }
    join(&parts)
}

fn from_bytes(bytes: &[u8]) -> Option<Object> {
    let parts = fields(bytes)?;
    let (head, pairs) = parts.split_at_checked(3)?;
    let mut meta = Metadata::new();
    for pair in pairs.chunks(2) {
        let &[name, value] = pair else { return None };
        meta.insert(text(name)?, text(value)?);
    }
    Some(Object {
        etag: text(head[0])?,
        size: number(head[1])?,
        modified: Nanos::from_be_bytes(head[2].try_into().ok()?),
        meta,
        dress: Dress::default(),
    })
}

impl Looked {
    pub(crate) fn open(ids: &Arc<Ids>) -> Result<Self, IdsError> {
        let rows = ids.keyspace("looked")?;
        Ok(Self {
            ids: Arc::clone(ids),
            count: Mutex::new(rows.len()?),
            rows,
        })
    }

    fn row(&self, id: u64) -> Result<Option<Object>, IdsError> {
        let Some(bytes) = self.rows.get(id.to_be_bytes())? else {
            return Ok(None);
        };
        from_bytes(&bytes).map(Some).ok_or(DAMAGED)
    }

    /// What a crash loses of this is looked at again.
    fn keep(&self, looks: &[(u64, Vec<u8>)]) -> Result<(), IdsError> {
        let mut count = self.count.lock();
        let mut batch = self.ids.late_batch();
        for (id, row) in looks {
            let id = id.to_be_bytes();
            *count += usize::from(!self.rows.contains_key(id)?);
            batch.insert(&self.rows, id, row.as_slice());
        }
        if *count > MOST {
            for row in self.rows.iter().take(MOST / 10) {
                batch.remove(&self.rows, row.key()?);
                *count -= 1;
            }
        }
        batch.commit()?;
        Ok(())
    }

    fn forget(&self, id: u64) -> Result<(), IdsError> {
        let mut count = self.count.lock();
        if self.rows.contains_key(id.to_be_bytes())? {
            let mut batch = self.ids.late_batch();
            batch.remove(&self.rows, id.to_be_bytes());
            batch.commit()?;
            *count -= 1;
        }
        Ok(())
    }
}

/// The bucket's own clock, as its last answer had it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dated(Arc<Mutex<Option<Nanos>>>);

impl Intercept for Dated {
    fn name(&self) -> &'static str {
        "the bucket's clock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|date| DateTime::from_str(date, DateTimeFormat::HttpDate).ok());
        *self.0.lock() = date.map(|date| date.as_nanos());
        Ok(())
    }
}

impl Bucket {
    /// [`Bucket::head`], and whether no other version can have this one's ETag and time any more.
    async fn look(&self, key: &str) -> Result<Option<(Object, bool)>, TreeError> {
        let (begun, dated) = (Instant::now(), Dated::default());
        let Some(object) = self.head_by(key, dated.clone()).await? else {
            return Ok(None);
        };
        let apart = (begun.elapsed() + APART).as_nanos() as Nanos;
        let date = *dated.0.lock();
        let is_old = date.is_some_and(|date| date - apart > object.modified);
        let came_whole = !object.etag.is_empty() && !object.etag.contains('-');
        Ok(Some((object, is_old && came_whole)))
    }
}

/// What a listing looked at.
pub(crate) type Looks = Mutex<Vec<(u64, Vec<u8>)>>;

impl Mirror {
    /// The object of a listed file; `None`: it isn't there any more.
    pub(crate) async fn look_at(
        &self,
        at: &At,
        told: &Told,
        looks: &Looks,
    ) -> Result<Option<Object>, TreeError> {
        let known = self.looked.row(at.id).map_err(|error| of_state(&error))?;
        let known = known.filter(|object| told.is(object));
        // A listing may be older than what somebody was told meanwhile.
        let seen = self.pins.get(&at.id);
        if let Some(object) = known
            && seen.is_none_or(|seen| *seen == *object.etag)
        {
            return Ok(Some(object));
        }
        let Some((object, is_settled)) = self.bucket.look(&at.key).await? else {
            return Ok(None);
        };
        if is_settled {
            looks.lock().push((at.id, to_bytes(&object)));
        }
        Ok(Some(object))
    }

    pub(crate) async fn keep_looks(&self, looks: Looks) -> Result<(), TreeError> {
        let looks = looks.into_inner();
        if looks.is_empty() {
            return Ok(());
        }
        let looked = Arc::clone(&self.looked);
        let kept = tokio::task::spawn_blocking(move || looked.keep(&looks)).await;
        let kept = kept.map_err(|error| died(&error))?;
        kept.map_err(|error| of_state(&error))
    }

    /// Of an object that was looked at anew: a server that changes what a version says, and not its time, is
    /// found out.
    pub(crate) fn compare_looks(&self, id: u64, object: &Object) -> Result<(), TreeError> {
        let known = self.looked.row(id).map_err(|error| of_state(&error))?;
        if known.is_some_and(|known| known.meta != object.meta || known.etag != object.etag) {
            let forgotten = self.looked.forget(id);
            forgotten.map_err(|error| of_state(&error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_looked_at_is_read_as_it_was_written() {
        let object = Object {
            etag: "\"e\"".into(),
            size: 7,
            modified: 8,
            meta: [("mode", "33188"), ("uid", "")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            dress: Dress::default(),
        };
        let read = from_bytes(&to_bytes(&object)).expect("it can be read");
        assert_eq!((read.etag, read.size, read.modified), (object.etag, 7, 8));
        assert_eq!(read.meta, object.meta);
    }
}
