//! The delegation part of OPEN, RFC 8881 §10.4 and §18.16.3, RFC 9754: what the client wishes for, what
//! it may have, and how it is told. Whether one does harm is decided in `state::delegation`.

use crate::attributes::without_set_id;
use crate::compound::{Compound, File};
use crate::delegations::times::may_tell;
use crate::identity::{Credential, Want, may};
use crate::server::Server;
use crate::state::{
    Access, ClientId, Delegation, DelegationKind, DelegationRequest, NoDelegation, Notices,
    RecallWhat, State,
};
use crate::status::Refusal;
use catalog::{Inode, InodeId};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use wire::nfs4::{
    Bitmap4, NfsModifiedLimit4, NfsSpaceLimit4, Nfsace4, Nfsstat4,
    OPEN4_SHARE_ACCESS_WANT_ANY_DELEG, OPEN4_SHARE_ACCESS_WANT_CANCEL,
    OPEN4_SHARE_ACCESS_WANT_DELEG_MASK, OPEN4_SHARE_ACCESS_WANT_DELEG_TIMESTAMPS,
    OPEN4_SHARE_ACCESS_WANT_NO_DELEG, OPEN4_SHARE_ACCESS_WANT_NO_PREFERENCE,
    OPEN4_SHARE_ACCESS_WANT_OPEN_XOR_DELEGATION, OPEN4_SHARE_ACCESS_WANT_READ_DELEG,
    OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG, OpenArguments4, OpenDelegation4, OpenDelegationType4,
    OpenNoneDelegation4, OpenReadDelegation4, OpenWriteDelegation4,
};

/// What the bits beside the share access ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    what: u32,
    /// The client would say itself what the times are.
    times: bool,
    /// A delegation is enough, without an open beside it.
    pub no_open: bool,
}

/// On what ground one may be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ground {
    /// The caller has the right to it.
    Asked(DelegationKind),
    /// It had one before the server restarted; with delegated times.
    Reclaimed(DelegationKind, bool),
    /// None is to be given, and why.
    No(OpenNoneDelegation4),
}

pub(crate) type Given = Result<Delegation, OpenNoneDelegation4>;

impl Ground {
    pub fn reclaimed(kind: OpenDelegationType4) -> Option<Self> {
        use OpenDelegationType4::*;
        match kind {
            Read => Some(Self::Reclaimed(DelegationKind::Read, false)),
            ReadAttrsDeleg => Some(Self::Reclaimed(DelegationKind::Read, true)),
            Write => Some(Self::Reclaimed(DelegationKind::Write, false)),
            WriteAttrsDeleg => Some(Self::Reclaimed(DelegationKind::Write, true)),
            None | NoneExt => Option::None,
        }
    }
}

impl Wish {
    pub fn of(bits: u32, minor: u32) -> Result<Self, Refusal> {
        let what = bits & OPEN4_SHARE_ACCESS_WANT_DELEG_MASK;
        if what > OPEN4_SHARE_ACCESS_WANT_CANCEL {
            return Err(Nfsstat4::Inval.into());
        }
        // Both flags are of 4.2 (RFC 9754 §4, §5); in 4.1 the bits are nobody's.
        let flag = |flag| minor >= 2 && bits & flag != 0;
        Ok(Self {
            what,
            times: flag(OPEN4_SHARE_ACCESS_WANT_DELEG_TIMESTAMPS),
            no_open: flag(OPEN4_SHARE_ACCESS_WANT_OPEN_XOR_DELEGATION),
        })
    }

    /// The kind that WANT_DELEGATION names, `None` for any. Not to want one makes no sense there.
    pub fn explicit(self) -> Result<Option<DelegationKind>, Refusal> {
        match self.what {
            OPEN4_SHARE_ACCESS_WANT_READ_DELEG => Ok(Some(DelegationKind::Read)),
            OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG => Ok(Some(DelegationKind::Write)),
            OPEN4_SHARE_ACCESS_WANT_ANY_DELEG | OPEN4_SHARE_ACCESS_WANT_CANCEL => Ok(None),
            _ => Err(Nfsstat4::Inval.into()),
        }
    }

    /// What an OPEN for `access` may come with.
    pub fn ground(self, access: Access, inode: &Inode, credential: &Credential) -> Ground {
        // A delegation to write opens for everything (§10.4), so that its client must have the
        // right to both; what OPEN has granted counts, whatever the mode bits say by now.
        let reads = access.reads() || may(credential, inode, Want::READ);
        let writes = access.writes() || may(credential, inode, Want::WRITE);
        let kind = match self.what {
            OPEN4_SHARE_ACCESS_WANT_READ_DELEG => DelegationKind::Read,
            OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG => DelegationKind::Write,
            _ if access.writes() => DelegationKind::Write,
            _ => DelegationKind::Read,
        };
        if !reads || (kind == DelegationKind::Write && !writes) {
            return Ground::No(OpenNoneDelegation4::Resource(false));
        }
        Ground::Asked(kind)
    }

    /// Gives one, or says why not. Under the lock that holds the open which it comes with.
    pub fn grant(
        self,
        ground: Ground,
        client: ClientId,
        file: &File,
        inode: &Inode,
        cx: &Compound<'_>,
        state: &mut State,
    ) -> Given {
        let (kind, times, reclaim) = match ground {
            Ground::No(why) => return Err(why),
            Ground::Reclaimed(kind, times) => (kind, times, true),
            Ground::Asked(kind) => {
                let times = self.times && may_tell(state.client_record(client).as_ref());
                (kind, times, false)
            }
        };
        match self.what {
            OPEN4_SHARE_ACCESS_WANT_NO_DELEG => return Err(OpenNoneDelegation4::NotWanted),
            OPEN4_SHARE_ACCESS_WANT_CANCEL => return Err(OpenNoneDelegation4::Cancelled),
            _ => {}
        }
        let allowed = file.export.delegations;
        match kind {
            DelegationKind::Read if !allowed.read => {
                return Err(OpenNoneDelegation4::NotSuppFtype);
            }
            DelegationKind::Write if !allowed.write => {
                return Err(OpenNoneDelegation4::WriteDelegNotSuppFtype);
            }
            // By a delegation its client opens it for whom it likes, and whose writes take the bits away isn't told.
            DelegationKind::Write if inode.mode != without_set_id(inode.mode) => {
                return Err(OpenNoneDelegation4::Resource(false));
            }
            _ => {}
        }
        let request = DelegationRequest {
            client,
            inode: file.id,
            kind,
            times,
            change: inode.change,
            modified: inode.mtime,
            tag: file.export.number,
            reclaim,
            notices: Notices::NONE,
            unasked: self.what == OPEN4_SHARE_ACCESS_WANT_NO_PREFERENCE && !reclaim,
        };
        let given = state.delegate(cx.time, request);
        if let Ok(delegation) = &given {
            cx.gave(state, delegation.stateid);
        }
        if let (true, Err(why)) = (reclaim, &given) {
            tracing::info!(client = client.0, inode = ?file.id, %why, "a delegation is not given back after a restart");
        }
        given.map_err(|why| match why {
            NoDelegation::Contended
            | NoDelegation::LayoutOut
            | NoDelegation::Held
            | NoDelegation::Grace(_) => OpenNoneDelegation4::Contention(false),
            NoDelegation::TooMany | NoDelegation::NoCallbackPath | NoDelegation::FirstOpen => {
                OpenNoneDelegation4::Resource(false)
            }
            NoDelegation::Upgrade => OpenNoneDelegation4::NotSuppUpgrade,
            NoDelegation::Downgrade => OpenNoneDelegation4::NotSuppDowngrade,
        })
    }

    /// A client that said what it wants is told why it gets none (§18.16.3).
    pub fn answer(self, given: &Given) -> OpenDelegation4 {
        let delegation = match given {
            Ok(delegation) => delegation,
            Err(_) if self.what == OPEN4_SHARE_ACCESS_WANT_NO_PREFERENCE => {
                return OpenDelegation4::None;
            }
            Err(why) => return OpenDelegation4::NoneExt(why.clone()),
        };
        let stateid = delegation.stateid.into();
        let recall = delegation.leaving;
        match delegation.kind {
            DelegationKind::Read => {
                let read = OpenReadDelegation4 {
                    stateid,
                    recall,
                    permissions: nobody(),
                };
                if delegation.times {
                    OpenDelegation4::ReadAttrs(read)
                } else {
                    OpenDelegation4::Read(read)
                }
            }
            DelegationKind::Write => {
                let write = OpenWriteDelegation4 {
                    stateid,
                    recall,
                    // Nothing that is written stays behind at the client after close(2): an error
                    // shows there, and a client that dies then takes nothing along (§10.4.1).
                    space_limit: NfsSpaceLimit4::Blocks(NfsModifiedLimit4 {
                        num_blocks: 0,
                        bytes_per_block: 0,
                    }),
                    permissions: nobody(),
                };
                if delegation.times {
                    OpenDelegation4::WriteAttrs(write)
                } else {
                    OpenDelegation4::Write(write)
                }
            }
        }
    }
}

/// What OPEN takes, bit by bit (RFC 9754 §3): a client that sees DELEG_TIMESTAMPS and
/// OPEN_XOR_DELEGATION here asks for them.
pub(crate) fn open_arguments() -> OpenArguments4 {
    OpenArguments4 {
        // READ, WRITE, BOTH.
        share_access: Bitmap4::of(&[1, 2, 3]),
        // NONE, READ, WRITE, BOTH.
        share_deny: Bitmap4::of(&[0, 1, 2, 3]),
        // ANY_DELEG, NO_DELEG, CANCEL, DELEG_TIMESTAMPS, OPEN_XOR_DELEGATION. Wants are not kept,
        // so there is nothing to be signalled or pushed later.
        share_access_want: Bitmap4::of(&[3, 4, 5, 20, 21]),
        // NULL, PREVIOUS, DELEGATE_CUR, FH, DELEG_CUR_FH.
        open_claim: Bitmap4::of(&[0, 1, 2, 4, 5]),
        // UNCHECKED4, GUARDED4, EXCLUSIVE4, EXCLUSIVE4_1.
        create_mode: Bitmap4::of(&[0, 1, 2, 3]),
    }
}

/// The users whom the client may let in unasked: none, it asks by ACCESS for each (Linux does anyway).
fn nobody() -> Nfsace4 {
    Nfsace4 {
        acetype: 0,
        flag: 0,
        access_mask: 0,
        who: bytes::Bytes::new(),
    }
}

impl Server {
    /// What follows a grant or a refusal, once the state's lock is free.
    pub(crate) fn after_delegation(
        self: &Arc<Self>,
        client: ClientId,
        inode: InodeId,
        given: &Given,
    ) {
        match given {
            Ok(delegation) => self.delegation_given(delegation),
            Err(OpenNoneDelegation4::Contention(_)) => self.recall_idle_layouts(client, inode),
            Err(_) => {}
        }
    }

    /// Counts what a client that had one before a restart got.
    pub(crate) fn reclaimed_delegation(&self, given: &Given) {
        let counter = match given {
            Ok(_) => &self.metrics.delegations_reclaimed,
            Err(_) => &self.metrics.delegation_reclaims_refused,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Counts it, and asks holders of many for some of theirs.
    pub(crate) fn delegation_given(self: &Arc<Self>, delegation: &Delegation) {
        self.metrics.delegations_given.fetch_add(1, Relaxed);
        let to_spare = self.state.lock().delegations_to_spare(delegation.client);
        for (holder, keep) in to_spare {
            self.recall_any_delegations(holder, keep);
        }
    }

    /// Linux keeps a layout to write after the close. Asked back now, it stands in nobody's way at
    /// the next open.
    fn recall_idle_layouts(self: &Arc<Self>, client: ClientId, inode: InodeId) {
        let now = self.clock.monotonic();
        let orders = {
            let mut state = self.state.lock();
            if !state.is_kept_by_layouts_alone(now, inode, client) {
                return;
            }
            state.recall(now, inode, RecallWhat::Writers, Some(client))
        };
        self.send_recalls(orders);
    }
}
