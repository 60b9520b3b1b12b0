//! Keys that may come back after their object was removed: a first upload whose fate nobody knows may still land,
//! and no condition keeps it out. Such a key is deleted once more, when nothing of it can come any longer.
//!
//! Never here: objects that are there.

use crate::mirror::Mirror;
use crate::rows::{join, split, text};
use layout::ObjectId;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// What an intent of this kind begins with.
const LATE: &[u8] = b"object-may-come";
/// A server works on no request for longer, once its sender is gone.
const COMES_WITHIN: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Late {
    pub object: ObjectId,
    pub key: String,
}

/// Ids of objects that may come: none of these is made anew until then.
#[derive(Default)]
pub(crate) struct Awaited(Mutex<HashSet<ObjectId>>);

impl Awaited {
    pub(crate) fn has(&self, object: ObjectId) -> bool {
        self.0.lock().contains(&object)
    }
}

impl Late {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        join(&[LATE, &self.object.0.to_be_bytes(), self.key.as_bytes()])
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [kind, object, key] = split(bytes)?;
        (kind == LATE).then_some(())?;
        Some(Self {
            object: ObjectId(u128::from_be_bytes(object.try_into().ok()?)),
            key: text(key)?,
        })
    }
}

impl Mirror {
    /// Deletes the key now and when nothing can come any more.
    pub(crate) fn delete_late(self: &Arc<Self>, intent: u64, late: Late) {
        self.awaited.0.lock().insert(late.object);
        let mirror = Arc::clone(self);
        self.in_the_background(async move {
            for wait in [Duration::ZERO, COMES_WITHIN] {
                tokio::time::sleep(wait).await;
                while let Err(error) = mirror.bucket.delete(&late.key).await {
                    tracing::debug!(%error, "a removed object's key is deleted later");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            mirror.store(move |ids| ids.end_intent(intent)).await?;
            mirror.awaited.0.lock().remove(&late.object);
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_come_is_read_as_it_was_noted() {
        let late = Late {
            object: ObjectId(5 << 64 | 7),
            key: "a/b".into(),
        };
        assert_eq!(Late::from_bytes(&late.to_bytes()), Some(late));
    }
}
