use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wire::Decoder;
use wire::record::{self, Frame, RecordReader};
use wire::rpc::{Message, ReplyHeader};

use super::*;

/// What a port mapper that answers with `port` comes to.
async fn found(port: u32) -> Result<u16, MountError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut reader, mut input) = (RecordReader::new(1000), BytesMut::new());
        let call = loop {
            if let Some(call) = reader.next(&mut input).unwrap() {
                break call;
            }
            stream.read_buf(&mut input).await.unwrap();
        };
        let mut args = Decoder::new(call);
        let Ok(Message::Call(header)) = Message::decode(&mut args) else {
            panic!("the client sends a call");
        };
        assert_eq!(
            (header.program, header.version, header.procedure),
            (100_000, 2, 3)
        );
        let asked = portmap::Mapping::decode(&mut args).unwrap();
        assert_eq!(
            (asked.program, asked.version, asked.protocol),
            (100_003, 3, 6)
        );
        let mut out = record::begin();
        ReplyHeader::success(header.xid).encode(&mut out);
        out.u32(port);
        stream.write_all_buf(&mut Frame::new(out)).await.unwrap();
        stream
    };
    let options = Options::default();
    let (program, version) = (wire::nfs3::PROGRAM, wire::nfs3::VERSION);
    let ask = port_of(server, program, version, "NFSv3", &options);
    tokio::join!(ask, serve).0
}

#[tokio::test]
async fn the_port_mapper_says_where_nfs_is() {
    assert_eq!(found(2049).await.unwrap(), 2049);
}

#[tokio::test]
async fn a_service_that_is_not_registered_is_named() {
    // Port 0 is the port mapper's no; one that is no port comes to the same.
    for port in [0, 65_536] {
        let words = found(port).await.unwrap_err().to_string();
        assert!(
            words.ends_with("says that NFSv3 is not running there"),
            "{words}"
        );
    }
}
