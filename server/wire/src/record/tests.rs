use bytes::{Buf, BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::xdr::BY_REFERENCE_BYTES;

const LIMIT: usize = 1000;

fn fragment(last: bool, bytes: &[u8]) -> Vec<u8> {
    let mut out = RecordHeader {
        last,
        length: bytes.len() as u32,
    }
    .to_bytes()
    .to_vec();
    out.extend_from_slice(bytes);
    out
}

fn buffer(parts: &[Vec<u8>]) -> BytesMut {
    BytesMut::from(&parts.concat()[..])
}

#[test]
fn a_record_in_one_fragment_is_a_slice_of_the_receive_buffer() {
    let mut input = buffer(&[fragment(true, b"hello"), fragment(true, b"wor")]);
    let address = input[4..].as_ptr();
    let mut reader = RecordReader::new(LIMIT);
    let record = reader.next(&mut input).unwrap().unwrap();
    assert_eq!((&record[..], record.as_ptr()), (&b"hello"[..], address));
    assert_eq!(
        reader.next(&mut input),
        Ok(Some(Bytes::from_static(b"wor")))
    );
    assert_eq!(reader.next(&mut input), Ok(None));
}

#[test]
fn a_record_may_be_as_long_as_the_limit_and_no_longer_however_it_is_cut() {
    let mut reader = RecordReader::new(4);
    let mut input = buffer(&[fragment(false, b"ab"), fragment(true, b"cd")]);
    assert_eq!(
        reader.next(&mut input),
        Ok(Some(Bytes::from_static(b"abcd")))
    );
    let mut input = buffer(&[fragment(false, b"ab"), fragment(true, b"cde")]);
    let refused = Err(RecordError::TooLong {
        length: 5,
        limit: 4,
    });
    assert_eq!(reader.next(&mut input), refused);
}

#[test]
fn a_length_over_the_limit_is_refused_before_its_bytes_arrive() {
    let mut reader = RecordReader::new(LIMIT);
    let mut input = BytesMut::from(&[0xff; 4][..]);
    let refused = RecordError::TooLong {
        length: 0x7fff_ffff,
        limit: LIMIT,
    };
    assert_eq!(reader.next(&mut input), Err(refused));
}

#[test]
fn empty_fragments_without_end_are_refused() {
    let mut reader = RecordReader::new(LIMIT);
    let mut input = buffer(&vec![fragment(false, b""); FRAGMENTS_MAX + 1]);
    let refused = RecordError::TooManyFragments {
        limit: FRAGMENTS_MAX,
    };
    assert_eq!(reader.next(&mut input), Err(refused));
}

#[test]
fn an_empty_fragment_within_a_record_adds_nothing() {
    let mut reader = RecordReader::new(LIMIT);
    let parts = [
        fragment(false, b""),
        fragment(false, b"a"),
        fragment(true, b""),
    ];
    assert_eq!(
        reader.next(&mut buffer(&parts)),
        Ok(Some(Bytes::from_static(b"a")))
    );
}

#[test]
fn the_first_word_is_known_even_when_fragments_cut_it() {
    let mut reader = RecordReader::new(8);
    let mut input = buffer(&[
        fragment(false, &[1, 2, 3]),
        fragment(true, &[4, 5, 6, 7, 8, 9]),
    ]);
    assert!(reader.next(&mut input).is_err());
    assert_eq!(reader.first_word(&input), Some(0x0102_0304));
    assert_eq!(reader.first_word(&input[..4]), None);
}

#[test]
fn a_frame_is_marked_and_keeps_its_payload_where_it_is() {
    let payload = Bytes::from(vec![9; BY_REFERENCE_BYTES + 2]);
    let mut message = begin();
    message.u32(5);
    message.payload(&payload);
    let frame = Frame::new(message);
    let mark = 0x8000_0000_u32 + frame.remaining() as u32 - 4;
    let parts: Vec<Bytes> = frame.into_parts().collect();
    assert_eq!(&parts[0][..4], &mark.to_be_bytes());
    assert_eq!(parts[1].as_ptr(), payload.as_ptr());
}

#[test]
fn frames_sent_together_are_read_apart() {
    let frame = |words: &[u32]| {
        let mut message = begin();
        for word in words {
            message.u32(*word);
        }
        Frame::new(message)
    };
    let mut both = frame(&[1]);
    both.append(frame(&[2, 3]));
    assert_eq!(both.remaining(), 4 + 4 + 4 + 8);
    let mut input = BytesMut::from(&both.into_parts().collect::<Vec<_>>().concat()[..]);
    let mut reader = RecordReader::new(LIMIT);
    let one = reader.next(&mut input).unwrap().unwrap();
    let two = reader.next(&mut input).unwrap().unwrap();
    assert_eq!(
        (&one[..], &two[..]),
        (&[0, 0, 0, 1][..], &[0, 0, 0, 2, 0, 0, 0, 3][..])
    );
}

proptest! {
    #[test]
    fn records_come_out_as_they_went_in_however_they_are_cut_and_chunked(
        records in prop::collection::vec(prop::collection::vec(
            prop::collection::vec(any::<u8>(), 0..60), 1..5), 0..6),
        chunks in prop::collection::vec(1..40_usize, 1..30),
    ) {
        let mut stream = Vec::new();
        for record in &records {
            for (index, piece) in record.iter().enumerate() {
                stream.extend(fragment(index + 1 == record.len(), piece));
            }
        }
        let mut reader = RecordReader::new(LIMIT);
        let (mut input, mut out) = (BytesMut::new(), Vec::new());
        let mut rest = &stream[..];
        for length in chunks.iter().cycle() {
            while let Some(record) = reader.next(&mut input).unwrap() {
                out.push(record.to_vec());
            }
            prop_assert!(reader.missing_bytes(&input) >= 1);
            prop_assert!(reader.missing_bytes(&input) <= LIMIT + HEADER_BYTES);
            if rest.is_empty() {
                break;
            }
            let (chunk, later) = rest.split_at((*length).min(rest.len()));
            input.put_slice(chunk);
            rest = later;
        }
        prop_assert!(input.is_empty());
        prop_assert_eq!(out, records.iter().map(|record| record.concat()).collect::<Vec<_>>());
    }

    #[test]
    fn a_frame_can_be_sent_in_any_portions(
        lengths in prop::collection::vec(0..3 * BY_REFERENCE_BYTES, 0..5),
        portions in prop::collection::vec(1..5000_usize, 1..20),
    ) {
        let mut message = begin();
        for (index, length) in lengths.iter().enumerate() {
            message.payload(&Bytes::from(vec![index as u8; *length]));
        }
        let mut frame = Frame::new(message);
        let whole = frame.clone().into_parts().collect::<Vec<_>>().concat();
        let mut sent = Vec::new();
        for portion in portions.iter().cycle() {
            if !frame.has_remaining() {
                break;
            }
            let mut slices = [IoSlice::new(&[]); 4];
            let filled = frame.chunks_vectored(&mut slices);
            let offered: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
            prop_assert!(!offered.is_empty());
            let count = (*portion).min(offered.len());
            sent.extend_from_slice(&offered[..count]);
            frame.advance(count);
        }
        prop_assert_eq!(sent, whole);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut reader = RecordReader::new(LIMIT);
        let mut input = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = reader.next(&mut input) {}
        let _ = reader.first_word(&input);
    }
}
