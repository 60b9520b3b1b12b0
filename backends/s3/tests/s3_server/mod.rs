//! A server of S3 in memory, for tests: one bucket, path-style, as strict about conditions, parts and
//! metadata as AWS is. It can be told to ignore conditions, to refuse, and to fail.
//!
//! Never here: signatures, anything that the mirror doesn't ask for.

#![allow(dead_code, reason = "each test file uses its own part")]

mod answers;
mod listing;
mod requests;
mod writes;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use backend_s3::{Keys, Options};
use bytes::Bytes;
use parking_lot::Mutex;
use requests::Asked;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;

pub const BUCKET: &str = "photos";

#[derive(Debug, Clone)]
pub struct Stored {
    pub body: Bytes,
    pub etag: String,
    pub modified: SystemTime,
    /// Without `x-amz-meta-`.
    pub meta: BTreeMap<String, String>,
    pub content_type: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub struct Uploading {
    key: String,
    meta: BTreeMap<String, String>,
    content_type: Option<String>,
    parts: BTreeMap<u32, (Bytes, String)>,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done.
    Refused(u16, &'static str),
    /// It is carried out, and the answer is lost: 500.
    AnswerLost,
    /// The answer's body breaks off in the middle.
    Half,
    /// It is never answered.
    Silence,
    /// It waits for [`S3Server::go_on`].
    Held,
}

struct Awaited {
    /// As "PUT", and what the path and query must contain.
    method: &'static str,
    part: String,
    times: usize,
    fault: Fault,
}

#[derive(Default)]
pub struct Bucket {
    pub objects: BTreeMap<String, Stored>,
    uploads: BTreeMap<String, Uploading>,
    counter: u64,
    lies: bool,
    bare_markers: bool,
    awaited: Vec<Awaited>,
    asked: Vec<String>,
    go_on: Arc<Notify>,
}

/// Runs until it is dropped.
pub struct S3Server {
    pub address: SocketAddr,
    bucket: Arc<Mutex<Bucket>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl S3Server {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let bucket = Arc::new(Mutex::new(Bucket::default()));
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&bucket));
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it serves");
        });
        Self {
            address,
            bucket,
            task,
        }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// For whoever attaches it and gives up at once what fails.
    pub fn options(&self, state: &Path) -> Options {
        Options {
            endpoint: Some(self.endpoint()),
            region: Some("us-east-1".into()),
            path_style: true,
            keys: Some(Keys {
                id: "key".into(),
                secret: "secret".into(),
                token: None,
            }),
            attempts: 1,
            ..Options::new(BUCKET, state)
        }
    }

    /// From now on conditions of writes are ignored.
    pub fn lie(&self) {
        self.bucket.lock().lies = true;
    }

    /// From now on the metadata of keys that end in a slash is dropped, without a word, and none of them can be copied.
    pub fn drop_metadata_of_markers(&self) {
        self.bucket.lock().bare_markers = true;
    }

    /// The next requests of that kind fail so.
    pub fn fail(&self, times: usize, method: &'static str, part: &str, fault: Fault) {
        self.bucket.lock().awaited.push(Awaited {
            method,
            part: part.to_owned(),
            times,
            fault,
        });
    }

    /// One request that was held, or will be, is carried out.
    pub fn go_on(&self) {
        self.bucket.lock().go_on.notify_one();
    }

    /// No request fails any more.
    pub fn recover(&self) {
        self.bucket.lock().awaited.clear();
    }

    /// Puts an object past the mirror, as another program would.
    pub fn put(&self, key: &str, body: impl Into<Bytes>) {
        self.put_with(key, body, &[]);
    }

    pub fn put_with(&self, key: &str, body: impl Into<Bytes>, meta: &[(&str, &str)]) {
        let body = body.into();
        let meta = meta
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let stored = Stored {
            etag: writes::etag(&body),
            body,
            modified: SystemTime::now(),
            meta,
            content_type: None,
        };
        self.bucket.lock().objects.insert(key.to_owned(), stored);
    }

    /// As if it had been put so long ago.
    pub fn age(&self, key: &str, by: Duration) {
        if let Some(stored) = self.bucket.lock().objects.get_mut(key) {
            stored.modified -= by;
        }
    }

    /// Gives an object other metadata, and no other time.
    pub fn say_otherwise(&self, key: &str, name: &str, value: &str) {
        if let Some(stored) = self.bucket.lock().objects.get_mut(key) {
            stored.meta.insert(name.to_owned(), value.to_owned());
        }
    }

    pub fn delete(&self, key: &str) {
        self.bucket.lock().objects.remove(key);
    }

    pub fn object(&self, key: &str) -> Option<Stored> {
        self.bucket.lock().objects.get(key).cloned()
    }

    pub fn keys(&self) -> Vec<String> {
        self.bucket.lock().objects.keys().cloned().collect()
    }

    pub fn uploads(&self) -> usize {
        self.bucket.lock().uploads.len()
    }

    /// Begins one past the mirror.
    pub fn begin_upload(&self, key: &str) {
        let mut bucket = self.bucket.lock();
        bucket.counter += 1;
        let id = format!("upload-{}", bucket.counter);
        let upload = Uploading {
            key: key.to_owned(),
            ..Uploading::default()
        };
        bucket.uploads.insert(id, upload);
    }

    /// Requests so far, as `GET /photos/a?x=y`.
    pub fn asked(&self) -> Vec<String> {
        self.bucket.lock().asked.clone()
    }
}

async fn answer(State(bucket): State<Arc<Mutex<Bucket>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let asked = Asked::read(&head, body);
    let fault = {
        let mut bucket = bucket.lock();
        let line = format!("{} {}", head.method, head.uri);
        let found = bucket.awaited.iter_mut().find(|awaited| {
            awaited.times > 0 && awaited.method == head.method && line.contains(&awaited.part)
        });
        let fault = found.map(|awaited| {
            awaited.times -= 1;
            awaited.fault
        });
        bucket.asked.push(line);
        fault
    };
    match fault {
        None => bucket.lock().answer(&asked),
        Some(Fault::Refused(status, code)) => answers::refusal(status, code),
        Some(Fault::AnswerLost) => {
            drop(bucket.lock().answer(&asked));
            answers::refusal(500, "InternalError")
        }
        Some(Fault::Half) => {
            let whole = bucket.lock().answer(&asked);
            let (head, body) = whole.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
            let half = Ok(body.slice(..body.len() / 2));
            let broken = Err(std::io::Error::other("broken off"));
            let stream = futures_util::stream::iter([half, broken]);
            Response::from_parts(head, Body::from_stream(stream))
        }
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::Held) => {
            let go_on = Arc::clone(&bucket.lock().go_on);
            go_on.notified().await;
            bucket.lock().answer(&asked)
        }
    }
}

impl Bucket {
    fn answer(&mut self, asked: &Asked) -> Response {
        if asked.bucket != BUCKET {
            return answers::refusal(404, "NoSuchBucket");
        }
        let has = |name: &str| asked.query.contains_key(name);
        match (asked.method.as_str(), asked.key.is_empty()) {
            ("GET", true) if has("uploads") => self.list_uploads(asked),
            ("GET", true) => self.list(asked),
            ("POST", true) if has("delete") => self.delete_all(asked),
            ("HEAD" | "GET", false) => self.get(asked),
            ("POST", false) if has("uploads") => self.begin_upload(asked),
            ("POST", false) if has("uploadId") => self.complete_upload(asked),
            ("PUT", false) if has("uploadId") => self.put_part(asked),
            ("PUT", false) if asked.header("x-amz-copy-source").is_some() => self.copy(asked),
            ("PUT", false) => self.put(asked),
            ("DELETE", false) if has("uploadId") => self.abort_upload(asked),
            ("DELETE", false) => {
                self.objects.remove(&asked.key);
                answers::empty(204)
            }
            _ => answers::refusal(501, "NotImplemented"),
        }
    }
}
