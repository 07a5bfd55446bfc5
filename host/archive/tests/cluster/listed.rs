//! What a node says of partitions that it leads, or led a moment ago.

use archive::Versioning;
use replication::RequestHead;

use crate::objects::{data, make, name, put};
use crate::support::Cluster;

/// The question what `plain` shows, at most 9 entries of it, as docs/formats.md has it.
const LIST: [u8; 14] = [b'A', 6, 1, 5, b'p', b'l', b'a', b'i', b'n', 0, 0, 9, 0, 0];
/// The answer: no entry, not cut, nowhere to go on, and all of that of no partition.
const NOTHING: [u8; 9] = [b'A', 6, 0, 0, 5, 0, 0, 0, 0];

/// A primary that nobody confirms told what it had, as all there is: somebody else may have stored more since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_tells_of_no_partition_what_it_shows() {
    let mut cluster = Cluster::start(3).await;
    make(cluster.node(0).archive(), "plain", Versioning::Unversioned).await;
    put(cluster.node(0).archive(), &name("plain", "k"), &data(1, 10)).await.expect("it is stored");
    let asker: hashring::NodeId = "n2".parse().expect("a node's name");
    let head = RequestHead { hop: 1, wait_ms: 4000 };
    let ask = |cluster: &Cluster| {
        let archive = cluster.node(0).archive().clone();
        archive.answer(asker.clone(), head, &LIST)
    };
    let whole = ask(&cluster).await.expect("it is answered");
    assert!(whole.len() > NOTHING.len() && whole[..5] == NOTHING[..5], "{whole:?}");
    cluster.cut_off(0).await;
    let answer = ask(&cluster).await.expect("it is answered");
    let listing_of_none = answer.ends_with(&[0]) && answer[..5] == NOTHING[..5];
    assert!(listing_of_none, "{answer:?}");
}
