//! A range of a file cut at the borders of its extents: what all operations on ranges begin with.
//!
//! Never here: stripes of one extent; those are `layout`'s.

use crate::member::Desk;
use crate::{Error, Objects};
use layout::{Extent, ObjectRef, Stripe};
use std::ops::Range;
use std::sync::Arc;

/// A range within one extent, or where no object is.
pub(crate) struct Span<'a> {
    pub(crate) extent: Option<&'a Extent>,
    pub(crate) range: Range<u64>,
}

/// An object with its share, on its server.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) desk: Arc<Desk>,
    pub(crate) object: ObjectRef,
    pub(crate) stripe: Stripe,
}

/// The range in pieces, in order, without gaps.
pub(crate) fn spans(extents: &[Extent], range: Range<u64>) -> impl Iterator<Item = Span<'_>> {
    let mut rest = range;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let next = extents.iter().find(|extent| extent.end() > rest.start);
        let (extent, border) = match next {
            Some(extent) if extent.offset <= rest.start => (Some(extent), extent.end()),
            Some(extent) => (None, extent.offset),
            None => (None, u64::MAX),
        };
        let range = rest.start..border.min(rest.end);
        rest.start = range.end;
        Some(Span {
            extent: extent.filter(|extent| extent.is_bound()),
            range,
        })
    })
}

impl Objects {
    /// Every object of an extent that a write must reach.
    pub(crate) fn parts(&self, extent: &Extent) -> Result<Vec<Part>, Error> {
        let mut parts = Vec::new();
        for mirror in extent.mirrors.iter().filter(|mirror| !mirror.stale) {
            for (index, object) in mirror.stripes.iter().enumerate() {
                parts.push(Part {
                    desk: self.desk(object.server)?,
                    object: object.clone(),
                    stripe: Stripe::of(extent, index),
                });
            }
        }
        if parts.is_empty() {
            return Err(Error::NoCopy);
        }
        Ok(parts)
    }

    /// All who have stripe `index` of an extent, the healthiest first.
    pub(crate) fn copies(&self, extent: &Extent, index: usize) -> Result<Vec<Part>, Error> {
        let mut copies = self.parts(extent)?;
        let wanted = Stripe::of(extent, index);
        copies.retain(|part| part.stripe == wanted);
        copies.sort_by_key(|part| part.desk.health());
        Ok(copies)
    }
}
