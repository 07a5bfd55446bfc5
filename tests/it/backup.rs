//! Nodes that lost everything, and what becomes of them with a backup: the real binary, real files.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use tests::carillon::{Carillon, Ended, run, single};
use tests::{Http, eventually, texts};

use crate::three::{NAMES, Three, folder, text};

/// What is stored of the archive.
const OBJECT: &str = "/v1/archive/1001/k";

pub(crate) async fn backup(args: &[&str]) -> Ended {
    let done = run(&[&["backup"], args].concat()).await;
    assert_eq!(done.code, Some(0), "{args:?}: {done:?}");
    done
}

async fn refused(args: &[&str], code: i32, words: &str) {
    let refused = run(&[&["backup"], args].concat()).await;
    assert_eq!(refused.code, Some(code), "{args:?}: {refused:?}");
    assert!(refused.err.contains(words), "{args:?}: {refused:?}");
}

pub(crate) async fn stop(running: Carillon) {
    running.signal(Signal::TERM);
    let ended = running.end().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

pub(crate) fn remove(folder: &Path) {
    std::fs::remove_dir_all(folder).unwrap_or_else(|error| panic!("{error}"));
}

/// The cluster that a command printed.
fn cluster(done: &Ended) -> String {
    let line = done.out.lines().find_map(|line| line.strip_prefix("cluster: "));
    line.unwrap_or_else(|| panic!("{done:?}")).to_owned()
}

/// Everything that a node tells of a chat, once it does.
async fn told(node: &Http, token: &str, expected: &[&str]) -> Vec<Value> {
    eventually("the chat to be served", async || {
        let messages = node.try_all(token).await?;
        if texts(&messages) == expected { Ok(messages) } else { Err(format!("{messages:?}")) }
    })
    .await
}

fn ids(messages: &[Value]) -> BTreeSet<String> {
    messages.iter().map(|message| message["id"].to_string()).collect()
}

/// A lone node: everything that was in its backup is there again, and what was stored after it is not; nor is
/// any name of that given out again.
#[tokio::test(flavor = "multi_thread")]
async fn a_lone_node_that_lost_its_disk_goes_on_from_its_backup() {
    let place = folder();
    let path = |name: &str| text(&place.path().join(name));
    let config = single(place.path(), "");
    let (copy, object) = (path("backup"), path("object"));
    let data: Vec<u8> = (0..300_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    std::fs::write(&object, &data).unwrap_or_else(|error| panic!("{error}"));

    let running = Carillon::start(&["node", "--config", &config]).await;
    let node = running.nodes[0].clone();
    let token = node.create().await;
    node.send_surely(&token, "alice", "k1", "one").await;
    for args in [&["put", "1001"][..], &["put", "1001/aaa/bbb/ccc", object.as_str()]] {
        let done = run(&[&["archive"], args, &["--url", &node.url()]].concat()).await;
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    let create = ["create", "--config", config.as_str(), "--to", copy.as_str()];
    refused(&create, 1, "in use by another process").await;
    stop(running).await;
    backup(&create).await;
    refused(&create, 1, "is not empty").await;

    // What is lost later.
    let running = Carillon::start(&["node", "--config", &config]).await;
    let node = running.nodes[0].clone();
    told(&node, &token, &["one"]).await;
    node.send_surely(&token, "alice", "k2", "lost").await;
    let before = ids(&node.all(&token).await);
    stop(running).await;
    refused(&["found", &copy, "--config", &config], 1, "is not empty").await;
    remove(&place.path().join("data"));
    refused(&["restore", &copy, "--config", &config], 2, "carillon backup found").await;

    backup(&["verify", &copy]).await;
    let founded = backup(&["found", &copy, "--config", &config]).await;
    assert_eq!(cluster(&founded).len(), 16, "{founded:?}");
    let running = Carillon::start(&["node", "--config", &config]).await;
    let node = running.nodes[0].clone();
    told(&node, &token, &["one"]).await;
    // The same key: nobody knows it any more, and what is made is another message.
    node.send_surely(&token, "alice", "k2", "lost").await;
    let messages = told(&node, &token, &["one", "lost"]).await;
    assert_eq!(ids(&messages).intersection(&before).count(), 1, "{messages:?} and {before:?}");
    let out = path("out");
    let got = run(&["archive", "get", "1001/aaa/bbb/ccc", &out, "--url", &node.url()]).await;
    assert_eq!(got.code, Some(0), "{got:?}");
    assert!(std::fs::read(&out).unwrap_or_else(|error| panic!("{error}")) == data);
    stop(running).await;

    // And no flipped bit of a backup is restored.
    let manifest = place.path().join("backup/manifest");
    let mut bytes = std::fs::read(&manifest).unwrap_or_else(|error| panic!("{error}"));
    bytes[100] ^= 1;
    std::fs::write(&manifest, bytes).unwrap_or_else(|error| panic!("{error}"));
    refused(&["verify", &copy], 1, "cannot be trusted").await;
}

/// A cluster of three of which nothing is left but the registry and two backups: enough of each partition's three.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_lost_every_disk_is_founded_anew_on_enough_backups() {
    let Some(mut three) = Three::start().await else { return };
    let place = three.folder.path().to_owned();
    let path = |name: &str| text(&place.join(name));
    let config = |index: usize| path(&format!("{}.toml", NAMES[index]));
    let node = three.http(0).clone();
    let mut tokens = Vec::new();
    for number in 0..6 {
        let token = node.create().await;
        node.send_surely(&token, "alice", "k1", &format!("{number}")).await;
        tokens.push(token);
    }
    // More than comes with an entry of the log.
    let object = "bytes ".repeat(50_000);
    let put = async |path: &str, bytes: &[u8]| {
        let headers = [("Idempotency-Key", "once"), ("Content-Type", "application/json")];
        let put = node.ask_bytes("PUT", path, &headers, bytes).await?;
        if put.status == 200 { Ok(()) } else { put.only(201).map(drop) }
    };
    for (path, bytes) in [("/v1/archive/1001", r#"{"versioning": false}"#), (OBJECT, &object)] {
        eventually("it to be stored", async || put(path, bytes.as_bytes()).await).await;
    }
    for index in 0..3 {
        stop(three.take(index)).await;
    }
    for (index, name) in NAMES.into_iter().enumerate() {
        let to = path(&format!("backup-{name}"));
        backup(&["create", "--config", &config(index), "--to", &to]).await;
        remove(&place.join(name));
    }
    let (a, b) = (path("backup-a"), path("backup-b"));
    let found = |backups: &[&str]| {
        let args: Vec<String> = backups.iter().map(|name| (*name).to_owned()).collect();
        let config = config(0);
        async move {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            run(&[&["backup", "found", "--config", &config], &args[..]].concat()).await
        }
    };
    // The registry forgets its nodes some seconds after they left, at the latest.
    let few = eventually("nobody to be registered", async || {
        let refused = found(&[a.as_str()]).await;
        if refused.err.contains("is registered") { Err(refused) } else { Ok(refused) }
    })
    .await;
    assert_eq!(few.code, Some(1), "{few:?}");
    assert!(few.err.contains("too few of those who held partitions"), "{few:?}");
    let founded = found(&[a.as_str(), b.as_str()]).await;
    assert_eq!(founded.code, Some(0), "{founded:?}");
    let cluster = cluster(&founded);
    refused(&["restore", &a, "--config", &config(1), "--cluster", &cluster], 2, "of node a").await;
    for (index, backed) in [&a, &b].into_iter().enumerate() {
        backup(&["restore", backed, "--config", &config(index), "--cluster", &cluster]).await;
    }
    let (one, other) = (config(0), config(1));
    let start = async |config: &str| Carillon::start(&["node", "--config", config]).await;
    let (first, second) = tokio::join!(start(&one), start(&other));
    for (number, token) in tokens.iter().enumerate() {
        let node = &[&first, &second][number % 2].nodes[0];
        told(node, token, &[&number.to_string()]).await;
        node.send_surely(token, "bob", "k2", "more").await;
        told(node, token, &[&number.to_string(), "more"]).await;
    }
    for node in [&first.nodes[0], &second.nodes[0]] {
        let read = async || node.ask("GET", OBJECT, &[], None).await?.only(200);
        let read = eventually("the object to be told", read).await;
        assert!(read.body == object.as_str(), "it is another one");
    }
    // The third returns by its own road: nothing of what it promised before counts.
    let third = path("backup-c");
    refused(&["restore", &third, "--config", &config(0)], 2, "of node c").await;
    stop(first).await;
    stop(second).await;
}
