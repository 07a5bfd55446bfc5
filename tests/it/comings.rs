//! Processes that come to a cluster, leave it, and die for good.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tests::carillon::{Carillon, run};
use tests::{Http, eventually};

use crate::three::{Three, append, certificates, configure};

/// Nobody waits a minute here, nor ten.
const HASTE: &str = "[replication]\nsettle = \"1s\"\ndead = \"3s\"\n";

/// Chats with enough in them that bringing a node in takes a while.
const CHATS: usize = 8;
const MESSAGES: usize = 12;
const BODY: usize = 60_000;

/// The cluster as all its operators see it.
struct Seen<'a> {
    admins: &'a [String],
    /// Everything that was being moved whenever somebody looked.
    moved: Vec<Value>,
}

/// So long a process stands still: shorter than its session with ZooKeeper lives, which is 2 s.
const STILL: Duration = Duration::from_millis(1_200);

impl Seen<'_> {
    /// Whether somebody has seen `name` being brought in.
    fn toward(&self, name: &str) -> Option<&Value> {
        self.moved.iter().find(|one| one["node"] == name)
    }

    /// Looks until a move to `name` is seen. Meanwhile its process stands still most of the time, so that
    /// nothing is brought in before somebody looks.
    async fn until_seen(&mut self, name: &str, process: &Carillon) {
        eventually("a move that is seen", async || {
            process.signal(Signal::STOP);
            let begun = runtime::now();
            let mut looked = Ok(());
            while looked.is_ok() && self.toward(name).is_none() && begun.elapsed() < STILL {
                looked = self.look().await.map(drop);
            }
            process.signal(Signal::CONT);
            looked?;
            self.toward(name).map(drop).ok_or_else(|| "none yet".to_owned())
        })
        .await;
    }

    /// Looks once at what all operators see; the partitions as the first of them does.
    async fn look(&mut self) -> Result<Vec<Value>, String> {
        let mut first = Vec::new();
        for (index, admin) in self.admins.iter().enumerate() {
            let path = "/admin/v1/partitions";
            let all = Http::new(admin).ask("GET", path, &[], None).await?.only(200)?.body;
            let all = all["partitions"].as_array().cloned().unwrap_or_default();
            self.moved.extend(all.iter().filter_map(|one| one["moves"].get(0).cloned()));
            if index == 0 {
                first = all;
            }
        }
        Ok(first)
    }

    /// Looks until every partition is as it `should` be.
    async fn until(&mut self, what: &str, should: impl Fn(&Value) -> bool) {
        eventually(what, async || {
            let mut wrong = self.look().await?;
            wrong.retain(|one| !should(one));
            if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:?}")) }
        })
        .await;
    }
}

fn has(nodes: &Value, name: &str) -> bool {
    nodes.as_array().into_iter().flatten().any(|node| node == name)
}

/// Whether it is held by those who should, three of them.
fn in_place(partition: &Value) -> bool {
    let wanted = partition["wanted"].as_array().cloned().unwrap_or_default();
    let held = |node: &Value| has(&partition["ensemble"], node.as_str().unwrap_or_default());
    wanted.len() == 3
        && wanted.iter().all(held)
        && partition["ensemble"].as_array().map(Vec::len) == Some(3)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fourth_process_joins_leaves_comes_back_and_is_replaced_when_it_is_dead() {
    let Some(three) = Three::start_with(HASTE).await else { return };
    let tokens = fill(&three).await;
    certificates(three.folder.path(), &["d"]).await;
    let config = configure(three.folder.path(), "d", three.ensemble.hosts(), &three.root);
    append(&config, HASTE);
    let fourth = Carillon::start(&["node", "--config", &config]).await;
    let mut admins = Vec::new();
    for index in 0..3 {
        admins.push(three.node(index).operators().await);
    }
    let operators = async |args: &[&str]| {
        let done = run(&[args, &["--admin", &admins[0]]].concat()).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        done.out
    };

    let mut seen = Seen { admins: &admins, moved: Vec::new() };
    let ring = async || three.http(0).ask("GET", "/v1/ring", &[], None).await?.only(200);
    eventually("d to be on the ring", async || {
        let ring = ring().await?.body;
        let there = ring["nodes"].as_array().map(Vec::len) == Some(4);
        if there { Ok(()) } else { Err(ring.to_string()) }
    })
    .await;
    seen.until_seen("d", &fourth).await;
    seen.until("d to hold what the ring has for it", in_place).await;
    let toward: Vec<&Value> = seen.moved.iter().filter(|one| one["node"] == "d").collect();
    let told = |one: &&Value| one["bytes_done"].is_u64() && one["bytes_total"].is_u64();
    assert!(!toward.is_empty() && toward.iter().all(told), "{toward:?}");
    assert!(operators(&["ring", "moves"]).await.contains("every partition is where it should be"));

    // It is declared gone, holds nothing soon, and is taken back.
    operators(&["ring", "leave", "d"]).await;
    seen.until("d to hold nothing", |one| !has(&one["ensemble"], "d") && in_place(one)).await;
    operators(&["ring", "leave", "d", "--undo"]).await;
    eventually("d to be wanted again", async || {
        let shown: Value =
            serde_json::from_str(&operators(&["ring", "show", "--json"]).await).unwrap_or_default();
        let nodes = shown["nodes"].as_array().cloned().unwrap_or_default();
        let held = nodes.iter().find(|node| node["node"] == "d").and_then(|d| d["holds"].as_u64());
        if held > Some(0) { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
    seen.until("d to hold what it held", in_place).await;

    // It dies and does not come back: others get what it held.
    fourth.kill().await;
    seen.until("the dead one to be replaced", |one| !has(&one["ensemble"], "d") && in_place(one))
        .await;
    for (chat, token) in tokens.iter().enumerate() {
        let all = three.http((chat + 1) % 3).all(token).await;
        let number = |message: &Value| {
            let text = message["text"].as_str().unwrap_or_default();
            text.split(' ').next().and_then(|number| number.parse::<usize>().ok())
        };
        let numbers: Vec<Option<usize>> = all.iter().map(number).collect();
        let said: Vec<Option<usize>> = (0..MESSAGES).map(Some).collect();
        assert_eq!(numbers, said, "everything once and in its order");
    }
}

/// Some chats with enough in them.
async fn fill(three: &Three) -> Vec<String> {
    let mut tokens = Vec::new();
    for chat in 0..CHATS {
        let token = three.http(chat % 3).create().await;
        for number in 0..MESSAGES {
            let body = format!("{number} {}", "x".repeat(BODY));
            three.http(chat % 3).send_surely(&token, "alice", &format!("k{number}"), &body).await;
        }
        tokens.push(token);
    }
    tokens
}
