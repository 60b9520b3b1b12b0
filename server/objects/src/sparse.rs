//! Holes and space of a file: where the next data or hole is, making a hole, setting space aside.
//! A byte is data if it is data in the object that owns it.
//!
//! Never here: the file's size, which is the caller's to know and to commit.

use crate::proxy::commit_object;
use crate::span::{Part, spans};
use crate::{Error, Objects};
use backend::{ErrorKind, Seek, Sought};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use layout::Extent;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

const CALLS_AT_ONCE: usize = 8;
const ATTEMPTS: u32 = 4;

impl Objects {
    /// The first byte at or after `offset` that is data, or that is a hole; the end of the file is a
    /// hole. `None` where `offset` is not in the file, or no data follows.
    ///
    /// On a server that isn't `sparse` (see [`backend::RangeAbilities`]) everything is data. What
    /// others write meanwhile may be seen or not.
    pub async fn seek(
        &self,
        extents: &[Extent],
        file_size: u64,
        offset: u64,
        what: Seek,
    ) -> Result<Option<u64>, Error> {
        for span in spans(extents, offset..file_size) {
            let found = match (span.extent, what) {
                (Some(extent), _) => self.seek_in(extent, span.range, what).await?,
                (None, Seek::Hole) => Some(span.range.start),
                (None, Seek::Data) => None,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(Some(file_size).filter(|_| what == Seek::Hole && offset < file_size))
    }

    async fn seek_in(
        &self,
        extent: &Extent,
        within: Range<u64>,
        what: Seek,
    ) -> Result<Option<u64>, Error> {
        let mut stripes = Vec::new();
        for index in 0..extent.stripe_count() {
            stripes.push(self.copies(extent, index)?);
        }
        // What one stripe has found bounds the search in the others.
        let nearest = AtomicU64::new(within.end);
        let nearest_known = &nearest;
        stream::iter(stripes)
            .map(Ok)
            .try_for_each_concurrent(CALLS_AT_ONCE, |copies| {
                let start = within.start;
                async move { seek_stripe(&copies, start, nearest_known, what).await }
            })
            .await?;
        let nearest = nearest.into_inner();
        Ok((nearest < within.end).then_some(nearest))
    }

    /// Makes the range read as zeros, and gives its space back on servers that are `sparse`; on others
    /// zeros are written, by calls of bounded length. Durable on return. No size changes: past the
    /// end of an object there is nothing to do.
    ///
    /// After an error a part may be done; done again it comes to the same.
    pub async fn deallocate(
        &self,
        extents: &[Extent],
        offset: u64,
        length: u64,
    ) -> Result<(), Error> {
        let mut todo = Vec::new();
        for span in spans(extents, offset..offset.saturating_add(length)) {
            if let Some(extent) = span.extent {
                let parts = self.parts(extent)?.into_iter();
                todo.extend(parts.map(|part| (part, span.range.clone())));
            }
        }
        stream::iter(todo)
            .map(Ok)
            .try_for_each_concurrent(CALLS_AT_ONCE, |(part, range)| async move {
                part.make_zero(range).await
            })
            .await
    }

    /// Sets space aside for the range, so that writes there don't find a server full, and makes every
    /// object long enough for its end to be visible (invariant 8). Changes no byte. Durable on return.
    ///
    /// [`ErrorKind::Unsupported`] where any server can't, before anything is done;
    /// [`ErrorKind::Full`] where one hasn't the space: what others set aside stays with the file, and
    /// no object has grown. The caller commits the size.
    pub async fn allocate(
        &self,
        extents: &[Extent],
        offset: u64,
        length: u64,
    ) -> Result<(), Error> {
        let end = offset.saturating_add(length);
        let mut todo = Vec::new();
        for span in spans(extents, offset..end) {
            let extent = span.extent.ok_or(Error::Unbound)?;
            for part in self.parts(extent)? {
                if !part.desk.capabilities().ranges.reserve {
                    return Err(part.cannot("set space aside"));
                }
                todo.push((part, span.range.clone()));
            }
        }
        if todo.is_empty() {
            return Ok(());
        }
        stream::iter(todo)
            .map(Ok::<_, Error>)
            .try_for_each_concurrent(CALLS_AT_ONCE, |(part, range)| async move {
                part.set_aside(range).await
            })
            .await?;
        self.pad(extents, end).await?;
        Ok(())
    }
}

/// Lowers `nearest` to what the stripe has before it. Another copy answers when one fails.
async fn seek_stripe(
    copies: &[Part],
    start: u64,
    nearest: &AtomicU64,
    what: Seek,
) -> Result<(), Error> {
    let mut failure = Error::NoCopy;
    for part in copies {
        match part.seek(start, nearest, what).await {
            Ok(()) => return Ok(()),
            Err(error) => failure = error.into(),
        }
    }
    Err(failure)
}

impl Part {
    async fn seek(
        &self,
        start: u64,
        nearest: &AtomicU64,
        what: Seek,
    ) -> Result<(), backend::Error> {
        let (handle, stripe) = (&self.object.handle, self.stripe);
        let mut at = start;
        loop {
            let within = at..nearest.load(Ordering::Relaxed);
            if within.is_empty() {
                return Ok(());
            }
            let answer = self
                .desk
                .insist(ATTEMPTS, || {
                    let server = self.desk.server();
                    server.seek(handle, within.clone(), stripe, what)
                })
                .await?;
            match answer {
                Sought::At(found) => {
                    nearest.fetch_min(found, Ordering::Relaxed);
                    return Ok(());
                }
                Sought::Nowhere => return Ok(()),
                Sought::NotBefore(next) => at = self.further(at, next)?,
            }
        }
    }

    pub(crate) async fn make_zero(&self, range: Range<u64>) -> Result<(), Error> {
        let handle = &self.object.handle;
        if self.desk.capabilities().ranges.sparse {
            // What other stripes own of the range is a hole in this object anyway.
            return Ok(self.zero_run(range).await?);
        }
        let size = self
            .desk
            .insist(ATTEMPTS, || self.desk.server().stat(handle))
            .await?
            .size;
        for run in self.stripe.runs(range.start..range.end.min(size)) {
            self.zero_run(run).await?;
        }
        // Zeros that were there already may not be durable yet.
        commit_object(&self.desk, &self.object).await?;
        Ok(())
    }

    async fn zero_run(&self, range: Range<u64>) -> Result<(), backend::Error> {
        let handle = &self.object.handle;
        let mut at = range.start;
        while at < range.end {
            let reached = self
                .desk
                .insist(ATTEMPTS, || {
                    self.desk.server().deallocate(handle, at..range.end)
                })
                .await?;
            at = self.further(at, reached)?;
        }
        Ok(())
    }

    async fn set_aside(&self, range: Range<u64>) -> Result<(), Error> {
        let (handle, stripe) = (&self.object.handle, self.stripe);
        let mut at = range.start;
        while at < range.end {
            let reached = self
                .desk
                .insist(ATTEMPTS, || {
                    self.desk.server().allocate(handle, at..range.end, stripe)
                })
                .await?;
            at = self.further(at, reached)?;
        }
        Ok(())
    }

    /// Where to go on. A server that doesn't get further would be asked for ever.
    pub(crate) fn further(&self, at: u64, reached: u64) -> Result<u64, backend::Error> {
        if reached > at {
            return Ok(reached);
        }
        let detail = format!(
            "data server {} gets no further than offset {at}",
            self.desk.member.name
        );
        Err(backend::Error::new(ErrorKind::Broken, detail))
    }

    pub(crate) fn cannot(&self, what: &str) -> Error {
        let detail = format!("data server {} can't {what}", self.desk.member.name);
        backend::Error::new(ErrorKind::Unsupported, detail).into()
    }
}
