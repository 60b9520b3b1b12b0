//! Who asks, and what that one may do to an object: the metadata server, a client under a
//! (synthetic) owner, or nobody. Never answers a request; the procedures turn a refusal into a status.

use std::net::IpAddr;

use wire::rpc::{AuthStat, AuthSys, Credential};

use crate::config::Network;
use crate::record::Record;

/// Everybody's root but the metadata server's own.
pub const NOBODY: u32 = 65_534;

/// How the metadata server names its term, in AUTH_SYS `machinename`.
const TERM_PREFIX: &[u8] = b"headrace-mds/";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// uid 0 from an address of the metadata server. One that names no term has term 0.
    Mds {
        term: u64,
    },
    Client {
        uid: u32,
        gid: u32,
        gids: Vec<u32>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    Read,
    Write,
}

impl Caller {
    /// Who presents `credential` from `peer`.
    pub fn identify(
        credential: &Credential,
        peer: IpAddr,
        mds: &[Network],
    ) -> Result<Self, AuthStat> {
        match credential {
            Credential::None => Ok(Self::nobody()),
            Credential::Sys(sys) if sys.uid == 0 && mds.iter().any(|net| net.contains(peer)) => {
                Ok(Self::Mds { term: term(sys) })
            }
            Credential::Sys(sys) => {
                let squashed = |id: u32| if id == 0 { NOBODY } else { id };
                Ok(Self::Client {
                    uid: squashed(sys.uid),
                    gid: squashed(sys.gid),
                    gids: sys.gids.iter().copied().map(squashed).collect(),
                })
            }
            Credential::Other(other) if other.flavor == wire::rpc::AUTH_SYS => {
                Err(AuthStat::BadCred)
            }
            Credential::Other(_) => Err(AuthStat::TooWeak),
        }
    }

    pub fn nobody() -> Self {
        Self::Client {
            uid: NOBODY,
            gid: NOBODY,
            gids: Vec::new(),
        }
    }

    pub fn is_mds(&self) -> bool {
        matches!(self, Self::Mds { .. })
    }

    /// The POSIX classes of the record's mode: the owner's bits for the owner alone, and so on.
    pub fn may(&self, right: Right, record: &Record) -> bool {
        let Self::Client { uid, gid, gids } = self else {
            return true;
        };
        let class = if *uid == record.uid {
            record.mode >> 6
        } else if *gid == record.gid || gids.contains(&record.gid) {
            record.mode >> 3
        } else {
            record.mode
        };
        match right {
            Right::Read => class & 4 != 0,
            Right::Write => class & 2 != 0,
        }
    }
}

fn term(sys: &AuthSys) -> u64 {
    sys.machine
        .bytes()
        .strip_prefix(TERM_PREFIX)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::rpc::{Gids, MachineName, OpaqueAuth};

    const MDS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 3));

    fn sys(uid: u32, gid: u32, gids: &[u32], machine: &'static str) -> Credential {
        Credential::Sys(AuthSys {
            stamp: 0,
            machine: MachineName::new(machine.as_bytes()).expect("a short name"),
            uid,
            gid,
            gids: Gids::first(gids.to_vec()),
        })
    }

    fn identify(credential: &Credential, peer: IpAddr) -> Result<Caller, AuthStat> {
        Caller::identify(credential, peer, &[Network::host(MDS)])
    }

    fn record(mode: u32) -> Record {
        Record {
            mode,
            uid: 100,
            gid: 200,
            generation: 1,
            term: 0,
            incarnation: 1,
            create_verifier: [0; 8],
        }
    }

    #[test]
    fn root_is_the_metadata_server_only_from_its_own_address() {
        let root = sys(0, 0, &[0], "headrace-mds/12");
        assert_eq!(identify(&root, MDS), Ok(Caller::Mds { term: 12 }));
        assert_eq!(
            identify(&root, OTHER),
            Ok(Caller::Client {
                uid: NOBODY,
                gid: NOBODY,
                gids: vec![NOBODY],
            })
        );
    }

    #[test]
    fn a_metadata_server_that_names_no_term_has_none() {
        for machine in ["", "mds1", "headrace-mds/", "headrace-mds/x"] {
            assert_eq!(
                identify(&sys(0, 0, &[], machine), MDS),
                Ok(Caller::Mds { term: 0 })
            );
        }
    }

    #[test]
    fn owners_write_groups_read_and_others_do_neither() {
        let owner = Caller::Client {
            uid: 100,
            gid: 1,
            gids: vec![],
        };
        let reader = Caller::Client {
            uid: 5,
            gid: 1,
            gids: vec![9, 200],
        };
        let other = Caller::Client {
            uid: 5,
            gid: 1,
            gids: vec![9],
        };
        let can = |caller: &Caller| {
            (
                caller.may(Right::Read, &record(0o640)),
                caller.may(Right::Write, &record(0o640)),
            )
        };
        assert_eq!(can(&owner), (true, true));
        assert_eq!(can(&reader), (true, false));
        assert_eq!(can(&other), (false, false));
        assert_eq!(can(&Caller::Mds { term: 0 }), (true, true));
        // The owner's class counts for the owner, even where the group's would give more.
        assert!(!owner.may(Right::Read, &record(0o040)));
    }

    #[test]
    fn an_unknown_flavor_is_too_weak_and_a_broken_one_is_bad() {
        let foreign = |flavor| {
            Credential::Other(OpaqueAuth {
                flavor,
                ..OpaqueAuth::none()
            })
        };
        assert_eq!(identify(&foreign(6), MDS), Err(AuthStat::TooWeak));
        assert_eq!(identify(&foreign(1), MDS), Err(AuthStat::BadCred));
    }
}
