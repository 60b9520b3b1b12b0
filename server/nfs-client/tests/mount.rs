//! MOUNT, with its port given.

mod script;

use nfs_client::{Caller, mount};
use script::*;
use wire::mount::{Dirpath, Exportnode, Exports, Mountres3, Mountres3ok, Mountstat3, PROGRAM};

#[tokio::test]
async fn mnt_gives_the_root_of_the_export() {
    let server = Server::start().await;
    let root = Mountres3ok {
        fhandle: fh("root"),
        auth_flavors: vec![1],
    };
    let serve = async {
        let mut peer = server.accept().await;
        let call = peer.call().await;
        assert_eq!((call.header.program, call.header.procedure), (PROGRAM, 1));
        assert_eq!(call.args::<Dirpath>().bytes(), "/nvme");
        peer.reply(call.xid(), &Mountres3::Ok(root.clone())).await;
        peer
    };
    let (ip, port) = (server.address.ip(), server.address.port());
    let (caller, options) = (Caller::root("mds"), options());
    let mnt = mount::mnt(ip, Some(port), "/nvme", &caller, &options);
    let (mounted, _peer) = tokio::join!(mnt, serve);
    assert_eq!(mounted.unwrap(), root);
}

#[tokio::test]
async fn a_refused_mount_names_the_path_and_the_status() {
    let server = Server::start().await;
    let serve = async {
        let mut peer = server.accept().await;
        let call = peer.call().await;
        peer.reply(call.xid(), &Mountres3::Err(Mountstat3::Acces))
            .await;
        peer
    };
    let (ip, port) = (server.address.ip(), server.address.port());
    let (caller, options) = (Caller::root("mds"), options());
    let mnt = mount::mnt(ip, Some(port), "/nvme", &caller, &options);
    let (refused, _peer) = tokio::join!(mnt, serve);
    let words = format!(
        "{} doesn't let /nvme be mounted: MNT3ERR_ACCES",
        server.address
    );
    assert_eq!(refused.unwrap_err().to_string(), words);
}

#[tokio::test]
async fn the_exports_are_listed() {
    let server = Server::start().await;
    let node = Exportnode {
        dir: Dirpath::new("/nvme").unwrap(),
        groups: Vec::new(),
    };
    let exports = Exports(vec![node]);
    let serve = async {
        let mut peer = server.accept().await;
        let call = peer.call().await;
        peer.reply(call.xid(), &exports).await;
        peer
    };
    let (ip, port) = (server.address.ip(), server.address.port());
    let (caller, options) = (Caller::root("mds"), options());
    let list = mount::exports(ip, Some(port), &caller, &options);
    let (listed, _peer) = tokio::join!(list, serve);
    assert_eq!(listed.unwrap(), exports);
}

#[tokio::test]
async fn a_path_too_long_for_mount_is_refused_before_it_is_sent() {
    let server = Server::start().await;
    let (ip, port) = (server.address.ip(), server.address.port());
    let (caller, options) = (Caller::root("mds"), options());
    let path = "/".repeat(1025);
    let refused = mount::mnt(ip, Some(port), &path, &caller, &options)
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the path of an export has at most 1024 bytes, not 1025"
    );
}
