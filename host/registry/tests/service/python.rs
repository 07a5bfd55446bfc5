//! What `docs/service-registry.md` shows to people with Python works: its own snippets are run, with the
//! common client for ZooKeeper there.

use std::time::Duration;

use crate::ensemble::Ensemble;
use crate::interpreter::Python;
use hashring::Position;
use registry::service::{LockOptions, announce};
use registry::{PositionData, PositionRecord, ServiceInfo, encode, position_key};
use serde_json::json;

use super::{map, open};

fn position(position: u128, node: &str) -> (String, Vec<u8>) {
    let record = PositionRecord {
        service_info: ServiceInfo {
            name: "carillon".to_owned(),
            version: "0.1.0".to_owned(),
            build: String::new(),
            hostname: "host".to_owned(),
            fqdn: "host.example".to_owned(),
            key: "0".repeat(32),
            servers: Vec::new(),
        },
        data: PositionData {
            node: node.parse().expect("a name"),
            zone: String::new(),
            weight: 1,
            quic: "127.0.0.1:7091".to_owned(),
            http: format!("http://{node}:7081"),
            fingerprint: String::new(),
            authority: String::new(),
        },
    };
    (position_key(Position(position)), encode(&record))
}

#[tokio::test]
async fn announcements_and_the_ring_are_read_from_python() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let Some(mut python) = Python::start().await else { return };
    let root = ensemble.root();
    let intruder = ensemble.intruder().await;
    let folder = format!("{root}/services/carillon-http");
    let hosts = ensemble.hosts().join(",");
    python.run("from carillon_registry import Announcements, decode").await;
    python.run(&format!("found = Announcements('{hosts}', '{folder}')")).await;
    python.until("found.nodes()", "{}").await;
    let node = open(&ensemble, &root).await;
    let details = map(json!({"node": "n1", "url": "http://10.0.0.1:7081"}));
    announce(&node, "/services/carillon-http", "10.0.0.1:7081", details).await.expect("announced");
    let expected = format!("[('10.0.0.1:7081', 'n1', {})]", std::process::id());
    let listed = "[(a, d['node'], d['pid']) for a, d in found.nodes().items()]";
    python.until(listed, &expected).await;
    node.close().await;
    python.until("found.nodes()", "{}").await;
    let cases = [
        ("b''", "None"),
        ("b'  '", "{}"),
        ("b'foo\\n'", "{'string_value': 'foo'}"),
        ("b'{bad}'", "{'string_value': '{bad}'}"),
        ("b'[1,2]'", "{'string_value': '[1,2]'}"),
    ];
    for (bytes, expected) in cases {
        python.until(&format!("decode({bytes})"), expected).await;
    }

    for (place, name) in [(7, "n1"), (0xcfcd_2084_95d5_65ef_66e7_dff9_f987_64da, "n2")] {
        let (key, bytes) = position(place, name);
        intruder.put(&format!("{root}/services/carillon/{key}"), &bytes).await;
    }
    python.run("from ring import ring; from kazoo.client import KazooClient").await;
    python.run(&format!("client = KazooClient(hosts='{hosts}'); client.start()")).await;
    let ring = format!("ring(client, '{root}/services/carillon')");
    let expected = "[(7, 'n1', 'http://n1:7081'), (276215275525073243129443018166533317850, 'n2', 'http://n2:7081')]";
    python.until(&ring, expected).await;
}

#[tokio::test]
async fn python_registers_for_us_and_its_locks_exclude_ours() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let Some(mut python) = Python::start().await else { return };
    let root = ensemble.root();
    let hosts = ensemble.hosts().join(",");
    let ours = open(&ensemble, &root).await;
    python.run("from kazoo.client import KazooClient").await;
    python.run("from register import register; from nightly import under_lock").await;
    python.run(&format!("client = KazooClient(hosts='{hosts}'); client.start()")).await;
    python.run(&format!("register(client, '{root}/services/crm/1', zone='a')")).await;
    let entry = super::sees(&ours, "it is registered", "/services/crm/1", |e| e.exists()).await;
    assert_eq!(super::text(&entry, "zone"), Some("a"));
    assert!(entry.data.expect("data")["pid"].is_u64());
    let intruder = ensemble.intruder().await;
    let session = intruder.expire_session_of(&format!("{root}/services/crm/1")).await;
    super::sees(&ours, "it is registered again", "/services/crm/1", |entry| {
        entry.stat.is_some_and(|stat| stat.ephemeral_owner != session)
    })
    .await;

    let now = LockOptions { wait: Duration::ZERO, ..LockOptions::default() };
    let lock = ours.lock("/lock", &now).await.expect("free");
    let path = format!("{root}/lock");
    let taken = format!("client.Lock('{path}').acquire(blocking=False)");
    python.until(&taken, "False").await;
    let before = lock.fencing();
    lock.release().await.expect("held");
    let inside = format!("number = under_lock(client, '{path}', lambda number: number)");
    python.run(&inside).await;
    python.until(&format!("number > {before}"), "True").await;
    python.run(&format!("lock = client.Lock('{path}'); lock.acquire()")).await;
    assert!(ours.lock("/lock", &now).await.is_err());
    python.run("lock.release()").await;
    ours.lock("/lock", &now).await.expect("free").release().await.expect("held");
}
