//! Copies that spread by zone: what one power cut takes away holds one copy of a partition, and no more.

use std::time::Duration;

use node::config::{Config, Span, Spread};
use serde_json::Value;
use tests::carillon::run;
use tests::{Cluster, eventually};

/// Three nodes in one zone, one in each of two others.
fn zone(node: &str) -> &'static str {
    match node {
        "n4" => "west",
        "n5" => "north",
        _ => "east",
    }
}

fn spread(config: &mut Config) {
    config.node.zone = zone(config.node.id.as_str()).to_owned();
    config.replication.spread = Spread::Zone;
    // Nobody waits a minute here.
    config.replication.settle = Span(Duration::from_secs(1));
}

/// Waits until every partition is held in three zones, and by nobody called `gone`.
async fn in_three_zones(cluster: &Cluster, gone: Option<&str>) {
    eventually("every partition in three zones", async || {
        let told = cluster.admin(3).get("/admin/v1/partitions").await.expect(200);
        let all = told["partitions"].as_array().cloned().unwrap_or_default();
        let wrong = all.iter().find(|one| {
            let nodes = one["ensemble"].as_array().cloned().unwrap_or_default();
            let nodes: Vec<&str> = nodes.iter().filter_map(Value::as_str).collect();
            let mut zones: Vec<&str> = nodes.iter().map(|node| zone(node)).collect();
            zones.sort_unstable();
            zones != ["east", "north", "west"] || nodes.iter().any(|node| Some(*node) == gone)
        });
        match wrong {
            None if all.len() == 16 => Ok(()),
            wrong => Err(format!("{wrong:?} of {}", all.len())),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_zone_holds_two_copies_also_when_a_node_leaves() {
    let cluster = Cluster::start_with(5, spread).await;
    in_three_zones(&cluster, None).await;
    let token = cluster.http(0).create().await;
    let sent = cluster.http(0).send_surely(&token, "alice", "k1", "before").await;
    let left = run(&["ring", "leave", "n1", "--admin", &cluster.node(1).admin_url()]).await;
    assert_eq!(left.code, Some(0), "{left:?}");
    in_three_zones(&cluster, Some("n1")).await;
    let kept = cluster.http(4).get(&format!("/v1/chats/{token}/messages")).await.expect(200);
    assert_eq!(kept["messages"][0]["id"], sent["id"], "{kept}");
}
