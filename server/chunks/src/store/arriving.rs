//! A chunk on its way into memory. Readers are given each piece as soon as it is whole: who wants the first bytes of a
//! chunk doesn't wait for its last.
//!
//! Never here: where the bytes come from.

use super::{Failed, Part};
use backend::upstream::Sink;
use backend::{Error, ErrorKind};
use buffers::{Buffer, Pool};
use bytes::Bytes;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::watch;

const PIECE_BYTES: u64 = 256 << 10;

#[derive(Debug, Clone)]
pub enum End {
    /// It takes longer than anybody waits.
    Slow,
    OnDisk(Arc<File>),
    Failed(Failed),
}

/// How far a chunk has come.
#[derive(Debug, Default)]
pub struct Progress {
    /// From its beginning.
    pieces: Vec<Bytes>,
    bytes: u64,
    pub end: Option<End>,
}

impl Progress {
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    pub fn can_answer(&self, range: &Range<u64>) -> bool {
        range.end <= self.bytes || self.end.is_some()
    }

    /// Once it can.
    pub fn answer(&self, range: &Range<u64>) -> Result<Part, Failed> {
        if range.end <= self.bytes {
            return Ok(Part::InMemory(self.cut(range)));
        }
        match &self.end {
            Some(End::OnDisk(file)) => Ok(Part::OnDisk(Arc::clone(file))),
            Some(End::Failed(failed)) => Err(*failed),
            Some(End::Slow) | None => Err(Failed::Later),
        }
    }

    fn cut(&self, range: &Range<u64>) -> Vec<Bytes> {
        let whole = range.start / PIECE_BYTES..range.end.div_ceil(PIECE_BYTES);
        let slice = |at: u64| {
            let (piece, start) = (&self.pieces[at as usize], at * PIECE_BYTES);
            let from = range.start.saturating_sub(start);
            let until = (range.end - start).min(piece.len() as u64);
            piece.slice(from as usize..until as usize)
        };
        whole.map(slice).collect()
    }
}

/// Memory for a chunk, and what came of it so far.
pub struct Filling<'a> {
    tell: &'a watch::Sender<Progress>,
    /// Those to come, the next one last.
    empty: Vec<Buffer>,
    filled: usize,
}

impl<'a> Filling<'a> {
    /// Waits until the pool has room for all of it.
    pub async fn of(length: u64, pool: &Arc<Pool>, tell: &'a watch::Sender<Progress>) -> Self {
        let mut empty = Vec::with_capacity(length.div_ceil(PIECE_BYTES) as usize);
        let mut left = length;
        while left > 0 {
            let piece = left.min(PIECE_BYTES);
            empty.push(pool.acquire(piece as usize).await);
            left -= piece;
        }
        empty.reverse();
        Self {
            tell,
            empty,
            filled: 0,
        }
    }

    pub fn is_whole(&self) -> bool {
        self.empty.is_empty()
    }

    /// What it takes in memory.
    pub fn capacity(&self) -> u64 {
        self.empty
            .iter()
            .map(|buffer| buffer.capacity() as u64)
            .sum()
    }
}

impl Sink for Filling<'_> {
    fn put(&mut self, mut piece: &[u8]) -> Result<(), Error> {
        while !piece.is_empty() {
            let Some(buffer) = self.empty.last_mut() else {
                return Err(Error::new(
                    ErrorKind::Broken,
                    "more bytes came than were asked for",
                ));
            };
            let room = &mut buffer.bytes_mut()[self.filled..];
            let count = room.len().min(piece.len());
            room[..count].copy_from_slice(&piece[..count]);
            piece = &piece[count..];
            self.filled += count;
            if self.filled == buffer.len() {
                self.filled = 0;
                let whole = self.empty.pop().map(Bytes::from_owner).unwrap_or_default();
                self.tell.send_modify(|progress| {
                    progress.bytes += whole.len() as u64;
                    progress.pieces.push(whole);
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[tokio::test]
    async fn no_more_is_taken_than_was_asked_for() {
        let tell = watch::Sender::new(Progress::default());
        let pool = Pool::new(1 << 20);
        let mut filling = Filling::of(10, &pool, &tell).await;
        filling.put(&[1; 9]).expect("there is room");
        assert!(!filling.is_whole() && !tell.borrow().can_answer(&(0..1)));
        assert!(filling.put(&[1; 2]).is_err());
    }

    proptest! {
        #[test]
        fn whatever_pieces_a_chunk_comes_in_each_range_is_what_was_put(
            length in 1..=3 * PIECE_BYTES,
            put in 1_usize..2 << 20,
            ends in (0.0..1.0, 0.0..1.0),
        ) {
            let tell = watch::Sender::new(Progress::default());
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let mut filling = runtime.block_on(Filling::of(length, &Pool::new(8 << 20), &tell));
            let bytes: Vec<u8> = (0..length).map(|at| ((at * 31) >> 3) as u8).collect();
            for piece in bytes.chunks(put) {
                filling.put(piece).expect("there is room");
            }
            prop_assert!(filling.is_whole());
            let at = |part: f64| (length as f64 * part) as u64;
            let range = at(f64::min(ends.0, ends.1))..at(f64::max(ends.0, ends.1));
            let Ok(Part::InMemory(part)) = tell.borrow().answer(&range) else {
                panic!("it has come");
            };
            prop_assert_eq!(&part.concat()[..], &bytes[range.start as usize..range.end as usize]);
        }
    }
}
