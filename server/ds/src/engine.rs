//! What moves bytes: sockets and files, by io_uring or by threads, behind one face.
//! Never knows a request; it is given buffers, and gives them back filled.

use std::fs::File;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;

use buffers::Buffer;
use rustix::fs::FallocateFlags;

use crate::intake::Space;
use crate::syncs::Depth;

pub(crate) mod ring;
pub(crate) mod threads;

/// Every operation owns what it works on until it has ended, as io_uring demands.
pub(crate) trait Engine: Clone + Send + Sync + 'static {
    type Socket: AsFd + Send + Sync + 'static;
    type Listener: AsFd + Send + Sync + 'static;

    fn listener(&self, listener: TcpListener) -> io::Result<Arc<Self::Listener>>;

    fn accept(
        &self,
        listener: &Arc<Self::Listener>,
    ) -> impl Future<Output = io::Result<(Arc<Self::Socket>, SocketAddr)>> + Send;

    /// Receives at least a byte, or 0 at the end of the stream.
    fn receive(
        &self,
        socket: &Arc<Self::Socket>,
        space: Space,
    ) -> impl Future<Output = (io::Result<usize>, Space)> + Send;

    /// Sends what it can of the batch.
    fn send(
        &self,
        socket: &Arc<Self::Socket>,
        batch: Batch,
    ) -> impl Future<Output = (io::Result<usize>, Batch)> + Send;

    /// Reads what is at `offset` into the buffer behind its first `from` bytes: at least a byte, or
    /// 0 at the end of the file.
    fn read(
        &self,
        file: &Arc<File>,
        offset: u64,
        buffer: Buffer,
        from: usize,
    ) -> impl Future<Output = (io::Result<usize>, Buffer)> + Send;

    /// Writes the buffer, or a beginning of it. With a depth what is written is durable by that, as by O_DSYNC or
    /// O_SYNC: nothing else of the file is.
    fn write(
        &self,
        file: &Arc<File>,
        offset: u64,
        buffer: Buffer,
        through: Option<Depth>,
    ) -> impl Future<Output = (io::Result<usize>, Buffer)> + Send;

    /// Sets space aside, or makes a hole, as `mode` says.
    fn fallocate(
        &self,
        file: &Arc<File>,
        mode: FallocateFlags,
        range: Range<u64>,
    ) -> impl Future<Output = io::Result<()>> + Send;

    fn sync(&self, file: &Arc<File>, depth: Depth) -> impl Future<Output = io::Result<()>> + Send;

    /// Runs a task beside the caller's.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// Where the next connection is to live.
    fn next(&self) -> Self;

    /// The engine as each of the threads that don't share their tasks.
    fn lanes(&self) -> Vec<Self>;
}

/// Something that goes out in pieces, payloads by reference.
pub(crate) trait Outgoing: Send + Sync {
    fn parts(&self) -> [&[u8]; 2];
}

/// Replies on their way into one socket, in order.
pub(crate) struct Batch {
    replies: Vec<Box<dyn Outgoing>>,
    bytes: usize,
    sent: usize,
}

impl Batch {
    pub fn new() -> Self {
        Self {
            replies: Vec::new(),
            bytes: 0,
            sent: 0,
        }
    }

    pub fn push(&mut self, reply: Box<dyn Outgoing>) {
        self.bytes += reply.parts().iter().map(|part| part.len()).sum::<usize>();
        self.replies.push(reply);
    }

    pub fn len(&self) -> usize {
        self.replies.len()
    }

    /// Bytes not sent yet.
    pub fn remaining(&self) -> usize {
        self.bytes - self.sent
    }

    pub fn advance(&mut self, count: usize) {
        self.sent = self.bytes.min(self.sent + count);
    }

    /// What remains to be sent.
    pub fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut skip = self.sent;
        let mut slices = Vec::with_capacity(self.replies.len() * 2);
        for part in self.replies.iter().flat_map(|reply| reply.parts()) {
            let skipped = skip.min(part.len());
            skip -= skipped;
            if skipped < part.len() {
                slices.push(IoSlice::new(&part[skipped..]));
            }
        }
        slices
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    struct Parts(Vec<u8>, Vec<u8>);

    impl Outgoing for Parts {
        fn parts(&self) -> [&[u8]; 2] {
            [&self.0, &self.1]
        }
    }

    proptest! {
        #[test]
        fn a_batch_goes_out_whole_however_little_is_taken_at_once(
            replies in vec((vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..40)), 0..8),
            step in 1..50_usize,
        ) {
            let mut batch = Batch::new();
            let mut expected = Vec::new();
            for (head, payload) in replies {
                expected.extend_from_slice(&head);
                expected.extend_from_slice(&payload);
                batch.push(Box::new(Parts(head, payload)));
            }
            let mut sent = Vec::new();
            while batch.remaining() > 0 {
                let all: Vec<u8> = batch.slices().iter().flat_map(|s| s.to_vec()).collect();
                let count = step.min(all.len());
                sent.extend_from_slice(&all[..count]);
                batch.advance(count);
            }
            prop_assert_eq!(sent, expected);
        }
    }
}
