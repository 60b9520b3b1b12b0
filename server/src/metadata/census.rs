//! Which data servers are in service, and why the others aren't: known to the start, to what waits for
//! those that are away, and to `/metrics`.
//!
//! Never here: reaching for one.

use bytes::Bytes;
use layout::DataServerId;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Why a data server isn't in service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// It can't be reached; it is waited for.
    Away,
    /// It is there and must be otherwise; somebody has to act.
    Unfit,
}

#[derive(Debug, Clone)]
enum Standing {
    Serving { root: Bytes, ours: bool },
    Absent(Absence),
}

/// Every configured data server's standing.
#[derive(Debug, Default)]
pub struct Census(Mutex<BTreeMap<DataServerId, Standing>>);

impl Census {
    /// Takes a data server in, unless one that serves has the same root: then it is that one.
    pub fn serve(&self, id: DataServerId, root: Bytes, ours: bool) -> Result<(), DataServerId> {
        let mut standings = self.0.lock();
        let twin = standings.iter().find(|(other, standing)| {
            // A stranger's root handle may be another's too: those are told apart by their marks.
            let same = |there: &Bytes, also: bool| ours && also && *there == root;
            **other != id
                && matches!(standing, Standing::Serving { root, ours } if same(root, *ours))
        });
        if let Some((twin, _)) = twin {
            return Err(*twin);
        }
        standings.insert(id, Standing::Serving { root, ours });
        Ok(())
    }

    pub fn absent(&self, id: DataServerId, why: Absence) {
        self.0.lock().insert(id, Standing::Absent(why));
    }

    /// `None`: it serves.
    pub fn absence(&self, id: DataServerId) -> Option<Absence> {
        match self.0.lock().get(&id) {
            Some(Standing::Absent(why)) => Some(*why),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Bytes = Bytes::from_static(b"root");

    #[test]
    fn two_of_ours_with_one_root_are_one_whatever_their_addresses() {
        let census = Census::default();
        assert_eq!(census.serve(DataServerId(1), ROOT, true), Ok(()));
        assert_eq!(
            census.serve(DataServerId(2), ROOT, true),
            Err(DataServerId(1))
        );
        assert_eq!(
            census.serve(DataServerId(1), ROOT, true),
            Ok(()),
            "it came back"
        );
    }

    #[test]
    fn strangers_may_have_the_same_root_handle() {
        let census = Census::default();
        assert_eq!(census.serve(DataServerId(1), ROOT, false), Ok(()));
        assert_eq!(census.serve(DataServerId(2), ROOT, false), Ok(()));
    }

    #[test]
    fn who_serves_is_not_absent_any_more() {
        let census = Census::default();
        census.absent(DataServerId(1), Absence::Unfit);
        assert_eq!(census.absence(DataServerId(1)), Some(Absence::Unfit));
        assert_eq!(census.serve(DataServerId(1), ROOT, true), Ok(()));
        assert_eq!(census.absence(DataServerId(1)), None);
    }
}
