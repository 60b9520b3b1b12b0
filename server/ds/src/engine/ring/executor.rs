//! Tasks on a ring's thread, woken by completions, by each other, and by other threads.
//! Never what a task does, and never the memory that the kernel works on.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use io_uring::IoUring;
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};

use super::operation::{DOORBELL, InFlight, Operation, Work, arm_doorbell};

/// What a ring's thread shares with whoever gives it work.
pub struct Shared {
    ready: Mutex<VecDeque<Arc<Task>>>,
    submissions: Mutex<Vec<Arc<Operation>>>,
    doorbell: OwnedFd,
    /// The thread sleeps, or is about to: whoever adds work must ring.
    parked: AtomicBool,
    tasks: AtomicUsize,
    ending: AtomicBool,
}

struct Task {
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    shared: Arc<Shared>,
    queued: AtomicBool,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            let shared = Arc::clone(&self.shared);
            shared.ready.lock().push_back(self);
            shared.ring();
        }
    }
}

impl Task {
    /// Goes on with the task. A panic ends it, and it alone.
    fn run(self: Arc<Self>) {
        // Cleared first: a wake during the poll must queue the task again.
        self.queued.store(false, Ordering::Release);
        let waker = Waker::from(Arc::clone(&self));
        let mut slot = self.future.lock();
        let Some(future) = slot.as_mut() else {
            return;
        };
        let poll = std::panic::catch_unwind(AssertUnwindSafe(|| {
            future.as_mut().poll(&mut Context::from_waker(&waker))
        }));
        match poll {
            Ok(Poll::Pending) => return,
            Ok(Poll::Ready(())) => {}
            Err(_) => tracing::error!("a data server task panicked; its request gets no answer"),
        }
        *slot = None;
        self.shared.tasks.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Shared {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            ready: Mutex::default(),
            submissions: Mutex::default(),
            doorbell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            parked: AtomicBool::new(false),
            tasks: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
        })
    }

    pub fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.fetch_add(1, Ordering::AcqRel);
        let task = Arc::new(Task {
            future: Mutex::new(Some(Box::pin(task))),
            shared: Arc::clone(self),
            queued: AtomicBool::new(false),
        });
        task.wake();
    }

    /// Lets the thread end once the last task has.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Release);
        self.ring();
    }

    /// Has the kernel do `work`, and gives it back with the kernel's result.
    pub async fn submit(&self, work: Work) -> (i32, Work) {
        let operation = Operation::new(work);
        self.submissions.lock().push(Arc::clone(&operation));
        self.ring();
        operation.await_result().await
    }

    fn ring(&self) {
        if self.parked.swap(false, Ordering::SeqCst) {
            // It fails only when the counter is full, and then the bell is ringing.
            let _ = rustix::io::write(&self.doorbell, &1_u64.to_ne_bytes());
        }
    }

    fn has_work(&self) -> bool {
        !self.ready.lock().is_empty() || !self.submissions.lock().is_empty()
    }
}

/// Serves the ring until it is told to end and no task is left.
pub fn run(shared: &Arc<Shared>, mut uring: IoUring) {
    let mut in_flight = InFlight::default();
    let mut doorbell_armed = false;
    loop {
        // Only those ready now: one that wakes itself must not keep the others' I/O waiting.
        let ready = std::mem::take(&mut *shared.ready.lock());
        for task in ready {
            task.run();
        }
        if !doorbell_armed {
            arm_doorbell(&mut uring, &shared.doorbell);
            doorbell_armed = true;
        }
        let submissions = std::mem::take(&mut *shared.submissions.lock());
        for operation in submissions {
            in_flight.submit(&mut uring, operation);
        }
        if shared.ending.load(Ordering::Acquire)
            && shared.tasks.load(Ordering::Acquire) == 0
            && in_flight.is_empty()
        {
            return;
        }
        shared.parked.store(true, Ordering::SeqCst);
        let wait = usize::from(!shared.has_work());
        match uring.submit_and_wait(wait) {
            Ok(_) => {}
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                tracing::error!(%error, "io_uring_enter failed; a ring of the data server ends");
                return;
            }
        }
        shared.parked.store(false, Ordering::SeqCst);
        for completion in uring.completion() {
            if completion.user_data() == DOORBELL {
                let mut count = [0; 8];
                // Nothing to read means that somebody rang and the bell was read in between.
                let _ = rustix::io::read(&shared.doorbell, &mut count);
                doorbell_armed = false;
            } else {
                in_flight.complete(completion.user_data(), completion.result());
            }
        }
    }
}

/// Interrupted, or the completion queue must be read first.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ETIME)
    )
}
