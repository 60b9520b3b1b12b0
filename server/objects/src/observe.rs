//! Size and state of a file as its data servers know them, and the padding that makes a size visible.
//!
//! Never here: committing what was learnt, and questions shared by those who ask.

use crate::proxy::live_objects;
use crate::{Error, Objects};
use backend::ObjectStat;
use catalog::{DataStamp, Inode};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use layout::{Extent, ObjectId, ObjectRef, object_size_for, written_end};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

const CALLS_AT_ONCE: usize = 16;
pub(crate) const ATTEMPTS: u32 = 4;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The end of what was written: every truncate reaches the objects before it is answered.
    pub size: u64,
    pub stamp: DataStamp,
    /// Bytes on disk.
    pub used: u64,
    /// Every object is as long as `size` wants it, so that it may be shown as it is (invariant 8).
    pub is_padded: bool,
}

impl Observed {
    /// Whether a client wrote since size and times of `inode` were committed. A file without a byte was not written:
    /// its objects are younger than what is known of them where they came from a pool or were bound late.
    pub fn is_written_since(&self, inode: &Inode) -> bool {
        self.size > inode.size || (inode.size > 0 && self.stamp != inode.data_stamp)
    }
}

/// Each object counts by itself: data servers have clocks of their own, and one that is written while the others are
/// still being asked must show the next time. One without a byte counts nothing, so that a file which gets more objects
/// isn't written by that.
pub(crate) fn stamp_of<'a>(
    stats: impl IntoIterator<Item = (ObjectId, &'a ObjectStat)>,
) -> DataStamp {
    let each = stats
        .into_iter()
        .filter(|(_, stat)| stat.size > 0)
        .map(|(object, stat)| {
            // The key is part of what the catalog keeps: another one would date every file anew.
            let mut hasher = SipHasher13::new();
            hasher.write(&object.0.to_be_bytes());
            hasher.write(&stat.mtime.to_be_bytes());
            hasher.write(&stat.size.to_be_bytes());
            hasher.finish()
        });
    DataStamp(each.fold(0, u64::wrapping_add))
}

impl Objects {
    /// What the data servers know of a file.
    pub async fn observe(&self, extents: &[Extent]) -> Result<Observed, Error> {
        let mut asked = Vec::new();
        for (place, extent) in extents.iter().enumerate() {
            for object in live_objects(std::slice::from_ref(extent)) {
                asked.push((self.desk(object.server)?, place, object.clone()));
            }
        }
        let stats: Vec<_> = stream::iter(asked)
            .map(|(desk, place, object)| async move {
                let stat = desk
                    .insist(ATTEMPTS, || desk.server().stat(&object.handle))
                    .await?;
                Ok::<_, Error>((place, object.object, stat))
            })
            .buffer_unordered(CALLS_AT_ONCE)
            .try_collect()
            .await?;
        let lengths = || {
            stats
                .iter()
                .map(|(place, _, stat)| (&extents[*place], stat.size))
        };
        let size = written_end(lengths());
        Ok(Observed {
            size,
            is_padded: lengths().all(|(extent, length)| length >= object_size_for(extent, size)),
            stamp: stamp_of(stats.iter().map(|(_, object, stat)| (*object, stat))),
            used: stats.iter().map(|(_, _, stat)| stat.used).sum(),
        })
    }

    /// Makes every object long enough for `size` to be visible (invariant 8), cutting nothing. Gives the state after
    /// it: padding moves the objects' times, and is no write.
    pub async fn pad(&self, extents: &[Extent], size: u64) -> Result<DataStamp, Error> {
        let answers = self.pad_each(extents, size).await?;
        stamp_after(answers, |_| true)
    }

    /// The same, with what each object answered.
    pub(crate) async fn pad_each(
        &self,
        extents: &[Extent],
        size: u64,
    ) -> Result<Vec<Answer>, Error> {
        let mut asked = Vec::new();
        for extent in extents {
            let part = object_size_for(extent, size);
            let live = live_objects(std::slice::from_ref(extent));
            asked.extend(live.map(|object| (object.clone(), part)));
        }
        self.resize_each(asked, Resize::Extend).await
    }

    /// Cuts or extends every object to its part of `size`. The caller keeps writers out. Gives the state after it.
    pub(crate) async fn cut(&self, extents: &[Extent], size: u64) -> Result<DataStamp, Error> {
        let live: Vec<ObjectId> = live_objects(extents).map(|object| object.object).collect();
        let mut asked = Vec::new();
        for extent in extents {
            let part = object_size_for(extent, size);
            // A stale copy too: what was cut must not come back by a repair that reads it.
            asked.extend(extent.objects().map(|object| (object.clone(), part)));
        }
        let answers = self.resize_each(asked, Resize::Set).await?;
        stamp_after(answers, |object| live.contains(&object))
    }

    /// All answers are awaited, also when one is an error: what is still under way would change an object behind what
    /// comes next.
    async fn resize_each(
        &self,
        asked: Vec<(ObjectRef, u64)>,
        how: Resize,
    ) -> Result<Vec<Answer>, Error> {
        let asked: Vec<_> = asked
            .into_iter()
            .map(|(object, size)| Ok((self.desk(object.server)?, object, size)))
            .collect::<Result<_, Error>>()?;
        let answers = stream::iter(asked)
            .map(|(desk, object, size)| async move {
                let stat = desk
                    .insist(ATTEMPTS, || match how {
                        Resize::Extend => desk.server().extend(&object.handle, size),
                        Resize::Set => desk.server().set_size(&object.handle, size),
                    })
                    .await?;
                Ok((object.object, stat))
            })
            .buffer_unordered(CALLS_AT_ONCE)
            .collect();
        Ok(answers.await)
    }
}

#[derive(Clone, Copy)]
enum Resize {
    /// Cuts nothing.
    Extend,
    Set,
}

/// What an object is after a call, or why it isn't.
pub(crate) type Answer = Result<(ObjectId, ObjectStat), Error>;

pub(crate) fn stamp_after(
    answers: Vec<Answer>,
    counts: impl Fn(ObjectId) -> bool,
) -> Result<DataStamp, Error> {
    let stats: Vec<(ObjectId, ObjectStat)> = answers.into_iter().collect::<Result<_, _>>()?;
    let counted = stats.iter().filter(|(object, _)| counts(*object));
    Ok(stamp_of(counted.map(|(object, stat)| (*object, stat))))
}
