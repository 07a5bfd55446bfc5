//! Chats between people on different nodes.

use std::time::Duration;

use serde_json::json;
use tests::{Cluster, texts};

#[tokio::test]
async fn what_is_sent_to_one_node_is_read_on_every_other() {
    let cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    for (index, text) in ["one", "two", "three"].into_iter().enumerate() {
        let sent = cluster.http(index).send(&token, "alice", &format!("k{index}"), text).await;
        let sent = sent.expect(201);
        assert_eq!(sent["message"]["text"], text);
        assert_eq!(sent["durability"], "quorum");
    }
    for index in 0..3 {
        assert_eq!(texts(&cluster.http(index).all(&token).await), ["one", "two", "three"]);
    }
}

#[tokio::test]
async fn a_reader_who_waits_on_another_node_is_woken_by_a_send() {
    let cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    let first = cluster.http(0).send(&token, "alice", "k0", "before").await.expect(201);
    let after = first["cursor"].as_str().unwrap_or_default().to_owned();

    // One reader on each node, so that some are forwarded and one is at the primary.
    let path = format!("/v1/chats/{token}/messages?after={after}&wait=30");
    let waiting: Vec<_> = (0..3)
        .map(|index| {
            let (http, path) = (cluster.http(index).clone(), path.clone());
            tokio::spawn(async move { http.get(&path).await.expect(200) })
        })
        .collect();
    cluster.http(1).send(&token, "bob", "k1", "now").await.expect(201);
    for reader in waiting {
        let page = reader.await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(texts(page["messages"].as_array().map_or(&[], Vec::as_slice)), ["now"]);
    }
}

#[tokio::test]
async fn a_reader_for_whom_nothing_comes_gets_the_same_cursor() {
    let cluster = Cluster::start(1).await;
    let token = cluster.http(0).create().await;
    let sent = cluster.http(0).send(&token, "alice", "k", "only").await.expect(201);
    let cursor = sent["cursor"].as_str().unwrap_or_default();
    let begun = runtime::now();
    let path = format!("/v1/chats/{token}/messages?after={cursor}&wait=0.3");
    let page = cluster.http(0).get(&path).await.expect(200);
    assert!(begun.elapsed() >= Duration::from_millis(300), "it did not wait");
    assert_eq!(page["messages"], json!([]));
    assert_eq!(page["cursor"], cursor);
}

#[tokio::test]
async fn an_unknown_token_is_never_a_chat() {
    let cluster = Cluster::start(3).await;
    let token = "0123456789abcdef0123456789abcdef";
    for index in 0..3 {
        let http = cluster.http(index);
        let sent = http.send(token, "alice", "k", "hello").await;
        assert_eq!((sent.status, sent.code()), (404, "unknown-chat"));
        for path in [format!("/v1/chats/{token}"), format!("/v1/chats/{token}/messages")] {
            let read = http.get(&path).await;
            assert_eq!((read.status, read.code()), (404, "unknown-chat"), "{path}");
        }
    }
}

#[tokio::test]
async fn an_ended_chat_takes_no_more_and_can_still_be_read() {
    let cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    cluster.http(0).send(&token, "alice", "k0", "hello").await.expect(201);
    let end = format!("/v1/chats/{token}/end");
    let ended = cluster.http(1).post(&end, &json!({})).await;
    let again = cluster.http(2).post(&end, &json!({})).await;
    assert_eq!(ended.status, 200, "{}", ended.body);
    assert_eq!(again.expect(200), ended.body);
    for index in 0..3 {
        let sent = cluster.http(index).send(&token, "alice", "k1", "late").await;
        assert_eq!((sent.status, sent.code()), (409, "chat-ended"));
    }
    assert_eq!(texts(&cluster.http(2).all(&token).await), ["hello"]);
    let shown = cluster.http(2).get(&format!("/v1/chats/{token}")).await.expect(200);
    assert_eq!(shown["status"], "ended");
}

#[tokio::test]
async fn participants_join_up_to_the_limit_and_are_shown_everywhere() {
    let cluster = Cluster::start(3).await;
    let created = cluster.http(0).post("/v1/chats", &json!({"max_participants": 2})).await;
    let token = created.text("token");
    let join = async |index: usize, name: &str| {
        let path = format!("/v1/chats/{token}/members/{name}");
        let asked = cluster.http(index).ask("PUT", &path, &[], Some(&json!({}))).await;
        asked.unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    join(0, "alice").await.expect(200);
    join(1, "bob").await.expect(200);
    let full = join(2, "carol").await;
    assert_eq!((full.status, full.code()), (409, "chat-full"));
    let shown = cluster.http(2).get(&format!("/v1/chats/{token}")).await.expect(200);
    let names: Vec<_> = shown["participants"].as_array().into_iter().flatten().collect();
    assert_eq!(names.len(), 2, "{shown}");
}
