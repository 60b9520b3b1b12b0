//! The requests to the bucket, each with its conditions, its answer in plain types and its failure in words.
//!
//! The SDK's futures are boxed: they are large, and many are held at once.
//!
//! Never here: folders, ids, what is under change.

mod get;

use crate::body::read_file;
use crate::failure::failure;
use crate::looked::Dated;
use crate::meta::Metadata;
use crate::parts;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    CompletedMultipartUpload, CompletedPart, Delete, EncodingType, MetadataDirective,
    ObjectIdentifier, StorageClass,
};
use backend::Nanos;
use backend::tree::{TreeError, TreeErrorKind};
pub(crate) use get::Got;
use std::ops::Range;
use std::path::Path;

/// Names in a page of a listing, as the protocol has it.
pub(crate) const PAGE: i32 = 1000;

/// What a write asks of what is there.
#[derive(Debug, Clone, Copy)]
pub(crate) enum If<'a> {
    Absent,
    Same(&'a str),
    Whatever,
}

/// An object but for its content.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub etag: String,
    pub size: u64,
    pub modified: Nanos,
    pub meta: Metadata,
    pub dress: Dress,
}

/// Headers that stay with an object when its metadata is replaced.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dress {
    pub content_type: Option<String>,
    pub cache_control: Option<String>,
    pub content_disposition: Option<String>,
    pub content_encoding: Option<String>,
    pub content_language: Option<String>,
    pub storage_class: Option<StorageClass>,
}

/// A page of a listing: whole keys, in their order.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub keys: Vec<Listed>,
    pub prefixes: Vec<String>,
    pub next: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Listed {
    pub key: String,
    pub modified: Nanos,
    pub etag: String,
    pub size: u64,
}

/// A finished part.
pub(crate) struct Part {
    number: i32,
    etag: Option<String>,
    crc32: Option<String>,
}

#[derive(Clone)]
pub(crate) struct Bucket {
    pub(crate) client: Client,
    pub(crate) name: String,
    /// For people, as "bucket photos at http://…".
    pub(crate) who: String,
}

fn nanos(time: Option<&DateTime>) -> Nanos {
    time.map_or(0, DateTime::as_nanos)
}

/// A length as the SDK has it.
fn length(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn object(head: HeadObjectOutput) -> Object {
    Object {
        size: head.content_length().unwrap_or(0).unsigned_abs(),
        modified: nanos(head.last_modified()),
        etag: head.e_tag.unwrap_or_default(),
        meta: head.metadata.unwrap_or_default(),
        dress: Dress {
            content_type: head.content_type,
            cache_control: head.cache_control,
            content_disposition: head.content_disposition,
            content_encoding: head.content_encoding,
            content_language: head.content_language,
            storage_class: head.storage_class,
        },
    }
}

/// A header's form of a key: of what is to be copied.
fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// A key out of a listing that was asked for with `encoding-type=url`.
fn unescaped(text: String, encoded: bool) -> Option<String> {
    if !encoded {
        return Some(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'%' => {
                let (digits, behind) = rest.split_at_checked(2)?;
                let digits = std::str::from_utf8(digits).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = behind;
            }
            b'+' => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

impl Bucket {
    fn what(&self, doing: &str, key: &str) -> String {
        format!("{}: {doing} {key:?}", self.who)
    }

    pub(crate) async fn head(&self, key: &str) -> Result<Option<Object>, TreeError> {
        self.head_by(key, Dated::default()).await
    }

    /// With the time of the answer.
    pub(crate) async fn head_by(
        &self,
        key: &str,
        dated: Dated,
    ) -> Result<Option<Object>, TreeError> {
        let request = self.client.head_object().bucket(&self.name).key(key);
        match Box::pin(request.customize().interceptor(dated).send()).await {
            Ok(head) => Ok(Some(object(head))),
            Err(error) => {
                let failure = failure(&self.what("looking at", key), &error);
                match failure.kind {
                    TreeErrorKind::NoEntry => Ok(None),
                    _ => Err(failure),
                }
            }
        }
    }

    /// Below `prefix`; folders together if `folders`.
    pub(crate) async fn list(
        &self,
        prefix: &str,
        folders: bool,
        after: Option<&str>,
        next: Option<String>,
        most: i32,
    ) -> Result<Page, TreeError> {
        let what = self.what("listing", prefix);
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.name)
            .prefix(prefix)
            .set_delimiter(folders.then(|| "/".to_owned()))
            .set_start_after(after.filter(|_| next.is_none()).map(str::to_owned))
            .set_continuation_token(next)
            .encoding_type(EncodingType::Url)
            .max_keys(most);
        let listed = Box::pin(request.send()).await;
        let listed = listed.map_err(|error| failure(&what, &error))?;
        let encoded = listed.encoding_type == Some(EncodingType::Url);
        let nonsense = || {
            TreeError::new(
                TreeErrorKind::Broken,
                format!("{what}: a key that can't be read"),
            )
        };
        let mut page = Page {
            next: listed
                .next_continuation_token
                .filter(|_| listed.is_truncated == Some(true)),
            ..Page::default()
        };
        for object in listed.contents.unwrap_or_default() {
            let modified = nanos(object.last_modified());
            page.keys.push(Listed {
                key: unescaped(object.key.unwrap_or_default(), encoded).ok_or_else(nonsense)?,
                modified,
                etag: object.e_tag.unwrap_or_default(),
                size: object.size.unwrap_or(0).unsigned_abs(),
            });
        }
        for prefix in listed.common_prefixes.unwrap_or_default() {
            let prefix = unescaped(prefix.prefix.unwrap_or_default(), encoded);
            page.prefixes.push(prefix.ok_or_else(nonsense)?);
        }
        Ok(page)
    }

    /// Its ETag.
    pub(crate) async fn put(
        &self,
        key: &str,
        body: ByteStream,
        size: u64,
        meta: &Metadata,
        dress: &Dress,
        condition: If<'_>,
    ) -> Result<String, TreeError> {
        let mut request = self
            .client
            .put_object()
            .bucket(&self.name)
            .key(key)
            .body(body)
            .content_length(length(size))
            .set_metadata(Some(meta.clone()))
            .set_content_type(dress.content_type.clone())
            .set_cache_control(dress.cache_control.clone())
            .set_content_disposition(dress.content_disposition.clone())
            .set_content_encoding(dress.content_encoding.clone())
            .set_content_language(dress.content_language.clone())
            .set_storage_class(dress.storage_class.clone());
        match condition {
            If::Absent => request = request.if_none_match("*"),
            If::Same(etag) => request = request.if_match(etag),
            If::Whatever => {}
        }
        let put = request
            .customize()
            .config_override(parts::patience(size))
            .send()
            .await
            .map_err(|error| failure(&self.what("putting", key), &error))?;
        Ok(put.e_tag.unwrap_or_default())
    }

    /// Of an object of 5 GiB at most, and only while it has that ETag. `replace`: metadata in place of
    /// the source's.
    pub(crate) async fn copy(
        &self,
        from: &str,
        etag: &str,
        to: &str,
        replace: Option<(&Metadata, &Dress)>,
    ) -> Result<String, TreeError> {
        let mut request = self
            .client
            .copy_object()
            .bucket(&self.name)
            .copy_source(format!("{}/{}", self.name, escaped(from)))
            .copy_source_if_match(etag)
            .key(to);
        if let Some((meta, dress)) = replace {
            request = request
                .metadata_directive(MetadataDirective::Replace)
                .set_metadata(Some(meta.clone()))
                .set_content_type(dress.content_type.clone())
                .set_cache_control(dress.cache_control.clone())
                .set_content_disposition(dress.content_disposition.clone())
                .set_content_encoding(dress.content_encoding.clone())
                .set_content_language(dress.content_language.clone())
                .set_storage_class(dress.storage_class.clone());
        }
        let copied = request
            .customize()
            .config_override(parts::patience(parts::COPY_BYTES))
            .send()
            .await
            .map_err(|error| failure(&self.what("copying", from), &error))?;
        let result = copied.copy_object_result.and_then(|result| result.e_tag);
        Ok(result.unwrap_or_default())
    }

    /// `Ok` when it isn't there.
    pub(crate) async fn delete(&self, key: &str) -> Result<(), TreeError> {
        let request = self.client.delete_object().bucket(&self.name).key(key);
        match Box::pin(request.send()).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let failure = failure(&self.what("deleting", key), &error);
                match failure.kind {
                    TreeErrorKind::NoEntry => Ok(()),
                    _ => Err(failure),
                }
            }
        }
    }

    /// At most a page of them.
    pub(crate) async fn delete_all(&self, keys: Vec<String>) -> Result<(), TreeError> {
        let what = self.what("deleting", &format!("{} keys", keys.len()));
        let broken = |why: String| TreeError::new(TreeErrorKind::Broken, format!("{what}: {why}"));
        let mut doomed = Delete::builder().quiet(true);
        for key in keys {
            let one = ObjectIdentifier::builder().key(key).build();
            doomed = doomed.objects(one.map_err(|error| broken(error.to_string()))?);
        }
        let doomed = doomed.build().map_err(|error| broken(error.to_string()))?;
        let request = self.client.delete_objects().bucket(&self.name);
        let answer = request.delete(doomed).send().await;
        let answer = answer.map_err(|error| failure(&what, &error))?;
        match answer.errors().first() {
            None => Ok(()),
            Some(error) => Err(broken(format!(
                "{:?}: {}",
                error.key().unwrap_or_default(),
                error.message().or(error.code()).unwrap_or_default()
            ))),
        }
    }

    /// Its id. Not tried again by itself: each try may make one.
    pub(crate) async fn begin_upload(
        &self,
        key: &str,
        meta: &Metadata,
        dress: &Dress,
    ) -> Result<String, TreeError> {
        let what = self.what("beginning an upload of", key);
        let begun = self
            .client
            .create_multipart_upload()
            .bucket(&self.name)
            .key(key)
            .set_metadata(Some(meta.clone()))
            .set_content_type(dress.content_type.clone())
            .set_cache_control(dress.cache_control.clone())
            .set_content_disposition(dress.content_disposition.clone())
            .set_content_encoding(dress.content_encoding.clone())
            .set_content_language(dress.content_language.clone())
            .set_storage_class(dress.storage_class.clone())
            .customize()
            .config_override(Builder::new().retry_config(RetryConfig::disabled()))
            .send()
            .await
            .map_err(|error| failure(&what, &error))?;
        begun
            .upload_id
            .ok_or_else(|| TreeError::new(TreeErrorKind::Broken, format!("{what}: no id")))
    }

    /// The ids of a key's uploads that aren't ended; `None`: they can't be told, or are too many.
    pub(crate) async fn uploads(&self, key: &str) -> Result<Option<Vec<String>>, TreeError> {
        let what = self.what("listing the uploads of", key);
        let listing = self.client.list_multipart_uploads().bucket(&self.name);
        let listed = match Box::pin(listing.prefix(key).send()).await {
            Ok(listed) => listed,
            Err(error) => {
                let failure = failure(&what, &error);
                return match failure.kind {
                    TreeErrorKind::Denied | TreeErrorKind::Unsupported => Ok(None),
                    _ => Err(failure),
                };
            }
        };
        if listed.is_truncated() == Some(true) {
            return Ok(None);
        }
        let uploads = listed.uploads.unwrap_or_default().into_iter();
        let of_key = uploads.filter(|upload| upload.key() == Some(key));
        Ok(Some(of_key.filter_map(|upload| upload.upload_id).collect()))
    }

    /// A part out of a file of this host, which is read as it is sent.
    pub(crate) async fn upload_part(
        &self,
        key: &str,
        upload: &str,
        number: i32,
        file: &Path,
        range: Range<u64>,
    ) -> Result<Part, TreeError> {
        let body = read_file(file, range.clone()).await?;
        let sent = self
            .client
            .upload_part()
            .bucket(&self.name)
            .key(key)
            .upload_id(upload)
            .part_number(number)
            .content_length(length(range.end - range.start))
            .body(body)
            .customize()
            .config_override(parts::patience(range.end - range.start))
            .send()
            .await
            .map_err(|error| failure(&self.what("uploading", key), &error))?;
        Ok(Part {
            number,
            etag: sent.e_tag,
            crc32: sent.checksum_crc32,
        })
    }

    /// A part out of another object, or the same one, while it has that ETag.
    pub(crate) async fn copy_part(
        &self,
        key: &str,
        upload: &str,
        number: i32,
        (from, etag): (&str, &str),
        range: Range<u64>,
    ) -> Result<Part, TreeError> {
        let copied = self
            .client
            .upload_part_copy()
            .bucket(&self.name)
            .key(key)
            .upload_id(upload)
            .part_number(number)
            .copy_source(format!("{}/{}", self.name, escaped(from)))
            .copy_source_if_match(etag)
            .copy_source_range(format!("bytes={}-{}", range.start, range.end - 1))
            .customize()
            .config_override(parts::patience(range.end - range.start))
            .send()
            .await
            .map_err(|error| failure(&self.what("copying a part of", from), &error))?;
        let result = copied.copy_part_result;
        Ok(Part {
            number,
            etag: result.as_ref().and_then(|result| result.e_tag.clone()),
            crc32: result.and_then(|result| result.checksum_crc32),
        })
    }

    /// Its ETag.
    pub(crate) async fn complete_upload(
        &self,
        key: &str,
        upload: &str,
        mut done: Vec<Part>,
        condition: If<'_>,
    ) -> Result<String, TreeError> {
        done.sort_by_key(|part| part.number);
        let mut whole = CompletedMultipartUpload::builder();
        for part in done {
            let part = CompletedPart::builder()
                .part_number(part.number)
                .set_e_tag(part.etag)
                .set_checksum_crc32(part.crc32);
            whole = whole.parts(part.build());
        }
        let mut request = self
            .client
            .complete_multipart_upload()
            .bucket(&self.name)
            .key(key)
            .upload_id(upload)
            .multipart_upload(whole.build());
        match condition {
            If::Absent => request = request.if_none_match("*"),
            If::Same(etag) => request = request.if_match(etag),
            If::Whatever => {}
        }
        let completed = request
            .customize()
            .config_override(parts::patience(parts::COPY_BYTES))
            .send()
            .await
            .map_err(|error| failure(&self.what("completing the upload of", key), &error))?;
        Ok(completed.e_tag.unwrap_or_default())
    }

    pub(crate) async fn abort_upload(&self, key: &str, upload: &str) -> Result<(), TreeError> {
        let request = self.client.abort_multipart_upload().bucket(&self.name);
        match request.key(key).upload_id(upload).send().await {
            Ok(_) => Ok(()),
            Err(error) => {
                let failure = failure(&self.what("aborting an upload of", key), &error);
                match failure.kind {
                    TreeErrorKind::Gone | TreeErrorKind::NoEntry => Ok(()),
                    _ => Err(failure),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_come_back_as_they_were_escaped(key in "\\PC{0,40}") {
            prop_assert_eq!(unescaped(escaped(&key), true), Some(key));
        }
    }
}
