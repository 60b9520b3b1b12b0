//! Sends a spool up: one PUT, or parts. The version that it began with must still be there at the end.
//!
//! Parts that nobody wrote into are copied where they are. Others are made whole in the spool's file and
//! streamed from it, so memory holds a few requests' buffers, whatever the parts' size.
//!
//! Never here: when something is sent up.

use crate::bucket::{Bucket, If, Part, read_file};
use crate::failure::{come_again, of_disk};
use crate::lost;
use crate::meta::TOKEN;
use crate::mirror::{Mirror, gone};
use crate::parts;
use crate::rows::join;
use crate::spool::{Content, Spool, Turn};
use backend::tree::{TreeError, TreeErrorKind};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::ops::Range;
use std::sync::Arc;

/// Parts under way at once, of a file.
const PARTS_AT_ONCE: usize = 4;
/// Of what is fetched to make a part whole.
const FETCH_BYTES: u64 = 8 << 20;

/// The intent of an upload: what it needs to be aborted.
pub(crate) const UPLOAD: &[u8] = b"upload";

impl Mirror {
    /// Sends up what was changed, if anything. Afterwards the spool is over.
    pub(crate) async fn upload(
        &self,
        spool: &Arc<Spool>,
        turn: &mut Turn,
    ) -> Result<(), TreeError> {
        let Some(content) = spool.content().filter(|_| !turn.over) else {
            return Ok(());
        };
        if !content.dirty {
            self.close(spool, turn, None);
            return Ok(());
        }
        let Some(at) = self.at_id(spool.id)? else {
            // Removed while it was open: its bytes go with its name.
            self.close(spool, turn, None);
            return Err(gone());
        };
        let sent = if content.object.size <= parts::PART_BYTES {
            self.send_whole(spool, &content, &at.key).await
        } else {
            self.send_parts(spool, &content, &at.key).await
        };
        let lost = match sent {
            Ok(etag) => {
                self.close(spool, turn, Some(etag));
                return Ok(());
            }
            Err(error) => match error.kind {
                TreeErrorKind::Conflict | TreeErrorKind::NoEntry | TreeErrorKind::Gone => error,
                _ => return Err(error),
            },
        };
        if let Some(etag) = self.is_ours(&at.key, &content).await? {
            self.close(spool, turn, Some(etag));
            return Ok(());
        }
        tracing::debug!("an upload lost: {lost}");
        // Bytes that the spool held from before are no help against the new version.
        let content = spool.content().unwrap_or(content);
        let error = lost::keep(&self.state, &at.key, spool, &content);
        self.lost.tell(spool.id, &error);
        self.pins.remove(&spool.id);
        self.close(spool, turn, None);
        Err(error)
    }

    /// Whether it was our own write whose answer was lost and whose retry found it done.
    async fn is_ours(&self, key: &str, content: &Content) -> Result<Option<String>, TreeError> {
        let there = self.bucket.head(key).await?;
        let ours = content.object.meta.get(TOKEN);
        Ok(there
            .filter(|there| there.meta.get(TOKEN) == ours && there.size == content.object.size)
            .map(|there| there.etag))
    }

    pub(crate) fn close(&self, spool: &Arc<Spool>, turn: &mut Turn, etag: Option<String>) {
        turn.over = true;
        if let Some(etag) = etag {
            self.pins.insert(spool.id, etag.as_str().into());
        }
        let mut spools = self.spools.lock();
        if spools
            .get(&spool.id)
            .is_some_and(|known| Arc::ptr_eq(known, spool))
        {
            spools.remove(&spool.id);
        }
        drop(spools);
        if let Err(error) = std::fs::remove_file(&spool.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!("{} stays behind: {error}", spool.path.display());
        }
    }

    async fn send_whole(
        &self,
        spool: &Arc<Spool>,
        content: &Content,
        key: &str,
    ) -> Result<String, TreeError> {
        let object = &content.object;
        self.fill(spool, content, key, 0..object.size).await?;
        let body = read_file(&spool.path, 0..object.size).await?;
        let condition = If::Same(&object.etag);
        self.bucket
            .put(
                key,
                body,
                object.size,
                &object.meta,
                &object.dress,
                condition,
            )
            .await
    }

    async fn send_parts(
        &self,
        spool: &Arc<Spool>,
        content: &Content,
        key: &str,
    ) -> Result<String, TreeError> {
        let object = &content.object;
        let (meta, dress) = (&object.meta, &object.dress);
        let upload = Upload::begin(self, key, meta, dress).await?;
        let part_bytes = parts::part_bytes(object.size, parts::PART_BYTES);
        let upload_id = &upload.id;
        let parts = parts::cut(object.size, part_bytes).map(|(number, range)| async move {
            let untouched = content.local.gaps(range.clone()) == [range.clone()];
            if untouched && range.end <= content.base_bytes {
                let from = (key, object.etag.as_str());
                return self
                    .bucket
                    .copy_part(key, upload_id, number, from, range)
                    .await;
            }
            self.fill(spool, content, key, range.clone()).await?;
            self.bucket
                .upload_part(key, upload_id, number, &spool.path, range)
                .await
        });
        let sent: Result<Vec<Part>, TreeError> = stream::iter(parts)
            .buffer_unordered(PARTS_AT_ONCE)
            .try_collect()
            .await;
        upload.end(self, key, sent, If::Same(&object.etag)).await
    }

    /// Fetches what of a range the spool has not.
    async fn fill(
        &self,
        spool: &Arc<Spool>,
        content: &Content,
        key: &str,
        range: Range<u64>,
    ) -> Result<(), TreeError> {
        let within = range.start..range.end.min(content.base_bytes);
        for gap in content.local.gaps(within) {
            let mut at = gap.start;
            while at < gap.end {
                let end = gap.end.min(at + FETCH_BYTES);
                let etag = Some(content.object.etag.as_str());
                let got = self.bucket.get(key, at..end, etag).await?;
                let data = got.map(|got| got.data).unwrap_or_default();
                if data.len() as u64 != end - at {
                    return Err(come_again(format!("{key:?}: the answer broke off")));
                }
                let into = Arc::clone(spool);
                let taken = tokio::task::spawn_blocking(move || into.take_in(at, &data)).await;
                taken
                    .map_err(std::io::Error::other)
                    .flatten()
                    .map_err(|error| of_disk("writing the spool", &error))?;
                at = end;
            }
        }
        Ok(())
    }
}

/// An upload by parts, known to the local store before its first part: a crash leaves none behind.
pub(crate) struct Upload {
    pub id: String,
    intent: u64,
}

impl Upload {
    pub(crate) async fn begin(
        mirror: &Mirror,
        key: &str,
        meta: &crate::meta::Metadata,
        dress: &crate::bucket::Dress,
    ) -> Result<Self, TreeError> {
        let id = mirror.bucket.begin_upload(key, meta, dress).await?;
        let row = join(&[UPLOAD, key.as_bytes(), id.as_bytes()]);
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
        if done.is_err() {
            abort(&mirror.bucket, key, &self.id).await?;
        }
        let intent = self.intent;
        mirror.store(move |ids| ids.end_intent(intent)).await?;
        done
    }
}

pub(crate) async fn abort(bucket: &Bucket, key: &str, upload: &str) -> Result<(), TreeError> {
    bucket.abort_upload(key, upload).await
}
