//! The gate of one object: I/O passes shared, a fence or truncate passes alone, in order of arrival.
//! Never decides who may pass; that is judged once inside, against the owner found there.

use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Fair by arrival: I/O that comes after a waiting fence waits behind it, so a fence ends as soon
/// as the I/O in flight does, however busy the object is.
#[derive(Debug, Default)]
pub struct Gate(Arc<RwLock<()>>);

/// I/O in flight. Dropped when the file operation has ended, before the reply is sent.
#[derive(Debug)]
pub struct Shared {
    _guard: OwnedRwLockReadGuard<()>,
}

/// Nothing else in flight.
#[derive(Debug)]
pub struct Exclusive {
    _guard: OwnedRwLockWriteGuard<()>,
}

impl Gate {
    pub async fn shared(&self) -> Shared {
        Shared {
            _guard: Arc::clone(&self.0).read_owned().await,
        }
    }

    pub async fn exclusive(&self) -> Exclusive {
        Exclusive {
            _guard: Arc::clone(&self.0).write_owned().await,
        }
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

    #[test]
    fn a_fence_waits_for_io_in_flight_and_holds_back_what_comes_after() {
        let gate = Gate::default();
        let Poll::Ready(writer) = poll(pin!(gate.shared())) else {
            panic!("an idle gate lets I/O pass");
        };
        let mut fence = pin!(gate.exclusive());
        assert!(poll(fence.as_mut()).is_pending());
        let mut late = pin!(gate.shared());
        assert!(poll(late.as_mut()).is_pending());
        drop(writer);
        let Poll::Ready(fencing) = poll(fence.as_mut()) else {
            panic!("the fence passes once the I/O in flight has ended");
        };
        assert!(poll(late.as_mut()).is_pending());
        drop(fencing);
        assert!(poll(late.as_mut()).is_ready());
    }
}
