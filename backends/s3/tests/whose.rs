//! Whose a bucket is that is to hold data objects, as it is seen without a change.

mod s3_server;

use backend_s3::{Options, S3Objects, Whose};
use s3_server::S3Server;
use tempfile::TempDir;

const MARK: &str = "data/.headrace-managed";

fn options(server: &S3Server, state: &TempDir) -> Options {
    Options {
        prefix: "data".to_owned(),
        ..server.options(state.path())
    }
}

#[tokio::test]
async fn whose_a_bucket_is_is_told_from_its_mark_and_its_keys() {
    let server = S3Server::start().await;
    let (state, other) = (tempfile::tempdir(), tempfile::tempdir());
    let (state, other) = (state.expect("a folder"), other.expect("a folder"));
    let whose = async |state: &TempDir| {
        let whose = S3Objects::whose(&options(&server, state)).await;
        whose.expect("it is told")
    };
    assert_eq!(whose(&state).await, Whose::Nobodys);
    server.put("data/photo.jpg", "x");
    let stranger = Whose::Strangers("data/photo.jpg".to_owned());
    assert_eq!(whose(&state).await, stranger);
    server.delete("data/photo.jpg");
    server.put("database", "no matter");
    assert_eq!(whose(&state).await, Whose::Nobodys);
    let attached = S3Objects::attach(options(&server, &state)).await;
    let (objects, _) = attached.expect("it is attached");
    assert_eq!(whose(&state).await, Whose::Ours, "while it is in use");
    assert_eq!(whose(&other).await, Whose::Anothers);
    server.put(MARK, "of a later version: 7");
    assert_eq!(whose(&state).await, Whose::Illegible);
    server.delete(MARK);
    assert_eq!(whose(&state).await, Whose::Emptied);
    objects.stop().await;
}
