//! How a bucket is known again: a key beside the objects' with an id that the state folder has too.
//!
//! The id is noted here before the bucket gets it, so that a first attachment that died can be made again.
//!
//! Never here: objects.

use super::kept::Kept;
use crate::attach::{AttachError, PROBE};
use crate::bucket::{Bucket, Dress, If};
use crate::meta::Metadata;
use crate::names::token;
use aws_sdk_s3::primitives::ByteStream;
use backend::tree::{TreeError, TreeErrorKind};
use std::path::Path;
use std::{fs, io};

const KEY: &str = ".headrace-managed";
/// No id is so long.
const LONGEST: u64 = 256;
/// Keys that are looked at to see whether a prefix is empty.
const FEW: i32 = 16;

const CLAIMED: u8 = b'c';
const OURS: u8 = b'o';

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub id: String,
    /// Whether the bucket is known to have it.
    pub ours: bool,
}

impl Mark {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![if self.ours { OURS } else { CLAIMED }];
        bytes.extend_from_slice(self.id.as_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&state, id) = bytes.split_first()?;
        Some(Self {
            id: String::from_utf8(id.to_vec()).ok()?,
            ours: state == OURS,
        })
    }
}

/// Whose a bucket is, below its prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Nothing lies there yet.
    Nobodys,
    Ours,
    /// It was ours, and has its mark no more.
    Emptied,
    /// Another metadata server's, or this one's before its state folder was made anew.
    Anothers,
    /// It has a mark that this version doesn't make.
    Illegible,
    /// It has keys that are nobody's objects, as this one.
    Strangers(String),
}

/// The id, for who looks while the store of objects is in use.
const NOTE: &str = "bucket-id";

pub(super) fn note(state: &Path, mark: &Mark) -> io::Result<()> {
    let note = state.join(NOTE);
    if fs::read(&note).is_ok_and(|noted| noted == mark.id.as_bytes()) {
        return Ok(());
    }
    fs::write(note, &mark.id)
}

fn is_legible(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Changes nothing.
pub(super) async fn whose(bucket: &Bucket, prefix: &str, state: &Path) -> Result<Whose, TreeError> {
    let noted = fs::read_to_string(state.join(NOTE)).ok();
    Ok(match there(bucket, &format!("{prefix}{KEY}")).await? {
        Some(id) if noted.as_ref() == Some(&id) => Whose::Ours,
        Some(id) if is_legible(&id) => Whose::Anothers,
        Some(_) => Whose::Illegible,
        None if noted.is_some() => Whose::Emptied,
        None => match stranger(bucket, prefix).await? {
            Some(key) => Whose::Strangers(key),
            None => Whose::Nobodys,
        },
    })
}

/// A key that is there already.
async fn stranger(bucket: &Bucket, prefix: &str) -> Result<Option<String>, TreeError> {
    let page = bucket.list(prefix, false, None, None, FEW).await?;
    let probe = format!("{prefix}{PROBE}");
    let mut keys = page.keys.into_iter().map(|one| one.key);
    Ok(keys.find(|key| !key.starts_with(&probe)))
}

/// What was claimed for a moment is nobody's again.
pub(super) async fn disclaim(bucket: &Bucket, prefix: &str) -> Result<(), TreeError> {
    bucket.delete(&format!("{prefix}{KEY}")).await
}

/// What the bucket has.
async fn there(bucket: &Bucket, key: &str) -> Result<Option<String>, TreeError> {
    match bucket.get(key, 0..LONGEST, None).await {
        Ok(Some(got)) => Ok(Some(
            String::from_utf8_lossy(&got.data).trim_end().to_owned(),
        )),
        Ok(None) => Ok(Some(String::new())),
        Err(error) if error.kind == TreeErrorKind::NoEntry => Ok(None),
        Err(error) => Err(error),
    }
}

fn emptied(bucket: &Bucket, key: &str) -> String {
    format!(
        "{} came back without {key:?}, by which it is known: another bucket has its name now, or it was emptied. \
         Name the bucket that it was, or bring its contents back, {key:?} with them",
        bucket.who
    )
}

fn of_another(bucket: &Bucket, key: &str) -> String {
    format!(
        "{} keeps the data of another metadata server below that prefix: {key:?} isn't the one that this state \
         folder knows. Name that server's state folder if this is to take its place, else another prefix",
        bucket.who
    )
}

/// Sees to it that the bucket is this server's, or makes it so at the first time.
pub(super) async fn claim(bucket: &Bucket, prefix: &str, kept: &Kept) -> Result<Mark, AttachError> {
    let unfit = |why: String| AttachError::Unfit { why };
    let store = |error: crate::ids::IdsError| AttachError::Unfit {
        why: error.to_string(),
    };
    let key = format!("{prefix}{KEY}");
    let known = kept.mark().map_err(store)?;
    let mut mark = match (known, there(bucket, &key).await?) {
        (Some(mark), Some(there)) if mark.id == there => mark,
        (_, Some(_)) => return Err(unfit(of_another(bucket, &key))),
        (Some(mark), None) if mark.ours => return Err(unfit(emptied(bucket, &key))),
        (known, None) => {
            if let Some(foreign) = stranger(bucket, prefix).await? {
                return Err(unfit(format!(
                    "{} has other keys below that prefix, as {foreign:?}; data objects get a prefix of their own. \
                     Name one below which nothing lies",
                    bucket.who
                )));
            }
            let mark = known.unwrap_or_else(|| Mark {
                id: token(),
                ours: false,
            });
            kept.set_mark(&mark).map_err(store)?;
            put(bucket, &key, &mark.id).await?;
            // Whoever else came at this moment: one of both is in it.
            if there(bucket, &key).await? != Some(mark.id.clone()) {
                return Err(unfit(of_another(bucket, &key)));
            }
            mark
        }
    };
    if !mark.ours {
        mark.ours = true;
        kept.set_mark(&mark).map_err(store)?;
    }
    Ok(mark)
}

async fn put(bucket: &Bucket, key: &str, id: &str) -> Result<(), TreeError> {
    let body = ByteStream::from(id.as_bytes().to_vec());
    let (size, meta, dress) = (id.len() as u64, Metadata::new(), Dress::default());
    let put = bucket.put(key, body, size, &meta, &dress, If::Absent).await;
    match put {
        Ok(_) => Ok(()),
        // By somebody else, or by this very call, whose answer was lost.
        Err(error) if error.kind == TreeErrorKind::Conflict => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether what lies below the prefix are data objects, and no files.
pub(super) async fn is_there(bucket: &Bucket, prefix: &str) -> Result<bool, TreeError> {
    Ok(bucket.head(&format!("{prefix}{KEY}")).await?.is_some())
}

/// Whether it is still the bucket that it was.
pub(super) async fn check(bucket: &Bucket, prefix: &str, kept: &Kept) -> Result<(), TreeError> {
    let broken = |why| TreeError::new(TreeErrorKind::Broken, why);
    let key = format!("{prefix}{KEY}");
    let known = kept
        .mark()
        .map_err(|error| crate::failure::of_state(&error))?;
    match there(bucket, &key).await? {
        Some(there) if known.is_some_and(|mark| mark.id == there) => Ok(()),
        Some(_) => Err(broken(of_another(bucket, &key))),
        None => Err(broken(emptied(bucket, &key))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_noted() {
        for ours in [false, true] {
            let mark = Mark { id: token(), ours };
            assert_eq!(Mark::from_bytes(&mark.to_bytes()), Some(mark));
        }
    }
}
