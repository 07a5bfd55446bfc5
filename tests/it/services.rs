//! Application services get what is said: in order, at least once, whatever happens to nodes and services.

use std::collections::BTreeMap;
use std::path::Path;

use node::config::{Config, ServiceConfig, Span};
use registry::service::{Data, Kind, ServiceRegistry};
use runtime::wall_ms;
use serde_json::Value;
use tests::ensemble::Ensemble;
use tests::{Cluster, Received, Receiver, eventually};

/// Adds a service to a node's configuration.
pub(crate) fn adds(service: &ServiceConfig) -> impl Fn(&mut Config) + use<> {
    let service = service.clone();
    move |config| {
        config.services.insert("crm".to_owned(), service.clone());
    }
}

pub(crate) fn webhook(receiver: &Receiver, folder: &Path) -> ServiceConfig {
    let secret_file = folder.join("secret");
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    std::fs::write(&secret_file, secret).unwrap_or_else(|error| panic!("{error}"));
    ServiceConfig {
        url: receiver.url(),
        secret_file,
        allow_private: vec!["127.0.0.0/8".parse().expect("a range")],
        first: Span(std::time::Duration::from_millis(100)),
        cap: Span(std::time::Duration::from_millis(500)),
        ..ServiceConfig::default()
    }
}

/// What was taken of a chat, each event when it came first.
pub(crate) fn texts(receiver: &Receiver) -> Vec<String> {
    let mut texts = Vec::new();
    for request in receiver.received().iter().filter(|request| request.status == 200) {
        for event in request.events() {
            let matrix = || event["content"]["body"].as_str();
            let text = event["data"]["text"].as_str().or_else(matrix);
            let text = text.unwrap_or_default().to_owned();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
    }
    texts
}

pub(crate) async fn gets(receiver: &Receiver, wanted: &[String]) {
    eventually("the service to get everything", async || {
        let texts = texts(receiver);
        if texts.len() >= wanted.len() { Ok(()) } else { Err(texts) }
    })
    .await;
    assert_eq!(texts(receiver), wanted, "in order");
}

/// One id never carries other bytes.
pub(crate) fn checks_ids(received: &[Received], id: impl Fn(&Received) -> String) {
    let mut known = BTreeMap::new();
    for request in received {
        let bytes = known.entry(id(request)).or_insert_with(|| request.body.clone());
        assert_eq!(*bytes, request.body, "{}", request.line);
    }
}

pub(crate) async fn says(
    cluster: &Cluster,
    token: &str,
    texts: std::ops::Range<usize>,
) -> Vec<String> {
    let alive = cluster.alive();
    let mut said = Vec::new();
    for number in texts {
        let text = format!("text-{number}");
        let door = cluster.http(alive[number % alive.len()]);
        door.send_surely(token, "alice", &text, &text).await;
        said.push(text);
    }
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_gets_every_message_in_order_through_the_death_of_the_primary() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let mut cluster = Cluster::start_with(3, adds(&webhook(&receiver, folder.path()))).await;
    let token = cluster.http(0).create().await;
    let mut said = described(&cluster, &receiver, &token).await;
    said.extend(says(&cluster, &token, 0..20).await);
    let primary = cluster.primary(&token).await;
    cluster.kill(primary).await;
    said.extend(says(&cluster, &token, 20..40).await);
    gets(&receiver, &said).await;
    cluster.restart(primary).await;
    said.extend(says(&cluster, &token, 40..50).await);
    gets(&receiver, &said).await;
    let received = receiver.received();
    checks_ids(&received, |request| request.header("webhook-id").unwrap_or_default().to_owned());
    assert!(received.iter().all(|request| request.header("webhook-signature").is_some()));
    let event = &received.last().expect("something came").events()[0];
    let stored = cluster.http(0).all(&token).await;
    let same = |stored: &&Value| stored["id"] == event["data"]["id"];
    let stored = stored.iter().find(same).expect("it is among the messages");
    assert_eq!(event["data"], *stored, "the very object of /messages");
}

/// Waits until the service is known to the chat's partition: what was said before does not concern it.
pub(crate) async fn described(cluster: &Cluster, receiver: &Receiver, token: &str) -> Vec<String> {
    let began = wall_ms();
    let mut number = 0;
    eventually("the first event", async || {
        number += 1;
        let text = format!("first-{began}-{number}");
        cluster.http(0).send_surely(token, "alice", &text, &text).await;
        let texts = texts(receiver);
        if texts.contains(&text) { Ok(()) } else { Err(texts) }
    })
    .await;
    let last = format!("first-{began}-{number}");
    eventually("what was said last", async || {
        let texts = texts(receiver);
        if texts.last() == Some(&last) { Ok(texts) } else { Err(texts) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_away_gets_what_it_missed_in_few_transactions() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let mut service = webhook(&receiver, folder.path());
    service.from = node::config::From::Start;
    receiver.answer(|_| 503);
    let cluster = Cluster::start_with(3, adds(&service)).await;
    let token = cluster.http(0).create().await;
    let said = says(&cluster, &token, 0..120).await;
    eventually("an attempt", async || {
        let received = receiver.received();
        if received.is_empty() { Err("nothing came") } else { Ok(()) }
    })
    .await;
    receiver.answer(|_| 200);
    gets(&receiver, &said).await;
    let taken = receiver.received().iter().filter(|request| request.status == 200).count();
    assert!(taken < 20, "{taken} transactions for 120 events");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_event_is_put_aside_and_the_others_arrive() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start().await;
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "hs-token\n").expect("written");
    let service = ServiceConfig {
        dialect: model::Dialect::Matrix,
        token_file,
        secret_file: std::path::PathBuf::new(),
        from: node::config::From::Start,
        ..webhook(&receiver, folder.path())
    };
    let poisoned = |request: &Received| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        if body.contains("text-7\"") { 400 } else { 200 }
    };
    receiver.answer(|_| 503);
    let cluster = Cluster::start_with(3, adds(&service)).await;
    let token = cluster.http(0).create().await;
    let mut said = says(&cluster, &token, 0..20).await;
    receiver.answer(poisoned);
    said.retain(|text| text != "text-7");
    gets(&receiver, &said).await;
    let received = receiver.received();
    let path = |request: &Received| request.line.clone();
    checks_ids(&received, path);
    assert!(received.iter().all(|it| it.line.starts_with("PUT /_matrix/app/v1/transactions/")));
    assert!(received.iter().all(|it| it.header("authorization") == Some("Bearer hs-token")));
    let alone = received.iter().filter(|it| it.status == 400 && it.events().len() == 1).count();
    assert_eq!(alone, 1, "tried alone once, and then put aside");
    put_aside_and_sent_again(&cluster, &receiver, &token).await;
}

/// What was put aside is shown, and comes under the id it had when somebody wants it to.
async fn put_aside_and_sent_again(cluster: &Cluster, receiver: &Receiver, token: &str) {
    let admin = cluster.admin(cluster.primary(token).await);
    let refused = receiver.received().into_iter().rev().find(|it| it.status == 400);
    let refused = refused.expect("it was refused");
    let path = "/admin/v1/services/crm/dlq";
    let entries = eventually("the event to be put aside", async || {
        let told = admin.get(path).await.expect(200);
        let entries = told["entries"].as_array().cloned().unwrap_or_default();
        if entries.len() == 1 { Ok(entries) } else { Err(entries) }
    })
    .await;
    let (entry, event) = (&entries[0], &refused.events()[0]);
    assert_eq!(format!("${}", entry["event"].as_str().expect("an id")), event["event_id"]);
    assert_eq!((&entry["status"], &entry["chat"]), (&400.into(), &token.into()));
    receiver.answer(|_| 200);
    let body = serde_json::json!({ "events": [entry["event"]] });
    let replayed = admin.post("/admin/v1/services/crm/replay", &body).await.expect(200);
    assert_eq!(replayed["replayed"], 1);
    let again = eventually("it to come again", async || {
        let last = receiver.received().into_iter().rfind(|it| it.line == refused.line);
        last.filter(|last| last.status == 200).ok_or("not yet")
    })
    .await;
    assert_eq!(again.body, refused.body);
    let attempts = admin.get("/admin/v1/services/crm/attempts").await.expect(200);
    assert_eq!(attempts["attempts"][0]["outcome"], "done");
    eventually("nothing to be put aside", async || {
        let told = admin.get("/admin/v1/services").await.expect(200);
        let service = &told["services"][0];
        let sums = (service["parked"].as_u64(), service["pending"].as_u64());
        if sums == (Some(0), Some(0)) { Ok(()) } else { Err(told) }
    })
    .await;
}

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
    again(&mut cluster, |_the_same| {}).await;
    let before = receiver.received().len();
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
    again(&mut cluster, |_the_same| {}).await;
    receiver.answer(|_| 200);
    let before = receiver.received().len();
    gone(&cluster).await;
    said.extend(says(&cluster, &token, 1..5).await);
    assert_eq!(receiver.received().len(), before, "nothing was sent, by nobody");
    wished(&cluster, 1, "wake").await;
    gets(&receiver, &said).await;
}

/// Whom the texts of a chat have come to, of two.
async fn both_get(one: &Receiver, two: &Receiver, wanted: &[String]) {
    eventually("two instances to get everything between them", async || {
        let (mut all, other) = (texts(one), texts(two));
        all.extend(other.into_iter().filter(|text| !all.contains(text)).collect::<Vec<_>>());
        let missing = wanted.iter().filter(|text| !all.contains(text)).count();
        if missing == 0 { Ok(()) } else { Err(all) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_the_registry_share_the_load_and_a_dead_one_is_passed_over() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (one, two) = (Receiver::start().await, Receiver::start().await);
    let path = format!("{}-crm", ensemble.root());
    let offers = registry::service::Config::new(&ensemble.hosts().join(","));
    let offers = ServiceRegistry::open(offers).await.expect("the ensemble is there");
    let at = |address: &str| format!("{path}/{address}");
    let offer = async |address: &str| {
        offers.set(&at(address), &Data::Nothing, Kind::Ephemeral).await.expect("it is set")
    };
    let address = |receiver: &Receiver| receiver.url().replace("http://", "");
    let mut service = webhook(&one, folder.path());
    service.url = format!("registry:{path}");
    service.from = node::config::From::Start;
    let (nodes, added) = (ensemble.nodes(), adds(&service));
    let both = |config: &mut Config| {
        nodes(config);
        added(config);
    };
    let cluster = Cluster::start_with(3, both).await;
    let token = cluster.http(0).create().await;
    let mut said = says(&cluster, &token, 0..2).await;
    eventually("the service to be down, for want of instances", async || {
        let told = cluster.admin(0).get("/admin/v1/services").await.expect(200);
        if told["services"][0]["state"] == "down" { Ok(()) } else { Err(told) }
    })
    .await;
    offer(&address(&one)).await;
    gets(&one, &said).await;
    offer(&address(&two)).await;
    // Nobody listens there.
    offer("127.0.0.1:1").await;
    let mut next = 2;
    eventually("the other one to be tried too", async || {
        said.extend(says(&cluster, &token, next..next + 1).await);
        next += 1;
        both_get(&one, &two, &said).await;
        if two.received().len() > 2 { Ok(()) } else { Err(two.received().len()) }
    })
    .await;
    let told = cluster.admin(0).get("/admin/v1/services").await.expect(200);
    assert_ne!(told["services"][0]["state"], "down", "a dead instance is not the service");
    offers.unset(&at(&address(&one))).await.expect("it is taken away");
    eventually("only the other one to get anything", async || {
        let before = one.received().len();
        said.extend(says(&cluster, &token, next..next + 1).await);
        next += 1;
        both_get(&one, &two, &said).await;
        if one.received().len() == before { Ok(()) } else { Err(before) }
    })
    .await;
    offers.close().await;
}

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

/// All nodes die and come again with another configuration.
async fn again(cluster: &mut Cluster, change: impl Fn(&mut Config)) {
    for node in 0..3 {
        change(cluster.config(node));
        cluster.kill(node).await;
    }
    cluster.restart_all(&[0, 1, 2]).await;
    cluster.led().await;
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

/// Has `node` do something with the service.
async fn wished(cluster: &Cluster, node: usize, verb: &str) {
    let path = format!("/admin/v1/services/crm/{verb}");
    cluster.admin(node).post(&path, &serde_json::json!({})).await.expect(200);
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
    // At a node that may not lead what waits; again, because the first one may come too early for another.
    eventually("everything after a ping", async || {
        let path = "/v1/services/crm/ping";
        cluster.http(1).post(path, &serde_json::json!({})).await.expect(204);
        let texts = texts(&receiver);
        if texts.len() >= said.len() { Ok(()) } else { Err(texts) }
    })
    .await;
    gets(&receiver, &said).await;
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
