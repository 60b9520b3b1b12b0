//! Sparse bytes in memory, for the in-memory data server: an object of 8 TiB with two bytes in it
//! takes two pages.
//!
//! Never here: owners, durability.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

pub(crate) const PAGE_BYTES: u64 = 4096;

type Page = Arc<[u8; PAGE_BYTES as usize]>;

#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    pages: BTreeMap<u64, Page>,
    /// Pages set aside, written since or not.
    reserved: BTreeSet<u64>,
    size: u64,
}

impl Content {
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn used(&self) -> u64 {
        let unwritten = self
            .reserved
            .iter()
            .filter(|page| !self.pages.contains_key(page));
        (self.pages.len() + unwritten.count()) as u64 * PAGE_BYTES
    }

    /// Bytes of the pages that a write there would need and doesn't find.
    pub(crate) fn needs(&self, range: &Range<u64>) -> u64 {
        let taken = |page: &u64| self.pages.contains_key(page) || self.reserved.contains(page);
        let pages = range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES);
        pages.filter(|page| !taken(page)).count() as u64 * PAGE_BYTES
    }

    pub(crate) fn reserve(&mut self, range: &Range<u64>) {
        self.reserved
            .extend(range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES));
    }

    /// Zeros, whole pages of which are given back; the size stays.
    pub(crate) fn punch(&mut self, range: &Range<u64>) {
        let whole = range.start.div_ceil(PAGE_BYTES)..range.end / PAGE_BYTES;
        for edge in [range.start / PAGE_BYTES, range.end / PAGE_BYTES] {
            let base = edge * PAGE_BYTES;
            if !whole.contains(&edge)
                && let Some(page) = self.pages.get_mut(&edge)
            {
                let from = range.start.max(base) - base;
                let to = range.end.min(base + PAGE_BYTES).saturating_sub(base);
                if from < to {
                    Arc::make_mut(page)[from as usize..to as usize].fill(0);
                }
            }
        }
        if !whole.is_empty() {
            let mut after = self.pages.split_off(&whole.start);
            self.pages.append(&mut after.split_off(&whole.end));
            let mut after = self.reserved.split_off(&whole.start);
            self.reserved.append(&mut after.split_off(&whole.end));
        }
    }

    /// The first byte at or after `at` that lies in a page, before the end.
    pub(crate) fn next_data(&self, at: u64) -> Option<u64> {
        let (page, _) = self.pages.range(at / PAGE_BYTES..).next()?;
        Some(at.max(page * PAGE_BYTES)).filter(|found| *found < self.size)
    }

    /// The first byte at or after `at` that lies in no page, or past the end.
    pub(crate) fn next_hole(&self, at: u64) -> u64 {
        let mut page = at / PAGE_BYTES;
        while self.pages.contains_key(&page) {
            page += 1;
        }
        at.max((page * PAGE_BYTES).min(self.size))
    }

    /// Pages of `source`, from whole pages to whole pages, and the bytes of a last one.
    pub(crate) fn share(&mut self, source: &Self, source_offset: u64, range: &Range<u64>) {
        self.punch(range);
        let whole = (range.end - range.start) / PAGE_BYTES;
        for number in 0..whole {
            if let Some(page) = source.pages.get(&(source_offset / PAGE_BYTES + number)) {
                let to = range.start / PAGE_BYTES + number;
                self.pages.insert(to, Arc::clone(page));
            }
        }
        let done = whole * PAGE_BYTES;
        let rest = (range.end - range.start - done) as u32;
        let tail = source.read(source_offset + done, rest);
        if !crate::ranges::is_zero(&tail) {
            self.write(range.start + done, &tail);
        }
        self.size = self.size.max(range.end);
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        let mut rest = data;
        let mut at = offset;
        while !rest.is_empty() {
            let within = (at % PAGE_BYTES) as usize;
            let take = rest.len().min(PAGE_BYTES as usize - within);
            let page = self
                .pages
                .entry(at / PAGE_BYTES)
                .or_insert_with(|| Arc::new([0; PAGE_BYTES as usize]));
            Arc::make_mut(page)[within..within + take].copy_from_slice(&rest[..take]);
            rest = &rest[take..];
            at += take as u64;
        }
        if !data.is_empty() {
            self.size = self.size.max(at);
        }
    }

    pub(crate) fn read(&self, offset: u64, count: u32) -> Vec<u8> {
        let end = offset.saturating_add(u64::from(count)).min(self.size);
        let mut data = vec![0; end.saturating_sub(offset) as usize];
        let mut at = offset;
        while at < end {
            let within = (at % PAGE_BYTES) as usize;
            let take = (end - at).min(PAGE_BYTES - within as u64) as usize;
            if let Some(page) = self.pages.get(&(at / PAGE_BYTES)) {
                let start = (at - offset) as usize;
                data[start..start + take].copy_from_slice(&page[within..within + take]);
            }
            at += take as u64;
        }
        data
    }

    pub(crate) fn set_size(&mut self, size: u64) {
        if size < self.size {
            let kept_pages = size.div_ceil(PAGE_BYTES);
            self.pages.split_off(&kept_pages);
            self.reserved.split_off(&kept_pages);
            let within = (size % PAGE_BYTES) as usize;
            if within > 0
                && let Some(page) = self.pages.get_mut(&(size / PAGE_BYTES))
            {
                Arc::make_mut(page)[within..].fill(0);
            }
        }
        self.size = size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Write(u16, Vec<u8>),
        SetSize(u16),
        Punch(u16, u16),
        Reserve(u16, u16),
        Read(u16, u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u16..20_000, prop::collection::vec(any::<u8>(), 0..9000))
                .prop_map(|(at, data)| Step::Write(at, data)),
            (0u16..30_000).prop_map(Step::SetSize),
            (0u16..30_000, 0u16..20_000).prop_map(|(at, count)| Step::Punch(at, count)),
            (0u16..30_000, 0u16..20_000).prop_map(|(at, count)| Step::Reserve(at, count)),
            (0u16..30_000, any::<u16>()).prop_map(|(at, count)| Step::Read(at, count)),
        ]
    }

    proptest! {
        #[test]
        fn sparse_bytes_equal_a_flat_array(steps in prop::collection::vec(step(), 0..24)) {
            let mut flat: Vec<u8> = Vec::new();
            let mut sparse = Content::default();
            for step in steps {
                match step {
                    Step::Write(at, data) => {
                        let end = usize::from(at) + data.len();
                        if !data.is_empty() && end > flat.len() {
                            flat.resize(end, 0);
                        }
                        if !data.is_empty() {
                            flat[usize::from(at)..end].copy_from_slice(&data);
                        }
                        sparse.write(u64::from(at), &data);
                    }
                    Step::SetSize(size) => {
                        flat.resize(usize::from(size), 0);
                        sparse.set_size(u64::from(size));
                    }
                    Step::Punch(at, count) => {
                        let end = usize::from(at) + usize::from(count);
                        let cut = usize::from(at).min(flat.len())..end.min(flat.len());
                        flat[cut].fill(0);
                        sparse.punch(&(u64::from(at)..end as u64));
                        let next = sparse.next_data(u64::from(at));
                        prop_assert!(next.is_none_or(|next| next < u64::from(at) + PAGE_BYTES || next + PAGE_BYTES > end as u64));
                    }
                    Step::Reserve(at, count) => {
                        let range = u64::from(at)..u64::from(at) + u64::from(count);
                        sparse.reserve(&range);
                        prop_assert_eq!(sparse.needs(&range), 0);
                    }
                    Step::Read(at, count) => {
                        let start = usize::from(at).min(flat.len());
                        let end = (usize::from(at) + usize::from(count)).clamp(start, flat.len());
                        prop_assert_eq!(sparse.read(u64::from(at), u32::from(count)), &flat[start..end]);
                    }
                }
                prop_assert_eq!(sparse.size(), flat.len() as u64);
                let mut at = 0;
                while let Some(data) = sparse.next_data(at) {
                    prop_assert!(flat[at as usize..data as usize].iter().all(|byte| *byte == 0));
                    at = sparse.next_hole(data);
                    prop_assert!(at > data && at <= sparse.size());
                }
                prop_assert!(flat[at as usize..].iter().all(|byte| *byte == 0));
            }
        }
    }

    #[test]
    fn eight_tebibytes_with_one_byte_take_one_page() {
        let mut content = Content::default();
        content.write((8 << 40) - 1, b"x");
        assert_eq!((content.size(), content.used()), (8 << 40, PAGE_BYTES));
        assert_eq!(content.read((8 << 40) - 2, 9), b"\0x");
    }
}
