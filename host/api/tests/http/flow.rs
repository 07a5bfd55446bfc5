//! How objects flow: as fast as whoever takes them, and what becomes of those that break off on the way.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::objects::{KEY, ask, data};
use crate::support::{answer, edge};

/// What the archive does not take stays with the client: a body is never collected.
#[tokio::test]
async fn a_body_waits_where_it_is_until_it_is_taken() {
    let edge = edge().await;
    edge.shelf.stand_still();
    let size = 64 << 20;
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    let head = format!("PUT {KEY} HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    edge.shelf.has_come(1).await;
    // What the system's buffers hold it takes, and then no more.
    let chunk = vec![0; 1 << 20];
    let mut sent = 0;
    while sent < size {
        let written = runtime::timeout(Duration::from_secs(1), stream.write(&chunk));
        match written.await {
            Ok(written) => sent += written.unwrap(),
            Err(_full) => break,
        }
    }
    assert!(sent < size / 2, "{sent} bytes were taken from the client, and nobody wanted them");
    assert!(edge.shelf.came() < 1 << 20, "{} bytes", edge.shelf.came());
}

/// What a reader does not take is not read.
#[tokio::test]
async fn an_object_is_read_as_fast_as_its_reader_takes_it() {
    let edge = edge().await;
    let size = 64 << 20;
    edge.shelf.keep("aaa/bbb/ccc", &data(size));
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    stream.write_all(format!("GET {KEY} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
    edge.shelf.stands_still(Duration::from_secs(1)).await;
    let went = edge.shelf.went();
    assert!(went < size / 2, "{went} bytes were read for somebody who takes none");
    let read = answer(&mut stream).await.unwrap();
    assert_eq!(read.body.len(), size);
    assert_eq!(edge.shelf.went(), size);
}

#[tokio::test]
async fn what_cannot_be_read_to_its_end_is_no_success() {
    let edge = edge().await;
    edge.shelf.keep("aaa/bbb/ccc", &data(1 << 20));
    // At the first byte there is still time to say so.
    edge.shelf.break_behind(0);
    let refused = edge.get(KEY).await;
    assert_eq!((refused.status, refused.code().as_str()), (500, "damaged"));
    edge.shelf.break_behind(500_000);
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    stream.write_all(format!("GET {KEY} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
    assert!(answer(&mut stream).await.is_none(), "the connection breaks off");
    assert_eq!(edge.shelf.went(), 500_000);
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_told_to_the_archive() {
    let edge = edge().await;
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    let head = format!("PUT {KEY} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[7; 500]).await.unwrap();
    edge.shelf.has_come(500).await;
    stream.shutdown().await.unwrap();
    // Whether an answer arrives is the connection's matter; nothing is kept.
    let _perhaps = answer(&mut stream).await;
    assert_eq!(edge.shelf.kept("aaa/bbb/ccc"), None);
    // The next one is served.
    assert_eq!(ask(&edge, "PUT", KEY, "", b"data").await.status, 201);
}
