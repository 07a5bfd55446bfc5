//! Somebody watches a cluster without being in it, whatever its registry is made of.

use std::sync::Arc;
use std::time::Duration;

use hashring::PartitionId;
use registry::{
    CLUSTER, Cas, ClusterRecord, ClusterView, Member, Observer, PartitionRecord, PositionData,
    PositionRecord, Registry, ServiceInfo, Session, encode, partition_key,
};

const HERE: &str = "hashring/0000000000000000000000000000000a";
const THERE: &str = "hashring/0000000000000000000000000000000b";
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

async fn session(registry: &Registry, node: &str) -> Session {
    let session = registry.session(&node.parse().unwrap());
    session.connected(PATIENCE).await.unwrap();
    session
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
        authority: String::new(),
    };
    encode(&PositionRecord { service_info, data })
}

fn led_by(node: &str) -> Vec<u8> {
    let primary = Some(node.parse().unwrap());
    let member = Member { node: node.parse().unwrap(), store: 1 };
    encode(&PartitionRecord { primary, ..PartitionRecord::first(vec![member], 1) })
}

async fn write(session: &Session, key: &str, expect: Option<u64>, data: Vec<u8>) -> u64 {
    let cas = Cas { key: key.to_owned(), expect, data: Some(data) };
    session.cas(cas).await.unwrap().unwrap()
}

/// The first view that is like this.
async fn until(observer: &mut Observer, like: impl Fn(&ClusterView) -> bool) -> Arc<ClusterView> {
    let seen = async {
        loop {
            let before = observer.view().version;
            let view = observer.changed().await.expect("the session lives");
            assert!(view.version > before, "a view is another one than the last");
            if like(&view) {
                return view;
            }
        }
    };
    runtime::timeout(PATIENCE, seen).await.expect("it is seen")
}

pub async fn an_observer_sees_nodes_come_and_go_and_leaves_no_trace(registry: &Registry) {
    let node = session(registry, "n1").await;
    node.put_ephemeral(HERE, position("n1")).await.unwrap().unwrap();
    write(&node, &partition_key(PartitionId(3)), None, led_by("n1")).await;
    write(&node, CLUSTER, None, encode(&ClusterRecord { id: 7, partitions: 16 })).await;

    let before = node.list("").await.unwrap();
    let mut observer = Observer::new(session(registry, "watcher").await);
    assert_eq!(observer.view().version, 0);
    let view = until(&mut observer, |view| view.cluster.is_some()).await;
    assert_eq!(view.cluster.as_ref().unwrap().partitions, 16);
    assert_eq!(view.ring.nodes().len(), 1);
    let primary = view.primary(PartitionId(3)).unwrap();
    assert_eq!(view.http(primary), Some("http://n1"));
    assert_eq!(node.list("").await.unwrap(), before, "it only reads");

    let other = session(registry, "n2").await;
    other.put_ephemeral(THERE, position("n2")).await.unwrap().unwrap();
    until(&mut observer, |view| view.ring.nodes().len() == 2).await;
    other.end().await;
    let view = until(&mut observer, |view| view.ring.nodes().len() == 1).await;
    assert_eq!(observer.view().version, view.version);
}

pub async fn a_value_that_makes_no_sense_is_named_and_what_it_said_before_stays(
    registry: &Registry,
) {
    let node = session(registry, "n1").await;
    let key = partition_key(PartitionId(0));
    let first = write(&node, &key, None, led_by("n1")).await;
    let mut observer = Observer::new(session(registry, "watcher").await);
    until(&mut observer, |view| view.primary(PartitionId(0)).is_some()).await;

    let second = write(&node, &key, Some(first), b"{\"epoch\": 1".to_vec()).await;
    write(&node, "partitions/what", None, b"{}".to_vec()).await;
    let view = until(&mut observer, |view| view.unreadable.len() == 2).await;
    assert_eq!(view.unreadable, [key.clone(), "partitions/what".to_owned()].into());
    assert_eq!(view.primary(PartitionId(0)).unwrap().as_str(), "n1");

    write(&node, &key, Some(second), led_by("n2")).await;
    let view = until(&mut observer, |view| view.unreadable.len() == 1).await;
    assert_eq!(view.unreadable, ["partitions/what".to_owned()].into());
    assert_eq!(view.primary(PartitionId(0)).unwrap().as_str(), "n2");
}

pub async fn while_the_registry_is_away_the_last_view_stays_and_then_the_next_comes(
    registry: &Registry,
) {
    let (node, watcher) = (session(registry, "n1").await, session(registry, "watcher").await);
    let watcher = Arc::new(watcher);
    let mut observer = Observer::new(Arc::clone(&watcher));
    let first = until(&mut observer, |_any| true).await;
    watcher.set_cut(true);
    node.put_ephemeral(HERE, position("n1")).await.unwrap().unwrap();
    let waited = runtime::timeout(Duration::from_millis(50), observer.changed()).await;
    assert!(waited.is_err(), "nothing is told");
    assert_eq!(observer.view().version, first.version);
    watcher.set_cut(false);
    until(&mut observer, |view| view.ring.nodes().len() == 1).await;
}
