//! What a data server is tried with before it is used, and the mark by which a stranger's export is
//! known again under another address.
//!
//! Never here: what is done about one that isn't fit.

use crate::place::name;
use crate::server::{MARK, NfsDataServer};
use backend::{DataServer, Error, ErrorKind, FenceGrade};
use bytes::Bytes;
use layout::{ObjectId, Owner};
use wire::nfs3::{Createhow3, Filename3, Nfsstat3, Sattr3};

/// The upper half of the ids that only trials have: no object of a file is called so, and our own data
/// server lets a metadata server of any term try on them.
pub const TRIAL_OBJECTS: u64 = u64::MAX;

/// The ids that a fence is tried with: two owners that follow each other, and one that never owns.
#[derive(Debug, Clone, Copy)]
pub struct TrialIds {
    pub before: Owner,
    pub after: Owner,
    pub reader_uid: u32,
}

/// What a trial of the fence came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    Fit(FenceGrade),
    /// Why not, for people.
    Unfit(String),
}

/// The name of the file in a stranger's export that says whose data server it is.
fn mark(namespace: u64, number: u32) -> Filename3 {
    name(&format!("{MARK}-{namespace:016x}-{number}"))
}

impl NfsDataServer {
    /// Sees whether a change of owner keeps the old one out and a reader never writes, and takes the
    /// server's grade from that. Ours promises more than can be seen from here. `number` makes the
    /// trial's object unlike any other. An error: it couldn't be tried now.
    pub async fn prove_fence(&self, number: u64, ids: TrialIds) -> Result<Proof, Error> {
        if self.is_ours() || self.options.fence.is_some() {
            return Ok(Proof::Fit(self.capabilities().fence));
        }
        let object = ObjectId(u128::from(TRIAL_OBJECTS) << 64 | u128::from(number));
        let proof = self.try_fence(object, ids).await;
        let removed = self.remove(object).await;
        let proof = proof?;
        if let Proof::Fit(grade) = proof {
            removed?;
            self.capabilities.write().fence = grade;
        }
        Ok(proof)
    }

    async fn try_fence(&self, object: ObjectId, ids: TrialIds) -> Result<Proof, Error> {
        let unfit = |why: &str, error: Error| match error.kind {
            ErrorKind::Retry { .. } | ErrorKind::Full => Err(error),
            _ => Ok(Proof::Unfit(format!("{why}: {}", error.detail))),
        };
        let handle = match self.create(object, ids.before).await {
            Ok(handle) => handle,
            Err(error) => return unfit("it lets this host make no objects", error),
        };
        let byte = Bytes::from_static(b"x");
        let write = |owner: Owner| {
            let client = self.as_client(owner);
            let (handle, byte) = (handle.clone(), byte.clone());
            async move { client.write(&handle, 0, byte).await }
        };
        if let Err(error) = write(ids.before).await {
            return unfit("it refuses an object's owner", error);
        }
        let reader = Owner {
            uid: ids.reader_uid,
            gid: ids.before.gid,
        };
        match write(reader).await {
            Err(error) if error.kind == ErrorKind::Fenced => {}
            Err(error) => return unfit("it answers a reader who writes not with ACCES", error),
            Ok(()) => return Ok(Proof::Unfit("it lets a reader write".to_owned())),
        }
        if let Err(error) = self.change_owner(&handle, ids.after).await {
            return unfit("it lets this host change no owners", error);
        }
        match write(ids.before).await {
            Err(error) if error.kind == ErrorKind::Fenced => Ok(Proof::Fit(FenceGrade::Windowed)),
            Err(error) => unfit("it answers a former owner not with ACCES", error),
            Ok(()) => Ok(Proof::Unfit(
                "it lets an owner write whose object was given to another".to_owned(),
            )),
        }
    }

    /// Marks a stranger's export as the data server `number` of a namespace, unless it bears the mark
    /// of one of `others`: then it is that one under another address, and nothing is changed. Root
    /// handles don't tell: two strangers may give the same one. Ours are told apart by theirs.
    pub async fn claim(
        &self,
        namespace: u64,
        number: u32,
        others: &[u32],
    ) -> Result<Option<u32>, Error> {
        if self.is_ours() {
            return Ok(None);
        }
        let root = self.root();
        for other in others {
            match self.client.lookup(&root, &mark(namespace, *other)).await {
                Ok(_) => return Ok(Some(*other)),
                Err(error) if error.status() == Some(Nfsstat3::Noent) => {}
                Err(error) => return Err(self.error(&error)),
            }
        }
        let nobodys = Sattr3 {
            mode: Some(0),
            ..Sattr3::default()
        };
        let how = Createhow3::Unchecked(nobodys);
        match self
            .client
            .create(&root, &mark(namespace, number), how)
            .await
        {
            Ok(_) => Ok(None),
            Err(error) => Err(self.error(&error)),
        }
    }
}
