//! Bytes of one file into another: fetched by the target's data servers from the source's where both
//! can, through this server where not. Holes stay holes.
//!
//! Never here: the size of either file; who may do it.

use crate::clone::Place;
use crate::proxy::{Said, commit_object, read_object, write_object};
use crate::span::{Part, spans};
use crate::{Error, Objects};
use backend::ranges::is_zero;
use backend::{ErrorKind, Seek, Stability};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use layout::{DataServerId, Extent, ObjectRef, locate};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use crate::member::Desk;

/// Pieces under way at once: with [`RELAY_BYTES`], what a copy holds in memory.
const PIECES_AT_ONCE: usize = 8;
/// What a data server is asked to fetch by one call.
const PULL_BYTES: u64 = 4 << 20;
const RELAY_BYTES: u64 = 1 << 20;
/// What is copied between two commits, and lost with a data server's restart at most.
const WINDOW_BYTES: u64 = 64 << 20;
/// Times that a window is copied anew because a data server restarted in it.
const ROUNDS: u32 = 4;
const ATTEMPTS: u32 = 4;

type Copies = Vec<(Arc<Desk>, ObjectRef)>;

/// A range that one object of the source holds, and one of the target in each of its copies.
struct Piece {
    sources: Copies,
    targets: Copies,
    from: u64,
    to: u64,
    length: u64,
}

impl Objects {
    /// Copies up to `length` bytes, as many as the source has before `from_size`, and answers how many;
    /// they are durable then, and back the target's size, a hole at the end too. Between data servers of
    /// ours no byte passes this server. The caller commits the size as after a write, and sees to it that ranges within one
    /// file don't overlap.
    ///
    /// `progress` is told now and then how many bytes are copied and durable; told to break, the copy
    /// ends there and answers with that number. Dropped, it ends as well. After an error, or where
    /// it ended early, it goes on from there: what was copied already may be copied again.
    pub async fn copy_range(
        &self,
        from: Place<'_>,
        from_size: u64,
        to: Place<'_>,
        length: u64,
        mut progress: impl FnMut(u64) -> ControlFlow<()> + Send,
    ) -> Result<u64, Error> {
        let end = from.offset.saturating_add(length).min(from_size);
        let whole = end.saturating_sub(from.offset);
        if to.offset.checked_add(whole).is_none() {
            return Err(Error::TooLarge);
        }
        let mut copied = 0;
        while copied < whole {
            copied += self
                .copy_window(from.at(copied), to.at(copied), whole - copied)
                .await?;
            // A hole makes no object longer.
            self.pad(to.extents, to.offset + copied).await?;
            if progress(copied).is_break() {
                break;
            }
        }
        Ok(copied)
    }

    /// A beginning of the range, durably.
    async fn copy_window(&self, from: Place<'_>, to: Place<'_>, length: u64) -> Result<u64, Error> {
        for _ in 0..ROUNDS {
            let mut window = Window::default();
            let done = self.copy_some(from, to, length, &mut window).await?;
            if self.seal(to.extents, window).await? {
                return Ok(done);
            }
        }
        let kind = ErrorKind::Retry {
            after: std::time::Duration::from_secs(1),
        };
        let detail = "a data server keeps restarting during a copy";
        Err(backend::Error::new(kind, detail).into())
    }

    /// Data and holes in turns, until there is enough for a commit.
    async fn copy_some(
        &self,
        from: Place<'_>,
        to: Place<'_>,
        length: u64,
        window: &mut Window,
    ) -> Result<u64, Error> {
        let end = from.offset + length;
        let mut at = from.offset;
        let mut moved = 0;
        while at < end && moved < WINDOW_BYTES && window.turns < TURNS_MAX {
            window.turns += 1;
            let data = self.seek(from.extents, end, at, Seek::Data).await?;
            let data = data.unwrap_or(end);
            if data > at {
                let hole = to.offset + (at - from.offset);
                self.deallocate(to.extents, hole, data - at).await?;
                at = data;
                continue;
            }
            let limit = end.min(at.saturating_add(WINDOW_BYTES - moved));
            let hole = self.seek(from.extents, limit, at, Seek::Hole).await?;
            let hole = hole.unwrap_or(limit);
            let pieces = self.pieces(from, to, at..hole)?;
            let said: Vec<Said> = stream::iter(pieces)
                .map(Piece::copy)
                .buffer_unordered(PIECES_AT_ONCE)
                .try_collect()
                .await?;
            window.said.extend(said.into_iter().flatten());
            window.said.sort_unstable();
            window.said.dedup();
            moved += hole - at;
            at = hole;
        }
        Ok(at - from.offset)
    }

    fn pieces(
        &self,
        from: Place<'_>,
        to: Place<'_>,
        data: Range<u64>,
    ) -> Result<Vec<Piece>, Error> {
        let desks = |objects: Vec<&ObjectRef>| -> Result<Copies, Error> {
            let mut copies = Vec::new();
            for object in objects {
                copies.push((self.desk(object.server)?, object.clone()));
            }
            if copies.is_empty() {
                return Err(Error::NoCopy);
            }
            Ok(copies)
        };
        let mut pieces = Vec::new();
        for source in locate(from.extents, data.start, data.end - data.start) {
            let mut sources = desks(source.copies().collect())?;
            sources.sort_by_key(|(desk, _)| desk.health());
            let begin = to.offset + (source.offset - from.offset);
            for target in locate(to.extents, begin, source.length) {
                if target.is_unbound() {
                    return Err(Error::Unbound);
                }
                let targets = desks(target.copies().collect())?;
                let mut at = target.offset;
                while at < target.end() {
                    let length = PULL_BYTES.min(target.end() - at);
                    pieces.push(Piece {
                        sources: sources.clone(),
                        targets: targets.clone(),
                        from: source.offset + (at - begin),
                        to: at,
                        length,
                    });
                    at += length;
                }
            }
        }
        Ok(pieces)
    }

    /// Commits what was written, unless a server lost some of it: then `false`.
    async fn seal(&self, extents: &[Extent], window: Window) -> Result<bool, Error> {
        let mut written: Vec<DataServerId> =
            window.said.iter().map(|(server, _)| *server).collect();
        written.dedup();
        if written.len() < window.said.len() {
            return Ok(false);
        }
        let mut objects = Vec::new();
        for span in spans(extents, 0..u64::MAX) {
            let parts = span.extent.map(|extent| self.parts(extent));
            objects.extend(parts.transpose()?.unwrap_or_default());
        }
        objects.retain(|part| written.contains(&part.object.server));
        let said: Vec<_> = stream::iter(objects)
            .map(|part: Part| async move {
                let verifier = commit_object(&part.desk, &part.object).await?;
                Ok::<_, Error>((part.object.server, verifier))
            })
            .buffer_unordered(PIECES_AT_ONCE)
            .try_collect()
            .await?;
        Ok(said.iter().all(|said| window.said.contains(said)))
    }
}

/// Alternations of data and holes between two commits.
const TURNS_MAX: u32 = 1024;

#[derive(Default)]
struct Window {
    /// Which server wrote under which verifier.
    said: Said,
    turns: u32,
}

impl<'a> Place<'a> {
    fn at(self, further: u64) -> Place<'a> {
        Place {
            offset: self.offset + further,
            ..self
        }
    }
}

impl Piece {
    async fn copy(self) -> Result<Said, Error> {
        let mut said = Vec::new();
        for (desk, object) in &self.targets {
            said.extend(self.copy_to(desk, object).await?);
        }
        Ok(said)
    }

    async fn copy_to(&self, desk: &Arc<Desk>, object: &ObjectRef) -> Result<Said, Error> {
        if desk.capabilities().ranges.pull {
            // Its own copy first: those bytes don't even pass the network.
            let mut sources: Vec<_> = self.sources.iter().collect();
            sources.sort_by_key(|(source, _)| source.id() != desk.id());
            for (source, from) in sources {
                let Some(origin) = source.server().origin(&from.handle, from.owner) else {
                    continue;
                };
                match self.pull(desk, object, &origin).await {
                    Ok(said) => return Ok(said),
                    // It can't read there: another copy may do, and this server can in any case.
                    Err(error) if error.kind == ErrorKind::Unsupported => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        self.relay(desk, object).await
    }

    async fn pull(
        &self,
        desk: &Arc<Desk>,
        object: &ObjectRef,
        origin: &backend::Origin,
    ) -> Result<Said, backend::Error> {
        let mut said = Vec::new();
        let mut done = 0;
        while done < self.length {
            let left = (self.length - done) as u32;
            let (from, to) = (self.from + done, self.to + done);
            let written = desk
                .insist(ATTEMPTS, || {
                    let server = desk.server();
                    server.pull(origin, from, &object.handle, to, left)
                })
                .await?;
            if written.count == 0 || written.count > left {
                let detail = format!(
                    "data server {} fetched {} of {left} bytes",
                    desk.member.name, written.count
                );
                return Err(backend::Error::new(ErrorKind::Broken, detail));
            }
            desk.saw_verifier(written.verifier);
            said.push((desk.id(), written.verifier));
            done += u64::from(written.count);
        }
        Ok(said)
    }

    async fn relay(&self, desk: &Arc<Desk>, object: &ObjectRef) -> Result<Said, Error> {
        let mut said = Vec::new();
        let mut done = 0;
        while done < self.length {
            let length = RELAY_BYTES.min(self.length - done);
            let data = self.read(self.from + done, length as usize).await?;
            let at = self.to + done;
            if is_zero(&data) {
                // A hole in the source that its server couldn't tell stays one.
                let hole = Part {
                    desk: desk.clone(),
                    object: object.clone(),
                    stripe: layout::Stripe::WHOLE,
                };
                hole.make_zero(at..at + length).await?;
            } else {
                let (more, _) = write_object(desk, object, at, data, Stability::Unstable).await?;
                said.extend(more);
            }
            done += length;
        }
        Ok(said)
    }

    async fn read(&self, offset: u64, length: usize) -> Result<bytes::Bytes, Error> {
        let mut failure = Error::NoCopy;
        for (desk, object) in &self.sources {
            match read_object(desk, object, offset, length).await {
                Ok(data) => return Ok(data),
                Err(error) => failure = error.into(),
            }
        }
        Err(failure)
    }
}
