//! Whether a stateid allows a READ, a WRITE or a change of size through this server, RFC 8881
//! §8.2.3 and §9.1.2. It changes nothing but clients that are away and in the way.

use catalog::InodeId;

use super::delegation::Touch;
use super::open::OpenRef;
use super::share::Access;
use super::stateid::StateKind;
use super::{ClientId, SpecialStateid, State, Stateid, StateidRefusal};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoKind {
    Read,
    Write,
}

/// On what ground I/O goes ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IoGrant {
    /// A special stateid: permissions decide alone, per request.
    Special,
    /// An open decided at OPEN.
    Open(OpenRef),
    /// What its client opens under it, the client decides.
    Delegation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IoRefusal {
    #[error(transparent)]
    Stateid(#[from] StateidRefusal),
    #[error("the file is not open for this")]
    OpenMode,
    #[error("an open of somebody else denies this")]
    Denied,
    #[error("an open of a client that is away denied this")]
    MakingWay,
    #[error("a delegation of somebody else stands against this")]
    Delegated(Touch),
    #[error("who may have denied this is not known before grace ends")]
    InGrace,
}

impl State {
    /// Judges the stateid of a READ, WRITE or SETATTR of the size.
    pub fn authorize_io(
        &mut self,
        client: ClientId,
        stateid: Stateid,
        inode: InodeId,
        kind: IoKind,
    ) -> Result<IoGrant, IoRefusal> {
        let (access, touch) = match kind {
            IoKind::Read => (Access::Read, Touch::Read),
            IoKind::Write => (Access::Write, Touch::Change),
        };
        match stateid.special() {
            Some(SpecialStateid::Current | SpecialStateid::Invalid) => {
                return Err(StateidRefusal::Bad.into());
            }
            Some(special) => {
                if self.in_grace() {
                    return Err(IoRefusal::InGrace);
                }
                let bypasses = special == SpecialStateid::ReadBypass && kind == IoKind::Read;
                if !bypasses && self.share_conflict(inode, access, None) {
                    if self.make_way_for_io(inode, access) {
                        return Err(IoRefusal::MakingWay);
                    }
                    return Err(IoRefusal::Denied);
                }
                if self.delegations.stands_against(inode, touch, Some(client)) {
                    return Err(IoRefusal::Delegated(touch));
                }
                return Ok(IoGrant::Special);
            }
            None => {}
        }
        if stateid.parts(self.opens.epoch())?.kind == StateKind::Delegation {
            return if self.delegation_for(client, stateid, inode, access)? {
                Ok(IoGrant::Delegation)
            } else {
                Err(IoRefusal::OpenMode)
            };
        }
        let open = self.open_behind(client, stateid)?;
        if open.inode != inode {
            return Err(StateidRefusal::Bad.into());
        }
        match kind {
            IoKind::Write if !open.access.writes() => Err(IoRefusal::OpenMode),
            // Clients read around what they write under an open for writing alone (§18.22.4).
            // OPEN did not check that they may read, so permissions decide now.
            IoKind::Read if !open.access.reads() => Ok(IoGrant::Special),
            _ => Ok(IoGrant::Open(open)),
        }
    }
}
