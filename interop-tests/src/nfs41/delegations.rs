//! Asking for delegations, and what is done with them. Returning one is the script's, always.

use wire::nfs4::*;

use super::client::Client;
use super::failure::Failure;
use super::verbs::{OpenFile, putfh};

/// The delegation that came with an open or for the asking: its stateid, and whether it writes.
pub fn delegated(delegation: &OpenDelegation4) -> Option<(Stateid4, bool)> {
    match delegation {
        OpenDelegation4::Read(read) | OpenDelegation4::ReadAttrs(read) => {
            Some((read.stateid, false))
        }
        OpenDelegation4::Write(write) | OpenDelegation4::WriteAttrs(write) => {
            Some((write.stateid, true))
        }
        OpenDelegation4::None | OpenDelegation4::NoneExt(_) => None,
    }
}

/// What the next callback recalls.
pub async fn recalled(client: &Client) -> Result<CbRecall4Args, Failure> {
    match client.callbacks.next().await? {
        CbArgOp::Recall(recall) => Ok(recall),
        other => Err(Failure::Unasked(format!("no CB_RECALL: {other:?}"))),
    }
}

/// What the next callback tells of a folder.
pub async fn notified(client: &Client) -> Result<CbNotify4Args, Failure> {
    match client.callbacks.next().await? {
        CbArgOp::Notify(notify) => Ok(notify),
        other => Err(Failure::Unasked(format!("no CB_NOTIFY: {other:?}"))),
    }
}

impl Client {
    /// OPEN of a file that is there, with these bits beside the share access.
    pub async fn open_wanting(
        &self,
        directory: &Fh4,
        entry: &str,
        share_access: u32,
    ) -> Result<OpenFile, Failure> {
        let mut args = self.open_args(entry, Openflag4::NoCreate);
        args.share_access = share_access;
        self.open_with(directory, args).await
    }

    /// The same, and a delegation must come with it.
    pub async fn open_delegated(
        &self,
        directory: &Fh4,
        entry: &str,
        share_access: u32,
    ) -> Result<(OpenFile, Stateid4), Failure> {
        let file = self.open_wanting(directory, entry, share_access).await?;
        match delegated(&file.opened.delegation) {
            Some((stateid, _)) => Ok((file, stateid)),
            None => Err(Failure::Unasked(format!(
                "no delegation: {:?}",
                file.opened.delegation
            ))),
        }
    }

    /// CLAIM_DELEG_CUR_FH.
    pub async fn open_by_delegation(
        &self,
        fh: &Fh4,
        share_access: u32,
        delegation: Stateid4,
    ) -> Result<OpenFile, Failure> {
        let mut args = self.open_args("", Openflag4::NoCreate);
        args.share_access = share_access;
        args.claim = OpenClaim4::DelegCurFh(delegation);
        self.open_with(fh, args).await
    }

    pub async fn delegreturn(&self, fh: &Fh4, deleg_stateid: Stateid4) -> Result<(), Failure> {
        let args = Delegreturn4Args { deleg_stateid };
        self.ok([putfh(fh), ArgOp::Delegreturn(args)])
            .await
            .map(|_| ())
    }

    pub async fn want_delegation(
        &self,
        fh: &Fh4,
        want: u32,
        claim: DelegClaim4,
    ) -> Result<OpenDelegation4, Failure> {
        let args = WantDelegation4Args { want, claim };
        Ok(self
            .ok([putfh(fh), ArgOp::WantDelegation(args)])
            .await?
            .want_delegation()?
            .delegation)
    }

    /// GET_DIR_DELEGATION as Linux sends it, without notifications.
    pub async fn get_dir_delegation(&self, fh: &Fh4) -> Result<GetDirDelegation4Ok, Failure> {
        self.get_dir_delegation_with(fh, Bitmap4::EMPTY).await
    }

    /// The same, with notifications of these kinds.
    pub async fn get_dir_delegation_with(
        &self,
        fh: &Fh4,
        notification_types: Bitmap4,
    ) -> Result<GetDirDelegation4Ok, Failure> {
        let never = Nfstime4 {
            seconds: 0,
            nseconds: 0,
        };
        let args = GetDirDelegation4Args {
            signal_deleg_avail: false,
            notification_types,
            child_attr_delay: never,
            dir_attr_delay: never,
            child_attributes: Bitmap4::EMPTY,
            dir_attributes: Bitmap4::EMPTY,
        };
        self.ok([putfh(fh), ArgOp::GetDirDelegation(args)])
            .await?
            .get_dir_delegation()
    }
}
