//! Processes that do not belong to a cluster, or not as they are: what each says, and that the cluster goes
//! on as it was.

use serde_json::Value;
use tests::carillon::{Carillon, run};
use tests::{Http, eventually};

use crate::three::{Three, append, certificates, configure, folder, text};

/// The nodes that have places, as a node knows them.
async fn ring(http: &Http) -> Vec<String> {
    let ring = http.get("/v1/ring").await.expect(200);
    let nodes = ring["nodes"].as_array().into_iter().flatten();
    nodes.map(|node| node["id"].as_str().unwrap_or_default().to_owned()).collect()
}

/// A counter with these labels, summed over its other labels.
async fn counted(node: &Carillon, name: &str, label: &str) -> u64 {
    let answer = Http::new(&node.operators().await).get("/metrics").await;
    let text = answer.body.as_str().unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

async fn still_serves(three: &Three, key: &str) {
    let token = three.http(0).create().await;
    three.http(1).send_surely(&token, "alice", key, "it goes on").await;
    assert_eq!(ring(three.http(2)).await, ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_authority_takes_no_places_and_ends() {
    let Some(three) = Three::start().await else { return };
    let folder = folder();
    certificates(folder.path(), &["d"]).await;
    let config = configure(folder.path(), "d", three.ensemble.hosts(), &three.root);
    let refused = run(&["node", "--config", &config]).await;
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{refused:?}");
    let words = "node a of this cluster has a certificate of another authority";
    assert!(refused.err.contains(words), "{refused:?}");
    still_serves(&three, "k").await;
    // A place of one that did not look is no part of the ring, and everybody says so.
    let intruder = three.ensemble.intruder().await;
    let hashring = format!("{}/hashring", three.root);
    let names = intruder.names(&hashring).await;
    let (data, _) = intruder.get(&format!("{hashring}/{}", names[0])).await.expect("a place");
    let mut record: Value = serde_json::from_slice(&data).expect("a record");
    record["data"]["node"] = "d".into();
    record["data"]["authority"] = "0123".into();
    let place = format!("{hashring}/{}", "0123456789abcdef".repeat(2));
    intruder.put(&place, record.to_string().as_bytes()).await;
    for index in 0..3 {
        let node = three.node(index);
        eventually("a word about d", async || {
            let said = node.said();
            let told = said.contains("of node d have a certificate of another authority");
            let count = counted(node, "carillon_registry_foreign_total", "authority").await;
            if told && count == 1 { Ok(()) } else { Err(format!("{count} {said}")) }
        })
        .await;
    }
    still_serves(&three, "k").await;
    intruder.delete(&place).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_with_one_id_the_earlier_stops_itself() {
    let Some(mut three) = Three::start().await else { return };
    let config = three.folder.path().join("b.toml");
    let twin = three.folder.path().join("twin.toml");
    let lines = std::fs::read_to_string(&config).expect("it is there");
    // Another machine has another folder.
    std::fs::write(&twin, lines.replace("data = \"b\"", "data = \"twin\"")).expect("written");
    let earlier = three.take(1);
    let later = Carillon::spawn(&["node", "--config", &text(&twin)]);
    let ended = earlier.end().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("two processes run under one name"), "{ended:?}");
    eventually("the later one to be a node of the cluster", async || {
        let nodes = ring(three.http(0)).await;
        let up = three.http(0).ask("GET", "/readyz", &[], None).await?.status;
        if nodes == ["a", "b", "c"] && up == 200 { Ok(()) } else { Err(format!("{nodes:?} {up}")) }
    })
    .await;
    drop(later);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_cluster_does_not_start_on_this_ones_root() {
    let Some(three) = Three::start().await else { return };
    certificates(three.folder.path(), &["d"]).await;
    let hosts = three.ensemble.hosts();
    let own = configure(three.folder.path(), "d", hosts, &three.ensemble.root());
    append(&own, "[replication]\ncopies = 1\ncommit = 1\n");
    let alone = Carillon::start(&["node", "--config", &own]).await;
    alone.kill().await;
    let other = configure(three.folder.path(), "d", hosts, &three.root);
    let refused = run(&["node", "--config", &other]).await;
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{refused:?}");
    assert!(refused.err.contains("the data folder belongs to cluster"), "{refused:?}");
    // The same root, and another idea of the cluster.
    std::fs::remove_dir_all(three.folder.path().join("d")).expect("removed");
    let lines = std::fs::read_to_string(&other).expect("it is there");
    std::fs::write(&other, lines.replace("partitions = 16", "partitions = 8")).expect("written");
    let refused = run(&["node", "--config", &other]).await;
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{refused:?}");
    assert!(refused.err.contains("the cluster has 16 partitions"), "{refused:?}");
    eventually("the stranger to be gone", async || {
        let nodes = ring(three.http(2)).await;
        if nodes == ["a", "b", "c"] { Ok(()) } else { Err(nodes) }
    })
    .await;
    still_serves(&three, "k").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_wants_a_place_of_another_goes_on_without_it() {
    let Some(three) = Three::start().await else { return };
    certificates(three.folder.path(), &["d"]).await;
    let ring = three.http(0).get("/v1/ring").await.expect(200);
    let place = &ring["positions"][0];
    let (taken, owner) = (place["position"].as_str().expect("a place"), &place["node"]);
    let own = "0123456789abcdef".repeat(2);
    let config = configure(three.folder.path(), "d", three.ensemble.hosts(), &three.root);
    let lines = std::fs::read_to_string(&config).expect("it is there");
    let lines = lines.replace("positions = 16", &format!("positions = [\"{taken}\", \"{own}\"]"));
    std::fs::write(&config, lines).expect("written");
    let late = Carillon::start(&["node", "--config", &config]).await;
    assert!(late.said().contains("two nodes chose one place"), "{}", late.said());
    assert_eq!(counted(&late, "carillon_registry_foreign_total", "taken").await, 1);
    let ring = eventually("the ring", async || {
        let ring = late.nodes[0].get("/v1/ring").await.expect(200);
        let is_known = ring["positions"].as_array().is_some_and(|places| !places.is_empty());
        if is_known { Ok(ring) } else { Err(ring) }
    })
    .await;
    let at = |wanted: &str| {
        let places = ring["positions"].as_array().into_iter().flatten();
        places
            .filter(|place| place["position"] == wanted)
            .map(|place| place["node"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(at(taken).as_slice(), std::slice::from_ref(owner), "{ring}");
    assert_eq!(at(&own), ["d"], "{ring}");
    late.kill().await;
}

/// Whatever another program leaves below the root changes nothing, is told, and counted.
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_belong_below_the_root_is_passed_over_and_counted() {
    let Some(three) = Three::start().await else { return };
    let intruder = three.ensemble.intruder().await;
    let root = &three.root;
    for (kind, path, data) in [
        ("place", format!("{root}/hashring/no-place"), &b"{}"[..]),
        ("place", format!("{root}/hashring/{}", "f".repeat(32)), b"{\"service_info\": {"),
        ("member", format!("{root}/members/x"), b"half {"),
    ] {
        let before = counted(three.node(0), "carillon_registry_foreign_total", kind).await;
        intruder.put(&path, data).await;
        eventually(&format!("{path} to be counted"), async || {
            let now = counted(three.node(0), "carillon_registry_foreign_total", kind).await;
            if now == before + 1 { Ok(()) } else { Err(now) }
        })
        .await;
        assert!(
            three.node(0).said().contains(path.trim_start_matches(root).trim_start_matches('/'))
        );
    }
    // Another cluster's record where this one's stood: whoever joined this one stays in it, and says so.
    let cluster = format!("{root}/cluster");
    let (kept, _) = intruder.get(&cluster).await.expect("a record");
    intruder.put(&cluster, br#"{"id": 1, "partitions": 16}"#).await;
    let before = counted(three.node(0), "carillon_registry_foreign_total", "cluster").await;
    // It is looked at with the ring.
    intruder.put(&format!("{root}/hashring/look"), b"{}").await;
    eventually("the other cluster to be counted", async || {
        let now = counted(three.node(0), "carillon_registry_foreign_total", "cluster").await;
        if now == before + 1 { Ok(()) } else { Err(now) }
    })
    .await;
    assert!(three.node(0).said().contains("is not the cluster that this node joined"));
    intruder.put(&cluster, &kept).await;
    // A partition whose record somebody deletes goes on, and everybody says so.
    let record = format!("{root}/partitions/000");
    let (kept, _) = intruder.get(&record).await.expect("a record");
    intruder.delete(&record).await;
    for index in 0..3 {
        eventually("a word about the record that is gone", async || {
            let said = three.node(index).said();
            if said.contains("partitions/000 is gone") { Ok(()) } else { Err(said) }
        })
        .await;
    }
    still_serves(&three, "k").await;
    intruder.put(&record, &kept).await;
}
