//! How many must hold a message: `w` and `n`.

use std::time::Duration;

use serde_json::json;
use tests::{Cluster, eventually};

#[tokio::test]
async fn every_w_that_the_ensemble_can_give_is_given() {
    let cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    for (w, n) in [(1, 1), (1, 3), (2, 2), (2, 3), (3, 3)] {
        let (query, key) = (format!("?w={w}&n={n}"), format!("{w}-{n}"));
        let body = json!({"sender": "alice", "text": key});
        let sent = cluster.http(0).send_with(&token, &query, &key, &body).await;
        let sent = sent.unwrap_or_else(|error| panic!("{error}")).expect(201);
        // Two others can be quicker than the one disk that was asked for.
        let local = w == 1 && sent["durability"] == "local";
        assert!(local || sent["durability"] == "quorum", "{query}: {}", sent["durability"]);
    }
}

#[tokio::test]
async fn numbers_that_make_no_sense_are_refused() {
    let cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    for query in ["?w=0", "?w=3&n=2", "?n=4", "?w=x", "?n=0"] {
        let body = json!({"sender": "alice", "text": "hello"});
        let sent = cluster.http(1).send_with(&token, query, "k", &body).await;
        let sent = sent.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((sent.status, sent.code()), (400, "invalid-request"), "{query}");
    }
}

#[tokio::test]
async fn more_than_can_answer_is_refused_at_once_and_less_goes_on() {
    let mut cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    let primary = cluster.primary(&token).await;
    cluster.kill((primary + 1) % 3).await;
    let http = cluster.http(primary).clone();
    let body = json!({"sender": "alice", "text": "hello"});
    // Until the primary has missed the dead one it may wait for it; then it says no without waiting.
    let mut round = 0;
    eventually("a refusal at once", async || {
        round += 1;
        let begun = runtime::now();
        let sent = http.send_with(&token, "?w=3", &format!("k{round}"), &body).await?;
        let refused = (sent.status, sent.code()) == (503, "no-quorum");
        let at_once = begun.elapsed() < Duration::from_millis(500);
        if refused && at_once { Ok(()) } else { Err(format!("{} {}", sent.status, sent.body)) }
    })
    .await;
    let sent = http.send_with(&token, "?w=2", "two", &body).await;
    sent.unwrap_or_else(|error| panic!("{error}")).expect(201);
}

#[tokio::test]
async fn without_a_quorum_nothing_is_stored_and_nothing_hangs() {
    let mut cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    let primary = cluster.primary(&token).await;
    cluster.http(primary).send(&token, "alice", "k0", "before").await.expect(201);
    cluster.kill((primary + 1) % 3).await;
    cluster.kill((primary + 2) % 3).await;
    let sent = cluster.http(primary).send(&token, "alice", "k1", "alone").await;
    assert_eq!(sent.status, 503, "{}", sent.body);
    let outcome = sent.text("outcome");
    assert!(["unknown", "not-committed"].contains(&outcome.as_str()), "{}", sent.body);
    let alone = cluster.http(primary);
    eventually("a node that is not ready", async || {
        let ready = alone.get("/readyz").await;
        if ready.status == 503 { Ok(()) } else { Err(ready.body) }
    })
    .await;
    // With the others back the same key finds out.
    cluster.restart((primary + 1) % 3).await;
    let stored = cluster.http(primary).send_surely(&token, "alice", "k1", "alone").await;
    assert_eq!(stored["message"]["text"], "alone");
    let texts = tests::texts(&cluster.http(primary).all(&token).await);
    assert_eq!(texts, ["before", "alone"]);
}
