//! Attaching a bucket: is it there, may we, does it honour conditions? And what the last start left is
//! put in order: uploads are aborted, renames go on, what wasn't sent up is discarded.
//!
//! Never here: a call of the tree.

use crate::bucket::{Bucket, Dress, If};
use crate::failure::come_again;
use crate::ids::{Ids, IdsError};
use crate::looked::Looked;
use crate::lost::{self, Lost};
use crate::meta::{self, Defaults, Metadata};
use crate::mirror::{Mirror, PINS};
use crate::names::token;
use crate::objects::{self, Awaited, Late};
use crate::offered::{Notes, Offered};
use crate::parts;
use crate::rename::{Intent, Renames};
use crate::spool::Remains;
use crate::untold::Untold;
use crate::uploads::{Left, Uploads};
use crate::work::Work;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::tls;
use backend::tree::{TreeError, TreeErrorKind};
use backend::upstream::ChunkCache;
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

/// Keys that are put for a moment, to see what the bucket makes of conditions.
pub(crate) const PROBE: &str = ".headrace-probe-";
const NOBODYS_ETAG: &str = "\"00000000000000000000000000000000\"";
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Who else writes to the bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// This server alone.
    One,
    /// Others as well: the bucket must honour conditions.
    Several,
}

/// A key and its secret, in place of what the environment gives.
#[derive(Clone)]
pub struct Keys {
    pub id: String,
    pub secret: String,
    pub token: Option<String>,
}

#[derive(Clone)]
pub struct Options {
    pub bucket: String,
    /// Only what lies below it is shown.
    pub prefix: String,
    /// Without it: as the environment says.
    pub region: Option<String>,
    /// Of what isn't AWS.
    pub endpoint: Option<String>,
    /// `http://host/bucket/key`, as most servers want it that aren't AWS.
    pub path_style: bool,
    /// Without them: by the SDK's usual chain.
    pub keys: Option<Keys>,
    /// Where ids, files under change and what lost a conflict are kept; this server's alone.
    pub state: PathBuf,
    pub writers: Writers,
    pub defaults: Defaults,
    /// No file is written beyond it: holes become bytes in a bucket. 5 TiB at most.
    pub largest_file_bytes: u64,
    /// Of the disk of `state`, for files under change; without it, a tenth of the file system. Where that is full,
    /// what was written is sent up before anybody asks for it.
    pub spool_bytes: Option<u64>,
    /// Of each call.
    pub deadline: Duration,
    /// A data server that keeps chunks for readers.
    pub cache: Option<Arc<dyn ChunkCache>>,
    /// Of each request, with the first; the SDK waits longer between them each time.
    pub attempts: u32,
}

impl Options {
    pub fn new(bucket: impl Into<String>, state: impl Into<PathBuf>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: String::new(),
            region: None,
            endpoint: None,
            path_style: false,
            keys: None,
            state: state.into(),
            writers: Writers::Several,
            defaults: Defaults::default(),
            largest_file_bytes: parts::OBJECT_BYTES,
            spool_bytes: None,
            deadline: Duration::from_secs(20),
            attempts: 5,
            cache: None,
        }
    }

    /// For a moment, to see what can be done there: below a prefix of its own, which whoever claims the whole
    /// passes over.
    #[must_use]
    pub fn for_trial(self, state: PathBuf) -> Self {
        Self {
            prefix: format!("{}{PROBE}{}", self.prefix(), token()),
            state,
            ..self
        }
    }

    pub(crate) fn prefix(&self) -> String {
        let prefix = self.prefix.trim_matches('/');
        match prefix {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        }
    }

    pub(crate) async fn bucket(&self) -> Bucket {
        let at = self.endpoint.as_deref().unwrap_or("AWS");
        Bucket {
            client: self.client().await,
            who: format!("bucket {} at {at}", self.bucket),
            name: self.bucket.clone(),
        }
    }

    async fn client(&self) -> aws_sdk_s3::Client {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(
                tls::rustls_provider::CryptoMode::Ring,
            ))
            .build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.deadline.min(Duration::from_secs(5)))
            .operation_attempt_timeout(self.deadline)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .retry_config(RetryConfig::standard().with_max_attempts(self.attempts))
            .timeout_config(timeouts);
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &self.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(keys) = &self.keys {
            loader = loader.credentials_provider(Credentials::new(
                &keys.id,
                &keys.secret,
                keys.token.clone(),
                None,
                "given",
            ));
        }
        let shared = loader.load().await;
        let config = aws_sdk_s3::config::Builder::from(&shared).force_path_style(self.path_style);
        aws_sdk_s3::Client::from_conf(config.build())
    }
}

/// What was found of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// A put that asks for a free key, or for a version, is refused where it should be. `None`: nothing
    /// can be put, so it wasn't tried.
    pub honours_conditions: Option<bool>,
    /// Why nothing can be changed, where that is so.
    pub read_only: Option<String>,
    /// Files under change that the last start left: nobody had been told that they were safe.
    pub discarded: usize,
    /// Uploads of the last start that were aborted.
    pub aborted: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error(transparent)]
    Bucket(#[from] TreeError),
    #[error("state folder {folder}: {source}", folder = folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error("state folder {folder}: {why}", folder = folder.display())]
    Store { folder: PathBuf, why: String },
    #[error(
        "{who} ignores conditions: {what}. Two who write there can't see each other, and the later one \
         wipes out the other's changes unseen. Use a server that honours If-Match and If-None-Match, or \
         say that nobody else writes to this bucket: writers = \"one\""
    )]
    Lies { who: String, what: &'static str },
    #[error("{why}")]
    Unfit { why: String },
}

/// A bucket, or what lies below a prefix of it, as a tree.
pub struct S3Mirror(pub(crate) Arc<Mirror>);

impl S3Mirror {
    /// Call it inside a runtime of tokio: what the last start left goes on in a task.
    pub async fn attach(options: Options) -> Result<(Self, Attached), AttachError> {
        let (mirror, attached) = Mirror::attach(options, false).await?;
        Ok((Self(mirror), attached))
    }

    /// Ends what is under way, where it is: the next attachment puts it in order.
    pub async fn stop(self) {
        self.0.end(Duration::ZERO).await;
    }
}

impl Mirror {
    /// `objects`: the bucket keeps data objects, and no tree.
    pub(crate) async fn attach(
        options: Options,
        objects: bool,
    ) -> Result<(Arc<Self>, Attached), AttachError> {
        let bucket = options.bucket().await;
        let prefix = options.prefix();
        // The first word is a question: faults of names, credentials, clocks show without a change.
        let first = bucket.list(&prefix, true, None, None, 1);
        tokio::time::timeout(options.deadline, first)
            .await
            .map_err(|_| come_again(format!("{}: no answer in time", bucket.who)))??;
        if !objects {
            objects::refuse(&bucket, &prefix).await?;
        }
        let conditions = probe(&bucket, &prefix).await?;
        let (honours_conditions, read_only) = match conditions {
            Conditions::Honoured => (Some(true), None),
            Conditions::Ignored(what) if options.writers == Writers::Several => {
                return Err(AttachError::Lies {
                    who: bucket.who,
                    what,
                });
            }
            Conditions::Ignored(what) => {
                tracing::warn!(
                    "{} ignores conditions ({what}): nobody but this server may write there",
                    bucket.who
                );
                (Some(false), None)
            }
            Conditions::Untried(why) if objects => return Err(AttachError::Unfit { why }),
            Conditions::Untried(why) => {
                tracing::info!("{} is shown read-only: {why}", bucket.who);
                (None, Some(why))
            }
        };
        let (ids, mut remains) = state(&options)?;
        let ids = Arc::new(ids);
        let mut kept = None;
        if objects {
            kept = Some(objects::open(&bucket, &prefix, &ids, &options.state).await?);
            let words = std::mem::take(&mut remains.meant);
            let forgotten = objects::forget_words(&options.state, words.into_keys());
            forgotten.map_err(|source| AttachError::Folder {
                folder: options.state.clone(),
                source,
            })?;
        }
        let store = |error: IdsError| AttachError::Store {
            folder: options.state.clone(),
            why: error.to_string(),
        };
        let left = ids.intents().map_err(store)?;
        let spool_bytes = match options.spool_bytes {
            Some(bytes) => bytes,
            None => share_of(&options.state).map_err(|source| AttachError::Folder {
                folder: options.state.clone(),
                source,
            })?,
        };
        let offered = options.cache.clone().map(|cache| {
            let notes = (!objects).then(|| Notes::open(&ids)).transpose()?;
            Offered::new(cache, notes)
        });
        let offered = offered.transpose().map_err(store)?;
        let looked = Arc::new(Looked::open(&ids).map_err(store)?);
        let mirror = Arc::new_cyclic(|this| Self {
            this: this.clone(),
            bucket,
            prefix,
            ids,
            kept,
            awaited: Awaited::default(),
            defaults: options.defaults,
            largest_file_bytes: options.largest_file_bytes.min(parts::OBJECT_BYTES),
            deadline: options.deadline,
            read_only,
            state: options.state.clone(),
            verifier: (meta::now() as u64).to_be_bytes(),
            spools: Mutex::default(),
            meant: Mutex::new(remains.meant),
            fill: Arc::default(),
            spool_bytes,
            relieving: AtomicBool::new(false),
            lost: Lost::default(),
            renames: Renames::default(),
            uploads: Uploads::default(),
            untold: Untold::default(),
            denial_told: Mutex::default(),
            names: Arc::default(),
            work: Work::default(),
            pins: quick_cache::sync::Cache::new(PINS),
            offered,
            looked,
        });
        let aborted = mirror.put_in_order(left).await?;
        mirror.withdraw_gone()?;
        let attached = Attached {
            honours_conditions,
            read_only: mirror.read_only.clone(),
            discarded: remains.discarded,
            aborted,
        };
        Ok((mirror, attached))
    }
}

/// The local store, and how many files under change were discarded.
fn state(options: &Options) -> Result<(Ids, Remains), AttachError> {
    let folder = |source| AttachError::Folder {
        folder: options.state.clone(),
        source,
    };
    let spool = options.state.join("spool");
    std::fs::create_dir_all(&spool).map_err(folder)?;
    let ids = Ids::open(&options.state.join("ids")).map_err(|error| AttachError::Store {
        folder: options.state.clone(),
        why: error.to_string(),
    })?;
    lost::put_in_order(&options.state).map_err(folder)?;
    let remains = Remains::of(&spool, SystemTime::now()).map_err(folder)?;
    if remains.discarded != 0 {
        let discarded = remains.discarded;
        tracing::warn!(
            "{}: {discarded} files under change of the last start were discarded: their writers had \
             not been told that they were safe",
            options.state.display()
        );
    }
    Ok((ids, remains))
}

/// Of the file system, where nothing else is said.
const SHARE: u64 = 10;

fn share_of(folder: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok(stat.f_blocks * stat.f_frsize / SHARE)
}

enum Conditions {
    Honoured,
    Ignored(&'static str),
    /// Nothing can be put.
    Untried(String),
}

async fn probe(bucket: &Bucket, prefix: &str) -> Result<Conditions, TreeError> {
    let key = format!("{prefix}{PROBE}{}", token());
    let put = async |condition: If<'_>| {
        let body = ByteStream::from_static(b"headrace");
        let (meta, dress) = (Metadata::new(), Dress::default());
        bucket.put(&key, body, 8, &meta, &dress, condition).await
    };
    let refused = |answer: Result<String, TreeError>| match answer {
        Ok(_) => Ok(false),
        Err(error) => match error.kind {
            TreeErrorKind::Conflict | TreeErrorKind::NoEntry => Ok(true),
            // A server that says that it can't is as little use.
            TreeErrorKind::Unsupported => Ok(false),
            _ => Err(error),
        },
    };
    // Whether it may be refused by our own retry's answer is no matter here.
    match put(If::Whatever).await {
        Err(error) if error.kind == TreeErrorKind::Denied => {
            return Ok(Conditions::Untried(error.detail));
        }
        put => drop(put?),
    }
    let answers = async {
        let absent = refused(put(If::Absent).await)?;
        Ok::<_, TreeError>((absent, refused(put(If::Same(NOBODYS_ETAG)).await)?))
    };
    let answers = answers.await;
    let removed = bucket.delete(&key).await;
    let (absent, same) = answers?;
    if let Err(error) = removed {
        tracing::warn!("the probe {key:?} stays behind: {error}");
    }
    Ok(match (absent, same) {
        (true, true) => Conditions::Honoured,
        (false, _) => Conditions::Ignored("it overwrote a key that was asked to be free"),
        (true, false) => Conditions::Ignored("it overwrote another version than was asked for"),
    })
}

impl Mirror {
    /// Aborts uploads, how many, and sees to renames; until those are done nothing else changes names.
    async fn put_in_order(
        self: &Arc<Self>,
        left: Vec<(u64, Vec<u8>)>,
    ) -> Result<usize, AttachError> {
        let mut aborted = 0;
        let mut renames = Vec::new();
        for (number, row) in left {
            if let Some(intent) = Intent::from_bytes(&row) {
                renames.push((number, intent));
                continue;
            }
            if let Some(late) = Late::from_bytes(&row) {
                self.delete_late(number, late);
                continue;
            }
            let Some(left) = Left::from_bytes(&row) else {
                return Err(AttachError::Store {
                    folder: self.state.clone(),
                    why: "what was under way can't be read".into(),
                });
            };
            if self.read_only.is_none() {
                aborted += self.end_left(number, &left).await?;
            }
        }
        if renames.is_empty() || self.read_only.is_some() {
            return Ok(aborted);
        }
        let alone = Arc::clone(&self.names).write_owned().await;
        let mirror = Arc::clone(self);
        self.in_the_background(async move {
            let _alone = alone;
            for (number, intent) in renames {
                let mut pause = FIRST_PAUSE;
                while let Err(error) = mirror.resume(number, intent.clone()).await {
                    tracing::warn!("a rename of the last start isn't done yet: {error}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
            Ok(())
        });
        Ok(aborted)
    }
}
