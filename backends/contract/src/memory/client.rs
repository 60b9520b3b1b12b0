//! A client of the in-memory server: judged by the ids of its layout, and able to be late.
//!
//! Never here: what the metadata server may do.

use super::{MemoryServer, fetch};
use crate::{Error, ErrorKind, FenceGrade, Fetched, Stability};
use bytes::Bytes;
use layout::Owner;

/// A client's WRITE that has passed its permission check and has not touched the object yet.
#[derive(Debug)]
pub struct LateWrite {
    server: MemoryServer,
    handle: Bytes,
    fences: u64,
    offset: u64,
    data: Bytes,
}

impl MemoryServer {
    fn reached(&self) -> Result<(), Error> {
        if self.capabilities.direct {
            Ok(())
        } else {
            Err(self.error(ErrorKind::Unsupported, "no client reaches it"))
        }
    }

    /// What a client with these ids gets, as the data server checks it (mode 0640).
    pub fn client_read(
        &self,
        client: Owner,
        handle: &Bytes,
        offset: u64,
        count: u32,
    ) -> Result<Fetched, Error> {
        self.reached()?;
        self.on(handle, |object, _| {
            if client.uid != object.owner.uid && client.gid != object.owner.gid {
                return Err(self.error(ErrorKind::Fenced, "READ by an id that may not read"));
            }
            Ok(fetch(&object.current, offset, count))
        })
    }

    pub fn client_write(
        &self,
        client: Owner,
        handle: &Bytes,
        offset: u64,
        data: Bytes,
    ) -> Result<(), Error> {
        self.begin_client_write(client, handle, offset, data)?
            .land()
    }

    /// Stops a client's WRITE between its check and its effect.
    pub fn begin_client_write(
        &self,
        client: Owner,
        handle: &Bytes,
        offset: u64,
        data: Bytes,
    ) -> Result<LateWrite, Error> {
        self.reached()?;
        self.on(handle, |object, _| {
            if client.uid != object.owner.uid {
                return Err(self.error(ErrorKind::Fenced, "WRITE by an id that doesn't own"));
            }
            Ok(LateWrite {
                server: self.clone(),
                handle: handle.clone(),
                fences: object.fences,
                offset,
                data,
            })
        })
    }
}

impl LateWrite {
    /// The effect. An exact fence since the check keeps it out; a windowed one can't.
    pub fn land(self) -> Result<(), Error> {
        let Self {
            server,
            handle,
            fences,
            offset,
            data,
        } = self;
        server.on(&handle, |object, moment| {
            if object.fences != fences && server.capabilities.fence == FenceGrade::Exact {
                return Err(server.error(ErrorKind::Fenced, "WRITE drained by a fence"));
            }
            let mut rest = data;
            let mut at = offset;
            while !rest.is_empty() {
                let written = server.put(object, moment, at, &rest, Stability::Unstable)?;
                at += u64::from(written.count);
                rest = rest.slice(written.count as usize..);
            }
            Ok(())
        })
    }
}
