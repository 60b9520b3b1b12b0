//! What every tree must do, as a suite that each implementation runs on itself: one function a claim,
//! which panics with what isn't so. [`crate::tree_conformance_tests`] makes a test of each.
//!
//! Never here: what only one kind of keeper does.

use super::{
    Caller, CreateHow, FolderChange, Make, Node, NodeChanges, NodeKind, NodeStat, Tree, TreeError,
    TreeErrorKind,
};
use crate::{Stability, Written};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;

mod attributes;
mod content;
mod kinds;
mod listing;
mod names;
mod renames;

pub use attributes::*;
pub use content::*;
pub use kinds::*;
pub use listing::*;
pub use names::*;
pub use renames::*;

/// A tree under test.
#[async_trait]
pub trait Subject: Send + Sync {
    fn tree(&self) -> Arc<dyn Tree>;

    /// An empty folder that root may do everything in.
    async fn folder(&self) -> Bytes;

    /// Restarts the keeper in such a way that unstable writes may be lost; false where the test can't.
    async fn restart(&self) -> bool {
        false
    }

    /// Waits until a change now has another time than one before the call, where the keeper makes
    /// [`NodeStat::change`] of its clock's coarse ticks.
    async fn tick(&self) {}
}

/// Makes a test of each claim. `$subject` is an expression, awaited anew for each, that gives a [`Subject`].
#[macro_export]
macro_rules! tree_conformance_tests {
    ($subject:expr) => {
        $crate::tree_conformance_tests!(
            $subject;
            a_made_name_is_found_and_an_unmade_one_is_not,
            a_taken_name_is_not_made_again,
            an_unchecked_create_opens_what_is_there,
            an_exclusive_create_knows_its_own_retry,
            of_racing_exclusive_creates_one_wins,
            of_racing_folders_of_one_name_one_is_made,
            what_is_born_has_the_attributes_asked_for,
            a_removed_name_is_gone_and_so_is_its_handle,
            a_full_folder_is_not_removed,
            odd_names_are_kept_byte_for_byte_or_refused,
            names_that_differ_little_are_different_names,
            the_longest_name_is_kept_and_a_longer_one_refused,
            names_that_nothing_can_have_are_refused,
            deep_folders_know_what_they_lie_in,
            names_lie_in_folders_alone,
            a_handle_that_nobody_made_is_gone,
            names_and_handles_survive_a_restart,
            a_rename_keeps_the_handle_and_the_bytes,
            a_renamed_folder_takes_along_what_is_in_it,
            a_rename_replaces_a_file,
            a_rename_replaces_an_empty_folder_and_never_a_full_one,
            a_rename_never_replaces_another_kind,
            a_folder_never_moves_into_itself,
            a_rename_to_its_own_name_changes_nothing,
            a_rename_of_nothing_is_refused,
            a_listing_has_each_entry_once_and_no_dots,
            a_listing_goes_on_over_creates_and_removes,
            every_cookie_goes_on_behind_its_entry,
            an_empty_folder_lists_nothing,
            listed_nodes_are_what_a_lookup_finds,
            names_alone_are_listed_as_with_their_nodes,
            a_second_name_is_the_same_file,
            a_second_name_is_never_one_that_is_taken,
            a_rename_of_one_name_to_another_of_the_same_file_changes_nothing,
            a_symlink_keeps_its_target_byte_for_byte,
            special_files_are_what_they_were_made,
            extended_attributes_are_kept_apart_from_the_bytes,
            only_files_have_bytes,
            mode_and_owner_can_be_set,
            times_can_be_set,
            a_folder_has_no_length_to_set,
            change_moves_with_each_change,
            a_change_of_names_tells_the_folders_change,
            a_write_moves_the_times,
            strangers_get_what_the_mode_gives,
            what_is_there_is_opened_in_a_folder_that_the_caller_may_not_write,
            only_its_owner_changes_a_mode_and_root_an_owner,
            what_was_written_is_read_back,
            a_read_at_the_end_says_so,
            a_hole_reads_as_zeros_past_4_gib,
            what_a_truncate_cut_never_comes_back,
            a_length_that_no_file_has_is_too_large,
            a_commit_has_the_verifier_of_the_writes_before_it,
            durable_bytes_survive_a_restart_and_the_verifier_tells_of_it,
            transfers_of_the_largest_size_work,
            writers_of_different_ranges_do_not_disturb_each_other,
            space_is_told
        );
    };
    ($subject:expr; $($claim:ident),*) => {
        $(
            #[tokio::test]
            async fn $claim() {
                let subject = $subject.await;
                $crate::tree::conformance::$claim(&subject).await;
            }
        )*
    };
}

const OWNER: u32 = 70_001;
const GROUP: u32 = 70_011;
const STRANGER: u32 = 70_002;

/// Root at work in the subject's folder.
struct Work {
    tree: Arc<dyn Tree>,
    caller: Caller,
    folder: Bytes,
}

impl Work {
    async fn begin(subject: &dyn Subject) -> Self {
        Self {
            tree: subject.tree(),
            caller: Caller::root(),
            folder: subject.folder().await,
        }
    }

    /// The same in another folder.
    fn inside(&self, folder: &Node) -> Self {
        Self {
            tree: self.tree.clone(),
            caller: self.caller.clone(),
            folder: folder.handle.clone(),
        }
    }

    async fn create(&self, name: &str, how: CreateHow) -> Result<Node, TreeError> {
        let born = mode(0o644);
        let made = self
            .tree
            .create(&self.caller, &self.folder, &text(name), how, &born)
            .await?;
        Ok(made.0)
    }

    async fn make(&self, name: &str, what: Make) -> Result<Node, TreeError> {
        let born = mode(0o755);
        let made = self
            .tree
            .make(&self.caller, &self.folder, &text(name), what, &born)
            .await?;
        Ok(made.0)
    }

    async fn file(&self, name: &str) -> Node {
        let made = self.create(name, CreateHow::Guarded).await;
        let made = made.expect("a file can be made");
        assert_eq!(made.stat.kind, NodeKind::Regular);
        assert!(
            !made.handle.is_empty() && made.handle.len() <= super::NODE_MAX_BYTES,
            "a handle has 1 to 64 bytes"
        );
        made
    }

    async fn subfolder(&self, name: &str) -> Node {
        let made = self.make(name, Make::Folder).await;
        let made = made.expect("a folder can be made");
        assert_eq!(made.stat.kind, NodeKind::Folder);
        made
    }

    async fn find(&self, name: &str) -> Result<Node, TreeError> {
        self.tree
            .lookup(&self.caller, &self.folder, &text(name))
            .await
    }

    async fn found(&self, name: &str) -> Node {
        self.find(name).await.expect("the name is there")
    }

    async fn misses(&self, name: &str) {
        let found = kind(self.find(name).await);
        assert_eq!(found, TreeErrorKind::NoEntry, "{name:?} must not be there");
    }

    async fn remove(&self, name: &str) -> Result<FolderChange, TreeError> {
        self.tree
            .remove(&self.caller, &self.folder, &text(name))
            .await
    }

    async fn removed(&self, name: &str) {
        self.remove(name).await.expect("the name can be removed");
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), TreeError> {
        self.move_to(from, self, to).await
    }

    async fn move_to(&self, from: &str, other: &Self, to: &str) -> Result<(), TreeError> {
        let (from, to) = (text(from), text(to));
        let (from, to) = ((&self.folder, &from), (&other.folder, &to));
        self.tree.rename(&self.caller, from, to).await.map(drop)
    }

    async fn link(&self, node: &Node, name: &str) -> Result<FolderChange, TreeError> {
        self.tree
            .link(&self.caller, &node.handle, &self.folder, &text(name))
            .await
    }

    async fn stat(&self, handle: &Bytes) -> NodeStat {
        let stat = self.tree.stat(&self.caller, handle).await;
        stat.expect("the node is there")
    }

    async fn set(&self, node: &Node, changes: NodeChanges) -> Result<NodeStat, TreeError> {
        self.tree.set(&self.caller, &node.handle, &changes).await
    }

    async fn set_size(&self, node: &Node, size: u64) -> Result<NodeStat, TreeError> {
        let changes = NodeChanges {
            size: Some(size),
            ..NodeChanges::default()
        };
        self.set(node, changes).await
    }

    /// All of the bytes, in as many WRITEs as it takes; what the last one said.
    async fn write(&self, node: &Node, offset: u64, data: &Bytes, stability: Stability) -> Written {
        let mut done = 0;
        loop {
            let at = offset + done as u64;
            let rest = data.slice(done..);
            let written = self
                .tree
                .write(&self.caller, &node.handle, at, rest, stability)
                .await
                .expect("a WRITE succeeds");
            assert!(
                written.count as usize <= data.len() - done,
                "a WRITE takes no more than it was given"
            );
            assert!(
                written.count > 0 || done == data.len(),
                "a WRITE takes at least one byte"
            );
            assert!(
                stability == Stability::Unstable || written.durable,
                "a durable WRITE is answered as durable"
            );
            done += written.count as usize;
            if done >= data.len() {
                return written;
            }
        }
    }

    async fn read(&self, node: &Node, offset: u64, length: usize) -> Vec<u8> {
        let mut data = Vec::new();
        while data.len() < length {
            let want = (length - data.len()) as u32;
            let got = self
                .tree
                .read(&self.caller, &node.handle, offset + data.len() as u64, want)
                .await
                .expect("a READ succeeds");
            assert!(
                got.data.len() <= want as usize,
                "a READ gives no more than was asked for"
            );
            assert!(
                !got.data.is_empty() || got.at_end,
                "a READ before the end gives at least one byte"
            );
            data.extend_from_slice(&got.data);
            if got.at_end {
                break;
            }
        }
        data
    }

    /// Every name of the folder, in pages of about `most`.
    async fn names(&self, most: usize) -> Vec<Bytes> {
        let pages = listing::Pages::of(self, most).await;
        pages.entries.into_iter().map(|entry| entry.name).collect()
    }
}

fn text(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

fn mode(mode: u32) -> NodeChanges {
    NodeChanges {
        mode: Some(mode),
        ..NodeChanges::default()
    }
}

fn caller(uid: u32, gid: u32) -> Caller {
    Caller {
        uid,
        gid,
        groups: Arc::default(),
    }
}

fn pattern(length: usize, salt: u8) -> Bytes {
    (0..length).map(|at| (at % 251) as u8 ^ salt).collect()
}

fn kind<T: std::fmt::Debug>(answer: Result<T, TreeError>) -> TreeErrorKind {
    answer.expect_err("this must be refused").kind
}

/// Says why a claim doesn't hold for a subject, which must refuse it for good then.
fn unable<T: std::fmt::Debug>(answer: Result<T, TreeError>, what: &str) {
    assert_eq!(kind(answer), TreeErrorKind::Unsupported);
    println!("skipped: this tree has no {what}, and says so");
}
