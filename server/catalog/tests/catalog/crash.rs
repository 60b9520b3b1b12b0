//! kill -9: what was acknowledged is there, nothing half-done is, wherever the process died.

use crate::world::*;
use catalog::store::Failpoint;
use catalog::{Catalog, Error, InodeId, RemoveWhat, Removed, Tx, transact};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;

const FOLDER: &str = "CATALOG_CRASH_FOLDER";
const FAILPOINT: &str = "CATALOG_CRASH_FAILPOINT";
const SEED: &str = "CATALOG_CRASH_SEED";
const TASKS: u64 = 4;

/// What a task says when an operation is acknowledged, and about to begin.
fn say(line: &str) {
    let mut out = std::io::stderr().lock();
    // The parent may be gone: then nobody cares.
    let _ = out.write_all(format!("@{line}\n").as_bytes());
}

/// One task's endless work in a directory of its own: names with a number in the size, so that the
/// parent can tell what it should find.
async fn work(catalog: Arc<Catalog>, task: u64, mut random: SmallRng) {
    let now = at(5);
    let directory = catalog
        .read()
        .lookup(ROOT, format!("task{task}").as_bytes())
        .await
        .unwrap()
        .unwrap()
        .id;
    for serial in 1.. {
        let name = format!("n{}", random.random_range(0..20));
        let other = format!("n{}", random.random_range(0..20));
        match random.random_range(0..4) {
            0..=1 => {
                say(&format!("begin {task} put {name} {serial}"));
                let done = transact!(catalog, now, |tx| -> Result<_, Error> {
                    put(tx, directory, &name, serial).await
                });
                done.unwrap();
            }
            2 => {
                say(&format!("begin {task} move {name} {other}"));
                let done = transact!(catalog, now, |tx| -> Result<_, Error> {
                    match tx
                        .rename(directory, name.as_bytes(), directory, other.as_bytes())
                        .await
                    {
                        Ok(renamed) => reap(tx, renamed.replaced).await,
                        Err(Error::NotFound) => Ok(()),
                        Err(error) => Err(error),
                    }
                });
                done.unwrap();
            }
            _ => {
                say(&format!("begin {task} remove {name}"));
                let done = transact!(catalog, now, |tx| -> Result<_, Error> {
                    match tx.remove(directory, name.as_bytes(), RemoveWhat::Any).await {
                        Ok(removed) => reap(tx, Some(removed)).await,
                        Err(Error::NotFound) => Ok(()),
                        Err(error) => Err(error),
                    }
                });
                done.unwrap();
            }
        }
        say(&format!("done {task}"));
    }
}

async fn put(tx: &mut Tx, directory: InodeId, name: &str, serial: u64) -> Result<(), Error> {
    let mut inode = match tx.lookup(directory, name.as_bytes()).await? {
        Some(entry) => tx.inode(entry.id).await?,
        None => tx.create(directory, name.as_bytes(), file()).await?,
    };
    inode.size = serial;
    tx.put(&inode).await
}

async fn reap(tx: &mut Tx, removed: Option<Removed>) -> Result<(), Error> {
    if let Some(removed) = removed {
        tx.reap(removed.inode.id).await?;
    }
    Ok(())
}

#[test]
#[ignore = "the process that the crash tests kill: they start it"]
fn child() {
    say("begun");
    let path = std::env::var(FOLDER).expect("started by a crash test");
    let seed: u64 = std::env::var(SEED)
        .expect("started by a crash test")
        .parse()
        .unwrap();
    let mut options = options();
    options.failpoint = std::env::var(FAILPOINT)
        .ok()
        .map(|text| text.parse().unwrap());
    run_on_threads(async {
        let catalog = Catalog::open(Path::new(&path), options).await.unwrap();
        say("open");
        for task in 0..TASKS {
            match calls(&catalog)
                .create(ROOT, &format!("task{task}"), folder())
                .await
            {
                Ok(_) | Err(Error::Exists) => {}
                Err(error) => panic!("{error}"),
            }
        }
        say("ready");
        let tasks = (0..TASKS).map(|task| {
            tokio::spawn(work(
                catalog.clone(),
                task,
                SmallRng::seed_from_u64(seed * TASKS + task),
            ))
        });
        futures_util::future::join_all(tasks).await;
    });
}

/// The child, and what it says after it has begun.
fn start(
    folder: &Path,
    seed: u64,
    failpoint: Option<Failpoint>,
    text: &str,
) -> (Child, BufReader<ChildStderr>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "--nocapture", "crash::child"])
        .env(FOLDER, folder)
        .env(SEED, seed.to_string())
        .env_remove(FAILPOINT)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    if failpoint.is_some() {
        command.env(FAILPOINT, text);
    }
    let _starting = STARTING.write();
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    // Exec gives the parent leave to go on before it closes our files: they are closed once the child speaks.
    lines.read_line(&mut String::new()).unwrap();
    (child, lines)
}

type Tree = BTreeMap<String, u64>;

/// What the directory of one task may hold: after all that was acknowledged, and with what had begun.
#[derive(Debug, Default, Clone)]
struct Expected {
    sure: Tree,
    begun: Option<String>,
}

fn after(tree: &Tree, operation: &str) -> Tree {
    let mut tree = tree.clone();
    let words: Vec<&str> = operation.split(' ').collect();
    match words[..] {
        ["put", name, serial] => {
            tree.insert(name.to_owned(), serial.parse().unwrap());
        }
        ["move", from, to] => {
            if let Some(serial) = tree.remove(from) {
                tree.insert(to.to_owned(), serial);
            }
        }
        ["remove", name] => {
            tree.remove(name);
        }
        _ => panic!("{operation}"),
    }
    tree
}

fn hear(line: &str, expected: &mut BTreeMap<u64, Expected>) {
    if let Some(rest) = line.strip_prefix("@begin ") {
        let (task, operation) = rest.split_once(' ').unwrap();
        expected.entry(task.parse().unwrap()).or_default().begun = Some(operation.to_owned());
    } else if let Some(task) = line.strip_prefix("@done ") {
        let expected = expected.get_mut(&task.parse().unwrap()).unwrap();
        let operation = expected.begun.take().unwrap();
        expected.sure = after(&expected.sure, &operation);
    }
}

async fn tree_of(catalog: &Catalog, task: u64) -> Tree {
    let reader = catalog.read();
    let Some(directory) = reader
        .lookup(ROOT, format!("task{task}").as_bytes())
        .await
        .unwrap()
    else {
        return Tree::new();
    };
    let (entries, more) = reader.readdir_plus(directory.id, 0, 1000).await.unwrap();
    assert!(!more);
    entries
        .into_iter()
        .map(|(entry, inode)| (String::from_utf8(entry.name.to_vec()).unwrap(), inode.size))
        .collect()
}

/// Runs the child until it dies, by the failpoint or by the parent after so many acknowledgements, and
/// compares what it said with what is there.
fn crash(
    folder: &Path,
    expected: &mut BTreeMap<u64, Expected>,
    seed: u64,
    failpoint: &str,
    kill_after: u32,
) {
    let parsed = (!failpoint.is_empty()).then(|| failpoint.parse().unwrap());
    let (mut child, mut lines) = start(folder, seed, parsed, failpoint);
    let (mut line, mut unheard) = (String::new(), String::new());
    let mut done = 0;
    while lines.read_line(&mut line).unwrap() > 0 {
        // A line without its end is of a writer that died in it.
        if !line.starts_with('@') {
            unheard.push_str(&line);
        } else if line.ends_with('\n') {
            hear(line.trim_end(), expected);
        }
        done += u32::from(line.starts_with("@done"));
        if parsed.is_none() && done == kill_after {
            child.kill().unwrap();
        }
        line.clear();
    }
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(9),
        "{failpoint}: {status}: {unheard}"
    );
    run(async {
        let catalog = in_folder(folder).await;
        assert_sound(&catalog).await;
        assert!(catalog.orphans(None, 10).await.unwrap().is_empty());
        for (task, expected) in expected.iter_mut() {
            let found = tree_of(&catalog, *task).await;
            let begun = expected.begun.take();
            let maybe = begun
                .as_ref()
                .map(|operation| after(&expected.sure, operation));
            assert!(
                found == expected.sure || Some(&found) == maybe.as_ref(),
                "{failpoint}: task {task} has {found:?}, acknowledged {:?}, begun {begun:?}",
                expected.sure
            );
            expected.sure = found;
        }
    });
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = BTreeMap::new();
    let mut random = SmallRng::seed_from_u64(11);
    for round in 0..20 {
        crash(
            folder.path(),
            &mut expected,
            round,
            "",
            random.random_range(1..400),
        );
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_each_step_of_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = BTreeMap::new();
    let mut seed = 100;
    for step in ["before-write", "before-sync", "before-answer"] {
        for pass in [1, 2, 5, 40, 200] {
            seed += 1;
            crash(
                folder.path(),
                &mut expected,
                seed,
                &format!("{step}:{pass}"),
                0,
            );
        }
    }
}

fn files_in(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    // What goes while it is looked at doesn't count.
    let count = |entry: std::fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => files_in(&entry.path()),
        Ok(_) => 1,
        Err(_) => 0,
    };
    entries.flatten().map(count).sum()
}

#[test]
fn a_first_start_that_is_killed_at_any_step_leaves_a_folder_that_can_be_started_on() {
    let whole = tempfile::tempdir().unwrap();
    run(async { drop(Catalog::open(whole.path(), options()).await.unwrap()) });
    for files in 1..=files_in(whole.path()) {
        let folder = tempfile::tempdir().unwrap();
        let (mut child, _lines) = start(folder.path(), 1, None, "");
        while files_in(folder.path()) < files && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        run(async {
            if let Err(error) = Catalog::open(folder.path(), options()).await {
                panic!("killed once there were {files} files: {error}");
            }
        });
    }
}
