//! Bytes: of the bucket, by the version that was seen, or of the spool where a file is under change.
//!
//! Never here: changes.

use crate::bucket::Got;
use crate::failure::{come_again, of_disk};
use crate::key::Kind;
use crate::meta::{self, Metadata};
use crate::mirror::{At, Mirror, gone};
use crate::spool::{Piece, Spool};
use crate::upload::Whose;
use backend::Fetched;
use backend::tree::{NodeKind, TreeError, TreeErrorKind};
use bytes::Bytes;
use std::sync::Arc;

/// Of one READ.
pub(crate) const READ_BYTES: u32 = 1 << 20;
/// What a path can be long.
const TARGET_BYTES: u64 = 4096;
/// Looks after somebody else's change, before the caller is asked to come again.
const LOOKS: usize = 4;

fn nothing() -> Fetched {
    Fetched {
        data: Bytes::new(),
        at_end: true,
    }
}

impl Mirror {
    pub(crate) async fn read(
        &self,
        at: &At,
        offset: u64,
        count: u32,
    ) -> Result<Fetched, TreeError> {
        if at.kind == Kind::Folder {
            return Err(TreeError::new(
                TreeErrorKind::IsFolder,
                "a folder has no bytes",
            ));
        }
        let count = count.min(READ_BYTES);
        for _ in 0..LOOKS {
            let spool = self.spools.lock().get(&at.id).cloned();
            let piece = spool.as_ref().and_then(|spool| {
                let piece = spool.piece(offset, u64::from(count))?;
                Some((spool, piece))
            });
            let got = match piece {
                Some((spool, piece)) => self.read_changed(at, spool, offset, piece).await?,
                None if self.kept.is_some() => self.read_kept(at, offset, count).await?,
                None => self.read_bucket(at, offset, count).await?,
            };
            if let Some(fetched) = got {
                return Ok(fetched);
            }
        }
        Err(come_again(format!(
            "{}: {:?} changes all the time",
            self.bucket.who, at.key
        )))
    }

    fn has_bytes(&self, meta: &Metadata) -> Result<(), TreeError> {
        match meta::attributes(meta, &self.defaults, false).kind {
            NodeKind::Regular => Ok(()),
            _ => Err(TreeError::new(TreeErrorKind::Invalid, "not a regular file")),
        }
    }

    /// `None`: another version is there than was thought.
    async fn read_bucket(
        &self,
        at: &At,
        offset: u64,
        count: u32,
    ) -> Result<Option<Fetched>, TreeError> {
        let pin = if let Some(pin) = self.pins.get(&at.id) {
            pin
        } else {
            let object = self.bucket.head(&at.key).await?.ok_or_else(gone)?;
            self.has_bytes(&object.meta)?;
            let pin: Arc<str> = object.etag.as_str().into();
            self.pins.insert(at.id, Arc::clone(&pin));
            self.seen(at.id, &pin).await?;
            pin
        };
        if count == 0 || offset >= i64::MAX as u64 - u64::from(count) {
            return Ok(Some(nothing()));
        }
        let range = offset..offset + u64::from(count);
        match self.bucket.get(&at.key, range, Some(&pin)).await {
            // Past the end; that it is a file is known of what has bytes alone.
            Ok(None) => {
                let object = self.bucket.head(&at.key).await?.ok_or_else(gone)?;
                self.has_bytes(&object.meta)?;
                if offset < object.size {
                    self.pins.remove(&at.id);
                    return Ok(None);
                }
                Ok(Some(nothing()))
            }
            Ok(Some(Got { data, etag, .. })) if *etag != *pin => {
                // A server that doesn't honour the condition of a read.
                self.pins.remove(&at.id);
                tracing::debug!(key = at.key, bytes = data.len(), "another version was read");
                Ok(None)
            }
            Ok(Some(got)) => self.has_bytes(&got.meta).map(|()| {
                Some(Fetched {
                    at_end: offset + got.data.len() as u64 >= got.size,
                    data: got.data,
                })
            }),
            Err(error) => match error.kind {
                TreeErrorKind::Conflict => {
                    self.pins.remove(&at.id);
                    Ok(None)
                }
                TreeErrorKind::NoEntry => Err(gone()),
                _ => Err(error),
            },
        }
    }

    async fn read_changed(
        &self,
        at: &At,
        spool: &Arc<Spool>,
        offset: u64,
        piece: Piece,
    ) -> Result<Option<Fetched>, TreeError> {
        match piece {
            Piece::End => Ok(Some(nothing())),
            Piece::Local { end, at_end } => {
                let spool = Arc::clone(spool);
                let read = tokio::task::spawn_blocking(move || spool.read(offset..end));
                let data = read
                    .await
                    .map_err(std::io::Error::other)
                    .flatten()
                    .map_err(|error| of_disk("reading the spool", &error))?;
                Ok(Some(Fetched { data, at_end }))
            }
            Piece::Base { end, etag, at_end } => {
                match self.bucket.get(&at.key, offset..end, Some(&etag)).await {
                    Ok(Some(got)) if got.data.len() as u64 == end - offset => Ok(Some(Fetched {
                        data: got.data,
                        at_end,
                    })),
                    Ok(_) => Ok(None),
                    Err(error)
                        if self.kept.is_some()
                            && matches!(
                                error.kind,
                                TreeErrorKind::Conflict | TreeErrorKind::NoEntry
                            ) =>
                    {
                        self.look_again(at, &etag).await.map(|()| None)
                    }
                    Err(error)
                        if matches!(
                            error.kind,
                            TreeErrorKind::Conflict | TreeErrorKind::NoEntry
                        ) =>
                    {
                        match self.has_moved_on(spool, &at.key, &etag).await? {
                            true => Ok(None),
                            false if error.kind == TreeErrorKind::NoEntry => Err(gone()),
                            false => Err(error),
                        }
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Whether it was our own hand that put another version in the place of the one that a file under change rests
    /// on. If it was somebody else's, the upload will say so, to the writer.
    async fn has_moved_on(&self, spool: &Spool, key: &str, etag: &str) -> Result<bool, TreeError> {
        // Who sends it up knows what became of that once its turn is over.
        let turn = spool.turn.lock().await;
        let content = spool.content().filter(|_| !turn.over);
        let Some(content) = content.filter(|content| content.object.etag == etag) else {
            return Ok(true);
        };
        match self.whose(spool.id, key, &content).await? {
            Whose::Ours(arrived) | Whose::OursBefore(arrived) => spool.rest_on(arrived),
            Whose::Nobodys => {}
            Whose::Theirs => return Ok(false),
        }
        Ok(true)
    }

    pub(crate) async fn read_link(&self, at: &At) -> Result<Bytes, TreeError> {
        let object = match at.kind {
            Kind::File => self.bucket.head(&at.key).await?.ok_or_else(gone)?,
            Kind::Folder => return Err(TreeError::new(TreeErrorKind::Invalid, "not a symlink")),
        };
        if meta::attributes(&object.meta, &self.defaults, false).kind != NodeKind::Symlink {
            return Err(TreeError::new(TreeErrorKind::Invalid, "not a symlink"));
        }
        let got = self
            .bucket
            .get(&at.key, 0..TARGET_BYTES, Some(&object.etag))
            .await?;
        Ok(got.map(|got| got.data).unwrap_or_default())
    }
}
