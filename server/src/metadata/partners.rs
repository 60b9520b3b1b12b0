//! Other servers, to copy from: `mds` says which file and how long to wait, `nfs_client` speaks.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use mds::{Partner, PartnerData, PartnerFault, PartnerFile, Partners};
use nfs_client::{CallError, Caller, Session, SessionError};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use wire::nfs4::{ArgOp, Attr, Getattr4Args, Putfh4Args, Read4Args, ResOp, Stateid4};

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
        let getattr = ArgOp::Getattr(Getattr4Args {
            attr_request: [Attr::Size].into_iter().collect(),
        });
        let answer = self.ask(vec![getattr, self.read_of(offset, 0)]).await?;
        match &answer[..] {
            [_, ResOp::Getattr(Ok(got)), _] => got.obj_attributes.size,
            _ => None,
        }
        .ok_or_else(|| PartnerFault::Nonsense("GETATTR without the size".into()))
    }
}

impl Partner for Neighbour {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_bytes(&self) -> u32 {
        self.session.read_bytes()
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
