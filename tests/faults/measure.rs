//! Figures that need a quiet cluster and one accident: how soon the others serve when a primary dies, how
//! much is done in a second, and what one slow disk costs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use model::ChatToken;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::deployment::Deployment;
use crate::door::{ANSWER_MAX, Ask, Door};
use crate::figures::Times;
use crate::report::Shown;
use crate::workload::chats;

/// How long one try of [`until_taken`] waits.
const TRY_MAX: Duration = Duration::from_millis(400);

/// How soon the others serve everything after a primary died.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct TakeOvers {
    /// For each death: from the kill until every chat of that primary took a send, in seconds.
    pub(crate) all_s: Vec<f64>,
    /// The same for the first of its chats.
    pub(crate) first_s: Vec<f64>,
    /// How many of its partitions were asked, at least.
    pub(crate) partitions: usize,
}

/// What one slow disk costs.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Slowed {
    /// Sends a second with W = 2, and how long each took.
    pub(crate) per_second: f64,
    pub(crate) plain: Times,
    /// The same while one member that leads none of these chats is gone: every commit needs both others, and
    /// that is all a slow one can cost by itself.
    pub(crate) gone_per_second: f64,
    pub(crate) gone: Times,
    /// The same while it is there and takes 200 ms longer for each sync.
    pub(crate) slow_per_second: f64,
    pub(crate) slow: Times,
}

/// A chat with its partition and who leads it.
struct Place {
    chat: ChatToken,
    partition: u64,
    primary: String,
}

/// Makes so many chats and finds where they are.
async fn places(deployment: &Deployment, count: usize) -> Vec<Place> {
    let http = deployment.nodes[0].http();
    let mut places = Vec::new();
    for chat in chats(&http, count).await {
        let owners = http.get(&format!("/v1/chats/{chat}/owners")).await.expect(200);
        let primary = owners["primary"].as_str().unwrap_or_default().to_owned();
        let partition = owners["partition"].as_u64().unwrap_or_default();
        places.push(Place { chat, partition, primary });
    }
    places
}

/// Kills each node in turn, `rounds` times in all.
pub(crate) async fn take_overs(deployment: &mut Deployment, rounds: usize) -> TakeOvers {
    let count = usize::from(deployment.partitions) * 8;
    let mut told = TakeOvers { partitions: usize::MAX, ..TakeOvers::default() };
    for round in 0..rounds {
        let victim = round % deployment.nodes.len();
        let name = deployment.nodes[victim].name.clone();
        // A partition once; eight chats to a partition leave few without any.
        let led: BTreeMap<u64, ChatToken> =
            places(deployment, if round == 0 { count } else { count / 2 })
                .await
                .into_iter()
                .filter(|place| place.primary == name)
                .map(|place| (place.partition, place.chat))
                .collect();
        told.partitions = told.partitions.min(led.len());
        let others: Vec<String> = deployment
            .nodes
            .iter()
            .filter(|node| node.name != name)
            .map(crate::node::Node::url)
            .collect();
        deployment.nodes[victim].kill();
        let killed = runtime::now();
        let mut senders = JoinSet::new();
        for (number, chat) in led.into_values().enumerate() {
            let others = others.clone();
            senders.spawn(async move {
                until_taken(&others, chat, &format!("take-over-{round}-{number}")).await;
                killed.elapsed().as_secs_f64()
            });
        }
        let mut took = senders.join_all().await;
        took.sort_unstable_by(f64::total_cmp);
        told.first_s.push(took.first().copied().unwrap_or_default());
        told.all_s.push(took.last().copied().unwrap_or_default());
        deployment.restore().await;
    }
    told
}

/// Sends one message to a chat until somebody stores it. A node that passed it on to the dead one keeps its
/// asker waiting; another try under the same key finds out sooner that somebody took over.
async fn until_taken(urls: &[String], chat: ChatToken, key: &str) {
    let mut door = Door::new(urls);
    for node in (0..door.nodes()).cycle() {
        if let Ok((200 | 201, _)) = send(&mut door, node, chat, key, TRY_MAX).await {
            return;
        }
        runtime::sleep(Duration::from_millis(50)).await;
    }
}

async fn send(
    door: &mut Door,
    node: usize,
    chat: ChatToken,
    key: &str,
    within: Duration,
) -> std::io::Result<(u16, Value)> {
    let body = json!({"sender": "meter", "text": key}).to_string();
    let path = format!("/v1/chats/{chat}/messages?w=2");
    let headers = format!("idempotency-key: {key}\r\n");
    let body = Some(body.as_bytes());
    let ask = Ask { method: "POST", path: &path, headers: &headers, body, within };
    door.ask(node, ask).await.map(|answer| (answer.status, answer.body))
}

/// Measures three processes with W = 2, then the same with one member gone, then with its syncs slowed.
pub(crate) async fn slowed(deployment: &mut Deployment, clients: usize, each: Duration) -> Slowed {
    let last = deployment.nodes.len() - 1;
    let slow = deployment.nodes[last].name.clone();
    // Led by the others, also after it was stopped and started below strace.
    deployment.nodes[last].kill();
    deployment.led().await;
    deployment.restore().await;
    let others = others(deployment, &slow).await;
    let (plain, per_second) = closed_loop(deployment, &others, clients, each).await;
    deployment.nodes[last].kill();
    deployment.led().await;
    let (gone, gone_per_second) = closed_loop(deployment, &others, clients, each).await;
    deployment.nodes[last].spawn(&[
        "strace",
        "-D",
        "-f",
        "--seccomp-bpf",
        "-qqq",
        "-o",
        "/dev/null",
        "-e",
        "trace=fdatasync",
        "-e",
        "inject=fdatasync:delay_enter=200000",
    ]);
    deployment.answer().await;
    deployment.led().await;
    let others = self::others(deployment, &slow).await;
    let (slow, slow_per_second) = closed_loop(deployment, &others, clients, each).await;
    deployment.nodes[last].kill();
    deployment.restore().await;
    Slowed { per_second, plain, gone_per_second, gone, slow_per_second, slow }
}

/// Chats that this node does not lead, with who does.
async fn others(deployment: &Deployment, not: &str) -> Vec<(ChatToken, usize)> {
    let places = places(deployment, 48).await;
    let index = |name: &str| deployment.nodes.iter().position(|node| node.name == name);
    let others = places.into_iter().filter(|place| place.primary != not);
    others.filter_map(|place| Some((place.chat, index(&place.primary)?))).collect()
}

/// Clients that send as fast as they are answered, to who leads the chat.
async fn closed_loop(
    deployment: &Deployment,
    chats: &[(ChatToken, usize)],
    clients: usize,
    within: Duration,
) -> (Times, f64) {
    let begun = runtime::now();
    let mut senders = JoinSet::new();
    for client in 0..clients {
        let (urls, chats) = (deployment.urls(), chats.to_vec());
        senders.spawn(async move {
            let mut door = Door::new(&urls);
            let mut took = Vec::new();
            for number in 0.. {
                let (chat, node) = chats[(client + number) % chats.len()];
                let began = runtime::now();
                if begun.elapsed() >= within {
                    break;
                }
                let key = format!("{}-{client}-{number}", begun.elapsed().as_micros());
                if let Ok((201, _)) = send(&mut door, node, chat, &key, ANSWER_MAX).await {
                    took.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
                }
            }
            took
        });
    }
    let took: Vec<u64> = senders.join_all().await.into_iter().flatten().collect();
    let per_second = took.len() as f64 / begun.elapsed().as_secs_f64();
    (Times::of(took), per_second)
}

impl fmt::Display for TakeOvers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |seconds: &[f64]| {
            let seconds: Vec<String> = seconds.iter().map(|s| format!("{s:.1}")).collect();
            seconds.join(", ")
        };
        write!(
            f,
            "| a primary's death until all of its partitions ({} or more) took a send, each of {} deaths (s) | {} |\n\
             | the same for the first of them (s) | {} |",
            self.partitions,
            self.all_s.len(),
            list(&self.all_s),
            list(&self.first_s)
        )
    }
}

impl fmt::Display for Slowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "| sends/s of three processes, W = 2; p50, p99, max (ms) | {:.0}; {} |\n\
             | the same without the member that leads none of the chats | {:.0}; {} |\n\
             | the same with that member slowed by 200 ms a sync | {:.0}; {} |",
            self.per_second,
            Shown(self.plain),
            self.gone_per_second,
            Shown(self.gone),
            self.slow_per_second,
            Shown(self.slow)
        )
    }
}
