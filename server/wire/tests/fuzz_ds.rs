//! Any bytes as messages of the data servers' own program; the first byte of an input chooses which.

mod fuzz;

use fuzz::{ITERATIONS, bears, each_form};
use wire::ds::*;

#[test]
fn any_bytes_as_a_message_to_a_data_server() {
    bolero::check!()
        .with_iterations(ITERATIONS)
        .for_each(|input: &[u8]| {
            each_form(input, |choice, bytes| match choice % 11 {
                0 => bears::<AbilitiesRes>(bytes),
                1 => bears::<SeekArgs>(bytes),
                2 => bears::<SeekRes>(bytes),
                3 => bears::<AllocateArgs>(bytes),
                4 => bears::<DeallocateArgs>(bytes),
                5 => bears::<CloneArgs>(bytes),
                6 => bears::<ReachedRes>(bytes),
                7 => bears::<PullArgs>(bytes),
                8 => bears::<MakeArgs>(bytes),
                9 => bears::<MakeRes>(bytes),
                _ => bears::<PullRes>(bytes),
            });
        });
}
