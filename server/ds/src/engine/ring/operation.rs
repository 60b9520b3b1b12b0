//! Nearly all of the crate's unsafe code: memory handed to the kernel, and kept until the kernel is done.
//! Never decides what is read or written; a piece of work owns everything that its operation uses.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::IoSlice;
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::task::{Poll, Waker};

use buffers::Buffer;
use io_uring::types::{Fd, FsyncFlags};
use io_uring::{IoUring, opcode, squeue};
use parking_lot::Mutex;
use rustix::fs::FallocateFlags;
use slab::Slab;

use crate::engine::Batch;
use crate::intake::Space;
use crate::syncs::Depth;

/// The completion that is no operation's: another thread rang.
pub const DOORBELL: u64 = u64::MAX;

/// Something for the kernel to do, with the memory and the files that it needs.
pub enum Work {
    Accept {
        listener: Arc<TcpListener>,
        accepted: Option<TcpStream>,
    },
    Receive {
        socket: Arc<TcpStream>,
        space: Space,
    },
    Send {
        socket: Arc<TcpStream>,
        batch: Batch,
    },
    Read {
        file: Arc<File>,
        offset: u64,
        buffer: Buffer,
        from: usize,
    },
    Write {
        file: Arc<File>,
        offset: u64,
        buffer: Buffer,
        through: Option<Depth>,
    },
    Fallocate {
        file: Arc<File>,
        mode: FallocateFlags,
        range: Range<u64>,
    },
    Sync {
        file: Arc<File>,
        depth: Depth,
    },
}

/// Work from its submission until its result is taken.
pub struct Operation(Mutex<State>);

struct State {
    /// Present from creation until the result is taken. Untouched while the kernel works.
    work: Option<Work>,
    result: Option<i32>,
    waker: Option<Waker>,
}

impl Operation {
    pub fn new(work: Work) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            work: Some(work),
            result: None,
            waker: None,
        })))
    }

    /// The kernel's result, and the work back. Awaited once.
    pub async fn await_result(&self) -> (i32, Work) {
        std::future::poll_fn(|cx| {
            let mut state = self.0.lock();
            match state.result {
                None => {
                    state.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
                Some(result) => {
                    let work = state.work.take();
                    Poll::Ready((result, work.expect("a result is taken once")))
                }
            }
        })
        .await
    }

    fn complete(&self, result: i32) {
        let mut state = self.0.lock();
        if let Some(Work::Accept { accepted, .. }) = &mut state.work
            && result >= 0
        {
            // SAFETY: the kernel made this descriptor for our ACCEPT and told nobody else of it.
            let socket = unsafe { OwnedFd::from_raw_fd(result) };
            *accepted = Some(TcpStream::from(socket));
        }
        state.result = Some(result);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A message header and the vector it points to, for one SENDMSG.
struct Message {
    header: libc::msghdr,
    _parts: Vec<libc::iovec>,
}

struct Entry {
    operation: Arc<Operation>,
    message: Option<Box<Message>>,
}

/// Operations that the kernel works on. Keeps their memory until their completions have come.
#[derive(Default)]
pub struct InFlight {
    entries: Slab<Entry>,
}

impl InFlight {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn submit(&mut self, uring: &mut IoUring, operation: Arc<Operation>) {
        let slot = self.entries.vacant_entry();
        let key = slot.key() as u64;
        let kept = slot.insert(Entry {
            operation,
            message: None,
        });
        let entry = kept.prepare().user_data(key);
        // SAFETY: what the entry points to belongs to the work inside the operation, to the file or
        // socket that the work holds, or to the message. All three now are in `entries`, which gives
        // them up in `complete` alone, after the kernel is done; and `Drop` leaks what is left.
        // Nobody moves or touches the work meanwhile: `await_result` takes it only once there is a
        // result, and the heap memory it owns doesn't move with it.
        unsafe { push(uring, &entry) };
    }

    pub fn complete(&mut self, user_data: u64, result: i32) {
        if let Some(entry) = self.entries.try_remove(user_data as usize) {
            entry.operation.complete(result);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // Only when the ring has failed: the kernel may still write into this memory.
        for entry in self.entries.drain() {
            std::mem::forget(entry);
        }
    }
}

/// Has the ring tell when the doorbell rings.
pub fn arm_doorbell(uring: &mut IoUring, doorbell: &OwnedFd) {
    let poll = opcode::PollAdd::new(Fd(doorbell.as_raw_fd()), libc::POLLIN as u32);
    let entry = poll.build().user_data(DOORBELL);
    // SAFETY: the entry points to no memory, and the poll holds its own reference to the file.
    unsafe { push(uring, &entry) };
}

/// # Safety
/// What `entry` points to must stay valid until its completion has been seen.
unsafe fn push(uring: &mut IoUring, entry: &squeue::Entry) {
    loop {
        // SAFETY: the caller's promise.
        if unsafe { uring.submission().push(entry) }.is_ok() {
            return;
        }
        // Full: the kernel takes what is there. It fails for a moment only, while completions
        // must be read, and those wait in the kernel until they are.
        if let Err(error) = uring.submit() {
            tracing::debug!(%error, "a full submission queue couldn't be submitted");
            std::thread::yield_now();
        }
    }
}

impl Entry {
    /// What the kernel is to be told. It points into the work's own memory and into the message.
    fn prepare(&mut self) -> squeue::Entry {
        let fd = |file: &dyn AsRawFd| Fd(file.as_raw_fd() as RawFd);
        let mut state = self.operation.0.lock();
        match state
            .work
            .as_mut()
            .expect("work is there until its result is")
        {
            Work::Accept { listener, .. } => {
                let (address, length) = (std::ptr::null_mut(), std::ptr::null_mut());
                opcode::Accept::new(fd(&**listener), address, length)
                    .flags(libc::SOCK_CLOEXEC)
                    .build()
            }
            Work::Receive { socket, space } => {
                // A payload is awaited whole, so that the task wakes once.
                let flags = if space.fills() { libc::MSG_WAITALL } else { 0 };
                let room = space.bytes_mut();
                opcode::Recv::new(fd(&**socket), room.as_mut_ptr(), room.len() as u32)
                    .flags(flags)
                    .build()
            }
            Work::Send { socket, batch } => {
                let message = self.message.insert(Box::new(message(&batch.slices())));
                opcode::SendMsg::new(fd(&**socket), &raw const message.header)
                    .flags((libc::MSG_NOSIGNAL | libc::MSG_WAITALL) as u32)
                    .build()
            }
            Work::Read {
                file,
                offset,
                buffer,
                from,
            } => {
                let room = &mut buffer.bytes_mut()[*from..];
                opcode::Read::new(fd(&**file), room.as_mut_ptr(), room.len() as u32)
                    .offset(*offset)
                    .build()
            }
            Work::Write {
                file,
                offset,
                buffer,
                through,
            } => {
                let bytes = buffer.bytes();
                let write = opcode::Write::new(fd(&**file), bytes.as_ptr(), bytes.len() as u32)
                    .offset(*offset);
                let flags = match through {
                    None => return write.build(),
                    Some(Depth::Data) => libc::RWF_DSYNC,
                    Some(Depth::All) => libc::RWF_SYNC,
                };
                // Where the file system would write at once, it would also sync on the ring's thread.
                write.rw_flags(flags).build().flags(squeue::Flags::ASYNC)
            }
            Work::Fallocate { file, mode, range } => {
                opcode::Fallocate::new(fd(&**file), range.end - range.start)
                    .offset(range.start)
                    .mode(mode.bits() as i32)
                    .build()
            }
            Work::Sync { file, depth } => {
                let flags = match depth {
                    Depth::Data => FsyncFlags::DATASYNC,
                    Depth::All => FsyncFlags::empty(),
                };
                opcode::Fsync::new(fd(&**file)).flags(flags).build()
            }
        }
    }
}

fn message(slices: &[IoSlice<'_>]) -> Message {
    let mut parts: Vec<libc::iovec> = slices
        .iter()
        .map(|slice| libc::iovec {
            // The kernel only reads what is sent.
            iov_base: slice.as_ptr().cast_mut().cast(),
            iov_len: slice.len(),
        })
        .collect();
    // SAFETY: all zeros is a message header without name, parts, control data or flags.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = parts.len();
    Message {
        header,
        _parts: parts,
    }
}
