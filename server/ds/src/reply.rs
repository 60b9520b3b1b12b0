//! Replies: a marked record whose payload, if any, stays in the buffer that it was read into.
//! Never decides what is answered.

use buffers::Buffer;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use wire::nfs3::{Nfsstat3, Outcome, PostOpAttr, Read3head};
use wire::record::{HEADER_BYTES, RecordHeader};
use wire::rpc::ReplyHeader;
use wire::{Encoder, Xdr};

use crate::engine::Outgoing;

#[derive(Debug)]
pub struct Reply {
    head: Bytes,
    payload: Option<Buffer>,
    /// What became of the request, for the counters.
    pub status: Option<Nfsstat3>,
    /// Payload bytes of a READ, without padding.
    pub read_bytes: u64,
}

impl Reply {
    /// A refusal of RPC's own.
    pub fn refusal(header: &ReplyHeader) -> Self {
        let mut out = wire::record::begin();
        header.encode(&mut out);
        Self::finish(out, None, None)
    }

    /// A successful call's result.
    pub fn plain<T: Xdr>(xid: u32, result: &T) -> Self {
        Self::finish(begin(xid, result), None, None)
    }

    pub fn outcome<T: Xdr, F: Xdr>(xid: u32, outcome: &Outcome<T, F>) -> Self {
        let status = outcome.as_ref().err().map(|failed| failed.status);
        Self::finish(begin(xid, outcome), None, status)
    }

    /// A READ's result; `buffer` holds `count` bytes of data.
    pub fn read(xid: u32, outcome: Outcome<(Read3head, Buffer), PostOpAttr>) -> Self {
        match outcome {
            Ok((head, mut buffer)) => {
                let mut out = wire::record::begin();
                ReplyHeader::success(xid).encode(&mut out);
                head.encode_result(&mut out);
                buffer.cut_and_pad(head.count as usize);
                let mut reply = Self::finish(out, Some(buffer), None);
                reply.read_bytes = u64::from(head.count);
                reply
            }
            Err(failed) => Self::outcome::<Read3head0, _>(xid, &Err(failed)),
        }
    }

    fn finish(mut out: Encoder, payload: Option<Buffer>, status: Option<Nfsstat3>) -> Self {
        let length = out.len() - HEADER_BYTES + payload.as_ref().map_or(0, Buffer::len);
        let mark = RecordHeader {
            last: true,
            length: length as u32,
        };
        out.patch_u32(0, u32::from_be_bytes(mark.to_bytes()));
        Self {
            head: out.finish(),
            payload,
            status,
            read_bytes: 0,
        }
    }
}

/// What a failed READ has in place of a result.
type Read3head0 = u32;

fn begin<T: Xdr>(xid: u32, result: &T) -> Encoder {
    let mut out = wire::record::begin();
    ReplyHeader::success(xid).encode(&mut out);
    result.encode(&mut out);
    out
}

/// A reply with the places it takes in the windows of its connection and of the server, until it
/// has been sent.
pub struct Queued {
    reply: Reply,
    _places: [OwnedSemaphorePermit; 2],
}

impl Queued {
    pub fn new(reply: Reply, places: [OwnedSemaphorePermit; 2]) -> Box<Self> {
        Box::new(Self {
            reply,
            _places: places,
        })
    }
}

impl Outgoing for Queued {
    fn parts(&self) -> [&[u8]; 2] {
        let payload = self.reply.payload.as_ref().map_or(&[][..], Buffer::bytes);
        [&self.reply.head, payload]
    }
}
