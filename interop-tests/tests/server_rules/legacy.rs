//! Clients of NFSv3: what they can do, and that it is the same that clients of NFSv4 see. RFC 1813.
//! Here: the way to a mount. Never here: a test.

mod beside;
mod data;
mod junctions;
mod listing;
mod mounts;
mod names;
mod rights;
mod strangers;

use std::sync::Arc;

use anyhow::{Context, Result};
use headrace::metadata::Spec;
use interop_tests::nfs41::{Callbacks, Connection};
use nfs_client::{Caller, Client, Error, Options, SourcePort, mount};
use wire::nfs3::*;

use crate::world::World;

fn options() -> Options {
    Options {
        source_port: SourcePort::Any,
        ..Options::default()
    }
}

fn user(uid: u32) -> Caller {
    Caller::sys("old", uid, uid, &[])
}

async fn world_with(change: impl FnOnce(&mut Spec)) -> Result<World> {
    World::with(2, |spec| {
        spec.nfsv3 = true;
        change(spec);
    })
    .await
}

async fn world() -> Result<World> {
    world_with(|_| {}).await
}

fn client_of(world: &World, caller: Caller) -> Client {
    Client::new(world.address, caller, &options())
}

/// As MOUNT tells it.
async fn mounted(world: &World, path: &str, caller: &Caller) -> Result<Fh3, mount::MountError> {
    let (host, port) = (world.address.ip(), Some(world.address.port()));
    let mounted = mount::mnt(host, port, path, caller, &options()).await?;
    Ok(mounted.fhandle)
}

/// A client of that user, and the root.
async fn mount_of(world: &World, uid: u32) -> Result<(Client, Fh3)> {
    let caller = user(uid);
    let root = mounted(world, "/", &caller).await?;
    Ok((client_of(world, caller), root))
}

async fn connection(world: &World) -> Result<Arc<Connection>> {
    Ok(Connection::to(world.address, Arc::new(Callbacks::new(2))).await?)
}

fn name(name: &str) -> Filename3 {
    Filename3::new(name.to_owned()).expect("a short name")
}

fn mode(mode: u32) -> Sattr3 {
    Sattr3 {
        mode: Some(mode),
        ..Sattr3::default()
    }
}

/// A handle as NFSv4 has it.
fn fh4(handle: &Fh3) -> bytes::Bytes {
    handle.bytes().clone()
}

fn fh3(handle: &bytes::Bytes) -> Result<Fh3> {
    Fh3::new(handle.clone()).context("it fits NFSv3")
}

/// Of a result that should have been a refusal.
trait Refused {
    fn refused(&self) -> Option<Nfsstat3>;
}

impl<T> Refused for Result<T, Error> {
    fn refused(&self) -> Option<Nfsstat3> {
        self.as_ref().err().and_then(Error::status)
    }
}

async fn create(client: &Client, folder: &Fh3, entry: &str) -> Result<Fh3> {
    let how = Createhow3::Guarded(mode(0o644));
    let made = client.create(folder, &name(entry), how).await?;
    made.obj.context("it is told what it is called")
}

async fn mkdir(client: &Client, folder: &Fh3, entry: &str, bits: u32) -> Result<Fh3> {
    let made = client.mkdir(folder, &name(entry), mode(bits)).await?;
    made.obj.context("it is told what it is called")
}

async fn put(client: &Client, file: &Fh3, offset: u64, data: &'static str) -> Result<Write3resok> {
    let data = bytes::Bytes::from_static(data.as_bytes());
    Ok(client
        .write(file, offset, StableHow::FileSync, data)
        .await?)
}
