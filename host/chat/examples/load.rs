//! How long a node that begins to lead a partition needs until it answers, by the number of entries in its log,
//! without a snapshot and with one; and what making the snapshot costs:
//!
//! ```text
//! cargo run --release -p chat --example load [ENTRIES …]
//! ```
//!
//! The log is a real one in a folder of its own; there is nobody else, so nothing but the loading is measured.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement ends where a step fails, and prints"
)]

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use bytes::Bytes;
use chat::{CallContext, Chain, Chats, Config, Later, Ledger, Read, Request};
use hashring::{NodeId, PartitionId, Partitions};
use model::encode;
use model::{Answer, Attrs, Body, Change, ChatToken, Entry, Message, MessageId, Remembered, Route};
use replication::core::{Outcome, PartitionView, Role};
use replication::{ForwardError, Host, RequestHead, RingView, Submission};
use runtime::{Stop, Tasks};
use segment::{Kept, LogConfig, LogEnd, LogEntry, LogOp, Notice, Reserve, Snapshot, SnapshotError};
use tokio::sync::oneshot;

const P: PartitionId = PartitionId(0);
/// Entries of one chat: its creation, then messages of two senders, each with a key.
const TURNS: u64 = 200;
/// Bytes of a message.
const TEXT_BYTES: usize = 200;
/// Entries of one submission to the log.
const WRITE: u64 = 1000;
/// Longer than any load takes.
const LONG: Duration = Duration::from_secs(600);
/// How often each load is measured; the best counts.
const RUNS: usize = 3;

fn main() {
    let sizes: Vec<u64> =
        std::env::args().skip(1).map(|text| text.parse().expect("a number")).collect();
    let sizes = if sizes.is_empty() { vec![20_000, 200_000, 1_000_000] } else { sizes };
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let executor = executor.expect("an executor");
    for entries in sizes {
        executor.block_on(measure(entries));
    }
}

async fn measure(entries: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, end) = filled(folder.path(), entries);
    let mib = |bytes: u64| f64::from(u32::try_from(bytes >> 10).expect("below 4 TiB")) / 1024.0;
    let ledger = Arc::new(Alone { log, end });
    let without = loads(&ledger).await;
    let (took, kept) = keeps(&ledger).await;
    let with = loads(&ledger).await;
    println!(
        "{entries} entries, {} chats: without a snapshot {without:.2?}, with one of {:.1} MiB {with:.2?}, {:.1} \
         times as fast; made in {took:.1?}",
        entries / TURNS,
        mib(kept.bytes),
        without.as_secs_f64() / with.as_secs_f64(),
    );
}

/// The best of a few times from taking over until the first answer.
async fn loads(ledger: &Arc<Alone>) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let tasks = Tasks::current(Stop::default());
        let ledger: Arc<dyn Ledger> = Arc::<Alone>::clone(ledger);
        let end = ledger.view(P).end;
        // Nobody keeps another one meanwhile, and whoever asks waits for as long as it takes.
        let config = Config { snapshot_entries: u64::MAX, patience: LONG, ..Config::default() };
        let chats = Chats::new(ledger, Chain::default(), config, &tasks);
        let began = runtime::now();
        chats.opened(P, 1, end);
        let read = chats.call(last_page(end / TURNS - 1), context()).await;
        best = best.min(runtime::now() - began);
        read.expect("the last chat is there");
        tasks.finish().await;
    }
    best
}

/// How long a node that follows needs for a snapshot of everything.
async fn keeps(ledger: &Arc<Alone>) -> (Duration, Kept) {
    let tasks = Tasks::current(Stop::default());
    let standing: Arc<dyn Ledger> = Arc::<Alone>::clone(ledger);
    let began = runtime::now();
    let _chats = Chats::new(standing, Chain::default(), Config::default(), &tasks);
    loop {
        if let Some(kept) = ledger.log.kept(P) {
            let took = runtime::now() - began;
            tasks.finish().await;
            return (took, kept);
        }
        runtime::sleep(Duration::from_millis(5)).await;
    }
}

fn context() -> CallContext {
    let deadline = runtime::now() + LONG;
    CallContext { deadline, request_id: String::new(), seen: None, hop: 0, caller: 0 }
}

fn last_page(chat: u64) -> Request {
    Request::Read(Read {
        token: token(chat),
        after: None,
        before: None,
        limit: 1,
        wait_ms: 0,
        reader: None,
        confirmed: false,
        pulse: None,
    })
}

fn token(chat: u64) -> ChatToken {
    let mut token = [0; 16];
    token.iter_mut().zip(chat.to_le_bytes()).for_each(|(to, from)| *to = from);
    ChatToken(token)
}

/// A log with so many entries.
fn filled(folder: &std::path::Path, entries: u64) -> (segment::Log, LogEnd) {
    let config = LogConfig {
        folder: folder.to_owned(),
        store: 1,
        partitions: 1,
        value_file_bytes_max: 1 << 30,
        reserve: Reserve::Bytes(0),
    };
    let (tell, told) = sync_channel(16);
    let notices = move |notice| {
        if let Notice::Written { ticket } = notice {
            let _closed = tell.send(ticket);
        }
    };
    let (log, _recovered) = segment::Log::open(config, notices).expect("the log opens");
    let mut end = LogEnd { epoch: 1, ..LogEnd::default() };
    let chats = (entries / TURNS).max(1);
    for ticket in 1..=entries.div_ceil(WRITE) {
        let piece: Vec<LogEntry> = (end.seq..(ticket * WRITE).min(entries))
            .map(|at| {
                let (epoch, seq) = (1, at + 1);
                let payload =
                    Bytes::from(encode::encode(&entry(at % chats, at / chats)).expect("small"));
                let chain = end.chain.next(epoch, seq, &payload);
                end = LogEnd { epoch, seq, chain };
                LogEntry { epoch, seq, chain, payload }
            })
            .collect();
        let ops = vec![
            LogOp::Append { partition: P, entries: piece },
            LogOp::Commit { partition: P, seq: end.seq },
        ];
        log.submit(ticket, ops).expect("the log takes it");
        while told.recv().expect("it is written") < ticket {}
    }
    (log, end)
}

/// A turn of a chat.
fn entry(chat: u64, turn: u64) -> Entry {
    let sender = if turn.is_multiple_of(2) { "alice" } else { "bob" }.to_owned();
    let (time_ms, key) = (1_000 * turn, format!("{chat:08x}-{turn:08x}"));
    let (changes, remembered) = if turn == 0 {
        let attrs = Attrs::new();
        (vec![Change::Create { max_duration_s: None, max_participants: None, attrs }], None)
    } else {
        let message = Message {
            id: MessageId::derive(0, token(chat), 1, turn, 0),
            sender: sender.clone(),
            kind: "text".to_owned(),
            route: Route::Everyone,
            body: Body::Text("x".repeat(TEXT_BYTES)),
            archive: None,
            attrs: Attrs::new(),
            time_ms,
            sent_ms: None,
            stamps: Vec::new(),
        };
        let join = Change::Join { id: sender.clone(), role: String::new(), attrs: Attrs::new() };
        let joins = (turn <= 2).then_some(join);
        let changes = joins.into_iter().chain([Change::Message(Arc::new(message))]).collect();
        let answer = Answer::Stored { own: 0, skew_ms: None };
        // Any hash: nobody asks again.
        (changes, Some(Remembered { sender, key, body_hash: [7; 32], answer }))
    };
    Entry { chat: token(chat), turn, time_ms, changes, remembered }
}

/// A node that is alone with its log and leads everything in it.
#[derive(Debug)]
struct Alone {
    log: segment::Log,
    end: LogEnd,
}

impl Ledger for Alone {
    fn node(&self) -> NodeId {
        "alone".parse().expect("a label")
    }

    fn partitions(&self) -> Partitions {
        Partitions::try_from(1).expect("a power of two")
    }

    fn commit(&self) -> u8 {
        1
    }

    fn copies(&self) -> u8 {
        1
    }

    fn view(&self, _partition: PartitionId) -> Arc<PartitionView> {
        Arc::new(PartitionView {
            epoch: 1,
            role: Role::Primary,
            open: true,
            primary: Some(self.node()),
            ensemble: vec![self.node()],
            leading: true,
            live: 1,
            commit: self.end.seq,
            committed: Some(self.end),
            end: self.end.seq,
            ..PartitionView::default()
        })
    }

    fn view_changed<'a>(
        &'a self,
        _partition: PartitionId,
        _seen: &'a Arc<PartitionView>,
    ) -> Later<'a, ()> {
        Box::pin(std::future::pending())
    }

    fn ring(&self) -> Arc<RingView> {
        Arc::default()
    }

    fn submit(&self, _submission: Submission) -> Option<oneshot::Receiver<Outcome>> {
        None
    }

    fn confirm(&self, _partition: PartitionId) -> Later<'_, Outcome> {
        Box::pin(std::future::ready(Outcome::Done))
    }

    fn read(
        &self,
        partition: PartitionId,
        from: u64,
        entries_max: usize,
        bytes_max: usize,
    ) -> Later<'_, Option<Vec<LogEntry>>> {
        let log = self.log.clone();
        let read = move || log.read(partition, from, entries_max, bytes_max).ok();
        Box::pin(async move { runtime::blocking(read).await.flatten() })
    }

    fn kept(&self, partition: PartitionId) -> Option<Kept> {
        self.log.kept(partition)
    }

    fn snapshot(&self, partition: PartitionId) -> Later<'_, Option<Snapshot>> {
        let log = self.log.clone();
        let read = move || log.snapshot(partition).expect("it is whole");
        Box::pin(async move { runtime::blocking(read).await.flatten() })
    }

    fn forget_snapshot(&self, partition: PartitionId) {
        self.log.forget_snapshot(partition);
    }

    fn keep_snapshot(&self, partition: PartitionId, snapshot: Snapshot) -> Later<'_, bool> {
        let log = self.log.clone();
        let write = move || -> Result<(), SnapshotError> {
            let mut draft = log.draft(partition, snapshot.place, 0)?;
            snapshot.parts.iter().try_for_each(|part| draft.put(part))?;
            draft.finish()
        };
        Box::pin(async move { runtime::blocking(write).await.is_some_and(|kept| kept.is_ok()) })
    }

    fn forward<'a>(
        &'a self,
        to: &'a NodeId,
        _head: RequestHead,
        _body: Bytes,
    ) -> Later<'a, Result<Bytes, ForwardError>> {
        let to = to.clone();
        Box::pin(std::future::ready(Err(ForwardError::NotRun { to, why: None })))
    }
}
