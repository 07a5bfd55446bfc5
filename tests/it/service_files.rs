//! What the files of nodes say of a service: one of them changes it for all, and one without it keeps it waiting.

use serde_json::Value;
use tests::{Cluster, Receiver, eventually};

use crate::services::{adds, again, checks_ids, described, says, texts, webhook, wished};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_left_the_files_is_owed_its_events_until_it_is_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let service = webhook(&receiver, folder.path());
    let mut cluster = Cluster::start_with(3, adds(&service)).await;
    let token = cluster.http(0).create().await;
    described(&cluster, &receiver, &token).await;
    wished(&cluster, 0, "pause").await;
    let lost = says(&cluster, &token, 0..10).await;
    let path = "/admin/v1/services/crm/forget";
    let forgets =
        async |cluster: &Cluster| cluster.admin(1).post(path, &serde_json::json!({})).await;
    let refused = forgets(&cluster).await;
    assert_eq!((refused.status, refused.code()), (409, "needed"), "it is in the files");
    again(&mut cluster, |config| config.services.clear()).await;
    eventually("what it is owed to be shown", async || {
        let told = cluster.admin(2).get("/admin/v1/services").await.expect(200);
        let service = &told["services"][0];
        let all = service["cause"] == "unconfigured" && service["pending"].as_u64() >= Some(10);
        if all { Ok(()) } else { Err(told) }
    })
    .await;
    forgets(&cluster).await.expect(200);
    let unknown = forgets(&cluster).await;
    assert_eq!((unknown.status, unknown.code()), (404, "not-found"), "it is forgotten already");
    again(&mut cluster, adds(&service)).await;
    // It is another service now: not paused, and owed nothing of the one before.
    described(&cluster, &receiver, &token).await;
    let come = texts(&receiver);
    assert!(lost.iter().all(|text| !come.contains(text)), "{come:?}");
    eventually("it to be owed nothing", async || {
        let told = cluster.admin(0).get("/admin/v1/services").await.expect(200);
        if told["services"][0]["pending"] == 0 { Ok(()) } else { Err(told) }
    })
    .await;
}

/// Events that concerned the service so far.
async fn concerned(cluster: &Cluster) -> u64 {
    let told = cluster.admin(cluster.alive()[0]).get("/admin/v1/services").await.expect(200);
    let service = &told["services"][0];
    ["pending", "done", "parked"].iter().filter_map(|sum| service[sum].as_u64()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_changed_counts_for_all_nodes_and_an_older_one_does_not_undo_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let mut cluster = Cluster::start_with(3, adds(&webhook(&receiver, folder.path()))).await;
    let token = cluster.http(0).create().await;
    described(&cluster, &receiver, &token).await;
    let service = cluster.config(0).services.get_mut("crm").expect("it is there");
    service.kinds = vec!["note".to_owned()];
    // The first one comes with the change, the second one with its old file.
    for node in [0, 1] {
        cluster.kill(node).await;
        cluster.restart(node).await;
        cluster.led().await;
    }
    let mut number = 0;
    eventually("texts not to concern it any more", async || {
        let before = concerned(&cluster).await;
        says(&cluster, &token, number..number + 1).await;
        number += 1;
        let after = concerned(&cluster).await;
        if after == before { Ok(()) } else { Err((before, after)) }
    })
    .await;
    let stands = cluster.registry().get("services/crm").await.expect("it is there");
    let stands: Value = serde_json::from_slice(&stands.expect("a record").data).expect("JSON");
    assert_eq!((&stands["revision"], &stands["terms"]["kinds"][0]), (&2.into(), &"note".into()));
}

/// T-S12. Three nodes, three files: the first to come writes what counts, the second says otherwise, the third has never
/// heard of the service. What concerns it, and in whose words it comes, is the same whoever leads.
#[tokio::test(flavor = "multi_thread")]
async fn where_the_files_differ_one_of_them_counts_whoever_leads() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let mut service = webhook(&receiver, folder.path());
    service.kinds = vec!["text".to_owned()];
    service.from = node::config::From::Start;
    let other = node::config::ServiceConfig {
        kinds: vec!["note".to_owned()],
        from: node::config::From::Now,
        batch_events: 1,
        ..service.clone()
    };
    let added = adds(&service);
    let first = |config: &mut node::config::Config| {
        if config.node.id.as_str() == "n1" {
            added(config);
        }
    };
    let mut cluster = Cluster::start_with(3, first).await;
    eventually("the record", async || {
        let stands = cluster.registry().get("services/crm").await.map_err(|e| e.to_string())?;
        stands.map(drop).ok_or_else(|| "none".to_owned())
    })
    .await;
    cluster.config(1).services.insert("crm".to_owned(), other);
    cluster.kill(1).await;
    cluster.restart(1).await;
    cluster.led().await;
    let mut said = Vec::new();
    // Who leads may change in between, so there is talk until the third one leads a chat with something to bring.
    eventually("what the third one leads to wait, aloud", async || {
        let token = cluster.http(0).create().await;
        let from = said.len();
        let note = serde_json::json!({"sender": "alice", "kind": "note", "text": "a note"});
        let sent = cluster.http(0).send_with(&token, "", &format!("note-{from}"), &note).await;
        let status = sent.expect("an answer").status;
        if status != 201 {
            return Err(Value::from(status));
        }
        said.extend(says(&cluster, &token, from..from + 3).await);
        let told = cluster.admin(0).get("/admin/v1/services").await.expect(200);
        let service = &told["services"][0];
        let node = |id| {
            let mut nodes = service["nodes"].as_array().into_iter().flatten();
            nodes.find(|it| it["node"] == id).cloned().unwrap_or_default()
        };
        let third = node("n3");
        let waits = third["cause"] == "unconfigured" && third["pending"].as_u64() >= Some(1);
        let brought = ["n1", "n2"].iter().all(|id| node(id)["done"].as_u64() >= Some(1));
        if waits && brought && service["partitions"] == 16 { Ok(()) } else { Err(told) }
    })
    .await;
    let stands = cluster.registry().get("services/crm").await.expect("it is there");
    let stands: Value = serde_json::from_slice(&stands.expect("a record").data).expect("JSON");
    assert_eq!((&stands["revision"], &stands["terms"]["kinds"][0]), (&1.into(), &"text".into()));
    // The third one gets the section too, and brings what waited.
    cluster.config(2).services.insert("crm".to_owned(), service);
    cluster.kill(2).await;
    cluster.restart(2).await;
    eventually("everything to come, whoever leads it", async || {
        let come = texts(&receiver);
        let missing: Vec<_> = said.iter().filter(|text| !come.contains(text)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
    })
    .await;
    let id = |request: &tests::Received| request.header("webhook-id").unwrap_or("").to_owned();
    checks_ids(&receiver.received(), id);
    let notes =
        receiver.received().iter().any(|it| it.events().iter().any(|it| it["type"] == "note"));
    assert!(!notes, "notes concern nobody");
}
