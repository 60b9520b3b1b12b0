use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::engine::threads::Threads;
use crate::fetcher::Fetcher;
use crate::handle::ObjectId;
use crate::metrics::Metrics;
use crate::service::Service;
use crate::store::{Create, Created, Cuts, Folder, Objects, Space, probe};
use crate::verifier::Verifier;
use crate::workers::Workers;

const OWNER: Caller = Caller::Mds { term: 0 };

fn service(dir: &std::path::Path) -> Service {
    let folder = Arc::new(Folder::open(dir).expect("a fresh folder opens"));
    let space = Arc::new(Space::measure(dir, None).expect("nothing is measured"));
    let verifier = Arc::new(Verifier::new(1));
    let objects = Objects::new(
        Arc::clone(&folder),
        Arc::clone(&space),
        Arc::clone(&verifier),
        16,
    );
    Service {
        abilities: probe(&folder).expect("the disk is tried"),
        folder: Arc::clone(&folder),
        objects: Arc::new(objects),
        cuts: Arc::new(Cuts::start(Arc::clone(&folder), Arc::clone(&space)).expect("a thread")),
        space,
        verifier,
        pool: buffers::Pool::new(1 << 20),
        workers: Workers::start(2).expect("threads start"),
        metrics: Arc::new(Metrics::default()),
        export: "/data".into(),
        mds: Vec::new(),
        transfer_bytes: 1 << 20,
        fetcher: Fetcher::new(),
        cache: None,
    }
}

#[tokio::test]
async fn a_stable_write_whose_bytes_another_sync_may_have_lost_is_to_come_again() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let service = service(dir.path());
    let (engine, runtime) = Threads::start(1, service.workers.clone()).expect("an engine");
    let cx = Context {
        service: &service,
        engine: &engine,
        caller: &OWNER,
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let create = Create {
        mode: 0o600,
        uid: 1,
        gid: 1,
        size_bytes: 0,
        term: 0,
        verifier: [0; 8],
    };
    let created = service.objects.create(ObjectId([3; 16]), create);
    let (Created::New(object) | Created::Existing(object)) = created.expect("an object");
    let args = Write3head {
        file: cx.object_handle(&object),
        offset: 0,
        count: 4096,
        stable: StableHow::FileSync,
    };
    let payload = async || Some(service.pool.acquire(4096).await);
    let failed: std::io::Result<()> = Err(std::io::Error::from_raw_os_error(libc::EIO));
    for (others, stable) in [(Ok(()), Ok(())), (failed, Err(Nfsstat3::Jukebox))] {
        let turn = object.syncs.turn_now().expect("nobody syncs");
        object.file.set_len(0).expect("it is emptied");
        let others_sync = async {
            while object.stat().expect("it is there").st_size == 0 {
                tokio::task::yield_now().await;
            }
            turn.end(&others, || service.verifier.writes_lost());
        };
        let (written, ()) = tokio::join!(write(&args, payload().await, &cx), others_sync);
        let said = written.map(|_| ()).map_err(|failed| failed.status);
        assert_eq!(said, stable);
    }
    runtime.shutdown_background();
}
