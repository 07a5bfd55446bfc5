//! What it costs to tell services what is said: three nodes in one process, real logs and sockets, a service in the same
//! process, and people who send.
//!
//! ```text
//! EVENTS=10000 SECONDS=20 cargo run --release -p tests --example services
//! PARTS=hang ROUNDS=6 SECONDS=8 cargo run --release -p tests --example services
//! ```
//!
//! How long an event is on its way from its commit to the service; how many arrive in a second; how long a service that was
//! away needs to catch up with `EVENTS`, and in how many transactions; and what a hundred services that are down
//! cost in processor, memory and the time of sends; and what a hundred cost the senders that take everything and answer nothing (T-I10), or
//! that nothing concerns, in `ROUNDS` pairs of runs, in turns with and without them first. One object in the end has all of it, or the
//! `PARTS` that are named.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a measurement ends where a step fails, and prints"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use node::config::{Config, ServiceConfig, Span};
use runtime::Instant;
use serde_json::{Value, json};
use tests::{Cluster, Http, Receiver, eventually};

/// Who sends at once when it is about how much.
const MANY: usize = 64;
/// Who sends at once when it is about how long, each so often.
const FEW: usize = 8;
const EVERY: Duration = Duration::from_millis(20);
/// So often a message is sent before the measurement is given up.
const TRIES: usize = 1000;
/// The kind of what is sent.
const CONCERNED: &str = "text";
/// Services that are down.
const DOWN: usize = 100;
/// Events of a transaction, as it is by default.
const BATCH: usize = 100;
/// What Linux counts processor time in.
const TICKS: f64 = 100.0;
const PAGE: f64 = 4096.0;

/// A request that came, with its events: chat, partition, text.
#[derive(Clone, Debug)]
struct Came {
    at: Instant,
    events: Vec<(String, String, String)>,
}

/// The service.
#[derive(Clone)]
struct Service {
    receiver: Receiver,
    came: Arc<Mutex<Vec<Came>>>,
}

/// A message that was sent.
#[derive(Clone, Debug)]
struct Sent {
    chat: String,
    text: String,
    began: Instant,
    answered: Instant,
}

fn main() {
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    executor.expect("an executor").block_on(run());
}

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

async fn run() {
    let (events, seconds) = (number("EVENTS", 10_000), number("SECONDS", 20));
    let parts =
        std::env::var("PARTS").unwrap_or_else(|_unset| "healthy,down,hang,apart".to_owned());
    let mut told = BTreeMap::new();
    for part in parts.split(',') {
        let value = match part {
            "healthy" => healthy(events, seconds).await,
            "down" => down(seconds).await,
            "hang" => beside(CONCERNED, number("ROUNDS", 6), seconds).await,
            "apart" => beside("nobody says this", number("ROUNDS", 6), seconds).await,
            other => panic!("PARTS are healthy, down, hang and apart, not {other}"),
        };
        told.insert(part, value);
    }
    println!("{}", json!(told));
}

/// One service that takes everything.
async fn healthy(events: usize, seconds: usize) -> Value {
    let (folder, service) = (tempfile::tempdir().expect("a folder"), Service::start().await);
    let config = service.config(folder.path());
    let cluster = Cluster::start_with(3, |node: &mut Config| {
        node.services.insert("crm".to_owned(), config.clone());
    })
    .await;
    let chats = chats(&cluster).await;
    let paced = paces(&cluster, &chats, "paced", seconds).await;
    service.has(paced.len()).await;
    let (after, whole) = service.took(&paced);
    println!(
        "{} events, {} a second: from the answer to the sender until the service has it p50 {:.2} ms, p99 {:.2} ms; \
         from the send p50 {:.2} ms, p99 {:.2} ms",
        paced.len(),
        FEW as f64 / EVERY.as_secs_f64(),
        after.0,
        after.1,
        whole.0,
        whole.1
    );
    let began = runtime::now();
    let flood = sends(&cluster, &chats, "flood", events).await;
    service.has(paced.len() + flood.len()).await;
    let rate = events as f64 / since(began);
    println!("{events} events sent by {MANY} at once arrive at {rate:.0} a second, sends included");

    let admin = cluster.admin(0);
    admin.post("/admin/v1/services/crm/pause", &json!({})).await.expect(200);
    let before = service.transactions();
    let queued = sends(&cluster, &chats, "queued", events).await;
    let began = runtime::now();
    admin.post("/admin/v1/services/crm/resume", &json!({})).await.expect(200);
    let all = [paced, flood, queued].concat();
    service.has(all.len()).await;
    let took = since(began);
    let (used, least) = service.used(before);
    println!(
        "{events} queued events: {took:.2} s to catch up, {:.0} a second, {used} transactions where {least} are the fewest",
        events as f64 / took
    );
    let (missing, inversions, doubled) = service.checked(&all);
    println!("{missing} missing, {inversions} inversions, {doubled} taken twice");
    json!({
        "answered_p50_ms": after.0, "answered_p99_ms": after.1,
        "sent_p50_ms": whole.0, "sent_p99_ms": whole.1,
        "events_per_second": rate,
        "catch_up": {
            "events": events, "seconds": took, "per_second": events as f64 / took,
            "transactions": used, "fewest": least,
        },
        "missing": missing, "inversions": inversions, "doubled": doubled,
    })
}

/// The same sends with nobody down and with a hundred.
async fn down(seconds: usize) -> Value {
    let mut told = Vec::new();
    for count in [0, DOWN] {
        let (folder, service) = (tempfile::tempdir().expect("a folder"), Service::start().await);
        let config = service.config(folder.path());
        // Where nobody listens any more.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let nowhere = format!("http://{}", listener.local_addr().expect("an address"));
        drop(listener);
        let cluster = Cluster::start_with(3, |node: &mut Config| {
            node.services.insert("crm".to_owned(), config.clone());
            for number in 0..count {
                let away = ServiceConfig { url: nowhere.clone(), ..config.clone() };
                node.services.insert(format!("away-{number}"), away);
            }
        })
        .await;
        let chats = chats(&cluster).await;
        let (cpu, began) = (processor(), runtime::now());
        let sent = paces(&cluster, &chats, "paced", seconds).await;
        let load = (processor() - cpu) / since(began);
        service.has(sent.len()).await;
        let (cpu, began) = (processor(), runtime::now());
        runtime::sleep(Duration::from_secs(5)).await;
        let idle = (processor() - cpu) / since(began);
        let took = |sent: &Sent| sent.answered.saturating_duration_since(sent.began);
        let (p50, p99) = quantiles(sent.iter().map(took).collect());
        let (after, _) = service.took(&sent);
        let memory = memory_mib();
        println!(
            "{count} services down: sends p50 {p50:.2} ms, p99 {p99:.2} ms, the healthy one has events p99 {:.2} ms \
             after; {load:.3} of a processor under these sends, {idle:.3} without any, {memory:.0} MiB",
            after.1
        );
        told.push(json!({
            "down": count, "send_p50_ms": p50, "send_p99_ms": p99,
            "healthy_p50_ms": after.0, "healthy_p99_ms": after.1,
            "processors": load, "processors_idle": idle, "memory_mib": memory,
        }));
    }
    Value::from(told)
}

/// The same sends with no service beside the healthy one and with a hundred that would hang, in turns, which what is of a kind concerns.
async fn beside(kind: &str, rounds: usize, seconds: usize) -> Value {
    let mut runs: [Vec<(f64, f64)>; 2] = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        // What a machine does in the course of minutes meets both.
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for which in order {
            let (p50, p99, hanging) = hangs([0, DOWN][which], kind, seconds).await;
            println!(
                "round {round}: {hanging} requests hang, sends p50 {p50:.2} ms, p99 {p99:.2} ms"
            );
            runs[which].push((p50, p99));
        }
    }
    let median = |which: usize, of: fn(&(f64, f64)) -> f64| {
        let mut all: Vec<f64> = runs[which].iter().map(of).collect();
        all.sort_unstable_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let both = |of: fn(&(f64, f64)) -> f64| {
        let (without, with) = (median(0, of), median(1, of));
        json!({ "without_ms": without, "with_ms": with, "ratio": with / without })
    };
    let (p50, p99) = (both(|run| run.0), both(|run| run.1));
    println!("medians of {rounds}: p50 {p50}, p99 {p99}");
    json!({ "beside": DOWN, "runs": runs, "p50": p50, "p99": p99 })
}

/// Sends beside so many services that hang, if anything concerns them: p50 and p99, and how many requests hang at their end.
async fn hangs(count: usize, kind: &str, seconds: usize) -> (f64, f64, usize) {
    let (folder, service) = (tempfile::tempdir().expect("a folder"), Service::start().await);
    let config = service.config(folder.path());
    let silent = Receiver::start().await;
    silent.hold();
    let mut cluster = Cluster::start_with(3, |node: &mut Config| {
        node.services.insert("crm".to_owned(), config.clone());
        for number in 0..count {
            let kinds = vec![kind.to_owned()];
            let hangs = ServiceConfig { url: silent.url(), kinds, ..config.clone() };
            node.services.insert(format!("hangs-{number}"), hangs);
        }
    })
    .await;
    let chats = chats(&cluster).await;
    // One each: the services are known then, and have something to hang with.
    let warm = sends(&cluster, &chats, "warm", MANY).await;
    service.has(warm.len()).await;
    eventually("each service to hang", async || match silent.waiting() {
        waiting if waiting >= count || kind != CONCERNED => Ok(()),
        waiting => Err(waiting),
    })
    .await;
    let sent = paces(&cluster, &chats, "paced", seconds).await;
    let hanging = silent.waiting();
    service.has(warm.len() + sent.len()).await;
    for node in 0..3 {
        cluster.kill(node).await;
    }
    let took = |sent: &Sent| sent.answered.saturating_duration_since(sent.began);
    let (p50, p99) = quantiles(sent.iter().map(took).collect());
    (p50, p99, hanging)
}

impl Service {
    async fn start() -> Self {
        let receiver = Receiver::start().await;
        let came: Arc<Mutex<Vec<Came>>> = Arc::default();
        let notes = Arc::clone(&came);
        receiver.answer(move |request| {
            let at = runtime::now();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let event =
                |it: &Value| (text(&it["chat"]), text(&it["id"]), text(&it["data"]["text"]));
            let events = request.events().iter().map(event).collect();
            notes.lock().expect("nobody panics").push(Came { at, events });
            200
        });
        Self { receiver, came }
    }

    fn config(&self, folder: &Path) -> ServiceConfig {
        let secret_file = folder.join("secret");
        std::fs::write(&secret_file, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("written");
        ServiceConfig {
            url: self.receiver.url(),
            secret_file,
            kinds: vec![CONCERNED.to_owned()],
            allow_private: vec!["127.0.0.0/8".parse().expect("a range")],
            cap: Span(Duration::from_secs(5)),
            from: node::config::From::Start,
            ..ServiceConfig::default()
        }
    }

    fn came(&self) -> Vec<Came> {
        self.came.lock().expect("nobody panics").clone()
    }

    fn transactions(&self) -> usize {
        self.came.lock().expect("nobody panics").len()
    }

    /// Waits until so many events have come.
    async fn has(&self, count: usize) {
        eventually("the events", async || {
            let came = self.came.lock().expect("nobody panics");
            let sum: usize = came.iter().map(|came| came.events.len()).sum();
            if sum >= count { Ok(()) } else { Err(sum) }
        })
        .await;
    }

    /// When each text came first.
    fn first(&self) -> BTreeMap<String, Instant> {
        let mut first = BTreeMap::new();
        for came in self.came() {
            for (_, _, text) in came.events {
                first.entry(text).or_insert(came.at);
            }
        }
        first
    }

    /// How long it took from the answer, and from the send: median and 99 of a hundred, in milliseconds. What the
    /// service had before the sender had the answer counts as nothing.
    fn took(&self, sent: &[Sent]) -> ((f64, f64), (f64, f64)) {
        let first = self.first();
        let of = |from: fn(&Sent) -> Instant| {
            let took = |it: &Sent| first[&it.text].saturating_duration_since(from(it));
            quantiles(sent.iter().map(took).collect())
        };
        (of(|sent| sent.answered), of(|sent| sent.began))
    }

    /// Transactions since the first `before`, and the fewest in which their events fit: those of a partition go together.
    fn used(&self, before: usize) -> (usize, usize) {
        let came = self.came().split_off(before);
        let mut lanes: BTreeMap<String, usize> = BTreeMap::new();
        for (_, id, _) in came.iter().flat_map(|came| &came.events) {
            *lanes.entry(id[..2].to_owned()).or_default() += 1;
        }
        (came.len(), lanes.values().map(|count| count.div_ceil(BATCH)).sum())
    }

    /// What is missing, what came before an older one of its chat, and what came twice.
    fn checked(&self, sent: &[Sent]) -> (usize, usize, usize) {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut order: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (chat, _, text) in self.came().into_iter().flat_map(|came| came.events) {
            let count = counts.entry(text.clone()).or_default();
            *count += 1;
            if *count == 1 {
                order.entry(chat).or_default().push(text);
            }
        }
        let missing = sent.iter().filter(|sent| !counts.contains_key(&sent.text)).count();
        // Each chat has one sender, who sends one after the other.
        let mut said: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for sent in sent {
            said.entry(&sent.chat).or_default().push(&sent.text);
        }
        let wrong = |(chat, texts): (&&str, &Vec<&str>)| {
            let came = order.get(*chat).map_or(&[][..], Vec::as_slice);
            came.iter().zip(texts).filter(|(came, said)| came.as_str() != **said).count()
        };
        (missing, said.iter().map(wrong).sum(), counts.values().filter(|count| **count > 1).count())
    }
}

async fn chats(cluster: &Cluster) -> Vec<String> {
    let mut chats = Vec::new();
    for number in 0..MANY {
        chats.push(cluster.http(number % 3).create().await);
    }
    chats
}

/// Sends `count` messages as fast as they go, each chat's one after the other.
async fn sends(cluster: &Cluster, chats: &[String], what: &str, count: usize) -> Vec<Sent> {
    let mut sending = tokio::task::JoinSet::new();
    for (number, chat) in chats.iter().enumerate() {
        let own = count / MANY + usize::from(number < count % MANY);
        let (door, chat, what) = (cluster.http(number % 3).clone(), chat.clone(), what.to_owned());
        sending.spawn(async move {
            let mut sent = Vec::new();
            for text in (0..own).map(|own| format!("{what}-{number}-{own}")) {
                sent.push(send(&door, &chat, text).await);
            }
            sent
        });
    }
    sending.join_all().await.concat()
}

/// A few send at a pace.
async fn paces(cluster: &Cluster, chats: &[String], what: &str, seconds: usize) -> Vec<Sent> {
    let end = runtime::now() + Duration::from_secs(seconds as u64);
    let mut sending = tokio::task::JoinSet::new();
    for (number, chat) in chats.iter().take(FEW).enumerate() {
        let (door, chat, what) = (cluster.http(number % 3).clone(), chat.clone(), what.to_owned());
        sending.spawn(async move {
            let (mut sent, mut next) = (Vec::new(), runtime::now());
            while next < end {
                runtime::sleep_until(next).await;
                sent.push(send(&door, &chat, format!("{what}-{number}-{}", sent.len())).await);
                next += EVERY;
            }
            sent
        });
    }
    sending.join_all().await.concat()
}

/// Sends until it is stored.
async fn send(door: &Http, chat: &str, text: String) -> Sent {
    let began = runtime::now();
    for _often in 0..TRIES {
        let answer = door.try_send(chat, "alice", &text, &text).await;
        if answer.is_ok_and(|answer| [200, 201].contains(&answer.status)) {
            return Sent { chat: chat.to_owned(), text, began, answered: runtime::now() };
        }
        runtime::sleep(EVERY).await;
    }
    panic!("{text} is not stored")
}

/// The median and 99 of a hundred, in milliseconds.
fn quantiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    (at(50).as_secs_f64() * 1000.0, at(99).as_secs_f64() * 1000.0)
}

fn since(began: Instant) -> f64 {
    runtime::now().saturating_duration_since(began).as_secs_f64()
}

/// Processor time of this process so far, in seconds.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    // What follows the name, which may hold anything.
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let numbers: Vec<f64> =
        fields.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
    (numbers[11] + numbers[12]) / TICKS
}

fn memory_mib() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.expect("a number") * PAGE / f64::from(1 << 20)
}
