//! Ranges of objects by the program that our own data servers have besides NFSv3.
//!
//! Never here: what stands in for it where a server is somebody else's; that is the contract's.

use crate::failure::failure;
use crate::server::{NfsDataServer, OBJECT_MODE};
use backend::upstream::{Demand, Version};
use backend::{
    DataServer, Error, ErrorKind, Nanos, Origin, RangeAbilities, Seek, Sought, Written, ranges,
};
use bytes::Bytes;
use layout::{ObjectId, Owner, Stripe};
use nfs_client::Client;
use std::ops::Range;
use wire::ds::{
    Address, AllocateArgs, CloneArgs, DeallocateArgs, DemandArgs, Foreign, MAKE_MAX, MakeArgs,
    NewObject, OfferArgs, PullArgs, SeekArgs, Share, Span, Verdict, What, WithdrawArgs,
};
use wire::nfs3::{Fh3, Nfstime3};

/// What a server can do besides NFSv3: nothing, where it doesn't know our program.
pub(crate) async fn abilities(client: &Client) -> Result<RangeAbilities, nfs_client::Error> {
    match client.abilities().await {
        Ok(said) => Ok(RangeAbilities {
            sparse: said.sparse,
            reserve: said.allocate,
            clone_block_bytes: (said.clone_block_bytes > 0).then_some(said.clone_block_bytes),
            pull: said.pull,
        }),
        Err(error) if error.is_unknown_there() || error.status().is_some() => {
            Ok(RangeAbilities::default())
        }
        Err(error) => Err(error),
    }
}

fn span(range: &Range<u64>) -> Span {
    Span {
        begin: range.start,
        end: range.end,
    }
}

fn share(stripe: Stripe) -> Share {
    Share {
        unit: stripe.unit(),
        count: stripe.count(),
        index: stripe.index(),
    }
}

impl NfsDataServer {
    pub(crate) async fn make_all(
        &self,
        objects: &[(ObjectId, Owner)],
    ) -> Result<Vec<Bytes>, Error> {
        self.must_have(self.is_ours(), "make many objects at once")?;
        let new = |(object, owner): &(ObjectId, Owner)| NewObject {
            id: object.0.to_be_bytes(),
            uid: owner.uid,
            gid: owner.gid,
        };
        let mut handles = Vec::with_capacity(objects.len());
        for some in objects.chunks(MAKE_MAX) {
            let args = MakeArgs {
                mode: OBJECT_MODE,
                objects: some.iter().map(new).collect(),
            };
            let made = self.told(self.client.make(&args).await)?;
            if made.handles.len() != some.len() {
                return Err(self.nonsense("it made another number of objects"));
            }
            handles.extend(made.handles.into_iter().map(Fh3::into_bytes));
        }
        Ok(handles)
    }

    /// An answer, or the kind of its failure. A server that is another since it was connected to may
    /// not know the program any more.
    fn told<T>(&self, answer: Result<T, nfs_client::Error>) -> Result<T, Error> {
        answer.map_err(|error| {
            let failed = failure(&self.address.name, &error);
            if error.is_unknown_there() {
                Error::new(ErrorKind::Unsupported, failed.detail)
            } else {
                failed
            }
        })
    }

    /// An offset that goes on from `range.start` and not past its end.
    fn within(&self, range: &Range<u64>, offset: u64) -> Result<u64, Error> {
        let further = offset > range.start || range.is_empty();
        if further && offset <= range.end {
            return Ok(offset);
        }
        Err(self.nonsense("it answered with an offset that it wasn't asked for"))
    }

    pub(crate) async fn find(
        &self,
        handle: &Bytes,
        within: Range<u64>,
        stripe: Stripe,
        what: Seek,
    ) -> Result<Sought, Error> {
        if !self.capabilities().ranges.sparse {
            return ranges::seek_by_size(self, handle, within, stripe, what).await;
        }
        let args = SeekArgs {
            object: self.handle(handle)?,
            within: span(&within),
            share: share(stripe),
            what: match what {
                Seek::Data => What::Data,
                Seek::Hole => What::Hole,
            },
        };
        let said = self.told(self.client.seek(&args).await)?;
        let run = stripe.run(&(said.offset..within.end));
        match said.verdict {
            Verdict::Nowhere => Ok(Sought::Nowhere),
            Verdict::NotBefore => Ok(Sought::NotBefore(self.within(&within, said.offset)?)),
            Verdict::Found
                if said.offset >= within.start
                    && run.is_some_and(|run| run.start == said.offset) =>
            {
                Ok(Sought::At(said.offset))
            }
            Verdict::Found => Err(self.nonsense("it found a byte that it wasn't asked for")),
        }
    }

    pub(crate) async fn punch(&self, handle: &Bytes, range: Range<u64>) -> Result<u64, Error> {
        if !self.capabilities().ranges.sparse {
            return ranges::deallocate_by_zeros(self, handle, range).await;
        }
        let args = DeallocateArgs {
            object: self.handle(handle)?,
            span: span(&range),
        };
        let said = self.told(self.client.deallocate(&args).await)?;
        self.within(&range, said.offset)
    }

    pub(crate) async fn set_aside(
        &self,
        handle: &Bytes,
        range: Range<u64>,
        stripe: Stripe,
    ) -> Result<u64, Error> {
        self.must_have(self.capabilities().ranges.reserve, "set space aside")?;
        let args = AllocateArgs {
            object: self.handle(handle)?,
            span: span(&range),
            share: share(stripe),
        };
        let said = self.told(self.client.allocate(&args).await)?;
        self.within(&range, said.offset)
    }

    pub(crate) async fn share_blocks(
        &self,
        source: &Bytes,
        source_offset: u64,
        handle: &Bytes,
        range: Range<u64>,
    ) -> Result<u64, Error> {
        let block = self.capabilities().ranges.clone_block_bytes;
        self.must_have(block.is_some(), "share blocks")?;
        let args = CloneArgs {
            source: self.handle(source)?,
            source_offset,
            object: self.handle(handle)?,
            span: span(&range),
        };
        let said = self.told(self.client.clone_range(&args).await)?;
        self.within(&range, said.offset)
    }

    /// A stranger's objects are fetched through this server: it may admit nobody else.
    pub(crate) fn reached_at(&self, handle: &Bytes, owner: Owner) -> Option<Origin> {
        self.capabilities().ranges.pull.then(|| Origin {
            address: self.socket_address(),
            handle: handle.clone(),
            reader: owner,
        })
    }

    pub(crate) async fn fetch(
        &self,
        origin: &Origin,
        origin_offset: u64,
        handle: &Bytes,
        offset: u64,
        length: u32,
    ) -> Result<Written, Error> {
        self.must_have(self.capabilities().ranges.pull, "fetch bytes")?;
        let source = Fh3::new(origin.handle.clone())
            .ok_or_else(|| self.nonsense("a handle of more than 64 bytes is nobody's"))?;
        let args = PullArgs {
            origin: Address(origin.address),
            source,
            source_offset: origin_offset,
            uid: origin.reader.uid,
            gid: origin.reader.gid,
            object: self.handle(handle)?,
            offset,
            length,
        };
        let said = self.told(self.client.pull(&args).await)?;
        if said.count > length || (said.count == 0 && length > 0) {
            return Err(self.nonsense("PULL fetched a wrong number of bytes"));
        }
        Ok(Written {
            count: said.count,
            durable: false,
            verifier: said.verf,
        })
    }

    pub(crate) async fn have_cached(
        &self,
        backend: &str,
        version: &Version,
        mtime: Nanos,
        reader: Owner,
    ) -> Result<Bytes, Error> {
        let args = OfferArgs {
            backend: self.foreign(backend)?,
            key: self.foreign(&version.key)?,
            etag: self.foreign(&version.etag)?,
            size: version.size,
            mtime: Nfstime3 {
                seconds: u32::try_from(mtime.div_euclid(1_000_000_000)).unwrap_or(0),
                nseconds: mtime.rem_euclid(1_000_000_000) as u32,
            },
            uid: reader.uid,
            gid: reader.gid,
        };
        let offered = self.told(self.client.offer(&args).await)?;
        Ok(Bytes::copy_from_slice(offered.object.bytes()))
    }

    pub(crate) async fn no_longer_cached(&self, handle: &Bytes) -> Result<(), Error> {
        let args = WithdrawArgs {
            object: self.handle(handle)?,
        };
        self.told(self.client.withdraw(&args).await)
    }

    pub(crate) async fn cache_demand(&self, backend: &str) -> Result<Demand, Error> {
        let args = DemandArgs {
            backend: self.foreign(backend)?,
        };
        let told = self.told(self.client.demand(&args).await)?;
        Ok(Demand {
            hits: told.hits,
            misses: told.misses,
            fetched_bytes: told.fetched_bytes,
            read_bytes: told.read_bytes,
            held_bytes: told.held_bytes,
            limit_bytes: told.limit_bytes,
        })
    }

    fn foreign(&self, text: &str) -> Result<Foreign, Error> {
        Foreign::new(text.as_bytes().to_vec()).ok_or_else(|| {
            let detail = format!("data server {}: a name too long", self.address.name);
            Error::new(ErrorKind::Unsupported, detail)
        })
    }

    fn must_have(&self, ability: bool, what: &str) -> Result<(), Error> {
        if ability {
            return Ok(());
        }
        let detail = format!("data server {} can't {what}", self.address.name);
        Err(Error::new(ErrorKind::Unsupported, detail))
    }
}
