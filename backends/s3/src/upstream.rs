//! A bucket as the keeper of objects that a data server caches: ranges of pinned versions.
//!
//! Never here: names as clients see them, changes.

use crate::attach::Options;
use crate::bucket::{Bucket, Got};
use async_trait::async_trait;
use backend::tree::TreeErrorKind;
use backend::upstream::{Upstream, Version};
use backend::{Error, ErrorKind};
use bytes::Bytes;
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
    async fn fetch(&self, version: &Version, range: Range<u64>) -> Result<Bytes, Error> {
        let another = || {
            let detail = format!(
                "{}: {:?} is another version by now",
                self.0.who, version.key
            );
            Error::new(ErrorKind::Gone, detail)
        };
        match self.0.get(&version.key, range, Some(&version.etag)).await {
            // Also of a server that doesn't honour the condition of a read.
            Ok(Some(Got {
                data, etag, size, ..
            })) if etag == version.etag && size == version.size => Ok(data),
            Ok(_) => Err(another()),
            Err(error) => Err(match error.kind {
                TreeErrorKind::Conflict | TreeErrorKind::NoEntry | TreeErrorKind::Gone => another(),
                TreeErrorKind::Retry { after } => {
                    Error::new(ErrorKind::Retry { after }, error.detail)
                }
                _ => Error::new(ErrorKind::Broken, error.detail),
            }),
        }
    }
}
