//! Sends a spool up: one PUT, or parts. The version that it began with must still be there at the end.
//!
//! Parts that nobody wrote into are copied where they are. Others are made whole in the spool's file and
//! streamed from it, so memory holds a few requests' buffers, whatever the parts' size.
//!
//! Never here: when something is sent up.

use crate::body::read_file;
use crate::bucket::{If, Part};
use crate::failure::{come_again, of_disk};
use crate::lost;
use crate::meta::{CTIME, TOKEN};
use crate::mirror::{Mirror, gone};
use crate::parts;
use crate::spool::{self, Content, Spool, Turn};
use crate::uploads::Upload;
use backend::tree::{TreeError, TreeErrorKind};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::ops::Range;
use std::sync::Arc;

/// Parts under way at once, of a file.
const PARTS_AT_ONCE: usize = 4;
/// Of what is fetched to make a part whole.
const FETCH_BYTES: u64 = 8 << 20;
/// Sendings of one file, where another version of our own is found to have arrived.
const TRIES: usize = 4;

pub(crate) enum Whose {
    /// This very one: its answer was lost, and its retry found it done.
    Ours(String),
    /// Ours as it was when it was sent before, and the answer was lost; it has changed since.
    OursBefore(String),
    /// The one that ours began with.
    Nobodys,
    Theirs,
}

impl Mirror {
    /// Sends up what was changed, if anything. Afterwards the spool is over.
    pub(crate) async fn upload(
        &self,
        spool: &Arc<Spool>,
        turn: &mut Turn,
    ) -> Result<(), TreeError> {
        for _ in 0..TRIES {
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
            if content.in_vain {
                return Err(self.lose(spool, turn, &at.key, &content));
            }
            self.announce(spool.id).await?;
            let sent = if content.object.size <= parts::PART_BYTES {
                self.send_whole(spool, &content, &at.key).await
            } else {
                self.send_parts(spool, &content, &at.key).await
            };
            let refusal = match sent {
                Ok(etag) => return self.arrived(spool, turn, &content, etag).await,
                Err(error) => match error.kind {
                    TreeErrorKind::Conflict | TreeErrorKind::NoEntry | TreeErrorKind::Gone => error,
                    _ => return Err(error),
                },
            };
            match self.whose(spool.id, &at.key, &content).await? {
                Whose::Ours(etag) => return self.arrived(spool, turn, &content, etag).await,
                Whose::OursBefore(etag) => spool.rest_on(etag),
                // Its upload was ended by somebody else.
                Whose::Nobodys => {}
                Whose::Theirs => {
                    tracing::debug!("an upload lost: {refusal}");
                    // Bytes that the spool held from before are no help against the new version.
                    let content = spool.content().unwrap_or(content);
                    return Err(self.lose(spool, turn, &at.key, &content));
                }
            }
        }
        Err(come_again("a file's upload is refused all the time"))
    }

    fn lose(&self, spool: &Arc<Spool>, turn: &mut Turn, key: &str, content: &Content) -> TreeError {
        let error = lost::keep(&self.state, key, spool, content);
        self.lost.tell(spool.id, &error);
        self.pins.remove(&spool.id);
        self.close(spool, turn, None);
        error
    }

    /// What was changed lies in the bucket.
    async fn arrived(
        &self,
        spool: &Arc<Spool>,
        turn: &mut Turn,
        content: &Content,
        etag: String,
    ) -> Result<(), TreeError> {
        self.note_arrival(spool.id, content, &etag).await?;
        self.close(spool, turn, Some(etag));
        Ok(())
    }

    /// What an upload asks of what is there.
    fn condition<'a>(&self, etag: &'a str) -> If<'a> {
        match &self.kept {
            Some(_) if etag.is_empty() => If::Absent,
            _ => If::Same(etag),
        }
    }

    /// Whose the version is that kept ours out.
    pub(crate) async fn whose(
        &self,
        id: u64,
        key: &str,
        content: &Content,
    ) -> Result<Whose, TreeError> {
        let ours = &content.object;
        let Some(there) = self.bucket.head(key).await? else {
            return Ok(match self.condition(&ours.etag) {
                If::Absent => Whose::Nobodys,
                _ => Whose::Theirs,
            });
        };
        let same = |name: &str| there.meta.get(name) == ours.meta.get(name);
        Ok(if there.etag == ours.etag {
            Whose::Nobodys
        } else if !same(TOKEN) {
            if self.came_late(id, &there)? {
                Whose::OursBefore(there.etag)
            } else {
                Whose::Theirs
            }
        // Each change has a time of its own.
        } else if same(CTIME) && there.size == ours.size {
            Whose::Ours(there.etag)
        } else {
            Whose::OursBefore(there.etag)
        })
    }

    pub(crate) fn close(&self, spool: &Arc<Spool>, turn: &mut Turn, etag: Option<String>) {
        turn.over = true;
        if let Some(etag) = etag {
            self.pins.insert(spool.id, etag.as_str().into());
        }
        // What an earlier start lost may still be sent again, until something was written.
        let word = if spool.is_dirty() {
            self.meant.lock().remove(&spool.id);
            None
        } else {
            self.meant.lock().get(&spool.id).cloned()
        };
        if let Err(error) = spool::clear(&spool.path, word.as_deref()) {
            tracing::warn!("{} stays behind: {error}", spool.path.display());
        }
        // Only now: the next one has its file at the same path.
        let mut spools = self.spools.lock();
        if spools
            .get(&spool.id)
            .is_some_and(|known| Arc::ptr_eq(known, spool))
        {
            spools.remove(&spool.id);
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
        let condition = self.condition(&object.etag);
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
        let condition = self.condition(&object.etag);
        upload.end(self, key, sent, condition).await
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
