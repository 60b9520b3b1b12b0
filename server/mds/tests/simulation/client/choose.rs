//! What a model client does next with a file, at random among what it can.

use mds::state::*;

use super::Client;
use crate::oracle::LOCK_BYTES;
use crate::{Op, Rng};

impl Client {
    pub(super) fn choose(&self, file: usize, rng: &mut Rng) -> Option<Op> {
        const ACCESS: [Access; 3] = [Access::Read, Access::Write, Access::Both];
        const DENY: [Deny; 6] = [
            Deny::None,
            Deny::None,
            Deny::None,
            Deny::Read,
            Deny::Write,
            Deny::Both,
        ];
        let held = &self.files[file];
        if let Some(layout) = &held.layout
            && layout.leaving
        {
            // What is in flight comes to an end first, as a kernel sees to.
            if layout.in_flight > 0 {
                return None;
            }
            return Some(Op::LayoutReturn {
                stateid: layout.stateid,
            });
        }
        if let Some(delegation) = held.delegation
            && delegation.leaving
        {
            // What was opened by it is opened at the server first.
            let access = if delegation.write {
                Access::Both
            } else {
                Access::Read
            };
            return Some(if held.open.is_none() && rng.percent(40) {
                Op::Open {
                    access,
                    deny: Deny::None,
                    reclaim: false,
                    under: Some(delegation.stateid),
                }
            } else {
                Op::DelegReturn {
                    stateid: delegation.stateid,
                }
            });
        }
        if held.delegation.is_none() && rng.percent(15) {
            return Some(Op::Delegate {
                write: rng.percent(50),
                reclaim: false,
                notices: Notices::NONE,
            });
        }
        if rng.percent(5) {
            return Some(Op::Change);
        }
        if rng.percent(6)
            && let Some(op) = self.lend(file, rng)
        {
            return Some(op);
        }
        let Some((open, access, _)) = held.open else {
            let access = ACCESS[rng.below(3)];
            let deny = DENY[rng.below(6)];
            return Some(if rng.percent(5) {
                Op::Renew
            } else {
                Op::Open {
                    access,
                    deny,
                    reclaim: false,
                    under: None,
                }
            });
        };
        if let Some((range, kind)) = held.wanted
            && (held.called || rng.percent(10))
        {
            return Some(Op::Lock {
                open,
                lock: held.lock,
                range,
                kind,
                wait: true,
            });
        }
        match rng.below(12) {
            0 if held.bytes.is_empty() => Some(Op::Close { stateid: open }),
            1 => Some(Op::Open {
                access: ACCESS[rng.below(3)],
                deny: Deny::None,
                reclaim: false,
                under: None,
            }),
            2 | 3 => {
                let first = rng.below(LOCK_BYTES);
                let length = 1 + rng.below(LOCK_BYTES - first);
                let kind = if access.writes() {
                    LockKind::Write
                } else {
                    LockKind::Read
                };
                Some(Op::Lock {
                    open,
                    lock: held.lock,
                    range: LockRange::new(first as u64, length as u64)?,
                    kind,
                    wait: rng.percent(50),
                })
            }
            4 | 5 => {
                let (range, _) = *held.bytes.first()?;
                Some(Op::Unlock {
                    lock: held.lock?,
                    range,
                })
            }
            6 | 7 if held.layout.is_none() => Some(Op::LayoutGet {
                stateid: open,
                mode: if access.writes() {
                    LayoutMode::Write
                } else {
                    LayoutMode::Read
                },
            }),
            8 => {
                let layout = held
                    .layout
                    .as_ref()
                    .filter(|layout| layout.write && layout.end > 0)?;
                Some(Op::LayoutCommit {
                    stateid: layout.stateid,
                    end: layout.end,
                })
            }
            9 => {
                let layout = held
                    .layout
                    .as_ref()
                    .filter(|layout| layout.in_flight == 0)?;
                Some(Op::LayoutReturn {
                    stateid: layout.stateid,
                })
            }
            11 if rng.percent(20) => {
                let delegation = held.delegation?;
                Some(Op::DelegReturn {
                    stateid: delegation.stateid,
                })
            }
            10 if rng.percent(60) => Some(Op::Truncate {
                size: rng.next() % 500,
            }),
            _ => None,
        }
    }
}
