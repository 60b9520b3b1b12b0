//! Any bytes as a stream of records, in chunks of any length. The first bytes of an input give the
//! lengths of the chunks.

mod fuzz;

use bytes::{Bytes, BytesMut};
use fuzz::{ITERATIONS, as_small_words};
use wire::record::{HEADER_BYTES, RecordError, RecordReader};

const LIMIT_BYTES: usize = 64;
const CHUNKS: usize = 8;

fn all_at_once(stream: &[u8]) -> (Vec<Bytes>, Option<RecordError>) {
    let mut reader = RecordReader::new(LIMIT_BYTES);
    let mut input = BytesMut::from(stream);
    let mut records = Vec::new();
    loop {
        match reader.next(&mut input) {
            Ok(Some(record)) => records.push(record),
            Ok(None) => return (records, None),
            Err(fault) => return (records, Some(fault)),
        }
    }
}

fn in_chunks(chunks: &[u8], stream: &[u8]) -> (Vec<Bytes>, Option<RecordError>) {
    let mut reader = RecordReader::new(LIMIT_BYTES);
    let mut input = BytesMut::new();
    let mut records = Vec::new();
    let mut rest = stream;
    for length in chunks.iter().cycle() {
        loop {
            match reader.next(&mut input) {
                Ok(Some(record)) => records.push(record),
                Ok(None) => break,
                Err(fault) => return (records, Some(fault)),
            }
        }
        if rest.is_empty() {
            return (records, None);
        }
        let missing = reader.missing_bytes(&input);
        assert!((1..=LIMIT_BYTES + HEADER_BYTES).contains(&missing));
        let length = usize::from(*length).clamp(1, rest.len());
        input.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
    }
    (records, None)
}

#[test]
fn any_bytes_as_a_stream_of_records() {
    bolero::check!()
        .with_iterations(ITERATIONS)
        .for_each(|input: &[u8]| {
            let Some((chunks, stream)) = input.split_at_checked(CHUNKS) else {
                return;
            };
            for stream in [stream.to_vec(), as_small_words(stream), marked(stream)] {
                let whole = all_at_once(&stream);
                assert!(whole.0.iter().all(|record| record.len() <= LIMIT_BYTES));
                assert_eq!(in_chunks(chunks, &stream), whole);
            }
        });
}

/// The bytes as fragments of random lengths that fit, one in two of them the last of its record.
fn marked(bytes: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut rest = bytes;
    while let Some((mark, after)) = rest.split_first() {
        let length = usize::from(mark >> 1).min(after.len());
        stream.extend([(mark & 1) << 7, 0, 0, length as u8]);
        stream.extend(&after[..length]);
        rest = &after[length..];
    }
    stream
}
