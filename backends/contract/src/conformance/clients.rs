//! Whom every data server that clients reach lets in, and whom it keeps out.
//!
//! Never here: what is asked of a server that no client reaches.

use super::*;

const READER_UID: u32 = 70_000;

/// Whether clients reach the server's objects; who alone does needs no fence.
fn has_clients(server: &dyn DataServer) -> bool {
    let capabilities = server.capabilities();
    if !capabilities.direct {
        assert_eq!(capabilities.fence, FenceGrade::Exact);
        println!("skipped: no client reaches this server's objects");
    }
    capabilities.direct
}

pub async fn a_fenced_owner_writes_no_more(subject: &dyn Subject) {
    let server = subject.server();
    if !has_clients(&*server) {
        return;
    }
    if server.capabilities().fence < FenceGrade::Windowed {
        println!("skipped: this server keeps no writer out");
        return;
    }
    let handle = object(&*server, 10).await;
    subject
        .client_write(FIRST, &handle, 0, pattern(8, 1))
        .await
        .expect("the owner writes");
    server
        .fence(&handle, SECOND)
        .await
        .expect("an owner can be changed");
    server
        .fence(&handle, SECOND)
        .await
        .expect("a fence can be repeated");
    assert_eq!(
        kind(subject.client_write(FIRST, &handle, 0, pattern(8, 2)).await),
        ErrorKind::Fenced
    );
    assert_eq!(
        kind(subject.client_read(FIRST, &handle, 0, 8).await),
        ErrorKind::Fenced
    );
    assert_eq!(read_all(&*server, &handle, 0, 8).await, pattern(8, 1));
    subject
        .client_write(SECOND, &handle, 0, pattern(8, 3))
        .await
        .expect("the new owner writes");
}

pub async fn a_reader_of_the_group_reads_and_never_writes(subject: &dyn Subject) {
    let server = subject.server();
    if !has_clients(&*server) {
        return;
    }
    let handle = object(&*server, 11).await;
    write_all(&*server, &handle, 0, &pattern(8, 1), Stability::Durable).await;
    let reader = Owner {
        uid: READER_UID,
        gid: FIRST.gid,
    };
    let read = subject
        .client_read(reader, &handle, 0, 8)
        .await
        .expect("the group reads");
    assert_eq!(read.data, pattern(8, 1));
    assert_eq!(
        kind(
            subject
                .client_write(reader, &handle, 0, pattern(8, 2))
                .await
        ),
        ErrorKind::Fenced
    );
    let stranger = Owner {
        uid: READER_UID,
        gid: SECOND.gid,
    };
    assert_eq!(
        kind(subject.client_read(stranger, &handle, 0, 8).await),
        ErrorKind::Fenced
    );
}
