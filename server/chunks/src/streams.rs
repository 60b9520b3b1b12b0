//! Who reads an object from one chunk to the next, and how far ahead of him to fetch.
//!
//! Pure. Never here: fetching.

use std::ops::Range;

/// Streams of one object that are told apart; the one that moved longest ago is forgotten.
const STREAMS: usize = 16;

/// How many chunks to fetch ahead of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Ahead {
    /// As a rule.
    pub usual: u64,
    /// Where its reader comes to chunks before they do.
    pub most: u64,
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    /// The chunk behind the furthest one that was read.
    next: u64,
    /// Chunks that were read one behind another.
    run: u64,
    window: u64,
}

impl Stream {
    /// It went on to another chunk, and found it `late`. A keeper that is far wants more under way than one that is
    /// near; but nothing is fetched further ahead than twice what was read, for a stream may end at any chunk.
    fn advance(&mut self, late: bool, ahead: Ahead) {
        self.run += 1;
        let limit = if late {
            ahead.most.min((2 * self.run).max(ahead.usual))
        } else {
            ahead.usual.max(self.window)
        };
        self.window = (self.window * 2).max(2).min(limit);
    }
}

/// The streams of one object.
#[derive(Debug, Default)]
pub struct Streams(Vec<Stream>);

impl Streams {
    /// A READ in chunk `index`, which wasn't here yet if it was `late`; the chunks that will be wanted next.
    pub fn step(&mut self, index: u64, late: bool, ahead: Ahead) -> Range<u64> {
        // A client's READs overtake each other.
        let known = self
            .0
            .iter()
            .position(|stream| index < stream.next + 2 && index + 2 >= stream.next);
        let stream = if let Some(at) = known {
            let mut stream = self.0.remove(at);
            if index >= stream.next {
                stream.next = index + 1;
                stream.advance(late, ahead);
            }
            stream
        } else {
            let mut stream = Stream {
                next: index + 1,
                run: 0,
                window: 0,
            };
            // Whoever begins at the start goes on, as a rule.
            if index == 0 {
                stream.advance(false, ahead);
            }
            stream
        };
        if self.0.len() >= STREAMS {
            self.0.remove(0);
        }
        self.0.push(stream);
        stream.next..stream.next + stream.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AHEAD: Ahead = Ahead { usual: 8, most: 32 };

    #[test]
    fn a_stream_is_met_further_and_further_ahead_and_a_leap_is_not() {
        let mut streams = Streams::default();
        let mut step = |index| streams.step(index, false, AHEAD);
        assert_eq!(step(0), 1..3);
        assert_eq!(step(0), 1..3);
        assert_eq!(step(1), 2..6);
        assert_eq!(step(2), 3..11);
        assert_eq!(step(3), 4..12);
        assert!(step(100).is_empty());
        assert!(step(500).is_empty());
        assert_eq!(step(4), 5..13);
    }

    #[test]
    fn a_reader_that_is_faster_than_the_keeper_is_met_further_ahead_as_he_goes_on() {
        let mut streams = Streams::default();
        let mut window = |index, late| {
            let ahead = streams.step(index, late, AHEAD);
            ahead.end - ahead.start
        };
        let windows: Vec<u64> = (0..8).map(|index| window(index, true)).collect();
        assert_eq!(windows, [2, 4, 8, 8, 10, 12, 14, 16]);
        // By many READs of one chunk he hasn't gone on.
        assert_eq!((window(7, true), window(7, true)), (16, 16));
        // What was enough stays.
        assert_eq!((window(8, false), window(9, false)), (16, 16));
        let windows = (10..100).map(|index| window(index, true));
        assert_eq!(windows.max(), Some(AHEAD.most));
    }

    #[test]
    fn no_window_is_larger_than_there_is_room_for() {
        let mut streams = Streams::default();
        let small = Ahead { usual: 0, most: 0 };
        for index in 0..10 {
            assert!(streams.step(index, true, small).is_empty());
        }
    }

    #[test]
    fn reads_that_overtake_each_other_are_one_stream() {
        let mut streams = Streams::default();
        let mut step = |index| streams.step(index, false, AHEAD);
        step(7);
        assert_eq!(step(8), 9..11);
        assert_eq!(step(10), 11..15);
        assert_eq!(step(9), 11..15);
    }

    #[test]
    fn streams_are_not_remembered_without_end() {
        let mut streams = Streams::default();
        for leap in 0..1000 {
            streams.step(leap * 10, false, AHEAD);
        }
        assert_eq!(streams.0.len(), STREAMS);
    }
}
