//! XDR (RFC 4506) over [`bytes`]: a decoder that never copies an opaque and never allocates more
//! than the input holds, and an encoder that appends to one growing buffer.

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
    TooLong { what: &'static str, length: u64, limit: u64 },
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

    pub fn offset(&self) -> usize {
        self.offset
    }

    pub fn remaining(&self) -> usize {
        self.input.len() - self.offset
    }

    pub fn fail(&self, fault: Fault) -> DecodeError {
        DecodeError { offset: self.offset, fault }
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

    fn take(&mut self, length: usize) -> Result<&[u8], DecodeError> {
        if self.remaining() < length {
            return Err(self.fail(Fault::Truncated { missing: length - self.remaining() }));
        }
        let start = self.offset;
        self.offset += length;
        Ok(&self.input[start..self.offset])
    }

    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes(bytes.try_into().expect("four bytes were taken")))
    }

    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(self.u32()? as i32)
    }

    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        let bytes = self.take(8)?;
        Ok(u64::from_be_bytes(bytes.try_into().expect("eight bytes were taken")))
    }

    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(self.u64()? as i64)
    }

    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(self.fail(Fault::BadDiscriminant { what: "bool", value })),
        }
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let bytes: [u8; N] = self.take(N)?.try_into().expect("N bytes were taken");
        self.padding(N)?;
        Ok(bytes)
    }

    /// Opaque of variable length, at most `limit` bytes: a slice of the input.
    pub fn opaque(&mut self, what: &'static str, limit: usize) -> Result<Bytes, DecodeError> {
        let length = self.u32()? as usize;
        if length > limit {
            return Err(self.fail(Fault::TooLong { what, length: length as u64, limit: limit as u64 }));
        }
        if self.remaining() < length {
            return Err(self.fail(Fault::Truncated { missing: length - self.remaining() }));
        }
        let bytes = self.input.slice(self.offset..self.offset + length);
        self.offset += length;
        self.padding(length)?;
        Ok(bytes)
    }

    // Peers pad with zeros (RFC 4506 §4.10); what they pad with carries nothing, so it is not judged.
    fn padding(&mut self, length: usize) -> Result<(), DecodeError> {
        self.take(length.wrapping_neg() % 4).map(|_| ())
    }

    /// Array of variable length, at most `limit` elements. Grows with what the input really holds,
    /// never with what its length word claims.
    pub fn list<T: Xdr>(&mut self, what: &'static str, limit: usize) -> Result<Vec<T>, DecodeError> {
        let length = self.u32()? as usize;
        if length > limit {
            return Err(self.fail(Fault::TooLong { what, length: length as u64, limit: limit as u64 }));
        }
        let mut items = Vec::with_capacity(length.min(self.remaining() / 4));
        for _ in 0..length {
            items.push(T::decode(self)?);
        }
        Ok(items)
    }

    /// Optional data (`T *`).
    pub fn option<T: Xdr>(&mut self) -> Result<Option<T>, DecodeError> {
        if self.bool()? { T::decode(self).map(Some) } else { Ok(None) }
    }
}

/// Appends XDR to one buffer.
#[derive(Debug, Default)]
pub struct Encoder {
    out: BytesMut,
}

impl Encoder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn with_capacity(bytes: usize) -> Self {
        Self { out: BytesMut::with_capacity(bytes) }
    }

    pub fn len(&self) -> usize {
        self.out.len()
    }

    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    pub fn finish(self) -> Bytes {
        self.out.freeze()
    }

    pub fn u32(&mut self, value: u32) {
        self.out.put_u32(value);
    }

    pub fn i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    pub fn u64(&mut self, value: u64) {
        self.out.put_u64(value);
    }

    pub fn i64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    pub fn bool(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    /// Opaque of fixed length.
    pub fn fixed(&mut self, bytes: &[u8]) {
        self.out.put_slice(bytes);
        self.out.put_bytes(0, bytes.len().wrapping_neg() % 4);
    }

    /// Opaque of variable length.
    pub fn opaque(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.fixed(bytes);
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

    /// Overwrites the word at `offset`, for a length or count known only afterwards.
    pub fn patch_u32(&mut self, offset: usize, value: u32) {
        self.out[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
    }

    /// Drops what was written after `length`.
    pub fn truncate(&mut self, length: usize) {
        self.out.truncate(length);
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

macro_rules! words {
    ($($type:ty => $method:ident),*) => {$(
        impl Xdr for $type {
            fn encode(&self, out: &mut Encoder) { out.$method(*self); }
            fn decode(input: &mut Decoder) -> Result<Self, DecodeError> { input.$method() }
        }
    )*};
}
words!(u32 => u32, i32 => i32, u64 => u64, i64 => i64, bool => bool);

/// An XDR struct: its fields, in order.
#[macro_export]
macro_rules! xdr_struct {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* pub $field:ident : $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type),* }
        impl $crate::xdr::Xdr for $name {
            #[allow(unused_variables)]
            fn encode(&self, out: &mut $crate::xdr::Encoder) { $($crate::xdr::Xdr::encode(&self.$field, out);)* }
            #[allow(unused_variables)]
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
                let at = input.clone();
                let value = input.u32()?;
                Self::from_u32(value).ok_or_else(|| at.fail($crate::xdr::Fault::BadDiscriminant { what: stringify!($name), value }))
            }
        }
    };
}
