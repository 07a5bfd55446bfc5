//! A log that lost its beginning: what is read again is kept, what is forgotten is not, and whoever takes over
//! knows everything that there is to know.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chat::{Chain, Code, Collect, Config, Later, Others, Request, Trim};
use hashring::PartitionId;
use model::{
    ChatToken, Dialect, Entry, EventPlace, FrozenId, Lane, OutboxChange, OutboxEntry, Part, Route,
    ServiceRecord, encode,
};

use crate::stage::{Keeps, PARTITION, Stage, read, refused, send, sent};

const DAY_MS: u64 = 86_400_000;

/// Two nodes on one disk, which trim and forget; the first leads.
fn stage() -> Stage {
    let forget = Some(Duration::from_millis(DAY_MS));
    let (every, pause) = (Duration::from_millis(5), Duration::from_millis(1));
    let config = Config {
        collect: Collect { every, pause, forget, ..Collect::default() },
        trim: Some(Trim { entries: 8, bytes: 1 << 20 }),
        snapshot_entries: 10,
        ..Config::default()
    };
    Stage::new(vec![Chain::default(), Chain::default()], config)
}

/// The entries of a chat that can be read below where the log begins, once that is behind `seq`.
async fn kept(stage: &Stage, token: ChatToken, seq: u64) -> usize {
    stage
        .until(|world| {
            let (base, kept) = world.base.as_ref().filter(|(base, _)| base.place.seq >= seq)?;
            let entries = world.log.iter().filter(|it| it.seq <= base.place.seq);
            let of = entries.filter(|it| kept.contains(&it.seq));
            Some(
                of.filter(|it| encode::decode(&it.payload).is_ok_and(|it| it.chat == token))
                    .count(),
            )
        })
        .await
}

#[tokio::test]
async fn what_is_read_again_is_kept_and_what_is_forgotten_is_not() {
    let stage = stage();
    let (old, open) = (stage.chat().await, stage.chat().await);
    for number in 0..10 {
        stage.say(old, &number.to_string(), "old").await;
        stage.say(open, &number.to_string(), &format!("text {number}")).await;
    }
    let middle = stage.world.look().log.len() as u64;
    for number in 10..40 {
        stage.say(open, &number.to_string(), &format!("text {number}")).await;
    }
    assert_eq!(kept(&stage, old, middle).await, 10, "all that was said, and nothing else");
    stage.ask(0, Request::End { token: old, sender: None }).await.unwrap();
    stage.world.look().wall_ms += DAY_MS;
    let forgotten = |last: &segment::LogEntry| last.payload[0] == 3;
    let forgets =
        stage.until(|world| world.log.iter().find(|it| forgotten(it)).map(|it| it.seq)).await;
    for number in 40..90 {
        stage.say(open, &number.to_string(), &format!("text {number}")).await;
    }
    assert_eq!(kept(&stage, old, forgets).await, 0);
    // The other node takes over, with no snapshot to help.
    stage.world.close();
    stage.world.look().snapshot = None;
    stage.world.look().entries_read = 0;
    stage.world.open(1, Keeps::Committed);
    assert_eq!(refused(stage.ask(1, read(old, None)).await).code, Code::UnknownChat);
    let tail = {
        let inner = stage.world.look();
        let base = inner.base.as_ref().map_or(0, |(base, _)| base.place.seq);
        assert!(inner.entries_read <= inner.log.len(), "{}", inner.entries_read);
        inner.log.len() as u64 - base
    };
    assert!(tail < 60, "{tail} entries stay");
    let texts: Vec<String> = (0..90).map(|number| format!("text {number}")).collect();
    assert_eq!(stage.texts(1, open).await, texts);
    for number in [0, 20, 89] {
        let again = send(open, &number.to_string(), &format!("text {number}"));
        assert!(sent(stage.ask(1, again).await).replay, "{number}");
    }
    assert!(!sent(stage.ask(1, send(open, "new", "new")).await).replay);
}

/// An archive of which it is known how far it came. Its entries' bytes are all but the first.
#[derive(Debug, Default)]
struct Shelf(AtomicU64);

impl Others for Shelf {
    fn kept(&self, _partition: PartitionId) -> Later<'_, u64> {
        Box::pin(std::future::ready(self.0.load(Ordering::SeqCst)))
    }

    fn anew(&self, payload: &[u8]) -> Option<Bytes> {
        (payload.len() > 1).then(|| Bytes::copy_from_slice(&payload[..1]))
    }
}

/// The bytes of small objects stayed in the log, in its base and in backups for ever, also of those that were deleted.
#[tokio::test]
async fn bytes_of_objects_go_when_the_log_is_trimmed_and_not_before_they_are_kept_elsewhere() {
    let stage = stage();
    let shelf = Arc::new(Shelf::default());
    for chats in &stage.chats {
        chats.stand_beside(Arc::<Shelf>::clone(&shelf));
    }
    let open = stage.chat().await;
    let epoch = stage.world.look().epoch;
    let object = Bytes::from_static(b"Abytes of an object");
    let appended = stage.chats[0].append(PARTITION, epoch, object.clone(), 1);
    let (place, answer) = appended.expect("it leads");
    answer.await.expect("it is committed");
    for number in 0..60 {
        stage.say(open, &number.to_string(), "text").await;
    }
    // A snapshot was kept meanwhile, and the log could have been trimmed.
    stage.until(|world| world.snapshot.as_ref().map(|_| ())).await;
    for number in 60..90 {
        stage.say(open, &number.to_string(), "text").await;
    }
    let find = |world: &segment::LogEntry| (world.seq == place).then(|| world.payload.clone());
    {
        let inner = stage.world.look();
        assert!(inner.base.is_none(), "nobody has the bytes");
        assert_eq!(inner.log.iter().find_map(find), Some(object));
    }
    shelf.0.store(u64::MAX, Ordering::SeqCst);
    for number in 90..120 {
        stage.say(open, &number.to_string(), "text").await;
    }
    let payload = stage
        .until(|world| {
            let (base, kept) = world.base.as_ref()?;
            let below = base.place.seq >= place && kept.contains(&place);
            below.then(|| world.log.iter().find_map(find)).flatten()
        })
        .await;
    assert_eq!(payload, Bytes::from_static(b"A"), "the entry stays, and its bytes do not");
}

/// Says something of services in the log, by node `at`.
async fn tells(stage: &Stage, at: usize, change: OutboxChange) {
    let epoch = stage.world.look().epoch;
    let payload = Bytes::from(OutboxEntry { time_ms: 1, changes: vec![change] }.encode());
    let appended = stage.chats[at].append(PARTITION, epoch, payload, 1);
    let (_place, answer) = appended.expect("it leads");
    answer.await.expect("it is committed");
}

/// What the service is owed, as node `at` knows it.
fn lane(stage: &Stage, at: usize) -> Lane {
    let epoch = stage.world.look().epoch;
    let owed = stage.chats[at].owed(PARTITION, epoch, |outbox| {
        outbox.service("crm").expect("it was described").lane.clone()
    });
    owed.expect("it leads").0
}

/// The entries of a chat in which something stands that may be seen.
fn events(stage: &Stage, token: ChatToken) -> Vec<(u64, u64, Entry)> {
    let inner = stage.world.look();
    let shown = |entry: &Entry| entry.messages().any(|message| message.route != Route::Nobody);
    let decoded = inner.log.iter().filter_map(|logged| {
        let entry = encode::decode(&logged.payload).ok()?;
        (entry.chat == token && shown(&entry)).then_some((logged.epoch, logged.seq, entry))
    });
    decoded.collect()
}

/// Freezes what these entries say.
async fn freezes(stage: &Stage, at: usize, of: &[(u64, u64, Entry)]) {
    let places = of.iter().flat_map(|(epoch, seq, entry)| {
        let count = u32::try_from(entry.messages().count()).expect("few");
        (0..count).map(|index| EventPlace { seq: *seq, index, epoch: *epoch, number: 1 })
    });
    let (dialect, events) = (Dialect::Webhook, places.collect());
    let part = Part { dialect, render: 1, events, hash: [0; 32], rounds: 0 };
    let upto = (of.last().expect("there are some").1 + 1, 0);
    let (service, from) = ("crm".to_owned(), lane(stage, at).scan);
    tells(stage, at, OutboxChange::Cut { service, part, from, upto }).await;
}

/// T-S9, of chats that are forgotten. What a service that is down is owed of one stays, whether it is frozen or not,
/// through trims and a take-over; and not longer than it is owed.
#[tokio::test]
async fn what_a_service_is_owed_stays_when_its_chat_is_forgotten() {
    let stage = stage();
    let kinds = vec!["*".to_owned()];
    let (name, dialect) = ("crm".to_owned(), Dialect::Webhook);
    let record = ServiceRecord { name, revision: 0, dialect, kinds };
    let (old, open) = (stage.chat().await, stage.chat().await);
    tells(&stage, 0, OutboxChange::Service { record, from_start: false }).await;
    for number in 0..6 {
        stage.say(old, &number.to_string(), "old").await;
    }
    let first = events(&stage, old);
    freezes(&stage, 0, &first[..3]).await;
    stage.ask(0, Request::End { token: old, sender: None }).await.unwrap();
    stage.world.look().wall_ms += DAY_MS;
    let forgotten = |last: &segment::LogEntry| last.payload[0] == 3;
    let forgets =
        stage.until(|world| world.log.iter().find(|it| forgotten(it)).map(|it| it.seq)).await;
    for number in 0..60 {
        stage.say(open, &number.to_string(), "open").await;
    }
    let owed = events(&stage, old);
    assert_eq!(kept(&stage, old, forgets).await, owed.len(), "frozen or not");
    let before = lane(&stage, 0);
    stage.world.close();
    stage.world.look().snapshot = None;
    stage.world.open(1, Keeps::Committed);
    assert_eq!(refused(stage.ask(1, read(old, None)).await).code, Code::UnknownChat);
    assert_eq!(lane(&stage, 1), before, "the next leader owes the same");
    // It is there again: everything is frozen, and taken.
    let rest = events(&stage, old).split_off(3);
    let all = [rest, events(&stage, open)].concat();
    freezes(&stage, 1, &in_order(all)).await;
    let frozen: Vec<FrozenId> = lane(&stage, 1).unfinished.iter().map(|it| it.id).collect();
    for id in frozen {
        let (service, status) = ("crm".to_owned(), Some(200));
        let (again, parked) = (Vec::new(), Vec::new());
        tells(&stage, 1, OutboxChange::Settle { service, id, again, parked, status }).await;
    }
    assert_eq!(lane(&stage, 1).pending(), 0);
    let settled = stage.world.look().log.len() as u64;
    for number in 60..120 {
        stage.say(open, &number.to_string(), "open").await;
    }
    assert_eq!(kept(&stage, old, settled).await, 0);
}

fn in_order(mut entries: Vec<(u64, u64, Entry)>) -> Vec<(u64, u64, Entry)> {
    entries.sort_by_key(|(_, seq, _)| *seq);
    entries
}
