//! XDR (RFC 4506) over [`bytes`]: a decoder that never copies an opaque and never allocates more
//! than the input holds, and an encoder that appends to a growing buffer and keeps large payloads
//! by reference. Never here: a message of a particular protocol.

use bytes::{BufMut, Bytes, BytesMut};

/// A value with an XDR form.
pub trait Xdr: Sized {
    fn encode(&self, out: &mut Encoder);
    fn decode(input: &mut Decoder) -> Result<Self, DecodeError>;
}

/// What was wrong, and where: `offset` is in bytes from the start of the decoder's input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at byte {offset}")]
pub struct DecodeError {
    pub offset: usize,
    pub fault: Fault,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("input ends {missing} bytes early")]
    Truncated { missing: usize },
    #[error("{what} of {length} is longer than the {limit} allowed")]
    TooLong {
        what: &'static str,
        length: u64,
        limit: u64,
    },
    #[error("{value} is no {what}")]
    BadDiscriminant { what: &'static str, value: u32 },
    #[error("{count} bytes follow the end")]
    Trailing { count: usize },
    #[error("{0}")]
    Invalid(&'static str),
}

/// Reads one message. Opaques are slices of the message's own buffer.
#[derive(Debug, Clone)]
pub struct Decoder {
    input: Bytes,
    offset: usize,
}

impl Decoder {
    pub fn new(input: Bytes) -> Self {
        Self { input, offset: 0 }
    }

    #[inline]
    pub fn offset(&self) -> usize {
        self.offset
    }

    #[inline]
    pub fn remaining(&self) -> usize {
        self.input.len() - self.offset
    }

    pub fn fail(&self, fault: Fault) -> DecodeError {
        DecodeError {
            offset: self.offset,
            fault,
        }
    }

    /// A fault in what was read from `offset` on.
    pub fn fail_at(&self, offset: usize, fault: Fault) -> DecodeError {
        DecodeError { offset, fault }
    }

    /// The bytes not read yet, without copying.
    pub fn rest(&mut self) -> Bytes {
        let rest = self.input.slice(self.offset..);
        self.offset = self.input.len();
        rest
    }

    /// `Ok` only when the whole input was read.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            count => Err(self.fail(Fault::Trailing { count })),
        }
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&[u8], DecodeError> {
        if self.remaining() < length {
            return Err(self.truncated(length));
        }
        let start = self.offset;
        self.offset += length;
        Ok(&self.input[start..self.offset])
    }

    #[cold]
    fn truncated(&self, length: usize) -> DecodeError {
        self.fail(Fault::Truncated {
            missing: length - self.remaining(),
        })
    }

    #[inline]
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes(
            bytes.try_into().expect("four bytes were taken"),
        ))
    }

    #[inline]
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(self.u32()? as i32)
    }

    #[inline]
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        let bytes = self.take(8)?;
        Ok(u64::from_be_bytes(
            bytes.try_into().expect("eight bytes were taken"),
        ))
    }

    #[inline]
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(self.u64()? as i64)
    }

    #[inline]
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(self.bad_discriminant("bool", value)),
        }
    }

    /// The word just read is none of the values that `what` allows.
    #[cold]
    pub fn bad_discriminant(&self, what: &'static str, value: u32) -> DecodeError {
        self.fail_at(self.offset - 4, Fault::BadDiscriminant { what, value })
    }

    /// A length or count word of at most `limit`.
    pub fn length(&mut self, what: &'static str, limit: usize) -> Result<usize, DecodeError> {
        let length = self.u32()?;
        if length as usize > limit {
            let fault = Fault::TooLong {
                what,
                length: u64::from(length),
                limit: limit as u64,
            };
            return Err(self.fail_at(self.offset - 4, fault));
        }
        Ok(length as usize)
    }

    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let bytes: [u8; N] = self.take(N)?.try_into().expect("N bytes were taken");
        self.padding(N)?;
        Ok(bytes)
    }

    /// Opaque of variable length, at most `limit` bytes: a slice of the input, which it keeps alive.
    /// Copy what is to live longer than the message.
    pub fn opaque(&mut self, what: &'static str, limit: usize) -> Result<Bytes, DecodeError> {
        let length = self.length(what, limit)?;
        if self.remaining() < length {
            return Err(self.truncated(length));
        }
        let bytes = self.input.slice(self.offset..self.offset + length);
        self.offset += length;
        self.padding(length)?;
        Ok(bytes)
    }

    // Peers pad with zeros (RFC 4506 §4.10); what they pad with carries nothing, so it is not judged.
    #[inline]
    fn padding(&mut self, length: usize) -> Result<(), DecodeError> {
        self.take(padding(length).len()).map(|_| ())
    }

    /// Array of variable length, at most `limit` elements. Grows with what the input really holds,
    /// never with what its length word claims.
    pub fn list<T: Xdr>(
        &mut self,
        what: &'static str,
        limit: usize,
    ) -> Result<Vec<T>, DecodeError> {
        let length = self.length(what, limit)?;
        // A small start: an element in memory may be many times its least size on the wire.
        let mut items = Vec::with_capacity(length.min(self.remaining() / 4).min(64));
        for _ in 0..length {
            items.push(T::decode(self)?);
        }
        Ok(items)
    }

    /// Optional data (`T *`).
    #[inline]
    pub fn option<T: Xdr>(&mut self) -> Result<Option<T>, DecodeError> {
        if self.bool()? {
            T::decode(self).map(Some)
        } else {
            Ok(None)
        }
    }
}

/// Payloads of at least this many bytes are kept by reference; copying a shorter one is cheaper
/// than one more element of a vectored write.
pub const BY_REFERENCE_BYTES: usize = 2048;

/// The zeros that follow an opaque of `length` bytes.
pub fn padding(length: usize) -> &'static [u8] {
    &[0; 3][..length.wrapping_neg() % 4]
}

/// Appends XDR to a growing buffer. Large payloads stay where they are: [`Encoder::into_parts`]
/// gives them as they came, for a vectored write.
#[derive(Debug, Default)]
pub struct Encoder {
    /// What comes before `out`, when a payload was kept by reference.
    parts: Vec<Part>,
    parts_bytes: usize,
    out: BytesMut,
}

#[derive(Debug)]
enum Part {
    Written(BytesMut),
    Payload(Bytes),
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Part::Written(bytes) => bytes.len(),
            Part::Payload(bytes) => bytes.len(),
        }
    }

    fn freeze(self) -> Bytes {
        match self {
            Part::Written(bytes) => bytes.freeze(),
            Part::Payload(bytes) => bytes,
        }
    }
}

impl Encoder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            out: BytesMut::with_capacity(bytes),
            ..Self::default()
        }
    }

    pub fn len(&self) -> usize {
        self.parts_bytes + self.out.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything in one buffer. Copies payloads that were kept by reference.
    pub fn finish(self) -> Bytes {
        if self.parts.is_empty() {
            return self.out.freeze();
        }
        let mut whole = BytesMut::with_capacity(self.len());
        for part in self.into_parts() {
            whole.put_slice(&part);
        }
        whole.freeze()
    }

    /// Everything, in order, without copying. No part is empty.
    pub fn into_parts(self) -> Vec<Bytes> {
        let mut parts: Vec<Bytes> = self.parts.into_iter().map(Part::freeze).collect();
        parts.push(self.out.freeze());
        parts.retain(|part| !part.is_empty());
        parts
    }

    #[inline]
    pub fn u32(&mut self, value: u32) {
        self.out.put_u32(value);
    }

    #[inline]
    pub fn i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    #[inline]
    pub fn u64(&mut self, value: u64) {
        self.out.put_u64(value);
    }

    #[inline]
    pub fn i64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    /// Opaque of fixed length.
    #[inline]
    pub fn fixed(&mut self, bytes: &[u8]) {
        self.out.put_slice(bytes);
        self.out.put_slice(padding(bytes.len()));
    }

    /// Opaque of variable length, copied.
    #[inline]
    pub fn opaque(&mut self, bytes: &[u8]) {
        debug_assert!(
            u32::try_from(bytes.len()).is_ok(),
            "an opaque's length is one word"
        );
        self.u32(bytes.len() as u32);
        self.fixed(bytes);
    }

    /// Opaque of variable length, kept by reference when that is worth it.
    pub fn payload(&mut self, bytes: &Bytes) {
        if bytes.len() < BY_REFERENCE_BYTES {
            return self.opaque(bytes);
        }
        debug_assert!(
            u32::try_from(bytes.len()).is_ok(),
            "an opaque's length is one word"
        );
        self.u32(bytes.len() as u32);
        self.parts_bytes += self.out.len() + bytes.len();
        self.parts.push(Part::Written(self.out.split()));
        self.parts.push(Part::Payload(bytes.clone()));
        self.out.put_slice(padding(bytes.len()));
    }

    pub fn list<T: Xdr>(&mut self, items: &[T]) {
        self.u32(items.len() as u32);
        for item in items {
            item.encode(self);
        }
    }

    pub fn option<T: Xdr>(&mut self, item: Option<&T>) {
        self.bool(item.is_some());
        if let Some(item) = item {
            item.encode(self);
        }
    }

    /// Bytes that are XDR already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.put_slice(bytes);
    }

    /// Overwrites the word at `offset`, for a length or count known only afterwards. The offset is
    /// one that [`Encoder::len`] gave before the word was written.
    pub fn patch_u32(&mut self, offset: usize, value: u32) {
        let mut offset = offset;
        for part in &mut self.parts {
            if offset < part.len() {
                let Part::Written(bytes) = part else {
                    panic!("a payload kept by reference is not patched");
                };
                bytes[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
                return;
            }
            offset -= part.len();
        }
        self.out[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
    }

    /// Drops what was written after `length`.
    pub fn truncate(&mut self, length: usize) {
        if length >= self.parts_bytes {
            return self.out.truncate(length - self.parts_bytes);
        }
        self.out.clear();
        while length < self.parts_bytes {
            let Some(part) = self.parts.pop() else { return };
            self.parts_bytes -= part.len();
            let keep = length.saturating_sub(self.parts_bytes);
            match part {
                Part::Written(mut bytes) if keep > 0 => {
                    bytes.truncate(keep);
                    self.out = bytes;
                    return;
                }
                Part::Payload(bytes) if keep > 0 => {
                    self.parts_bytes += keep;
                    self.parts.push(Part::Payload(bytes.slice(..keep)));
                }
                _ => {}
            }
        }
    }
}

/// Encodes one value into a buffer of its own.
pub fn to_bytes<T: Xdr>(value: &T) -> Bytes {
    let mut out = Encoder::new();
    value.encode(&mut out);
    out.finish()
}

/// Decodes one value that must fill the whole input.
pub fn from_bytes<T: Xdr>(input: Bytes) -> Result<T, DecodeError> {
    let mut decoder = Decoder::new(input);
    let value = T::decode(&mut decoder)?;
    decoder.finish()?;
    Ok(value)
}

/// Encodes a linked list: a true in front of each element, a false at the end.
pub fn encode_chain<T: Xdr>(items: &[T], out: &mut Encoder) {
    for item in items {
        out.bool(true);
        item.encode(out);
    }
    out.bool(false);
}

/// Decodes a linked list. Its length is bounded by the input: no element is free.
pub fn decode_chain<T: Xdr>(input: &mut Decoder) -> Result<Vec<T>, DecodeError> {
    let mut items = Vec::new();
    while input.bool()? {
        items.push(T::decode(input)?);
    }
    Ok(items)
}

macro_rules! words {
    ($($type:ty => $method:ident),*) => {$(
        impl Xdr for $type {
            fn encode(&self, out: &mut Encoder) { out.$method(*self); }
            fn decode(input: &mut Decoder) -> Result<Self, DecodeError> { input.$method() }
        }
    )*};
}
words!(u32 => u32, i32 => i32, u64 => u64, i64 => i64, bool => bool);

impl Xdr for () {
    fn encode(&self, _: &mut Encoder) {}
    fn decode(_: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(())
    }
}

/// Opaque of fixed length.
impl<const N: usize> Xdr for [u8; N] {
    fn encode(&self, out: &mut Encoder) {
        out.fixed(self);
    }
    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        input.array()
    }
}

/// Optional data.
impl<T: Xdr> Xdr for Option<T> {
    fn encode(&self, out: &mut Encoder) {
        out.option(self.as_ref());
    }
    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        input.option()
    }
}

/// An XDR struct: its fields, in order.
#[macro_export]
macro_rules! xdr_struct {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* pub $field:ident : $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type),* }
        impl $crate::xdr::Xdr for $name {
            #[allow(unused_variables, reason = "a struct may have no fields")]
            fn encode(&self, out: &mut $crate::xdr::Encoder) { $($crate::xdr::Xdr::encode(&self.$field, out);)* }
            #[allow(unused_variables, reason = "a struct may have no fields")]
            fn decode(input: &mut $crate::xdr::Decoder) -> Result<Self, $crate::xdr::DecodeError> {
                Ok(Self { $($field: $crate::xdr::Xdr::decode(input)?),* })
            }
        }
    };
}

/// An XDR enum of 32 bits. Decoding refuses what is not listed.
#[macro_export]
macro_rules! xdr_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $value:expr),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum $name { $($(#[$vmeta])* $variant = $value),* }
        impl $name {
            pub fn from_u32(value: u32) -> Option<Self> {
                match value { $(x if x == $value => Some(Self::$variant),)* _ => None }
            }
        }
        impl $crate::xdr::Xdr for $name {
            fn encode(&self, out: &mut $crate::xdr::Encoder) { out.u32(*self as u32); }
            fn decode(input: &mut $crate::xdr::Decoder) -> Result<Self, $crate::xdr::DecodeError> {
                let value = input.u32()?;
                Self::from_u32(value).ok_or_else(|| input.bad_discriminant(stringify!($name), value))
            }
        }
    };
}

/// An opaque or string of variable length, at most `$limit` bytes: one that is longer can't be made.
#[macro_export]
macro_rules! xdr_opaque {
    ($(#[$meta:meta])* pub struct $name:ident <= $limit:expr;) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(bytes::Bytes);
        impl $name {
            pub const LIMIT_BYTES: usize = $limit;

            /// `None` when `bytes` is longer than the limit.
            pub fn new(bytes: impl Into<bytes::Bytes>) -> Option<Self> {
                let bytes = bytes.into();
                (bytes.len() <= Self::LIMIT_BYTES).then_some(Self(bytes))
            }

            pub fn bytes(&self) -> &bytes::Bytes {
                &self.0
            }

            pub fn into_bytes(self) -> bytes::Bytes {
                self.0
            }
        }
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.0)
            }
        }
        impl $crate::xdr::Xdr for $name {
            fn encode(&self, out: &mut $crate::xdr::Encoder) {
                out.opaque(&self.0);
            }
            fn decode(input: &mut $crate::xdr::Decoder) -> Result<Self, $crate::xdr::DecodeError> {
                input.opaque(stringify!($name), Self::LIMIT_BYTES).map(Self)
            }
        }
    };
}

#[cfg(test)]
mod tests;
