//! Who is there, who types and has read: told over server-sent events by whichever node, forgotten with the node
//! that led, and written only where somebody stands otherwise than before.

use std::time::Duration;

use node::config::{Idle, Span};
use serde_json::{Value, json};
use tests::carillon::{Carillon, single};
use tests::{Cluster, Events, Http, eventually};

async fn join(http: &Http, token: &str, name: &str) {
    let path = format!("/v1/chats/{token}/members/{name}");
    let joined = http.ask("PUT", &path, &[], Some(&json!({}))).await;
    joined.unwrap_or_else(|error| panic!("{path}: {error}")).expect(200);
}

async fn sign(http: &Http, token: &str, what: &str, body: &Value) {
    http.post(&format!("/v1/chats/{token}/{what}"), body).await.expect(204);
}

/// How somebody stands, by what the chat shows.
async fn status(http: &Http, token: &str, name: &str) -> Result<String, String> {
    let chat = http.ask("GET", &format!("/v1/chats/{token}"), &[], None).await?.only(200)?.body;
    let people = chat["participants"].as_array().cloned().unwrap_or_default();
    let person = people.iter().find(|person| person["id"] == name);
    Ok(person.map(|person| person["status"].to_string()).unwrap_or_default())
}

async fn until(http: &Http, token: &str, name: &str, wanted: &str) {
    eventually("a status", async || {
        let status = status(http, token, name).await?;
        if status == format!("\"{wanted}\"") { Ok(()) } else { Err(status) }
    })
    .await;
}

/// What the node itself said of somebody.
fn said(messages: &[Value]) -> Vec<Value> {
    let of_system = |message: &&Value| message["sender"] == "system";
    messages.iter().filter(of_system).map(|message| message["json"].clone()).collect()
}

#[tokio::test]
async fn who_types_has_read_and_comes_is_told_by_every_node() {
    let cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    let sent = cluster.http(0).send(&token, "alice", "k0", "hello").await.expect(201);
    let cursor = &sent["cursor"];
    for index in 0..3 {
        let mut follower = Events::new(vec![cluster.http(index).clone()], &token, "watcher");
        assert_eq!(follower.next().await["text"], "hello");
        sign(cluster.http(1), &token, "typing", &json!({"sender": "alice"})).await;
        assert_eq!(follower.told("typing").await, json!({"typing": ["alice"]}));
        sign(cluster.http(2), &token, "typing", &json!({"sender": "alice", "typing": false})).await;
        assert_eq!(follower.told("typing").await, json!({"typing": []}));
        let (name, upto) = (format!("bob{index}"), cursor.clone());
        sign(cluster.http(0), &token, "read", &json!({"sender": name, "upto": upto})).await;
        let told = follower.told("read").await;
        assert_eq!(&told["read"][&name], cursor, "{told}");
        join(cluster.http(1), &token, &name).await;
        let told = follower.told("presence").await;
        let people = told["participants"].as_array().cloned().unwrap_or_default();
        assert!(people.iter().any(|person| person["id"] == name.as_str()), "{told}");
    }
    assert_eq!(cluster.http(2).all(&token).await.len(), 1, "none of it is a message");
}

#[tokio::test]
async fn who_leads_next_knows_of_nobody_who_types_and_the_stream_goes_on() {
    let mut cluster = Cluster::start(3).await;
    let token = cluster.http(0).create().await;
    join(cluster.http(0), &token, "alice").await;
    let primary = cluster.primary(&token).await;
    let other = (primary + 1) % 3;
    let mut follower = Events::new(vec![cluster.http(other).clone()], &token, "watcher");
    // Whether the stream or this comes first: it is told.
    sign(cluster.http(other), &token, "typing", &json!({"sender": "alice"})).await;
    assert_eq!(follower.told("typing").await, json!({"typing": ["alice"]}));
    cluster.kill(primary).await;
    assert_eq!(follower.told("typing").await, json!({"typing": []}));
    cluster.http(other).send_surely(&token, "alice", "k1", "still here").await;
    assert_eq!(follower.next().await["text"], "still here");
}

#[tokio::test]
async fn who_is_silent_is_unavailable_on_every_node_and_back_when_they_read() {
    let cluster = Cluster::start_with(3, |config| {
        config.presence.idle = Idle::After(Span(Duration::from_secs(1)));
    })
    .await;
    let token = cluster.http(0).create().await;
    join(cluster.http(0), &token, "alice").await;
    for index in 0..3 {
        until(cluster.http(index), &token, "alice", "unavailable").await;
    }
    let away = json!({"user": "alice", "status": "unavailable"});
    assert_eq!(said(&cluster.http(1).all(&token).await), std::slice::from_ref(&away));
    let read = format!("/v1/chats/{token}/messages?as=alice");
    cluster.http(2).get(&read).await.expect(200);
    until(cluster.http(0), &token, "alice", "connected").await;
    let told = said(&cluster.http(1).all(&token).await);
    assert_eq!(told[..2], [away, json!({"user": "alice", "status": "connected"})]);
}

/// The binary: somebody who follows is there as long as they do, and gone when they have closed the page.
#[tokio::test]
async fn who_follows_is_there_until_they_go() {
    let folder = tempfile::TempDir::new().unwrap_or_else(|error| panic!("{error}"));
    let config = single(folder.path(), "[presence]\nidle = \"1s\"\n");
    let carillon = Carillon::start(&["node", "--config", &config]).await;
    let http = &carillon.nodes[0];
    let token = http.create().await;
    http.send(&token, "bob", "k1", "hello").await.expect(201);
    let mut alice = Events::new(vec![http.clone()], &token, "alice");
    assert_eq!(alice.next().await["text"], "hello");
    join(http, &token, "alice").await;
    // Bob goes; alice, who follows, is told, and stays.
    let gone = alice.next().await;
    assert_eq!((&gone["kind"], &gone["json"]["user"]), (&json!("user.status"), &json!("bob")));
    assert_eq!(status(http, &token, "alice").await, Ok("\"connected\"".to_owned()));
    drop(alice);
    until(http, &token, "alice", "unavailable").await;
}
