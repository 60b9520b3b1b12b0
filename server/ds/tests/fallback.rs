//! Where the kernel refuses io_uring, as many containers' seccomp profiles do.

use std::collections::BTreeMap;

use ds::{Config, EngineChoice, EngineKind, Server, StartError};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use wire::nfs3::*;

mod world;
use world::*;

/// From here on this thread, and those that it starts, get EPERM for every ring they ask for.
fn forbid_io_uring() {
    let rules = BTreeMap::from([(libc::SYS_io_uring_setup, Vec::new())]);
    let arch = std::env::consts::ARCH.try_into().expect("a known machine");
    let (others, rings) = (
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
    );
    let filter = SeccompFilter::new(rules, others, rings, arch).expect("a filter");
    let program = BpfProgram::try_from(filter).expect("a program for the kernel");
    apply_filter(&program).expect("the kernel takes the filter");
}

/// A thread of its own: a filter stays with whoever has it.
fn without_io_uring(test: impl Future<Output = ()> + Send + 'static) {
    let forbidden = std::thread::spawn(|| {
        forbid_io_uring();
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(test);
    });
    forbidden.join().expect("the test holds");
}

#[test]
fn where_io_uring_is_forbidden_threads_serve_the_same() {
    without_io_uring(async {
        let mut world = World::new(EngineChoice::Auto);
        assert_eq!(world.running().engine(), EngineKind::Threads);
        let object = world.object(1).await;
        let data = pattern(300_000, 1);
        let owner = world.owner(OWNER);
        owner
            .write(&object, 0, StableHow::Unstable, data.clone())
            .await
            .expect("the owner writes");
        owner.commit(&object, 0, 0).await.expect("a commit");
        world.restart().await;
        let read = world.reader().read(&object, 0, 1 << 20).await;
        assert_eq!(read.expect("the group reads").data, data);
        world.stop().await;
    });
}

#[test]
fn who_insists_on_io_uring_where_it_is_forbidden_is_told_the_way_out() {
    without_io_uring(async {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = Config::new(folder.path().join("ds"));
        config.engine = EngineChoice::IoUring;
        let refused = Server::start(config).err().expect("no ring is to be had");
        assert!(matches!(refused, StartError::NoUring { .. }), "{refused}");
        let words = refused.to_string();
        assert!(words.contains("kernel.io_uring_disabled=0"), "{words}");
        assert!(words.contains("set the engine to threads"), "{words}");
    });
}
