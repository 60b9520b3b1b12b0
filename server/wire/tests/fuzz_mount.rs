//! Any bytes as messages of MOUNT and the port mapper; the first byte of an input chooses which.

mod fuzz;

use fuzz::{ITERATIONS, bears, each_form};
use wire::mount::{Dirpath, Exports, Mountlist, Mountres3};
use wire::portmap::Mapping;

#[test]
fn any_bytes_as_a_mount_message() {
    bolero::check!()
        .with_iterations(ITERATIONS)
        .for_each(|input: &[u8]| {
            each_form(input, |choice, bytes| match choice % 5 {
                0 => bears::<Dirpath>(bytes),
                1 => bears::<Mountres3>(bytes),
                2 => bears::<Mountlist>(bytes),
                3 => bears::<Exports>(bytes),
                _ => bears::<Mapping>(bytes),
            });
        });
}
