//! Sparse bytes in memory, for the in-memory data server: an object of 8 TiB with two bytes in it
//! takes two pages.
//!
//! Never here: owners, durability.

use std::collections::BTreeMap;
use std::sync::Arc;

const PAGE_BYTES: u64 = 4096;

type Page = Arc<[u8; PAGE_BYTES as usize]>;

#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    pages: BTreeMap<u64, Page>,
    size: u64,
}

impl Content {
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn used(&self) -> u64 {
        self.pages.len() as u64 * PAGE_BYTES
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
        Read(u16, u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u16..20_000, prop::collection::vec(any::<u8>(), 0..9000))
                .prop_map(|(at, data)| Step::Write(at, data)),
            (0u16..30_000).prop_map(Step::SetSize),
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
                    Step::Read(at, count) => {
                        let start = usize::from(at).min(flat.len());
                        let end = (usize::from(at) + usize::from(count)).clamp(start, flat.len());
                        prop_assert_eq!(sparse.read(u64::from(at), u32::from(count)), &flat[start..end]);
                    }
                }
                prop_assert_eq!(sparse.size(), flat.len() as u64);
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
