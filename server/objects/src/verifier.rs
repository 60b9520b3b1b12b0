//! The write verifier of a file whose bytes lie on several data servers (RFC 8881 §18.32): it
//! changes when any of them may have lost unstable writes.
//!
//! Never here: asking a server.

use backend::WriteVerifier;
use layout::DataServerId;
use std::collections::BTreeSet;

/// What the servers behind one call said. A server that restarted in the middle said two things,
/// and the result equals no other.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Verifiers(BTreeSet<(DataServerId, WriteVerifier)>);

impl Verifiers {
    pub(crate) fn saw(&mut self, server: DataServerId, verifier: WriteVerifier) {
        self.0.insert((server, verifier));
    }

    pub(crate) fn knows(&self, server: DataServerId) -> bool {
        self.0.iter().any(|(known, _)| *known == server)
    }

    /// FNV-1a over all of them, in the order of servers; the same in each run of the program.
    pub(crate) fn combined(&self) -> WriteVerifier {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for (server, verifier) in &self.0 {
            for byte in server.0.to_be_bytes().iter().chain(verifier) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        hash.to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: DataServerId = DataServerId(1);
    const B: DataServerId = DataServerId(2);

    fn of(said: &[(DataServerId, u8)]) -> WriteVerifier {
        let mut verifiers = Verifiers::default();
        for (server, verifier) in said {
            verifiers.saw(*server, [*verifier; 8]);
        }
        verifiers.combined()
    }

    #[test]
    fn a_restart_of_any_server_shows() {
        assert_eq!(of(&[(A, 1), (B, 1)]), of(&[(B, 1), (A, 1)]));
        assert_ne!(of(&[(A, 1), (B, 1)]), of(&[(A, 1), (B, 2)]));
        assert_ne!(of(&[(A, 1), (B, 2)]), of(&[(A, 2), (B, 1)]));
    }

    #[test]
    fn a_restart_in_the_middle_of_a_write_equals_no_commit() {
        let torn = of(&[(A, 1), (A, 2), (B, 1)]);
        assert_ne!(torn, of(&[(A, 1), (B, 1)]));
        assert_ne!(torn, of(&[(A, 2), (B, 1)]));
    }
}
