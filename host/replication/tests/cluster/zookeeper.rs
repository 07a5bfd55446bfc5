//! The same nodes with a real ZooKeeper for a registry: it goes away, it comes back, and somebody else
//! writes into it.

use std::time::Duration;

use hashring::PartitionId;
use registry::{PartitionRecord, PartitionState};
use replication::core::Outcome;

use crate::ensemble::{Ensemble, Intruder, registry};
use crate::support::Cluster;

const ROOT: &str = "/carillon";

fn on(ensemble: &Ensemble) -> Cluster {
    let registry = registry(ensemble.config(ROOT));
    let mut cluster = Cluster::on(registry, tempfile::tempdir().unwrap(), 8, 3, 2);
    for name in ["n1", "n2", "n3"] {
        cluster.start(name);
    }
    cluster.until_open();
    cluster
}

fn start() -> Option<Ensemble> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Ensemble::start(1))
}

/// Sends to every partition, and each is acknowledged by a quorum.
fn all_serve(cluster: &Cluster, text: &str) {
    for partition in cluster.partitions() {
        let outcome = cluster.send(partition, text, 2);
        assert!(matches!(outcome, Outcome::Quorum { .. }), "{partition} {text}: {outcome:?}");
    }
}

fn stale_ms(cluster: &Cluster) -> u64 {
    cluster.nodes().map(|(_, node)| node.replication.ring().stale_ms).min().unwrap()
}

/// Everybody is on the ring, as everybody sees it.
fn until_whole(cluster: &Cluster) {
    let nodes = cluster.nodes().count();
    cluster.until("the ring is whole", |cluster| {
        cluster.nodes().all(|(_, node)| {
            let ring = node.replication.ring();
            ring.stale_ms == 0 && ring.nodes.len() == nodes && ring.nodes.iter().all(|n| n.up)
        })
    });
}

#[test]
fn open_partitions_serve_while_zookeeper_is_away_and_are_taken_over_once_it_is_back() {
    let Some(ensemble) = start() else { return };
    let mut cluster = on(&ensemble);
    all_serve(&cluster, "before");

    cluster.block_on(ensemble.kill(1));
    let long = Duration::from_secs(9).as_millis();
    let mut sent = 0;
    // Longer than the sessions last.
    cluster.until("it is away for long", |cluster| {
        all_serve(cluster, &format!("without {sent}"));
        sent += 1;
        u128::from(stale_ms(cluster)) > long
    });
    assert!(sent > 3, "{sent}");
    cluster.block_on(ensemble.restart(1));
    until_whole(&cluster);
    all_serve(&cluster, "again");

    let gone = cluster.leader(PartitionId(3)).unwrap();
    cluster.kill(gone);
    cluster.until_open();
    all_serve(&cluster, "without one");
    // Its earlier life's places stand until that session ends; then they are its own again.
    cluster.start(gone);
    until_whole(&cluster);
    cluster.until_open();
    all_serve(&cluster, "with all");
}

#[test]
fn what_another_program_writes_into_it_is_passed_over() {
    let Some(ensemble) = start() else { return };
    let mut cluster = on(&ensemble);
    let intruder: Intruder = cluster.block_on(ensemble.intruder());
    let record = format!("{ROOT}/partitions/005");
    let path = |key: &str| format!("{ROOT}/{key}");
    let (before, _) = cluster.block_on(intruder.get(&record)).unwrap();
    cluster.block_on(async {
        let place = "hashring/ffffffffffffffffffffffffffffffff";
        for (key, data) in [
            ("hashring/not-a-place", "{}"),
            (place, r#"{"service_info": {"name": "carillon", "#),
            ("members/Not A Node", "{}"),
            ("members/other", r#"{"store": "a text"}"#),
            ("partitions/005.backup", "{}"),
            ("partitions/005", r#"{"epoch": 99"#),
            ("elsewhere/deep/down", "x"),
        ] {
            intruder.put(&path(key), data.as_bytes()).await;
        }
        // And a record vanishes.
        intruder.delete(&path("members/n3")).await;
    });
    let lowest = || {
        let led = cluster.partitions().map(|partition| {
            let name = cluster.leader(partition).unwrap();
            (partition, cluster.node(name).replication.view(partition).epoch)
        });
        led.collect::<Vec<_>>()
    };
    let epochs = lowest();
    all_serve(&cluster, "one");
    until_whole(&cluster);
    all_serve(&cluster, "two");
    assert_eq!(lowest(), epochs, "nobody was led to do anything");

    // Mended, it is followed again, and taken over when its leader dies.
    cluster.block_on(intruder.put(&record, &before));
    cluster.kill(cluster.leader(PartitionId(5)).unwrap());
    cluster.until_open();
    all_serve(&cluster, "three");
    let (after, _) = cluster.block_on(intruder.get(&record)).unwrap();
    let after: PartitionRecord = registry::decode(&after).unwrap();
    assert!(after.epoch > 0);
}

#[test]
fn a_record_that_is_deleted_is_written_anew_by_whoever_leads() {
    let Some(ensemble) = start() else { return };
    let mut cluster = on(&ensemble);
    all_serve(&cluster, "before");
    let intruder: Intruder = cluster.block_on(ensemble.intruder());
    let partition = PartitionId(5);
    let path = format!("{ROOT}/partitions/005");
    let record = |cluster: &Cluster| {
        let found = cluster.block_on(intruder.get(&path));
        found.and_then(|(data, _)| registry::decode::<PartitionRecord>(&data).ok())
    };
    let before = record(&cluster).unwrap();
    cluster.block_on(intruder.delete(&path));
    cluster.until("the record is there again, and open", |cluster| {
        let now = record(cluster);
        now.is_some_and(|now| {
            now.state == PartitionState::Open
                && now.epoch > before.epoch
                && now.ensemble == before.ensemble
        })
    });
    cluster.until_open();
    all_serve(&cluster, "after");
    cluster.kill(cluster.leader(partition).unwrap());
    cluster.until_open();
    all_serve(&cluster, "without one");
}
