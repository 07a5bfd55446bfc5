//! A message that is taken back, on every node and in every way in which messages are read.

use serde_json::{Value, json};
use tests::carillon::run;
use tests::{Cluster, Events, Http};

async fn take_back(http: &Http, token: &str, id: &str, body: &Value) -> (u16, Value) {
    let path = format!("/v1/chats/{token}/messages/{id}");
    let answer = http.ask("DELETE", &path, &[], Some(body)).await;
    let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
    (answer.status, answer.body)
}

/// That a message has all that it keeps and nothing of what it said.
fn is_taken_back(message: &Value, before: &Value) {
    for kept in ["id", "cursor", "sender", "kind", "route", "time_ms", "stamps"] {
        assert_eq!(message[kept], before[kept], "{kept}: {message}");
    }
    assert_eq!(
        (&message["redacted"]["by"], &message["redacted"]["reason"]),
        (&json!("eve"), &json!("private"))
    );
    assert!(message["redacted"]["time_ms"].is_u64(), "{message}");
    assert_eq!(message["attrs"], json!({}));
    assert!(!message.to_string().contains("secret"), "{message}");
}

#[tokio::test]
async fn what_was_taken_back_is_shown_by_no_node_and_in_no_way() {
    let mut cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    let messages = format!("/v1/chats/{token}/messages");
    let secret = json!({"sender": "alice", "text": "a secret", "attrs": {"more": "of the secret"}});
    let key = [("Idempotency-Key", "k1")];
    let sent = cluster.http(0).ask("POST", &messages, &key, Some(&secret)).await;
    let before = sent.unwrap_or_else(|error| panic!("{error}")).expect(201)["message"].clone();
    cluster.http(0).send(&token, "bob", "k2", "and more").await.expect(201);
    let id = before["id"].as_str().unwrap_or_default().to_owned();
    let why = json!({"reason": "private", "sender": "eve"});
    let (status, answer) = take_back(cluster.http(1), &token, &id, &why).await;
    assert_eq!((status, &answer["archive"]), (200, &Value::Null), "{answer}");
    is_taken_back(&answer["message"], &before);
    let other = json!({"reason": "another", "sender": "mallory"});
    let again = take_back(cluster.http(2), &token, &id, &other).await;
    assert_eq!(again, (200, answer.clone()), "the first counts");
    let unknown = take_back(cluster.http(2), &token, &"7".repeat(32), &other).await;
    assert_eq!((unknown.0, &unknown.1["code"]), (404, &json!("unknown-message")));

    let primary = cluster.primary(&token).await;
    for dies in [false, true] {
        if dies {
            cluster.kill(primary).await;
            cluster.led().await;
        }
        for index in (0..3).filter(|index| !dies || *index != primary) {
            let http = cluster.http(index);
            let all = http.all(&token).await;
            assert_eq!(all[0], answer["message"], "node {index}");
            assert_eq!((all.len(), &all[1]["text"]), (2, &json!("and more")));
            let mut events = Events::new(vec![http.clone()], &token, "bob");
            assert_eq!(events.next().await, answer["message"], "node {index}");
            let repeat = http.ask("POST", &messages, &key, Some(&secret)).await;
            let repeat = repeat.unwrap_or_else(|error| panic!("{error}")).expect(200);
            assert_eq!(repeat["message"], answer["message"], "node {index}");
            let exported = run(&["chat", "export", &token, "--url", &http.url()]).await;
            assert_eq!(exported.code, Some(0), "{exported:?}");
            assert!(!exported.out.contains("secret") && exported.out.contains("private"));
            let tail = ["chat", "show", &token, "--url", &http.url()];
            assert_eq!(run(&tail).await.code, Some(0));
        }
    }
}
