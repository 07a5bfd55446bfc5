//! Objects in whole nodes: beside chats in one log, over restarts.

use std::time::Duration;

use archive::{Archive, Code, Name, Put, Refusal, Versioning, Whole};
use bytes::{Bytes, BytesMut};
use runtime::Instant;
use serde_json::json;
use tests::{Cluster, eventually};

fn soon() -> Instant {
    runtime::now() + Duration::from_secs(30)
}

fn data(size: usize) -> Bytes {
    (0..size).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect()
}

async fn put(archive: &Archive, name: &Name, data: &Bytes) -> Result<(), Refusal> {
    let put = Put {
        name: name.clone(),
        size: data.len() as u64,
        md5: None,
        meta: Vec::new(),
        part: None,
        repeat: None,
    };
    archive.put(put, &mut Whole(Some(data.clone()))).await.map(|_stored| ())
}

async fn get(archive: &Archive, name: &Name) -> Result<Bytes, Refusal> {
    let mut reading = archive.get(name, None, None, soon()).await?;
    let mut data = BytesMut::new();
    while let Some(bytes) = reading.next().await? {
        data.extend_from_slice(&bytes);
    }
    Ok(data.freeze())
}

/// What a chat's primary logs of messages and of objects is one log: each fold passes over the other's entries,
/// and both are there after everybody was killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_and_messages_share_a_log_and_outlive_everybody() {
    let mut cluster = Cluster::start(3).await;
    let made = cluster.http(0).ask("POST", "/v1/chats", &[], Some(&json!({}))).await;
    let made = made.and_then(|answer| answer.only(201)).expect("a chat");
    let token = made.body["token"].as_str().expect("a token").to_owned();
    let collection = "attachments".parse().expect("a name");
    let first = cluster.node(0).archive();
    let new = first.create_collection(&collection, Versioning::Unversioned, soon()).await;
    assert_eq!(new, Ok(true));
    let name = |number: usize| Name {
        collection: collection.clone(),
        key: format!("{token}/{number}").parse().expect("a key"),
    };
    let sizes = [100, 64 << 10, 300_000, 11 << 20];
    for (number, size) in sizes.into_iter().enumerate() {
        let path = format!("/v1/chats/{token}/messages");
        let key = format!("k{number}");
        let said = json!({"sender": "alice", "text": key});
        let headers = [("Idempotency-Key", key.as_str())];
        let http = cluster.http(number % 3);
        let sent = http.ask("POST", &path, &headers, Some(&said)).await;
        sent.and_then(|answer| answer.only(201)).expect("it is sent");
        let archive = cluster.node((number + 1) % 3).archive();
        put(archive, &name(number), &data(size)).await.expect("it is stored");
    }
    let all = [0, 1, 2];
    for index in all {
        cluster.kill(index).await;
    }
    cluster.restart_all(&all).await;
    cluster.led().await;
    for index in all {
        for (number, size) in sizes.into_iter().enumerate() {
            let archive = cluster.node(index).archive();
            let read = get(archive, &name(number)).await.expect("it is read");
            assert!(read == data(size), "{size} bytes on node {index}");
        }
        let path = format!("/v1/chats/{token}/messages");
        let read = eventually("the messages", async || {
            cluster.http(index).ask("GET", &path, &[], None).await?.only(200)
        })
        .await;
        assert_eq!(read.body["messages"].as_array().map(Vec::len), Some(sizes.len()));
    }
    let other = Name { key: format!("{token}/other").parse().expect("a key"), ..name(0) };
    let none = get(cluster.node(1).archive(), &other).await;
    assert_eq!(none.map_err(|refusal| refusal.code), Err(Code::NotFound));
}
