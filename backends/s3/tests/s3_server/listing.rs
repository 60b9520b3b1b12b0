//! ListObjectsV2.

use super::Bucket;
use super::answers::{iso, refusal, xml};
use super::requests::Asked;
use axum::response::Response;
use std::fmt::Write as _;
use std::ops::Bound;

/// As `encoding-type=url` has it: a space is a plus.
fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            _ if byte.is_ascii_alphanumeric() || b"-_.*/".contains(&byte) => {
                encoded.push(char::from(byte));
            }
            _ => write!(encoded, "%{byte:02X}").expect("a string takes it"),
        }
    }
    encoded
}

fn token(text: &str) -> String {
    text.bytes().fold(String::new(), |mut token, byte| {
        write!(token, "{byte:02x}").expect("a string takes it");
        token
    })
}

fn untoken(token: &str) -> Option<String> {
    let bytes = (0..token.len()).step_by(2);
    let bytes = bytes.map(|at| u8::from_str_radix(token.get(at..at + 2)?, 16).ok());
    String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()
}

impl Bucket {
    pub fn list(&self, asked: &Asked) -> Response {
        let query = |name: &str| asked.query.get(name).map(String::as_str);
        if query("list-type") != Some("2") || query("encoding-type") != Some("url") {
            return refusal(501, "NotImplemented");
        }
        let prefix = query("prefix").unwrap_or_default();
        let most: usize = query("max-keys").map_or(1000, |most| most.parse().expect("a number"));
        let after = match query("continuation-token").map(untoken) {
            Some(None) => return refusal(400, "InvalidArgument"),
            Some(Some(after)) => after,
            None => query("start-after").unwrap_or_default().to_owned(),
        };
        let mut contents = String::new();
        let mut last = String::new();
        let mut count = 0;
        let mut truncated = false;
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        let mut folder: Option<String> = None;
        for (key, stored) in self.objects.range(behind) {
            let Some(rest) = key.strip_prefix(prefix) else {
                continue;
            };
            if folder
                .as_ref()
                .is_some_and(|folder| key.starts_with(folder))
            {
                continue;
            }
            if count == most.min(1000) {
                truncated = true;
                break;
            }
            count += 1;
            let cut = query("delimiter").and_then(|delimiter| rest.split_once(delimiter));
            if let Some((name, _)) = cut {
                let whole = format!("{prefix}{name}/");
                let shown = encode(&whole);
                write!(
                    contents,
                    "<CommonPrefixes><Prefix>{shown}</Prefix></CommonPrefixes>"
                )
                .expect("a string takes it");
                last = format!("{whole}\u{10FFFF}");
                folder = Some(whole);
            } else {
                write!(
                    contents,
                    "<Contents><Key>{}</Key><LastModified>{}</LastModified><ETag>{}</ETag>\
                     <Size>{}</Size></Contents>",
                    encode(key),
                    iso(stored.modified),
                    stored.etag.replace('"', "&quot;"),
                    stored.body.len()
                )
                .expect("a string takes it");
                key.clone_into(&mut last);
            }
        }
        let next = if truncated {
            let token = token(&last);
            format!("<NextContinuationToken>{token}</NextContinuationToken>")
        } else {
            String::new()
        };
        xml(format!(
            "<ListBucketResult><IsTruncated>{truncated}</IsTruncated>\
             <EncodingType>url</EncodingType>{next}{contents}</ListBucketResult>"
        ))
    }
}
