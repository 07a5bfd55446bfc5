//! Clients that send as fast as they are answered, and readers who wait for what some of them say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::{Bearer, Page, Target};
use runtime::{Instant, Stop};
use tokio::task::JoinSet;

use super::delivery::{Deliveries, End};
use super::door::{Ask, Door, text_after};
use super::latency::Latencies;

/// Participants of one chat: the clients share a few names, as a chat has a few people.
const PEOPLE: usize = 4;
/// Chats with a reader: enough to see the delay, few enough not to be the load.
const READ_CHATS: usize = 4;
/// Before a client tries again after a refusal or a broken connection: a node that is away must not turn
/// the load generator into a loop.
const PAUSE: Duration = Duration::from_millis(20);

/// A chat, and the node that leads it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) token: String,
    /// Index of the node; `None`: any of them.
    pub(super) leader: Option<usize>,
}

/// What the clients do.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) targets: Vec<Target>,
    pub(super) bearer: Option<Bearer>,
    pub(super) places: Vec<Place>,
    pub(super) clients: usize,
    pub(super) body_bytes: usize,
    pub(super) acks: Option<u8>,
    /// Makes the keys of this load differ from those of any other.
    pub(super) run: String,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) sent: Latencies,
    pub(super) delivered: Latencies,
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) elapsed: Duration,
}

/// What can be seen while it runs.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) sends: AtomicU64,
    pub(super) errors: AtomicU64,
}

/// What the clients of one load share.
struct Shared {
    load: Load,
    /// What is sent before this does not count: connections open, caches fill.
    begin: Instant,
    end: Instant,
    deliveries: Deliveries,
    progress: Arc<Progress>,
}

impl Load {
    /// Sends for `warm_up`, which is not counted, then for `measured`.
    pub(super) async fn run(
        self,
        warm_up: Duration,
        measured: Duration,
        progress: Arc<Progress>,
    ) -> Tally {
        let begin = runtime::now() + warm_up;
        let shared = Arc::new(Shared {
            load: self,
            begin,
            end: begin + measured,
            deliveries: Deliveries::default(),
            progress,
        });
        let stop = Stop::default();
        let mut readers = JoinSet::new();
        for place in shared.load.places.iter().take(READ_CHATS) {
            let (shared, stop, place) = (Arc::clone(&shared), stop.clone(), place.clone());
            readers.spawn(async move {
                tokio::select! {
                    biased;
                    () = stop.stopped() => {}
                    () = shared.read(&place) => {}
                }
            });
        }
        let mut clients = JoinSet::new();
        for client in 0..shared.load.clients {
            let shared = Arc::clone(&shared);
            clients.spawn(async move { shared.send(client).await });
        }
        let mut tally = Tally { elapsed: measured, ..Tally::default() };
        while let Some(client) = clients.join_next().await {
            let Ok((sent, errors)) = client else { continue };
            tally.sent.merge(&sent);
            for (code, count) in errors {
                *tally.errors.entry(code).or_default() += count;
            }
        }
        stop.stop();
        readers.join_all().await;
        tally.delivered = shared.deliveries.took();
        tally
    }
}

impl Shared {
    /// One client, until the end.
    async fn send(&self, client: usize) -> (Latencies, BTreeMap<String, u64>) {
        let load = &self.load;
        let mut door = Door::new(&load.targets, load.bearer.as_ref());
        let (mut sent, mut errors) = (Latencies::default(), BTreeMap::new());
        let text = "x".repeat(load.body_bytes);
        let person = client % PEOPLE;
        // With a token everybody is its subject.
        let body = match load.bearer {
            None => format!("{{\"sender\":\"person-{person}\",\"text\":\"{text}\"}}"),
            Some(_) => format!("{{\"text\":\"{text}\"}}"),
        };
        let acks = load.acks.map(|acks| format!("?w={acks}")).unwrap_or_default();
        for number in 0u64.. {
            let pick = usize::try_from(rand::random::<u32>()).unwrap_or_default();
            let chat = pick % load.places.len().max(1);
            let Some(place) = load.places.get(chat) else { break };
            let target = place.leader.unwrap_or_else(|| pick / 64 % door.targets());
            let path = format!("/v1/chats/{}/messages{acks}", place.token);
            let headers = format!("idempotency-key: {}-{client}-{number}\r\n", load.run);
            let ask =
                Ask { method: "POST", path: &path, headers: &headers, body: Some(body.as_bytes()) };
            let began = runtime::now();
            if began >= self.end {
                break;
            }
            let answer = door.ask(target, ask).await;
            let now = runtime::now();
            let counts = began >= self.begin;
            let code = match answer {
                Ok((201, body)) => {
                    if counts {
                        sent.add(now - began);
                        self.progress.sends.fetch_add(1, Ordering::Relaxed);
                        if chat < READ_CHATS
                            && let Some(id) = text_after(body, r#""id":""#)
                        {
                            self.deliveries.reached(id, End::Acknowledged, now);
                        }
                    }
                    continue;
                }
                Ok((status, body)) => text_after(body, r#""code":""#)
                    .map_or_else(|| status.to_string(), str::to_owned),
                Err(error) => format!("connection: {}", error.kind()),
            };
            if counts {
                *errors.entry(code).or_default() += 1;
                self.progress.errors.fetch_add(1, Ordering::Relaxed);
            }
            runtime::sleep(PAUSE).await;
        }
        (sent, errors)
    }

    /// One reader who waits, for ever.
    async fn read(&self, place: &Place) {
        let mut door = Door::new(&self.load.targets, self.load.bearer.as_ref());
        let target = place.leader.unwrap_or_default();
        let mut after = String::new();
        loop {
            let path = format!("/v1/chats/{}/messages?limit=1000&wait=20{after}", place.token);
            let Ok(page) = door.json::<Page>(target, Ask::get(&path), 200).await else {
                runtime::sleep(PAUSE).await;
                continue;
            };
            let now = runtime::now();
            if now >= self.begin {
                for message in &page.messages {
                    self.deliveries.reached(&message.id.to_string(), End::Read, now);
                }
            }
            after = format!("&after={}", page.cursor);
        }
    }
}
