//! What conversations cost in which nothing happens: readers who wait, and chats that nobody speaks in.
//!
//! ```text
//! READERS=10000 CHATS=100000 SECONDS=10 cargo run --release -p tests --example idle
//! ```
//!
//! The nodes are three in a process of their own, `carillon demo`, with the shipped handlers; who reads and sends is this
//! process, so that its memory is not counted. For each way of reading a process that has done nothing else: what it
//! has more once `READERS` wait, spread over `ROOMS` chats and all nodes, so that two in three wait at a node that does not lead
//! their chat, and the processor time that their waiting takes. Then `CHATS` chats of one message: what they take in memory, how
//! long sends take beside them and without, and how long the nodes take to start with them. Each reader is a file here and one
//! there; there are fewer readers where the system allows fewer files, and the table says so. With `READERS=0` none are measured.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a measurement ends where a step fails, and prints"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, NewChat, NewMessage, Socket, Target};
use rustix::process::Signal;
use tests::carillon::Carillon;
use tests::figures::{Took, clients_max, processor_s, resident_kib};
use tests::{Http, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Chats that the readers read.
const ROOMS: usize = 100;
/// Who does something at once: opens connections, makes chats.
const BUSY: usize = 32;
/// Chats that are sent to, and who sends at once when it is about many.
const SPOKEN: usize = 64;
/// Bytes of a message.
const BODY: usize = 200;
/// What has been done settles: memory is given back, snapshots are written.
const SETTLE: Duration = Duration::from_secs(5);
/// Snapshots of many chats take longer.
const SETTLE_CHATS: Duration = Duration::from_secs(20);

/// How somebody reads.
#[derive(Clone, Copy, Debug)]
enum Way {
    Socket,
    Events,
    Poll,
}

/// A reader who waits, as long as it is kept.
#[expect(dead_code, reason = "it is only kept")]
enum Reader {
    Socket(Socket),
    Http(TcpStream),
}

fn main() {
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    executor.expect("an executor").block_on(run());
}

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn row(name: &str, value: &str) {
    println!("{name:<72}{value:>16}");
}

async fn run() {
    let (readers, chats) = (number("READERS", 10_000), number("CHATS", 100_000));
    let seconds = Duration::from_secs(number("SECONDS", 10) as u64);
    let may = clients_max();
    let readers = if readers > may {
        println!("only {may} of {readers} readers: the system allows no more files");
        may
    } else {
        readers
    };
    row("three nodes in a process of their own, shipped handlers, nothing said", "");
    for way in [Way::Socket, Way::Events, Way::Poll] {
        if readers > 0 {
            waiting(way, readers, seconds).await;
        }
    }
    silent(chats, seconds).await;
}

/// Nodes that let everybody in.
async fn start(folder: &Path, readers: usize) -> Carillon {
    let file = folder.join("node.toml");
    let limit = 2 * readers + 1_000;
    let text = format!("[limits]\nconnections = {limit}\nwaiting = {limit}\n");
    std::fs::write(&file, text).expect("written");
    let (file, data) = (file.to_str().expect("a text"), folder.join("data"));
    let data = data.to_str().expect("a text");
    let args = ["demo", "--http-port", "0", "--dir", data, "--config", file];
    let nodes = Carillon::start(&args).await;
    led(&nodes).await;
    nodes
}

async fn led(nodes: &Carillon) {
    for node in &nodes.nodes {
        eventually("every partition to be led", async || {
            node.ask("GET", "/readyz", &[], None).await?.only(200)
        })
        .await;
    }
}

/// What readers cost who wait for nothing.
async fn waiting(way: Way, count: usize, seconds: Duration) {
    let folder = tempfile::tempdir().expect("a folder");
    let nodes = start(folder.path(), count).await;
    let mut rooms = Vec::new();
    for room in 0..ROOMS {
        let door = &nodes.nodes[room % nodes.nodes.len()];
        let token = door.create().await;
        let sent = door.send(&token, "alice", "k", "hello").await.expect(201);
        rooms.push((token, sent["cursor"].as_str().expect("a cursor").to_owned()));
    }
    // What the first of each sort needs is there already.
    drop(enter(way, &nodes.nodes, &rooms, ROOMS).await);
    runtime::sleep(SETTLE).await;
    let (process, before) = (nodes.id(), resident_kib(nodes.id()));
    let quiet = share(process, seconds).await;
    let began = runtime::now();
    let readers = enter(way, &nodes.nodes, &rooms, count).await;
    all_wait(&nodes, count).await;
    let entered = began.elapsed();
    runtime::sleep(SETTLE).await;
    let more = resident_kib(process).saturating_sub(before);
    let share = share(process, seconds).await;
    let name = format!("{} readers by {way:?}", readers.len());
    row(&format!("{name}: all there after"), &format!("{:.1} s", entered.as_secs_f64()));
    row(
        &format!("{name}: memory of each"),
        &format!("{:.1} KiB", more as f64 / readers.len() as f64),
    );
    row(&format!("{name}: one core, without and with"), &format!("{quiet:.1} %, {share:.1} %"));
    drop(readers);
    nodes.kill().await;
}

/// Until so many wait at whoever leads their chats. The nodes of one process count together.
async fn all_wait(nodes: &Carillon, count: usize) {
    eventually("the readers to wait", async || {
        let metrics = nodes.nodes[0].ask("GET", "/metrics", &[], None).await?.body;
        let text = metrics.as_str().unwrap_or_default();
        let mut lines = text.lines();
        let waiting = lines.find_map(|line| line.strip_prefix("carillon_readers_waiting "));
        let waiting = waiting.and_then(|waiting| waiting.parse::<f64>().ok()).unwrap_or_default();
        if waiting >= count as f64 { Ok(()) } else { Err(format!("{waiting} wait")) }
    })
    .await;
}

/// So many readers, each once it is answered, if it is.
async fn enter(way: Way, nodes: &[Http], rooms: &[(String, String)], count: usize) -> Vec<Reader> {
    let targets: Arc<[Target]> =
        nodes.iter().map(|node| node.url().parse().expect("an address")).collect();
    let rooms: Arc<[(String, String)]> = rooms.into();
    let mut entering = JoinSet::new();
    for first in 0..BUSY {
        let (targets, rooms) = (Arc::clone(&targets), Arc::clone(&rooms));
        entering.spawn(async move {
            let mut readers = Vec::new();
            for reader in (first..count).step_by(BUSY) {
                let (token, cursor) = &rooms[reader % rooms.len()];
                let target = &targets[reader % targets.len()];
                readers.push(read(way, target, token, cursor).await);
            }
            readers
        });
    }
    let all = entering.join_all().await;
    all.into_iter().flatten().collect()
}

async fn read(way: Way, target: &Target, token: &str, cursor: &str) -> Reader {
    match way {
        Way::Socket => {
            let mut socket = Socket::open(target).await.expect("a socket");
            socket.put(&format!(r#"{{"type":"sub","chat":"{token}","after":"{cursor}"}}"#));
            socket.flush().await.expect("written");
            while !socket.hear().await.expect("it is followed").contains(r#""type":"subbed""#) {}
            Reader::Socket(socket)
        }
        Way::Events => {
            let path = format!("/v1/chats/{token}/events?after={cursor}");
            let mut stream = asked(target, &path).await;
            // The head, and that the client may come back.
            let mut head = Vec::new();
            while !head.windows(6).any(|six| six == b"retry:") {
                let count = stream.read_buf(&mut head).await.expect("a head");
                assert!(count > 0, "{}", String::from_utf8_lossy(&head));
            }
            Reader::Http(stream)
        }
        Way::Poll => {
            let path = format!("/v1/chats/{token}/messages?after={cursor}&wait=30");
            Reader::Http(asked(target, &path).await)
        }
    }
}

async fn asked(target: &Target, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(target.authority()).await.expect("a connection");
    let head = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", target.authority());
    stream.write_all(head.as_bytes()).await.expect("written");
    stream
}

/// Processor time of a process over a while, in percent of one core.
async fn share(process: u32, over: Duration) -> f64 {
    let (before, began) = (processor_s(process), runtime::now());
    runtime::sleep(over).await;
    100.0 * (processor_s(process) - before) / began.elapsed().as_secs_f64()
}

/// What chats cost in which nothing is said any more.
async fn silent(count: usize, seconds: Duration) {
    let folder = tempfile::tempdir().expect("a folder");
    let nodes = start(folder.path(), 0).await;
    let client = client(&nodes);
    let spoken = make(&client, SPOKEN).await;
    sends(&client, &spoken, seconds, "without other chats").await;
    runtime::sleep(SETTLE_CHATS).await;
    let before = resident_kib(nodes.id());
    let began = runtime::now();
    make(&client, count).await;
    row(
        &format!("{count} chats of one message, made by {BUSY} at once, a second"),
        &format!("{:.0}", count as f64 / began.elapsed().as_secs_f64()),
    );
    runtime::sleep(SETTLE_CHATS).await;
    let more = resident_kib(nodes.id()).saturating_sub(before);
    row(
        "memory of each, all three nodes together, once they are idle",
        &format!("{:.2} KiB", more as f64 / count as f64),
    );
    sends(&client, &spoken, seconds, &format!("beside {count} idle chats")).await;
    nodes.signal(Signal::TERM);
    let ended = nodes.end().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");

    let began = runtime::now();
    let nodes = start(folder.path(), 0).await;
    row(
        &format!("from start until everything is led, {count} chats"),
        &format!("{:.2} s", began.elapsed().as_secs_f64()),
    );
    runtime::sleep(SETTLE_CHATS).await;
    let resident = resident_kib(nodes.id()) as f64 / 1024.0;
    row("memory of the three nodes then", &format!("{resident:.0} MiB"));
    let client = self::client(&nodes);
    sends(&client, &spoken, seconds, &format!("beside {count} chats, after the start")).await;
    nodes.kill().await;

    let empty = tempfile::tempdir().expect("a folder");
    drop(start(empty.path(), 0).await);
    let began = runtime::now();
    let nodes = start(empty.path(), 0).await;
    row(
        "from start until everything is led, no chats, second start",
        &format!("{:.2} s", began.elapsed().as_secs_f64()),
    );
    nodes.kill().await;
}

fn client(nodes: &Carillon) -> Client {
    Client::new(nodes.nodes.iter().map(Http::url)).expect("addresses")
}

/// So many chats of one message.
async fn make(client: &Client, count: usize) -> Vec<model::ChatToken> {
    let mut making = JoinSet::new();
    for first in 0..BUSY {
        let client = client.clone();
        making.spawn(async move {
            let mut made = Vec::new();
            for _chat in (first..count).step_by(BUSY) {
                let created = client.create(&NewChat::default()).await.expect("a chat");
                client.send(created.token, &message()).await.expect("stored");
                made.push(created.token);
            }
            made
        });
    }
    making.join_all().await.into_iter().flatten().collect()
}

fn message() -> NewMessage {
    NewMessage::text("alice", "x".repeat(BODY))
}

/// How long sends take: of one alone, and of many at once.
async fn sends(client: &Client, chats: &[model::ChatToken], seconds: Duration, beside: &str) {
    for at_once in [1, SPOKEN] {
        let end = runtime::now() + seconds;
        let mut sending = JoinSet::new();
        for chat in chats.iter().copied().take(at_once) {
            let client = client.clone();
            sending.spawn(async move {
                let mut took = Took::default();
                // The first finds out who leads the chat.
                client.send(chat, &message()).await.expect("stored");
                while runtime::now() < end {
                    let began = runtime::now();
                    client.send(chat, &message()).await.expect("stored");
                    took.add(began.elapsed());
                }
                took
            });
        }
        let mut all = Took::default();
        for took in sending.join_all().await {
            all.merge(took);
        }
        row(
            &format!("sends of {at_once} at once {beside}: p50, p99"),
            &format!("{:.2}, {:.2} ms", all.percentile_ms(50), all.percentile_ms(99)),
        );
        let rate = all.count() as f64 / seconds.as_secs_f64();
        row(&format!("sends of {at_once} at once {beside}, a second"), &format!("{rate:.0}"));
    }
}
