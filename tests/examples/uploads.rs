//! What uploads cost everybody else, and how fast they are: three nodes in a process of its own, on real files.
//!
//! ```text
//! cargo run --release -p tests --example uploads [UPLOADS] [GIB]
//! ```
//!
//! UPLOADS (default 100) objects of a GiB each are on their way at once, and so are sends at an even pace, which
//! were measured alone before. The uploads are broken off when GIB (default 3) have been taken of all of them
//! together, since nobody has the disk for the rest; three copies are kept, so the folder of temporary files
//! (TMPDIR) needs room for four times that. Then objects of 64 MiB go in one after the other and two at once, beside the bare writes of the same bytes in
//! three files of the same disk.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a measurement ends where a step fails, and prints"
)]

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tests::Http;
use tests::carillon::Carillon;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MIB: u64 = 1 << 20;
/// What each of the many uploads says it is going to send.
const UPLOAD_BYTES: u64 = 1 << 30;
const OBJECT_BYTES: u64 = 64 * MIB;
/// Objects that are measured.
const OBJECTS: u64 = 8;
/// Who sends, each so often: far from what the nodes can take.
const SENDERS: usize = 8;
const EVERY: Duration = Duration::from_millis(40);
/// Sends alone are measured so long.
const IDLE: Duration = Duration::from_secs(15);
/// The uploads are broken off by then at the latest.
const LONGEST: Duration = Duration::from_secs(120);

fn main() {
    let mut args = std::env::args_os().skip(1);
    let mut count = |usual: u64| {
        let given = args.next();
        given.and_then(|given| given.to_str()?.parse().ok()).unwrap_or(usual)
    };
    let (uploads, gib) = (count(100), count(3));
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    executor.expect("an executor").block_on(run(uploads, gib << 30));
}

async fn run(uploads: u64, most: u64) {
    let demo = Carillon::start(&["demo", "--http-port", "0"]).await;
    let nodes: Vec<Http> = demo.nodes.clone();
    let made =
        nodes[0].ask("PUT", "/v1/archive/1001", &[], Some(&json!({"versioning": false}))).await;
    made.expect("it is asked").only(201).expect("a collection");
    let mut chats = Vec::new();
    for node in &nodes {
        chats.push(node.create().await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let idle = {
        let sending = tokio::spawn(sends(nodes.clone(), chats.clone(), Arc::clone(&stop), "alone"));
        runtime::sleep(IDLE).await;
        stop.store(true, Ordering::Relaxed);
        sending.await.expect("they are sent")
    };
    let before = resident(demo.id());
    let many = many(&demo, &nodes, &chats, uploads, most).await;
    println!(
        "{uploads} uploads of 1 GiB at once: {:.0} MiB/s of objects taken (three copies), {} MiB resident before and at most \
         {} MiB for three nodes; sends alone p50 {:.1} ms, p99 {:.1} ms, beside them p50 {:.1} ms, p99 {:.1} ms ({:.1} times)",
        many.mib_per_second,
        before / MIB,
        many.resident / MIB,
        idle.p50,
        idle.p99,
        many.times.p50,
        many.times.p99,
        many.times.p99 / idle.p99
    );
    for at_once in [1, 2] {
        let bare = bare(OBJECTS);
        let rate = objects(&nodes, at_once).await;
        println!(
            "{OBJECTS} objects of 64 MiB, {at_once} at once, over HTTP, three copies: {rate:.0} MiB/s; bare writes of three copies \
             {bare:.0} MiB/s of objects; {:.0} %",
            100.0 * rate / bare
        );
    }
}

/// Milliseconds.
struct Times {
    p50: f64,
    p99: f64,
}

impl Times {
    fn of(mut took: Vec<f64>) -> Self {
        took.sort_by(f64::total_cmp);
        let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or(f64::NAN);
        Self { p50: at(50), p99: at(99) }
    }
}

struct Many {
    mib_per_second: f64,
    resident: u64,
    times: Times,
}

async fn many(demo: &Carillon, nodes: &[Http], chats: &[String], uploads: u64, most: u64) -> Many {
    let stop = Arc::new(AtomicBool::new(false));
    let taken = Arc::new(AtomicU64::new(0));
    let began = runtime::now();
    let sending = tokio::spawn(sends(nodes.to_vec(), chats.to_vec(), Arc::clone(&stop), "beside"));
    let mut under_way = tokio::task::JoinSet::new();
    for number in 0..uploads {
        let node = nodes[usize::try_from(number).expect("few") % nodes.len()].url();
        under_way.spawn(upload(node, number, Arc::clone(&taken), Arc::clone(&stop)));
    }
    let mut resident = 0;
    while taken.load(Ordering::Relaxed) < most && began.elapsed() < LONGEST {
        resident = resident.max(self::resident(demo.id()));
        runtime::sleep(Duration::from_millis(100)).await;
    }
    let rate = taken.load(Ordering::Relaxed) as f64 / MIB as f64 / began.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    let times = sending.await.expect("they are sent");
    under_way.shutdown().await;
    Many { mib_per_second: rate, resident, times }
}

/// One long upload, as fast as it is taken. It is broken off, so no answer is waited for.
async fn upload(url: String, number: u64, taken: Arc<AtomicU64>, stop: Arc<AtomicBool>) {
    let mut stream = connect(&url).await;
    let head = head(&url, &format!("large/{number}"), UPLOAD_BYTES);
    stream.write_all(head.as_bytes()).await.expect("it is told");
    let piece = piece(number);
    let mut sent = 0;
    while sent < UPLOAD_BYTES && !stop.load(Ordering::Relaxed) {
        stream.write_all(&piece).await.expect("it goes on");
        sent += piece.len() as u64;
        taken.fetch_add(piece.len() as u64, Ordering::Relaxed);
    }
}

/// Objects of 64 MiB, whole and answered: MiB a second.
async fn objects(nodes: &[Http], at_once: u64) -> f64 {
    let began = runtime::now();
    let mut under_way = tokio::task::JoinSet::new();
    for lane in 0..at_once {
        let urls: Vec<String> = nodes.iter().map(Http::url).collect();
        under_way.spawn(async move {
            for number in (lane..OBJECTS).step_by(usize::try_from(at_once).expect("few")) {
                let url = &urls[usize::try_from(number).expect("few") % urls.len()];
                object(url, number).await;
            }
        });
    }
    under_way.join_all().await;
    (OBJECTS * OBJECT_BYTES / MIB) as f64 / began.elapsed().as_secs_f64()
}

async fn object(url: &str, number: u64) {
    let mut stream = connect(url).await;
    let head = head(url, &format!("object/{number}"), OBJECT_BYTES);
    stream.write_all(head.as_bytes()).await.expect("it is told");
    let piece = piece(number);
    for _ in 0..OBJECT_BYTES / piece.len() as u64 {
        stream.write_all(&piece).await.expect("it goes on");
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
}

async fn connect(url: &str) -> TcpStream {
    let authority = url.strip_prefix("http://").unwrap_or(url);
    TcpStream::connect(authority).await.expect("a connection")
}

fn head(url: &str, key: &str, bytes: u64) -> String {
    let host = url.strip_prefix("http://").unwrap_or(url);
    format!(
        "PUT /v1/archive/1001/{key} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {bytes}\r\n\
         connection: close\r\n\r\n"
    )
}

/// A MiB that does not shrink.
fn piece(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut piece = Vec::with_capacity(1 << 20);
    while piece.len() < 1 << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        piece.extend_from_slice(&state.to_le_bytes());
    }
    piece
}

/// Sends at an even pace until told to stop: how long each took.
async fn sends(
    nodes: Vec<Http>,
    chats: Vec<String>,
    stop: Arc<AtomicBool>,
    run: &'static str,
) -> Times {
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..SENDERS {
        let (node, chat) =
            (nodes[sender % nodes.len()].clone(), chats[sender % chats.len()].clone());
        let stop = Arc::clone(&stop);
        senders.spawn(async move {
            let (began, mut took) = (runtime::now(), Vec::new());
            for number in 0_u32.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                runtime::sleep_until(began + EVERY * number).await;
                let key = format!("{run}-{sender}-{number}");
                let sent = runtime::now();
                node.send(&chat, "somebody", &key, &key).await.expect(201);
                took.push(sent.elapsed().as_secs_f64() * 1000.0);
            }
            took
        });
    }
    Times::of(senders.join_all().await.into_iter().flatten().collect())
}

/// Bytes of memory that a process has.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// The same bytes only written to three files in turn, and synced object by object: MiB of objects a second.
fn bare(objects: u64) -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    let piece = piece(7);
    let began = runtime::now();
    let mut files: Vec<File> = (0..3)
        .map(|copy| File::create(folder.path().join(copy.to_string())).expect("a file"))
        .collect();
    for _ in 0..objects {
        for _ in 0..OBJECT_BYTES / piece.len() as u64 {
            for file in &mut files {
                file.write_all(&piece).expect("it is written");
            }
        }
        for file in &files {
            file.sync_data().expect("it is synced");
        }
    }
    (objects * OBJECT_BYTES / MIB) as f64 / began.elapsed().as_secs_f64()
}
