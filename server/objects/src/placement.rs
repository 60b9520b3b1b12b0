//! Objects for a file: chosen servers, taken objects, and what becomes of them when the file's
//! transaction ends.
//!
//! Never here: the transaction.

use crate::member::{Desk, Health, Holds};
use crate::{Error, Objects};
use backend::FenceGrade;
use catalog::{Inode, Tx};
use layout::{
    Candidate, Capability, DataServerId, Extent, ExtentState, Mirror, NoPlace, ObjectRef, Want,
    most_objects, place,
};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// What the first writer decides of where a file lies.
#[derive(Debug, Clone, Copy, Default)]
pub struct Making {
    /// His kernel takes several data servers a file.
    pub stripes: bool,
    pub writer: Option<IpAddr>,
    /// Whose file system the file is of: it must lie there, if new files do.
    pub keeper: Option<DataServerId>,
}

/// Objects set aside for one file. Say how the transaction ended: by [`Placement::used`],
/// or by [`Placement::unused`] when it certainly had no effect. Dropped without a word, as when the
/// outcome is unknown, they are cleaned up unless the file has them.
#[must_use]
pub struct Placement {
    extents: Vec<Extent>,
    objects: Weak<Objects>,
    settled: bool,
}

impl Placement {
    /// For the inode.
    pub fn extents(&self) -> Vec<Extent> {
        self.extents.clone()
    }

    fn refs(&self) -> impl Iterator<Item = &ObjectRef> {
        self.extents.iter().flat_map(Extent::objects)
    }

    /// What the transaction that stores the extents must do besides.
    pub fn claim(&self) -> Claim {
        Claim(self.refs().cloned().collect())
    }

    /// The transaction is committed.
    pub fn used(mut self) {
        self.settled = true;
        if let Some(objects) = self.objects.upgrade() {
            for object in self.refs() {
                if let Ok(desk) = objects.desk(object.server) {
                    desk.placed();
                }
            }
        }
    }

    /// The transaction was refused, and will never commit.
    pub fn unused(mut self) {
        self.settled = true;
        if let Some(objects) = self.objects.upgrade() {
            objects.pool.put(self.refs().cloned());
        }
    }
}

/// The objects of a [`Placement`], still in the pool.
#[derive(Debug, Clone)]
pub struct Claim(Vec<ObjectRef>);

impl Claim {
    /// Takes them out of it, in the transaction that stores the extents.
    pub async fn take(&self, tx: &mut Tx) -> Result<(), catalog::Error> {
        for object in &self.0 {
            tx.pool_take(object).await?;
        }
        Ok(())
    }
}

impl Drop for Placement {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        if let Some(objects) = self.objects.upgrade() {
            objects.pool.limbo.lock().extend(self.refs().cloned());
            objects.pool.low.notify_one();
        }
    }
}

impl Objects {
    /// Whether clients reach by themselves all objects of a file: those that it has, or will get.
    pub fn is_direct(&self, inode: &Inode) -> bool {
        let bound = inode.extents.iter().flat_map(Extent::objects);
        let home = self.home(inode.keeper);
        let mut servers = bound.map(|object| object.server).chain(home);
        servers.all(|server| {
            let capabilities = self.capabilities(server);
            capabilities.is_ok_and(|capabilities| capabilities.direct)
        })
    }

    /// The one data server that files made in a keeper's file system lie on; `None`: wherever there is room. A keeper
    /// that nobody knows is no reason to put them elsewhere.
    pub fn home(&self, keeper: Option<DataServerId>) -> Option<DataServerId> {
        keeper.filter(|keeper| {
            let desk = self.desk(*keeper);
            desk.map_or(true, |desk| desk.member.holds == Holds::Kept)
        })
    }

    /// Whether there is a data server for files that no keeper holds, or will be: one that is away comes back.
    pub fn take_new_files(&self) -> bool {
        let takes = |desk: &Arc<Desk>| desk.member.holds == Holds::Any && desk.member.weight > 0;
        self.desks().iter().any(takes)
    }

    /// Once: what to do about it doesn't change.
    fn tell_nowhere(&self) {
        if !self.nowhere.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "no data server takes new files: what is written to one outside of the folders of managed backends is \
                 refused with ENOSPC. Add a [[data_server]] with a `weight` above 0"
            );
        }
    }

    /// Objects for a file that has none yet, out of the pool, or made now if it has none.
    pub async fn bind(&self, making: Making) -> Result<Placement, Error> {
        let copies = self.choose(making)?;
        let taken = self.obtain(&copies).await?;
        Ok(self.placement(&copies, taken))
    }

    /// Objects for a file that is to share blocks with another (see [`Objects::clone_range`]): on the
    /// same servers, in the same order, made now if the pool has none.
    pub async fn bind_like(&self, like: &[Extent]) -> Result<Placement, Error> {
        let mut placement = Placement {
            extents: Vec::new(),
            objects: self.weak(),
            settled: false,
        };
        for extent in like {
            let mirrors = extent.mirrors.iter().filter(|mirror| !mirror.stale);
            let copies: Vec<Vec<DataServerId>> = mirrors
                .map(|mirror| mirror.stripes.iter().map(|object| object.server).collect())
                .collect();
            let mirrors = if copies.is_empty() {
                Vec::new()
            } else {
                mirrors_of(&copies, self.obtain(&copies).await?)
            };
            placement.extents.push(Extent {
                state: if mirrors.is_empty() {
                    ExtentState::Unbound
                } else {
                    ExtentState::Bound
                },
                mirrors,
                ..extent.clone()
            });
        }
        Ok(placement)
    }

    /// An object on each of the servers, out of the pool if it has them.
    async fn obtain(&self, copies: &[Vec<DataServerId>]) -> Result<Vec<ObjectRef>, Error> {
        let servers: Vec<DataServerId> = copies.iter().flatten().copied().collect();
        if let Some(taken) = self.pool.take(&servers, self.options.pool_low) {
            return Ok(taken);
        }
        let mut taken = Vec::with_capacity(servers.len());
        for server in &servers {
            let desk = self.desk(*server)?;
            match self.make(&desk, 1).await {
                Ok(made) => taken.extend(made),
                Err(error) => {
                    self.pool.put(taken);
                    return Err(error);
                }
            }
        }
        Ok(taken)
    }

    fn placement(&self, copies: &[Vec<DataServerId>], taken: Vec<ObjectRef>) -> Placement {
        let mirrors = mirrors_of(copies, taken);
        let extents = vec![Extent::bound(self.options.stripe_unit, mirrors)];
        Placement {
            extents,
            objects: self.weak(),
            settled: false,
        }
    }

    fn choose(&self, making: Making) -> Result<Vec<Vec<DataServerId>>, Error> {
        let Making {
            stripes,
            writer,
            keeper,
        } = making;
        if let Some(home) = self.home(keeper) {
            // One that is away says so when it is asked for an object.
            return Ok(vec![vec![home]]);
        }
        if !self.take_new_files() {
            self.tell_nowhere();
            return Err(Error::Nowhere);
        }
        let desks = self.desks();
        let least = desks
            .iter()
            .filter(|desk| desk.member.weight > 0)
            .map(|desk| desk.share())
            .min()
            .unwrap_or(0);
        if least > SHARES_REMEMBERED {
            for desk in &desks {
                desk.age_share();
            }
        }
        let mut candidates: Vec<Candidate> = desks
            .iter()
            // Nothing may be written where nobody can be fenced.
            .filter(|desk| desk.capabilities().fence > FenceGrade::None)
            .map(|desk| desk.candidate(writer, least))
            .collect();
        let seed = self.placements.fetch_add(1, Ordering::Relaxed);
        match self.narrow_down(&candidates, stripes, seed) {
            Ok(copies) => Ok(copies),
            Err(refusal) => {
                // Rather one that failed a call than none.
                for candidate in &mut candidates {
                    candidate.healthy = self.desk(candidate.server)?.health() != Health::Down;
                }
                self.narrow_down(&candidates, stripes, seed)
                    .map_err(|_| refusal.into())
            }
        }
    }

    /// As many data servers a copy as are wanted, or half of that, and so on: a server that is away
    /// must not keep new files from being made.
    fn narrow_down(
        &self,
        candidates: &[Candidate],
        stripes: bool,
        seed: u64,
    ) -> Result<Vec<Vec<DataServerId>>, NoPlace> {
        let capability = Capability {
            stripes,
            many_extents: stripes,
        };
        let copies = self.options.copies.max(1);
        // A layout that doesn't fit would send everybody through this server (fact 1).
        let fits = most_objects(copies as usize, LAYOUT_LIMIT_BYTES) as u32 / copies;
        let mut spread = self.options.spread.min(1 << fits.max(1).ilog2());
        loop {
            let want = Want {
                local_first: self.options.local_first,
                ..Want::by_creator(capability, spread, copies, self.options.reserve_bytes)
            };
            match place(candidates, want, seed) {
                Err(_) if want.spread > 1 => {
                    spread = if spread.is_power_of_two() {
                        spread / 2
                    } else {
                        1 << spread.ilog2()
                    };
                }
                answer => return answer,
            }
        }
    }
}

fn mirrors_of(copies: &[Vec<DataServerId>], taken: Vec<ObjectRef>) -> Vec<Mirror> {
    let mut taken = taken.into_iter();
    let mirror = |copy: &Vec<DataServerId>| Mirror {
        stripes: taken.by_ref().take(copy.len()).collect(),
        stale: false,
    };
    copies.iter().map(mirror).collect()
}

/// What Linux allows for a layout.
const LAYOUT_LIMIT_BYTES: usize = 4096;
const SHARES_REMEMBERED: u32 = 1 << 20;
