//! Extended attributes, one COMPOUND each (RFC 8276).

use bytes::Bytes;
use wire::nfs4::*;

use super::client::Client;
use super::failure::Failure;
use super::verbs::{name, putfh};

impl Client {
    pub async fn getxattr(&self, fh: &Fh4, key: &str) -> Result<Bytes, Failure> {
        let args = Getxattr4Args { name: name(key) };
        Ok(self
            .ok([putfh(fh), ArgOp::Getxattr(args)])
            .await?
            .getxattr()?
            .value)
    }

    pub async fn setxattr(
        &self,
        fh: &Fh4,
        option: SetxattrOption4,
        key: &str,
        value: impl Into<Bytes>,
    ) -> Result<ChangeInfo4, Failure> {
        let args = Setxattr4Args {
            option,
            key: name(key),
            value: value.into(),
        };
        Ok(self
            .ok([putfh(fh), ArgOp::Setxattr(args)])
            .await?
            .setxattr()?
            .info)
    }

    pub async fn removexattr(&self, fh: &Fh4, key: &str) -> Result<ChangeInfo4, Failure> {
        let args = Removexattr4Args { name: name(key) };
        Ok(self
            .ok([putfh(fh), ArgOp::Removexattr(args)])
            .await?
            .removexattr()?
            .info)
    }

    /// One page.
    pub async fn listxattrs(
        &self,
        fh: &Fh4,
        cookie: u64,
        maxcount: u32,
    ) -> Result<Listxattrs4Ok, Failure> {
        let args = Listxattrs4Args { cookie, maxcount };
        self.ok([putfh(fh), ArgOp::Listxattrs(args)])
            .await?
            .listxattrs()
    }
}
