//! Which versions are served: a file of notes, each synced before it counts, read whole at a start and
//! then written anew without what no longer counts.
//!
//! Never here: chunks.

use backend::Nanos;
use backend::upstream::Version;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Versions that are served at a time; for one more, the one that was offered first goes.
const OBJECTS_MOST: usize = 262_144;
/// Notes that no longer count, beyond as many as do, before the file is written anew.
const SPENT_MOST: usize = 4096;
const NOTE_MOST: usize = 8192;

/// Names a version that is served, over restarts; drawn, and never drawn twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(pub [u8; 16]);

impl ObjectId {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| digits)?;
        Some(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({self})")
    }
}

/// A version, where it comes from, and who may read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The name of its keeper.
    pub upstream: String,
    pub version: Version,
    pub mtime: Nanos,
    pub uid: u32,
    pub gid: u32,
}

impl Offer {
    fn place(&self) -> (String, String) {
        (self.upstream.clone(), self.version.key.clone())
    }
}

/// What became of an offer.
#[derive(Debug)]
pub struct Taken {
    pub id: ObjectId,
    /// Who is withdrawn by it.
    pub withdrawn: Vec<ObjectId>,
}

pub struct Ledger {
    path: PathBuf,
    file: File,
    /// Of what counts in the file.
    length: u64,
    notes: usize,
    live: HashMap<ObjectId, Offer>,
    by_key: HashMap<(String, String), ObjectId>,
    order: VecDeque<ObjectId>,
}

impl Ledger {
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut live = HashMap::new();
        let mut by_key = HashMap::new();
        let mut order = VecDeque::new();
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut rest = &bytes[..];
        // It ends where a note doesn't fit its checksum: one that was being written never counted.
        while let Some((note, behind)) = next(rest) {
            rest = behind;
            match note {
                Note::Offered(id, offer) => {
                    by_key.insert(offer.place(), id);
                    live.insert(id, offer);
                    order.push_back(id);
                }
                Note::Withdrawn(id) => {
                    if let Some(offer) = live.remove(&id)
                        && by_key.get(&offer.place()) == Some(&id)
                    {
                        by_key.remove(&offer.place());
                    }
                }
            }
        }
        order.retain(|id| live.contains_key(id));
        let (file, length) = rewrite(path, &order, &live)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            notes: live.len(),
            live,
            by_key,
            order,
        })
    }

    pub fn live(&self) -> impl Iterator<Item = (ObjectId, &Offer)> {
        self.live.iter().map(|(id, offer)| (*id, offer))
    }

    /// Durable on return.
    pub fn offer(&mut self, offer: Offer) -> io::Result<Taken> {
        let earlier = self.by_key.get(&offer.place()).copied();
        if let Some(id) = earlier
            && self.live.get(&id) == Some(&offer)
        {
            return Ok(Taken {
                id,
                withdrawn: Vec::new(),
            });
        }
        let mut withdrawn: Vec<ObjectId> = earlier.into_iter().collect();
        if self.live.len() - withdrawn.len() >= OBJECTS_MOST {
            withdrawn.extend(self.order.iter().find(|id| Some(**id) != earlier));
        }
        let id = ObjectId(rand::random());
        let mut notes: Vec<_> = withdrawn.iter().map(|id| encode_withdrawn(*id)).collect();
        notes.push(encode_offered(id, &offer));
        self.append(&notes)?;
        for gone in &withdrawn {
            self.forget(*gone);
        }
        self.by_key.insert(offer.place(), id);
        self.live.insert(id, offer);
        self.order.push_back(id);
        self.tidy();
        Ok(Taken { id, withdrawn })
    }

    /// Durable on return. Whether it was served.
    pub fn withdraw(&mut self, id: ObjectId) -> io::Result<bool> {
        if !self.live.contains_key(&id) {
            return Ok(false);
        }
        self.append(&[encode_withdrawn(id)])?;
        self.forget(id);
        self.tidy();
        Ok(true)
    }

    fn forget(&mut self, id: ObjectId) {
        if let Some(offer) = self.live.remove(&id)
            && self.by_key.get(&offer.place()) == Some(&id)
        {
            self.by_key.remove(&offer.place());
        }
    }

    fn append(&mut self, notes: &[Vec<u8>]) -> io::Result<()> {
        let bytes = notes.concat();
        let written = self.file.write_all_at(&bytes, self.length);
        if let Err(error) = written.and_then(|()| self.file.sync_data()) {
            // The next one begins at the same place, and must not have whole notes of this one behind it.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }
        self.length += bytes.len() as u64;
        self.notes += notes.len();
        Ok(())
    }

    fn tidy(&mut self) {
        if self.notes <= 2 * self.live.len() + SPENT_MOST {
            return;
        }
        self.order.retain(|id| self.live.contains_key(id));
        match rewrite(&self.path, &self.order, &self.live) {
            Ok((file, length)) => {
                (self.file, self.length) = (file, length);
                self.notes = self.live.len();
            }
            // It is only long.
            Err(error) => {
                tracing::warn!(%error, "the notes of what is cached can't be written anew");
            }
        }
    }
}

fn rewrite(
    path: &Path,
    order: &VecDeque<ObjectId>,
    live: &HashMap<ObjectId, Offer>,
) -> io::Result<(File, u64)> {
    let beside = path.with_extension("new");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&beside)?;
    let notes = order
        .iter()
        .filter_map(|id| Some(encode_offered(*id, live.get(id)?)));
    let bytes: Vec<u8> = notes.flatten().collect();
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok((file, bytes.len() as u64))
}

enum Note {
    Offered(ObjectId, Offer),
    Withdrawn(ObjectId),
}

const OFFERED: u8 = 1;
const WITHDRAWN: u8 = 2;

/// Length, checksum, content.
fn framed(body: &[u8]) -> Vec<u8> {
    let mut note = Vec::with_capacity(8 + body.len());
    note.extend((body.len() as u32).to_be_bytes());
    note.extend(crc32c::crc32c(body).to_be_bytes());
    note.extend(body);
    note
}

fn encode_withdrawn(id: ObjectId) -> Vec<u8> {
    let mut body = vec![WITHDRAWN];
    body.extend(id.0);
    framed(&body)
}

fn encode_offered(id: ObjectId, offer: &Offer) -> Vec<u8> {
    let mut body = vec![OFFERED];
    body.extend(id.0);
    body.extend(offer.version.size.to_be_bytes());
    body.extend(offer.mtime.to_be_bytes());
    body.extend(offer.uid.to_be_bytes());
    body.extend(offer.gid.to_be_bytes());
    for text in [&offer.upstream, &offer.version.key, &offer.version.etag] {
        body.extend((text.len() as u32).to_be_bytes());
        body.extend(text.as_bytes());
    }
    framed(&body)
}

fn next(bytes: &[u8]) -> Option<(Note, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*length) as usize;
    if length > NOTE_MOST {
        return None;
    }
    let (body, rest) = rest.split_at_checked(length)?;
    if crc32c::crc32c(body) != u32::from_be_bytes(*sum) {
        return None;
    }
    Some((decode(body)?, rest))
}

fn decode(body: &[u8]) -> Option<Note> {
    let (kind, rest) = body.split_first()?;
    let (id, rest) = rest.split_first_chunk::<16>()?;
    let id = ObjectId(*id);
    match *kind {
        WITHDRAWN => Some(Note::Withdrawn(id)),
        OFFERED => {
            let (size, rest) = rest.split_first_chunk::<8>()?;
            let (mtime, rest) = rest.split_first_chunk::<16>()?;
            let (uid, rest) = rest.split_first_chunk::<4>()?;
            let (gid, rest) = rest.split_first_chunk::<4>()?;
            let (upstream, rest) = text(rest)?;
            let (key, rest) = text(rest)?;
            let (etag, _) = text(rest)?;
            let offer = Offer {
                upstream,
                version: Version {
                    key,
                    etag,
                    size: u64::from_be_bytes(*size),
                },
                mtime: Nanos::from_be_bytes(*mtime),
                uid: u32::from_be_bytes(*uid),
                gid: u32::from_be_bytes(*gid),
            };
            Some(Note::Offered(id, offer))
        }
        _ => None,
    }
}

fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (text, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    Some((String::from_utf8(text.to_vec()).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(key: &str, etag: &str) -> Offer {
        Offer {
            upstream: "lake".into(),
            version: Version {
                key: key.into(),
                etag: etag.into(),
                size: 5,
            },
            mtime: -1,
            uid: 3,
            gid: 4,
        }
    }

    fn served(ledger: &Ledger) -> Vec<(ObjectId, Offer)> {
        let mut all: Vec<_> = ledger.live().map(|(id, o)| (id, o.clone())).collect();
        all.sort_by_key(|(id, _)| *id);
        all
    }

    #[test]
    fn of_one_key_one_version_is_served_and_it_is_known_after_a_start() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("offers");
        let mut ledger = Ledger::open(&path).expect("it opens");
        let first = ledger.offer(offer("a", "1")).expect("it is taken");
        let again = ledger.offer(offer("a", "1")).expect("it is taken");
        assert_eq!((first.id, ledger.notes), (again.id, 1));
        let second = ledger.offer(offer("a", "2")).expect("it is taken");
        assert_eq!(second.withdrawn, [first.id]);
        let other = ledger.offer(offer("b", "1")).expect("it is taken");
        assert!(ledger.withdraw(other.id).expect("it is withdrawn"));
        assert!(!ledger.withdraw(other.id).expect("nothing is done"));
        let before = served(&ledger);
        assert_eq!(before, [(second.id, offer("a", "2"))]);
        drop(ledger);
        let ledger = Ledger::open(&path).expect("it opens");
        assert_eq!(served(&ledger), before);
    }

    #[test]
    fn a_note_that_a_crash_tore_never_counted_and_those_before_it_do() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("offers");
        let mut ledger = Ledger::open(&path).expect("it opens");
        ledger.offer(offer("a", "1")).expect("it is taken");
        let before = served(&ledger);
        let whole = ledger.length;
        ledger.offer(offer("b", "1")).expect("it is taken");
        let end = ledger.length;
        drop(ledger);
        let bytes = fs::read(&path).expect("it is read");
        for cut in whole..end {
            fs::write(&path, &bytes[..cut as usize]).expect("it is torn");
            let ledger = Ledger::open(&path).expect("it opens");
            assert_eq!(served(&ledger), before, "cut at {cut}");
        }
    }

    #[test]
    fn the_notes_do_not_grow_without_end() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut ledger = Ledger::open(&dir.path().join("offers")).expect("it opens");
        ledger.notes = SPENT_MOST + 10;
        ledger.offer(offer("a", "1")).expect("it is taken");
        assert_eq!(ledger.notes, 1);
        assert_eq!(
            ledger.length,
            encode_offered(ObjectId([0; 16]), &offer("a", "1")).len() as u64
        );
    }
}
