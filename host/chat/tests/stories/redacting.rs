//! What a message said is taken back: nobody is shown it any more, wherever it is read from, and what is kept of the log
//! is written without it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat::{Chain, Code, Collect, Config, KeepConfig, Redact, Request, Response, Stored, Trim};
use model::{Change, ChatToken, Cursor, MessageId, Route, encode};
use plugin::{Durability, Plan, Reply, Verdict};
use segment::LogEntry;

use crate::stage::scripted::{Scripted, chain, text};
use crate::stage::shelf::{Policy, Shelf};
use crate::stage::{Keeps, Stage, message, page, read, refused, send, sent, wait, waits};

const SECRET: &str = "the secret of alice";

/// Alice takes back one of hers, or bob tries to.
fn redact(token: ChatToken, id: MessageId, by: &str) -> Request {
    let (by, reason) = (Some(by.to_owned()), "private".to_owned());
    Request::Redact(Box::new(Redact { token, id, cursor: None, reason, by, any: false }))
}

/// Takes it back through node `at`, and gives how it is shown and what still has it.
async fn take_back(
    stage: &Stage,
    at: usize,
    token: ChatToken,
    id: MessageId,
) -> (Stored, Option<u64>) {
    match stage.ask(at, redact(token, id, "alice")).await {
        Ok(Response::Redacted { stored, archive }) => (stored, archive),
        other => panic!("{other:?}"),
    }
}

/// What node `at` shows, each message in words.
async fn shown(stage: &Stage, at: usize, token: ChatToken) -> Vec<String> {
    let page = page(stage.ask(at, read(token, None)).await);
    page.messages.iter().map(|stored| stored.message.body.to_string()).collect()
}

/// Three messages, the second of which is the secret.
async fn three(stage: &Stage) -> (ChatToken, MessageId) {
    let token = stage.chat().await;
    stage.say(token, "1", "one").await;
    let secret = stage.say(token, "2", SECRET).await.message.id;
    stage.say(token, "3", "three").await;
    (token, secret)
}

fn two_nodes() -> Stage {
    Stage::new(vec![Chain::default(), Chain::default()], Config::default())
}

#[tokio::test]
async fn it_keeps_its_place_and_says_who_took_it_back_and_why() {
    let stage = two_nodes();
    let (token, id) = three(&stage).await;
    let before = page(stage.ask(0, read(token, None)).await).messages.remove(1);
    stage.world.look().wall_ms += 5_000;
    let (now, archive) = take_back(&stage, 1, token, id).await;
    assert_eq!((now.cursor, now.message.id, archive), (before.cursor, id, None));
    let (then, now) = (before.message, now.message);
    assert_eq!((&now.sender, &now.kind, now.time_ms), (&then.sender, &then.kind, then.time_ms));
    let why = now.redaction().expect("it was taken back");
    assert_eq!((why.by.as_str(), why.reason.as_str()), ("alice", "private"));
    assert!(why.time_ms >= then.time_ms + 5_000);
    for at in [0, 1] {
        assert_eq!(shown(&stage, at, token).await, ["one", "(redacted: private)", "three"]);
    }
    let again = sent(stage.ask(1, send(token, "2", SECRET)).await);
    assert!(again.replay && again.message.redaction().is_some(), "the first answer has it no more");
    // The same again is the same answer, and nothing is written.
    let entries = stage.world.look().entries();
    stage.world.look().wall_ms += 5_000;
    let again = take_back(&stage, 0, token, id).await;
    assert_eq!(again.0.message, now);
    assert_eq!(stage.world.look().entries(), entries);
}

#[tokio::test]
async fn whoever_leads_next_shows_it_no_more() {
    let config = Config { snapshot_entries: 1, recent_bytes_max: 1, ..Config::default() };
    let stage = Stage::new(vec![Chain::default(), Chain::default()], config);
    let (token, id) = three(&stage).await;
    take_back(&stage, 0, token, id).await;
    let expected = ["one", "(redacted: private)", "three"];
    assert_eq!(shown(&stage, 0, token).await, expected, "from the log");
    // From the log alone, then with a snapshot that has it.
    stage.world.close();
    stage.world.look().snapshot = None;
    stage.world.open(1, Keeps::Committed);
    assert_eq!(shown(&stage, 1, token).await, expected);
    let end = stage.world.look().log.len() as u64;
    stage
        .until(|world| world.snapshot.as_ref().filter(|kept| kept.place.seq >= end).map(|_| ()))
        .await;
    stage.world.close();
    stage.world.open(0, Keeps::Committed);
    assert_eq!(shown(&stage, 0, token).await, expected);
    let again = sent(stage.ask(0, send(token, "2", SECRET)).await);
    assert!(again.replay && again.message.redaction().is_some());
}

#[tokio::test]
async fn who_waits_is_told_nothing_and_who_reads_on_sees_it_so() {
    let stage = two_nodes();
    let (token, id) = three(&stage).await;
    let head = page(stage.ask(0, read(token, None)).await).cursor;
    let mut waiting = stage.ask(1, wait(token, Some(head)));
    waits(&mut waiting).await;
    take_back(&stage, 0, token, id).await;
    waits(&mut waiting).await;
    stage.say(token, "4", "four").await;
    assert_eq!(page(waiting.await).messages.len(), 1);
    let first = page(stage.ask(1, read(token, None)).await).messages[0].cursor;
    let rest = page(stage.ask(1, read(token, Some(first))).await).messages;
    let words: Vec<String> = rest.iter().map(|one| one.message.body.to_string()).collect();
    assert_eq!(words, ["(redacted: private)", "three", "four"]);
}

#[tokio::test]
async fn nobody_takes_back_what_is_not_theirs_or_not_there() {
    let stage = two_nodes();
    let (token, id) = three(&stage).await;
    let entries = stage.world.look().entries();
    let ask = async |redact| refused(stage.ask(1, redact).await).code;
    assert_eq!(ask(redact(token, id, "bob")).await, Code::Forbidden);
    assert_eq!(ask(redact(token, MessageId([9; 16]), "alice")).await, Code::UnknownMessage);
    let other = ChatToken([9; 16]);
    assert_eq!(ask(redact(other, id, "alice")).await, Code::UnknownChat);
    let hidden =
        chat::Send { route: Route::Only(vec!["carol".into()]), ..message(token, "4", "x") };
    let hidden = sent(stage.ask(0, Request::Send(hidden)).await);
    assert_eq!(ask(redact(token, hidden.message.id, "bob")).await, Code::UnknownMessage);
    assert_eq!(stage.world.look().entries(), entries + 1);
    // A cursor says where it is; one of another message does not.
    let at = |cursor| {
        let (by, reason) = (Some("alice".to_owned()), String::new());
        let cursor = Some(cursor);
        Request::Redact(Box::new(Redact { token, id, cursor, reason, by, any: false }))
    };
    let places: Vec<Cursor> =
        page(stage.ask(0, read(token, None)).await).messages.iter().map(|one| one.cursor).collect();
    assert_eq!(ask(at(places[0])).await, Code::UnknownMessage);
    assert!(stage.ask(1, at(places[1])).await.is_ok());
}

#[tokio::test]
async fn handlers_read_it_no_more_nor_what_they_noted_about_it() {
    let read: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = Arc::clone(&read);
    let noting = Scripted::new("noting", move |call| {
        let noted = call.decisions.iter().flat_map(|all| all.iter());
        let noted =
            noted.flat_map(|decision| decision.notes.iter().map(|(_, value)| value.clone()));
        // Of who joins nothing is noted.
        *told.lock().unwrap() = noted.filter(|noted| !noted.is_empty()).collect();
        let notes = vec![("said".to_owned(), text(call).to_owned())];
        Ok(Reply { verdict: Verdict::Pass, notes, effects: Vec::new(), fuel: 0 })
    });
    let stage = Stage::new(vec![chain(&[&noting])], Config::default());
    let (token, id) = three(&stage).await;
    assert!(read.lock().unwrap().iter().any(|noted| noted == SECRET));
    take_back(&stage, 0, token, id).await;
    stage.say(token, "4", "four").await;
    assert_eq!(*read.lock().unwrap(), ["one", "three"]);
}

#[tokio::test]
async fn a_chat_that_is_over_takes_it_and_is_archived_without_it() {
    let plan = |_: &str, _| Ok(Plan { durability: Durability::Archive, ..Plan::default() });
    let (policy, shelf) = (Policy::new(plan), Shelf::new());
    shelf.before.forget_permits(1_000);
    let (every, pause) = (Duration::from_millis(5), Duration::from_millis(1));
    let collect = Collect { every, pause, ..Collect::default() };
    let chain = Chain::new(vec![policy]);
    let stage = Stage::new(vec![chain], Config { collect, ..Config::default() });
    let keep = KeepConfig { policy: "policy".to_owned(), pause, ..KeepConfig::default() };
    stage.chats[0].keep(keep, Arc::<Shelf>::clone(&shelf));
    let (token, id) = three(&stage).await;
    stage.ask(0, Request::End { token, sender: None }).await.unwrap();
    stage.sees(|| shelf.begun() == 1).await;
    assert_eq!(take_back(&stage, 0, token, id).await.1, None, "nothing has it yet");
    shelf.before.add_permits(1_000);
    stage.sees(|| shelf.texts(token).is_some()).await;
    let texts = shelf.texts(token).unwrap();
    assert_eq!(texts, ["one", "(redacted: private)", "three"]);
    // What is archived stays: whoever takes something back later is told where it still is.
    let is_kept = |change: &Change| matches!(change, Change::Kept { archive: Some(1) });
    let kept = |logged: &LogEntry| {
        encode::decode(&logged.payload).is_ok_and(|entry| entry.changes.iter().any(is_kept))
    };
    stage.until(|world| world.log.iter().any(kept).then_some(())).await;
    stage.rest().await;
    let later = page(stage.ask(0, read(token, None)).await).messages[0].message.id;
    assert_eq!(take_back(&stage, 0, token, later).await.1, Some(1));
    assert_eq!(shelf.texts(token).unwrap()[0], "one");
}

#[tokio::test]
async fn what_is_kept_of_a_log_is_written_without_it() {
    let config = Config {
        trim: Some(Trim { entries: 8, bytes: 1 << 20 }),
        snapshot_entries: 10,
        ..Config::default()
    };
    let stage = Stage::new(vec![Chain::default(), Chain::default()], config);
    let (token, id) = three(&stage).await;
    for number in 10..40 {
        stage.say(token, &number.to_string(), "more").await;
    }
    // It stands below where the log begins, whole.
    stage
        .until(|world| world.base.as_ref().filter(|(base, _)| base.place.seq > 10).map(|_| ()))
        .await;
    take_back(&stage, 0, token, id).await;
    let taken = stage.world.look().log.len() as u64;
    for number in 40..90 {
        stage.say(token, &number.to_string(), "more").await;
    }
    stage
        .until(|world| world.base.as_ref().filter(|(base, _)| base.place.seq >= taken).map(|_| ()))
        .await;
    let has = |bytes: &[u8]| bytes.windows(SECRET.len()).any(|some| some == SECRET.as_bytes());
    {
        let world = stage.world.look();
        assert!(!world.log.iter().any(|logged| has(&logged.payload)));
        let parts = world.base.iter().map(|(base, _)| base).chain(&world.snapshot);
        assert!(!parts.flat_map(|snapshot| &snapshot.parts).any(|part| has(part)));
    }
    stage.world.close();
    stage.world.look().snapshot = None;
    stage.world.open(1, Keeps::Committed);
    let words = shown(&stage, 1, token).await;
    assert_eq!(words[..4], ["one", "(redacted: private)", "three", "more"]);
    assert_eq!(words.len(), 83);
    let again = sent(stage.ask(1, send(token, "2", SECRET)).await);
    assert!(again.replay && again.message.redaction().is_some());
    let stays = send(token, "2", "another");
    assert_eq!(refused(stage.ask(1, stays).await).code, Code::IdempotencyConflict);
}
