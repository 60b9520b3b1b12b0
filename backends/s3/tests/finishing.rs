//! The end of a server that is stopped gracefully: what is under way to a bucket comes to its end, within bounds.

mod keeper;
mod s3_server;
mod world;

use backend::DataServer;
use bytes::Bytes;
use keeper::{Keeper, MARK, key};
use layout::ObjectId;
use s3_server::Fault;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

const MIB: usize = 1 << 20;
/// Nothing waits for so long.
const LONG: Duration = Duration::from_mins(10);
const SOON: Duration = Duration::from_secs(30);

fn pattern() -> Vec<u8> {
    (0..20 * MIB).map(|at| (at % 251) as u8).collect()
}

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(SOON, work).await;
    done.unwrap_or_else(|_| panic!("{what} in time"))
}

async fn was_asked(keeper: &Keeper, part: &str) {
    let asked = async {
        while !keeper
            .server()
            .asked()
            .iter()
            .any(|line| line.contains(part))
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("it is asked", asked).await;
}

/// A large object whose COMMIT has come to its second part, which meets `fault`.
async fn half_sent(keeper: &Arc<Keeper>, fault: Fault) -> (Bytes, JoinHandle<bool>) {
    let handle = keeper.object(1).await;
    keeper.put(&handle, 0, pattern()).await;
    keeper.server().fail(1, "PUT", "partNumber=2", fault);
    let (objects, of) = (keeper.objects(), handle.clone());
    let commit = tokio::spawn(async move {
        let committed = objects.commit(&of).await;
        committed.is_err_and(|error| error.is_passing())
    });
    was_asked(keeper, "partNumber=2").await;
    (handle, commit)
}

#[tokio::test]
async fn an_upload_under_way_comes_to_its_end_before_the_server_does() {
    let keeper = Keeper::new().await;
    let (handle, commit) = half_sent(&keeper, Fault::Held).await;
    // Nobody waits for it any more.
    commit.abort();
    assert!(commit.await.is_err());
    let objects = keeper.objects();
    let finished = async { tokio::join!(objects.finish(LONG), async { keeper.server().go_on() }) };
    soon("it ends", finished).await;
    drop(objects);
    assert_eq!(keeper.server().uploads(), 0);
    let body = keeper.server().object(&key(1)).expect("it is there").body;
    assert!(body == pattern());
    let attached = keeper.restart().await;
    assert_eq!((attached.aborted, attached.discarded), (0, 0));
    assert!(keeper.whole(&handle).await == pattern());
}

#[tokio::test]
async fn an_upload_that_takes_too_long_is_ended_and_put_in_order_by_the_next_start() {
    let keeper = Keeper::new().await;
    let (handle, commit) = half_sent(&keeper, Fault::Silence).await;
    let objects = keeper.objects();
    soon("it ends", objects.finish(Duration::from_millis(100))).await;
    let told = soon("it is answered", commit).await;
    assert!(told.expect("it is answered"), "to come again");
    let refused = objects.commit(&handle).await.expect_err("it is over");
    assert!(refused.is_passing(), "{refused}");
    drop(objects);
    assert_eq!(keeper.server().uploads(), 1);
    let attached = keeper.restart().await;
    assert_eq!((attached.aborted, keeper.server().uploads()), (1, 0));
    // Its writer was not told that it is safe, and sends it again.
    keeper.put(&handle, 0, pattern()).await;
    keeper.commit(&handle).await.expect("a COMMIT");
    assert!(keeper.whole(&handle).await == pattern());
}

#[tokio::test]
async fn no_end_waits_for_what_the_next_start_takes_up_by_itself() {
    let keeper = Keeper::new().await;
    let handle = keeper.object(1).await;
    keeper.put(&handle, 0, "bytes").await;
    keeper.server().fail(1, "PUT", &key(1), Fault::Silence);
    let (objects, of) = (keeper.objects(), handle.clone());
    let commit = tokio::spawn(async move { objects.commit(&of).await.is_err() });
    was_asked(&keeper, &key(1)).await;
    commit.abort();
    assert!(commit.await.is_err());
    keeper.restart().await;
    // It is deleted a second time minutes later, since its upload may still land.
    keeper.remove(ObjectId(1)).await.expect("it is removed");
    soon("it ends", keeper.objects().finish(LONG)).await;
    keeper.server().put(&key(1), "bytes");
    keeper.restart().await;
    let gone = async {
        while keeper.server().keys() != [MARK] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("it is deleted", gone).await;
}
