//! The worker: runs inside a guest, does its steps one by one on the mounted folder, and writes down each.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, fcntl_lock, flock};
use rustix::io::Errno;

use super::event::{BLOCK_BYTES, Content, Deed, Event, Hold, UnderLock};
use super::plan::{self, Contest, Step};
use super::ticks::Ticks;

/// Bytes of a record of a log, the line's end included.
const RECORD_BYTES: usize = 16;
const NUMBER_BYTES: usize = 20;

/// What a worker is called with.
pub struct Plan {
    /// What all workers share, on the mount.
    pub folder: PathBuf,
    pub clock: SocketAddr,
    /// `client/worker`.
    pub who: String,
    /// Where the history goes.
    pub history: PathBuf,
    pub seed: u64,
    /// Which worker of all it is, from 0.
    pub worker: u64,
    pub steps: usize,
}

/// Neither close(2) nor the end of a lock waits for pages whose layout goes while they are written (fact 52).
fn arrived(file: &File) -> std::io::Result<()> {
    file.sync_all()
}

pub struct Worker {
    folder: PathBuf,
    who: String,
    ticks: Ticks,
    history: BufWriter<File>,
    /// Some workers keep files open from one deed to the next, with layouts and delegations.
    keeps_open: bool,
    open: HashMap<String, File>,
    /// Its own names in the folder that is listed.
    names: Vec<String>,
}

impl Worker {
    pub fn new(plan: &Plan) -> Result<Self> {
        let history = File::create(&plan.history)
            .with_context(|| format!("creating {}", plan.history.display()))?;
        Ok(Self {
            folder: plan.folder.clone(),
            who: plan.who.clone(),
            ticks: Ticks::of(plan.clock)?,
            history: BufWriter::new(history),
            keeps_open: plan.worker / 2 % 2 == 1,
            open: HashMap::new(),
            names: Vec::new(),
        })
    }

    /// Makes what the workers work on, before any of them starts.
    pub fn prepare(mut self) -> Result<()> {
        for folder in [
            "claims",
            "prey",
            "spoil",
            "taken",
            "logs",
            "counters",
            "ranges",
            "registers",
            "listed",
        ] {
            let path = self.path(folder);
            fs::create_dir_all(&path).with_context(|| format!("creating {folder}"))?;
        }
        File::create(self.path("claims/base"))?;
        for number in 0..plan::PREY {
            File::create(self.path(&format!("prey/{number}")))?;
            File::create(self.path(&format!("spoil/{number}")))?;
        }
        for number in 0..plan::LOGS {
            File::create(self.path(&log(number)))?;
        }
        for number in 0..plan::COUNTERS {
            fs::write(self.path(&counter(number)), number_text(0))?;
        }
        for number in 0..plan::RANGES {
            File::create(self.path(&range(number)))?;
        }
        for number in 0..plan::REGISTERS.len() {
            self.write_register(number, number as u64 + 1, false)?;
        }
        for number in 0..plan::UNTOUCHED {
            self.make(format!("untouched-{number:04}"))?;
        }
        self.history.flush()?;
        Ok(())
    }

    pub fn work(mut self, plan: &Plan) -> Result<()> {
        let steps = plan::steps(plan.seed, plan.worker, plan.steps);
        for (number, step) in steps.into_iter().enumerate() {
            let done = self.step(step);
            self.history.flush()?;
            done.with_context(|| format!("{} failed at its step {number}, {step:?}", self.who))?;
        }
        Ok(())
    }

    /// Reads everything once more, after all workers have ended.
    pub fn look(mut self) -> Result<()> {
        for number in 0..plan::LOGS {
            self.read_log(number)?;
        }
        for number in 0..plan::COUNTERS {
            self.add(number)?;
        }
        for number in 0..plan::RANGES {
            self.read_range(number)?;
        }
        for number in 0..plan::REGISTERS.len() {
            self.read_register(number)?;
        }
        self.list()?;
        let mut claims = Vec::new();
        for entry in fs::read_dir(self.path("claims"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            // The other two kinds hold nothing.
            if name.starts_with("file-") {
                claims.push(name);
            }
        }
        for name in claims {
            let began = self.ticks.next()?;
            let name = format!("claims/{name}");
            let said =
                fs::read_to_string(self.path(&name)).with_context(|| format!("reading {name}"))?;
            let said = if said.is_empty() {
                "nothing".to_owned()
            } else {
                said
            };
            self.note(began, Deed::Maker { name, said })?;
        }
        self.history.flush()?;
        Ok(())
    }

    fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Contend { contest, number } => self.contend(contest, number),
            Step::Append {
                log,
                record,
                by_seek,
            } => self.append(log, record, by_seek),
            Step::ReadLog { log } => self.read_log(log),
            Step::Add { counter } => self.add(counter),
            Step::WriteRange {
                file,
                first,
                blocks,
                id,
            } => self.under_lock(&range(file), Hold::Exclusive, |file| {
                let bytes = Content::bytes_of(id, blocks);
                // Linux may write a page out to the size that it knew before others truncated (fact 60).
                file.metadata()?;
                file.write_all_at(&bytes, (first * BLOCK_BYTES) as u64)?;
                Ok(UnderLock::Wrote { first, blocks, id })
            }),
            Step::Truncate { file, blocks } => {
                self.under_lock(&range(file), Hold::Exclusive, |file| {
                    // Linux doesn't send a truncate to the size that it has in its cache (fact 41).
                    file.metadata()?;
                    file.set_len((blocks * BLOCK_BYTES) as u64)?;
                    Ok(UnderLock::Truncated { blocks })
                })
            }
            Step::ReadRange { file } => self.read_range(file),
            Step::WriteRegister { register, id, cut } => self.write_register(register, id, cut),
            Step::ReadRegister { register } => self.read_register(register),
            Step::Make { number } => {
                let name = self.fresh_name(number);
                self.make(name.clone())?;
                self.names.push(name);
                Ok(())
            }
            Step::Remove { place } => self.remove(place),
            Step::Rename { place, number } => self.rename(place, number),
            Step::List => self.list(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn note(&mut self, began: u64, deed: Deed) -> Result<()> {
        let ended = self.ticks.next()?;
        self.write_down(began, ended, deed)
    }

    fn write_down(&mut self, began: u64, ended: u64, deed: Deed) -> Result<()> {
        let who = self.who.clone();
        let event = Event {
            who,
            began,
            ended,
            deed,
        };
        writeln!(self.history, "{event}").context("writing the history")
    }

    fn contend(&mut self, contest: Contest, number: usize) -> Result<()> {
        let number = match contest {
            Contest::Remove | Contest::Rename => number % plan::PREY,
            _ => number,
        };
        let name = match contest {
            Contest::Create => format!("claims/file-{number}"),
            Contest::Folder => format!("claims/folder-{number}"),
            Contest::Link => format!("claims/link-{number}"),
            Contest::Remove => format!("prey/{number}"),
            Contest::Rename => format!("spoil/{number}"),
        };
        let path = self.path(&name);
        let began = self.ticks.next()?;
        let (verb, loss, tried) = match contest {
            Contest::Create => ("create", ErrorKind::AlreadyExists, self.create(&path)),
            Contest::Folder => ("mkdir", ErrorKind::AlreadyExists, fs::create_dir(&path)),
            Contest::Link => {
                let base = self.path("claims/base");
                let linked = fs::hard_link(base, &path);
                ("link", ErrorKind::AlreadyExists, linked)
            }
            Contest::Remove => ("remove", ErrorKind::NotFound, fs::remove_file(&path)),
            Contest::Rename => {
                let to = format!("taken/{number}-{}", self.who.replace('/', "-"));
                let renamed = fs::rename(&path, self.path(&to));
                ("rename", ErrorKind::NotFound, renamed)
            }
        };
        let won = match tried {
            Ok(()) => true,
            Err(error) if error.kind() == loss => false,
            Err(error) => return Err(error).with_context(|| format!("{verb} {name}")),
        };
        let what = format!("{verb}:{name}");
        self.note(began, Deed::Tried { what, won })
    }

    fn create(&self, path: &Path) -> std::io::Result<()> {
        let mut file = File::create_new(path)?;
        file.write_all(self.who.as_bytes())?;
        arrived(&file)
    }

    /// A file that is read and written: the one that is open already, or opened anew.
    fn take(&mut self, name: &str) -> Result<File> {
        if let Some(file) = self.open.remove(name) {
            return Ok(file);
        }
        let path = self.path(name);
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .with_context(|| format!("opening {name}"))
    }

    fn under_lock(
        &mut self,
        name: &str,
        hold: Hold,
        work: impl FnOnce(&mut File) -> Result<UnderLock>,
    ) -> Result<()> {
        let mut file = self.take(name)?;
        // Counters by fcntl(2), whose locks are the process's; the others by flock(2), whose are the open file's.
        let kind = if name.starts_with("counters/") {
            Kind::Process
        } else {
            Kind::OpenFile
        };
        acquire(&file, kind, hold).with_context(|| format!("locking {name}"))?;
        let began = self.ticks.next()?;
        let deed = work(&mut file).with_context(|| format!("with {name} locked"))?;
        if hold == Hold::Exclusive {
            arrived(&file).with_context(|| format!("syncing {name}"))?;
        }
        let ended = self.ticks.next()?;
        lock(&file, kind, FlockOperation::Unlock).with_context(|| format!("unlocking {name}"))?;
        if self.keeps_open {
            self.open.insert(name.to_owned(), file);
        }
        let file = name.to_owned();
        self.write_down(began, ended, Deed::Locked { file, hold, deed })
    }

    fn append(&mut self, number: usize, record: u64, by_seek: bool) -> Result<()> {
        let append = self.path(&log(number));
        self.under_lock(&log(number), Hold::Exclusive, |file| {
            let line = format!("{record:0width$}\n", width = RECORD_BYTES - 1);
            if by_seek {
                file.seek(SeekFrom::End(0))?;
                file.write_all(line.as_bytes())?;
            } else {
                // By a second open file, which is closed before the lock on the first is given back.
                let mut second = OpenOptions::new().append(true).open(append)?;
                second.write_all(line.as_bytes())?;
                arrived(&second)?;
            }
            Ok(UnderLock::Appended { record })
        })
    }

    fn read_log(&mut self, number: usize) -> Result<()> {
        self.under_lock(&log(number), Hold::Shared, |file| {
            let bytes = read_all(file)?;
            // What is no record is 0, which nobody appends.
            let record = |line: &[u8]| {
                let text = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
                (line.len() == RECORD_BYTES).then(|| text.parse().ok())?
            };
            let records = bytes
                .chunks(RECORD_BYTES)
                .map(|line| record(line).unwrap_or_default())
                .collect();
            Ok(UnderLock::ReadLog { records })
        })
    }

    fn add(&mut self, number: usize) -> Result<()> {
        self.under_lock(&counter(number), Hold::Exclusive, |file| {
            let mut text = [0; NUMBER_BYTES];
            file.read_exact_at(&mut text, 0)?;
            let text = String::from_utf8_lossy(&text);
            let found: u64 = text
                .parse()
                .with_context(|| format!("the counter holds {text:?}"))?;
            file.write_all_at(number_text(found + 1).as_bytes(), 0)?;
            Ok(UnderLock::Added { found })
        })
    }

    fn read_range(&mut self, number: usize) -> Result<()> {
        self.under_lock(&range(number), Hold::Shared, |file| {
            let content = Content::of(&read_all(file)?);
            Ok(UnderLock::Read { content })
        })
    }

    fn write_register(&mut self, number: usize, id: u64, cut: bool) -> Result<()> {
        let (file, blocks) = (register(number), plan::REGISTERS[number]);
        let path = self.path(&file);
        let began = self.ticks.next()?;
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(cut)
            .open(path);
        let open = opened.with_context(|| format!("opening {file}"))?;
        open.write_all_at(&Content::bytes_of(id, blocks), 0)
            .with_context(|| format!("writing {file}"))?;
        arrived(&open).with_context(|| format!("syncing {file}"))?;
        drop(open);
        let wrote = Deed::Wrote {
            file,
            id,
            blocks,
            cut,
        };
        self.note(began, wrote)
    }

    fn read_register(&mut self, number: usize) -> Result<()> {
        let file = register(number);
        let began = self.ticks.next()?;
        let bytes = fs::read(self.path(&file)).with_context(|| format!("reading {file}"))?;
        let content = Content::of(&bytes);
        self.note(began, Deed::Read { file, content })
    }

    fn fresh_name(&self, number: usize) -> String {
        format!("{}-{number:04}", self.who.replace('/', "-"))
    }

    fn listed(&self, name: &str) -> PathBuf {
        self.folder.join("listed").join(name)
    }

    fn make(&mut self, name: String) -> Result<()> {
        let began = self.ticks.next()?;
        File::create_new(self.listed(&name)).with_context(|| format!("creating {name}"))?;
        self.note(began, Deed::Made { name })
    }

    fn remove(&mut self, place: usize) -> Result<()> {
        if self.names.is_empty() {
            return Ok(());
        }
        let name = self.names.swap_remove(place % self.names.len());
        let began = self.ticks.next()?;
        fs::remove_file(self.listed(&name)).with_context(|| format!("removing {name}"))?;
        self.note(began, Deed::Removed { name })
    }

    fn rename(&mut self, place: usize, number: usize) -> Result<()> {
        if self.names.is_empty() {
            return Ok(());
        }
        let from = self.names.swap_remove(place % self.names.len());
        let to = self.fresh_name(number);
        let began = self.ticks.next()?;
        fs::rename(self.listed(&from), self.listed(&to))
            .with_context(|| format!("renaming {from} to {to}"))?;
        self.names.push(to.clone());
        self.note(began, Deed::Renamed { from, to })
    }

    fn list(&mut self) -> Result<()> {
        let began = self.ticks.next()?;
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path("listed")).context("listing")? {
            names.push(
                entry
                    .context("listing")?
                    .file_name()
                    .to_string_lossy()
                    .into_owned(),
            );
        }
        self.note(began, Deed::Listed { names })
    }
}

fn log(number: usize) -> String {
    format!("logs/{number}")
}

fn counter(number: usize) -> String {
    format!("counters/{number}")
}

fn range(number: usize) -> String {
    format!("ranges/{number}")
}

fn register(number: usize) -> String {
    format!("registers/{number}")
}

fn number_text(number: u64) -> String {
    format!("{number:0NUMBER_BYTES$}")
}

fn read_all(file: &mut File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[derive(Clone, Copy)]
enum Kind {
    Process,
    OpenFile,
}

fn lock(file: &File, kind: Kind, operation: FlockOperation) -> Result<(), Errno> {
    match kind {
        Kind::Process => fcntl_lock(file, operation),
        Kind::OpenFile => flock(file, operation),
    }
}

/// Tries for a while, as many programs do, and then waits in the kernel.
fn acquire(file: &File, kind: Kind, hold: Hold) -> Result<()> {
    let (wait, attempt) = match hold {
        Hold::Shared => (
            FlockOperation::LockShared,
            FlockOperation::NonBlockingLockShared,
        ),
        Hold::Exclusive => (
            FlockOperation::LockExclusive,
            FlockOperation::NonBlockingLockExclusive,
        ),
    };
    for _ in 0..20 {
        match lock(file, kind, attempt) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK | Errno::ACCESS) => thread::sleep(Duration::from_millis(3)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(lock(file, kind, wait)?)
}

/// The events of the histories in `files`.
pub fn read(files: &[PathBuf]) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    for file in files {
        let text =
            fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        for line in text.lines() {
            events.push(line.parse()?);
        }
    }
    ensure!(!events.is_empty(), "nothing was written down");
    Ok(events)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::history::{check, ticks};

    #[test]
    fn a_history_of_the_local_file_system_has_no_fault() {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let clock = listener.local_addr().unwrap();
        ticks::serve(listener);
        let plan = |client: &str, worker| Plan {
            folder: folder.path().join("data"),
            clock,
            who: format!("{client}/{worker}"),
            history: folder.path().join(format!("history-{client}-{worker}")),
            seed: 5,
            worker,
            steps: 400,
        };
        let (first, last) = (plan("a", 9), plan("b", 8));
        Worker::new(&first).unwrap().prepare().unwrap();
        let plans = [plan("a", 0), plan("b", 1), plan("a", 2), plan("b", 3)];
        thread::scope(|scope| {
            for plan in &plans {
                // Locks of fcntl(2) don't tell threads of one process apart: counters are for processes.
                let steps = plan::steps(plan.seed, plan.worker, plan.steps);
                let steps = steps.into_iter().filter(|s| !matches!(s, Step::Add { .. }));
                scope.spawn(move || {
                    let mut worker = Worker::new(plan).unwrap();
                    for step in steps {
                        worker.step(step).unwrap();
                    }
                    worker.history.flush().unwrap();
                });
            }
        });
        Worker::new(&last).unwrap().look().unwrap();
        let mut files = vec![first.history, last.history];
        files.extend(plans.map(|plan| plan.history));
        let tally = check::check(&read(&files).unwrap()).unwrap();
        assert!(tally.events > 1600, "{tally}");
        assert!(tally.contested > 20 && tally.handed_over > 20, "{tally}");
    }
}
