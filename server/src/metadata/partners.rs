//! Other servers, to copy from: `mds` says which file and how long to wait, `nfs_client` speaks.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use mds::{Partner, PartnerData, PartnerFault, PartnerFile, Partners};
use nfs_client::{CallError, Caller, Session, SessionError};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::timeout;
use wire::nfs4::{
    ArgOp, Attr, DataContent4, Getattr4Args, Nfsstat4, Putfh4Args, Read4Args, ResOp, Seek4Args,
    Stateid4,
};

/// How this server calls itself there, with a number that is nobody else's behind it.
const NAME: &str = "headrace copy";

pub struct Neighbours;

impl Partners for Neighbours {
    fn open(&self, file: PartnerFile) -> BoxFuture<'_, Result<Arc<dyn Partner>, PartnerFault>> {
        Box::pin(async move {
            let caller = Caller::of(file.caller.clone());
            // Three steps, none of them longer than a piece may take.
            let opened = async {
                let session = Session::connect(file.server, caller, NAME, file.patience)
                    .await
                    .map_err(fault)?;
                let mut found = Neighbour {
                    session: Arc::new(session),
                    size: 0,
                    tells_holes: AtomicBool::new(true),
                    patience: file.patience,
                    fh: file.fh,
                    stateid: file.stateid,
                };
                match found.look(file.offset).await {
                    Ok(size) => found.size = size,
                    Err(fault) => {
                        found.close().await;
                        return Err(fault);
                    }
                }
                Ok(Arc::new(found) as Arc<dyn Partner>)
            };
            timeout(3 * file.patience, opened)
                .await
                .unwrap_or_else(|_| Err(PartnerFault::Away("no answer in time".into())))
        })
    }
}

struct Neighbour {
    session: Arc<Session>,
    fh: Bytes,
    stateid: Stateid4,
    size: u64,
    tells_holes: AtomicBool,
    patience: Duration,
}

impl Neighbour {
    async fn ask(&self, operations: Vec<ArgOp>) -> Result<Vec<ResOp>, PartnerFault> {
        let putfh = ArgOp::Putfh(Putfh4Args {
            object: self.fh.clone(),
        });
        let operations: Vec<_> = std::iter::once(putfh).chain(operations).collect();
        let session = Arc::clone(&self.session);
        // It goes on by itself: who asked may be busy writing, or have given up, and the slot comes free.
        let asking = tokio::spawn(async move { session.compound(&operations).await });
        let answer = asking.await;
        answer
            .unwrap_or(Err(SessionError::Unasked("the asking died")))
            .map_err(fault)
    }

    fn read_of(&self, offset: u64, count: u32) -> ArgOp {
        ArgOp::Read(Read4Args {
            stateid: self.stateid,
            offset,
            count,
        })
    }

    /// How long the file is, and that it may be read.
    async fn look(&self, offset: u64) -> Result<u64, PartnerFault> {
        self.size_and(vec![self.read_of(offset, 0)]).await
    }

    async fn size_and(&self, others: Vec<ArgOp>) -> Result<u64, PartnerFault> {
        let getattr = ArgOp::Getattr(Getattr4Args {
            attr_request: [Attr::Size].into_iter().collect(),
        });
        let asked = std::iter::once(getattr).chain(others).collect();
        match self.ask(asked).await?.get(1) {
            Some(ResOp::Getattr(Ok(got))) => got.obj_attributes.size,
            _ => None,
        }
        .ok_or_else(|| PartnerFault::Nonsense("GETATTR without the size".into()))
    }

    /// `None`: there is none up to the file's end, or that is before `offset`.
    async fn seek(&self, offset: u64, what: DataContent4) -> Result<Option<u64>, PartnerFault> {
        let seek = ArgOp::Seek(Seek4Args {
            stateid: self.stateid,
            offset,
            what,
        });
        let found = match self.ask(vec![seek]).await.map(|mut answer| answer.pop()) {
            Ok(Some(ResOp::Seek(Ok(found)))) => found,
            Ok(_) => return Err(PartnerFault::Nonsense("SEEK without its result".into())),
            Err(PartnerFault::Refused(Nfsstat4::Nxio)) => return Ok(None),
            Err(fault) => return Err(fault),
        };
        // RFC 7862 §15.11.3: the end of the file is where its last hole is.
        if found.eof && what == DataContent4::Data {
            return Ok(None);
        }
        if found.offset < offset {
            let said = format!("SEEK from {offset} led to {}", found.offset);
            return Err(PartnerFault::Nonsense(said));
        }
        Ok(Some(found.offset))
    }

    async fn data_in(&self, within: Range<u64>) -> Result<Range<u64>, PartnerFault> {
        if !self.tells_holes.load(Relaxed) {
            return Ok(within);
        }
        let start = match self.seek(within.start, DataContent4::Data).await {
            Ok(Some(start)) => start.min(within.end),
            Ok(None) => {
                let size = self.size_and(Vec::new()).await?;
                let end = size.clamp(within.start, within.end);
                return Ok(end..end);
            }
            // Where it refuses for another reason, READ hears it too.
            Err(PartnerFault::Refused(_)) => {
                self.tells_holes.store(false, Relaxed);
                return Ok(within);
            }
            Err(fault) => return Err(fault),
        };
        if start == within.end {
            return Ok(start..start);
        }
        let end = match self.seek(start, DataContent4::Hole).await {
            Ok(Some(hole)) if hole > start => hole.min(within.end),
            // It changed meanwhile.
            Ok(_) | Err(PartnerFault::Refused(_)) => within.end,
            Err(fault) => return Err(fault),
        };
        Ok(start..end)
    }
}

impl Partner for Neighbour {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_bytes(&self) -> u32 {
        self.session.read_bytes()
    }

    fn data(&self, within: Range<u64>) -> BoxFuture<'_, Result<Range<u64>, PartnerFault>> {
        Box::pin(self.data_in(within))
    }

    fn read(&self, offset: u64, count: u32) -> BoxFuture<'_, Result<PartnerData, PartnerFault>> {
        Box::pin(async move {
            let mut answer = self.ask(vec![self.read_of(offset, count)]).await?;
            match answer.pop() {
                Some(ResOp::Read(Ok(read))) => Ok(PartnerData {
                    data: read.data,
                    at_end: read.eof,
                }),
                _ => Err(PartnerFault::Nonsense("READ without its result".into())),
            }
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // Where it doesn't listen its lease forgets us.
            let _ = timeout(self.patience, self.session.close()).await;
        })
    }
}

fn fault(error: SessionError) -> PartnerFault {
    match error {
        SessionError::Refused(status) => PartnerFault::Refused(status),
        SessionError::Unfit(why) => PartnerFault::Unfit(why),
        SessionError::Unasked(_)
        | SessionError::Call(CallError::Decode(_) | CallError::ReplyTooLong { .. }) => {
            PartnerFault::Nonsense(error.to_string())
        }
        SessionError::Call(_) | SessionError::Silent => PartnerFault::Away(error.to_string()),
    }
}
