//! How the messages of NFSv4 are written down: bounded fields, unions, and the result of an operation.
//! The macros here say the XDR once, for both directions; no message is defined here.

use bytes::Bytes;

use super::status::Nfsstat4;
use crate::xdr::{DecodeError, Decoder, Encoder, Xdr};

/// A field whose length the peer chooses, and the limit that it has to keep.
pub(super) trait Bounded: Sized {
    type Limit;
    fn encode_bounded(&self, out: &mut Encoder);
    fn decode_bounded(
        input: &mut Decoder,
        what: &'static str,
        limit: Self::Limit,
    ) -> Result<Self, DecodeError>;
}

impl Bounded for Bytes {
    type Limit = usize;

    fn encode_bounded(&self, out: &mut Encoder) {
        out.payload(self);
    }

    fn decode_bounded(
        input: &mut Decoder,
        what: &'static str,
        limit: usize,
    ) -> Result<Self, DecodeError> {
        input.opaque(what, limit)
    }
}

/// Reads the length of a list and says how much room to make for it at once: never more bytes than the
/// input still holds, whatever the size of an element in memory.
fn list_length<T>(
    input: &mut Decoder,
    what: &'static str,
    limit: usize,
) -> Result<(usize, Vec<T>), DecodeError> {
    let length = input.length(what, limit)?;
    let room = input.remaining() / size_of::<T>().max(4);
    Ok((length, Vec::with_capacity(length.min(room))))
}

impl<T: Xdr> Bounded for Vec<T> {
    type Limit = usize;

    fn encode_bounded(&self, out: &mut Encoder) {
        out.list(self);
    }

    fn decode_bounded(
        input: &mut Decoder,
        what: &'static str,
        limit: usize,
    ) -> Result<Self, DecodeError> {
        let (length, mut items) = list_length(input, what, limit)?;
        for _ in 0..length {
            items.push(T::decode(input)?);
        }
        Ok(items)
    }
}

/// A list of opaques: how many, and how long each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opaques {
    pub count: usize,
    pub each: usize,
}

/// `opaque name<>[]`, which has two limits.
pub(super) fn encode_opaques(items: &[Bytes], out: &mut Encoder) {
    out.u32(items.len() as u32);
    for item in items {
        out.opaque(item);
    }
}

pub(super) fn decode_opaques(
    input: &mut Decoder,
    what: &'static str,
    limit: Opaques,
) -> Result<Vec<Bytes>, DecodeError> {
    let (length, mut items) = list_length(input, what, limit.count)?;
    for _ in 0..length {
        items.push(input.opaque(what, limit.each)?);
    }
    Ok(items)
}

impl<T: Xdr> Xdr for Box<T> {
    fn encode(&self, out: &mut Encoder) {
        T::encode(self, out);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        T::decode(input).map(Box::new)
    }
}

/// What an operation answers when it fails: a status, and for a few operations more.
pub trait OperationError: Sized {
    fn status(&self) -> Nfsstat4;
    /// The error of an operation that has no more to say than `status`.
    fn from_status(status: Nfsstat4) -> Self;
    /// What follows the status.
    fn encode_rest(&self, out: &mut Encoder);
    fn decode_rest(status: Nfsstat4, input: &mut Decoder) -> Result<Self, DecodeError>;
}

impl OperationError for Nfsstat4 {
    fn status(&self) -> Nfsstat4 {
        *self
    }

    fn from_status(status: Nfsstat4) -> Self {
        status
    }

    fn encode_rest(&self, _: &mut Encoder) {}

    fn decode_rest(status: Nfsstat4, _: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(status)
    }
}

/// The result of one operation, without its number.
pub(super) trait OperationResult: Sized {
    fn status(&self) -> Nfsstat4;
    fn failed(status: Nfsstat4) -> Self;
    fn encode_result(&self, out: &mut Encoder);
    fn decode_result(input: &mut Decoder) -> Result<Self, DecodeError>;
}

impl<T: Xdr, E: OperationError> OperationResult for Result<T, E> {
    fn status(&self) -> Nfsstat4 {
        match self {
            Ok(_) => Nfsstat4::Ok,
            Err(error) => error.status(),
        }
    }

    fn failed(status: Nfsstat4) -> Self {
        Err(E::from_status(status))
    }

    fn encode_result(&self, out: &mut Encoder) {
        self.status().encode(out);
        match self {
            Ok(value) => value.encode(out),
            Err(error) => {
                debug_assert_ne!(
                    error.status(),
                    Nfsstat4::Ok,
                    "an error carries a status that is one"
                );
                error.encode_rest(out);
            }
        }
    }

    fn decode_result(input: &mut Decoder) -> Result<Self, DecodeError> {
        match Nfsstat4::decode(input)? {
            Nfsstat4::Ok => T::decode(input).map(Ok),
            status => E::decode_rest(status, input).map(Err),
        }
    }
}

/// Structs of XDR. A field whose length the peer chooses says its limit: `pub name: Bytes = NAME_LIMIT`.
macro_rules! messages {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* pub $field:ident : $type:ty $(= $limit:expr)?),* $(,)? })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type),* }
        impl $crate::xdr::Xdr for $name {
            fn encode(&self, out: &mut $crate::xdr::Encoder) {
                $(field!(encode &self.$field, out $(, $limit)?);)*
            }
            fn decode(input: &mut $crate::xdr::Decoder) -> Result<Self, $crate::xdr::DecodeError> {
                Ok(Self { $($field: field!(decode $type, input, stringify!($field) $(, $limit)?)),* })
            }
        }
        #[cfg(test)]
        impl $crate::nfs4::sample::Sample for $name {
            fn sample(source: &mut $crate::nfs4::sample::Source) -> Self {
                Self { $($field: field!(sample $type, source $(, $limit)?)),* }
            }
        }
    )*};
}

/// One field, with or without a limit.
macro_rules! field {
    (encode $value:expr, $out:ident) => {
        $crate::xdr::Xdr::encode($value, $out)
    };
    (encode $value:expr, $out:ident, $limit:expr) => {
        $crate::nfs4::codec::Bounded::encode_bounded($value, $out)
    };
    (decode $type:ty, $input:ident, $what:expr) => {
        <$type as $crate::xdr::Xdr>::decode($input)?
    };
    (decode $type:ty, $input:ident, $what:expr, $limit:expr) => {
        <$type as $crate::nfs4::codec::Bounded>::decode_bounded($input, $what, $limit)?
    };
    (sample $type:ty, $source:ident) => {
        <$type as $crate::nfs4::sample::Sample>::sample($source)
    };
    (sample $type:ty, $source:ident, $limit:expr) => {
        <$type as $crate::nfs4::sample::SampleBounded>::sample_bounded($source, $limit)
    };
}

/// Discriminated unions of XDR: `Variant(name: Type = limit) = discriminant`. Decoding refuses a
/// discriminant that is not listed.
macro_rules! unions {
    ($($(#[$meta:meta])* pub enum $name:ident {
        $($(#[$vmeta:meta])* $variant:ident $(($bind:ident : $type:ty $(= $limit:expr)?))? = $value:expr),* $(,)?
    })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name { $($(#[$vmeta])* $variant $(($type))?),* }
        impl $crate::xdr::Xdr for $name {
            fn encode(&self, out: &mut $crate::xdr::Encoder) {
                match self {
                    $(Self::$variant $(($bind))? => {
                        out.u32($value);
                        $(field!(encode $bind, out $(, $limit)?);)?
                    })*
                }
            }
            fn decode(input: &mut $crate::xdr::Decoder) -> Result<Self, $crate::xdr::DecodeError> {
                let value = input.u32()?;
                Ok(match value {
                    $(x if x == $value => Self::$variant $((field!(decode $type, input, stringify!($bind) $(, $limit)?)))?,)*
                    _ => return Err(input.bad_discriminant(stringify!($name), value)),
                })
            }
        }
        #[cfg(test)]
        impl $crate::nfs4::sample::Sample for $name {
            fn sample(source: &mut $crate::nfs4::sample::Source) -> Self {
                match *source.pick(&[$($value as u32),*]) {
                    $(x if x == $value => Self::$variant $((field!(sample $type, source $(, $limit)?)))?,)*
                    _ => unreachable!("only listed discriminants are picked"),
                }
            }
        }
    )*};
}
