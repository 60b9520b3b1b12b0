//! PUT, copies, uploads by parts, DELETE of many.

use super::answers::{empty, iso, refusal, xml};
use super::requests::{Asked, elements, range, unentity, unescape};
use super::{Bucket, Stored, Uploading};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::time::SystemTime;

const LEAST_PART_BYTES: usize = 5 << 20;

pub fn etag(body: &[u8]) -> String {
    let mut hasher = SipHasher13::new();
    hasher.write(body);
    format!("\"{:032x}\"", hasher.finish128().as_u128())
}

fn too_large(meta: &BTreeMap<String, String>) -> bool {
    meta.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>() > 2048
}

impl Bucket {
    /// Why the conditions of a write aren't met.
    fn unmet(&self, asked: &Asked) -> Option<Response> {
        if self.lies {
            return None;
        }
        let there = self.objects.get(&asked.key);
        if asked.header("if-none-match") == Some("*") && there.is_some() {
            return Some(refusal(412, "PreconditionFailed"));
        }
        match (asked.header("if-match"), there) {
            (None, _) => None,
            (Some(_), None) => Some(refusal(404, "NoSuchKey")),
            (Some(wanted), Some(there)) if wanted != there.etag => {
                Some(refusal(412, "PreconditionFailed"))
            }
            _ => None,
        }
    }

    pub fn put(&mut self, asked: &Asked) -> Response {
        if asked.key.len() > 1024 {
            return refusal(400, "KeyTooLongError");
        }
        let mut meta = asked.meta();
        if too_large(&meta) {
            return refusal(400, "MetadataTooLarge");
        }
        if self.bare_markers && asked.key.ends_with('/') {
            meta.clear();
        }
        if let Some(refusal) = self.unmet(asked) {
            return refusal;
        }
        let stored = Stored {
            body: asked.body.clone(),
            etag: etag(&asked.body),
            modified: SystemTime::now(),
            meta,
            content_type: asked.header("content-type").map(str::to_owned),
        };
        let answer = Response::builder().header("etag", &stored.etag);
        self.objects.insert(asked.key.clone(), stored);
        answer.body(Body::empty()).expect("an answer")
    }

    /// What is to be copied, if it is the version that was asked for.
    fn source(&self, asked: &Asked) -> Result<Stored, (u16, &'static str)> {
        let source = unescape(asked.header("x-amz-copy-source").unwrap_or_default());
        let key = source.split_once('/').map_or("", |(_, key)| key);
        let is_there = !(self.bare_markers && key.ends_with('/'));
        let Some(stored) = self.objects.get(key).filter(|_| is_there) else {
            return Err((404, "NoSuchKey"));
        };
        match asked.header("x-amz-copy-source-if-match") {
            Some(wanted) if wanted != stored.etag => Err((412, "PreconditionFailed")),
            _ => Ok(stored.clone()),
        }
    }

    pub fn copy(&mut self, asked: &Asked) -> Response {
        let source = match self.source(asked) {
            Ok(source) => source,
            Err((status, code)) => return refusal(status, code),
        };
        let replaces = asked.header("x-amz-metadata-directive") == Some("REPLACE");
        if too_large(&asked.meta()) {
            return refusal(400, "MetadataTooLarge");
        }
        let given = asked.header("content-type").map(str::to_owned);
        let stored = Stored {
            etag: etag(&source.body),
            modified: SystemTime::now(),
            meta: if replaces { asked.meta() } else { source.meta },
            content_type: if replaces { given } else { source.content_type },
            body: source.body,
        };
        let answer = xml(format!(
            "<CopyObjectResult><LastModified>{}</LastModified><ETag>{}</ETag></CopyObjectResult>",
            iso(stored.modified),
            stored.etag
        ));
        self.objects.insert(asked.key.clone(), stored);
        answer
    }

    pub fn begin_upload(&mut self, asked: &Asked) -> Response {
        self.counter += 1;
        let id = format!("upload-{}", self.counter);
        let upload = Uploading {
            key: asked.key.clone(),
            meta: asked.meta(),
            content_type: asked.header("content-type").map(str::to_owned),
            parts: BTreeMap::new(),
        };
        self.uploads.insert(id.clone(), upload);
        xml(format!(
            "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
        ))
    }

    pub fn list_uploads(&self, asked: &Asked) -> Response {
        let prefix = asked.query.get("prefix").map_or("", String::as_str);
        let mut rows = String::new();
        for (id, Uploading { key, .. }) in &self.uploads {
            if key.starts_with(prefix) {
                rows.extend(["<Upload><Key>", key, "</Key><UploadId>", id]);
                rows.push_str("</UploadId></Upload>");
            }
        }
        xml(format!(
            "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>{rows}</ListMultipartUploadsResult>"
        ))
    }

    pub fn put_part(&mut self, asked: &Asked) -> Response {
        let number: u32 = asked.query["partNumber"].parse().expect("a number");
        let copies = asked.header("x-amz-copy-source").is_some();
        let body = if copies {
            let source = match self.source(asked) {
                Ok(source) => source.body,
                Err((status, code)) => return refusal(status, code),
            };
            match asked.header("x-amz-copy-source-range").and_then(range) {
                None => source,
                Some((_, end)) if end >= source.len() as u64 => {
                    return refusal(400, "InvalidArgument");
                }
                Some((start, end)) => source.slice(start as usize..=end as usize),
            }
        } else {
            asked.body.clone()
        };
        let tag = etag(&body);
        let Some(upload) = self.uploads.get_mut(&asked.query["uploadId"]) else {
            return refusal(404, "NoSuchUpload");
        };
        upload.parts.insert(number, (body, tag.clone()));
        if copies {
            return xml(format!(
                "<CopyPartResult><ETag>{tag}</ETag></CopyPartResult>"
            ));
        }
        Response::builder()
            .header("etag", tag)
            .body(Body::empty())
            .expect("an answer")
    }

    pub fn complete_upload(&mut self, asked: &Asked) -> Response {
        let id = &asked.query["uploadId"];
        let Some(upload) = self.uploads.get(id) else {
            return refusal(404, "NoSuchUpload");
        };
        let named: Vec<(u32, String)> = elements(asked.text(), "Part")
            .into_iter()
            .map(|part| {
                let number = elements(part, "PartNumber")[0].parse().expect("a number");
                (number, unentity(elements(part, "ETag")[0]))
            })
            .collect();
        let mut whole = Vec::new();
        for (at, (number, tag)) in named.iter().enumerate() {
            let Some((body, there)) = upload.parts.get(number) else {
                return refusal(400, "InvalidPart");
            };
            if tag != there {
                return refusal(400, "InvalidPart");
            }
            if at + 1 < named.len() && body.len() < LEAST_PART_BYTES {
                return refusal(400, "EntityTooSmall");
            }
            whole.extend_from_slice(body);
        }
        if let Some(refusal) = self.unmet(asked) {
            return refusal;
        }
        let Some(upload) = self.uploads.remove(id) else {
            return refusal(404, "NoSuchUpload");
        };
        let tag = etag(&whole);
        let tag = format!("{}-{}\"", tag.trim_end_matches('"'), named.len());
        let stored = Stored {
            body: Bytes::from(whole),
            etag: tag.clone(),
            modified: SystemTime::now(),
            meta: upload.meta,
            content_type: upload.content_type,
        };
        self.objects.insert(upload.key, stored);
        let tag = tag.replace('"', "&quot;");
        xml(format!(
            "<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>"
        ))
    }

    pub fn abort_upload(&mut self, asked: &Asked) -> Response {
        match self.uploads.remove(&asked.query["uploadId"]) {
            Some(_) => empty(204),
            None => refusal(404, "NoSuchUpload"),
        }
    }

    pub fn delete_all(&mut self, asked: &Asked) -> Response {
        for key in elements(asked.text(), "Key") {
            self.objects.remove(&unentity(key));
        }
        xml("<DeleteResult></DeleteResult>".to_owned())
    }
}
