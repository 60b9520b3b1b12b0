//! Tries a bucket that is to hold files of this namespace: whose it is, and whether objects can be put, changed,
//! read and removed there. It leaves nothing behind.
//! Never here: buckets that are shown as they are (`backend`).

use super::Outcome;
use super::backend::{BackendQuestion, BackendVerdict, LOOKS, TRIED_BYTES, rate};
use backend::{DataServer, Error, ErrorKind, Stability};
use backend_s3::{Options, S3Objects, Whose};
use bytes::Bytes;
use layout::{ObjectId, Owner};
use std::time::{Duration, Instant};

const PIECE: usize = 1 << 20;

/// Tries one bucket. `options.state` is what its metadata server knows of it; one that runs may have it open.
pub async fn try_managed(name: &str, options: Options, scratch: u128) -> BackendVerdict {
    let at = options.endpoint.as_deref().unwrap_or("AWS");
    let mut verdict = BackendVerdict {
        name: name.to_owned(),
        place: format!(
            "{}/{} at {at}",
            options.bucket,
            options.prefix.trim_matches('/')
        ),
        trials: Vec::new(),
        latency: None,
        read_rate: None,
        write_rate: None,
        // It tells of no end.
        space: None,
    };
    let told = &mut verdict.trials;
    match S3Objects::whose(&options).await {
        Ok(whose) => {
            told.push((BackendQuestion::Reached, Outcome::Passed));
            told.push((BackendQuestion::Lists, Outcome::Passed));
            let ours = is_ours(&whose, &options);
            let goes_on = !matches!(ours, Outcome::Failed { .. });
            told.push((BackendQuestion::Ours, ours));
            if !goes_on {
                return verdict;
            }
        }
        Err(error) => {
            told.push((BackendQuestion::Reached, away(&error.to_string())));
            return verdict;
        }
    }
    let own = std::env::temp_dir().join(format!("headrace-check-{scratch:032x}"));
    match S3Objects::attach(options.for_trial(own.clone())).await {
        Ok((objects, _)) => {
            if let Err(outcome) = change(&objects, &mut verdict, scratch).await {
                verdict.trials.push((BackendQuestion::Writes, outcome));
            }
            if let Err(error) = objects.leave().await {
                let why = format!("doesn't let a key be removed: {error}.");
                let way_out = "Let the credentials remove objects.".to_owned();
                let outcome = Outcome::Failed { why, way_out };
                verdict.trials.push((BackendQuestion::Writes, outcome));
            }
        }
        Err(error) => {
            let why = format!("can't hold files: {error}.");
            let way_out =
                "Let the credentials list, read, put and remove objects there.".to_owned();
            let outcome = Outcome::Failed { why, way_out };
            verdict.trials.push((BackendQuestion::Writes, outcome));
        }
    }
    if own.exists()
        && let Err(error) = std::fs::remove_dir_all(&own)
    {
        tracing::warn!("{} is left behind: {error}", own.display());
    }
    verdict
}

fn away(why: &str) -> Outcome {
    Outcome::Failed {
        why: format!("can't be reached: {why}."),
        way_out: "Until it can, the bytes of its files wait; all else is served.".to_owned(),
    }
}

fn is_ours(whose: &Whose, options: &Options) -> Outcome {
    let state = options.state.display();
    let prefix = options.prefix.trim_matches('/');
    let failed = |why: String, way_out: String| Outcome::Failed { why, way_out };
    match whose {
        Whose::Ours => Outcome::Passed,
        Whose::Nobodys => Outcome::NotTried(format!(
            "nothing lies below {prefix:?} yet: the first start makes it this server's"
        )),
        Whose::Anothers => failed(
            format!("holds the files of another metadata server than that of {state}."),
            "If this one is to take its place, give it that server's state folder; else name another prefix."
                .to_owned(),
        ),
        Whose::Emptied => failed(
            format!("has lost the key by which {state} knows it: it was emptied, or another has its name now."),
            "Name the bucket that it was, or bring its contents back, that key with them.".to_owned(),
        ),
        Whose::Illegible => failed(
            "has a mark that this version of Headrace doesn't make.".to_owned(),
            "Start the version that made it, or name another prefix.".to_owned(),
        ),
        Whose::Strangers(key) => failed(
            format!("has other keys below {prefix:?}, as {key:?}."),
            "Name a `prefix` below which nothing lies: that of files is theirs alone.".to_owned(),
        ),
    }
}

/// As the life of a file goes.
async fn change(
    objects: &S3Objects,
    verdict: &mut BackendVerdict,
    scratch: u128,
) -> Result<(), Outcome> {
    let object = ObjectId(scratch);
    let failed = |what: &str, error: &Error| Outcome::Failed {
        why: format!("{what}: {error}."),
        way_out: "See what the bucket's own log says of it.".to_owned(),
    };
    let handle = objects.create(object, Owner { uid: 0, gid: 0 }).await;
    let handle = handle.map_err(|error| failed("takes no object", &error))?;
    verdict.latency = latency(objects).await;
    let written = write(objects, &handle).await;
    verdict.write_rate = written.map_err(|error| failed("doesn't keep what is written", &error))?;
    // Another version, in the place of the one that is there.
    let again = write(objects, &handle).await;
    again.map_err(|error| failed("doesn't take a change of an object", &error))?;
    verdict
        .trials
        .push((BackendQuestion::Writes, Outcome::Passed));
    let reads = match read(objects, &handle).await {
        Ok(rate) => {
            verdict.read_rate = rate;
            Outcome::Passed
        }
        Err(error) => failed("doesn't give back what was written", &error),
    };
    verdict.trials.push((BackendQuestion::Reads, reads));
    let removed = objects.remove(object).await;
    removed.map_err(|error| failed("doesn't let an object be removed", &error))
}

/// Of a look at the mark, the median.
async fn latency(objects: &S3Objects) -> Option<Duration> {
    let mut times = Vec::with_capacity(LOOKS);
    for _ in 0..LOOKS {
        let begun = Instant::now();
        objects.space().await.ok()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times.get(LOOKS / 2).copied()
}

async fn write(objects: &S3Objects, handle: &Bytes) -> Result<Option<u64>, Error> {
    let piece = Bytes::from(vec![0x5a; PIECE]);
    let begun = Instant::now();
    let mut written = 0;
    while written < TRIED_BYTES {
        let data = piece.slice(..piece.len().min(TRIED_BYTES - written));
        let said = objects.write(handle, written as u64, data, Stability::Unstable);
        written += said.await?.count as usize;
    }
    objects.commit(handle).await?;
    Ok(rate(written, begun.elapsed()))
}

async fn read(objects: &S3Objects, handle: &Bytes) -> Result<Option<u64>, Error> {
    let begun = Instant::now();
    let mut read = 0;
    while read < TRIED_BYTES {
        let got = objects.read(handle, read as u64, PIECE as u32).await?;
        if got.data.is_empty() || got.data.iter().any(|byte| *byte != 0x5a) {
            let what = "other bytes are read than were written";
            return Err(Error::new(ErrorKind::Broken, what));
        }
        read += got.data.len();
    }
    Ok(rate(read, begun.elapsed()))
}

#[cfg(test)]
#[path = "../../../backends/s3/tests/s3_server/mod.rs"]
mod s3_server;

#[cfg(test)]
mod tests {
    use super::s3_server::S3Server;
    use super::*;
    use tempfile::TempDir;

    fn options(server: &S3Server, state: &TempDir) -> Options {
        Options {
            prefix: "files/".to_owned(),
            ..server.options(state.path())
        }
    }

    fn of(verdict: &BackendVerdict, question: BackendQuestion) -> Option<&Outcome> {
        let mut trials = verdict.trials.iter();
        let found = trials.find(|(one, _)| *one == question);
        found.map(|(_, outcome)| outcome)
    }

    #[tokio::test]
    async fn a_bucket_for_files_is_tried_said_whose_it_is_and_left_as_it_was() {
        let server = S3Server::start().await;
        let state = tempfile::tempdir().unwrap();
        let verdict = try_managed("lake", options(&server, &state), rand::random()).await;
        assert!(verdict.is_fit(), "{verdict:?}");
        assert!(matches!(
            of(&verdict, BackendQuestion::Ours),
            Some(Outcome::NotTried(why)) if why.contains("nothing lies below")
        ));
        assert!(server.keys().is_empty(), "{:?}", server.keys());
        let (objects, _) = S3Objects::attach(options(&server, &state)).await.unwrap();
        let mark = server.keys();
        // Its server runs meanwhile.
        let verdict = try_managed("lake", options(&server, &state), rand::random()).await;
        assert!(verdict.is_fit(), "{verdict:?}");
        for question in [
            BackendQuestion::Ours,
            BackendQuestion::Writes,
            BackendQuestion::Reads,
        ] {
            assert_eq!(of(&verdict, question), Some(&Outcome::Passed));
        }
        assert_eq!(server.keys(), mark);
        objects.stop().await;
        // By a server that has another state folder.
        let other = tempfile::tempdir().unwrap();
        let verdict = try_managed("lake", options(&server, &other), rand::random()).await;
        assert!(matches!(
            of(&verdict, BackendQuestion::Ours),
            Some(Outcome::Failed { why, .. }) if why.contains("another metadata server")
        ));
        assert_eq!(server.keys(), mark, "nothing is tried in what is another's");
    }

    #[tokio::test]
    async fn a_bucket_that_ignores_conditions_can_hold_no_files() {
        let server = S3Server::start().await;
        server.lie();
        let state = tempfile::tempdir().unwrap();
        let verdict = try_managed("lake", options(&server, &state), rand::random()).await;
        assert!(matches!(
            of(&verdict, BackendQuestion::Writes),
            Some(Outcome::Failed { why, .. }) if why.contains("conditions")
        ));
        assert!(server.keys().is_empty(), "{:?}", server.keys());
    }
}
