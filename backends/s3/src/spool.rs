//! A file under change: a sparse file of this host for what was written, and the version in the bucket
//! for the rest, which is neither fetched nor sent for a write beside it.
//!
//! Bytes at or past `base_bytes` are the spool's, written or not (a hole is zeros). Of those before, the
//! spool has what `local` says, and the bucket's version the others.
//!
//! Never here: requests.

use crate::bucket::Object;
use crate::meta::{self, Metadata};
use backend::Nanos;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

/// A client that hasn't sent again by then what a server lost never will.
const COMES_AGAIN_WITHIN: Duration = Duration::from_hours(24);

/// Ranges that don't touch each other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    pub(crate) fn add(&mut self, range: Range<u64>) {
        let Range { mut start, mut end } = range;
        if start >= end {
            return;
        }
        while let Some((&from, &to)) = self.0.range(..=end).next_back() {
            if to < start {
                break;
            }
            start = start.min(from);
            end = end.max(to);
            self.0.remove(&from);
        }
        self.0.insert(start, end);
    }

    fn cut(&mut self, size: u64) {
        self.0.split_off(&size);
        if let Some(mut last) = self.0.last_entry() {
            let end = last.get_mut();
            *end = size.min(*end);
        }
    }

    /// How many bytes there are before `end`.
    fn below(&self, end: u64) -> u64 {
        let ranges = self.0.range(..end);
        ranges.map(|(from, to)| to.min(&end) - from).sum()
    }

    /// The end of what holds `at`, or the start of what comes next.
    fn around(&self, at: u64) -> (bool, Option<u64>) {
        if let Some((_, &end)) = self.0.range(..=at).next_back()
            && end > at
        {
            return (true, Some(end));
        }
        let next = self.0.range(at..).next();
        (false, next.map(|(&start, _)| start))
    }

    pub(crate) fn gaps(&self, within: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = within.start;
        while at < within.end {
            let (held, until) = self.around(at);
            let until = until.unwrap_or(within.end).min(within.end);
            if !held {
                gaps.push(at..until);
            }
            at = until;
        }
        gaps
    }

    #[cfg(test)]
    fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().map(|(&start, &end)| start..end)
    }
}

/// Where bytes are to be had, up to `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Local {
        end: u64,
        at_end: bool,
    },
    Base {
        end: u64,
        etag: String,
        at_end: bool,
    },
    End,
}

#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub handle: Arc<File>,
    /// As it is to be, but for the ETag, which is that of the version it began with.
    pub object: Object,
    pub local: Ranges,
    pub base_bytes: u64,
    pub dirty: bool,
    /// Another version was there already when it began.
    pub in_vain: bool,
    /// When the first change came that was not sent up.
    pub dirty_since: Nanos,
}

impl Content {
    fn soil(&mut self) {
        if !self.dirty {
            self.dirty_since = meta::now();
        }
        self.dirty = true;
    }
}

/// What all spools were given to hold, bytes: as much as they take of the disk, or more.
#[derive(Debug, Default)]
pub(crate) struct Fill(AtomicU64);

impl Fill {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

pub(crate) struct Spool {
    pub id: u64,
    pub path: PathBuf,
    all: Arc<Fill>,
    /// Its part of it.
    given: AtomicU64,
    /// Held by whoever changes it or sends it up.
    pub turn: Arc<tokio::sync::Mutex<Turn>>,
    content: Mutex<Option<Content>>,
}

/// What only the holder of the turn may know.
#[derive(Default)]
pub(crate) struct Turn {
    /// It was sent up or given up: another spool takes its place.
    pub over: bool,
}

impl Spool {
    pub(crate) fn new(id: u64, path: PathBuf, all: Arc<Fill>) -> Self {
        Self {
            id,
            path,
            all,
            given: AtomicU64::new(0),
            turn: Arc::default(),
            content: Mutex::new(None),
        }
    }

    pub(crate) fn is_begun(&self) -> bool {
        self.content.lock().is_some()
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.content
            .lock()
            .as_ref()
            .is_some_and(|content| content.dirty)
    }

    /// Bytes that were changed and not sent up, and since when they wait.
    pub(crate) fn unsent(&self) -> Option<(u64, Nanos)> {
        let content = self.content.lock();
        let content = content.as_ref().filter(|content| content.dirty)?;
        let beyond = content.object.size.saturating_sub(content.base_bytes);
        Some((
            content.local.below(content.base_bytes) + beyond,
            content.dirty_since,
        ))
    }

    /// Begins with the version in the bucket, and leaves word of it: who comes again after this server's death with
    /// what was lost with the spool means this version too.
    pub(crate) fn begin(&self, object: Object, token: String) -> io::Result<()> {
        fs::write(self.path.with_extension(MEANT), &object.etag)?;
        let base_bytes = object.size;
        self.open(object, base_bytes, token)
    }

    /// Begins with a version of which the first `base_bytes` count.
    pub(crate) fn open(
        &self,
        mut object: Object,
        base_bytes: u64,
        token: String,
    ) -> io::Result<()> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&self.path)?;
        file.set_len(object.size)?;
        object.meta.insert(meta::TOKEN.into(), token);
        *self.content.lock() = Some(Content {
            handle: Arc::new(file),
            base_bytes,
            object,
            local: Ranges::default(),
            dirty: false,
            in_vain: false,
            dirty_since: 0,
        });
        Ok(())
    }

    /// Begins though another version is there than the one that is to be changed: what is written is kept, and
    /// none of it goes up.
    pub(crate) fn begin_in_vain(&self, there: Object, meant: &str) -> io::Result<()> {
        let object = Object {
            etag: meant.to_owned(),
            size: 0,
            ..there
        };
        self.open(object, 0, String::new())?;
        if let Some(content) = self.content.lock().as_mut() {
            content.in_vain = true;
        }
        Ok(())
    }

    pub(crate) fn content(&self) -> Option<Content> {
        self.content.lock().clone()
    }

    /// As it is to be; `None` while nothing was changed.
    pub(crate) fn object(&self) -> Option<Object> {
        let content = self.content.lock();
        let content = content.as_ref().filter(|content| content.dirty)?;
        Some(content.object.clone())
    }

    pub(crate) fn piece(&self, offset: u64, count: u64) -> Option<Piece> {
        let content = self.content.lock();
        let content = content.as_ref().filter(|content| content.dirty)?;
        let size = content.object.size;
        let wanted = offset.saturating_add(count).min(size);
        if offset >= size || count == 0 {
            return Some(Piece::End);
        }
        if offset >= content.base_bytes {
            return Some(Piece::Local {
                end: wanted,
                at_end: wanted == size,
            });
        }
        let (held, until) = content.local.around(offset);
        let until = until.unwrap_or(u64::MAX);
        Some(if held {
            let end = wanted.min(until);
            Piece::Local {
                end,
                at_end: end == size,
            }
        } else {
            let end = wanted.min(until).min(content.base_bytes);
            Piece::Base {
                end,
                etag: content.object.etag.clone(),
                at_end: end == size,
            }
        })
    }

    fn file(&self) -> io::Result<Arc<File>> {
        let content = self.content.lock();
        let content = content.as_ref();
        content
            .map(|content| Arc::clone(&content.handle))
            .ok_or_else(|| io::Error::other("the spool isn't open"))
    }

    pub(crate) fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let file = self.file()?;
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let mut read = 0;
        while read < bytes.len() {
            // Past what was written all is hole.
            match file.read_at(&mut bytes[read..], range.start + read as u64)? {
                0 => break,
                some => read += some,
            }
        }
        Ok(bytes.into())
    }

    fn put(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let bytes = data.len() as u64;
        self.given.fetch_add(bytes, Relaxed);
        self.all.0.fetch_add(bytes, Relaxed);
        self.file()?.write_all_at(data, offset)
    }

    /// Takes in what the bucket has, for an upload; changes nothing that can be seen.
    pub(crate) fn take_in(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.put(offset, data)?;
        if let Some(content) = self.content.lock().as_mut() {
            content.local.add(offset..offset + data.len() as u64);
        }
        Ok(())
    }

    pub(crate) fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.put(offset, data)?;
        let end = offset + data.len() as u64;
        self.changed(|content| {
            content.local.add(offset..end);
            content.object.size = content.object.size.max(end);
        });
        Ok(())
    }

    pub(crate) fn set_size(&self, size: u64) -> io::Result<()> {
        self.file()?.set_len(size)?;
        self.changed(|content| {
            content.object.size = size;
            content.base_bytes = content.base_bytes.min(size);
            content.local.cut(size);
        });
        Ok(())
    }

    pub(crate) fn set_meta(&self, apply: impl FnOnce(&mut Metadata)) {
        if let Some(content) = self.content.lock().as_mut() {
            content.soil();
            apply(&mut content.object.meta);
        }
    }

    /// It began with another version than was thought, that has the same bytes where the spool has none.
    pub(crate) fn rest_on(&self, etag: String) {
        if let Some(content) = self.content.lock().as_mut() {
            content.object.etag = etag;
        }
    }

    fn changed(&self, apply: impl FnOnce(&mut Content)) {
        if let Some(content) = self.content.lock().as_mut() {
            content.soil();
            apply(content);
            let ctime = later_than(&content.object.meta);
            meta::put_times(&mut content.object.meta, ctime, ctime);
        }
    }
}

/// Of the file that says which version a spool began with.
const MEANT: &str = "meant";

/// Takes away what a spool left on the disk, but for the word of the version that an earlier one began with.
pub(crate) fn clear(path: &Path, word: Option<&str>) -> io::Result<()> {
    let gone = |file: &Path| match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    gone(path)?;
    let meant = path.with_extension(MEANT);
    match word {
        Some(etag) => fs::write(meant, etag),
        None => gone(&meant),
    }
}

/// What the spools of an earlier start left in their folder.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    /// Their bytes, which are discarded.
    pub discarded: usize,
    /// The versions that they began with.
    pub meant: HashMap<u64, Arc<str>>,
}

impl Remains {
    pub(crate) fn of(folder: &Path, now: SystemTime) -> io::Result<Self> {
        let mut remains = Self::default();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            let id = path.file_stem().and_then(|id| id.to_str()?.parse().ok());
            let is_meant = path.extension().is_some_and(|kind| kind == MEANT);
            let age = now.duration_since(entry.metadata()?.modified()?);
            match (id, is_meant) {
                (Some(id), true) if age.unwrap_or_default() < COMES_AGAIN_WITHIN => {
                    let etag = fs::read_to_string(&path)?;
                    remains.meant.insert(id, etag.into());
                }
                (_, is_meant) => {
                    fs::remove_file(&path)?;
                    remains.discarded += usize::from(!is_meant);
                }
            }
        }
        Ok(remains)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.all.0.fetch_sub(*self.given.get_mut(), Relaxed);
    }
}

/// Now, but later than the last change: two changes never have one time.
pub(crate) fn later_than(meta: &Metadata) -> Nanos {
    let last = meta::ctime(meta).unwrap_or(0);
    meta::now().max(last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_hold_what_was_put_into_them(
            steps in prop::collection::vec((0u64..64, 0u64..16, prop::option::weighted(0.1, 0u64..64)), 0..24),
        ) {
            let mut ranges = Ranges::default();
            let mut model = [false; 128];
            for (start, length, cut) in steps {
                ranges.add(start..start + length);
                model[start as usize..(start + length) as usize].fill(true);
                if let Some(size) = cut {
                    ranges.cut(size);
                    model[size as usize..].fill(false);
                }
            }
            let mut seen = [false; 128];
            for range in ranges.iter() {
                seen[range.start as usize..range.end as usize].fill(true);
            }
            prop_assert_eq!(seen, model);
            let mut gaps = [true; 128];
            for gap in ranges.gaps(0..128) {
                gaps[gap.start as usize..gap.end as usize].fill(false);
            }
            prop_assert_eq!(gaps, model);
        }
    }
}
