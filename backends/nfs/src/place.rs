//! Where objects lie in an export's tree: by name on the root of our own data server, and as
//! `data/xx/yy/<object>` on any other, so that no folder grows without bound; `data` has another name
//! where the export has files of its own.
//!
//! Never here: an object's bytes or owner.

use crate::server::Address;
use layout::ObjectId;
use nfs_client::mount::{MountError, mnt};
use nfs_client::{CallError, Caller, Client, Error, Options};
use parking_lot::Mutex;
use std::collections::HashMap;
use wire::nfs3::{Fh3, Filename3, Nfsstat3, Sattr3};

/// Handles of folders kept; beyond it all are looked up anew.
const FOLDERS_MAX: usize = 8192;
/// Clients reach objects by handle alone and need no folder.
const FOLDER_MODE: u32 = 0o711;

pub(crate) enum Tree {
    /// Our own data server spreads objects over folders by itself.
    Flat,
    Folders {
        /// In the export's root.
        base: &'static str,
        known: Mutex<HashMap<[u8; 2], Fh3>>,
    },
}

impl Tree {
    pub(crate) fn folders(base: &'static str) -> Self {
        Self::Folders {
            base,
            known: Mutex::default(),
        }
    }

    /// The folder that the object lies or would lie in; `None` when it isn't there and `make` is false.
    pub(crate) async fn folder(
        &self,
        client: &Client,
        root: &Fh3,
        object: ObjectId,
        make: bool,
    ) -> Result<Option<Fh3>, Error> {
        let Self::Folders { base, known } = self else {
            return Ok(Some(root.clone()));
        };
        // The middle of the count in the id's upper half: 256 objects in a row share a folder.
        let bytes = object.0.to_be_bytes();
        let key = [bytes[5], bytes[6]];
        if let Some(handle) = known.lock().get(&key) {
            return Ok(Some(handle.clone()));
        }
        let mut handle = root.clone();
        for part in [
            (*base).to_owned(),
            format!("{:02x}", key[0]),
            format!("{:02x}", key[1]),
        ] {
            match step(client, &handle, &part, make).await? {
                Some(next) => handle = next,
                None => return Ok(None),
            }
        }
        let mut known = known.lock();
        if known.len() >= FOLDERS_MAX {
            known.clear();
        }
        known.insert(key, handle.clone());
        Ok(Some(handle))
    }

    /// A handle was refused: the export may have been made anew.
    pub(crate) fn forget(&self) {
        if let Self::Folders { known, .. } = self {
            known.lock().clear();
        }
    }
}

/// The root of an export.
pub(crate) async fn mount(
    address: &Address,
    caller: &Caller,
    options: &Options,
) -> Result<Fh3, MountError> {
    let ask = async |port| {
        let root = mnt(address.host, port, &address.export, caller, options).await?;
        Ok(root.fhandle)
    };
    match (address.mount_port, address.nfs_port) {
        (None, Some(nfs_port)) => match ask(Some(nfs_port)).await {
            // Most filers have MOUNT on a port of its own.
            Err(MountError::Call {
                source: CallError::Rpc(_),
                ..
            }) => ask(None).await,
            answer => answer,
        },
        (port, _) => ask(port).await,
    }
}

pub(crate) fn name(text: &str) -> Filename3 {
    Filename3::new(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap_or_default()
}

async fn step(client: &Client, dir: &Fh3, part: &str, make: bool) -> Result<Option<Fh3>, Error> {
    let name = name(part);
    match client.lookup(dir, &name).await {
        Ok(found) => return Ok(Some(found.object)),
        Err(error) if error.status() == Some(Nfsstat3::Noent) => {}
        Err(error) => return Err(error),
    }
    if !make {
        return Ok(None);
    }
    let attributes = Sattr3 {
        mode: Some(FOLDER_MODE),
        ..Sattr3::default()
    };
    match client.mkdir(dir, &name, attributes).await {
        Ok(_) => {}
        // Somebody else was faster, or an answer of ours was lost.
        Err(error) if error.status() == Some(Nfsstat3::Exist) || error.may_have_run() => {}
        Err(error) => return Err(error),
    }
    client
        .lookup(dir, &name)
        .await
        .map(|found| Some(found.object))
}
