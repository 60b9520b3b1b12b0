//! Syncs of one object, one at a time, each answering everybody who asked before it began.
//! Never the sync itself, which is the engine's.
//!
//! One at a time, because the kernel reports a lost write to the first sync on an open file and
//! success to the next: a COMMIT beside a failing one would be told that all is well.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, MutexGuard};

/// How much of an object must be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The data, and what is needed to read it back.
    Data,
    /// Times too.
    All,
}

#[derive(Debug, Default)]
pub struct Syncs {
    /// Syncs begun so far, of any depth and of full depth.
    begun: AtomicU64,
    begun_all: AtomicU64,
    /// The last one's failure, held by whoever syncs.
    turn: Mutex<Option<i32>>,
}

/// Nobody else syncs the object as long as it is held.
#[derive(Debug)]
pub struct Turn<'a>(MutexGuard<'a, Option<i32>>);

impl Turn<'_> {
    /// Ends a write that was durable by itself. It may have been told of what others lost: `failed` runs before
    /// anybody hears of a success. No sync: it answers nobody else.
    pub fn end<T>(self, result: &io::Result<T>, failed: impl FnOnce()) {
        if result.is_err() {
            failed();
        }
        drop(self.0);
    }
}

impl Syncs {
    /// The turn, where nobody syncs and nobody waits to.
    pub fn turn_now(&self) -> Option<Turn<'_>> {
        self.turn.try_lock().ok().map(Turn)
    }

    /// Makes what was written before this call durable: by `sync`, or by another caller's that
    /// began after this call. `failed` runs before anybody else hears of a success.
    pub async fn sync<F: Future<Output = io::Result<()>>>(
        &self,
        depth: Depth,
        sync: impl FnOnce() -> F,
        failed: impl FnOnce(),
    ) -> io::Result<()> {
        let counter = match depth {
            Depth::Data => &self.begun,
            Depth::All => &self.begun_all,
        };
        let seen = counter.load(Ordering::SeqCst);
        let mut last = self.turn.lock().await;
        if counter.load(Ordering::SeqCst) != seen {
            return last.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)));
        }
        self.begun.fetch_add(1, Ordering::SeqCst);
        if depth == Depth::All {
            self.begun_all.fetch_add(1, Ordering::SeqCst);
        }
        let result = sync().await;
        *last = result
            .as_ref()
            .err()
            .map(|error| error.raw_os_error().unwrap_or(libc::EIO));
        if result.is_err() {
            failed();
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn those_who_wait_share_the_sync_that_began_after_them() {
        let syncs = Syncs::default();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let ran = Cell::new(0);
        let count = || {
            ran.set(ran.get() + 1);
            async { Ok(()) }
        };
        let mut first = pin!(syncs.sync(
            Depth::Data,
            || async {
                ended.await.expect("the test ends it");
                Ok(())
            },
            || ()
        ));
        assert!(poll(first.as_mut()).is_pending());
        // Both come after the first began, so its data may not be theirs: one more sync for both.
        let mut second = pin!(syncs.sync(Depth::Data, count, || ()));
        let mut third = pin!(syncs.sync(Depth::Data, count, || ()));
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(third.as_mut()).is_pending());
        end.send(()).expect("the first waits for it");
        assert!(poll(first.as_mut()).is_ready());
        assert!(poll(second.as_mut()).is_ready());
        assert!(poll(third.as_mut()).is_ready());
        assert_eq!(ran.get(), 1);
    }

    #[test]
    fn a_failure_is_told_to_everybody_it_concerns() {
        let syncs = Syncs::default();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let mut first = pin!(syncs.sync(
            Depth::Data,
            || async {
                ended.await.expect("the test ends it");
                Ok(())
            },
            || ()
        ));
        assert!(poll(first.as_mut()).is_pending());
        let lost = Cell::new(0);
        let fail = || async { Err(io::Error::from_raw_os_error(libc::EIO)) };
        let mut second = pin!(syncs.sync(Depth::Data, fail, || lost.set(lost.get() + 1)));
        let mut third = pin!(syncs.sync(Depth::Data, fail, || lost.set(lost.get() + 1)));
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(third.as_mut()).is_pending());
        end.send(()).expect("the first waits for it");
        assert!(matches!(poll(first.as_mut()), Poll::Ready(Ok(()))));
        assert!(matches!(poll(second.as_mut()), Poll::Ready(Err(_))));
        assert!(matches!(poll(third.as_mut()), Poll::Ready(Err(_))));
        assert_eq!(lost.get(), 1);
    }

    #[test]
    fn a_write_that_is_durable_by_itself_keeps_syncs_out_and_answers_nobody_else() {
        let syncs = Syncs::default();
        let ran = Cell::new(0);
        let count = || {
            ran.set(ran.get() + 1);
            async { Ok(()) }
        };
        let turn = syncs.turn_now().expect("nobody syncs");
        let mut other = pin!(syncs.sync(Depth::Data, count, || ()));
        assert!(poll(other.as_mut()).is_pending());
        let lost = Cell::new(0);
        let failed: io::Result<usize> = Err(io::Error::from_raw_os_error(libc::EIO));
        turn.end(&failed, || lost.set(lost.get() + 1));
        assert!(syncs.turn_now().is_none(), "somebody waits for it");
        assert!(matches!(poll(other.as_mut()), Poll::Ready(Ok(()))));
        assert_eq!((ran.get(), lost.get()), (1, 1));
    }

    #[test]
    fn a_sync_of_data_alone_doesn_t_answer_who_wants_the_times_too() {
        let syncs = Syncs::default();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let ran = Cell::new(0);
        let mut first = pin!(syncs.sync(
            Depth::Data,
            || async {
                ended.await.expect("the test ends it");
                Ok(())
            },
            || ()
        ));
        assert!(poll(first.as_mut()).is_pending());
        let count = || {
            ran.set(ran.get() + 1);
            async { Ok(()) }
        };
        let mut data = pin!(syncs.sync(Depth::Data, count, || ()));
        let mut all = pin!(syncs.sync(Depth::All, count, || ()));
        assert!(poll(data.as_mut()).is_pending());
        assert!(poll(all.as_mut()).is_pending());
        end.send(()).expect("the first waits for it");
        assert!(poll(first.as_mut()).is_ready());
        assert!(poll(data.as_mut()).is_ready());
        assert!(poll(all.as_mut()).is_ready());
        assert_eq!(ran.get(), 2);
    }
}
