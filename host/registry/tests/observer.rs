//! Somebody watches a cluster without being in it.

#![expect(clippy::unwrap_used, reason = "a test ends where a step fails")]

use std::sync::Arc;
use std::time::Duration;

use hashring::PartitionId;
use registry::{
    CLUSTER, Cas, ClusterRecord, ClusterView, Observer, PartitionRecord, PositionData,
    PositionRecord, Registry, ServiceInfo, Session, encode, partition_key,
};

const HERE: &str = "hashring/0000000000000000000000000000000a";
const THERE: &str = "hashring/0000000000000000000000000000000b";
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn session(registry: &Registry, node: &str) -> Session {
    registry.session(&node.parse().unwrap())
}

/// What a node says at its position.
fn position(node: &str) -> Vec<u8> {
    let text = |text: &str| text.to_owned();
    let service_info = ServiceInfo {
        name: text("carillon"),
        version: text("1"),
        build: text(""),
        hostname: text("h"),
        fqdn: text("h"),
        key: text(node),
        servers: vec![],
    };
    let data = PositionData {
        node: node.parse().unwrap(),
        zone: text(""),
        weight: 1,
        quic: text("127.0.0.1:1"),
        http: format!("http://{node}"),
        fingerprint: text(""),
    };
    encode(&PositionRecord { service_info, data })
}

fn led_by(node: &str) -> Vec<u8> {
    let primary = Some(node.parse().unwrap());
    encode(&PartitionRecord { primary, ..PartitionRecord::first(vec![], 1) })
}

async fn write(session: &Session, key: &str, expect: Option<u64>, data: Vec<u8>) -> u64 {
    let cas = Cas { key: key.to_owned(), expect, data: Some(data) };
    session.cas(cas).await.unwrap().unwrap()
}

async fn next(observer: &mut Observer) -> Arc<ClusterView> {
    runtime::timeout(PATIENCE, observer.changed()).await.unwrap().unwrap()
}

#[tokio::test]
async fn an_observer_sees_nodes_come_and_go_and_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::embedded(folder.path()).unwrap();
    let node = session(&registry, "n1");
    node.put_ephemeral(HERE, position("n1")).await.unwrap().unwrap();
    write(&node, CLUSTER, None, encode(&ClusterRecord { id: 7, partitions: 16 })).await;
    write(&node, &partition_key(PartitionId(3)), None, led_by("n1")).await;

    let before = node.list("").await.unwrap();
    let mut observer = Observer::new(session(&registry, "watcher"));
    assert_eq!(observer.view().version, 0);
    let view = next(&mut observer).await;
    assert_eq!((view.version, view.cluster.as_ref().unwrap().partitions), (1, 16));
    assert_eq!(view.ring.nodes().len(), 1);
    let primary = view.primary(PartitionId(3)).unwrap();
    assert_eq!(view.http(primary), Some("http://n1"));
    assert_eq!(node.list("").await.unwrap(), before, "it only reads");

    let other = session(&registry, "n2");
    other.put_ephemeral(THERE, position("n2")).await.unwrap().unwrap();
    assert_eq!(next(&mut observer).await.ring.nodes().len(), 2);
    drop(other);
    let view = next(&mut observer).await;
    assert_eq!((view.version, view.ring.nodes().len()), (3, 1));
    assert_eq!(observer.view().version, 3);
}

#[tokio::test]
async fn a_value_that_makes_no_sense_is_named_and_what_it_said_before_stays() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::embedded(folder.path()).unwrap();
    let node = session(&registry, "n1");
    let key = partition_key(PartitionId(0));
    let first = write(&node, &key, None, led_by("n1")).await;
    let mut observer = Observer::new(session(&registry, "watcher"));
    next(&mut observer).await;

    let second = write(&node, &key, Some(first), b"{\"epoch\": 1".to_vec()).await;
    write(&node, "partitions/what", None, b"{}".to_vec()).await;
    let mut view = next(&mut observer).await;
    while view.unreadable.len() < 2 {
        view = next(&mut observer).await;
    }
    assert_eq!(view.unreadable, [key.clone(), "partitions/what".to_owned()].into());
    assert_eq!(view.primary(PartitionId(0)).unwrap().as_str(), "n1");

    write(&node, &key, Some(second), led_by("n2")).await;
    let view = next(&mut observer).await;
    assert_eq!(view.unreadable, ["partitions/what".to_owned()].into());
    assert_eq!(view.primary(PartitionId(0)).unwrap().as_str(), "n2");
}

#[tokio::test]
async fn while_the_registry_is_away_the_last_view_stays_and_then_the_next_comes() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::embedded(folder.path()).unwrap();
    let (node, watcher) = (session(&registry, "n1"), session(&registry, "watcher"));
    let watcher = Arc::new(watcher);
    let mut observer = Observer::new(Arc::clone(&watcher));
    next(&mut observer).await;
    watcher.set_cut(true);
    node.put_ephemeral(HERE, position("n1")).await.unwrap().unwrap();
    let waited = runtime::timeout(Duration::from_millis(50), observer.changed()).await;
    assert!(waited.is_err(), "nothing is told");
    assert_eq!(observer.view().version, 1);
    watcher.set_cut(false);
    assert_eq!(next(&mut observer).await.ring.nodes().len(), 1);
}
