//! Members that change as planned: what is owed is waited for, and what a node that left has is given back at the end.

use std::time::Duration;

use archive::Versioning;
use hashring::NodeId;

use crate::lost::{has, node, own};
use crate::mended::given_back;
use crate::objects::{data, get, make, name, put};
use crate::support::Cluster;
use crate::wait::eventually;

/// Who holds the partition of `plain/k`, as a node knows it.
fn ensemble(cluster: &Cluster, index: usize) -> Vec<NodeId> {
    let replication = cluster.node(index).replication();
    let partition = replication.partitions().of_key(b"plain/k");
    replication.view(partition).ensemble.clone()
}

/// Declares a node gone, though it is there; the node that stays is asked.
async fn leave(cluster: &Cluster, stays: usize, index: usize) {
    let known = cluster.node(stays).replication().set_leaving(&node(index), true).await;
    assert!(known.expect("it is written"));
}

/// Waits until a node is no member any more; who is.
async fn without(cluster: &Cluster, stays: usize, index: usize) -> Vec<NodeId> {
    eventually("a node to be dropped", async || {
        let members = ensemble(cluster, stays);
        let moved = members.len() == 3 && !members.contains(&node(index));
        if moved { Ok(members) } else { Err(members) }
    })
    .await
}

/// Two members are to go, one after the other, and whoever comes in the place of the first has no room for what it
/// should have: the second goes only once that is there. Then both give back what they had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_move_waits_until_a_newcomer_has_the_bytes() {
    let often = |config: &mut archive::Config| config.left = Duration::from_millis(50);
    let mut cluster = Cluster::start_moving(5, Duration::from_millis(300), often).await;
    make(cluster.node(0).archive(), "plain", Versioning::Unversioned).await;
    let (key, data) = (name("plain", "k"), data(21, 11 << 20));
    put(cluster.node(0).archive(), &key, &data).await.expect("it is stored");
    let members = ensemble(&cluster, 0);
    let (inside, outside): (Vec<usize>, Vec<usize>) =
        (0..5).partition(|index| members.contains(&node(*index)));
    let [first, second, stays] = inside[..] else { panic!("{inside:?}") };
    for index in &inside {
        has(cluster.node(*index).archive(), &key, &data).await;
    }
    for index in &outside {
        cluster.stop(*index).await;
        cluster.restart_full(*index).await;
    }
    cluster.led().await;

    leave(&cluster, stays, first).await;
    let members = without(&cluster, stays, first).await;
    let came: Vec<usize> =
        outside.iter().copied().filter(|index| members.contains(&node(*index))).collect();
    let [newcomer] = came[..] else { panic!("{members:?}") };
    leave(&cluster, stays, second).await;
    eventually("it to be asked who has the objects", async || {
        let asks = |index: &usize| {
            let replication = cluster.node(*index).replication();
            let partition = replication.partitions().of_key(b"plain/k");
            replication.view(partition).awaits_objects
        };
        if (0..5).any(|index| asks(&index)) { Ok(()) } else { Err("nobody asks") }
    })
    .await;
    assert!(own(cluster.node(newcomer).archive(), &key).is_err(), "it has no room");
    assert!(ensemble(&cluster, stays).contains(&node(second)));

    for index in &outside {
        cluster.stop(*index).await;
        cluster.restart_roomy(*index).await;
    }
    let members = without(&cluster, stays, second).await;
    assert!(own(cluster.node(newcomer).archive(), &key).expect("it is read") == data);
    for index in (0..5).filter(|index| members.contains(&node(*index))) {
        has(cluster.node(index).archive(), &key, &data).await;
    }
    for index in [first, second] {
        // The file it is in is closed then.
        cluster.stop(index).await;
        cluster.restart(index).await;
        given_back(&cluster, index, &key).await;
    }
    assert!(get(cluster.node(first).archive(), &key).await.expect("it is read") == data);
}
