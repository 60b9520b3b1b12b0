//! What is asked of a bucket when it is attached, and what a person is told.

mod s3_server;
mod world;

use backend::tree::{Tree, TreeErrorKind};
use backend_s3::{AttachError, Attached, Options, S3Mirror, S3Objects, Writers};
use s3_server::{Fault, S3Server};
use tempfile::TempDir;

async fn attach(
    server: &S3Server,
    change: impl FnOnce(&mut Options),
) -> (Result<(S3Mirror, Attached), AttachError>, TempDir) {
    let state = tempfile::tempdir().expect("a folder");
    let mut options = world::options(server.endpoint(), &state);
    change(&mut options);
    (S3Mirror::attach(options).await, state)
}

fn words(attached: Result<(S3Mirror, Attached), AttachError>) -> String {
    match attached {
        Ok(_) => panic!("it must be refused"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_bucket_that_honours_conditions_is_attached_and_the_probe_is_gone() {
    let server = S3Server::start().await;
    let (attached, _state) = attach(&server, |_| {}).await;
    let (_, attached) = attached.expect("it is attached");
    assert_eq!(attached.honours_conditions, Some(true));
    assert_eq!(attached.read_only, None);
    assert!(server.keys().is_empty());
}

#[tokio::test]
async fn a_bucket_that_lies_is_refused_in_words_unless_there_is_one_writer() {
    let server = S3Server::start().await;
    server.lie();
    let (refused, _state) = attach(&server, |_| {}).await;
    let words = words(refused);
    assert!(
        words.contains("ignores conditions") && words.contains("writers"),
        "{words}"
    );
    assert!(server.keys().is_empty());
    let (attached, _state) = attach(&server, |options| options.writers = Writers::One).await;
    let (_, attached) = attached.expect("it is attached");
    assert_eq!(attached.honours_conditions, Some(false));
}

#[tokio::test]
async fn a_bucket_that_nothing_can_be_put_into_is_shown_read_only() {
    let server = S3Server::start().await;
    server.put("file", "x");
    server.fail(1, "PUT", "", Fault::Refused(403, "AccessDenied"));
    let (attached, _state) = attach(&server, |_| {}).await;
    let (mirror, attached) = attached.expect("it is attached");
    assert_eq!(attached.honours_conditions, None);
    let why = attached.read_only.expect("it says why");
    assert!(why.contains("policy"), "{why}");
    let root = mirror.root().await.expect("a root").handle;
    let caller = backend::tree::Caller::root();
    let refused = mirror.remove(&caller, &root, &"file".into()).await;
    assert_eq!(
        refused.expect_err("nothing changes").kind,
        TreeErrorKind::ReadOnly
    );
}

#[tokio::test]
async fn data_objects_are_shown_as_no_files() {
    let server = S3Server::start().await;
    let (objects, _) = S3Objects::attach(Options {
        prefix: "data".into(),
        ..world::options(server.endpoint(), &tempfile::tempdir().expect("a folder"))
    })
    .await
    .expect("it is attached");
    objects.stop().await;
    let (refused, _state) = attach(&server, |options| options.prefix = "data".into()).await;
    let words = words(refused);
    assert!(words.contains("data objects"), "{words}");
    assert_eq!(server.keys(), ["data/.headrace-managed"]);
}

#[tokio::test]
async fn what_is_wrong_with_the_way_to_a_bucket_is_said_in_words() {
    let server = S3Server::start().await;
    for (status, code, wanted) in [
        (400, "ExpiredToken", "expired"),
        (403, "RequestTimeTooSkewed", "clock"),
        (301, "PermanentRedirect", "region"),
        (403, "InvalidAccessKeyId", "credentials"),
    ] {
        server.fail(1, "GET", "", Fault::Refused(status, code));
        let (refused, _state) = attach(&server, |_| {}).await;
        let words = words(refused);
        assert!(words.contains(wanted), "{words}");
    }
    let (refused, _state) = attach(&server, |options| options.bucket = "other".into()).await;
    let words = words(refused);
    assert!(words.contains("no such bucket"), "{words}");
}
