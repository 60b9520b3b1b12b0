//! GET of a range: the answer's head, and its body as it comes or all of it.

use super::Bucket;
use crate::body::gather;
use crate::failure::{come_again, failure};
use crate::meta::Metadata;
use aws_sdk_s3::primitives::ByteStream;
use backend::tree::{TreeError, TreeErrorKind};
use bytes::Bytes;
use std::io;
use std::ops::Range;

/// An answer whose body is still to come.
pub(crate) struct Coming {
    pub etag: String,
    /// Of the whole object, where it was said.
    pub size: Option<u64>,
    /// The most that the body has.
    pub length: u64,
    pub meta: Metadata,
    pub body: ByteStream,
}

pub(crate) struct Got {
    pub data: Bytes,
    pub etag: String,
    /// Of the whole object.
    pub size: u64,
    pub meta: Metadata,
}

impl Bucket {
    /// A range of one version; `None`: it lies past the end. A body cut short passes.
    pub(crate) async fn get(
        &self,
        key: &str,
        range: Range<u64>,
        etag: Option<&str>,
    ) -> Result<Option<Got>, TreeError> {
        let Some(coming) = self.begin_get(key, range, etag).await? else {
            return Ok(None);
        };
        let body = gather(coming.body, coming.length as usize)
            .await
            .map_err(|error| self.broke_off(key, &error))?;
        Ok(Some(Got {
            etag: coming.etag,
            size: coming.size.unwrap_or(body.len() as u64),
            data: body,
            meta: coming.meta,
        }))
    }

    /// What came of an answer isn't all of it.
    pub(crate) fn broke_off(&self, key: &str, error: &io::Error) -> TreeError {
        let what = self.what("getting", key);
        come_again(format!("{what}: the answer broke off ({error})"))
    }

    /// The same, with the body still to come.
    pub(crate) async fn begin_get(
        &self,
        key: &str,
        range: Range<u64>,
        etag: Option<&str>,
    ) -> Result<Option<Coming>, TreeError> {
        let what = self.what("getting", key);
        let request = self
            .client
            .get_object()
            .bucket(&self.name)
            .key(key)
            .range(format!("bytes={}-{}", range.start, range.end - 1))
            .set_if_match(etag.map(str::to_owned));
        let got = match Box::pin(request.send()).await {
            Ok(got) => got,
            Err(error) => {
                let status = error.raw_response().map(|r| r.status().as_u16());
                return match status {
                    Some(416) => Ok(None),
                    _ => Err(failure(&what, &error)),
                };
            }
        };
        // "bytes 0-9/100"; without it the answer is the whole object.
        let whole = got
            .content_range()
            .and_then(|range| range.rsplit_once('/')?.1.parse().ok());
        let asked = range.end - range.start;
        let said = got.content_length().map(i64::unsigned_abs);
        let sent = said.unwrap_or(asked);
        if sent > asked {
            // A server that knows no ranges: to take its answer were to hold a whole object.
            return Err(TreeError::new(
                TreeErrorKind::Broken,
                format!("{what}: asked for a part, and got more"),
            ));
        }
        Ok(Some(Coming {
            etag: got.e_tag.unwrap_or_default(),
            size: whole.or(said),
            length: sent,
            meta: got.metadata.unwrap_or_default(),
            body: got.body,
        }))
    }
}
