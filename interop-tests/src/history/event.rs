//! One operation of a history, and the line of text that a worker writes of it.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail, ensure};

/// Files of blocks consist of these: no multiple of a page or of a stripe, so that writers share pages.
pub const BLOCK_BYTES: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `client/worker`.
    pub who: String,
    /// A tick from before it began.
    pub began: u64,
    /// A tick from after it ended.
    pub ended: u64,
    pub deed: Deed,
}

impl Event {
    pub fn client(&self) -> &str {
        self.who.split('/').next().unwrap_or_default()
    }

    /// Whether it was over before the other began. Two of which neither is before the other overlap.
    pub fn is_before(&self, other: &Self) -> bool {
        self.ended < other.began
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        !self.is_before(other) && !other.is_before(self)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Tried what one alone can succeed with: `create:claims/f3`.
    Tried {
        what: String,
        won: bool,
    },
    /// Read who made a file that was created with O_EXCL.
    Maker {
        name: String,
        said: String,
    },
    /// Done while holding a lock on `file`: it began once the lock was there, and ended before the lock was given back.
    Locked {
        file: String,
        hold: Hold,
        deed: UnderLock,
    },
    /// Opened (`cut`: with O_TRUNC), wrote all blocks, and closed.
    Wrote {
        file: String,
        id: u64,
        blocks: usize,
        cut: bool,
    },
    /// Opened, read to the end, and closed.
    Read {
        file: String,
        content: Content,
    },
    Made {
        name: String,
    },
    Removed {
        name: String,
    },
    Renamed {
        from: String,
        to: String,
    },
    Listed {
        names: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    Shared,
    Exclusive,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnderLock {
    Appended {
        record: u64,
    },
    ReadLog {
        records: Vec<u64>,
    },
    /// Found a number and wrote the next.
    Added {
        found: u64,
    },
    Wrote {
        first: usize,
        blocks: usize,
        id: u64,
    },
    Truncated {
        blocks: usize,
    },
    Read {
        content: Content,
    },
}

/// What a file of blocks held: of each block the ids that were found in it, 0 for zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub bytes: usize,
    pub blocks: Vec<Vec<u64>>,
}

impl Content {
    pub fn of(bytes: &[u8]) -> Self {
        let blocks = bytes.chunks(BLOCK_BYTES).map(|block| {
            let mut ids: Vec<u64> = Vec::new();
            for word in block.chunks(8) {
                let mut whole = [0; 8];
                whole[..word.len()].copy_from_slice(word);
                let id = u64::from_le_bytes(whole);
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
            ids
        });
        Self {
            bytes: bytes.len(),
            blocks: blocks.collect(),
        }
    }

    /// `blocks` blocks that a write with this id leaves.
    pub fn bytes_of(id: u64, blocks: usize) -> Vec<u8> {
        id.to_le_bytes().repeat(blocks * BLOCK_BYTES / 8)
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blocks: Vec<String> = self.blocks.iter().map(|ids| joined(ids, "+")).collect();
        write!(f, "{}:{}", self.bytes, blocks.join(","))
    }
}

impl FromStr for Content {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (bytes, blocks) = text.split_once(':').context("a content without a size")?;
        Ok(Self {
            bytes: bytes.parse()?,
            blocks: listed(blocks, ',')
                .map(|ids| Ok(listed(ids, '+').map(str::parse).collect::<Result<_, _>>()?))
                .collect::<Result<_>>()?,
        })
    }
}

fn joined<T: ToString>(list: &[T], between: &str) -> String {
    let texts: Vec<String> = list.iter().map(ToString::to_string).collect();
    texts.join(between)
}

fn listed(text: &str, between: char) -> impl Iterator<Item = &str> {
    text.split(between).filter(|item| !item.is_empty())
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            who,
            began,
            ended,
            deed,
        } = self;
        write!(f, "{began} {ended} {who} ")?;
        match deed {
            Deed::Tried { what, won } => write!(f, "tried {what} {won}"),
            Deed::Maker { name, said } => write!(f, "maker {name} {said}"),
            Deed::Locked { file, hold, deed } => {
                let hold = match hold {
                    Hold::Shared => "shared",
                    Hold::Exclusive => "exclusive",
                };
                write!(f, "locked {file} {hold} {deed}")
            }
            Deed::Wrote {
                file,
                id,
                blocks,
                cut,
            } => write!(f, "wrote {file} {id} {blocks} {cut}"),
            Deed::Read { file, content } => write!(f, "read {file} {content}"),
            Deed::Made { name } => write!(f, "made {name}"),
            Deed::Removed { name } => write!(f, "removed {name}"),
            Deed::Renamed { from, to } => write!(f, "renamed {from} {to}"),
            Deed::Listed { names } => write!(f, "listed {}", joined(names, ",")),
        }
    }
}

impl fmt::Display for UnderLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Appended { record } => write!(f, "appended {record}"),
            Self::ReadLog { records } => write!(f, "log {}", joined(records, ",")),
            Self::Added { found } => write!(f, "added {found}"),
            Self::Wrote { first, blocks, id } => write!(f, "wrote {first} {blocks} {id}"),
            Self::Truncated { blocks } => write!(f, "truncated {blocks}"),
            Self::Read { content } => write!(f, "read {content}"),
        }
    }
}

/// The words of one line, taken one by one.
struct Words<'a>(std::str::Split<'a, char>);

impl<'a> Words<'a> {
    fn next(&mut self) -> Result<&'a str> {
        self.0.next().context("the line ends too early")
    }

    fn text(&mut self) -> Result<String> {
        self.next().map(str::to_owned)
    }

    fn parse<T>(&mut self) -> Result<T>
    where
        T: FromStr,
        Error: From<T::Err>,
    {
        Ok(self.next()?.parse()?)
    }
}

impl FromStr for Event {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let mut words = Words(line.split(' '));
        let event = event(&mut words).with_context(|| format!("no event: {line}"))?;
        ensure!(words.0.next().is_none(), "words are left over: {line}");
        Ok(event)
    }
}

fn event(words: &mut Words<'_>) -> Result<Event> {
    Ok(Event {
        began: words.parse()?,
        ended: words.parse()?,
        who: words.text()?,
        deed: match words.next()? {
            "tried" => Deed::Tried {
                what: words.text()?,
                won: words.parse()?,
            },
            "maker" => Deed::Maker {
                name: words.text()?,
                said: words.text()?,
            },
            "locked" => Deed::Locked {
                file: words.text()?,
                hold: match words.next()? {
                    "shared" => Hold::Shared,
                    "exclusive" => Hold::Exclusive,
                    other => bail!("no way to hold a lock: {other}"),
                },
                deed: under_lock(words)?,
            },
            "wrote" => Deed::Wrote {
                file: words.text()?,
                id: words.parse()?,
                blocks: words.parse()?,
                cut: words.parse()?,
            },
            "read" => Deed::Read {
                file: words.text()?,
                content: words.parse()?,
            },
            "made" => Deed::Made {
                name: words.text()?,
            },
            "removed" => Deed::Removed {
                name: words.text()?,
            },
            "renamed" => Deed::Renamed {
                from: words.text()?,
                to: words.text()?,
            },
            "listed" => Deed::Listed {
                names: listed(words.next()?, ',').map(str::to_owned).collect(),
            },
            other => bail!("no deed: {other}"),
        },
    })
}

fn under_lock(words: &mut Words<'_>) -> Result<UnderLock> {
    Ok(match words.next()? {
        "appended" => UnderLock::Appended {
            record: words.parse()?,
        },
        "log" => UnderLock::ReadLog {
            records: listed(words.next()?, ',')
                .map(str::parse)
                .collect::<Result<_, _>>()?,
        },
        "added" => UnderLock::Added {
            found: words.parse()?,
        },
        "wrote" => UnderLock::Wrote {
            first: words.parse()?,
            blocks: words.parse()?,
            id: words.parse()?,
        },
        "truncated" => UnderLock::Truncated {
            blocks: words.parse()?,
        },
        "read" => UnderLock::Read {
            content: words.parse()?,
        },
        other => bail!("no deed under a lock: {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_what_is_read() {
        let content = Content {
            bytes: 2500,
            blocks: vec![vec![7], vec![7, 0], vec![9]],
        };
        let file = || "ranges/0".to_owned();
        let locked = |deed| Deed::Locked {
            file: file(),
            hold: Hold::Exclusive,
            deed,
        };
        let name = || "n1".to_owned();
        let deeds = [
            Deed::Tried {
                what: "create:claims/f1".to_owned(),
                won: true,
            },
            Deed::Maker {
                name: name(),
                said: "a/1".to_owned(),
            },
            locked(UnderLock::Appended { record: 5 }),
            locked(UnderLock::ReadLog {
                records: vec![5, 6],
            }),
            locked(UnderLock::ReadLog { records: vec![] }),
            locked(UnderLock::Added { found: 3 }),
            locked(UnderLock::Wrote {
                first: 1,
                blocks: 2,
                id: 9,
            }),
            locked(UnderLock::Truncated { blocks: 4 }),
            Deed::Locked {
                file: file(),
                hold: Hold::Shared,
                deed: UnderLock::Read {
                    content: Content::default(),
                },
            },
            Deed::Wrote {
                file: file(),
                id: 4,
                blocks: 40,
                cut: false,
            },
            Deed::Read {
                file: file(),
                content,
            },
            Deed::Made { name: name() },
            Deed::Removed { name: name() },
            Deed::Renamed {
                from: name(),
                to: "n2".to_owned(),
            },
            Deed::Listed {
                names: vec![name(), "n2".to_owned()],
            },
        ];
        for deed in deeds {
            let event = Event {
                who: "a/1".to_owned(),
                began: 3,
                ended: 8,
                deed,
            };
            assert_eq!(event.to_string().parse::<Event>().unwrap(), event);
        }
        assert!("3 8 a/1 made n1 more".parse::<Event>().is_err());
        assert!("3 8 a/1 made".parse::<Event>().is_err());
    }

    #[test]
    fn a_block_of_two_writers_names_both_and_a_hole_is_zero() {
        let mut bytes = Content::bytes_of(3, 2);
        bytes[1000..1496].copy_from_slice(&Content::bytes_of(4, 1)[..496]);
        bytes.extend([0; 16]);
        let content = Content::of(&bytes);
        assert_eq!(content.bytes, 2016);
        assert_eq!(content.blocks, [vec![3], vec![4, 3], vec![0]]);
    }
}
