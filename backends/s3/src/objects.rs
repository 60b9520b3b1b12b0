//! A bucket as a keeper of data objects: a key is an object's id, names and rights are the catalog's.
//!
//! The bucket is this server's alone, below its prefix. What is known of each object is in the state folder
//! (`kept`), so that making, looking at, cutting and owning one needs no request; bytes go by the spools and uploads
//! that a tree's files have, and are in the bucket once a COMMIT has answered. Clients speak no S3: all bytes pass
//! this server, or are read where a version of an object is cached.
//!
//! Never here: names, messages.

mod calls;
mod kept;
mod late;
mod mark;

pub(crate) use kept::Kept;
pub(crate) use late::{Awaited, Late};
pub use mark::Whose;

use crate::attach::{AttachError, Attached, Options};
use crate::change::WRITE_BYTES;
use crate::failure::come_again;
use crate::ids::{Ids, IdsError};
use crate::mirror::{Mirror, gone};
use crate::read::READ_BYTES;
use crate::tree::SPACE;
use crate::{bucket::Bucket, spool};
use async_trait::async_trait;
use backend::tree::{Direct, TreeError, TreeErrorKind, Unsent};
use backend::{
    Capabilities, DataServer, Error, ErrorKind, FenceGrade, Fetched, ObjectStat, RangeAbilities,
    Space, Stability, WriteVerifier, Written,
};
use bytes::Bytes;
use layout::{ObjectId, Owner};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// When to come again where the bucket refuses this server, until somebody renews its credentials.
const REFUSED: Duration = Duration::from_secs(5);

/// A bucket, or what lies below a prefix of it, as a data server.
pub struct S3Objects(Arc<Mirror>);

impl S3Objects {
    /// Call it inside a runtime of tokio: what the last start left goes on in a task.
    pub async fn attach(options: Options) -> Result<(Self, Attached), AttachError> {
        let (mirror, attached) = Mirror::attach(options, true).await?;
        Ok((Self(mirror), attached))
    }

    /// Whose the bucket is that would be attached. Asks for nothing but to read; the state folder may be in use.
    pub async fn whose(options: &Options) -> Result<Whose, AttachError> {
        let (bucket, prefix) = (options.bucket().await, options.prefix());
        let look = mark::whose(&bucket, &prefix, &options.state);
        let whose = tokio::time::timeout(options.deadline, look).await;
        Ok(whose.map_err(|_| come_again(format!("{}: no answer in time", bucket.who)))??)
    }

    /// Ends what is under way, where it is: the next attachment puts it in order.
    pub async fn stop(self) {
        self.0.end(Duration::ZERO).await;
    }

    /// Lets what is under way come to its end, for so long, and ends it then. All calls are refused after that.
    pub async fn finish(&self, patience: Duration) {
        self.0.end(patience).await;
    }

    /// Ends, and gives the bucket back, in which nothing lies any more.
    pub async fn leave(self) -> Result<(), TreeError> {
        self.0.end(Duration::ZERO).await;
        mark::disclaim(&self.0.bucket, &self.0.prefix).await
    }

    /// What was written and isn't in the bucket.
    pub fn unsent(&self) -> Unsent {
        self.0.unsent()
    }

    fn id(&self, handle: &Bytes) -> Result<u64, Error> {
        let at = self.0.at(handle).map_err(of_tree)?;
        Ok(at.id)
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, TreeError>>,
    ) -> Result<T, Error> {
        self.0.in_time(work).await.map_err(of_tree)
    }
}

/// The store of objects, once the bucket is known to be the one that it belongs to.
pub(crate) async fn open(
    bucket: &Bucket,
    prefix: &str,
    ids: &Arc<Ids>,
    state: &Path,
) -> Result<Kept, AttachError> {
    let kept = Kept::open(ids).map_err(|error| AttachError::Store {
        folder: state.to_owned(),
        why: error.to_string(),
    })?;
    let mark = mark::claim(bucket, prefix, &kept).await?;
    mark::note(state, &mark).map_err(|source| AttachError::Folder {
        folder: state.to_owned(),
        source,
    })?;
    Ok(kept)
}

/// Data objects are no files: as a tree they would be changed behind the back of the server that they belong to.
pub(crate) async fn refuse(bucket: &Bucket, prefix: &str) -> Result<(), AttachError> {
    if !mark::is_there(bucket, prefix).await? {
        return Ok(());
    }
    let why = format!(
        "{} keeps the data objects of a metadata server below that prefix, under their ids. Files are seen in the \
         directories of that server; for a tree name another prefix",
        bucket.who
    );
    Err(AttachError::Unfit { why })
}

/// The keys of all objects below the bucket's prefix, and whether something may lie there.
pub(crate) fn keys(ids: &Arc<Ids>) -> Result<Vec<(String, bool)>, IdsError> {
    let rows = Kept::open(ids)?.all()?;
    let keys = rows.into_iter();
    Ok(keys
        .map(|row| (calls::key_of(row.object), row.begun))
        .collect())
}

/// Takes away the words of versions that spools began with: of an object the row tells.
pub(crate) fn forget_words(state: &Path, ids: impl Iterator<Item = u64>) -> std::io::Result<()> {
    for id in ids {
        spool::clear(&state.join("spool").join(id.to_string()), None)?;
    }
    Ok(())
}

fn of_tree(error: TreeError) -> Error {
    let kind = match error.kind {
        TreeErrorKind::Retry { after } => ErrorKind::Retry { after },
        // It is this server that may not, until somebody lets it: no caller has lost anything yet.
        TreeErrorKind::Denied => ErrorKind::Retry { after: REFUSED },
        TreeErrorKind::Gone => ErrorKind::Gone,
        TreeErrorKind::Full | TreeErrorKind::OverQuota => ErrorKind::Full,
        TreeErrorKind::TooLarge => ErrorKind::TooLarge,
        TreeErrorKind::Unsupported => ErrorKind::Unsupported,
        _ => ErrorKind::Broken,
    };
    Error::new(kind, error.detail)
}

#[async_trait]
impl DataServer for S3Objects {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            fence: FenceGrade::Exact,
            direct: false,
            read_bytes: READ_BYTES,
            write_bytes: WRITE_BYTES,
            largest_object_bytes: self.0.largest_file_bytes,
            ranges: RangeAbilities::default(),
        }
    }

    async fn create(&self, object: ObjectId, owner: Owner) -> Result<Bytes, Error> {
        self.in_time(self.0.make_object(object, owner)).await
    }

    async fn stat(&self, handle: &Bytes) -> Result<ObjectStat, Error> {
        self.0.stat_of_kept(self.id(handle)?).map_err(of_tree)
    }

    async fn set_size(&self, handle: &Bytes, size: u64) -> Result<ObjectStat, Error> {
        let id = self.id(handle)?;
        self.in_time(self.0.size_object(id, size, false)).await
    }

    async fn extend(&self, handle: &Bytes, size: u64) -> Result<ObjectStat, Error> {
        let id = self.id(handle)?;
        self.in_time(self.0.size_object(id, size, true)).await
    }

    async fn fence(&self, handle: &Bytes, owner: Owner) -> Result<(), Error> {
        let id = self.id(handle)?;
        self.in_time(self.0.own_object(id, owner)).await
    }

    async fn read(&self, handle: &Bytes, offset: u64, count: u32) -> Result<Fetched, Error> {
        let at = self.0.at(handle).map_err(of_tree)?;
        self.in_time(self.0.read(&at, offset, count)).await
    }

    async fn write(
        &self,
        handle: &Bytes,
        offset: u64,
        data: Bytes,
        stability: Stability,
    ) -> Result<Written, Error> {
        let at = self.0.at(handle).map_err(of_tree)?;
        self.in_time(self.0.write(at, offset, data, stability))
            .await
    }

    async fn commit(&self, handle: &Bytes) -> Result<WriteVerifier, Error> {
        let at = self.0.at(handle).map_err(of_tree)?;
        self.in_time(self.0.commit(at)).await?;
        Ok(self.0.verifier)
    }

    async fn remove(&self, object: ObjectId) -> Result<(), Error> {
        self.in_time(self.0.remove_object(object)).await
    }

    async fn cached(&self, handle: &Bytes) -> Result<Option<Direct>, Error> {
        let at = self.0.at(handle).map_err(of_tree)?;
        self.in_time(self.0.direct(at)).await
    }

    async fn space(&self) -> Result<Space, Error> {
        let mirror = &self.0;
        let work = async {
            let kept = mirror.kept.as_ref().ok_or_else(gone)?;
            mark::check(&mirror.bucket, &mirror.prefix, kept).await
        };
        self.in_time(work).await?;
        Ok(SPACE)
    }
}
