//! The real binary, where a process matters.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tests::carillon::{Carillon, run, single};
use tests::{Http, eventually, texts};

/// At once: enough that some are always on their way.
const SENDERS: usize = 12;

/// Sends from many tasks at once until the process is killed under them; returns what was acknowledged,
/// id by text.
struct Senders {
    acknowledged: Arc<Mutex<BTreeMap<String, String>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Senders {
    fn start(nodes: &[Http], tokens: &[String], round: usize) -> Self {
        let acknowledged: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
        let tasks = (0..SENDERS)
            .map(|sender| {
                let node = nodes[sender % nodes.len()].clone();
                let token = tokens[sender % tokens.len()].clone();
                let acknowledged = Arc::clone(&acknowledged);
                tokio::spawn(async move {
                    for number in 0.. {
                        let text = format!("{token}/{round}-{sender}-{number}");
                        // Killed: the connection breaks, and what was on its way is nobody's.
                        let Ok(sent) =
                            node.try_send(&token, &format!("s{sender}"), &text, &text).await
                        else {
                            return;
                        };
                        if sent.status == 201 {
                            let mut all = acknowledged.lock().unwrap_or_else(|e| panic!("{e}"));
                            all.insert(text, sent.text("id"));
                        }
                    }
                })
            })
            .collect();
        Self { acknowledged, tasks }
    }

    async fn at_least(&self, count: usize) {
        eventually("acknowledged messages", async || {
            let seen = self.acknowledged.lock().unwrap_or_else(|error| panic!("{error}")).len();
            if seen >= count { Ok(()) } else { Err(seen) }
        })
        .await;
    }

    async fn end(self) -> BTreeMap<String, String> {
        for task in self.tasks {
            task.await.unwrap_or_else(|error| panic!("{error}"));
        }
        self.acknowledged.lock().unwrap_or_else(|error| panic!("{error}")).clone()
    }
}

/// Every acknowledged message is there exactly once, under its id.
async fn check(nodes: &[Http], tokens: &[String], acknowledged: &BTreeMap<String, String>) {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (index, token) in tokens.iter().enumerate() {
        for message in nodes[index % nodes.len()].all(token).await {
            let text = message["text"].as_str().unwrap_or_default().to_owned();
            let id = message["id"].as_str().unwrap_or_default().to_owned();
            found.entry(text).or_default().push(id);
        }
    }
    for (text, id) in acknowledged {
        assert_eq!(found.get(text), Some(&vec![id.clone()]), "{text}");
    }
}

async fn killed_in_the_middle(args: &[&str]) {
    let running = Carillon::start(args).await;
    let mut tokens = Vec::new();
    for index in 0..6 {
        tokens.push(running.nodes[index % running.nodes.len()].create().await);
    }
    let mut all = BTreeMap::new();
    let mut running = running;
    for round in 1..=3 {
        let senders = Senders::start(&running.nodes, &tokens, round);
        senders.at_least(100 * round).await;
        running.kill().await;
        all.extend(senders.end().await);
        running = Carillon::start(args).await;
        check(&running.nodes, &tokens, &all).await;
        // Keys go on from where they were.
        tokens.push(running.nodes[0].create().await);
    }
    running.signal(Signal::TERM);
    let ended = running.end().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_killed_in_the_middle_of_sends_loses_nothing_acknowledged() {
    let folder = TempDir::new().unwrap_or_else(|error| panic!("{error}"));
    let dir = folder.path().join("demo").display().to_string();
    killed_in_the_middle(&["demo", "--dir", &dir, "--http-port", "0"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_node_killed_in_the_middle_of_sends_loses_nothing_acknowledged() {
    let folder = TempDir::new().unwrap_or_else(|error| panic!("{error}"));
    let config = single(folder.path(), "");
    killed_in_the_middle(&["node", "--config", &config]).await;
}

#[tokio::test]
async fn the_command_line_talks_to_any_node() {
    let demo = Carillon::start(&["demo", "--http-port", "0"]).await;
    let urls: Vec<String> = demo.nodes.iter().map(Http::url).collect();
    let created = run(&["chat", "create", "--url", &urls[0]]).await;
    assert_eq!(created.code, Some(0), "{created:?}");
    let token = created.out.trim();
    assert_eq!(token.len(), 32, "{created:?}");

    let sent = run(&["chat", "send", token, "hello", "--as", "alice", "--url", &urls[1]]).await;
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let refused = run(&["chat", "send", token, "badword", "--as", "bob", "--url", &urls[2]]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("moderation"), "{refused:?}");

    let shown = run(&["chat", "show", token, "--json", "--url", &urls[2]]).await;
    let shown: serde_json::Value = serde_json::from_str(&shown.out).unwrap_or_default();
    assert_eq!(shown["token"], *token);
    let ended = run(&["chat", "end", token, "--as", "alice", "--url", &urls[0]]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let late = run(&["chat", "send", token, "late", "--as", "alice", "--url", &urls[1]]).await;
    assert_eq!(late.code, Some(1), "{late:?}");
    assert_eq!(texts(&demo.nodes[1].all(token).await)[0], "hello");

    let unknown = "0123456789abcdef0123456789abcdef";
    let unknown = run(&["chat", "show", unknown, "--url", &urls[0]]).await;
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    let usage = run(&["chat", "send", token]).await;
    assert_eq!(usage.code, Some(2), "{usage:?}");
}

#[tokio::test]
async fn where_nothing_listens_the_command_line_soon_says_so() {
    let token = "0123456789abcdef0123456789abcdef";
    let url = "http://127.0.0.1:1";
    for args in [
        ["chat", "show", token, "--url", url].as_slice(),
        &["chat", "send", token, "hi", "--as", "alice", "--url", url],
    ] {
        // Programs are more patient: the client's usual half a minute would not do.
        let nobody = runtime::timeout(Duration::from_secs(20), run(args)).await;
        let nobody = nobody.unwrap_or_else(|_elapsed| panic!("{args:?} does not end"));
        assert_eq!(nobody.code, Some(3), "{nobody:?}");
        assert!(nobody.err.contains("no node can be reached"), "{nobody:?}");
        assert!(nobody.err.contains("--url"), "{nobody:?}");
    }
}

#[tokio::test]
async fn a_tail_prints_a_message_a_line_as_they_come() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let demo = Carillon::start(&["demo", "--http-port", "0"]).await;
    let token = demo.nodes[0].create().await;
    demo.nodes[0].send(&token, "alice", "k0", "first\nin two lines").await.expect(201);
    let mut tail = tokio::process::Command::new(tests::binary("carillon"))
        .args(["chat", "tail", &token, "--from-start", "--json", "--url", &demo.nodes[1].url()])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{error}"));
    let out = tail.stdout.take().unwrap_or_else(|| panic!("no output"));
    let mut lines = BufReader::new(out).lines();
    let mut next = async || {
        let line = runtime::timeout(Duration::from_secs(60), lines.next_line()).await;
        let line = line.ok().and_then(Result::ok).flatten().unwrap_or_default();
        serde_json::from_str::<serde_json::Value>(&line).unwrap_or_default()["text"].clone()
    };
    assert_eq!(next().await, "first\nin two lines");
    demo.nodes[2].send(&token, "bob", "k1", "second").await.expect(201);
    assert_eq!(next().await, "second");
    tail.kill().await.unwrap_or_else(|error| panic!("{error}"));
    let ended = demo.nodes[0].post(&format!("/v1/chats/{token}/end"), &json!({})).await;
    ended.expect(200);
}

#[tokio::test]
async fn a_bench_tells_every_figure_in_one_object() {
    let args = "bench --empty-chain --seconds 1 --clients 8 --chats 5 --body 100 --floor --json";
    let args: Vec<&str> = args.split(' ').collect();
    let measured = run(&args).await;
    assert_eq!(measured.code, Some(0), "{measured:?}");
    let figures: serde_json::Value = serde_json::from_str(&measured.out).unwrap_or_default();
    for figure in [
        "sends",
        "per_second",
        "p50_ms",
        "p99_ms",
        "p999_ms",
        "fdatasync_p50_ms",
        "fdatasync_p99_ms",
        "quic_p50_ms",
        "http_p50_ms",
        "http_per_second",
        "ratio",
        "alone_p50_ms",
    ] {
        assert!(figures[figure].as_f64().is_some_and(|value| value > 0.0), "{figure}: {figures}");
    }
    // A reader may have a message before its sender has the answer.
    for figure in ["delivered_p50_ms", "delivered_p99_ms", "alone_delivered_p50_ms"] {
        assert!(figures[figure].is_number(), "{figure}: {figures}");
    }
    assert_eq!(figures["errors"], 0, "{figures}");
}

#[tokio::test]
async fn a_bench_tells_what_conversations_cost() {
    let args = "bench --conversations --empty-chain --seconds 1 --readers 5 --people 10 --messages 50,100 --json";
    let args: Vec<&str> = args.split(' ').collect();
    let measured = run(&args).await;
    assert_eq!(measured.code, Some(0), "{measured:?}");
    let figures: serde_json::Value = serde_json::from_str(&measured.out).unwrap_or_default();
    for figure in ["http_per_second", "socket_per_second", "socket_p99_ms"] {
        assert!(figures[figure].as_f64().is_some_and(|value| value > 0.0), "{figure}: {figures}");
    }
    let delivered = figures["delivered"].as_array().cloned().unwrap_or_default();
    let ways: Vec<_> = delivered.iter().map(|one| (&one["way"], &one["chats"])).collect();
    let (poll, sse, socket) = (json!("poll"), json!("sse"), json!("socket"));
    let (one, five) = (json!(1), json!(5));
    let expected = [
        (&poll, &one),
        (&poll, &five),
        (&sse, &one),
        (&sse, &five),
        (&socket, &one),
        (&socket, &five),
    ];
    assert_eq!(ways, expected, "{figures}");
    for one in &delivered {
        assert!(one["deliveries"].as_u64().is_some_and(|count| count > 0), "{one}");
        assert!(one["p50_ms"].is_number() && one["p99_ms"].is_number(), "{one}");
    }
    assert_eq!(figures["presence"]["people"], 10, "{figures}");
    let lengths = figures["lengths"].as_array().cloned().unwrap_or_default();
    assert!(lengths.iter().all(|one| one["p50_ms"].as_f64().is_some_and(|ms| ms > 0.0)));
    assert_eq!(lengths.len(), 2, "{figures}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_refused_with_what_to_do() {
    let folder = TempDir::new().unwrap_or_else(|error| panic!("{error}"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("{e}"));
    let port = taken.local_addr().unwrap_or_else(|error| panic!("{error}"));
    let config = single(folder.path(), "");
    let text = std::fs::read_to_string(&config).unwrap_or_else(|error| panic!("{error}"));
    let text = text.replacen("127.0.0.1:0", &port.to_string(), 1);
    std::fs::write(&config, text).unwrap_or_else(|error| panic!("{error}"));
    let refused = run(&["node", "--config", &config]).await;
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{refused:?}");
    assert!(refused.err.contains(&port.to_string()), "it names the address: {refused:?}");
    assert!(refused.err.contains("another port"), "it says what to do: {refused:?}");
}

#[tokio::test]
async fn a_demo_tells_what_it_would_not_follow_and_what_it_cannot_load_with_the_lines() {
    let folder = TempDir::new().unwrap_or_else(|error| panic!("{error}"));
    let refused = async |text: &str| {
        let file = folder.path().join("node.toml");
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("{error}"));
        let file = file.display().to_string();
        let refused = run(&["demo", "--http-port", "0", "--config", &file]).await;
        assert_eq!((refused.code, refused.out.as_str()), (Some(2), ""), "{refused:?}");
        refused.err
    };
    let own = refused("[node]\nid = \"x\"\n[auth]\nmode = \"open\"\n").await;
    for line in ["line 1: [node] cannot be given to a demo", "line 3: [auth] cannot"] {
        assert!(own.contains(line), "{line}: {own}");
    }
    let ghost = refused("[plugins.here]\n[plugins.ghost]\nsource = \"file:ghost.wasm\"\n").await;
    assert!(ghost.contains("line 2: plugin ghost") && ghost.contains("ghost.wasm"), "{ghost}");
}
