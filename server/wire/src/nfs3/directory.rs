//! READDIR and READDIRPLUS (RFC 1813 §3.3.16, §3.3.17). Never here: other procedures.

use super::{Cookieverf3, Fh3, Filename3, Outcome, PostOpAttr, PostOpFh3};
use crate::xdr::{DecodeError, Decoder, Encoder, Xdr};
use crate::xdr_struct;

xdr_struct! {
    pub struct Readdir3args {
        pub dir: Fh3,
        /// 0: from the beginning.
        pub cookie: u64,
        pub cookieverf: Cookieverf3,
        /// Bytes that the whole result may have.
        pub count: u32,
    }
}

xdr_struct! {
    pub struct Entry3 {
        pub fileid: u64,
        pub name: Filename3,
        pub cookie: u64,
    }
}

xdr_struct! {
    pub struct Readdir3resok {
        pub dir_attributes: PostOpAttr,
        pub cookieverf: Cookieverf3,
        pub reply: Dirlist<Entry3>,
    }
}

pub type Readdir3res = Outcome<Readdir3resok, PostOpAttr>;

xdr_struct! {
    pub struct Readdirplus3args {
        pub dir: Fh3,
        /// 0: from the beginning.
        pub cookie: u64,
        pub cookieverf: Cookieverf3,
        /// Bytes of names, cookies and file ids.
        pub dircount: u32,
        /// Bytes that the whole result may have.
        pub maxcount: u32,
    }
}

xdr_struct! {
    pub struct Entryplus3 {
        pub fileid: u64,
        pub name: Filename3,
        pub cookie: u64,
        pub name_attributes: PostOpAttr,
        pub name_handle: PostOpFh3,
    }
}

xdr_struct! {
    pub struct Readdirplus3resok {
        pub dir_attributes: PostOpAttr,
        pub cookieverf: Cookieverf3,
        pub reply: Dirlist<Entryplus3>,
    }
}

pub type Readdirplus3res = Outcome<Readdirplus3resok, PostOpAttr>;

/// `dirlist3`, `dirlistplus3`: entries in the order of their cookies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirlist<E> {
    pub entries: Vec<E>,
    pub eof: bool,
}

impl<E: Xdr> Xdr for Dirlist<E> {
    fn encode(&self, out: &mut Encoder) {
        crate::xdr::encode_chain(&self.entries, out);
        out.bool(self.eof);
    }

    fn decode(input: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            entries: crate::xdr::decode_chain(input)?,
            eof: input.bool()?,
        })
    }
}
