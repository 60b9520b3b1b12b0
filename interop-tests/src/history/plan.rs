//! What one worker does, drawn from a seed: the same seed gives the same steps. How the steps of several workers
//! interleave is the machine's business.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Names that are there from the start, to be removed or renamed once.
pub const PREY: usize = 60;
pub const UNTOUCHED: usize = 800;
pub const LOGS: usize = 2;
pub const COUNTERS: usize = 2;
pub const RANGES: usize = 3;
/// How many blocks each register has: within a page or two, within a stripe, over several requests.
pub const REGISTERS: [usize; 4] = [3, 3, 40, 700];
const MOST_BLOCKS: usize = 80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contest {
    Create,
    Folder,
    Link,
    Remove,
    Rename,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Contend {
        contest: Contest,
        number: usize,
    },
    Append {
        log: usize,
        record: u64,
        by_seek: bool,
    },
    ReadLog {
        log: usize,
    },
    Add {
        counter: usize,
    },
    WriteRange {
        file: usize,
        first: usize,
        blocks: usize,
        id: u64,
    },
    Truncate {
        file: usize,
        blocks: usize,
    },
    ReadRange {
        file: usize,
    },
    WriteRegister {
        register: usize,
        id: u64,
        cut: bool,
    },
    ReadRegister {
        register: usize,
    },
    Make {
        number: usize,
    },
    /// Of the worker's own names, the one at this place.
    Remove {
        place: usize,
    },
    Rename {
        place: usize,
        number: usize,
    },
    List,
}

/// What a worker writes is told from what any other writes.
fn ids(worker: u64, number: usize) -> u64 {
    (worker + 1) * 1_000_000 + number as u64
}

pub fn steps(seed: u64, worker: u64, count: usize) -> Vec<Step> {
    let mut dice = StdRng::seed_from_u64(seed ^ (worker + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut contests = [0; 5];
    (0..count)
        .map(|number| step(&mut dice, worker, number, &mut contests))
        .collect()
}

fn step(dice: &mut StdRng, worker: u64, number: usize, contests: &mut [usize; 5]) -> Step {
    let id = ids(worker, number);
    match dice.random_range(0..100) {
        0..20 => {
            let place = dice.random_range(0..contests.len());
            let contest = [
                Contest::Create,
                Contest::Folder,
                Contest::Link,
                Contest::Remove,
                Contest::Rename,
            ][place];
            contests[place] += 1;
            // Workers go through the numbers at about the same pace, and so meet at some.
            let number = contests[place] + dice.random_range(0..3);
            Step::Contend { contest, number }
        }
        20..28 => Step::Append {
            log: dice.random_range(0..LOGS),
            record: id,
            by_seek: dice.random(),
        },
        28..31 => Step::ReadLog {
            log: dice.random_range(0..LOGS),
        },
        31..41 => Step::Add {
            counter: dice.random_range(0..COUNTERS),
        },
        41..48 => Step::WriteRange {
            file: dice.random_range(0..RANGES),
            first: dice.random_range(0..MOST_BLOCKS - 20),
            blocks: dice.random_range(1..20),
            id,
        },
        48..54 => Step::Truncate {
            file: dice.random_range(0..RANGES),
            blocks: dice.random_range(0..MOST_BLOCKS),
        },
        54..60 => Step::ReadRange {
            file: dice.random_range(0..RANGES),
        },
        60..68 => Step::WriteRegister {
            register: dice.random_range(0..REGISTERS.len()),
            id,
            cut: dice.random_range(0..3) == 0,
        },
        68..80 => Step::ReadRegister {
            register: dice.random_range(0..REGISTERS.len()),
        },
        80..86 => Step::Make { number },
        86..90 => Step::Remove {
            place: dice.random_range(0..1000),
        },
        90..94 => Step::Rename {
            place: dice.random_range(0..1000),
            number,
        },
        _ => Step::List,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_steps_again_and_another_gives_others() {
        assert_eq!(steps(7, 1, 300), steps(7, 1, 300));
        assert_ne!(steps(7, 1, 300), steps(8, 1, 300));
        assert_ne!(steps(7, 1, 300), steps(7, 2, 300));
    }
}
