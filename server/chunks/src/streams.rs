//! Who reads an object from one chunk to the next, and how far ahead of him to fetch.
//!
//! Pure. Never here: fetching.

use std::ops::Range;

/// Streams of one object that are told apart; the one that moved longest ago is forgotten.
const STREAMS: usize = 16;

#[derive(Debug, Clone, Copy)]
struct Stream {
    /// The chunk behind the furthest one that was read.
    next: u64,
    run: u32,
}

/// The streams of one object.
#[derive(Debug, Default)]
pub struct Streams(Vec<Stream>);

impl Streams {
    /// A READ in chunk `index`; the chunks that will be wanted next, at most `most` of them.
    pub fn step(&mut self, index: u64, most: u64) -> Range<u64> {
        // A client's READs overtake each other.
        let known = self
            .0
            .iter()
            .position(|stream| index < stream.next + 2 && index + 2 >= stream.next);
        let stream = match known {
            Some(at) => {
                let mut stream = self.0.remove(at);
                if index >= stream.next {
                    stream.next = index + 1;
                    stream.run = stream.run.saturating_add(1);
                }
                stream
            }
            None => Stream {
                next: index + 1,
                // Whoever begins at the start goes on, as a rule.
                run: u32::from(index == 0),
            },
        };
        if self.0.len() >= STREAMS {
            self.0.remove(0);
        }
        self.0.push(stream);
        let ahead = match stream.run {
            0 => 0,
            run => 1_u64.checked_shl(run.min(16)).unwrap_or(most).min(most),
        };
        stream.next..stream.next + ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_met_further_and_further_ahead_and_a_leap_is_not() {
        let mut streams = Streams::default();
        assert_eq!(streams.step(0, 8), 1..3);
        assert_eq!(streams.step(0, 8), 1..3);
        assert_eq!(streams.step(1, 8), 2..6);
        assert_eq!(streams.step(2, 8), 3..11);
        assert_eq!(streams.step(3, 8), 4..12);
        assert!(streams.step(100, 8).is_empty());
        assert!(streams.step(500, 8).is_empty());
        assert_eq!(streams.step(4, 8), 5..13);
    }

    #[test]
    fn reads_that_overtake_each_other_are_one_stream() {
        let mut streams = Streams::default();
        streams.step(7, 8);
        assert_eq!(streams.step(8, 8), 9..11);
        assert_eq!(streams.step(10, 8), 11..15);
        assert_eq!(streams.step(9, 8), 11..15);
    }

    #[test]
    fn streams_are_not_remembered_without_end() {
        let mut streams = Streams::default();
        for leap in 0..1000 {
            streams.step(leap * 10, 8);
        }
        assert_eq!(streams.0.len(), STREAMS);
    }
}
