//! What a service is taken for: by operators who stop it, by what it says itself, and through restarts of nodes.

use node::config::{ServiceConfig, Span};
use serde_json::Value;
use tests::{Cluster, Receiver, eventually};

use crate::services::{adds, again, described, gets, says, texts, webhook, wished};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_paused_and_resumed_at_any_node_and_shown_as_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let cluster = Cluster::start_with(3, adds(&webhook(&receiver, folder.path()))).await;
    let token = cluster.http(0).create().await;
    let mut said = described(&cluster, &receiver, &token).await;
    let admin = cluster.admin(0);
    let wish = async |verb: &str| {
        let path = format!("/admin/v1/services/crm/{verb}");
        admin.post(&path, &serde_json::json!({})).await.expect(200)["services"][0].clone()
    };
    let paused = wish("pause").await;
    assert_eq!((&paused["state"], &paused["cause"]), (&"stopped".into(), &"paused".into()));
    let states = paused["nodes"].as_array().expect("nodes").iter().map(|node| &node["state"]);
    assert_eq!(states.collect::<Vec<_>>(), ["stopped"; 3]);
    let before = receiver.received().len();
    said.extend(says(&cluster, &token, 0..30).await);
    eventually("the events to be owed", async || {
        let told = cluster.admin(2).get("/admin/v1/services").await.expect(200);
        let all = told["services"][0]["partitions"] == 16 && told["services"][0]["pending"] == 30;
        if all { Ok(()) } else { Err(told) }
    })
    .await;
    assert_eq!(wish("wake").await["state"], "stopped", "a wake does not end a pause");
    assert_eq!(receiver.received().len(), before);
    assert_ne!(wish("resume").await["state"], "stopped");
    gets(&receiver, &said).await;
    let tested = wish_test(&cluster).await;
    assert_eq!((&tested["outcome"], &tested["status"]), (&"done".into(), &200.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_through_a_restart_of_all_nodes() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let mut cluster = Cluster::start_with(3, adds(&webhook(&receiver, folder.path()))).await;
    let token = cluster.http(0).create().await;
    let mut said = described(&cluster, &receiver, &token).await;
    wished(&cluster, 0, "pause").await;
    let before = receiver.received().len();
    again(&mut cluster, |_the_same| {}).await;
    said.extend(says(&cluster, &token, 0..20).await);
    let owed = eventually("the events to be owed", async || {
        let told = cluster.admin(1).get("/admin/v1/services").await.expect(200);
        let service = told["services"][0].clone();
        let states = service["nodes"].as_array().cloned().unwrap_or_default();
        let paused = states.iter().filter(|node| node["cause"] == "paused").count();
        // What came last before may be owed again: that it was taken need not be written yet.
        if paused == 3 && service["pending"].as_u64() >= Some(20) { Ok(service) } else { Err(told) }
    })
    .await;
    assert_eq!((&owed["state"], &owed["cause"]), (&"stopped".into(), &"paused".into()));
    assert_eq!(receiver.received().len(), before, "nothing was sent, by nobody");
    wished(&cluster, 2, "resume").await;
    gets(&receiver, &said).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_gone_is_gone_for_all_until_it_is_woken() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let mut cluster = Cluster::start_with(3, adds(&webhook(&receiver, folder.path()))).await;
    let token = cluster.http(0).create().await;
    let mut said = described(&cluster, &receiver, &token).await;
    receiver.answer(|_| 410);
    said.extend(says(&cluster, &token, 0..1).await);
    gone(&cluster).await;
    receiver.answer(|_| 200);
    let before = receiver.received().len();
    again(&mut cluster, |_the_same| {}).await;
    gone(&cluster).await;
    said.extend(says(&cluster, &token, 1..5).await);
    assert_eq!(receiver.received().len(), before, "nothing was sent, by nobody");
    wished(&cluster, 1, "wake").await;
    gets(&receiver, &said).await;
}

/// Waits until all nodes say that the service is gone.
async fn gone(cluster: &Cluster) {
    eventually("the service to be gone for all", async || {
        let told = cluster.admin(0).get("/admin/v1/services").await.expect(200);
        let nodes = told["services"][0]["nodes"].as_array().cloned().unwrap_or_default();
        let gone = nodes.iter().filter(|node| node["cause"] == "gone").count();
        if gone == 3 { Ok(()) } else { Err(told) }
    })
    .await;
}

async fn wish_test(cluster: &Cluster) -> Value {
    let path = "/admin/v1/services/crm/test";
    cluster.admin(1).post(path, &serde_json::json!({})).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_says_it_is_there_need_not_wait() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let hours = Span(std::time::Duration::from_secs(7200));
    let service = ServiceConfig { first: hours, cap: hours, ..webhook(&receiver, folder.path()) };
    let cluster = Cluster::start_with(3, adds(&service)).await;
    let token = cluster.http(0).create().await;
    let mut said = described(&cluster, &receiver, &token).await;
    receiver.answer(|_| 0);
    said.extend(says(&cluster, &token, 0..10).await);
    let admin = cluster.admin(0);
    eventually("the service to be down", async || {
        let told = admin.get("/admin/v1/services").await.expect(200);
        if told["services"][0]["state"] == "down" { Ok(()) } else { Err(told) }
    })
    .await;
    receiver.answer(|_| 200);
    gets_after_a_ping(&cluster, &receiver, &said).await;
    let unknown = cluster.http(0).post("/v1/services/other/ping", &serde_json::json!({})).await;
    assert_eq!(unknown.code(), "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_a_service_names_the_nodes_that_did_not_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let mut cluster = Cluster::start_with(3, adds(&webhook(&receiver, folder.path()))).await;
    let nobody: [&str; 0] = [];
    let path = |what: &str| format!("/admin/v1/services/crm/{what}");
    let told = cluster.admin(0).get(&path("dlq")).await.expect(200);
    assert_eq!((&told["silent"], &told["more"]), (&nobody.as_slice().into(), &false.into()));
    cluster.kill(2).await;
    // Until its places on the ring are gone; then there is nobody to be silent.
    let missing = |told: &Value| {
        let silent = told["silent"].as_array().cloned().unwrap_or_default();
        silent.iter().all(|node| node == "n3") && silent.len() <= 1
    };
    let first = cluster.admin(0).get(&path("dlq")).await.expect(200);
    assert_eq!(first["silent"], serde_json::json!(["n3"]), "{first}");
    let attempts = cluster.admin(0).get(&path("attempts")).await.expect(200);
    let replayed = cluster.admin(0).post(&path("replay"), &serde_json::json!({})).await.expect(200);
    assert!(missing(&attempts) && missing(&replayed), "{attempts} {replayed}");
    assert_eq!(replayed["replayed"], 0, "{replayed}");
}

/// What all nodes say of the service together.
async fn crm(cluster: &Cluster) -> Value {
    let told = cluster.admin(cluster.alive()[0]).get("/admin/v1/services").await.expect(200);
    told["services"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_down_is_so_since_then_after_a_restart_of_all_nodes_and_is_not_tried_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let hours = Span(std::time::Duration::from_secs(24 * 3600));
    let service = ServiceConfig { first: hours, cap: hours, ..webhook(&receiver, folder.path()) };
    let mut cluster = Cluster::start_with(3, adds(&service)).await;
    let token = cluster.http(0).create().await;
    let mut said = described(&cluster, &receiver, &token).await;
    receiver.answer(|_| 0);
    said.extend(says(&cluster, &token, 0..10).await);
    let stands = async |cluster: &Cluster| {
        let stands = cluster.registry().get("services/crm/down").await.expect("it is there");
        stands.and_then(|it| serde_json::from_slice::<Value>(&it.data).ok())
    };
    let outage = eventually("the outage to be noted", async || {
        let (outage, told) = (stands(&cluster).await, crm(&cluster).await);
        outage.filter(|_| told["state"] == "down").ok_or_else(|| told.to_string())
    })
    .await;
    let since_ms = outage["since_ms"].as_u64().expect("a number");
    let tries = receiver.received().len();
    again(&mut cluster, |_the_same| {}).await;

    let told = eventually("all nodes to say that it is down", async || {
        let told = crm(&cluster).await;
        let nodes = told["nodes"].as_array().cloned().unwrap_or_default();
        let down = nodes.iter().filter(|node| node["state"] == "down").count();
        if down == 3 { Ok(told) } else { Err(told) }
    })
    .await;
    let for_ms = told["for_ms"].as_u64().expect("a number");
    let lasts_ms = runtime::wall_ms() - since_ms;
    assert!((5000..=lasts_ms).contains(&for_ms), "{lasts_ms}: {told}");
    assert!(told["next_ms"].as_u64() > Some(0), "{told}");
    said.extend(says(&cluster, &token, 10..12).await);
    assert_eq!(receiver.received().len(), tries, "it was not tried anew");

    receiver.answer(|_| 200);
    gets_after_a_ping(&cluster, &receiver, &said).await;
    eventually("the outage to be over", async || match stands(&cluster).await {
        None => Ok(()),
        outage => Err(outage),
    })
    .await;
    eventually("all nodes to say so, with something to send or without", async || {
        let told = crm(&cluster).await;
        if told["state"] == "up" { Ok(()) } else { Err(told) }
    })
    .await;
}

/// The service says that it is there, at a node that may not lead what waits; again, because the first word may come too
/// early for another node.
async fn gets_after_a_ping(cluster: &Cluster, receiver: &Receiver, said: &[String]) {
    eventually("everything after a ping", async || {
        let path = "/v1/services/crm/ping";
        cluster.http(1).post(path, &serde_json::json!({})).await.expect(204);
        let texts = texts(receiver);
        if texts.len() >= said.len() { Ok(()) } else { Err(texts) }
    })
    .await;
    gets(receiver, said).await;
}
