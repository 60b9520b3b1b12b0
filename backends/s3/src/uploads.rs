//! Uploads by parts, each known to the local store before the bucket begins it: none stays there that nobody
//! completes, whatever is lost or crashes.
//!
//! Which upload a beginning made is known by its answer alone. Where that doesn't come, those of the key that
//! weren't there before, and aren't of another beginning here, are aborted. Whoever else began one of the same
//! key in that moment begins anew.
//!
//! Never here: what is sent.

use crate::bucket::{Dress, If, Part};
use crate::meta::Metadata;
use crate::mirror::Mirror;
use crate::rows::{join, split, text};
use backend::tree::TreeError;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::time::Duration;

/// Of a beginning.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The intent of an upload whose id is known.
const UPLOAD: &[u8] = b"upload";
/// The intent of a beginning: the key, and the ids that were there before.
const BEGINNING: &[u8] = b"upload-begins";
/// Between ids: none of them has it.
const BETWEEN: &str = "\n";

#[derive(Default)]
pub(crate) struct Uploads {
    /// Shared by beginnings, held alone by who looks for those without an answer.
    beginning: tokio::sync::RwLock<()>,
    live: Mutex<HashSet<String>>,
}

/// What an intent says of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Left {
    Known { key: String, id: String },
    Begun { key: String, before: Vec<String> },
}

impl Left {
    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Known { key, id } => join(&[UPLOAD, key.as_bytes(), id.as_bytes()]),
            Self::Begun { key, before } => {
                let before = before.join(BETWEEN);
                join(&[BEGINNING, key.as_bytes(), before.as_bytes()])
            }
        }
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [kind, key, rest] = split(bytes)?;
        let (key, rest) = (text(key)?, text(rest)?);
        match kind {
            UPLOAD => Some(Self::Known { key, id: rest }),
            BEGINNING => {
                let before = rest.split(BETWEEN).filter(|id| !id.is_empty());
                let before = before.map(str::to_owned).collect();
                Some(Self::Begun { key, before })
            }
            _ => None,
        }
    }
}

pub(crate) struct Upload {
    pub id: String,
    intent: u64,
}

impl Upload {
    pub(crate) async fn begin(
        mirror: &Mirror,
        key: &str,
        meta: &Metadata,
        dress: &Dress,
    ) -> Result<Self, TreeError> {
        let mut tries = 1;
        loop {
            match Self::begin_once(mirror, key, meta, dress).await {
                Err(error) if error.is_passing() && tries < TRIES => {
                    tokio::time::sleep(PAUSE * tries).await;
                    tries += 1;
                }
                done => return done,
            }
        }
    }

    async fn begin_once(
        mirror: &Mirror,
        key: &str,
        meta: &Metadata,
        dress: &Dress,
    ) -> Result<Self, TreeError> {
        let _beginning = mirror.uploads.beginning.read().await;
        let Some(before) = mirror.bucket.uploads(key).await? else {
            return Self::begin_unlisted(mirror, key, meta, dress).await;
        };
        let left = Left::Begun {
            key: key.to_owned(),
            before,
        };
        let row = left.to_bytes();
        let intent = mirror.store(move |ids| ids.add_intent(&row)).await?;
        let id = match mirror.bucket.begin_upload(key, meta, dress).await {
            Ok(id) => id,
            Err(error) => {
                mirror.end_later(intent, left);
                return Err(error);
            }
        };
        mirror.uploads.live.lock().insert(id.clone());
        let known = Left::Known {
            key: key.to_owned(),
            id: id.clone(),
        };
        let row = known.to_bytes();
        mirror
            .store(move |ids| ids.set_intent(intent, &row))
            .await?;
        Ok(Self { id, intent })
    }

    /// Where nobody can tell which uploads there are.
    async fn begin_unlisted(
        mirror: &Mirror,
        key: &str,
        meta: &Metadata,
        dress: &Dress,
    ) -> Result<Self, TreeError> {
        let begun = mirror.bucket.begin_upload(key, meta, dress).await;
        let id = begun.inspect_err(|_| mirror.warn_of_uploads(key))?;
        let known = Left::Known {
            key: key.to_owned(),
            id: id.clone(),
        };
        let row = known.to_bytes();
        let intent = mirror.store(move |ids| ids.add_intent(&row)).await?;
        Ok(Self { id, intent })
    }

    /// Completes it, or aborts it where a part failed.
    pub(crate) async fn end(
        self,
        mirror: &Mirror,
        key: &str,
        parts: Result<Vec<Part>, TreeError>,
        condition: If<'_>,
    ) -> Result<String, TreeError> {
        let done = match parts {
            Ok(parts) => {
                let completed = mirror
                    .bucket
                    .complete_upload(key, &self.id, parts, condition);
                completed.await
            }
            Err(error) => Err(error),
        };
        mirror.uploads.live.lock().remove(&self.id);
        let intent = self.intent;
        if done.is_err()
            && let Err(error) = mirror.bucket.abort_upload(key, &self.id).await
        {
            tracing::debug!(%error, "an upload is aborted later");
            let key = key.to_owned();
            mirror.end_later(intent, Left::Known { key, id: self.id });
        } else {
            mirror.store(move |ids| ids.end_intent(intent)).await?;
        }
        done
    }
}

impl Mirror {
    /// Goes on until nothing is left of an upload.
    fn end_later(&self, intent: u64, left: Left) {
        let Some(mirror) = self.this.upgrade() else {
            return;
        };
        self.in_the_background(async move {
            let mut pause = PAUSE;
            while let Err(error) = mirror.end_left(intent, &left).await {
                tracing::debug!(%error, "what is left of an upload stays for now");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Ok(())
        });
    }

    /// Aborts what is left of an upload; how many there were.
    pub(crate) async fn end_left(&self, intent: u64, left: &Left) -> Result<usize, TreeError> {
        let aborted = match left {
            Left::Known { key, id } => {
                self.bucket.abort_upload(key, id).await?;
                1
            }
            Left::Begun { key, before } => self.abort_unknown(key, before).await?,
        };
        self.store(move |ids| ids.end_intent(intent)).await?;
        Ok(aborted)
    }

    fn warn_of_uploads(&self, key: &str) {
        tracing::warn!(
            "{}: an upload of {key:?} may have been begun and not ended, and uploads can't be listed there; \
             a rule of the bucket that ends incomplete uploads takes care of it",
            self.bucket.who
        );
    }

    async fn abort_unknown(&self, key: &str, before: &[String]) -> Result<usize, TreeError> {
        let _alone = self.uploads.beginning.write().await;
        let Some(there) = self.bucket.uploads(key).await? else {
            self.warn_of_uploads(key);
            return Ok(0);
        };
        let mut aborted = 0;
        for id in there {
            let is_live = self.uploads.live.lock().contains(&id);
            if !is_live && !before.contains(&id) {
                self.bucket.abort_upload(key, &id).await?;
                aborted += 1;
            }
        }
        Ok(aborted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_read_as_it_was_noted() {
        let key = || "a/b\nc".to_owned();
        for left in [
            Left::Known {
                key: key(),
                id: "i".into(),
            },
            Left::Begun {
                key: key(),
                before: vec![],
            },
            Left::Begun {
                key: key(),
                before: vec!["one".into(), "two".into()],
            },
        ] {
            assert_eq!(Left::from_bytes(&left.to_bytes()), Some(left));
        }
    }
}
