//! What waits for a service that is away is given up when it is too old, and what is newer is not.

use std::sync::Mutex;

use bytes::Bytes;
use hashring::{NodeId, Partitions};
use model::{
    Attrs, Body, Change, ChatToken, Dialect, Entry, Message, MessageId, Outbox, OutboxEntry, Route,
    is_outbox,
};
use replication::core::Outcome as Committed;
use runtime::{SimulatedClock, Stop, Tasks};
use segment::{Chain, LogEntry};
use tokio::sync::oneshot;
use transaction::{Attempt, BatchLimits, Names, Outcome, Rendered, Retry, Target};

use super::*;
use crate::{Call, Courier, Desk, Later, Order, Reply, ServiceConfig, Services};

const HOUR: Duration = Duration::from_secs(3600);

/// The log of one partition, which this node leads.
#[derive(Debug, Default)]
struct Alone {
    log: Mutex<(Vec<Bytes>, Outbox)>,
}

impl Alone {
    fn put(&self, payload: Bytes) -> u64 {
        let mut log = self.log.lock().unwrap();
        log.0.push(payload.clone());
        let seq = log.0.len() as u64;
        if is_outbox(&payload) {
            log.1.apply(1, seq, &OutboxEntry::decode(&payload).unwrap());
        } else if let Ok(entry) = encode::decode(&payload) {
            log.1.hear(seq, &entry);
        }
        seq
    }

    /// Says something that was said at `time_ms`.
    fn say(&self, time_ms: u64) {
        let chat = ChatToken([1; 16]);
        let message = Message {
            id: MessageId([1; 16]),
            sender: "alice".to_owned(),
            kind: "text".to_owned(),
            route: Route::Everyone,
            body: Body::Text("hello".to_owned()),
            archive: None,
            attrs: Attrs::new(),
            time_ms,
            sent_ms: None,
            stamps: Vec::new(),
        };
        let changes = vec![Change::Message(Arc::new(message))];
        let entry = Entry { chat, turn: 1, time_ms, changes, remembered: None };
        self.put(Bytes::from(encode::encode(&entry).unwrap()));
    }

    /// Events given up, and those that wait.
    fn counts(&self) -> (u64, u64) {
        let log = self.log.lock().unwrap();
        let lane = log.1.service("crm").map(|booked| booked.lane.clone()).unwrap_or_default();
        assert_eq!(lane.concerned, lane.done + lane.parked + lane.abandoned + lane.pending());
        (lane.abandoned, lane.pending())
    }
}

impl Desk for Alone {
    fn node(&self) -> NodeId {
        "n1".parse().unwrap()
    }
    fn others(&self) -> Vec<NodeId> {
        Vec::new()
    }
    fn ask<'a>(&'a self, _node: &'a NodeId, _question: Bytes) -> Later<'a, Option<Bytes>> {
        Box::pin(async { None })
    }
    fn partitions(&self) -> Partitions {
        Partitions::try_from(1).unwrap()
    }
    fn cluster(&self) -> u32 {
        7
    }
    fn leads(&self, _partition: PartitionId) -> Option<u64> {
        Some(1)
    }
    fn owed(
        &self,
        _partition: PartitionId,
        _epoch: u64,
        look: &mut dyn FnMut(&Outbox),
    ) -> Option<u64> {
        let log = self.log.lock().unwrap();
        look(&log.1);
        Some(log.0.len() as u64)
    }
    fn number(
        &self,
        _partition: PartitionId,
        _epoch: u64,
        _chat: ChatToken,
        seq: u64,
        _index: u32,
    ) -> u64 {
        seq
    }
    fn calls(
        &self,
        _partition: PartitionId,
        _epoch: u64,
        _wanted: &dyn Fn(&model::Outcall) -> bool,
    ) -> Vec<Call> {
        Vec::new()
    }
    fn reply(&self, _reply: Reply) -> Later<'_, bool> {
        Box::pin(async { true })
    }
    fn append(
        &self,
        _partition: PartitionId,
        _epoch: u64,
        payload: Bytes,
    ) -> Option<oneshot::Receiver<Committed>> {
        let (told, heard) = oneshot::channel();
        let seq = self.put(payload);
        told.send(Committed::Quorum { seq }).unwrap();
        Some(heard)
    }
    fn give_up(&self, _partition: PartitionId, _epoch: u64) {}
    fn read(
        &self,
        _partition: PartitionId,
        from: u64,
        entries_max: usize,
        _bytes_max: usize,
    ) -> Later<'_, Option<Vec<LogEntry>>> {
        let log = self.log.lock().unwrap();
        let entries = (1..).zip(&log.0).filter(|(seq, _)| *seq >= from).take(entries_max);
        let entry = |(seq, payload): (u64, &Bytes)| LogEntry {
            epoch: 1,
            seq,
            chain: Chain::default(),
            payload: payload.clone(),
        };
        let page = entries.map(entry).collect();
        Box::pin(async move { Some(page) })
    }
}

/// Nobody is ever there.
#[derive(Debug)]
struct Nowhere;

impl Courier for Nowhere {
    fn attempt<'a>(&'a self, _target: &'a Target, _request: &'a Rendered) -> Later<'a, Attempt> {
        Box::pin(async {
            Attempt {
                outcome: Outcome::Retry { connected: false },
                status: None,
                ms: 1,
                head: Bytes::new(),
                body: Bytes::new(),
                failed: Vec::new(),
                retry_after: None,
                error: None,
            }
        })
    }
}

fn config() -> ServiceConfig {
    ServiceConfig {
        name: "crm".to_owned(),
        url: "http://crm".to_owned(),
        dialect: Dialect::Matrix,
        secret_file: None,
        secrets: std::collections::BTreeMap::new(),
        outcall_give_up: HOUR,
        kinds: vec!["*".to_owned()],
        allow_private: Vec::new(),
        batch: BatchLimits { events: 2, ..BatchLimits::default() },
        order: Order::Chat,
        parallel: 1,
        retry: Retry { give_up: HOUR / 2, ..Retry::default() },
        keep: Keep { age: 2 * HOUR, bytes: 1 << 30 },
        from_start: false,
    }
}

/// Lets time pass, a second after the other, and everybody act.
async fn passes(clock: &SimulatedClock, passed: &mut Duration, time: Duration) {
    let end = *passed + time;
    while *passed < end {
        *passed += Duration::from_secs(10);
        clock.set(*passed);
        for _turn in 0..64 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_waits_for_longer_than_is_kept_is_given_up_and_what_is_newer_stays() {
    let clock = SimulatedClock::new();
    let _entered = clock.enter();
    let (desk, mut passed) = (Arc::new(Alone::default()), Duration::ZERO);
    let tasks = Tasks::current(Stop::default());
    let names = Names { cluster: "c".to_owned() };
    let services =
        Services::start(Arc::clone(&desk) as _, Arc::new(Nowhere), vec![config()], &names, &tasks);
    passes(&clock, &mut passed, Duration::from_secs(60)).await;
    // Long ago, and in the hour to come: the clock of the wall is not moved.
    let now_ms = runtime::wall_ms();
    (0..5).for_each(|_| desk.say(now_ms - 86_400_000));
    services.ring(PartitionId(0));
    passes(&clock, &mut passed, HOUR).await;
    (0..3).for_each(|_| desk.say(now_ms + 86_400_000));
    services.ring(PartitionId(0));
    passes(&clock, &mut passed, HOUR / 2).await;
    assert_eq!(desk.counts(), (0, 8), "they wait, and the service is stopped");
    passes(&clock, &mut passed, 2 * HOUR).await;
    assert_eq!(desk.counts(), (4, 4), "those of the old ones that are not with a newer one");
    let view = services.list().into_iter().next().unwrap();
    assert_eq!((view.abandoned, view.pending), (4, 4));
    let letters = services.dead_letters("crm").await.unwrap();
    assert_eq!(letters.0.iter().map(|letter| letter.abandoned).collect::<Vec<_>>(), [4]);
    tasks.finish().await;
}
