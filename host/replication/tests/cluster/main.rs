//! Three nodes, real QUIC, real files, the embedded registry and a real one: what the rules promise, seen from outside.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test ends where a step fails"
)]

mod change;
#[expect(dead_code, unreachable_pub, reason = "shared with other crates, which need more of it")]
#[path = "../../../../tests/src/ensemble/mod.rs"]
mod ensemble;
mod mending;
#[expect(unreachable_pub, reason = "shared with other crates")]
#[path = "../../../../tests/src/skip.rs"]
mod skip;
mod support;
#[expect(dead_code, unreachable_pub, reason = "shared with other crates")]
#[path = "../../../../tests/src/wait.rs"]
mod wait;
mod zookeeper;

use std::collections::BTreeMap;

use bytes::Bytes;
use hashring::PartitionId;
use replication::core::{Outcome, Why};
use replication::{Failure, ForwardError, NotRun, RequestHead};

use support::Cluster;

const P: PartitionId = PartitionId(3);

#[test]
fn three_nodes_open_every_partition_and_answer_by_the_acks_that_were_asked_for() {
    let cluster = Cluster::three();
    cluster.until_open();
    for partition in cluster.partitions() {
        assert!(matches!(cluster.send(partition, "one", 2), Outcome::Quorum { .. }));
    }
    assert!(matches!(cluster.send(P, "two", 3), Outcome::Quorum { .. }));
    assert!(matches!(cluster.send(P, "three", 1), Outcome::Quorum { .. } | Outcome::Local { .. }));
    cluster.until_all_hold(P, &["one", "two", "three"].map(str::to_owned));
    let leader = cluster.leader(P).unwrap();
    let view = cluster.node(leader).replication.view(P);
    assert_eq!(view.ensemble.len(), 3);
    assert_eq!(view.admits(4), Err(Why::TooFewMembers));
}

#[test]
fn a_single_node_is_a_cluster_and_keeps_what_it_acknowledged_over_a_crash() {
    let mut cluster = Cluster::new(4, 1, 1);
    cluster.start("n1");
    cluster.until_open();
    let mut texts = Vec::new();
    for round in 0..3 {
        let text = format!("round {round}");
        assert!(matches!(cluster.send(P, &text, 1), Outcome::Quorum { .. }));
        texts.push(text);
        cluster.kill("n1");
        cluster.start("n1");
        cluster.until_open();
        assert_eq!(cluster.texts("n1", P), texts);
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_a_node_is_killed_among_sends_and_comes_back() {
    let mut cluster = Cluster::three();
    cluster.until_open();
    let mut acknowledged: BTreeMap<PartitionId, Vec<String>> = BTreeMap::new();
    for round in 0..20 {
        for partition in cluster.partitions() {
            let text = format!("before {round}");
            assert!(matches!(cluster.send(partition, &text, 2), Outcome::Quorum { .. }));
            acknowledged.entry(partition).or_default().push(text);
        }
    }
    // Killed with sends under way: those may stay or vanish, but only at the end.
    let leader = cluster.leader(P).unwrap();
    let under_way: Vec<_> =
        (0..10).map(|n| cluster.submit(P, &format!("under way {n}"), 2)).collect();
    cluster.kill(leader);
    cluster.until_open();
    let survivor = cluster.leader(P).unwrap();
    assert_ne!(survivor, leader);
    let kept = cluster.texts(survivor, P);
    let known = &acknowledged[&P];
    assert_eq!(kept[..known.len()], known[..]);
    for (place, sent) in under_way.into_iter().enumerate() {
        let answer = cluster.block_on(sent.answer);
        if matches!(answer, Ok(Outcome::Quorum { .. })) {
            assert_eq!(kept[known.len() + place], format!("under way {place}"));
        }
    }
    *acknowledged.get_mut(&P).unwrap() = kept;
    for partition in cluster.partitions() {
        assert!(matches!(cluster.send(partition, "with two", 2), Outcome::Quorum { .. }));
        acknowledged.get_mut(&partition).unwrap().push("with two".to_owned());
    }
    assert!(cluster.node(survivor).replication.view(P).admits(3).is_err());
    cluster.start(leader);
    cluster.until_open();
    for partition in cluster.partitions() {
        assert!(matches!(cluster.send(partition, "with three", 3), Outcome::Quorum { .. }));
        acknowledged.get_mut(&partition).unwrap().push("with three".to_owned());
        cluster.until_all_hold(partition, &acknowledged[&partition]);
    }
}

#[test]
fn all_nodes_are_killed_and_everything_acknowledged_is_there_again() {
    let mut cluster = Cluster::three();
    cluster.until_open();
    let texts: Vec<String> = (0..50).map(|n| format!("text {n}")).collect();
    for text in &texts {
        assert!(matches!(cluster.send(P, text, 2), Outcome::Quorum { .. }));
    }
    for name in ["n1", "n2", "n3"] {
        cluster.kill(name);
    }
    for name in ["n2", "n3", "n1"] {
        cluster.start(name);
    }
    cluster.until_open();
    cluster.until_all_hold(P, &texts);
}

#[test]
fn a_barrier_passes_and_leadership_is_confirmed() {
    let cluster = Cluster::three();
    cluster.until_open();
    assert!(matches!(cluster.send(P, "one", 2), Outcome::Quorum { .. }));
    let leader = cluster.node(cluster.leader(P).unwrap());
    let epoch = leader.replication.view(P).epoch;
    assert_eq!(cluster.block_on(leader.replication.barrier(P, epoch)), Outcome::Done);
    assert_eq!(cluster.block_on(leader.replication.confirm(P)), Outcome::Done);
    let other = cluster.nodes().find(|(_, node)| !node.replication.view(P).leading).unwrap().1;
    assert!(matches!(
        cluster.block_on(other.replication.confirm(P)),
        Outcome::NotCommitted(_) | Outcome::Unknown(_)
    ));
}

#[test]
fn a_request_is_run_by_the_node_it_is_sent_to() {
    let mut cluster = Cluster::three();
    cluster.until_open();
    let n1 = cluster.node("n1").replication.clone();
    let to = "n2".parse().unwrap();
    let head = RequestHead { hop: 1, wait_ms: 10_000 };
    let ask = |body: &'static [u8]| n1.forward(&to, head, Bytes::from_static(body));
    assert_eq!(cluster.block_on(ask(b"hello")).unwrap(), "n1 1 5");
    let busy = ForwardError::NotRun { to: to.clone(), why: Some(NotRun::Busy) };
    assert_eq!(cluster.block_on(ask(b"")), Err(busy));
    cluster.kill("n2");
    // Not a word of it reached anybody, or it cannot be known.
    let gone = cluster.block_on(n1.forward(&to, RequestHead { wait_ms: 100, ..head }, "x".into()));
    assert!(gone.is_err(), "{gone:?}");
}

#[test]
fn a_node_that_drains_gives_everything_away_and_stops() {
    let cluster = Cluster::three();
    cluster.until_open();
    assert!(matches!(cluster.send(P, "one", 2), Outcome::Quorum { .. }));
    let leader = cluster.leader(P).unwrap();
    let node = cluster.node(leader);
    cluster.block_on(node.replication.drain());
    cluster.until("the others lead everything", |cluster| {
        cluster
            .partitions()
            .all(|partition| cluster.leader(partition).is_some_and(|name| name != leader))
    });
    cluster.block_on(node.tasks.finish());
    assert_eq!(node.tasks.failed(), None);
    assert_eq!(node.replication.failure(), None);
    assert!(!node.replication.view(P).leading);
}

#[test]
fn the_ring_shows_who_is_there_and_who_is_not() {
    let mut cluster = Cluster::three();
    cluster.until_open();
    cluster.until("n1 sees three nodes", |cluster| {
        let ring = cluster.node("n1").replication.ring();
        ring.nodes.len() == 3 && ring.nodes.iter().all(|node| node.up) && ring.stale_ms == 0
    });
    let version = cluster.node("n1").replication.ring().version;
    assert_eq!(cluster.node("n1").replication.ring().nodes[2].http, "http://n3.example:80");
    cluster.kill("n3");
    cluster.until("n1 sees two nodes", |cluster| {
        let ring = cluster.node("n1").replication.ring();
        ring.nodes.len() == 2 && ring.version > version
    });
}

#[test]
fn a_log_that_fails_ends_the_node_and_the_others_take_over() {
    let cluster = Cluster::three();
    cluster.until_open();
    let leader = cluster.leader(P).unwrap();
    let node = cluster.node(leader);
    node.log.abandon();
    let answer = cluster.submit(P, "lost", 2).answer;
    cluster.block_on(node.tasks.stop().stopped());
    assert!(matches!(node.replication.failure(), Some(Failure::Log(_))));
    assert!(!matches!(cluster.block_on(answer), Ok(Outcome::Quorum { .. })));
    assert!(!node.replication.view(P).leading);
    cluster
        .until("another one leads", |cluster| cluster.leader(P).is_some_and(|name| name != leader));
}

#[test]
fn a_node_that_is_configured_for_another_number_of_partitions_ends() {
    let mut cluster = Cluster::new(8, 1, 1);
    cluster.start("n1");
    cluster.until_open();
    cluster.count_partitions(16);
    cluster.start("n2");
    let n2 = &cluster.node("n2").replication;
    let refused = Failure::Partitions { theirs: 8, ours: 16 };
    assert_eq!(cluster.block_on(n2.joined()), Err(Some(refused)));
    assert_eq!(cluster.block_on(cluster.node("n1").replication.joined()), Ok(()));
}
