//! Nodes that do not speak the same version about objects: nothing is done, and it is said which is spoken.

use std::time::Duration;

use bytes::Bytes;
use replication::RequestHead;

use crate::support::Cluster;
use crate::wait::eventually;

/// As docs/formats.md has it, for this and every later version.
const NOT_UNDERSTOOD: [u8; 4] = [b'A', 255, 6, 6];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_of_another_version_is_answered_by_the_version_that_is_spoken() {
    let cluster = Cluster::start(2).await;
    let (asker, asked) = (cluster.node(0).replication(), "n2".parse().expect("a node's name"));
    let head = RequestHead { hop: 1, wait_ms: 5000 };
    // Of the next version; and of before there was one: whether its node is still at an upload.
    for question in [&[b'A', 7, 0, 0][..], &[b'A', 2, 2, b'n', b'1', 3, 4]] {
        let body = Bytes::copy_from_slice(question);
        let answer =
            eventually("an answer", async || asker.forward(&asked, head, body.clone()).await).await;
        assert_eq!(answer, NOT_UNDERSTOOD[..], "{question:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_another_version_is_told_so_and_ends() {
    let cluster = Cluster::start(2).await;
    let (asker, asked) = (cluster.node(0).replication(), "n2".parse().expect("a node's name"));
    let mut stream = eventually("a stream", async || {
        asker.stream(&asked, Bytes::from_static(&[b'B', 7, 0])).await
    })
    .await;
    let next = runtime::timeout(Duration::from_secs(30), stream.next()).await;
    let frame = next.expect("it is told in time").expect("it is there").expect("a frame");
    assert_eq!(frame, NOT_UNDERSTOOD[1..]);
    let next = runtime::timeout(Duration::from_secs(30), stream.next()).await;
    assert_eq!(next.expect("it ends in time"), Ok(None));
}
