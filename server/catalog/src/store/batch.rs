//! A batch: what one sync makes durable, as a value that can be logged, shipped and applied again.
//! Never a decision: it holds the outcome of validation and merging.

use super::{Committed, IdempotencyKey, Merged, Version};
use crate::codec::{Fields, Record, RecordError, Writer};
use bytes::{BufMut, Bytes};

/// Resolved: nothing is left to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    Set(Bytes, Bytes),
    Delete(Bytes),
}

/// Transactions that were committed together, and the answer to each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// Of its last transaction.
    pub version: Version,
    /// Each key once.
    pub operations: Vec<Operation>,
    pub answers: Vec<(IdempotencyKey, Committed)>,
}

impl Batch {
    /// The batch without its operations: what must be kept to answer a transaction sent again.
    #[must_use]
    pub fn answers_only(&self) -> Batch {
        Batch {
            version: self.version,
            operations: Vec::new(),
            answers: self.answers.clone(),
        }
    }

    /// Bytes with a checksum at the end.
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = self.encode().to_vec();
        bytes.put_u32(crc32c::crc32c(&bytes));
        bytes.into()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Batch, crate::Error> {
        let corrupt = || crate::Error::Corrupt("a batch fails its checksum".into());
        let (body, sum) = bytes.split_last_chunk().ok_or_else(corrupt)?;
        if crc32c::crc32c(body) != u32::from_be_bytes(*sum) {
            return Err(corrupt());
        }
        Ok(Batch::decode(body)?)
    }
}

impl Record for Batch {
    const NAME: &'static str = "a batch";

    fn put(&self, to: &mut Writer) {
        to.number(self.version);
        to.list(&self.operations, |to, operation| match operation {
            Operation::Set(key, value) => {
                to.byte(1);
                to.bytes(key);
                to.bytes(value);
            }
            Operation::Delete(key) => {
                to.byte(2);
                to.bytes(key);
            }
        });
        to.list(&self.answers, |to, (key, committed)| {
            to.0.put_u128(key.0);
            to.number(committed.version);
            to.list(&committed.merged, |to, merged| {
                to.bytes(&merged.key);
                to.option(merged.before.as_ref(), |to, before| to.bytes(before));
                to.bytes(&merged.after);
            });
        });
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, RecordError> {
        Ok(Batch {
            version: from.number("version")?,
            operations: from.list("operations", |from| {
                Ok(match from.byte("operation")? {
                    1 => Operation::Set(from.bytes("key")?, from.bytes("value")?),
                    2 => Operation::Delete(from.bytes("key")?),
                    _ => return Err(from.wrong("operation")),
                })
            })?,
            answers: from.list("answers", |from| {
                let key = IdempotencyKey(u128::from_be_bytes(from.array("idempotency key")?));
                let version = from.number("version")?;
                let merged = from.list("merged", |from| {
                    Ok(Merged {
                        key: from.bytes("key")?,
                        before: from.option("before", |from| from.bytes("before"))?,
                        after: from.bytes("after")?,
                    })
                })?;
                Ok((key, Committed { version, merged }))
            })?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_survives_its_bytes_and_a_flipped_bit_is_noticed() {
        let batch = Batch {
            version: 9,
            operations: vec![
                Operation::Set("a".into(), "1".into()),
                Operation::Delete("b".into()),
            ],
            answers: vec![(
                IdempotencyKey(5),
                Committed {
                    version: 9,
                    merged: vec![Merged {
                        key: "c".into(),
                        before: None,
                        after: "2".into(),
                    }],
                },
            )],
        };
        let bytes = batch.to_bytes();
        assert_eq!(Batch::from_bytes(&bytes), Ok(batch));
        for at in 0..bytes.len() {
            let mut broken = bytes.to_vec();
            broken[at] ^= 4;
            assert!(Batch::from_bytes(&broken).is_err());
        }
    }
}
