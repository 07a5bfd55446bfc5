//! What a message refers to in the archive, in whole nodes: it is there on all of them, and gone on all of them with its message, with
//! its chat, or with the archive of that.

use std::time::Duration;

use node::config::{Forget, Span};
use serde_json::{Value, json};
use tests::carillon::run;
use tests::{Answer, Cluster, Http, eventually};

use crate::keeping::{archived, end, json_lines, kept_for};

const BYTES: &str = "what a bell looks like";

fn path_of(key: &str) -> String {
    format!("/v1/archive/attachments/{key}")
}

/// Makes the collection.
async fn make(http: &Http) {
    let made = json!({"versioning": false});
    eventually("the collection", async || {
        http.ask("PUT", "/v1/archive/attachments", &[], Some(&made)).await?.only(201)
    })
    .await;
}

/// Stores an attachment; its version.
async fn put(http: &Http, key: &str) -> String {
    let stored = http.ask_bytes("PUT", &path_of(key), &[], BYTES.as_bytes()).await;
    stored.unwrap_or_else(|error| panic!("{error}")).expect(201)["version"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Sends a message that refers to something.
async fn show(http: &Http, token: &str, key: &str, archive: Value) -> Answer {
    let body = json!({"sender": "alice", "text": "look", "archive": archive});
    http.send_with(token, "", key, &body).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn take_back(http: &Http, token: &str, id: &Value) -> Value {
    let path = format!("/v1/chats/{token}/messages/{}", id.as_str().unwrap_or_default());
    let answer = http.ask("DELETE", &path, &[], Some(&json!({"reason": "private"}))).await;
    answer.unwrap_or_else(|error| panic!("{error}")).expect(200)["message"].clone()
}

/// Waits until a node gives it no more, by its name and by its version.
async fn is_gone(http: &Http, key: &str, version: &str) {
    for path in [path_of(key), format!("{}?version={version}", path_of(key))] {
        let gone = eventually("the attachment to be gone", async || {
            http.ask("GET", &path, &[], None).await?.only(404)
        })
        .await;
        assert!(["not-found", "unknown-version"].contains(&gone.code()), "{gone:?}");
    }
}

async fn is_there(http: &Http, key: &str) {
    let there = eventually("the attachment", async || {
        http.ask("GET", &path_of(key), &[], None).await?.only(200)
    })
    .await;
    assert_eq!(there.body, json!(BYTES));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attachment_outlives_the_primary_and_is_gone_everywhere_with_its_message() {
    let mut cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    let key = format!("{token}/bell.txt");
    make(cluster.http(0)).await;
    let version = put(cluster.http(0), &key).await;
    let sent =
        show(cluster.http(1), &token, "k1", json!({"collection": "attachments", "key": key}));
    let sent = sent.await.expect(201)["message"].clone();
    let exact = json!({"collection": "attachments", "key": key, "version": version});
    assert_eq!(sent["archive"], exact, "the version is filled in");
    let again = show(cluster.http(2), &token, "k2", exact.clone()).await.expect(201)["id"].clone();
    for index in 0..3 {
        let all = cluster.http(index).all(&token).await;
        assert_eq!((&all[0], &all[1]["archive"]), (&sent, &exact), "node {index}");
        is_there(cluster.http(index), &key).await;
    }

    let primary = cluster.primary(&token).await;
    cluster.kill(primary).await;
    cluster.led().await;
    let left = cluster.alive();
    for index in left.clone() {
        assert_eq!(cluster.http(index).all(&token).await[0], sent);
        is_there(cluster.http(index), &key).await;
    }
    let taken = take_back(cluster.http(left[0]), &token, &sent["id"]).await;
    assert_eq!(
        (&taken["archive"], &taken["redacted"]["reason"]),
        (&Value::Null, &json!("private"))
    );
    is_there(cluster.http(left[1]), &key).await;
    // Nobody else names it now; and who leads the chat may die before it is deleted.
    take_back(cluster.http(left[0]), &token, &again).await;
    let second = cluster.primary(&token).await;
    cluster.restart(primary).await;
    cluster.kill(second).await;
    cluster.led().await;
    for index in cluster.alive() {
        is_gone(cluster.http(index), &key, &version).await;
    }
    cluster.restart(second).await;
    cluster.led().await;
    is_gone(cluster.http(second), &key, &version).await;
    let all = cluster.http(second).all(&token).await;
    assert!(all.iter().all(|one| one["archive"].is_null() && one["redacted"].is_object()));
    let late = show(cluster.http(second), &token, "k3", exact).await;
    assert_eq!((late.status, late.code()), (400, "invalid-request"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_seen_in_this_chat_cannot_be_sent() {
    let cluster = Cluster::start(3).await;
    let (token, other) = (cluster.http(0).create().await, cluster.http(0).create().await);
    make(cluster.http(0)).await;
    let [mine, gone, theirs] =
        [format!("{token}/bell"), format!("{token}/gone"), format!("{other}/bell")];
    for key in [&mine, &gone, &theirs] {
        put(cluster.http(1), key).await;
    }
    let deleted = cluster.http(2).ask("DELETE", &path_of(&gone), &[], None).await;
    deleted.unwrap_or_else(|error| panic!("{error}")).expect(200);
    for (archive, why) in [
        (json!({"collection": "attachments", "key": format!("{token}/none")}), "there is no"),
        (json!({"collection": "attachments", "key": mine, "version": "7"}), "no version 7"),
        (json!({"collection": "attachments", "key": gone}), "there is no"),
        (json!({"collection": "attachments", "key": theirs}), "archive.key"),
        (json!({"collection": "attachments", "key": format!("{token}/../bell")}), "archive.key"),
        (json!({"collection": "photos", "key": "bell"}), "archive.version"),
    ] {
        for index in 0..3 {
            let refused = show(cluster.http(index), &token, "k", archive.clone()).await;
            assert_eq!((refused.status, refused.code()), (400, "invalid-request"), "{archive}");
            let detail = refused.body["detail"].as_str().unwrap_or_default();
            assert!(detail.contains(why), "{detail}");
        }
    }
    assert_eq!(cluster.http(0).all(&token).await, [] as [Value; 0]);
    // The same key may say it rightly now; and what is in no chat's collection is nobody's matter.
    let good = json!({"collection": "attachments", "key": mine});
    show(cluster.http(0), &token, "k", good).await.expect(201);
    let elsewhere = json!({"collection": "photos", "key": "bell", "version": "7"});
    let sent = show(cluster.http(0), &token, "k2", elsewhere.clone()).await.expect(201);
    assert_eq!(sent["message"]["archive"], elsewhere);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attachments_go_with_a_chat_that_is_forgotten() {
    let cluster = Cluster::start_with(3, |config| {
        config.collect.every = Span(Duration::from_millis(100));
        config.collect.forget = Forget::After(Span(Duration::ZERO));
    })
    .await;
    let (token, other) = (cluster.http(0).create().await, cluster.http(0).create().await);
    make(cluster.http(0)).await;
    let keys = ["bell", "tower/top", "nobody named it"].map(|name| format!("{token}/{name}"));
    let keys = keys.map(|key| key.replace(' ', "%20"));
    let stays = format!("{other}/bell");
    let mut versions = Vec::new();
    for key in &keys {
        versions.push(put(cluster.http(1), key).await);
    }
    put(cluster.http(1), &stays).await;
    let first = json!({"collection": "attachments", "key": keys[0]});
    show(cluster.http(0), &token, "k", first).await.expect(201);
    end(cluster.http(2), &token).await;
    for index in 0..3 {
        eventually("the chat to be forgotten", async || {
            let path = format!("/v1/chats/{token}");
            cluster.http(index).ask("GET", &path, &[], None).await?.only(404)
        })
        .await;
        for (key, version) in keys.iter().zip(&versions) {
            let gone = cluster.http(index).get(&path_of(key)).await;
            assert_eq!((gone.status, gone.code()), (404, "not-found"), "{key} {version}");
        }
        is_there(cluster.http(index), &stays).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attachments_of_a_chat_that_is_archived_go_with_its_archive() {
    let cluster = Cluster::start_with(3, kept_for("0s")).await;
    let token = cluster.http(0).create().await;
    let key = format!("{token}/bell.txt");
    make(cluster.http(0)).await;
    let version = put(cluster.http(1), &key).await;
    let exact = json!({"collection": "attachments", "key": key, "version": version});
    show(cluster.http(2), &token, "k", exact.clone()).await.expect(201);
    end(cluster.http(0), &token).await;
    archived(cluster.http(0), &token).await;
    for index in 0..3 {
        eventually("the chat to be forgotten", async || {
            let path = format!("/v1/chats/{token}");
            cluster.http(index).ask("GET", &path, &[], None).await?.only(404)
        })
        .await;
        is_there(cluster.http(index), &key).await;
    }
    let export = run(&["chat", "export", &token, "--url", &cluster.http(0).url()]).await;
    assert_eq!(export.code, Some(0), "{export:?}");
    assert_eq!(json_lines(&export.out)[1]["archive"], exact);
    let path = format!("/v1/archive/chats/{token}");
    let deleted = cluster.http(1).ask("DELETE", &path, &[], None).await;
    deleted.unwrap_or_else(|error| panic!("{error}")).expect(200);
    for index in 0..3 {
        is_gone(cluster.http(index), &key, &version).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_sent_from_a_shell() {
    let cluster = Cluster::start(3).await;
    let (token, url) = (cluster.http(0).create().await, cluster.http(1).url());
    let file = cluster.folder().join("a bell.txt");
    std::fs::write(&file, BYTES).expect("it is written");
    let file = file.display().to_string();
    let said = ["chat", "send", &token, "--attach", &file, "--as", "alice", "--key", "k1"];
    let said = [&said[..], &["--json", "--url", &url]].concat();
    let sent = run(&said).await;
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let sent: Value = serde_json::from_str(&sent.out).expect("JSON");
    let archive = &sent["message"]["archive"];
    let key = archive["key"].as_str().unwrap_or_default().to_owned();
    assert!(key.starts_with(&token) && key.ends_with("/a bell.txt"), "{sent}");
    assert_eq!(
        (&archive["collection"], &sent["message"]["text"]),
        (&json!("attachments"), &json!(""))
    );
    is_there(cluster.http(2), &key.replace(' ', "%20")).await;
    // The same again is the same message, and stores nothing.
    let again = run(&said).await;
    assert_eq!(again.code, Some(0), "{again:?}");
    let again: Value = serde_json::from_str(&again.out).expect("JSON");
    assert_eq!((&again["replay"], &again["message"]), (&json!(true), &sent["message"]));
    let export = run(&["chat", "export", &token, "--url", &url]).await;
    assert_eq!(json_lines(&export.out)[1]["archive"], *archive);
    // What is sent nowhere leaves nothing, and what was there before stays.
    end(cluster.http(0), &token).await;
    let other = ["chat", "send", &token, "--attach", &file, "--as", "bob", "--key", "k1"];
    let other = run(&[&other[..], &["--url", &url]].concat()).await;
    assert_eq!(other.code, Some(1), "{other:?}");
    is_there(cluster.http(2), &key.replace(' ', "%20")).await;
    let late = ["chat", "send", &token, "late", "--attach", &file, "--as", "alice", "--url", &url];
    assert_eq!(run(&late).await.code, Some(1));
    let list = format!("/v1/archive/attachments?prefix={token}/");
    let listed = cluster.http(0).get(&list).await.expect(200);
    assert_eq!(listed["entries"].as_array().map(Vec::len), Some(1), "{listed}");
}
