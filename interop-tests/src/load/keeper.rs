//! A worker that keeps its files open, and writes to them bit by bit with an fsync now and then: what it has not
//! fsynced lies in its client's memory, under a delegation where there is one. It locks none: with a lock under a
//! delegation Linux can hang for ever (fact 55).

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{Content, Dice};

/// The folder of its files, and of what it tells of them.
pub const KEPT: &str = "kept";
const FSYNC_EACH: u64 = 8;
/// Under a delegation to write it opens without asking; after a recall it may be given one again.
const OPEN_AGAIN_EACH: u64 = 20;
const PAUSE: Duration = Duration::from_millis(20);

struct Kept {
    path: PathBuf,
    open: Option<File>,
    written: Content,
    durable: u64,
    writes: u64,
}

impl Kept {
    fn new(folder: &Path, number: u32, dice: &mut Dice) -> Result<Self> {
        let path = folder.join(format!("k{number}"));
        File::create_new(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self {
            open: None,
            path,
            written: Content {
                key: dice.roll(),
                length: 0,
            },
            durable: 0,
            writes: 0,
        })
    }

    fn grow(&mut self, bytes: u64) -> Result<()> {
        let from = self.written.length;
        self.written.length += bytes;
        let bytes = self.written.bytes(from);
        self.open()?.write_all_at(&bytes, from).context("writing")?;
        self.writes += 1;
        if self.writes.is_multiple_of(FSYNC_EACH) {
            self.fsync()?;
        }
        if self.writes.is_multiple_of(OPEN_AGAIN_EACH) {
            self.fsync()?;
            self.open = None;
        }
        Ok(())
    }

    fn open(&mut self) -> Result<&File> {
        match &mut self.open {
            Some(open) => Ok(open),
            closed => {
                let name = self.path.display();
                let open = OpenOptions::new().write(true).open(&self.path);
                Ok(closed.insert(open.with_context(|| format!("opening {name}"))?))
            }
        }
    }

    fn fsync(&mut self) -> Result<()> {
        self.open()?.sync_all().context("fsync")?;
        self.durable = self.written.length;
        Ok(())
    }
}

/// Writes until the stop file appears; then everything is fsynced. Its lines of the manifest.
pub(super) fn run(
    root: &Path,
    told: &Path,
    files: u32,
    mut dice: Dice,
    stop: &Path,
    limit: Duration,
) -> Result<String> {
    let folder = root.join(KEPT);
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let mut kept = (0..files)
        .map(|number| Kept::new(&folder, number, &mut dice))
        .collect::<Result<Vec<_>>>()?;
    let end = Instant::now() + limit;
    while Instant::now() < end && !stop.exists() {
        for file in &mut kept {
            let bytes = 1 + dice.below(4096);
            file.grow(bytes)
                .with_context(|| format!("keeping {}", file.path.display()))?;
        }
        let part = told.with_extension("part");
        fs::write(&part, lines(&kept, |file| file.durable)?)?;
        fs::rename(&part, told)?;
        thread::sleep(PAUSE);
    }
    for file in &mut kept {
        file.fsync()
            .with_context(|| format!("keeping {}", file.path.display()))?;
    }
    lines(&kept, |file| file.written.length)
}

fn lines(kept: &[Kept], length: impl Fn(&Kept) -> u64) -> Result<String> {
    let mut text = String::new();
    for file in kept {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        writeln!(
            text,
            "{KEPT}/{name}\t{}\t{}",
            file.written.key,
            length(file)
        )?;
    }
    Ok(text)
}

/// What another client finds in kept files while they are written: every byte that was fsynced before it opened
/// them, and behind those what is on its way.
pub fn peek(root: &Path, told: &Path) -> Result<()> {
    let mut files = 0;
    for (name, durable) in super::manifest(told)? {
        let mut held = Vec::new();
        File::open(root.join(&name))
            .and_then(|mut file| file.read_to_end(&mut held))
            .with_context(|| format!("reading {name}"))?;
        ensure!(
            held.len() as u64 >= durable.length,
            "{name} is {} bytes long, and {} were fsynced before it was opened",
            held.len(),
            durable.length
        );
        let whole = Content {
            length: held.len() as u64,
            ..durable
        };
        let wanted = whole.bytes(0);
        let wrong = (0..held.len()).find(|at| {
            let underway = *at as u64 >= durable.length;
            held[*at] != wanted[*at] && !(underway && held[*at] == 0)
        });
        if let Some(at) = wrong {
            bail!(
                "{name} differs at byte {at} of {}; {} were fsynced before it was opened",
                held.len(),
                durable.length
            );
        }
        files += 1;
    }
    println!("files={files}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_peeks_finds_what_was_fsynced_and_tells_a_byte_that_is_lost() {
        let folder = std::env::temp_dir().join(format!("headrace-kept-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let told = folder.join("told");
        let limit = Duration::from_secs(1);
        let lines = run(&folder, &told, 2, Dice(3), &folder.join("stop"), limit).unwrap();
        peek(&folder, &told).unwrap();
        fs::write(&told, lines).unwrap();
        peek(&folder, &told).unwrap();
        let one = folder.join(KEPT).join("k1");
        let mut bytes = fs::read(&one).unwrap();
        bytes[7] ^= 1;
        fs::write(&one, &bytes).unwrap();
        let said = peek(&folder, &told).unwrap_err().to_string();
        assert!(said.contains("k1 differs at byte 7"), "{said}");
        fs::write(&one, &bytes[..7]).unwrap();
        let said = peek(&folder, &told).unwrap_err().to_string();
        assert!(said.contains("k1 is 7 bytes long"), "{said}");
        fs::remove_dir_all(folder).unwrap();
    }
}
