//! Application services get what is said: in order, at least once, whatever happens to nodes and services.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use node::config::{Config, ServiceConfig, Span};
use runtime::wall_ms;
use serde_json::Value;
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

/// The same in a file, with more lines.
pub(crate) fn section(receiver: &Receiver, folder: &Path, more: &str) -> String {
    let service = webhook(receiver, folder);
    format!(
        "[services.crm]\nurl = \"{}\"\nsecret_file = \"{}\"\nallow_private = [\"127.0.0.0/8\"]\n\
         retry = {{ first = \"100ms\", cap = \"500ms\" }}\nfrom = \"start\"\n{more}",
        service.url,
        service.secret_file.display()
    )
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

/// The ids under which a text came.
pub(crate) fn ids(receiver: &Receiver, text: &str) -> BTreeSet<String> {
    let received = receiver.received().into_iter();
    let with = received.filter(|it| it.events().iter().any(|event| event["data"]["text"] == text));
    with.map(|it| it.header("webhook-id").unwrap_or_default().to_owned()).collect()
}

/// How often a text came.
pub(crate) fn times(receiver: &Receiver, text: &str) -> usize {
    let with = |it: &&Received| it.events().iter().any(|it| it["data"]["text"] == text);
    receiver.received().iter().filter(with).count()
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

/// All nodes die and come again with another configuration.
pub(crate) async fn again(cluster: &mut Cluster, change: impl Fn(&mut Config)) {
    for node in 0..3 {
        change(cluster.config(node));
        cluster.kill(node).await;
    }
    cluster.restart_all(&[0, 1, 2]).await;
    cluster.led().await;
}

/// Has `node` do something with the service.
pub(crate) async fn wished(cluster: &Cluster, node: usize, verb: &str) {
    let path = format!("/admin/v1/services/crm/{verb}");
    cluster.admin(node).post(&path, &serde_json::json!({})).await.expect(200);
}
