//! Finding an export's root: the port mapper and MOUNT version 3. Never here: NFS itself.

use std::net::{IpAddr, SocketAddr};

use wire::mount::{Dirpath, Exports, Mountres3, Mountres3ok, Mountstat3};
use wire::{Xdr, mount, portmap};

use crate::caller::Caller;
use crate::channel::{Channel, Target};
use crate::error::CallError;
use crate::options::{Options, Resend};

#[derive(Debug, Clone, thiserror::Error)]
pub enum MountError {
    #[error("asking {server} {question}: {source}")]
    Call {
        server: SocketAddr,
        question: &'static str,
        source: CallError,
    },
    #[error("{server} says that {service} is not running there")]
    NotRegistered {
        server: SocketAddr,
        service: &'static str,
    },
    #[error("{server} doesn't let {path} be mounted: {status}")]
    Refused {
        server: SocketAddr,
        path: String,
        status: Mountstat3,
    },
    #[error("the path of an export has at most {limit} bytes, not {length}")]
    PathTooLong { length: usize, limit: usize },
}

/// The root of the export `path`. `port` is MOUNT's; without it the port mapper is asked.
pub async fn mnt(
    host: IpAddr,
    port: Option<u16>,
    path: &str,
    caller: &Caller,
    options: &Options,
) -> Result<Mountres3ok, MountError> {
    let dirpath = Dirpath::new(path.to_owned()).ok_or(MountError::PathTooLong {
        length: path.len(),
        limit: Dirpath::LIMIT_BYTES,
    })?;
    let service = Service::find(host, port, caller, options).await?;
    let answer: Mountres3 = service
        .ask(mount::Procedure::Mnt, "for the root of an export", &dirpath)
        .await?;
    answer.map_err(|status| MountError::Refused {
        server: service.channel.server(),
        path: path.to_owned(),
        status,
    })
}

/// What the server exports.
pub async fn exports(
    host: IpAddr,
    port: Option<u16>,
    caller: &Caller,
    options: &Options,
) -> Result<Exports, MountError> {
    let service = Service::find(host, port, caller, options).await?;
    service
        .ask(mount::Procedure::Export, "for its exports", &())
        .await
}

/// The port of NFSv3, from the port mapper.
pub async fn nfs_port(host: IpAddr, options: &Options) -> Result<u16, MountError> {
    port_of(
        SocketAddr::new(host, portmap::PORT),
        wire::nfs3::PROGRAM,
        wire::nfs3::VERSION,
        "NFSv3",
        options,
    )
    .await
}

/// MOUNT on one host.
struct Service<'a> {
    channel: Channel,
    caller: &'a Caller,
    options: &'a Options,
}

impl<'a> Service<'a> {
    async fn find(
        host: IpAddr,
        port: Option<u16>,
        caller: &'a Caller,
        options: &'a Options,
    ) -> Result<Self, MountError> {
        let port = match port {
            Some(port) => port,
            None => {
                port_of(
                    SocketAddr::new(host, portmap::PORT),
                    mount::PROGRAM,
                    mount::VERSION,
                    "MOUNT version 3",
                    options,
                )
                .await?
            }
        };
        Ok(Self {
            channel: Channel::new(SocketAddr::new(host, port), options),
            caller,
            options,
        })
    }

    async fn ask<A: Xdr, R: Xdr>(
        &self,
        procedure: mount::Procedure,
        question: &'static str,
        args: &A,
    ) -> Result<R, MountError> {
        let target = Target {
            program: mount::PROGRAM,
            version: mount::VERSION,
            procedure: procedure as u32,
        };
        let deadline = self.options.deadline;
        let answer = self.channel.call(
            target,
            self.caller,
            |out| args.encode(out),
            Resend::Idempotent,
            deadline,
        );
        answer.await.map_err(|source| MountError::Call {
            server: self.channel.server(),
            question,
            source,
        })
    }
}

async fn port_of(
    server: SocketAddr,
    program: u32,
    version: u32,
    service: &'static str,
    options: &Options,
) -> Result<u16, MountError> {
    let channel = Channel::new(server, options);
    let target = Target {
        program: portmap::PROGRAM,
        version: portmap::VERSION,
        procedure: portmap::Procedure::Getport as u32,
    };
    let mapping = portmap::Mapping {
        program,
        version,
        protocol: portmap::IPPROTO_TCP,
        port: 0,
    };
    let answer: Result<u32, CallError> = channel
        .call(
            target,
            &Caller::none(),
            |out| mapping.encode(out),
            Resend::Idempotent,
            options.deadline,
        )
        .await;
    let port = answer.map_err(|source| MountError::Call {
        server,
        question: "for a port",
        source,
    })?;
    match u16::try_from(port) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(MountError::NotRegistered { server, service }),
    }
}

#[cfg(test)]
mod tests;
