//! Any bytes as arguments and results of NFSv3; the first byte of an input chooses the procedure.

mod fuzz;

use fuzz::{ITERATIONS, bears, each_form};
use wire::nfs3::*;

fn procedure(choice: u8) -> Procedure {
    Procedure::from_u32(u32::from(choice) % 22).expect("there are 22 procedures")
}

#[test]
fn any_bytes_as_nfs3_arguments() {
    bolero::check!()
        .with_iterations(ITERATIONS)
        .for_each(|input: &[u8]| {
            each_form(input, |choice, bytes| match procedure(choice) {
                Procedure::Null => bears::<()>(bytes),
                Procedure::Getattr => bears::<Getattr3args>(bytes),
                Procedure::Setattr => bears::<Setattr3args>(bytes),
                Procedure::Lookup => bears::<Lookup3args>(bytes),
                Procedure::Access => bears::<Access3args>(bytes),
                Procedure::Readlink => bears::<Readlink3args>(bytes),
                Procedure::Read => bears::<Read3args>(bytes),
                Procedure::Write => {
                    bears::<Write3args>(bytes);
                    bears::<Write3head>(bytes);
                }
                Procedure::Create => bears::<Create3args>(bytes),
                Procedure::Mkdir => bears::<Mkdir3args>(bytes),
                Procedure::Symlink => bears::<Symlink3args>(bytes),
                Procedure::Mknod => bears::<Mknod3args>(bytes),
                Procedure::Remove => bears::<Remove3args>(bytes),
                Procedure::Rmdir => bears::<Rmdir3args>(bytes),
                Procedure::Rename => bears::<Rename3args>(bytes),
                Procedure::Link => bears::<Link3args>(bytes),
                Procedure::Readdir => bears::<Readdir3args>(bytes),
                Procedure::Readdirplus => bears::<Readdirplus3args>(bytes),
                Procedure::Fsstat => bears::<Fsstat3args>(bytes),
                Procedure::Fsinfo => bears::<Fsinfo3args>(bytes),
                Procedure::Pathconf => bears::<Pathconf3args>(bytes),
                Procedure::Commit => bears::<Commit3args>(bytes),
            });
        });
}

#[test]
fn any_bytes_as_nfs3_results() {
    bolero::check!()
        .with_iterations(ITERATIONS)
        .for_each(|input: &[u8]| {
            each_form(input, |choice, bytes| match procedure(choice) {
                Procedure::Null => bears::<()>(bytes),
                Procedure::Getattr => bears::<Getattr3res>(bytes),
                Procedure::Setattr => bears::<Setattr3res>(bytes),
                Procedure::Lookup => bears::<Lookup3res>(bytes),
                Procedure::Access => bears::<Access3res>(bytes),
                Procedure::Readlink => bears::<Readlink3res>(bytes),
                Procedure::Read => bears::<Read3res>(bytes),
                Procedure::Write => bears::<Write3res>(bytes),
                Procedure::Create => bears::<Create3res>(bytes),
                Procedure::Mkdir => bears::<Mkdir3res>(bytes),
                Procedure::Symlink => bears::<Symlink3res>(bytes),
                Procedure::Mknod => bears::<Mknod3res>(bytes),
                Procedure::Remove => bears::<Remove3res>(bytes),
                Procedure::Rmdir => bears::<Rmdir3res>(bytes),
                Procedure::Rename => bears::<Rename3res>(bytes),
                Procedure::Link => bears::<Link3res>(bytes),
                Procedure::Readdir => bears::<Readdir3res>(bytes),
                Procedure::Readdirplus => bears::<Readdirplus3res>(bytes),
                Procedure::Fsstat => bears::<Fsstat3res>(bytes),
                Procedure::Fsinfo => bears::<Fsinfo3res>(bytes),
                Procedure::Pathconf => bears::<Pathconf3res>(bytes),
                Procedure::Commit => bears::<Commit3res>(bytes),
            });
        });
}
