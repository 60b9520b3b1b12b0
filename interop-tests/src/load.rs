//! The load that a client runs while servers are killed, and the check of what must be left afterwards.
//! Runs inside a guest. Every operation waits for its answer; what was acknowledged is written down and must be there.

pub mod bucket;
mod keeper;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

pub use keeper::{KEPT, peek};

const MOST_FILES: usize = 60;

/// What a file must hold: `length` bytes that follow from `key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Content {
    key: u64,
    length: u64,
}

impl Content {
    fn bytes(self, from: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity((self.length.saturating_sub(from) + 16) as usize);
        for word in from / 8..self.length.div_ceil(8) {
            let word = mix(self.key ^ word.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.drain(..(from % 8) as usize);
        bytes.truncate(self.length.saturating_sub(from) as usize);
        bytes
    }
}

fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit
    }
}

/// What the host says of the metadata server's deaths: a number in a file beside the manifest, odd from before a
/// death until the server serves again. Without a file nobody dies.
#[derive(Clone, Debug)]
struct Deaths(PathBuf);

impl Deaths {
    fn now(&self) -> u64 {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Whether one fell into the time since `then`.
    fn one_since(&self, then: u64) -> bool {
        then % 2 == 1 || self.now() != then
    }
}

struct Worker {
    folder: PathBuf,
    name: String,
    dice: Dice,
    files: BTreeMap<String, Content>,
    operations: u64,
    bytes: u64,
    /// Operations whose first answer a server's death swallowed, so that the retry found its own work done.
    found_done: u64,
    slowest: (Duration, Operation),
    next_name: u64,
    deaths: Deaths,
    /// What [`Deaths::now`] said before the operation under way.
    began: u64,
    lies: Lies,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    Create,
    Rename,
    Unlink,
    Append,
    Overwrite,
    Link,
    Truncate,
    Read,
}

/// Where a load's files lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lies {
    OnDataServers,
    /// In a bucket that is shown as a tree: there are no links.
    InBucket,
    InManagedBucket,
}

impl Worker {
    fn new(root: &Path, index: u64, seed: u64, deaths: Deaths, lies: Lies) -> Result<Self> {
        let name = format!("worker{index}");
        let folder = root.join(&name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(Self {
            folder,
            name,
            dice: Dice(mix(seed.wrapping_add(index.wrapping_mul(7919)))),
            files: BTreeMap::new(),
            operations: 0,
            bytes: 0,
            found_done: 0,
            slowest: (Duration::ZERO, Operation::Create),
            next_name: 0,
            began: deaths.now(),
            deaths,
            lies,
        })
    }

    fn run(mut self, stop: &Path, limit: Duration, all: &AtomicU64) -> Result<Self> {
        let end = Instant::now() + limit;
        while Instant::now() < end && !stop.exists() {
            let begun = Instant::now();
            self.began = self.deaths.now();
            let operation = self.next();
            self.carry_out(operation)?;
            self.operations += 1;
            all.fetch_add(1, Ordering::Relaxed);
            self.slowest = self.slowest.max((begun.elapsed(), operation));
        }
        Ok(self)
    }

    fn next(&mut self) -> Operation {
        if self.lies != Lies::OnDataServers {
            return self.next_on_a_bucket();
        }
        if self.files.is_empty() {
            return Operation::Create;
        }
        if self.files.len() >= MOST_FILES {
            return Operation::Unlink;
        }
        match self.dice.below(10) {
            0..=2 => Operation::Create,
            3..=4 => Operation::Rename,
            5 => Operation::Unlink,
            6..=7 => Operation::Append,
            8 => Operation::Overwrite,
            _ => Operation::Link,
        }
    }

    fn carry_out(&mut self, operation: Operation) -> Result<()> {
        match operation {
            Operation::Create => self.create(),
            Operation::Rename => self.rename(),
            Operation::Unlink => self.unlink(),
            Operation::Append => self.append(),
            Operation::Overwrite => self.overwrite(),
            Operation::Link => self.link(),
            Operation::Truncate => self.truncate(),
            Operation::Read => self.read(),
        }
    }

    fn fresh_name(&mut self) -> String {
        self.next_name += 1;
        format!("f{:06}", self.next_name)
    }

    fn some_file(&mut self) -> String {
        let index = self.dice.below(self.files.len() as u64) as usize;
        let name = self.files.keys().nth(index).cloned();
        name.unwrap_or_default()
    }

    fn some_length(&mut self) -> u64 {
        match self.dice.below(20) {
            0 => 0,
            1 if self.lies != Lies::OnDataServers => self.some_length_in_parts(),
            1..=14 => self.dice.below(64 << 10),
            15..=18 => self.dice.below(512 << 10),
            _ => self.dice.below(4 << 20),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&mut self, file: &File, name: &str, content: Content, from: u64) -> Result<()> {
        let bytes = content.bytes(from);
        file.write_all_at(&bytes, from)
            .and_then(|()| file.sync_all())
            .with_context(|| format!("writing {name}"))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn create(&mut self) -> Result<()> {
        let name = self.fresh_name();
        let content = Content {
            key: self.dice.roll(),
            length: self.some_length(),
        };
        let path = self.path(&name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .with_context(|| format!("creating {name}"))?;
        self.write(&file, &name, content, 0)?;
        self.files.insert(name, content);
        Ok(())
    }

    fn append(&mut self) -> Result<()> {
        let name = self.some_file();
        let old = self.files[&name];
        let content = Content {
            key: old.key,
            length: old.length + self.dice.below(64 << 10) + 1,
        };
        let file = OpenOptions::new()
            .write(true)
            .open(self.path(&name))
            .with_context(|| format!("opening {name}"))?;
        self.write(&file, &name, content, old.length)?;
        self.replace_links(old, content, &name);
        Ok(())
    }

    fn overwrite(&mut self) -> Result<()> {
        let name = self.some_file();
        let old = self.files[&name];
        let content = Content {
            key: self.dice.roll(),
            length: self.some_length(),
        };
        let file = OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(self.path(&name))
            .with_context(|| format!("truncating {name}"))?;
        self.write(&file, &name, content, 0)?;
        self.replace_links(old, content, &name);
        Ok(())
    }

    /// Other names of the same file see its new content; keys are unique by file.
    fn replace_links(&mut self, old: Content, content: Content, name: &str) {
        for (other, held) in &mut self.files {
            if held.key == old.key || other == name {
                *held = content;
            }
        }
    }

    fn rename(&mut self) -> Result<()> {
        let from = self.some_file();
        let to = if self.dice.below(2) == 0 {
            self.some_file()
        } else {
            self.fresh_name()
        };
        // Two names of one file: rename does nothing.
        let same = self
            .files
            .get(&to)
            .is_some_and(|held| held.key == self.files[&from].key);
        let renamed = fs::rename(self.path(&from), self.path(&to));
        self.accept(renamed, ErrorKind::NotFound)
            .with_context(|| format!("renaming {from} to {to}"))?;
        if !same && let Some(content) = self.files.remove(&from) {
            self.files.insert(to, content);
        }
        Ok(())
    }

    fn unlink(&mut self) -> Result<()> {
        let name = self.some_file();
        let unlinked = fs::remove_file(self.path(&name));
        self.accept(unlinked, ErrorKind::NotFound)
            .with_context(|| format!("unlinking {name}"))?;
        self.files.remove(&name);
        Ok(())
    }

    fn link(&mut self) -> Result<()> {
        let from = self.some_file();
        let to = self.fresh_name();
        let linked = fs::hard_link(self.path(&from), self.path(&to));
        self.accept(linked, ErrorKind::AlreadyExists)
            .with_context(|| format!("linking {from} to {to}"))?;
        let content = self.files[&from];
        self.files.insert(to, content);
        Ok(())
    }

    /// A retry may find its own work done if the server died between the two: that is no fault of the file system,
    /// as the final state is compared in any case. It is counted. Without a death it is a loss.
    fn accept(&mut self, result: std::io::Result<()>, own_work: ErrorKind) -> Result<()> {
        match result {
            Err(error) if error.kind() == own_work && self.deaths.one_since(self.began) => {
                self.found_done += 1;
                Ok(())
            }
            other => Ok(other?),
        }
    }
}

/// What a load is run with.
#[derive(Clone, Debug)]
pub struct Plan {
    pub folder: PathBuf,
    pub manifest: PathBuf,
    pub stop: PathBuf,
    pub seed: u64,
    pub workers: u64,
    /// Files that one more worker keeps open; none: there is no such worker.
    pub keep: u32,
    pub lies: Lies,
    /// One more worker is at files that somebody else writes as well.
    pub contest: Option<bucket::Contest>,
    pub limit: Duration,
}

/// Runs the load until the stop file appears, then writes down what must be there.
pub fn run(plan: &Plan) -> Result<()> {
    let mut running = Vec::new();
    let all = Arc::new(AtomicU64::new(0));
    for index in 0..plan.workers {
        let deaths = Deaths(plan.manifest.with_file_name("deaths"));
        let worker = Worker::new(&plan.folder, index, plan.seed, deaths, plan.lies)?;
        let (stop, limit, all) = (plan.stop.clone(), plan.limit, Arc::clone(&all));
        running.push(thread::spawn(move || worker.run(&stop, limit, &all)));
    }
    let keeper = (plan.keep > 0).then(|| {
        let plan = plan.clone();
        let told = plan.manifest.with_file_name(KEPT);
        let dice = Dice(mix(plan.seed));
        thread::spawn(move || {
            keeper::run(&plan.folder, &told, plan.keep, dice, &plan.stop, plan.limit)
        })
    });
    let contest = plan.contest.clone().map(|contest| {
        let (stop, limit, dice) = (plan.stop.clone(), plan.limit, Dice(mix(plan.seed ^ 1)));
        thread::spawn(move || bucket::contest(&contest, dice, &stop, limit))
    });
    let progress = plan.manifest.with_file_name("progress");
    while !running.iter().all(thread::JoinHandle::is_finished) {
        let told = progress.with_extension("part");
        fs::write(&told, all.load(Ordering::Relaxed).to_string())?;
        fs::rename(&told, &progress)?;
        thread::sleep(Duration::from_millis(100));
        // One that failed ends the others, so that it is told.
        let keeper_ended = keeper.as_ref().is_some_and(thread::JoinHandle::is_finished);
        let contest_ended = contest
            .as_ref()
            .is_some_and(thread::JoinHandle::is_finished);
        if keeper_ended || contest_ended || running.iter().any(thread::JoinHandle::is_finished) {
            fs::write(&plan.stop, "")?;
        }
    }
    let mut manifest = String::new();
    let (mut operations, mut bytes, mut found_done) = (0, 0, 0);
    let mut slowest = (Duration::ZERO, Operation::Create);
    for worker in running {
        let worker = worker
            .join()
            .map_err(|_| anyhow!("a worker of the load panicked"))??;
        operations += worker.operations;
        bytes += worker.bytes;
        found_done += worker.found_done;
        slowest = slowest.max(worker.slowest);
        for (name, content) in &worker.files {
            writeln!(
                manifest,
                "{}/{name}\t{}\t{}",
                worker.name, content.key, content.length
            )?;
        }
    }
    if let Some(keeper) = keeper {
        let kept = keeper.join();
        manifest.push_str(&kept.map_err(|_| anyhow!("what keeps files open panicked"))??);
    }
    if let Some(contest) = contest {
        let contested = contest.join();
        let (puts, lost) =
            contested.map_err(|_| anyhow!("the contested files' writer panicked"))??;
        print!("contested={puts} lost={lost} ");
    }
    fs::write(&plan.manifest, manifest)
        .with_context(|| format!("writing {}", plan.manifest.display()))?;
    println!(
        "operations={operations} bytes={bytes} found_done={found_done} slowest_ms={} slowest={:?}",
        slowest.0.as_millis(),
        slowest.1
    );
    Ok(())
}

/// Writes `bytes` to `file` and fsyncs them, says so by making `ready`, and does the same behind it once `go` is
/// there, all with one open file.
pub fn twice(file: &Path, bytes: u64, ready: &Path, go: &Path) -> Result<()> {
    let content = Content {
        key: 17,
        length: 2 * bytes,
    };
    let all = content.bytes(0);
    let (first, second) = all.split_at(bytes as usize);
    let open = File::create(file).with_context(|| format!("creating {}", file.display()))?;
    open.write_all_at(first, 0)?;
    open.sync_all()?;
    fs::write(ready, "")?;
    while !go.exists() {
        thread::sleep(Duration::from_millis(20));
    }
    open.write_all_at(second, bytes)?;
    open.sync_all().context("the second fsync")?;
    Ok(())
}

/// Whether a file holds what [`twice`] wrote.
pub fn check_twice(file: &Path, bytes: u64) -> Result<()> {
    let content = Content {
        key: 17,
        length: 2 * bytes,
    };
    match first_difference(file, content)? {
        None => Ok(()),
        Some(difference) => bail!("{}: {difference}", file.display()),
    }
}

/// What was written down: names, and what each file must hold.
fn manifest(file: &Path) -> Result<BTreeMap<String, Content>> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let mut expected = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split('\t');
        let (Some(path), Some(key), Some(length)) = (fields.next(), fields.next(), fields.next())
        else {
            bail!("{}: not a line of a manifest: {line}", file.display());
        };
        let content = Content {
            key: key.parse()?,
            length: length.parse()?,
        };
        expected.insert(path.to_owned(), content);
    }
    Ok(expected)
}

/// Has each file of a manifest looked at, with what it must hold; how many they are.
pub fn each_file(
    manifest: &Path,
    mut look: impl FnMut(&str, Vec<u8>) -> Result<()>,
) -> Result<usize> {
    let expected = self::manifest(manifest)?;
    for (path, content) in &expected {
        look(path, content.bytes(0))?;
    }
    Ok(expected.len())
}

/// Compares a folder with what a load wrote down: the same names, and every byte.
pub fn verify(folder: &Path, manifest: &Path) -> Result<()> {
    let expected = self::manifest(manifest)?;
    let mut faults = Vec::new();
    let mut bytes = 0;
    for worker in fs::read_dir(folder)? {
        let worker = worker?.file_name().to_string_lossy().into_owned();
        for entry in fs::read_dir(folder.join(&worker))? {
            let name = format!("{worker}/{}", entry?.file_name().to_string_lossy());
            if !expected.contains_key(&name) {
                faults.push(format!("{name}: is there, and should not be"));
            }
        }
    }
    for (path, content) in &expected {
        match first_difference(&folder.join(path), *content) {
            Ok(None) => bytes += content.length,
            Ok(Some(difference)) => faults.push(format!("{path}: {difference}")),
            Err(error) => faults.push(format!("{path}: {error:#}")),
        }
    }
    if faults.is_empty() {
        println!("files={} bytes={bytes}", expected.len());
        return Ok(());
    }
    let count = faults.len();
    faults.truncate(20);
    bail!(
        "{count} of {} files are not as acknowledged:\n{}",
        expected.len(),
        faults.join("\n")
    )
}

fn first_difference(path: &Path, content: Content) -> Result<Option<String>> {
    let mut held = Vec::new();
    File::open(path)?.read_to_end(&mut held)?;
    if held.len() as u64 != content.length {
        return Ok(Some(format!(
            "{} bytes long, {} were acknowledged",
            held.len(),
            content.length
        )));
    }
    let wanted = content.bytes(0);
    let Some(at) = held.iter().zip(&wanted).position(|(a, b)| a != b) else {
        return Ok(None);
    };
    let differing = held.iter().zip(&wanted).filter(|(a, b)| a != b).count();
    let zeros = held[at..].iter().take_while(|byte| **byte == 0).count();
    Ok(Some(format!(
        "differs from byte {at} on ({differing} bytes differ, {zeros} zeros there) of {}",
        content.length
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(folder: &Path) -> Plan {
        Plan {
            folder: folder.join("data"),
            manifest: folder.join("manifest"),
            stop: folder.join("stop"),
            seed: 11,
            workers: 2,
            keep: 2,
            lies: Lies::OnDataServers,
            contest: None,
            limit: Duration::from_millis(300),
        }
    }

    fn fresh_folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("headrace-load-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("data")).unwrap();
        folder
    }

    #[test]
    fn what_a_load_wrote_down_is_found_again() {
        let folder = fresh_folder("whole");
        let plan = plan(&folder);
        run(&plan).unwrap();
        verify(&plan.folder, &plan.manifest).unwrap();
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_name_that_is_gone_is_a_loss_unless_the_server_died_meanwhile() {
        let folder = fresh_folder("deaths");
        let deaths = Deaths(folder.join("deaths"));
        let mut worker = Worker::new(
            &folder.join("data"),
            0,
            1,
            deaths.clone(),
            Lies::OnDataServers,
        )
        .unwrap();
        let gone = || Err(ErrorKind::NotFound.into());
        assert!(worker.accept(gone(), ErrorKind::NotFound).is_err());
        fs::write(&deaths.0, "1").unwrap();
        worker.accept(gone(), ErrorKind::NotFound).unwrap();
        fs::write(&deaths.0, "2").unwrap();
        worker.accept(gone(), ErrorKind::NotFound).unwrap();
        worker.began = deaths.now();
        assert!(worker.accept(gone(), ErrorKind::NotFound).is_err());
        assert_eq!(worker.found_done, 2);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_changed_byte_a_missing_file_and_a_stray_one_are_told_apart() {
        let folder = fresh_folder("broken");
        let plan = plan(&folder);
        run(&plan).unwrap();
        let text = fs::read_to_string(&plan.manifest).unwrap();
        let missing = text.lines().next().unwrap().split('\t').next().unwrap();
        fs::remove_file(plan.folder.join(missing)).unwrap();
        fs::write(plan.folder.join("worker1/stray"), "x").unwrap();
        let fault = verify(&plan.folder, &plan.manifest)
            .unwrap_err()
            .to_string();
        assert!(fault.contains("worker1/stray: is there"), "{fault}");
        assert!(
            fault.contains(&format!("{missing}: No such file")),
            "{fault}"
        );
        fs::remove_dir_all(folder).unwrap();
    }
}
