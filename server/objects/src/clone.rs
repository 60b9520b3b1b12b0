//! A part of a file that shares its blocks with a part of another, where both lie on the same servers.
//!
//! Never here: moving bytes, which is `copy`'s; the size of either file.

use crate::span::{Part, spans};
use crate::{Error, Objects};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use layout::Extent;
use std::ops::Range;

const CALLS_AT_ONCE: usize = 8;
const ATTEMPTS: u32 = 4;

/// Somewhere in a file.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub extents: &'a [Extent],
    pub offset: u64,
}

/// What becomes of one object of the target.
enum Step {
    Share {
        source: Part,
        source_offset: u64,
        target: Part,
        range: Range<u64>,
    },
    /// The source has no object there.
    Zero { target: Part, range: Range<u64> },
}

impl Objects {
    /// What offsets of [`Objects::clone_range`] between two files must be multiples of; `None` where they
    /// can't share blocks. Asks no data server.
    pub fn clone_block_bytes(&self, from: &[Extent], to: &[Extent]) -> Option<u32> {
        let (from, to) = (
            Place {
                extents: from,
                offset: 0,
            },
            Place {
                extents: to,
                offset: 0,
            },
        );
        let steps = self.plan(from, to, u64::MAX).ok()?;
        let mut blocks = steps.iter().map(|step| match step {
            Step::Share { target, .. } => target.desk.capabilities().ranges.clone_block_bytes,
            Step::Zero { .. } => Some(1),
        });
        blocks.try_fold(1, |most, block| Some(block?.max(most)))
    }

    /// Makes `length` bytes of the one file what the other holds, holes included, by sharing blocks: no
    /// byte moves, and no space is taken. Durable on return. Grows the target's objects as far as the
    /// range goes; the caller pads and commits its size as after a write.
    ///
    /// [`Error::Apart`] where a target's object lies on another server than its source's, or stripes
    /// don't match; [`Error::Unaligned`] where an offset isn't a multiple of the servers' blocks. Both
    /// are told before anything is done. The length needs no alignment. The caller sees to it that
    /// the source is as long, that all of its objects are padded so far, that ranges within one file
    /// don't overlap, and that nobody writes to either: after an error a part may be done.
    pub async fn clone_range(
        &self,
        from: Place<'_>,
        to: Place<'_>,
        length: u64,
    ) -> Result<(), Error> {
        let steps = self.plan(from, to, length)?;
        for step in &steps {
            if let Step::Share {
                source_offset,
                target,
                range,
                ..
            } = step
            {
                let block = target.desk.capabilities().ranges.clone_block_bytes;
                let block = block.ok_or(Error::Apart)?;
                let aligned = |offset: u64| offset.is_multiple_of(u64::from(block.max(1)));
                if !aligned(*source_offset) || !aligned(range.start) {
                    return Err(Error::Unaligned { block });
                }
            }
        }
        stream::iter(steps)
            .map(Ok::<_, Error>)
            .try_for_each_concurrent(CALLS_AT_ONCE, Step::run)
            .await
    }

    fn plan(&self, from: Place<'_>, to: Place<'_>, length: u64) -> Result<Vec<Step>, Error> {
        let mut steps = Vec::new();
        let end = from.offset.saturating_add(length);
        for source in spans(from.extents, from.offset..end) {
            let at = |offset: u64| (offset - from.offset).saturating_add(to.offset);
            let range = at(source.range.start)..at(source.range.end);
            for target in spans(to.extents, range) {
                let extent = match (source.extent, target.extent) {
                    (None, None) => continue,
                    (Some(_), None) => return Err(Error::Unbound),
                    (None | Some(_), Some(extent)) => extent,
                };
                let Some(origin) = source.extent else {
                    steps.extend(
                        self.parts(extent)?
                            .into_iter()
                            .map(|target_part| Step::Zero {
                                target: target_part,
                                range: target.range.clone(),
                            }),
                    );
                    continue;
                };
                let source_offset = target.range.start - to.offset + from.offset;
                for part in self.parts(extent)? {
                    let shift = (source_offset, target.range.start);
                    steps.push(Step::Share {
                        source: self.twin_of(&part, origin, shift)?,
                        source_offset,
                        target: part,
                        range: target.range.clone(),
                    });
                }
            }
        }
        Ok(steps)
    }

    /// The object of `origin` that holds on the same server, moved by the shift, what `target` owns.
    fn twin_of(
        &self,
        target: &Part,
        origin: &Extent,
        (from, to): (u64, u64),
    ) -> Result<Part, Error> {
        let owns = target.stripe;
        let count = u64::from(owns.count());
        if origin.stripe_count() as u64 != count || (count > 1 && origin.stripe_unit != owns.unit())
        {
            return Err(Error::Apart);
        }
        let index = if count > 1 {
            let unit = u64::from(owns.unit());
            if from % unit != to % unit {
                return Err(Error::Apart);
            }
            let (from, to) = (from / unit % count, to / unit % count);
            (u64::from(owns.index()) + count - to + from) % count
        } else {
            0
        };
        let twins = self.copies(origin, index as usize)?;
        twins
            .into_iter()
            .find(|twin| twin.object.server == target.object.server)
            .ok_or(Error::Apart)
    }
}

impl Step {
    async fn run(self) -> Result<(), Error> {
        match self {
            Self::Zero { target, range } => target.make_zero(range).await,
            Self::Share {
                source,
                source_offset,
                target,
                range,
            } => {
                let mut at = range.start;
                while at < range.end {
                    let offset = source_offset + (at - range.start);
                    let reached = target
                        .desk
                        .insist(ATTEMPTS, || {
                            target.desk.server().clone_range(
                                &source.object.handle,
                                offset,
                                &target.object.handle,
                                at..range.end,
                            )
                        })
                        .await?;
                    at = target.further(at, reached)?;
                }
                Ok(())
            }
        }
    }
}
