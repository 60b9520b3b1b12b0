//! What lost against somebody else's change: the writer is told, and his bytes are kept.
//!
//! Never here: whether something was lost.

use crate::spool::{Content, Spool};
use backend::tree::{TreeError, TreeErrorKind};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

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

/// Moves the bytes of a change that lost to a folder of their own; the error names it.
pub(crate) fn keep(state: &Path, key: &str, spool: &Spool, content: &Content) -> TreeError {
    let kept = match move_there(state, key, spool, content) {
        Ok(folder) => format!("the bytes written here are kept in {}", folder.display()),
        Err(error) => format!(
            "the bytes written here lie in {} until the next start; moving them away failed: {error}",
            spool.path.display()
        ),
    };
    let detail = format!("somebody else changed {key:?} meanwhile; {kept}");
    tracing::warn!("{detail}");
    TreeError::new(TreeErrorKind::Conflict, detail)
}

fn move_there(state: &Path, key: &str, spool: &Spool, content: &Content) -> io::Result<PathBuf> {
    let folder = state
        .join("lost")
        .join(format!("{}-{}", crate::meta::now(), spool.id));
    std::fs::create_dir_all(&folder)?;
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
    std::fs::write(folder.join("what.txt"), what)?;
    std::fs::rename(&spool.path, folder.join("content"))?;
    Ok(folder)
}
