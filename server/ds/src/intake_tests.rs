use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use buffers::Pool;
use proptest::prelude::*;
use wire::nfs3::{Fh3, Procedure, StableHow, Write3head};
use wire::rpc::{CallHeader, Credential, OpaqueAuth};
use wire::{Encoder, Xdr};

use super::*;

const LIMIT_BYTES: usize = 1 << 20;

fn call(procedure: Procedure) -> Encoder {
    let mut out = Encoder::new();
    CallHeader {
        xid: 9,
        program: nfs3::PROGRAM,
        version: nfs3::VERSION,
        procedure: procedure as u32,
        credential: Credential::Sys(wire::rpc::AuthSys::default()),
        verifier: OpaqueAuth::none(),
    }
    .encode(&mut out);
    out
}

fn write_head(length: usize) -> Vec<u8> {
    let mut out = call(Procedure::Write);
    Write3head {
        file: Fh3::new(vec![5; 44]).expect("a handle of 44 bytes"),
        offset: 0,
        count: length as u32,
        stable: StableHow::Unstable,
    }
    .encode(&mut out);
    out.finish().to_vec()
}

fn write(data: &[u8]) -> Vec<u8> {
    let mut record = write_head(data.len());
    record.extend_from_slice(data);
    record.extend_from_slice(wire::xdr::padding(data.len()));
    record
}

fn marked(record: &[u8], fragment_bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut left = record.len();
    for piece in record.chunks(fragment_bytes) {
        left -= piece.len();
        let mark = RecordHeader {
            last: left == 0,
            length: piece.len() as u32,
        };
        out.extend_from_slice(&mark.to_bytes());
        out.extend_from_slice(piece);
    }
    out
}

fn buffer(pool: &Arc<Pool>, length: usize) -> Buffer {
    match pin!(pool.acquire(length)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(buffer) => buffer,
        Poll::Pending => panic!("the test's pool is large enough"),
    }
}

/// A record's head, and its payload if it came apart.
type Pieces = (Vec<u8>, Option<Vec<u8>>);

/// Feeds `stream` in pieces of the given sizes, over and over, and collects the records.
fn feed(mut stream: &[u8], pieces: &[usize]) -> Result<Vec<Pieces>, Hostile> {
    let pool = Pool::new(16 << 20);
    let mut intake = Intake::new(LIMIT_BYTES);
    let mut records = Vec::new();
    let mut pieces = pieces.iter().cycle();
    loop {
        match intake.advance()? {
            Progress::Record(incoming) => records.push((
                incoming.head.to_vec(),
                incoming.payload.map(|buffer| buffer.bytes().to_vec()),
            )),
            Progress::Buffer(length) => intake.give(buffer(&pool, length)),
            Progress::Bytes => {
                let mut space = intake.space();
                let room = space.bytes_mut();
                assert!(!room.is_empty());
                let count = room
                    .len()
                    .min(stream.len())
                    .min(*pieces.next().expect("a cycle never ends"));
                room[..count].copy_from_slice(&stream[..count]);
                stream = &stream[count..];
                intake.filled(space, count);
                if count == 0 {
                    return Ok(records);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn records_come_out_as_sent_however_the_stream_is_cut(
        lengths in proptest::collection::vec(1..20_000_usize, 1..4),
        fragment_bytes in 1..9000_usize,
        pieces in proptest::collection::vec(1..10_000_usize, 1..4),
    ) {
        let fragment_bytes = fragment_bytes.max(64);
        let mut stream = Vec::new();
        let mut expected = Vec::new();
        for (number, length) in lengths.iter().enumerate() {
            let data: Vec<u8> = (0..*length).map(|at| (at * 7 + number) as u8).collect();
            stream.extend(marked(&write(&data), fragment_bytes));
            expected.push((write_head(data.len()), Some(data)));
            let null = call(Procedure::Null).finish().to_vec();
            stream.extend(marked(&null, fragment_bytes));
            expected.push((null, None));
        }
        prop_assert_eq!(feed(&stream, &pieces), Ok(expected));
    }

    #[test]
    fn any_bytes_are_records_or_refused(
        stream in proptest::collection::vec(any::<u8>(), 0..4000),
        pieces in proptest::collection::vec(1..100_usize, 1..4),
    ) {
        let _ = feed(&stream, &pieces);
    }

    #[test]
    fn any_bytes_in_a_record_come_out_or_are_refused(
        record in proptest::collection::vec(any::<u8>(), 0..4000),
        words in proptest::collection::vec(0..12_u32, 0..40),
    ) {
        let mut head = call(Procedure::Write).finish().to_vec();
        head.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        head.extend(record);
        let _ = feed(&marked(&head, 1000), &[777]);
    }
}

#[test]
fn a_record_that_ends_inside_its_payload_comes_without_one() {
    let mut record = write(&[1; 1000]);
    record.truncate(record.len() - 100);
    let records = feed(&marked(&record, usize::MAX >> 1), &[8192]).expect("it is short, not long");
    assert_eq!(records, [(write_head(1000), None)]);
}

#[test]
fn a_record_with_more_than_padding_behind_its_payload_comes_without_one() {
    let mut record = write(&[1; 1000]);
    record.extend_from_slice(&[0; 8]);
    let records = feed(&marked(&record, usize::MAX >> 1), &[8192]).expect("it is within the limit");
    assert_eq!(records, [(write_head(1000), None)]);
}

#[test]
fn a_payload_longer_than_the_transfer_size_is_refused_before_it_is_housed() {
    let record = write_head(LIMIT_BYTES + 1);
    let mark = RecordHeader {
        last: true,
        length: (record.len() + 4) as u32,
    };
    let stream = [&mark.to_bytes()[..], &record].concat();
    assert!(matches!(
        feed(&stream, &[8192]),
        Err(Hostile::RecordTooLong { .. })
    ));
}

#[test]
fn a_mark_that_promises_gigabytes_is_refused_at_once() {
    assert!(matches!(
        feed(&[0xff; 4], &[4]),
        Err(Hostile::RecordTooLong { .. })
    ));
}

#[test]
fn empty_fragments_without_end_are_refused() {
    assert!(matches!(
        feed(&[0; 4 * (FRAGMENTS_MAX + 1)], &[8192]),
        Err(Hostile::RecordTooLong { .. })
    ));
}

#[test]
fn an_endless_head_is_refused() {
    let record = vec![0; HEAD_MAX_BYTES + 1];
    assert_eq!(
        feed(&marked(&record, 4096), &[8192]),
        Err(Hostile::HeadTooLong)
    );
}
