//! Requests, taken apart.

use axum::http::request::Parts;
use bytes::{Buf, Bytes};
use std::collections::BTreeMap;

pub struct Asked {
    pub method: String,
    pub bucket: String,
    pub key: String,
    pub query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    pub body: Bytes,
}

pub fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        let digits = rest.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(escaped) if byte == b'%' => {
                bytes.push(escaped);
                rest = &rest[2..];
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).expect("keys are UTF-8")
}

/// The chunks of `aws-chunked`, put together; the checksum behind them isn't looked at.
fn unchunked(mut body: Bytes) -> Bytes {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n");
        let line = body.split_to(end.expect("a chunk's line"));
        body.advance(2);
        let line = std::str::from_utf8(&line).expect("a chunk's length");
        let digits = line.split(';').next().unwrap_or_default();
        let length = usize::from_str_radix(digits, 16).expect("a chunk's length");
        if length == 0 {
            return whole.into();
        }
        whole.extend_from_slice(&body.split_to(length));
        body.advance(2);
    }
}

impl Asked {
    pub fn read(head: &Parts, body: Bytes) -> Self {
        let path = head.uri.path().trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let query = head.uri.query().unwrap_or_default();
        let query = query.split('&').filter(|pair| !pair.is_empty());
        let query = query.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(name), unescape(&value.replace('+', " ")))
        });
        let headers: BTreeMap<String, String> = head
            .headers
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            })
            .collect();
        let chunked = headers
            .get("x-amz-content-sha256")
            .is_some_and(|hash| hash.starts_with("STREAMING-"));
        Self {
            method: head.method.to_string(),
            bucket: bucket.to_owned(),
            key: unescape(key),
            query: query.collect(),
            headers,
            body: if chunked { unchunked(body) } else { body },
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub fn meta(&self) -> BTreeMap<String, String> {
        let named = self.headers.iter().filter_map(|(name, value)| {
            let name = name.strip_prefix("x-amz-meta-")?;
            Some((name.to_owned(), value.clone()))
        });
        named.collect()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("XML is text")
    }
}

/// The contents of each element of that name.
pub fn elements<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let pieces = xml.split(open.as_str()).skip(1);
    pieces
        .filter_map(|piece| piece.split_once(close.as_str()))
        .map(|(content, _)| content)
        .collect()
}

pub fn unentity(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&#39;", "'")
        .replace("&#xD;", "\r")
        .replace("&#xA;", "\n")
        .replace("&amp;", "&")
}

/// Of `bytes=a-b`.
pub fn range(text: &str) -> Option<(u64, u64)> {
    let (start, end) = text.strip_prefix("bytes=")?.split_once('-')?;
    Some((start.parse().ok()?, end.parse().ok()?))
}
