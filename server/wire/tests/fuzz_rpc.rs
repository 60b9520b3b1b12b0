//! Any bytes as a message of ONC RPC.

mod fuzz;

use fuzz::{ITERATIONS, as_small_words, bears};
use wire::rpc::{AuthSys, Message};

#[test]
fn any_bytes_as_an_rpc_message() {
    bolero::check!()
        .with_iterations(ITERATIONS)
        .for_each(|input: &[u8]| {
            bears::<Message>(input);
            bears::<Message>(&as_small_words(input));
        });
}

#[test]
fn any_bytes_as_an_auth_sys_credential() {
    bolero::check!()
        .with_iterations(ITERATIONS)
        .for_each(|input: &[u8]| {
            bears::<AuthSys>(input);
            bears::<AuthSys>(&as_small_words(input));
        });
}
