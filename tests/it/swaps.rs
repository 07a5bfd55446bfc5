//! Clients talk all the time, in chats led by every node, while versions come and go: nothing fails, is lost,
//! doubled or decided by two versions. One version in ten is broken: it is refused, and no message meets it. A few swaps are part of every run; a thousand of them, with what sends
//! take beside them and without, are a figure (`make bench`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::Digest as _;
use tests::guests::Guest;
use tests::versions::version;
use tests::{Cluster, Http};
use tokio::task::JoinSet;

/// Chats that are talked in, two led by each node or so.
const CHATS: usize = 6;

/// A version that passes everything.
fn passes(number: usize) -> Vec<u8> {
    version(&Guest::default(), &format!("{number}.0"))
}

/// Of ten versions the one with this last digit is broken.
const BROKEN: usize = 5;

/// A version that cannot become live, each time for another reason.
fn broken(number: usize) -> Vec<u8> {
    let name = format!("{number}.0");
    let guest = match number / 10 % 4 {
        0 => Guest::doing("unreachable"),
        1 => Guest { check_config: "unreachable".to_owned(), ..Guest::default() },
        // Nobody has granted it that.
        2 => Guest::default().keeping(),
        _ => return [&version(&Guest::default(), &name)[..64], &[0xff; 64]].concat(),
    };
    version(&guest, &name)
}

/// What was said in one chat, with what was answered and how long that took.
#[derive(Debug)]
struct Talked {
    token: String,
    sent: Vec<(Value, Duration)>,
}

/// People who talk until they are told to end.
struct Talking {
    ends: Arc<AtomicBool>,
    people: JoinSet<Talked>,
}

impl Talking {
    async fn begin(cluster: &Cluster) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let mut people = JoinSet::new();
        for chat in 0..CHATS {
            let http = cluster.http(chat % 3).clone();
            let token = http.create().await;
            people.spawn(talk(http, token, Arc::clone(&ends)));
        }
        Self { ends, people }
    }

    async fn end(self) -> Vec<Talked> {
        self.ends.store(true, Ordering::Relaxed);
        self.people.join_all().await
    }
}

async fn talk(http: Http, token: String, ends: Arc<AtomicBool>) -> Talked {
    let mut sent = Vec::new();
    while !ends.load(Ordering::Relaxed) || sent.is_empty() {
        let key = format!("k{}", sent.len());
        let began = runtime::now();
        let answer = http.send(&token, "alice", &key, &key).await.expect(201);
        sent.push((answer, runtime::now() - began));
    }
    Talked { token, sent }
}

/// The number of the version that decided about a message.
fn decided(message: &Value) -> usize {
    let stamps = message["stamps"].as_array().expect("stamps");
    assert_eq!(stamps.len(), 1, "one version decides: {message}");
    let version = stamps[0]["version"].as_str().and_then(|version| version.split_once('.'));
    version.and_then(|(number, _)| number.parse().ok()).expect("a version of ours")
}

/// Every message is there once, in its order, and was decided by one version, and never by an earlier one
/// than the message before. Gives the versions that decided.
async fn are_whole(cluster: &Cluster, talked: &[Talked]) -> BTreeSet<usize> {
    let mut met = BTreeSet::new();
    for Talked { token, sent } in talked {
        let read = cluster.http(0).all(token).await;
        let keys: Vec<&str> = read.iter().filter_map(|message| message["text"].as_str()).collect();
        let expected: Vec<String> = (0..sent.len()).map(|number| format!("k{number}")).collect();
        assert_eq!(keys, expected, "lost or doubled");
        let decided_by: Vec<usize> = read.iter().map(decided).collect();
        assert!(decided_by.is_sorted(), "a chat went back: {decided_by:?}");
        let answered: Vec<usize> =
            sent.iter().map(|(answer, _)| decided(&answer["message"])).collect();
        assert_eq!(decided_by, answered);
        met.extend(decided_by);
    }
    met
}

/// Swaps in the versions 1, 2, 3 …, each asked of another node, and begun no sooner than `every` after the one
/// before. Gives how many were broken, and refused.
async fn swap(cluster: &Cluster, count: usize, every: Duration) -> usize {
    let mut refused = 0;
    for number in 1..=count {
        let due = runtime::now() + every;
        if number % 10 == BROKEN {
            is_refused(cluster, number).await;
            refused += 1;
        } else {
            let swapped = cluster.admin(number % 3).swap_in("hello", &passes(number)).await;
            assert_eq!(swapped["version"], format!("{number}.0"), "{swapped}");
        }
        runtime::sleep_until(due).await;
    }
    refused
}

/// A broken version is refused when it is pushed, and when it is asked for all the same; the one before stays.
async fn is_refused(cluster: &Cluster, number: usize) {
    let (admin, component) = (cluster.admin(number % 3), broken(number));
    let pushed = admin.push("hello", &component).await;
    assert_eq!((pushed.status, pushed.code()), (422, "plugin-unusable"), "{}", pushed.body);
    let digest = sha2::Sha256::digest(&component);
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let body = json!({"digest": digest, "wait": true});
    let swapped = admin.post("/admin/v1/plugins/hello/swap", &body).await;
    assert_eq!((swapped.status, swapped.code()), (422, "plugin-unusable"), "{}", swapped.body);
    for index in 0..3 {
        let live = cluster.admin(index).live().await;
        assert_eq!(live[0].1, format!("{}.0", number - 1), "{live:?}");
    }
}

/// No message met a broken version.
fn are_sound(met: &BTreeSet<usize>) {
    assert!(met.iter().all(|number| number % 10 != BROKEN), "{met:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn swaps_under_load_fail_lose_double_and_mix_nothing() {
    let cluster = Cluster::start(3).await;
    cluster.admin(0).swap_in("hello", &passes(0)).await;
    let talking = Talking::begin(&cluster).await;
    assert_eq!(swap(&cluster, 7, Duration::ZERO).await, 1);
    let met = are_whole(&cluster, &talking.end().await).await;
    are_sound(&met);
    assert!(met.len() > 2, "the load met hardly any version: {met:?}");
}

/// A number that the environment may change.
fn given(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|given| given.parse().ok()).unwrap_or(default)
}

/// `SWAPS=1000`, as fast as they go or one in `SWAP_EVERY_MS`, on a machine that does nothing else.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a figure: make bench"]
async fn many_swaps_and_what_sends_take_beside_them() {
    let swaps = given("SWAPS", 1_000);
    let every = Duration::from_millis(given("SWAP_EVERY_MS", 0).into());
    let cluster = Cluster::start(3).await;
    cluster.admin(0).swap_in("hello", &passes(0)).await;
    let talking = Talking::begin(&cluster).await;
    let began = runtime::now();
    let refused = swap(&cluster, swaps as usize, every).await;
    let lasted = runtime::now() - began;
    let with = talking.end().await;
    let met = are_whole(&cluster, &with).await;
    are_sound(&met);

    // The same people for as long, and the last version.
    let talking = Talking::begin(&cluster).await;
    runtime::sleep(lasted).await;
    let without = talking.end().await;
    are_whole(&cluster, &without).await;

    let (with, without) = (took(&with), took(&without));
    let at = |took: &[Duration], percent: usize| {
        took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e3
    };
    let tell = |what: &str, took: &[Duration]| {
        let (p50, p99) = (at(took, 50), at(took, 99));
        println!("{what:<16} {:>8} sends   p50 {p50:.2} ms   p99 {p99:.2} ms", took.len());
    };
    println!(
        "{swaps} swaps in {:.1} s, {refused} of them of a broken version and refused, {} versions met: 0 broken, \
         0 failed, 0 lost, 0 doubled, 0 mixed",
        lasted.as_secs_f64(),
        met.len()
    );
    tell("beside swaps", &with);
    tell("without swaps", &without);
    let growth = (at(&with, 99) / at(&without, 99) - 1.0) * 100.0;
    println!("p99 grows by {growth:.0} %");
}

fn took(talked: &[Talked]) -> Vec<Duration> {
    let mut took: Vec<Duration> =
        talked.iter().flat_map(|talked| talked.sent.iter().map(|(_, took)| *took)).collect();
    took.sort();
    took
}
