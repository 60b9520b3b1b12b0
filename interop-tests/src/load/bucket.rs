//! The load of a bucket's files while its servers are killed and cut off, and one writer of keys that somebody else
//! writes as well. Runs inside a guest.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Content, Dice, Lies, MOST_FILES, Operation, Worker, first_difference};
use crate::history::ticks::Ticks;

/// Beyond this a file goes up in parts.
const PART_BYTES: u64 = 16 << 20;
/// Of each version of a file that two write: one WRITE. All are as long, since a write that its client sends again
/// after the metadata server died goes into whatever version is there then.
const CONTESTED_BYTES: u64 = 24 << 10;
/// The folder of files that two write, and what its writer here tells of them.
pub const CONTESTED: &str = "contested";
const KEY_BYTES: usize = 8;

impl Worker {
    /// What a bucket's files are good for, in sizes that it takes differently.
    pub(super) fn next_on_a_bucket(&mut self) -> Operation {
        if self.files.is_empty() {
            return Operation::Create;
        }
        if self.files.len() >= MOST_FILES / 2 {
            return Operation::Unlink;
        }
        match self.dice.below(12) {
            0..=2 => Operation::Create,
            3..=4 => Operation::Rename,
            5 => Operation::Unlink,
            6..=7 => Operation::Append,
            8 => Operation::Overwrite,
            9 => Operation::Truncate,
            10 if self.lies == Lies::InManagedBucket => Operation::Link,
            _ => Operation::Read,
        }
    }

    pub(super) fn some_length_in_parts(&mut self) -> u64 {
        PART_BYTES + 1 + self.dice.below(4 << 20)
    }

    pub(super) fn truncate(&mut self) -> Result<()> {
        let name = self.some_file();
        let old = self.files[&name];
        let content = Content {
            length: self.dice.below(old.length + 1),
            ..old
        };
        OpenOptions::new()
            .write(true)
            .open(self.path(&name))
            .and_then(|file| file.set_len(content.length))
            .with_context(|| format!("cutting {name}"))?;
        self.replace_links(old, content, &name);
        Ok(())
    }

    /// What is read is what was written last; without the client's own cache, every other time.
    pub(super) fn read(&mut self) -> Result<()> {
        let name = self.some_file();
        if self.dice.below(2) == 0 {
            fs::write("/proc/sys/vm/drop_caches", "1").context("emptying the client's cache")?;
        }
        let held = self.files[&name];
        match first_difference(&self.path(&name), held)
            .with_context(|| format!("reading {name}"))?
        {
            None => Ok(()),
            Some(difference) => bail!("{name}, read while the load goes on: {difference}"),
        }
    }
}

/// A version of a file that two write: it says its key, and all of it follows from that.
pub fn version(key: u64) -> Vec<u8> {
    let mut bytes = key.to_le_bytes().to_vec();
    let content = Content {
        key,
        length: CONTESTED_BYTES - KEY_BYTES as u64,
    };
    bytes.extend(content.bytes(0));
    bytes
}

/// Which version these bytes are, when they are one.
pub fn key_of(bytes: &[u8]) -> Option<u64> {
    let key = u64::from_le_bytes(bytes.get(..KEY_BYTES)?.try_into().ok()?);
    (version(key) == bytes).then_some(key)
}

/// A write of a file that two write, with ticks before and after.
#[derive(Clone, Copy, Debug)]
pub struct Put {
    pub file: u64,
    pub key: u64,
    pub began: u64,
    pub ended: u64,
    /// Else its writer was told EIO.
    pub acknowledged: bool,
}

impl Put {
    fn line(&self) -> String {
        let Self {
            file,
            key,
            began,
            ended,
            acknowledged,
        } = self;
        format!("{file}\t{key}\t{began}\t{ended}\t{acknowledged}\n")
    }

    pub fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let put = Self {
            file: fields.next()?.parse().ok()?,
            key: fields.next()?.parse().ok()?,
            began: fields.next()?.parse().ok()?,
            ended: fields.next()?.parse().ok()?,
            acknowledged: fields.next()?.parse().ok()?,
        };
        fields.next().is_none().then_some(put)
    }
}

/// What the writer here is started with.
#[derive(Clone, Debug)]
pub struct Contest {
    pub folder: PathBuf,
    pub files: u64,
    pub clock: SocketAddr,
    /// Where its writes are told of.
    pub told: PathBuf,
}

/// Writes whole versions until the stop file appears; how many, and how many of them lost.
pub(super) fn contest(
    plan: &Contest,
    mut dice: Dice,
    stop: &Path,
    limit: Duration,
) -> Result<(u64, u64)> {
    let mut ticks = Ticks::of(plan.clock)?;
    let mut told = File::create(&plan.told).context("where writes are told of")?;
    let end = Instant::now() + limit;
    let (mut puts, mut lost) = (0, 0);
    while Instant::now() < end && !stop.exists() {
        let file = dice.below(plan.files);
        let path = plan.folder.join(file.to_string());
        seen_whole(&path).with_context(|| format!("reading the contested file {file}"))?;
        let key = dice.roll() >> 1;
        let began = ticks.next()?;
        let emptied = OpenOptions::new().write(true).truncate(true).open(&path);
        if emptied.as_ref().is_err_and(is_told_of_a_loss) {
            // Nothing was written.
            continue;
        }
        let written = emptied.and_then(|open| {
            open.write_all_at(&version(key), 0)?;
            open.sync_all()
        });
        let acknowledged = match written {
            Ok(()) => true,
            Err(error) if is_told_of_a_loss(&error) => false,
            Err(error) => {
                return Err(error).with_context(|| format!("writing the contested file {file}"));
            }
        };
        let put = Put {
            file,
            key,
            began,
            ended: ticks.next()?,
            acknowledged,
        };
        told.write_all(put.line().as_bytes())?;
        puts += 1;
        lost += u64::from(!acknowledged);
    }
    Ok((puts, lost))
}

/// Whoever reads while the other puts a version may be given the length of one and the bytes of the next, as NFS
/// has it; who opens the file again sees one whole.
fn seen_whole(path: &Path) -> Result<()> {
    const LOOKS: usize = 20;
    let mut held = Vec::new();
    for _ in 0..LOOKS {
        held.clear();
        File::open(path)?.read_to_end(&mut held)?;
        if key_of(&held).is_some() {
            return Ok(());
        }
    }
    bail!(
        "{} bytes, of more than one version, however often it is opened",
        held.len()
    )
}

fn is_told_of_a_loss(error: &std::io::Error) -> bool {
    const EIO: i32 = 5;
    error.raw_os_error() == Some(EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_known_whole_and_no_mix_of_two_is_one() {
        let (one, other) = (version(7), version(9));
        assert_eq!(one.len(), other.len());
        assert_eq!((key_of(&one), key_of(&other)), (Some(7), Some(9)));
        let mix = [&one[..4096], &other[4096..]].concat();
        assert_eq!(key_of(&mix), None);
        assert_eq!(key_of(&one[..4096]), None);
        assert_eq!(key_of(&[]), None);
    }

    #[test]
    fn what_is_told_of_a_write_is_read_again() {
        let put = Put {
            file: 3,
            key: u64::MAX,
            began: 1,
            ended: 2,
            acknowledged: false,
        };
        let again = Put::parse(put.line().trim_end()).unwrap();
        assert_eq!(again.line(), put.line());
        assert!(Put::parse("1\t2").is_none());
    }
}
