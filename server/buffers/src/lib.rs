//! Page-aligned payload buffers from one bounded budget: who wants one waits for its turn.
//!
//! Never holds more than the budget in use, nor half of it again in spare.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Where a buffer begins, and what its capacity is a multiple of.
pub const PAGE_BYTES: usize = 4096;
/// Sizes that are kept for reuse, each four times the one before.
const CLASS_BYTES: [usize; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];

#[derive(Debug)]
pub struct Pool {
    budget: Arc<Semaphore>,
    budget_pages: usize,
    spare: [Mutex<Vec<Storage>>; CLASS_BYTES.len()],
    spare_bytes: AtomicUsize,
}

#[derive(Debug)]
struct Storage {
    bytes: Vec<u8>,
    /// First aligned byte.
    start: usize,
}

/// An aligned buffer on loan from a [`Pool`]. It always has room for the XDR padding of what was
/// asked for.
#[derive(Debug)]
pub struct Buffer {
    storage: Option<Storage>,
    capacity: usize,
    length: usize,
    pool: Arc<Pool>,
    _budget: OwnedSemaphorePermit,
}

impl Pool {
    pub fn new(budget_bytes: usize) -> Arc<Self> {
        // A buffer larger than the whole budget could never be lent.
        let budget_pages = (budget_bytes / PAGE_BYTES).clamp(1024, Semaphore::MAX_PERMITS);
        Arc::new(Self {
            budget: Arc::new(Semaphore::new(budget_pages)),
            budget_pages,
            spare: Default::default(),
            spare_bytes: AtomicUsize::new(0),
        })
    }

    /// A buffer of `length` bytes, at most 4 MiB. Its content is left over from earlier use.
    pub async fn acquire(self: &Arc<Self>, length: usize) -> Buffer {
        let class = CLASS_BYTES.iter().position(|bytes| length <= *bytes);
        let capacity = class.map_or(length.next_multiple_of(PAGE_BYTES), |at| CLASS_BYTES[at]);
        let pages = (capacity / PAGE_BYTES).min(self.budget_pages) as u32;
        let budget = Arc::clone(&self.budget)
            .acquire_many_owned(pages)
            .await
            .expect("the budget is never closed");
        let spare = class.and_then(|at| self.spare[at].lock().pop());
        if spare.is_some() {
            self.spare_bytes.fetch_sub(capacity, Ordering::Relaxed);
        }
        Buffer {
            storage: Some(spare.unwrap_or_else(|| Storage::new(capacity))),
            capacity,
            length,
            pool: Arc::clone(self),
            _budget: budget,
        }
    }

    /// Bytes on loan.
    pub fn in_use_bytes(&self) -> usize {
        (self.budget_pages - self.budget.available_permits()) * PAGE_BYTES
    }
}

impl Storage {
    fn new(capacity: usize) -> Self {
        let bytes = vec![0; capacity + PAGE_BYTES];
        let start = bytes.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        Self { bytes, start }
    }
}

impl Buffer {
    fn storage(&self) -> &Storage {
        self.storage
            .as_ref()
            .expect("the storage leaves the buffer only when it is dropped")
    }

    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub fn bytes(&self) -> &[u8] {
        let storage = self.storage();
        &storage.bytes[storage.start..storage.start + self.length]
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let length = self.length;
        let storage = self
            .storage
            .as_mut()
            .expect("the storage leaves the buffer only when it is dropped");
        &mut storage.bytes[storage.start..storage.start + length]
    }

    /// What it takes of the pool's budget.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Cuts to `length` bytes and XDR padding of zeros.
    pub fn cut_and_pad(&mut self, length: usize) {
        let padded = length.next_multiple_of(4);
        debug_assert!(padded <= self.capacity, "a capacity is whole pages");
        self.length = padded.min(self.capacity);
        self.bytes_mut()[length..].fill(0);
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(storage) = self.storage.take() else {
            return;
        };
        let Some(class) = CLASS_BYTES.iter().position(|bytes| *bytes == self.capacity) else {
            return;
        };
        let limit = self.pool.budget_pages * PAGE_BYTES / 2;
        let spare = self
            .pool
            .spare_bytes
            .fetch_add(self.capacity, Ordering::Relaxed);
        if spare + self.capacity > limit {
            self.pool
                .spare_bytes
                .fetch_sub(self.capacity, Ordering::Relaxed);
            return;
        }
        self.pool.spare[class].lock().push(storage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn acquire(pool: &Arc<Pool>, length: usize) -> Option<Buffer> {
        match poll(pin!(pool.acquire(length))) {
            Poll::Ready(buffer) => Some(buffer),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_buffer_is_aligned_and_as_long_as_asked() {
        let pool = Pool::new(16 << 20);
        for length in [0, 1, 4096, 4097, 1 << 20, 3 << 20] {
            let buffer = acquire(&pool, length).expect("the budget suffices");
            assert_eq!(buffer.bytes().len(), length);
            assert_eq!(buffer.bytes().as_ptr().align_offset(PAGE_BYTES), 0);
        }
        assert_eq!(pool.in_use_bytes(), 0);
    }

    #[test]
    fn who_finds_the_budget_spent_waits_until_a_buffer_comes_back() {
        let pool = Pool::new(4 << 20);
        let held: Vec<_> = (0..4).filter_map(|_| acquire(&pool, 1 << 20)).collect();
        assert_eq!(held.len(), 4);
        let mut waiting = pin!(pool.acquire(4096));
        assert!(poll(waiting.as_mut()).is_pending());
        drop(held);
        assert!(poll(waiting.as_mut()).is_ready());
    }

    #[test]
    fn the_padding_of_a_short_read_is_zeros() {
        let pool = Pool::new(4 << 20);
        let mut buffer = acquire(&pool, 4096).expect("the budget suffices");
        buffer.bytes_mut().fill(7);
        buffer.cut_and_pad(5);
        assert_eq!(buffer.bytes(), [7, 7, 7, 7, 7, 0, 0, 0]);
    }
}
