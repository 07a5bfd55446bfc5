//! Whether a snapshot and the tail make what the whole log makes, and what becomes of other bytes.

use std::sync::Arc;

use bytes::Bytes;
use model::encode;
use model::{
    Answer, Attrs, Body, Change, ChatToken, Dialect, Entry, EventPlace, KEYS_MAX, Lineup, Message,
    MessageId, Outbox, OutboxChange, OutboxEntry, Part, Plan, Reference, Remembered, Route,
    ServiceRecord,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use segment::{LogEnd, LogEntry};

use super::{Fold, Folds, PART_BYTES, Unused, VERSION, close, decode, parts};
use crate::Sabotage;

/// A service is described to the partition.
fn describe(kinds: &str) -> OutboxEntry {
    let (name, kinds) = ("crm".to_owned(), vec![kinds.to_owned()]);
    let record = ServiceRecord { name, revision: 1, dialect: Dialect::Webhook, kinds };
    let changes = vec![OutboxChange::Service { record, from_start: true }];
    OutboxEntry { time_ms: 5, changes }
}

/// A service that is owed something, and did not take something.
fn owed() -> Outbox {
    let mut outbox = Outbox::default();
    outbox.apply(1, 20, &describe("*"));
    let part = |seq| Part {
        dialect: Dialect::Matrix,
        render: 1,
        events: vec![EventPlace { seq, index: 1, epoch: 1, number: 7 }],
        hash: [2; 32],
        rounds: 3,
    };
    let service = "crm".to_owned();
    let cut = |seq: u64| OutboxChange::Cut {
        service: service.clone(),
        part: part(seq),
        from: (if seq == 9 { 0 } else { 10 }, 0),
        upto: (seq + 1, 0),
    };
    let changes = vec![cut(9), cut(11)];
    outbox.apply(1, 21, &OutboxEntry { time_ms: 6, changes });
    let (id, parked) = (outbox.service("crm").unwrap().lane.unfinished[0].id, part(9).events);
    let settle = OutboxChange::Settle { service, id, again: Vec::new(), parked, status: Some(400) };
    outbox.apply(1, 22, &OutboxEntry { time_ms: 7, changes: vec![settle] });
    outbox
}

/// A log that grows by entries drawn at random.
struct Log {
    random: SmallRng,
    end: LogEnd,
    turns: [u64; 4],
    time_ms: u64,
}

impl Log {
    fn new(seed: u64) -> Self {
        let random = SmallRng::seed_from_u64(seed);
        Self { random, end: LogEnd::default(), turns: [0; 4], time_ms: 1 }
    }

    fn logged(&mut self, payload: Vec<u8>) -> LogEntry {
        let payload = Bytes::from(payload);
        let (epoch, seq) = (self.end.epoch, self.end.seq + 1);
        let chain = self.end.chain.next(epoch, seq, &payload);
        self.end = LogEnd { epoch, seq, chain };
        LogEntry { epoch, seq, chain, payload }
    }

    fn next(&mut self) -> LogEntry {
        if self.end.seq == 0 || self.random.random_bool(0.02) {
            self.end.epoch += self.random.random_range(1..3);
            return self.logged(vec![0, 9]);
        }
        if self.random.random_bool(0.05) {
            let kinds = if self.random.random() { "*" } else { "text" };
            return self.logged(describe(kinds).encode());
        }
        let chat = self.random.random_range(0..self.turns.len());
        let turn = self.turns[chat];
        self.turns[chat] += 1;
        self.time_ms += self.random.random_range(0..50);
        let changes = match turn {
            0 => vec![Change::Create {
                max_duration_s: Some(60).filter(|_| self.random.random()),
                max_participants: None,
                attrs: Attrs::from([("a".to_owned(), "b".to_owned())]),
            }],
            _ => (0..self.random.random_range(0..4)).map(|_| self.change()).collect(),
        };
        let remembered = self.random.random_bool(0.6).then(|| Remembered {
            sender: self.name(),
            key: self.random.random_range(0..200).to_string(),
            body_hash: [self.random.random(); 32],
            answer: match self.random.random_range(0..4) {
                0 => Answer::Twiml { text: "<Response/>".to_owned() },
                _ => Answer::Stored { own: 0, skew_ms: None },
            },
        });
        let token = ChatToken([u8::try_from(chat).unwrap(); 16]);
        let entry = Entry { chat: token, turn, time_ms: self.time_ms, changes, remembered };
        self.logged(encode::encode(&entry).unwrap())
    }

    fn name(&mut self) -> String {
        ["alice", "bob", "carol"][self.random.random_range(0..3)].to_owned()
    }

    fn change(&mut self) -> Change {
        let (id, name, value) = (self.name(), self.name(), self.name());
        match self.random.random_range(0..44) {
            0..18 => Change::Message(Arc::new(message(id))),
            18..20 => Change::Message(Arc::new(showing(id, self.random.random_range(1..5)))),
            40..42 => Change::Detach { key: value, version: self.random.random_range(1..5) },
            42 => Change::Detached { version: self.random.random_range(1..5) },
            20..25 => Change::Join { id, role: name, attrs: Attrs::new() },
            25..28 => Change::Leave { id },
            28 => {
                let status = if self.random.random() { "unavailable" } else { "connected" };
                Change::MemberStatus { id, status: status.to_owned() }
            }
            29..32 => Change::MemberAttr { id, name, value },
            32 => Change::ChatAttr { name, value },
            33 => Change::Start,
            34 => Change::End { reason: value },
            35 => Change::Lineup(Arc::new(Lineup {
                generation: self.random.random_range(1..9),
                handlers: Vec::new(),
            })),
            37 => {
                let moment = ["committed", "idle"][self.random.random_range(0..2)].to_owned();
                Change::Standing(Arc::new(Plan { moment, keep_ms: Some(5), ..Plan::default() }))
            }
            36 => {
                let number = self.random.random_range(1..20);
                let by = name;
                Change::Redact { id: MessageId([7; 16]), number, reason: value, by }
            }
            _ => {
                let value = Some(vec![1, 2, 3]).filter(|_| self.random.random());
                Change::Note { plugin: id, key: name, value }
            }
        }
    }
}

fn message(sender: String) -> Message {
    Message {
        id: MessageId([7; 16]),
        sender,
        kind: "text".to_owned(),
        route: Route::Everyone,
        body: Body::Text("hello".to_owned()),
        archive: None,
        attrs: Attrs::new(),
        time_ms: 0,
        sent_ms: None,
        stamps: Vec::new(),
    }
}

/// A message with an attachment.
fn showing(sender: String, version: u64) -> Message {
    let (collection, key) = ("attachments".to_owned(), "t/bell.jpg".to_owned());
    let archive = Some(Arc::new(Reference { collection, key, version }));
    Message { archive, ..message(sender) }
}

fn fold(folds: &mut Folds, log: &[LogEntry]) {
    for logged in log {
        folds.apply(logged, Sabotage::default()).unwrap();
    }
}

fn again(parts: &[Bytes], place: LogEnd) -> Result<Folds, Unused> {
    let mut folds = Folds { place, ..Folds::default() };
    let mut open: Option<Fold> = None;
    parts.iter().try_for_each(|part| decode(part, &mut folds, &mut open))?;
    close(&mut folds, open)?;
    Ok(folds)
}

/// Wherever a snapshot is taken: with the tail it makes what the whole log makes.
#[test]
fn a_snapshot_and_the_tail_make_what_the_whole_log_makes() {
    for seed in 0..200 {
        let mut log = Log::new(seed);
        let entries: Vec<LogEntry> = (0..120).map(|_| log.next()).collect();
        let mut whole = Folds::default();
        fold(&mut whole, &entries);
        let mut random = SmallRng::seed_from_u64(seed);
        let (head, tail) = entries.split_at(random.random_range(0..=entries.len()));
        let mut before = Folds::default();
        fold(&mut before, head);
        let parts: Vec<Bytes> = parts(&before).collect();
        let mut after = again(&parts, before.place).unwrap();
        assert_eq!(after, before, "seed {seed}");
        fold(&mut after, tail);
        assert_eq!(after, whole, "seed {seed}");
    }
}

/// A chat with more keys and messages than are kept or than a part has room for.
#[test]
fn a_large_chat_is_in_many_parts_and_remembers_the_last_keys() {
    let mut fold = Fold::new(ChatToken([1; 16]));
    let count = u64::try_from(3 * KEYS_MAX).unwrap();
    for turn in 0..count {
        let remembered = Remembered {
            sender: "alice".to_owned(),
            key: turn.to_string(),
            body_hash: [1; 32],
            answer: Answer::Stored { own: 0, skew_ms: None },
        };
        let changes = vec![Change::Message(Arc::new(message("alice".to_owned())))];
        let entry = Entry {
            chat: fold.chat.token,
            turn,
            time_ms: turn,
            changes,
            remembered: Some(remembered),
        };
        fold.apply(1 + turn / 1000, 2 * turn + 5, &entry);
    }
    let place = LogEnd { epoch: 40, seq: 2 * count + 5, ..LogEnd::default() };
    let chats = [(fold.chat.token, fold)].into();
    let folds = Folds { chats, place, ..Folds::default() };
    let parts: Vec<Bytes> = parts(&folds).collect();
    assert!(parts.len() > 1 && parts.iter().all(|part| part.len() < 2 * PART_BYTES));
    assert_eq!(again(&parts, place).unwrap(), folds);
    for without in 0..parts.len() {
        let some: Vec<Bytes> =
            (0..parts.len()).filter(|at| *at != without).map(|at| parts[at].clone()).collect();
        let lacks = again(&some, place);
        assert!(lacks.as_ref().map_or(true, |made| *made != folds), "without part {without}");
    }
}

/// A chat that has everything that version 4 has, after some turns.
fn chat() -> Fold {
    let mut fold = Fold::new(ChatToken([1; 16]));
    let names = || ("bob".to_owned(), "seen".to_owned(), "yes".to_owned());
    let (id, name, value) = names();
    let attrs = Attrs::from([("tenant".to_owned(), "blue".to_owned())]);
    let turns = [
        vec![Change::Create {
            max_duration_s: Some(60),
            max_participants: Some(5),
            attrs: attrs.clone(),
        }],
        vec![Change::Join { id, role: "guest".to_owned(), attrs }, Change::Start],
        vec![Change::MemberAttr { id: names().0, name, value }],
        vec![Change::Message(Arc::new(message(names().0))); 2],
        vec![Change::Note { plugin: names().0, key: names().1, value: Some(vec![1, 2]) }],
        vec![
            Change::Lineup(Arc::new(Lineup { generation: 3, handlers: Vec::new() })),
            Change::End { reason: String::new() },
        ],
    ];
    for (turn, changes) in (0..).zip(turns) {
        let remembered = (turn == 3).then(|| Remembered {
            sender: "bob".to_owned(),
            key: "k".to_owned(),
            body_hash: [3; 32],
            answer: Answer::Stored { own: 0, skew_ms: None },
        });
        let entry = Entry { chat: fold.chat.token, turn, time_ms: 100 * turn, changes, remembered };
        fold.apply(2, 7 + 200 * turn, &entry);
    }
    fold
}

/// The bytes of real ones. When this breaks, `VERSION` must be raised: those on disks would be read as
/// something else.
#[test]
fn a_snapshot_has_the_bytes_it_always_had() {
    let of = |fold: Fold| {
        let chats = [(fold.chat.token, fold)].into();
        let (others, shelf) = (vec![70, 100], vec![9, 11]);
        let folds = Folds { chats, others, shelf, outbox: owed(), ..Folds::default() };
        let bytes: Vec<Bytes> = parts(&folds).collect();
        assert_eq!(again(&bytes, folds.place).unwrap(), folds);
        bytes.iter().flatten().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(of(chat()), include_str!("../tests/golden/snapshot.v4.hex").trim());
    let mut fold = chat();
    let told = Remembered {
        sender: "system".to_owned(),
        key: "twilio 00".to_owned(),
        body_hash: [4; 32],
        answer: Answer::Twiml { text: "<Response/>".to_owned() },
    };
    let id = MessageId([7; 16]);
    let redact =
        Change::Redact { id, number: 2, reason: "private".to_owned(), by: "bob".to_owned() };
    let status = Change::MemberStatus { id: "bob".to_owned(), status: "unavailable".to_owned() };
    let plan = Plan { moment: "idle".to_owned(), keep_ms: Some(9), ..Plan::default() };
    let standing = Change::Standing(Arc::new(plan));
    for (turn, (changes, remembered)) in
        (6..).zip([(vec![redact, standing], None), (vec![status], None), (vec![], Some(told))])
    {
        let entry = Entry { chat: fold.chat.token, turn, time_ms: 100 * turn, changes, remembered };
        fold.apply(2, 7 + 200 * turn, &entry);
    }
    assert_eq!(of(fold.clone()), include_str!("../tests/golden/snapshot.v5.hex").trim());
    let held = || Change::Hold {
        message: Arc::new(showing("eve".to_owned(), 9)),
        key: "k9".to_owned(),
        holds: Vec::new(),
    };
    let bob = || Change::Message(Arc::new(showing("bob".to_owned(), 7)));
    let going = Change::Detach { key: "t/tower.jpg".to_owned(), version: 8 };
    for (turn, changes) in (9..).zip([vec![held(), bob()], vec![bob(), going]]) {
        let entry =
            Entry { chat: fold.chat.token, turn, time_ms: 100 * turn, changes, remembered: None };
        fold.apply(2, 7 + 200 * turn, &entry);
    }
    assert_eq!(of(fold), include_str!("../tests/golden/snapshot.v6.hex").trim());
    // One that is kept back is reason enough.
    let mut fold = chat();
    Arc::make_mut(&mut fold.chat).change(&held(), 1);
    let folds = Folds { chats: [(fold.chat.token, fold)].into(), ..Folds::default() };
    assert_eq!(parts(&folds).next().unwrap()[0], VERSION);
}

#[test]
fn bytes_that_cannot_be_are_refused() {
    let mut log = Log::new(7);
    let mut folds = Folds::default();
    let entries: Vec<LogEntry> = (0..40).map(|_| log.next()).collect();
    fold(&mut folds, &entries);
    let whole = parts(&folds).next().unwrap();
    let refused = |bytes: &[u8]| again(&[Bytes::copy_from_slice(bytes)], folds.place);
    let newer = [&[VERSION + 1], &whole[1..]].concat();
    assert_eq!(refused(&newer), Err(Unused::Version(VERSION + 1)));
    assert!(matches!(refused(&[]), Err(Unused::Strange(_))));
    for length in 1..whole.len() {
        let cut = refused(&whole[..length]);
        assert!(cut.is_err() || cut.is_ok_and(|made| made != folds), "{length} bytes");
    }
    // A chat in between is gone; places without a chat before them.
    assert!(matches!(refused(&[VERSION, 1, 3, 0]), Err(Unused::Strange("something of no chat"))));
    // A length that is not there sets nothing aside.
    assert!(matches!(
        refused(&[VERSION, 2, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        Err(Unused::Strange(_))
    ));
    assert!(matches!(again(&[whole.clone(), whole], folds.place), Err(Unused::Strange(_))));
}
