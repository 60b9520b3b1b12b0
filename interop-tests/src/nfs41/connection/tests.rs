//! The connection against a server that does what each test says.

use tokio::net::TcpListener;
use wire::nfs4::{
    CbArgOp, CbCompound4Res, CbRecallSlot4Args, CbSequence4Args, Nfsstat4, Sessionid4,
};
use wire::xdr;

use super::*;

/// The server's end of the one connection.
struct Peer {
    stream: TcpStream,
    records: RecordReader,
    input: BytesMut,
}

impl Peer {
    async fn meet() -> (Self, Arc<Connection>, Arc<Callbacks>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let callbacks = Arc::new(Callbacks::new(1));
        let connection = Connection::to(address, Arc::clone(&callbacks))
            .await
            .expect("somebody listens");
        let (stream, _) = listener.accept().await.expect("it connected");
        let records = RecordReader::new(RECORD_LIMIT_BYTES);
        (
            Self {
                stream,
                records,
                input: BytesMut::new(),
            },
            connection,
            callbacks,
        )
    }

    async fn hear(&mut self) -> (Message, Decoder) {
        loop {
            if let Some(record) = self
                .records
                .next(&mut self.input)
                .expect("records are marked")
            {
                let mut input = Decoder::new(record);
                return (Message::decode(&mut input).expect("an RPC message"), input);
            }
            let count = self
                .stream
                .read_buf(&mut self.input)
                .await
                .expect("the stream is whole");
            assert_ne!(count, 0, "the client hung up");
        }
    }

    async fn hear_call(&mut self) -> CallHeader {
        match self.hear().await.0 {
            Message::Call(call) => call,
            other => panic!("{other:?} is no call"),
        }
    }

    async fn say(&mut self, message: Encoder) {
        let mut frame = Frame::new(message);
        let bytes = frame.copy_to_bytes(frame.remaining());
        self.stream
            .write_all(&bytes)
            .await
            .expect("the client listens");
    }

    /// Answers `call` with its procedure number.
    async fn echo(&mut self, call: &CallHeader) {
        let mut out = record::begin();
        ReplyHeader::success(call.xid).encode(&mut out);
        out.u32(call.procedure);
        self.say(out).await;
    }

    async fn call_back(&mut self, program: u32, arguments: &[u8]) {
        let mut out = record::begin();
        let call = CallHeader {
            xid: 77,
            program,
            version: NFS_CB_VERSION,
            procedure: CB_COMPOUND,
            credential: Credential::None,
            verifier: OpaqueAuth::none(),
        };
        call.encode(&mut out);
        out.raw(arguments);
        self.say(out).await;
    }
}

async fn ask(connection: &Connection, procedure: u32) -> u32 {
    let mut answer = connection
        .rpc((1, 1, procedure), Credential::None, &[])
        .await
        .expect("it is answered");
    answer.result.u32().expect("the procedure comes back")
}

#[tokio::test]
async fn answers_out_of_order_go_to_who_asked() {
    let (mut peer, connection, _) = Peer::meet().await;
    let server = async {
        let (first, second) = (peer.hear_call().await, peer.hear_call().await);
        peer.echo(&second).await;
        peer.echo(&first).await;
    };
    let (seven, eight, ()) = tokio::join!(ask(&connection, 7), ask(&connection, 8), server);
    assert_eq!((seven, eight), (7, 8));
}

#[tokio::test]
async fn a_callback_is_answered_while_a_call_waits() {
    let (mut peer, connection, callbacks) = Peer::meet().await;
    let sequence = CbSequence4Args {
        sessionid: Sessionid4([3; 16]),
        sequenceid: 1,
        slotid: 0,
        highest_slotid: 0,
        cachethis: false,
        referring_call_lists: Vec::new(),
    };
    let recall = CbRecallSlot4Args {
        target_highest_slotid: 0,
    };
    let ops = vec![CbArgOp::Sequence(sequence), CbArgOp::RecallSlot(recall)];
    let args = CbCompound4Args {
        tag: Bytes::new(),
        minorversion: 1,
        callback_ident: 0,
        ops,
    };
    let server = async {
        let call = peer.hear_call().await;
        peer.call_back(NFS4_CALLBACK, &xdr::to_bytes(&args)).await;
        let (header, mut result) = peer.hear().await;
        assert_eq!(header, Message::Reply(ReplyHeader::success(77)));
        let answer = CbCompound4Res::decode(&mut result).expect("an answer to CB_COMPOUND");
        assert_eq!((answer.status, answer.results.len()), (Nfsstat4::Ok, 2));
        peer.echo(&call).await;
    };
    let (five, ()) = tokio::join!(ask(&connection, 5), server);
    assert_eq!(five, 5);
    assert!(matches!(callbacks.next().await, Ok(CbArgOp::RecallSlot(_))));
}

#[tokio::test]
async fn a_callback_of_another_program_is_unavailable() {
    let (mut peer, _connection, _) = Peer::meet().await;
    peer.call_back(12, &[]).await;
    let (header, _) = peer.hear().await;
    assert_eq!(
        header,
        Message::Reply(ReplyHeader::accepted(77, Accepted::ProgUnavail))
    );
}

#[tokio::test]
async fn calls_end_with_the_connection() {
    let (mut peer, connection, _) = Peer::meet().await;
    let server = async {
        peer.hear_call().await;
        drop(peer);
    };
    let (waiting, ()) = tokio::join!(connection.rpc((1, 1, 1), Credential::None, &[]), server);
    assert!(matches!(waiting, Err(Failure::Transport(_))), "{waiting:?}");
    assert!(connection.closed_by_server().await.is_ok());
    let later = connection.rpc((1, 1, 1), Credential::None, &[]).await;
    assert!(matches!(later, Err(Failure::Transport(_))), "{later:?}");
}
