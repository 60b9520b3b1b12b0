//! An export of a filer, shown as it is, keeps the contract of trees.

mod accidents;
mod found;
mod procedures;
mod server;
mod standing;
mod words;

use async_trait::async_trait;
use backend::tree::conformance::Subject;
use backend::tree::{MemoryTree, Tree};
use backend_nfs::{Address, ExportOptions, NfsExport};
use bytes::Bytes;
use server::{EXPORT, Filer, Habits};
use std::sync::Arc;
use std::time::Duration;

struct Shown {
    filer: Filer,
    export: Arc<NfsExport>,
}

fn address(filer: &Filer) -> Address {
    Address {
        name: "toaster".to_owned(),
        host: filer.address.ip(),
        nfs_port: Some(filer.address.port()),
        mount_port: None,
        export: EXPORT.to_owned(),
    }
}

/// Of a filer that is away, soon.
fn impatient() -> ExportOptions {
    ExportOptions {
        deadline: Duration::from_millis(500),
        probe_deadline: Duration::from_millis(500),
        reconnect_after: Duration::from_millis(50),
        ..ExportOptions::default()
    }
}

async fn shown_to(habits: Habits, options: ExportOptions) -> Shown {
    let filer = Filer::start(MemoryTree::new("filer").judging(), habits).await;
    let export = NfsExport::connect(address(&filer), "", options).await;
    Shown {
        export: Arc::new(export.expect("the export can be mounted")),
        filer,
    }
}

async fn shown(habits: Habits) -> Shown {
    shown_to(habits, ExportOptions::default()).await
}

#[async_trait]
impl Subject for Shown {
    fn tree(&self) -> Arc<dyn Tree> {
        self.export.clone()
    }

    async fn folder(&self) -> Bytes {
        let root = self.export.root().await;
        root.expect("there is a root").handle
    }

    async fn restart(&self) -> bool {
        self.filer.restart();
        true
    }
}

mod plain {
    use super::*;

    backend::tree_conformance_tests!(shown(Habits::default()));
}

mod that_can_and_tells_little {
    use super::*;

    fn habits() -> Habits {
        Habits {
            no_readdirplus: true,
            no_exclusive: true,
            ignores_modes: true,
            sets_owner_last: true,
            says_badtype: true,
            judges_first: true,
            tells_little: true,
            counts_from_one: true,
            ..Habits::default()
        }
    }

    backend::tree_conformance_tests!(shown(habits()));
}

/// Every fifth reply is lost: nobody may notice. Racing folders of one user are left out: they look alike.
mod that_loses_replies {
    use super::*;

    fn habits() -> Habits {
        Habits {
            loses_every: 5,
            ..Habits::default()
        }
    }

    backend::tree_conformance_tests!(
        shown(habits());
        a_made_name_is_found_and_an_unmade_one_is_not,
        a_taken_name_is_not_made_again,
        an_unchecked_create_opens_what_is_there,
        an_exclusive_create_knows_its_own_retry,
        of_racing_exclusive_creates_one_wins,
        what_is_born_has_the_attributes_asked_for,
        a_removed_name_is_gone_and_so_is_its_handle,
        a_full_folder_is_not_removed,
        odd_names_are_kept_byte_for_byte_or_refused,
        names_that_differ_little_are_different_names,
        deep_folders_know_what_they_lie_in,
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
        a_second_name_is_the_same_file,
        a_second_name_is_never_one_that_is_taken,
        a_symlink_keeps_its_target_byte_for_byte,
        special_files_are_what_they_were_made,
        change_moves_with_each_change,
        what_was_written_is_read_back,
        what_a_truncate_cut_never_comes_back
    );
}
