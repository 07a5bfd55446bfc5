//! ZooKeeper goes away for longer than any session lives: what is open stays open (P10).
//!
//! It runs alone: beside other clusters on the same few cores a node can stand still for so long that
//! another begins a take-over, which cannot end without ZooKeeper.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test says that it failed"
)]

#[expect(dead_code, reason = "other stories need the rest of it")]
#[path = "../it/three.rs"]
mod three;

use serde_json::Value;
use tests::carillon::Carillon;
use tests::ensemble::Ensemble;
use tests::{Http, eventually};

use crate::three::{NAMES, certificates, configure, folder};

/// So long it is away, as the nodes see it: several times their sessions, which are 2 s.
const AWAY_MS: u64 = 8_000;

/// For how long this node has not reached the registry.
async fn unreached_ms(node: &Carillon) -> Result<u64, String> {
    let admin = Http::new(&node.operators().await);
    let info = admin.ask("GET", "/admin/v1/info", &[], None).await?.only(200)?.body;
    Ok(info["registry"]["unreached_ms"].as_u64().unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_and_reads_of_open_partitions_go_on_while_zookeeper_is_away() {
    let Some(ensemble) = Ensemble::start(1).await else { return };
    let folder = folder();
    certificates(folder.path(), &NAMES).await;
    let start = async |name: &str| {
        let config = configure(folder.path(), name, ensemble.hosts(), "/carillon");
        Carillon::start(&["node", "--config", &config]).await
    };
    let (a, b, c) = tokio::join!(start("a"), start("b"), start("c"));
    let nodes = [a, b, c];
    let http = |index: usize| &nodes[index % 3].nodes[0];
    let mut chats = Vec::new();
    for index in 0..6 {
        let token = http(index).create().await;
        http(index).send_surely(&token, "alice", "before", "before").await;
        chats.push(token);
    }

    ensemble.kill(1).await;
    let mut rounds = 0_usize;
    loop {
        rounds += 1;
        for (index, token) in chats.iter().enumerate() {
            // By a node that need not lead the chat: sends, and reads of all that was acknowledged.
            let by = http(index + rounds);
            by.send_surely(token, "alice", &format!("k{rounds}"), "without it").await;
            let held = http(index + rounds + 1).all(token).await;
            assert_eq!(held.len(), rounds + 1, "{token}");
        }
        let mut away = Vec::new();
        for node in &nodes {
            away.push(unreached_ms(node).await.unwrap_or(0));
        }
        if away.iter().all(|ms| *ms >= AWAY_MS) {
            break;
        }
    }
    assert!(rounds > 1, "{rounds}");

    ensemble.restart(1).await;
    for node in &nodes {
        eventually("the registry to be reached again", async || {
            let ms = unreached_ms(node).await?;
            if ms == 0 { Ok(()) } else { Err(ms.to_string()) }
        })
        .await;
    }
    for token in &chats {
        let held: Vec<Value> = http(0).all(token).await;
        assert_eq!(held.len(), rounds + 1, "nothing was lost on the way");
        http(1).send_surely(token, "alice", "after", "after").await;
    }
}
