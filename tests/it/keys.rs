//! Idempotency keys: sending again is safe, everywhere and after anything.

use serde_json::json;
use tests::{Cluster, texts};

#[tokio::test]
async fn the_same_key_gives_the_first_answer_and_one_message() {
    let cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    let first = cluster.http(0).send(&token, "alice", "k", "once").await.expect(201);
    for index in 0..3 {
        let again = cluster.http(index).send(&token, "alice", "k", "once").await;
        let replay = again.headers.get("idempotent-replay").cloned();
        let again = again.expect(200);
        assert_eq!(replay.as_deref(), Some("true"));
        for field in ["id", "cursor", "message", "stamps"] {
            assert_eq!(again[field], first[field], "{field}");
        }
    }
    assert_eq!(texts(&cluster.http(1).all(&token).await), ["once"]);
}

#[tokio::test]
async fn the_same_key_with_another_body_is_a_conflict() {
    let cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    cluster.http(0).send(&token, "alice", "k", "once").await.expect(201);
    for index in 0..3 {
        let other = cluster.http(index).send(&token, "alice", "k", "twice").await;
        assert_eq!((other.status, other.code()), (409, "idempotency-conflict"));
    }
    // Another sender's key is another key, and the sender's clock is no part of the body.
    cluster.http(1).send(&token, "bob", "k", "mine").await.expect(201);
    let timed = json!({"sender": "alice", "text": "once", "sent_ms": 5});
    let again = cluster.http(2).send_with(&token, "", "k", &timed).await;
    again.unwrap_or_else(|error| panic!("{error}")).expect(200);
}

#[tokio::test]
async fn keys_are_known_to_whoever_takes_over() {
    let mut cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    let primary = cluster.primary(&token).await;
    let first = cluster.http(primary).send(&token, "alice", "k", "once").await.expect(201);
    cluster.kill(primary).await;
    let other = (primary + 1) % 3;
    let again = cluster.http(other).send_surely(&token, "alice", "k", "once").await;
    assert_eq!((&again["id"], &again["cursor"]), (&first["id"], &first["cursor"]));
    let conflict = cluster.http(other).send(&token, "alice", "k", "twice").await;
    assert_eq!((conflict.status, conflict.code()), (409, "idempotency-conflict"));
    assert_eq!(texts(&cluster.http(other).all(&token).await), ["once"]);
}
