//! Extended attributes, in the metadata `xattr` as s3fs has them: JSON of names and base64, escaped.
//! Only those of users (`user.…`) are shown; others stay as they are.
//!
//! Never here: requests.

use crate::meta::{Metadata, XATTR};
use aws_smithy_types::base64;
use backend::tree::{TreeError, TreeErrorKind, XattrHow};
use bytes::Bytes;
use serde_json::{Map, Value};
use std::fmt::Write as _;

const SPACE: &str = "user.";

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte == b'%' {
            let (digits, behind) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = behind;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn table(meta: &Metadata) -> Map<String, Value> {
    let json = meta.get(XATTR).and_then(|text| unescape(text));
    json.and_then(|json| serde_json::from_str(&json).ok())
        .unwrap_or_default()
}

fn put_table(meta: &mut Metadata, table: Map<String, Value>) {
    if table.is_empty() {
        meta.remove(XATTR);
    } else {
        meta.insert(XATTR.into(), escape(&Value::Object(table).to_string()));
    }
}

fn key(name: &[u8]) -> Result<String, TreeError> {
    match std::str::from_utf8(name) {
        Ok(name) if !name.is_empty() => Ok(format!("{SPACE}{name}")),
        _ => Err(TreeError::new(
            TreeErrorKind::Invalid,
            "an extended attribute's name is UTF-8 here",
        )),
    }
}

fn none() -> TreeError {
    TreeError::new(TreeErrorKind::NoEntry, "no such extended attribute")
}

pub(crate) fn get(meta: &Metadata, name: &[u8]) -> Result<Bytes, TreeError> {
    let table = table(meta);
    let value = table.get(&key(name)?).and_then(Value::as_str);
    let value = value.ok_or_else(none)?;
    let bytes = base64::decode(value).map_err(|error| {
        TreeError::new(
            TreeErrorKind::Broken,
            format!("not what s3fs writes: {error}"),
        )
    })?;
    Ok(bytes.into())
}

pub(crate) fn names(meta: &Metadata) -> Vec<Bytes> {
    let table = table(meta);
    let names = table.keys().filter_map(|name| name.strip_prefix(SPACE));
    names
        .map(|name| Bytes::copy_from_slice(name.as_bytes()))
        .collect()
}

pub(crate) fn set(
    meta: &mut Metadata,
    name: &[u8],
    value: &[u8],
    how: XattrHow,
) -> Result<(), TreeError> {
    let mut table = table(meta);
    let key = key(name)?;
    match (how, table.contains_key(&key)) {
        (XattrHow::Create, true) => {
            return Err(TreeError::new(
                TreeErrorKind::Exists,
                "the extended attribute is there",
            ));
        }
        (XattrHow::Replace, false) => return Err(none()),
        _ => {}
    }
    table.insert(key, Value::String(base64::encode(value)));
    put_table(meta, table);
    // What S3 allows of all metadata, names and values.
    let bytes: usize = meta
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if bytes > 2048 {
        return Err(TreeError::new(
            TreeErrorKind::Full,
            "an object's metadata holds 2 KiB at most",
        ));
    }
    Ok(())
}

pub(crate) fn remove(meta: &mut Metadata, name: &[u8]) -> Result<(), TreeError> {
    let mut table = table(meta);
    table.remove(&key(name)?).ok_or_else(none)?;
    put_table(meta, table);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn values_come_back_as_they_went(
            name in "[^\0]{1,30}",
            value in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut meta = Metadata::new();
            if set(&mut meta, name.as_bytes(), &value, XattrHow::Create).is_ok() {
                prop_assert!(meta[XATTR].is_ascii());
                prop_assert_eq!(get(&meta, name.as_bytes()).ok(), Some(Bytes::from(value)));
                prop_assert_eq!(names(&meta), [Bytes::from(name.clone())]);
                prop_assert!(remove(&mut meta, name.as_bytes()).is_ok());
            }
            prop_assert!(!meta.contains_key(XATTR) || names(&meta).is_empty());
        }
    }
}
