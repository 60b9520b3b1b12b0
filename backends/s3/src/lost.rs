//! What lost against somebody else's change: the writer is told, and his bytes are kept.
//!
//! Never here: whether something was lost.

use crate::spool::{Content, Spool};
use backend::tree::{TreeError, TreeErrorKind};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Files whose next COMMIT is to hear of it.
const TOLD: usize = 10_000;

#[derive(Default)]
pub(crate) struct Lost(Mutex<HashMap<u64, TreeError>>);

impl Lost {
    /// Whoever commits the file next is told.
    pub(crate) fn tell(&self, id: u64, error: &TreeError) {
        let mut told = self.0.lock();
        if told.len() < TOLD {
            told.insert(id, error.clone());
        }
    }

    pub(crate) fn take(&self, id: u64) -> Option<TreeError> {
        self.0.lock().remove(&id)
    }
}

/// Where what lost is kept, in the state folder: a folder of each change.
const KEPT: &str = "lost";
/// Before the name of one that isn't whole yet.
const UNDER_WAY: char = '.';
const CONTENT: &str = "content";

/// Moves the bytes of a change that lost to a folder of their own; the error and the log name it.
pub(crate) fn keep(state: &Path, key: &str, spool: &Spool, content: &Content) -> TreeError {
    let name = format!("{}-{}", crate::meta::now(), spool.id);
    let folder = state.join(KEPT).join(&name);
    let kept = format!("the bytes written here are kept in {}", folder.display());
    // First: after a death that comes next, the start gives the folder its name.
    tracing::warn!("somebody else changed {key:?} meanwhile; {kept}");
    let kept = match move_there(state, &name, &what(key, content), spool) {
        Ok(()) => kept,
        Err(error) => {
            let place = spool.path.display();
            let kept = format!(
                "the bytes written here lie in {place} until the next start; moving them away failed: {error}"
            );
            tracing::warn!("{kept}");
            kept
        }
    };
    let detail = format!("somebody else changed {key:?} meanwhile; {kept}");
    TreeError::new(TreeErrorKind::Conflict, detail)
}

fn what(key: &str, content: &Content) -> String {
    let mut what = format!(
        "key: {key}\nsize: {}\nbegan with the version: {}\n",
        content.object.size, content.object.etag
    );
    let base = content.local.gaps(0..content.base_bytes);
    if !base.is_empty() {
        what.push_str("not written, and of that version, are the bytes:\n");
        for gap in base {
            let _ = writeln!(what, "  {} to {}", gap.start, gap.end);
        }
    }
    what
}

/// Whole and durable under its name, or not there under it.
fn move_there(state: &Path, name: &str, what: &str, spool: &Spool) -> io::Result<()> {
    let all = state.join(KEPT);
    let folder = all.join(format!("{UNDER_WAY}{name}"));
    fs::create_dir_all(&folder)?;
    let mut file = File::create(folder.join("what.txt"))?;
    file.write_all(what.as_bytes())?;
    file.sync_all()?;
    File::open(&spool.path)?.sync_all()?;
    fs::rename(&spool.path, folder.join(CONTENT))?;
    File::open(&folder)?.sync_all()?;
    fs::rename(&folder, all.join(name))?;
    File::open(&all)?.sync_all()?;
    // It may be the first.
    File::open(state)?.sync_all()
}

/// Gives those their names that a death kept from it. One without its bytes is nobody's: the writer wasn't told, and
/// sends again what then loses again.
pub(crate) fn put_in_order(state: &Path) -> io::Result<()> {
    let all = state.join(KEPT);
    let entries = match fs::read_dir(&all) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_prefix(UNDER_WAY)) else {
            continue;
        };
        if entry.path().join(CONTENT).try_exists()? {
            fs::rename(entry.path(), all.join(name))?;
        } else {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
