//! A bucket as the keeper of objects that a data server caches: ranges of pinned versions.
//!
//! Never here: names as clients see them, changes.

use crate::attach::Options;
use crate::bucket::Bucket;
use async_trait::async_trait;
use backend::tree::{TreeError, TreeErrorKind};
use backend::upstream::{Sink, Upstream, Version};
use backend::{Error, ErrorKind};
use std::io;
use std::ops::Range;

pub struct S3Upstream(Bucket);

impl S3Upstream {
    /// Of the options, those that say where the bucket is. Nothing is asked of it yet.
    pub async fn new(options: &Options) -> Self {
        Self(options.bucket().await)
    }
}

#[async_trait]
impl Upstream for S3Upstream {
    async fn fetch(
        &self,
        version: &Version,
        range: Range<u64>,
        into: &mut dyn Sink,
    ) -> Result<(), Error> {
        let another = || {
            let detail = format!(
                "{}: {:?} is another version by now",
                self.0.who, version.key
            );
            Error::new(ErrorKind::Gone, detail)
        };
        let failed = |error: TreeError| match error.kind {
            TreeErrorKind::Conflict | TreeErrorKind::NoEntry | TreeErrorKind::Gone => another(),
            TreeErrorKind::Retry { after } => Error::new(ErrorKind::Retry { after }, error.detail),
            _ => Error::new(ErrorKind::Broken, error.detail),
        };
        let begun = self
            .0
            .begin_get(&version.key, range, Some(&version.etag))
            .await;
        let mut coming = begun.map_err(failed)?.ok_or_else(another)?;
        // Also of a server that doesn't honour the condition of a read.
        if coming.etag != version.etag || coming.size.is_some_and(|size| size != version.size) {
            return Err(another());
        }
        loop {
            match coming.body.try_next().await {
                Ok(Some(piece)) => into.put(&piece)?,
                Ok(None) => return Ok(()),
                Err(error) => {
                    let error = io::Error::other(error);
                    return Err(failed(self.0.broke_off(&version.key, &error)));
                }
            }
        }
    }
}
