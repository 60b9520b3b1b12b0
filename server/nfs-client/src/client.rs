//! The handle that calls are made with. Never here: a particular procedure.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wire::nfs3::{Outcome, PROGRAM, Procedure, VERSION};
use wire::{Encoder, Xdr};

use crate::caller::Caller;
use crate::channel::{Channel, Target};
use crate::error::{CallError, Called, Error};
use crate::options::{Options, Resend};

/// A handle on one NFSv3 server, with the caller and deadline of the calls made through it.
/// Clones share the connections, which close with the last of them.
#[derive(Clone)]
pub struct Client {
    channel: Arc<Channel>,
    caller: Caller,
    deadline: Duration,
}

impl Client {
    /// Connects when the first call is made. Needs a tokio runtime around it.
    pub fn new(server: SocketAddr, caller: Caller, options: &Options) -> Self {
        Self {
            channel: Arc::new(Channel::new(server, options)),
            caller,
            deadline: options.deadline,
        }
    }

    /// Connects, and asks the server for a NULL to see that NFSv3 is spoken there.
    pub async fn connect(
        server: SocketAddr,
        caller: Caller,
        options: &Options,
    ) -> Result<Self, Error> {
        let client = Self::new(server, caller, options);
        client.null().await?;
        Ok(client)
    }

    pub fn server(&self) -> SocketAddr {
        self.channel.server()
    }

    /// The same server, called as someone else.
    #[must_use]
    pub fn as_caller(&self, caller: Caller) -> Self {
        Self {
            caller,
            ..self.clone()
        }
    }

    /// The same server, with another deadline for each call.
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Self {
        Self {
            deadline,
            ..self.clone()
        }
    }

    /// Any procedure, with its whole result.
    pub async fn call<A: Xdr, R: Xdr>(
        &self,
        procedure: Procedure,
        args: &A,
        resend: Resend,
    ) -> Result<R, CallError> {
        let target = Target {
            program: PROGRAM,
            version: VERSION,
            procedure: procedure as u32,
        };
        self.call_of(target, |out| args.encode(out), resend).await
    }

    pub(crate) async fn call_of<R: Xdr>(
        &self,
        target: Target,
        args: impl FnOnce(&mut Encoder),
        resend: Resend,
    ) -> Result<R, CallError> {
        self.channel
            .call(target, &self.caller, args, resend, self.deadline)
            .await
    }

    pub(crate) async fn ask<A: Xdr, T: Xdr, F: Xdr>(
        &self,
        procedure: Procedure,
        args: &A,
        resend: Resend,
    ) -> Result<T, Error> {
        let outcome: Result<Outcome<T, F>, _> = self.call(procedure, args, resend).await;
        self.result(Called::Nfs(procedure), outcome)
    }

    pub(crate) fn result<T, F>(
        &self,
        procedure: Called,
        outcome: Result<Outcome<T, F>, CallError>,
    ) -> Result<T, Error> {
        let server = self.server();
        match outcome {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(failed)) => Err(Error::Refused {
                server,
                procedure,
                status: failed.status,
            }),
            Err(source) => Err(Error::Call {
                server,
                procedure,
                source,
            }),
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.server())
    }
}
