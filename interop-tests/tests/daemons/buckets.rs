//! A metadata server that is asked to end while it sends something to a bucket, which is this process's own.

use anyhow::{Context, Result};
use interop_tests::nfs41::{Client, Failure, OpenFile, putfh};
use tokio::task::JoinHandle;
use wire::nfs4::{ArgOp, Nfsstat4, StableHow4, Verifier4, Write4Args};

use crate::process::{House, Process, export, until};
use crate::s3_server::{BUCKET, Fault, S3Server};
use crate::signals::at_last;

const MIB: usize = 1 << 20;
const BLOCKS: usize = 20;
/// Of a large file's upload.
const PART: &str = "partNumber=2";

/// A house whose files at /lake lie in the bucket.
struct Lake {
    house: House,
    bucket: S3Server,
}

impl Lake {
    async fn new() -> Result<Self> {
        Ok(Self {
            house: House::new()?,
            bucket: S3Server::start().await,
        })
    }

    fn start_mds(&self) -> Result<Process> {
        let backend = format!(
            "[[backend]]\nname = \"lake\"\nkind = \"s3\"\nbucket = \"{BUCKET}\"\nendpoint = \"{}\"\nregion = \"here\"\n\
             mode = \"managed\"\n\n[[junction]]\npath = \"/lake\"\nbackend = \"lake\"\n",
            self.bucket.endpoint()
        );
        let file = self
            .house
            .mds_file("lease_seconds = 5", &(export("/") + &backend))?;
        let mds = Process::start(&["headrace", "mds", "--config", &file])?;
        mds.says("backend lake is there")?;
        Ok(mds)
    }

    /// A file of which all was written, and whose COMMIT has come to a part that meets `fault`.
    async fn half_sent(&self, fault: Fault) -> Result<JoinHandle<Result<Verifier4, Failure>>> {
        let client = Client::mount(self.house.mds(), "writer").await?;
        let file = self.written(&client).await?;
        self.bucket.fail(1, "PUT", PART, fault);
        let fh = file.fh.clone();
        let commit = tokio::spawn(async move { client.commit(&fh, 0, 0).await });
        until("a part is sent", || {
            Ok(self.bucket.asked().iter().any(|line| line.contains(PART)))
        })?;
        Ok(commit)
    }

    async fn written(&self, client: &Client) -> Result<OpenFile> {
        let folder = client.walk("/lake").await?;
        let file = at_last(async || client.open_create(&folder, "f").await).await?;
        for block in 0..BLOCKS {
            at_last(async || {
                let unstable = Write4Args {
                    stateid: file.stateid,
                    offset: (block * MIB) as u64,
                    stable: StableHow4::Unstable,
                    data: vec![block as u8; MIB].into(),
                };
                client.ok([putfh(&file.fh), ArgOp::Write(unstable)]).await
            })
            .await?;
        }
        Ok(file)
    }

    async fn is_whole(&self) -> Result<()> {
        let client = Client::mount(self.house.mds(), "reader").await?;
        let folder = client.walk("/lake").await?;
        let file = at_last(async || client.open_to_read(&folder, "f").await).await?;
        for block in 0..BLOCKS {
            let offset = (block * MIB) as u64;
            let read = async || client.read(&file.fh, file.stateid, offset, 1 << 20).await;
            assert!(at_last(read).await?.data[..] == vec![block as u8; MIB]);
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_server_sends_to_its_bucket_what_it_began_to_send() -> Result<()> {
    let lake = Lake::new().await?;
    let _ds = lake.house.start_ds()?;
    let mut mds = lake.start_mds()?;
    let commit = lake.half_sent(Fault::Held).await?;
    mds.signal("TERM")?;
    mds.says("stopping: what is under way is ended")?;
    lake.bucket.go_on();
    assert!(mds.end()?.success(), "{:?}", mds.log());
    commit.await?.context("it is answered before the end")?;
    assert_eq!(lake.bucket.uploads(), 0);
    let mut mds = lake.start_mds()?;
    lake.is_whole().await?;
    assert!(mds.terminate()?.success(), "{:?}", mds.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_does_not_answer_keeps_no_terminated_server_from_its_end() -> Result<()> {
    let lake = Lake::new().await?;
    let _ds = lake.house.start_ds()?;
    let mut mds = lake.start_mds()?;
    let commit = lake.half_sent(Fault::Silence).await?;
    assert!(mds.terminate()?.success(), "{:?}", mds.log());
    let told = commit.await?;
    let told = told.map_err(|failure| match failure {
        Failure::Status { status, .. } => Some(status),
        _ => None,
    });
    assert_eq!(told.map(drop), Err(Some(Nfsstat4::Delay)));
    lake.bucket.recover();
    let mut mds = lake.start_mds()?;
    assert_eq!(lake.bucket.uploads(), 0);
    let client = Client::mount(lake.house.mds(), "writer").await?;
    let file = lake.written(&client).await?;
    at_last(async || client.commit(&file.fh, 0, 0).await).await?;
    lake.is_whole().await?;
    assert!(mds.terminate()?.success(), "{:?}", mds.log());
    Ok(())
}
