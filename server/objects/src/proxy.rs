//! READ, WRITE and COMMIT of a file through this server, with the geometry that a layout has: for
//! clients without layouts, and coherent with those that have one.
//!
//! Never here: the file's size, which is the caller's to know and to commit.

use crate::verifier::Verifiers;
use crate::{Error, Objects, member::Desk};
use backend::{Fetched, Stability, WriteVerifier, Written};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use layout::{Extent, ObjectRef, Segment, locate};
use std::sync::Arc;

/// Calls that one request has under way at once.
const CALLS_AT_ONCE: usize = 8;
const ATTEMPTS: u32 = 4;

impl Objects {
    /// Bytes of the file within `file_size`. Holes, and what is not bound yet, read as zeros.
    pub async fn read(
        &self,
        extents: &[Extent],
        file_size: u64,
        offset: u64,
        count: u32,
    ) -> Result<Fetched, Error> {
        let end = offset.saturating_add(u64::from(count)).min(file_size);
        let length = end.saturating_sub(offset);
        let mut segments = Vec::new();
        for segment in locate(extents, offset, length) {
            segments.push(self.copies_of(segment)?);
        }
        let parts: Vec<Bytes> = stream::iter(segments)
            .map(Copies::read)
            .buffered(CALLS_AT_ONCE)
            .try_collect()
            .await?;
        let data = match <[Bytes; 1]>::try_from(parts) {
            Ok([only]) => only,
            Err(parts) => {
                let mut data = BytesMut::with_capacity(length as usize);
                for part in &parts {
                    data.extend_from_slice(part);
                }
                data.freeze()
            }
        };
        Ok(Fetched {
            data,
            at_end: end >= file_size,
        })
    }

    fn copies_of(&self, segment: Segment<'_>) -> Result<Copies, Error> {
        let mut copies = Vec::new();
        for object in segment.copies() {
            copies.push((self.desk(object.server)?, object.clone()));
        }
        // Another copy serves when one fails, the healthiest first.
        copies.sort_by_key(|(desk, _)| desk.health());
        Ok(Copies {
            bound: !segment.is_unbound(),
            copies,
            offset: segment.offset,
            length: segment.length as usize,
        })
    }

    /// Writes to every copy. Answers with as little durability as the least of them.
    pub async fn write(
        &self,
        extents: &[Extent],
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, Error> {
        let count = data.len() as u32;
        let mut pieces = Vec::new();
        for segment in locate(extents, offset, data.len() as u64) {
            if segment.is_unbound() {
                return Err(Error::Unbound);
            }
            let from = (segment.offset - offset) as usize;
            let bytes = data.slice(from..from + segment.length as usize);
            let before = pieces.len();
            for object in segment.copies() {
                pieces.push((
                    self.desk(object.server)?,
                    object.clone(),
                    segment.offset,
                    bytes.clone(),
                ));
            }
            if pieces.len() == before {
                return Err(Error::NoCopy);
            }
        }
        let said: Vec<_> = stream::iter(pieces)
            .map(|(desk, object, at, bytes)| async move {
                write_object(&desk, &object, at, bytes, stability).await
            })
            .buffer_unordered(CALLS_AT_ONCE)
            .try_collect()
            .await?;
        let mut verifiers = Verifiers::default();
        let mut durable = true;
        for (part, all_durable) in said {
            durable &= all_durable;
            for (server, verifier) in part {
                verifiers.saw(server, verifier);
            }
        }
        self.complete(extents, &mut verifiers).await?;
        Ok(Written {
            count,
            durable,
            verifier: verifiers.combined(),
        })
    }

    /// A WRITE of one stripe says as much about the other servers as they said last; one that never
    /// said anything is asked.
    async fn complete(&self, extents: &[Extent], verifiers: &mut Verifiers) -> Result<(), Error> {
        for object in live_objects(extents) {
            if verifiers.knows(object.server) {
                continue;
            }
            let desk = self.desk(object.server)?;
            let verifier = match desk.verifier() {
                Some(verifier) => verifier,
                None => commit_object(&desk, object).await?,
            };
            verifiers.saw(object.server, verifier);
        }
        Ok(())
    }

    /// Makes every earlier unstable write of the file durable, unless the verifier differs.
    pub async fn commit(&self, extents: &[Extent]) -> Result<WriteVerifier, Error> {
        let mut objects = Vec::new();
        for object in live_objects(extents) {
            objects.push((self.desk(object.server)?, object.clone()));
        }
        let said: Vec<_> = stream::iter(objects)
            .map(|(desk, object)| async move {
                Ok::<_, Error>((desk.id(), commit_object(&desk, &object).await?))
            })
            .buffer_unordered(CALLS_AT_ONCE)
            .try_collect()
            .await?;
        let mut verifiers = Verifiers::default();
        for (server, verifier) in said {
            verifiers.saw(server, verifier);
        }
        Ok(verifiers.combined())
    }
}

/// A range within one stripe, and all who have it.
struct Copies {
    bound: bool,
    copies: Vec<(Arc<Desk>, ObjectRef)>,
    offset: u64,
    length: usize,
}

impl Copies {
    async fn read(self) -> Result<Bytes, Error> {
        if !self.bound {
            return Ok(BytesMut::zeroed(self.length).freeze());
        }
        let mut failure = Error::NoCopy;
        for (desk, object) in &self.copies {
            match read_object(desk, object, self.offset, self.length).await {
                Ok(data) => return Ok(data),
                Err(error) => failure = error.into(),
            }
        }
        Err(failure)
    }
}

/// The objects that serve: of bound extents, of copies that missed nothing.
pub(crate) fn live_objects(extents: &[Extent]) -> impl Iterator<Item = &ObjectRef> {
    let mirrors = extents.iter().flat_map(|extent| &extent.mirrors);
    mirrors
        .filter(|mirror| !mirror.stale)
        .flat_map(|mirror| &mirror.stripes)
}

/// `length` bytes, zeros past the object's end: a hole that no writer reached yet.
pub(crate) async fn read_object(
    desk: &Arc<Desk>,
    object: &ObjectRef,
    offset: u64,
    length: usize,
) -> Result<Bytes, backend::Error> {
    let step = desk.capabilities().read_bytes.max(1) as usize;
    let mut data = BytesMut::new();
    while data.len() < length {
        let at = offset + data.len() as u64;
        let want = (length - data.len()).min(step) as u32;
        let got = desk
            .insist(ATTEMPTS, || desk.server().read(&object.handle, at, want))
            .await?;
        if data.is_empty() && got.data.len() == length {
            return Ok(got.data);
        }
        data.extend_from_slice(&got.data);
        if got.at_end || got.data.is_empty() {
            data.resize(length, 0);
        }
    }
    Ok(data.freeze())
}

pub(crate) type Said = Vec<(layout::DataServerId, WriteVerifier)>;

/// All of it, in as many calls as it takes; and what each of them said.
pub(crate) async fn write_object(
    desk: &Arc<Desk>,
    object: &ObjectRef,
    offset: u64,
    data: Bytes,
    stability: Stability,
) -> Result<(Said, bool), Error> {
    let step = desk.capabilities().write_bytes.max(1) as usize;
    let mut said = Vec::new();
    let mut all_durable = true;
    let mut done = 0;
    while done < data.len() {
        let piece = data.slice(done..(done + step).min(data.len()));
        let at = offset + done as u64;
        let written = desk
            .insist(ATTEMPTS, || {
                desk.server()
                    .write(&object.handle, at, piece.clone(), stability)
            })
            .await?;
        if written.count == 0 {
            let detail = format!("data server {} took no byte of a WRITE", desk.member.name);
            return Err(backend::Error::new(backend::ErrorKind::Broken, detail).into());
        }
        desk.saw_verifier(written.verifier);
        said.push((desk.id(), written.verifier));
        all_durable &= written.durable;
        done += written.count as usize;
    }
    Ok((said, all_durable))
}

pub(crate) async fn commit_object(
    desk: &Arc<Desk>,
    object: &ObjectRef,
) -> Result<WriteVerifier, Error> {
    let verifier = desk
        .insist(ATTEMPTS, || desk.server().commit(&object.handle))
        .await?;
    desk.saw_verifier(verifier);
    Ok(verifier)
}
