//! Bytes of objects on their way: out of a file to the bucket, and out of an answer into memory.
//!
//! Never here: requests.

use aws_sdk_s3::primitives::{ByteStream, Length};
use backend::tree::{TreeError, TreeErrorKind};
use bytes::{Bytes, BytesMut};
use std::io;
use std::ops::Range;
use std::path::Path;

/// A stream of a file's range, that can be read again for a retry.
pub(crate) async fn read_file(file: &Path, range: Range<u64>) -> Result<ByteStream, TreeError> {
    ByteStream::read_from()
        .path(file)
        .offset(range.start)
        .length(Length::Exact(range.end - range.start))
        .buffer_size(256 << 10)
        .build()
        .await
        .map_err(|error| {
            TreeError::new(
                TreeErrorKind::Broken,
                format!("{}: {error}", file.display()),
            )
        })
}

/// All of an answer that has no more than `length` bytes. Each piece is taken over as it comes, so that the same few
/// buffers receive all of them, and nothing lies in memory twice.
pub(crate) async fn gather(mut body: ByteStream, length: usize) -> io::Result<Bytes> {
    let mut whole = BytesMut::with_capacity(length);
    while let Some(piece) = body.try_next().await.map_err(io::Error::other)? {
        if whole.len() + piece.len() > length {
            return Err(io::Error::other("more came than was said or asked for"));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_gathered_as_it_came_and_no_further_than_was_said() {
        let body = || ByteStream::from_static(b"some bytes");
        let gathered = gather(body(), 10).await.expect("it is whole");
        assert_eq!(&gathered[..], b"some bytes");
        assert!(gather(body(), 9).await.is_err());
    }
}
