//! Extended attributes: names apart from values, so that a listing reads no value.

use super::{Fields, Record, RecordError, Writer};
use bytes::Bytes;

/// One name of an [`XattrBucket`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct XattrNamed {
    pub name: Bytes,
    /// Tells names of one hash apart: 0 or 1.
    pub tiebreak: u8,
    /// Length of its value.
    pub bytes: u32,
}

/// All names of one inode's extended attributes whose hash is the same: nearly always one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct XattrBucket(pub Vec<XattrNamed>);

impl Record for XattrBucket {
    const NAME: &'static str = "the name of an extended attribute";

    fn put(&self, to: &mut Writer) {
        to.list(&self.0, |to, named| {
            to.bytes(&named.name);
            to.byte(named.tiebreak);
            to.number(named.bytes.into());
        });
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        let names = from.list("names", |from| {
            Ok(XattrNamed {
                name: from.bytes("name")?,
                tiebreak: from.byte("tiebreak")?,
                bytes: from.number_u32("bytes")?,
            })
        })?;
        Ok(XattrBucket(names))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct XattrValue(pub Bytes);

impl Record for XattrValue {
    const NAME: &'static str = "the value of an extended attribute";

    fn put(&self, to: &mut Writer) {
        to.bytes(&self.0);
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(XattrValue(from.bytes("value")?))
    }
}
