//! The program of our own data servers as methods of [`Client`]. Never here: how calls travel.

use wire::Xdr;
use wire::ds::*;

use crate::channel::Target;
use crate::client::Client;
use crate::error::{Called, Error};
use crate::options::Resend;
use wire::nfs3::Outcome;

impl Client {
    /// [`Error::is_unknown_there`] says that the server is none of ours.
    pub async fn abilities(&self) -> Result<Abilities, Error> {
        self.order(Procedure::Abilities, &()).await
    }

    pub async fn seek(&self, args: &SeekArgs) -> Result<SeekOk, Error> {
        self.order(Procedure::Seek, args).await
    }

    pub async fn allocate(&self, args: &AllocateArgs) -> Result<Reached, Error> {
        self.order(Procedure::Allocate, args).await
    }

    pub async fn deallocate(&self, args: &DeallocateArgs) -> Result<Reached, Error> {
        self.order(Procedure::Deallocate, args).await
    }

    pub async fn clone_range(&self, args: &CloneArgs) -> Result<Reached, Error> {
        self.order(Procedure::Clone, args).await
    }

    pub async fn pull(&self, args: &PullArgs) -> Result<Pulled, Error> {
        self.order(Procedure::Pull, args).await
    }

    pub async fn offer(&self, args: &OfferArgs) -> Result<Offered, Error> {
        self.order(Procedure::Offer, args).await
    }

    pub async fn withdraw(&self, args: &WithdrawArgs) -> Result<(), Error> {
        self.order(Procedure::Withdraw, args).await
    }

    pub async fn demand(&self, args: &DemandArgs) -> Result<Demand, Error> {
        self.order(Procedure::Demand, args).await
    }

    pub async fn make(&self, args: &MakeArgs) -> Result<Made, Error> {
        self.order(Procedure::Make, args).await
    }

    /// Each of them comes to the same when it is done twice.
    async fn order<A: Xdr, T: Xdr>(&self, procedure: Procedure, args: &A) -> Result<T, Error> {
        let target = Target {
            program: PROGRAM,
            version: VERSION,
            procedure: procedure as u32,
        };
        let outcome: Result<Outcome<T, ()>, _> = self
            .call_of(target, |out| args.encode(out), Resend::Idempotent)
            .await;
        self.result(Called::Ds(procedure), outcome)
    }
}
