//! One client of the load: what it does next, and what it writes down of it.
//!
//! It begins something at a steady pace, however long the last took, so that a cluster that stands still
//! is met by everything that would have come meanwhile; what it lags behind is bounded. A send that
//! failed is tried again under its key at the next node, as a client should, and each try is an operation
//! of the history.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use model::{ChatToken, Cursor};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use runtime::Stop;
use serde_json::json;
use tests::history::{Act, Content, Durability, Operation, Outcome, Reading, Sending, Writer};

use crate::clock::Clock;
use crate::door::{ANSWER_MAX, Answer, Ask, Door, outcome, page};

/// How far a client may lag behind its pace before it forgets what it would have done.
const LAG_MAX_US: u64 = 1_000_000;
/// How long a send is tried again; a take-over takes a few seconds, and the longest fault is over then.
const CURE_MAX_US: u64 = 30_000_000;
/// The same for one that every member must hold: while a member is away, trying on is of no use.
const CURE_ALL_MAX_US: u64 = 2_000_000;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// Messages of a page: a reader who is far behind takes several.
const PAGE: u64 = 20;

/// What all clients of a load share.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) urls: Vec<String>,
    pub(crate) chats: Vec<ChatToken>,
    pub(crate) clock: Clock,
    /// Microseconds between two beginnings of one client.
    pub(crate) pace_us: u64,
    pub(crate) stop: Stop,
}

/// One thing that was wanted, from when it should have begun to when it was known to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) kind: Kind,
    /// Whether it was done in the end.
    pub(crate) done: bool,
    /// How many tries it took.
    pub(crate) tries: u32,
    pub(crate) chat: usize,
}

/// What was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A send with so many acknowledgements.
    Send(u8),
    /// A page.
    Read,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    number: u32,
    load: Load,
    door: Door,
    /// The node that it talks to until that one fails.
    node: usize,
    rng: StdRng,
    writer: Writer,
    sent: u64,
    /// The furthest it has seen of each chat.
    tokens: BTreeMap<ChatToken, Cursor>,
    /// Up to where it has read each chat.
    read: BTreeMap<ChatToken, Cursor>,
    samples: Vec<Sample>,
    /// What it would have done, had it not lagged.
    forgotten: u64,
}

impl Client {
    pub(crate) fn new(number: u32, seed: u64, load: Load, folder: &Path) -> Self {
        let writer = Writer::create(folder, number).unwrap_or_else(|error| panic!("{error}"));
        let door = Door::new(&load.urls);
        Self {
            number,
            node: number as usize % door.nodes(),
            door,
            rng: StdRng::seed_from_u64(seed ^ u64::from(number) << 32),
            writer,
            sent: 0,
            tokens: BTreeMap::new(),
            read: BTreeMap::new(),
            samples: Vec::new(),
            forgotten: 0,
            load,
        }
    }

    /// Works until it is stopped; what it wanted, and what it forgot.
    pub(crate) async fn work(mut self) -> (Vec<Sample>, u64) {
        let clock = self.load.clock;
        let mut due = clock.us() + self.rng.random_range(0..self.load.pace_us);
        while !self.load.stop.is_stopped() {
            let now = clock.us();
            if now < due {
                tokio::select! {
                    biased;
                    () = self.load.stop.stopped() => break,
                    () = runtime::sleep_until(clock.at(due)) => {}
                }
            } else if now - due > LAG_MAX_US {
                self.forgotten += (now - due) / self.load.pace_us;
                due = now;
            }
            self.act(due).await;
            due += self.load.pace_us / 2 + self.rng.random_range(0..self.load.pace_us);
        }
        (self.samples, self.forgotten)
    }

    /// 60 % sends to a quorum, 10 % to all, 5 % to one, 25 % reads.
    async fn act(&mut self, due: u64) {
        let chat = self.rng.random_range(0..self.load.chats.len());
        match self.rng.random_range(0..100u8) {
            0..60 => self.send(due, chat, 2).await,
            60..70 => self.send(due, chat, 3).await,
            70..75 => self.send(due, chat, 1).await,
            _ => self.read(due, chat).await,
        }
    }

    async fn send(&mut self, due: u64, chat: usize, w: u8) {
        self.sent += 1;
        let key = format!("{}-{}", self.number, self.sent);
        let text = format!("{key} {}", ".".repeat(self.rng.random_range(0..200)));
        let patience = if w == 3 { CURE_ALL_MAX_US } else { CURE_MAX_US };
        let mut tries = 0;
        let done = loop {
            tries += 1;
            let outcome = self.try_send(self.load.chats[chat], &key, &text, w).await;
            match outcome {
                Outcome::Ok(_) | Outcome::Held { .. } | Outcome::Refused { .. } => break true,
                Outcome::NotCommitted { .. } | Outcome::Unknown { .. } => {}
            }
            self.node = (self.node + 1) % self.door.nodes();
            // Also after the stop: a send that was begun is finished, or it would look like one that failed.
            if self.load.clock.us() - due > patience {
                break false;
            }
            runtime::sleep(PAUSE).await;
        };
        let ended = self.load.clock.us();
        let kind = Kind::Send(w);
        self.samples.push(Sample { begun: due, ended, kind, done, tries, chat });
        if done && self.rng.random_range(0..50) == 0 {
            // The same key for something else: refused, and never seen.
            let other = format!("{text} other");
            self.try_send(self.load.chats[chat], &key, &other, w).await;
        }
    }

    async fn try_send(&mut self, chat: ChatToken, key: &str, text: &str, w: u8) -> Outcome {
        let sender = format!("p{}", self.number);
        let body = json!({"sender": sender, "text": text}).to_string();
        let path = format!("/v1/chats/{chat}/messages?w={w}");
        let headers = format!("idempotency-key: {key}\r\n");
        let ask = Ask {
            method: "POST",
            path: &path,
            headers: &headers,
            body: Some(body.as_bytes()),
            within: ANSWER_MAX,
        };
        let begun = self.load.clock.us();
        let outcome = outcome(self.door.ask(self.node, ask).await);
        if let Outcome::Ok(stored) = &outcome
            && stored.durability == Durability::Quorum
        {
            self.saw(chat, stored.cursor);
        }
        let content = Content::of(&sender, text);
        let key = key.to_owned();
        let sending = Sending { key, sender, content, w, n: None, outcome: outcome.clone() };
        self.note(begun, chat, Act::Send(sending));
        outcome
    }

    async fn read(&mut self, due: u64, chat: usize) {
        let token = self.load.chats[chat];
        let seen = self.tokens.get(&token).copied();
        let after = match self.rng.random_range(0..10u8) {
            0 => None,
            1..6 => self.read.get(&token).copied(),
            _ => seen,
        };
        let confirmed = self.rng.random_range(0..5u8) == 0;
        let wait = if self.rng.random_range(0..3u8) == 0 { 1 } else { 0 };
        let mut path = format!("/v1/chats/{token}/messages?limit={PAGE}&wait={wait}");
        if let Some(after) = after {
            path += &format!("&after={after}");
        }
        if confirmed {
            path += "&confirmed=true";
        }
        let headers = seen.map(|seen| format!("carillon-seen: {seen}\r\n")).unwrap_or_default();
        let within = ANSWER_MAX + Duration::from_secs(wait);
        let ask = Ask { method: "GET", path: &path, headers: &headers, body: None, within };
        let begun = self.load.clock.us();
        // Any node: what it saw at another is its own promise.
        let node = self.rng.random_range(0..self.door.nodes());
        let answer = self.door.ask(node, ask).await.ok();
        let page = answer.filter(|answer| answer.status == 200).map(|Answer { body, .. }| {
            page(&body).unwrap_or_else(|| panic!("a page that nobody can read: {body}"))
        });
        let done = page.is_some();
        if let Some(last) = page.as_ref().and_then(|page| page.messages.last()) {
            self.read.insert(token, last.cursor);
            self.saw(token, last.cursor);
        }
        self.note(begun, token, Act::Read(Reading { after, seen, confirmed, page }));
        if wait == 0 {
            let ended = self.load.clock.us();
            self.samples.push(Sample { begun: due, ended, kind: Kind::Read, done, tries: 1, chat });
        }
    }

    fn saw(&mut self, chat: ChatToken, cursor: Cursor) {
        let token = self.tokens.entry(chat).or_insert(cursor);
        *token = cursor.max(*token);
    }

    fn note(&mut self, begun: u64, chat: ChatToken, act: Act) {
        let ended = Some(self.load.clock.us());
        let operation = Operation { begun, ended, client: self.number, chat, act };
        let written = self.writer.write(&operation);
        written.unwrap_or_else(|error| panic!("the history cannot be written: {error}"));
    }
}
