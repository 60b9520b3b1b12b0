//! A few threads for what may block. Never holds more work than the requests in flight, each of
//! which has one piece of work at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    work: Mutex<(VecDeque<Work>, bool)>,
    changed: Condvar,
}

/// Hands work to the threads. The last clone to go lets them end.
#[derive(Clone)]
pub struct Workers(Arc<Handle>);

struct Handle {
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Workers {
    pub fn start(count: usize) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let mut threads = Vec::with_capacity(count);
        for number in 0..count.max(1) {
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new()
                .name(format!("ds-worker-{number}"))
                .spawn(move || work(&queue))?;
            threads.push(thread);
        }
        Ok(Self(Arc::new(Handle {
            queue,
            threads: Mutex::new(threads),
        })))
    }

    /// Runs `work` on a thread that may block. `None` when it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move || {
            // Nobody waits any more when the connection is gone: the work is done all the same.
            let _ = answer.send(work());
        });
        self.0.queue.work.lock().0.push_back(work);
        self.0.queue.changed.notify_one();
        answered.await.ok()
    }

    /// Ends the threads once their work is done, and waits for them.
    pub fn stop(&self) {
        self.0.end();
        for thread in std::mem::take(&mut *self.0.threads.lock()) {
            // A worker's panic was answered as an error where it happened.
            let _ = thread.join();
        }
    }
}

impl Handle {
    fn end(&self) {
        self.queue.work.lock().1 = true;
        self.queue.changed.notify_all();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}

fn work(queue: &Queue) {
    loop {
        let next = {
            let mut state = queue.work.lock();
            loop {
                if let Some(next) = state.0.pop_front() {
                    break next;
                }
                if state.1 {
                    return;
                }
                queue.changed.wait(&mut state);
            }
        };
        // The caller sees its answer dropped; the thread lives on for the others.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(next)).is_err() {
            tracing::error!(
                "a data server worker panicked; its request is answered as an I/O error"
            );
        }
    }
}
