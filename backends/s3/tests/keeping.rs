//! Data objects in a bucket when things go wrong: lost answers, deaths at any point, other hands in the bucket.

mod keeper;
mod s3_server;
mod world;

use backend::{DataServer, Error, ErrorKind, Stability};
use backend_s3::{Options, S3Objects, Writers};
use bytes::Bytes;
use keeper::{Keeper, MARK, PREFIX, key};
use layout::ObjectId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use s3_server::{Fault, S3Server};
use std::time::Duration;

const MIB: usize = 1 << 20;

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

fn refused<T>(answer: Result<T, Error>) -> Error {
    match answer {
        Ok(_) => panic!("it must be refused"),
        Err(error) => error,
    }
}

fn body(keeper: &Keeper, number: u128) -> Bytes {
    let there = keeper.server().object(&key(number));
    there.expect("it is there").body
}

#[tokio::test]
async fn an_upload_whose_answer_was_lost_is_no_conflict_with_itself() {
    let keeper = Keeper::new().await;
    let handle = keeper.object(1).await;
    for data in ["first", "again"] {
        keeper.put(&handle, 0, data).await;
        let server = keeper.server();
        server.fail(1, "PUT", &key(1), Fault::AnswerLost);
        keeper.commit(&handle).await.expect("a COMMIT");
        assert_eq!(body(&keeper, 1), data);
    }
    let large = keeper.object(2).await;
    keeper.put(&large, 0, pattern(20 * MIB)).await;
    let server = keeper.server();
    server.fail(1, "POST", "uploadId", Fault::AnswerLost);
    keeper.commit(&large).await.expect("a COMMIT");
    assert!(body(&keeper, 2) == pattern(20 * MIB));
    assert!(!keeper.options.state.join("lost").exists());
}

#[tokio::test]
async fn what_was_sent_and_never_answered_is_gone_on_with_here_and_after_a_death() {
    let keeper = Keeper::with(|options| options.attempts = 1).await;
    for (number, dies) in [(1, false), (2, true)] {
        let handle = keeper.object(number).await;
        for round in 0..2 {
            keeper.put(&handle, 0, format!("one-{round}")).await;
            let server = keeper.server();
            server.fail(usize::MAX, "PUT", &key(number), Fault::AnswerLost);
            server.fail(usize::MAX, "HEAD", &key(number), Fault::Refused(503, ""));
            let busy = refused(keeper.commit(&handle).await);
            assert!(busy.is_passing(), "{busy}");
            server.recover();
            assert_eq!(body(&keeper, number), format!("one-{round}"));
            if dies {
                assert_eq!(keeper.restart().await.discarded, 1);
                // Nobody was told that it is safe, and what is read is of one version.
                let size = keeper.stat(&handle).await.expect("it is there").size;
                assert_eq!(keeper.whole(&handle).await.len() as u64, size);
            }
            keeper.put(&handle, 0, format!("two-{round}")).await;
            keeper.commit(&handle).await.expect("a COMMIT");
            assert_eq!(body(&keeper, number), format!("two-{round}"));
            assert_eq!(keeper.whole(&handle).await, body(&keeper, number));
        }
    }
    assert!(!keeper.options.state.join("lost").exists());
}

#[tokio::test]
async fn busy_servers_broken_answers_and_old_credentials_pass() {
    let keeper = Keeper::with(|options| options.attempts = 1).await;
    let handle = keeper.object(1).await;
    keeper.put(&handle, 0, "bytes").await;
    for fault in [
        Fault::Refused(503, "SlowDown"),
        Fault::Refused(400, "ExpiredToken"),
        Fault::Refused(403, "AccessDenied"),
    ] {
        keeper.server().fail(1, "PUT", &key(1), fault);
        let passing = refused(keeper.commit(&handle).await);
        assert!(passing.is_passing(), "{passing}");
    }
    keeper.commit(&handle).await.expect("a COMMIT");
    for fault in [Fault::Half, Fault::Refused(500, "InternalError")] {
        keeper.server().fail(1, "GET", &key(1), fault);
        let passing = refused(keeper.read(&handle, 0, 5).await);
        assert!(passing.is_passing(), "{passing}");
    }
    assert_eq!(keeper.whole(&handle).await, b"bytes");
    keeper
        .server()
        .fail(1, "DELETE", &key(1), Fault::AnswerLost);
    let passing = refused(keeper.remove(ObjectId(1)).await);
    assert!(passing.is_passing(), "{passing}");
    keeper.remove(ObjectId(1)).await.expect("it is removed");
    assert_eq!(keeper.server().keys(), [MARK]);
}

#[tokio::test]
async fn another_hands_object_is_never_mixed_with_ours() {
    let keeper = Keeper::new().await;
    let handle = keeper.object(1).await;
    keeper.put(&handle, 0, "before").await;
    keeper.commit(&handle).await.expect("a COMMIT");
    keeper.put(&handle, 2, "XX").await;
    keeper.server().put(&key(1), "theirs");
    let lost = refused(keeper.commit(&handle).await);
    assert_eq!(lost.kind, ErrorKind::Broken);
    let kept = std::fs::read_dir(keeper.options.state.join("lost")).expect("a folder");
    let kept: Vec<_> = kept.map(|entry| entry.expect("an entry").path()).collect();
    assert!(
        lost.detail.contains(&kept[0].display().to_string()),
        "{lost}"
    );
    let content = std::fs::read(kept[0].join("content")).expect("the bytes");
    assert_eq!(&content[2..4], b"XX");
    assert_eq!(body(&keeper, 1), "theirs");
    for restarts in [false, true] {
        if restarts {
            keeper.restart().await;
        }
        let broken = refused(keeper.read(&handle, 0, 6).await);
        assert_eq!(broken.kind, ErrorKind::Broken);
        assert!(broken.detail.contains("somebody else"), "{broken}");
    }
    // Made anew it has nothing of theirs.
    let handle = keeper.object(1).await;
    assert!(keeper.whole(&handle).await.is_empty());
    keeper.remove(ObjectId(1)).await.expect("it is removed");
    assert_eq!(keeper.server().keys(), [MARK]);
}

#[tokio::test]
async fn a_version_of_ours_that_somebody_brought_back_is_not_read_for_the_newest() {
    let keeper = Keeper::new().await;
    let handle = keeper.object(1).await;
    keeper.put(&handle, 0, "old").await;
    keeper.commit(&handle).await.expect("a COMMIT");
    let old = keeper.server().object(&key(1)).expect("it is there");
    keeper.put(&handle, 0, "new").await;
    keeper.commit(&handle).await.expect("a COMMIT");
    let meta: Vec<_> = old
        .meta
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    keeper.server().put_with(&key(1), old.body.clone(), &meta);
    assert_eq!(
        refused(keeper.read(&handle, 0, 3).await).kind,
        ErrorKind::Broken
    );
}

#[tokio::test]
async fn a_key_that_somebody_took_away_is_no_empty_object() {
    let keeper = Keeper::new().await;
    let handle = keeper.object(1).await;
    keeper.put(&handle, 0, "bytes").await;
    keeper.commit(&handle).await.expect("a COMMIT");
    keeper.server().delete(&key(1));
    let broken = refused(keeper.read(&handle, 0, 5).await);
    assert_eq!(broken.kind, ErrorKind::Broken);
    keeper.put(&handle, 0, "x").await;
    assert_eq!(
        refused(keeper.commit(&handle).await).kind,
        ErrorKind::Broken
    );
    keeper.remove(ObjectId(1)).await.expect("it is removed");
}

#[tokio::test]
async fn a_first_upload_that_lands_after_its_object_was_removed_is_deleted() {
    let keeper = Keeper::new().await;
    let handle = keeper.object(1).await;
    keeper.put(&handle, 0, "bytes").await;
    keeper.server().fail(1, "PUT", &key(1), Fault::Silence);
    let commit = tokio::time::timeout(Duration::from_secs(1), keeper.commit(&handle));
    assert!(commit.await.is_err(), "it isn't answered");
    keeper.restart().await;
    keeper.remove(ObjectId(1)).await.expect("it is removed");
    let owner = keeper::OWNER;
    let waits = refused(keeper.create(ObjectId(1), owner).await);
    assert!(waits.is_passing(), "{waits}");
    keeper.server().put(&key(1), "bytes");
    keeper.restart().await;
    let gone = async {
        while keeper.server().keys() != [MARK] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(30), gone).await;
    gone.expect("what landed late is deleted");
}

/// Which request of a large object's upload is the last before the death.
#[tokio::test]
async fn a_death_at_any_request_of_an_upload_leaves_a_whole_version_and_no_upload() {
    let old = pattern(20 * MIB);
    for (method, part) in [
        ("GET", "uploads"),
        ("POST", "uploads"),
        ("PUT", "partNumber=1"),
        ("PUT", "partNumber=2"),
        ("POST", "uploadId="),
    ] {
        let keeper = Keeper::new().await;
        let handle = keeper.object(1).await;
        keeper.put(&handle, 0, old.clone()).await;
        keeper.commit(&handle).await.expect("a COMMIT");
        keeper.put(&handle, 0, "changed").await;
        keeper.server().fail(1, method, part, Fault::Silence);
        let commit = tokio::time::timeout(Duration::from_secs(2), keeper.commit(&handle));
        assert!(commit.await.is_err(), "it isn't answered");
        keeper.server().recover();
        keeper.restart().await;
        assert!(keeper.whole(&handle).await == old, "{method} {part}");
        keeper.put(&handle, 0, "changed").await;
        keeper.commit(&handle).await.expect("a COMMIT");
        assert_eq!(&keeper.whole(&handle).await[..7], b"changed");
        keeper.remove(ObjectId(1)).await.expect("it is removed");
        assert_eq!(keeper.server().keys(), [MARK]);
        assert_eq!(keeper.server().uploads(), 0, "{method} {part}");
    }
}

const BLOCK: usize = 1000;
const BLOCKS: usize = 24;

/// What may be read of one object: of each block the last byte that was written, and those that a death may bring back.
#[derive(Clone)]
struct Model {
    id: ObjectId,
    handle: Bytes,
    blocks: Vec<u8>,
    /// Bytes that were durable, and those written since.
    may_be: Vec<Vec<u8>>,
    size: usize,
    sizes: Vec<usize>,
}

impl Model {
    fn settle(&mut self) {
        self.may_be = self.blocks.iter().map(|byte| vec![*byte]).collect();
        self.sizes = vec![self.size];
    }

    fn note(&mut self) {
        for (may_be, byte) in self.may_be.iter_mut().zip(&self.blocks) {
            may_be.push(*byte);
        }
        self.sizes.push(self.size);
    }
}

struct Chaos {
    keeper: std::sync::Arc<Keeper>,
    chance: StdRng,
    objects: Vec<Option<Model>>,
    /// How many were made.
    made: u128,
}

impl Chaos {
    fn fault(&mut self) {
        let server = self.keeper.server();
        server.recover();
        let fault = match self.chance.random_range(0..8) {
            0 => Fault::AnswerLost,
            1 => Fault::Refused(503, "SlowDown"),
            2 => Fault::Half,
            3 => Fault::Refused(400, "ExpiredToken"),
            _ => return,
        };
        let methods = ["PUT", "GET", "HEAD", "DELETE"];
        let method = methods[self.chance.random_range(0..methods.len())];
        let times = self.chance.random_range(1..5);
        server.fail(times, method, &format!("/{PREFIX}/"), fault);
    }

    /// Calls until it is done, or dies meanwhile: then what was asked for may have happened or not.
    async fn call<T>(&mut self, call: impl AsyncFn(&Keeper) -> Result<T, Error>) -> Option<T> {
        let dies = self.chance.random_range(0..6) == 0;
        let within = Duration::from_micros(self.chance.random_range(0..6000));
        let keeper = self.keeper.clone();
        let work = async {
            loop {
                match call(&keeper).await {
                    Ok(done) => return done,
                    Err(error) => assert!(error.is_passing(), "{error}"),
                }
            }
        };
        if !dies {
            return Some(work.await);
        }
        let done = tokio::time::timeout(within, work).await.ok();
        self.keeper.server().recover();
        self.keeper.restart().await;
        for object in 0..self.objects.len() {
            self.look(object, true).await;
        }
        done
    }

    /// What is there is what may be there; from then on it stays.
    async fn look(&mut self, object: usize, died: bool) {
        let Some(mut model) = self.objects[object].take() else {
            return;
        };
        let whole = self.keeper.whole(&model.handle).await;
        let stat = self.keeper.stat(&model.handle).await.expect("it is there");
        assert_eq!(whole.len() as u64, stat.size);
        if died {
            assert!(
                model.sizes.contains(&whole.len()),
                "{} of {:?}",
                whole.len(),
                model.sizes
            );
            model.size = whole.len();
            for (at, block) in whole.chunks(BLOCK).enumerate() {
                assert!(
                    model.may_be[at].contains(&block[0]),
                    "block {at}: {}",
                    block[0]
                );
                model.blocks[at] = block[0];
            }
            let blocks = whole.len() / BLOCK;
            model.blocks[blocks..].fill(0);
            model.settle();
        }
        assert_eq!(whole.len(), model.size);
        for (at, block) in whole.chunks(BLOCK).enumerate() {
            assert!(
                block.iter().all(|byte| *byte == model.blocks[at]),
                "block {at}"
            );
        }
        self.objects[object] = Some(model);
    }

    async fn step(&mut self) {
        let object = self.chance.random_range(0..self.objects.len());
        self.fault();
        let Some(model) = self.objects[object].clone() else {
            self.made += 1;
            let id = ObjectId(self.made);
            let made = self
                .call(async |keeper| keeper.create(id, keeper::OWNER).await)
                .await;
            self.objects[object] = made.map(|handle| Model {
                id,
                handle,
                blocks: vec![0; BLOCKS],
                may_be: vec![vec![0]; BLOCKS],
                size: 0,
                sizes: vec![0],
            });
            return;
        };
        let (id, handle) = (model.id, model.handle.clone());
        let at = self.chance.random_range(0..BLOCKS);
        let size = at * BLOCK;
        let mut next = model;
        match self.chance.random_range(0..10) {
            0..4 => {
                let byte = self.chance.random_range(1..=255);
                let data = Bytes::from(vec![byte; BLOCK]);
                next.blocks[at] = byte;
                next.size = next.size.max(size + BLOCK);
                next.note();
                self.objects[object] = Some(next);
                let offset = size as u64;
                self.call(async |keeper| {
                    let unstable = Stability::Unstable;
                    keeper.write(&handle, offset, data.clone(), unstable).await
                })
                .await;
            }
            4..6 => {
                if self
                    .call(async |keeper| keeper.commit(&handle).await)
                    .await
                    .is_some()
                {
                    // After a death it was settled by what is there.
                    self.objects[object].as_mut().expect("it is there").settle();
                }
            }
            kind @ 6..8 => {
                let grow = kind == 6;
                if !grow || size > next.size {
                    next.size = size;
                    next.blocks[at..].fill(0);
                }
                next.note();
                next.sizes.push(next.size.min(size));
                self.objects[object] = Some(next);
                let sized = self
                    .call(async |keeper| {
                        if grow {
                            keeper.extend(&handle, size as u64).await
                        } else {
                            keeper.set_size(&handle, size as u64).await
                        }
                    })
                    .await;
                if let (Some(_), Some(model)) = (sized, self.objects[object].as_mut()) {
                    // Never shorter than it was made, from now on.
                    let least = if grow { size } else { size.min(model.size) };
                    model.sizes.retain(|there| *there >= least);
                    if !grow {
                        model.sizes.retain(|there| *there == size);
                        for may_be in &mut model.may_be[at..] {
                            *may_be = vec![0];
                        }
                    }
                }
            }
            8 => {
                self.objects[object] = None;
                if self
                    .call(async |keeper| keeper.remove(id).await)
                    .await
                    .is_none()
                {
                    let keeper = self.keeper.clone();
                    while keeper.remove(id).await.is_err() {}
                }
            }
            _ => {
                self.keeper.server().recover();
                self.look(object, false).await;
            }
        }
    }
}

#[tokio::test]
async fn whatever_fails_and_whenever_it_dies_what_was_committed_is_there_and_what_was_removed_is_not()
 {
    for seed in 0..12 {
        println!("seed {seed}");
        let keeper = Keeper::with(|options| {
            options.attempts = 1;
            options.deadline = Duration::from_secs(10);
        })
        .await;
        let mut chaos = Chaos {
            keeper: keeper.clone(),
            chance: StdRng::seed_from_u64(seed),
            objects: vec![None, None, None],
            made: 0,
        };
        for _ in 0..60 {
            chaos.step().await;
        }
        keeper.server().recover();
        for object in 0..chaos.objects.len() {
            chaos.look(object, false).await;
        }
        for number in 1..=chaos.made {
            let removed = keeper.remove(ObjectId(number)).await;
            removed.expect("it is removed");
        }
        let left = async {
            while keeper.server().keys() != [MARK] || keeper.server().uploads() != 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let left = tokio::time::timeout(Duration::from_secs(30), left).await;
        assert!(left.is_ok(), "{:?}", keeper.server().keys());
        assert!(!keeper.options.state.join("lost").exists());
        keeper.stop().await;
        let records = backend_s3::Records::of(&keeper.options.state).expect("it can be read");
        assert_eq!(
            (
                records.objects.len(),
                records.unwritten.len(),
                records.spooled
            ),
            (0, 0, 0)
        );
    }
}

fn options(server: &S3Server, state: &tempfile::TempDir) -> Options {
    Options {
        prefix: PREFIX.into(),
        ..world::options(server.endpoint(), state)
    }
}

async fn words(options: &Options) -> String {
    match S3Objects::attach(options.clone()).await {
        Ok(_) => panic!("it must be refused"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_prefix_with_other_keys_is_refused_and_gets_no_mark() {
    let server = S3Server::start().await;
    let state = tempfile::tempdir().expect("a folder");
    server.put("data/photo.jpg", "x");
    server.put("database", "no matter");
    let words = words(&options(&server, &state)).await;
    assert!(
        words.contains("photo.jpg") && words.contains("prefix"),
        "{words}"
    );
    assert_eq!(server.keys(), ["data/photo.jpg", "database"]);
    server.delete("data/photo.jpg");
    let attached = S3Objects::attach(options(&server, &state)).await;
    attached.expect("it is attached").0.stop().await;
}

#[tokio::test]
async fn another_servers_bucket_and_one_that_came_back_empty_are_refused_with_a_way_out() {
    let keeper = Keeper::new().await;
    let other = tempfile::tempdir().expect("a folder");
    let said = words(&options(keeper.server(), &other)).await;
    assert!(
        said.contains("another metadata server") && said.contains("state folder"),
        "{said}"
    );
    let mark = keeper.server().object(MARK).expect("it has one");
    for there in [None, Some("another's")] {
        keeper.server().delete(MARK);
        if let Some(there) = there {
            keeper.server().put(MARK, there);
        }
        assert_eq!(refused(keeper.space().await).kind, ErrorKind::Broken);
        keeper.stop().await;
        let said = words(&keeper.options).await;
        let wanted = match there {
            None => "emptied",
            Some(_) => "another metadata server",
        };
        assert!(said.contains(wanted), "{said}");
        keeper.server().put(MARK, mark.body.clone());
        keeper.start().await.expect("it is attached again");
    }
}

#[tokio::test]
async fn a_first_attachment_that_died_is_made_again() {
    let server = S3Server::start().await;
    let state = tempfile::tempdir().expect("a folder");
    let options = Options {
        attempts: 1,
        ..options(&server, &state)
    };
    // The probe's puts go through; the mark's is carried out, and nobody hears of it.
    for fault in [Fault::Refused(503, "SlowDown"), Fault::AnswerLost] {
        server.fail(1, "PUT", MARK, fault);
        words(&options).await;
    }
    let (objects, _) = S3Objects::attach(options.clone())
        .await
        .expect("it is attached");
    objects.stop().await;
    let (objects, _) = S3Objects::attach(options).await.expect("it is known again");
    objects.stop().await;
}

#[tokio::test]
async fn a_bucket_that_lies_or_takes_nothing_is_refused_in_words() {
    let server = S3Server::start().await;
    let state = tempfile::tempdir().expect("a folder");
    server.lie();
    let said = words(&options(&server, &state)).await;
    assert!(said.contains("ignores conditions"), "{said}");
    let alone = Options {
        writers: Writers::One,
        ..options(&server, &state)
    };
    server.fail(1, "PUT", "", Fault::Refused(403, "AccessDenied"));
    let said = words(&alone).await;
    assert!(said.contains("policy"), "{said}");
    let attached = S3Objects::attach(alone).await.expect("it is attached");
    attached.0.stop().await;
}
