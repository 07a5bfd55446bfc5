//! What a message refers to: it is there when the message is sent, stays with it whatever handlers do, and goes with the last
//! message that names it, or with the chat.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chat::{
    Chain, Code, Collect, Config, KeepConfig, Naming, Redact, Refusal, Request, Response, Send,
    Sent,
};
use model::{Body, Change, ChatToken, MessageId, Reference, encode};
use plugin::{Durability, Effect, Plan, Verdict};

use crate::stage::scripted::{Scripted, chain, pass, reject, text, verdict, with};
use crate::stage::shelf::{Policy, Shelf};
use crate::stage::{Keeps, Stage, message, page, read, refused, send, sent};

const PAUSE: Duration = Duration::from_millis(1);

fn keep() -> KeepConfig {
    KeepConfig { pause: PAUSE, ..KeepConfig::default() }
}

fn swept() -> Config {
    let collect = Collect { every: Duration::from_millis(5), pause: PAUSE, ..Collect::default() };
    Config { collect, snapshot_entries: 1, ..Config::default() }
}

/// Nodes that have one archive.
fn nodes(chains: Vec<Chain>, config: Config) -> (Stage, Arc<Shelf>) {
    let (stage, shelf) = (Stage::new(chains, config), Shelf::new());
    for chats in &stage.chats {
        chats.keep(keep(), Arc::<Shelf>::clone(&shelf));
    }
    (stage, shelf)
}

fn two_nodes() -> (Stage, Arc<Shelf>) {
    nodes(vec![Chain::default(), Chain::default()], swept())
}

fn key_of(token: ChatToken, name: &str) -> String {
    format!("{token}/{name}")
}

fn naming(collection: &str, key: &str, version: Option<u64>) -> Option<Box<Naming>> {
    Some(Box::new(Naming { collection: collection.into(), key: key.into(), version }))
}

/// A message with an attachment of its chat.
fn showing(token: ChatToken, key: &str, name: &str, version: Option<u64>) -> Request {
    let archive = naming("attachments", &key_of(token, name), version);
    Request::Send(Send { archive, ..message(token, key, "look") })
}

async fn show(stage: &Stage, token: ChatToken, key: &str, name: &str) -> Sent {
    sent(stage.ask(0, showing(token, key, name, None)).await)
}

/// The versions that the messages of a chat name, as node `at` shows them.
async fn named(stage: &Stage, at: usize, token: ChatToken) -> Vec<Option<u64>> {
    let page = page(stage.ask(at, read(token, None)).await);
    let version = |archive: &Arc<Reference>| archive.version;
    page.messages.iter().map(|one| one.message.archive.as_ref().map(version)).collect()
}

async fn take_back(stage: &Stage, at: usize, token: ChatToken, id: MessageId) {
    let (by, reason) = (Some("alice".to_owned()), "private".to_owned());
    let redact = Redact { token, id, cursor: None, reason, by, any: false };
    match stage.ask(at, Request::Redact(Box::new(redact))).await {
        Ok(Response::Redacted { stored, .. }) => assert_eq!(stored.message.archive, None),
        other => panic!("{other:?}"),
    }
}

/// What the log says about what goes.
fn going(stage: &Stage) -> (Vec<u64>, Vec<u64>) {
    let (mut begun, mut done) = (Vec::new(), Vec::new());
    for logged in &stage.world.look().log {
        let Ok(entry) = encode::decode(&logged.payload) else { continue };
        for change in entry.changes {
            match change {
                Change::Detach { version, .. } => begun.push(version),
                Change::Detached { version } => done.push(version),
                _ => {}
            }
        }
    }
    (begun, done)
}

/// How often somebody began to delete something.
fn removals(shelf: &Shelf) -> usize {
    shelf.removing.load(Ordering::SeqCst)
}

async fn until_gone(stage: &Stage, version: u64) {
    stage.sees(|| going(stage).1.contains(&version)).await;
    stage.rest().await;
}

fn asks_for_it(refusal: &Refusal, what: &str) {
    assert_eq!(refusal.code, Code::InvalidRequest);
    assert!(refusal.detail.contains(what), "{}", refusal.detail);
    assert!(!refusal.retryable);
}

#[tokio::test]
async fn an_attachment_is_there_or_the_message_is_refused() {
    let (stage, shelf) = two_nodes();
    let (token, other) = (stage.chat().await, stage.chat().await);
    let ask = async |request| refused(stage.ask(1, request).await);
    asks_for_it(&ask(showing(token, "1", "bell", None)).await, "there is no attachments/");
    shelf.attach(&key_of(token, "bell"), 7);
    shelf.attach(&key_of(token, "bell"), 9);
    shelf.attach(&key_of(other, "bell"), 8);
    asks_for_it(&ask(showing(token, "1", "bell", Some(8))).await, "no version 8");
    let theirs = naming("attachments", &key_of(other, "bell"), None);
    let theirs = Request::Send(Send { archive: theirs, ..message(token, "1", "look") });
    asks_for_it(&ask(theirs).await, "archive.key: ");
    let photo = |version| {
        let archive = naming("photos", "2026/bell", version);
        Request::Send(Send { archive, ..message(token, "1", "look") })
    };
    asks_for_it(&ask(photo(None)).await, "archive.version: missing");
    assert_eq!(named(&stage, 1, token).await, [], "nothing of all that is stored");
    // The newest is meant unless one is named; of others nobody knows whether they are there.
    let first = show(&stage, token, "1", "bell").await;
    assert_eq!(first.message.archive.as_ref().map(|archive| archive.version), Some(9));
    sent(stage.ask(1, showing(token, "2", "bell", Some(7))).await);
    let Request::Send(photo) = photo(Some(1)) else { unreachable!() };
    sent(stage.ask(1, Request::Send(Send { key: "3".into(), ..photo })).await);
    stage.say(token, "4", "nothing").await;
    for at in [0, 1] {
        assert_eq!(named(&stage, at, token).await, [Some(9), Some(7), Some(1), None]);
    }
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_whatever_became_of_the_attachment() {
    let (stage, shelf) = two_nodes();
    let token = stage.chat().await;
    shelf.attach(&key_of(token, "bell"), 7);
    let first = show(&stage, token, "1", "bell").await;
    shelf.attach(&key_of(token, "bell"), 9);
    let again = show(&stage, token, "1", "bell").await;
    assert!(again.replay && again.message == first.message, "the version that was meant then");
    let exact = refused(stage.ask(0, showing(token, "1", "bell", Some(7))).await);
    assert_eq!(exact.code, Code::IdempotencyConflict);
    let without = refused(stage.ask(0, send(token, "1", "look")).await);
    assert_eq!(without.code, Code::IdempotencyConflict);
    take_back(&stage, 0, token, first.message.id).await;
    until_gone(&stage, 7).await;
    let again = show(&stage, token, "1", "bell").await;
    assert!(again.replay && again.message.archive.is_none());
}

#[tokio::test]
async fn handlers_neither_lose_it_nor_make_one_up() {
    let script = |call: &crate::stage::scripted::Asking| match text(call) {
        "look" if call.message().archive.is_some() => {
            verdict(Verdict::Rewrite(Body::Text("looked".into())))
        }
        "maybe" => verdict(Verdict::Hold {
            reason: "to be read".into(),
            deadline_ms: 60_000,
            accept: false,
        }),
        "go" => {
            let held = call.waiting.iter().flat_map(|waiting| waiting.held.keys().copied());
            with(Verdict::Pass, held.map(|message| Effect::Release { message }).collect())
        }
        "bad" => verdict(reject("no")),
        _ => pass(),
    };
    let rewriting = Scripted::listening("rewriting", script, |_call, _event| Ok(Vec::new()));
    let (stage, shelf) = nodes(vec![chain(&[&rewriting]), chain(&[&rewriting])], swept());
    let token = stage.chat().await;
    for version in [7, 8] {
        shelf.attach(&key_of(token, "bell"), version);
    }
    let looked = show(&stage, token, "1", "bell").await.message;
    assert_eq!((looked.body.to_string().as_str(), looked.stamps.len()), ("looked", 1));
    assert_eq!(looked.archive.as_ref().map(|archive| archive.version), Some(8));
    let said = |key: &str, text: &str, version| {
        let archive = naming("attachments", &key_of(token, "bell"), version);
        Request::Send(Send { archive, ..message(token, key, text) })
    };
    assert!(matches!(stage.ask(0, said("2", "maybe", Some(7))).await, Ok(Response::Held { .. })));
    // Whoever leads next has it kept back with what it names.
    stage.sees(|| stage.world.look().snapshot.is_some()).await;
    let end = stage.world.look().log.len() as u64;
    stage
        .until(|world| world.snapshot.as_ref().filter(|kept| kept.place.seq >= end).map(|_| ()))
        .await;
    stage.world.close();
    stage.world.open(1, Keeps::Committed);
    sent(stage.ask(1, send(token, "3", "go")).await);
    assert_eq!(named(&stage, 1, token).await, [Some(8), None, Some(7)]);
    assert_eq!(refused(stage.ask(1, said("4", "bad", None)).await).code, Code::Rejected);
    assert_eq!(shelf.attachments(), [7, 8], "what is refused takes nothing along");
}

#[tokio::test]
async fn an_attachment_goes_once_and_with_the_last_message_that_names_it() {
    let (stage, shelf) = two_nodes();
    let token = stage.chat().await;
    for (name, version) in [("bell", 7), ("tower", 8)] {
        shelf.attach(&key_of(token, name), version);
    }
    let first = show(&stage, token, "1", "bell").await.message.id;
    let second = show(&stage, token, "2", "bell").await.message.id;
    let tower = show(&stage, token, "3", "tower").await.message.id;
    take_back(&stage, 1, token, first).await;
    take_back(&stage, 1, token, tower).await;
    until_gone(&stage, 8).await;
    assert_eq!((shelf.attachments(), shelf.removed()), (vec![7], vec![8]));
    assert_eq!(named(&stage, 0, token).await, [None, Some(7), None]);
    take_back(&stage, 0, token, second).await;
    take_back(&stage, 0, token, second).await;
    until_gone(&stage, 7).await;
    assert_eq!((shelf.removed(), removals(&shelf)), (vec![8, 7], 2));
    assert_eq!(going(&stage), (vec![8, 7], vec![8, 7]));
}

/// That the end of a chat drops what it keeps back is no other drop.
#[tokio::test]
async fn an_attachment_that_only_dropped_messages_name_goes_with_the_last_of_them() {
    let script = |call: &crate::stage::scripted::Asking| {
        let held = call.waiting.iter().flat_map(|waiting| waiting.held.keys().copied());
        let drop = |message| Effect::DropHeld { message, reason: "no".into() };
        match text(call) {
            "maybe" => verdict(Verdict::Hold {
                reason: "to be read".into(),
                deadline_ms: 60_000,
                accept: false,
            }),
            "drop" => with(Verdict::Pass, held.map(drop).collect()),
            "one" => {
                let effects = (0..).zip(held).map(|(index, message)| match index {
                    0 => Effect::Release { message },
                    _ => drop(message),
                });
                with(Verdict::Pass, effects.collect())
            }
            _ => pass(),
        }
    };
    let reviewing = Scripted::listening("reviewing", script, |_call, _event| Ok(Vec::new()));
    let (stage, shelf) = nodes(vec![chain(&[&reviewing])], swept());
    let token = stage.chat().await;
    for (name, version) in [("bell", 7), ("tower", 8), ("rope", 9)] {
        shelf.attach(&key_of(token, name), version);
    }
    let held = async |key: &str, name: &str| {
        let archive = naming("attachments", &key_of(token, name), None);
        let said = Request::Send(Send { archive, ..message(token, key, "maybe") });
        assert!(matches!(stage.ask(0, said).await, Ok(Response::Held { .. })));
    };
    // The one that was stored is taken back, the one that was kept back is dropped.
    let first = show(&stage, token, "1", "bell").await.message.id;
    held("2", "bell").await;
    take_back(&stage, 0, token, first).await;
    stage.rest().await;
    assert_eq!(shelf.removed(), [0_u64; 0], "one that is kept back names it");
    stage.say(token, "3", "drop").await;
    until_gone(&stage, 7).await;
    // One of two is stored while the other is dropped.
    held("4", "tower").await;
    held("5", "tower").await;
    stage.say(token, "6", "one").await;
    for (key, name) in [("7", "tower"), ("8", "rope"), ("9", "rope")] {
        held(key, name).await;
    }
    stage.ask(0, Request::End { token, sender: None }).await.unwrap();
    until_gone(&stage, 9).await;
    assert_eq!((shelf.attachments(), shelf.removed()), (vec![8], vec![7, 9]));
    assert_eq!(going(&stage), (vec![7, 9], vec![7, 9]));
    assert_eq!(named(&stage, 0, token).await.into_iter().flatten().collect::<Vec<_>>(), [8]);
}

#[tokio::test]
async fn what_is_about_to_go_is_named_by_nobody_and_tried_until_it_is_gone() {
    let (stage, shelf) = two_nodes();
    let token = stage.chat().await;
    shelf.attach(&key_of(token, "bell"), 7);
    shelf.gate.forget_permits(1_000);
    shelf.failing.store(2, Ordering::SeqCst);
    let first = show(&stage, token, "1", "bell").await.message.id;
    take_back(&stage, 0, token, first).await;
    let late = refused(stage.ask(0, showing(token, "2", "bell", None)).await);
    asks_for_it(&late, "there is no attachments/");
    assert_eq!(shelf.attachments(), [7], "it is still there");
    shelf.gate.add_permits(1_000);
    until_gone(&stage, 7).await;
    assert_eq!((shelf.removed(), going(&stage)), (vec![7], (vec![7], vec![7])));
    assert_eq!(removals(&shelf), 3, "two of them in vain");
}

/// Whoever led the chat was about to delete it, and had begun or not.
#[tokio::test]
async fn whoever_leads_next_deletes_what_was_to_go() {
    for with_snapshot in [false, true] {
        let (stage, shelf) = two_nodes();
        let token = stage.chat().await;
        shelf.attach(&key_of(token, "bell"), 7);
        shelf.gate.forget_permits(1_000);
        let first = show(&stage, token, "1", "bell").await.message.id;
        take_back(&stage, 0, token, first).await;
        let end = stage.world.look().log.len() as u64;
        stage
            .until(|world| world.snapshot.as_ref().filter(|kept| kept.place.seq >= end).map(|_| ()))
            .await;
        stage.world.close();
        if !with_snapshot {
            stage.world.look().snapshot = None;
        }
        stage.world.open(1, Keeps::Committed);
        assert_eq!(shelf.attachments(), [7]);
        shelf.gate.add_permits(1_000);
        until_gone(&stage, 7).await;
        assert_eq!((shelf.removed(), going(&stage)), (vec![7], (vec![7], vec![7])));
        assert_eq!(named(&stage, 1, token).await, [None]);
    }
}

/// A chat of which one is archived and the other is not, each with an attachment.
#[tokio::test]
async fn attachments_go_with_their_chat_unless_it_is_archived() {
    let plan = |_: &str, stats: plugin::Stats| {
        let durability = match stats.messages {
            1 => Durability::Archive,
            _ => Durability::Quorum,
        };
        Ok(Plan { durability, ..Plan::default() })
    };
    let forget = Some(Duration::from_secs(60));
    let collect = Collect { forget, ..swept().collect };
    let chain = Chain::new(vec![Policy::new(plan)]);
    let stage = Stage::new(vec![chain], Config { collect, ..swept() });
    let shelf = Shelf::new();
    let keep = KeepConfig { policy: "policy".to_owned(), ..keep() };
    stage.chats[0].keep(keep, Arc::<Shelf>::clone(&shelf));
    let (archived, plain) = (stage.chat().await, stage.chat().await);
    for (token, version) in [(archived, 7), (plain, 8)] {
        shelf.attach(&key_of(token, "bell"), version);
        show(&stage, token, "1", "bell").await;
    }
    stage.say(plain, "2", "more").await;
    shelf.attach(&key_of(plain, "nobody named it"), 9);
    for token in [archived, plain] {
        stage.ask(0, Request::End { token, sender: None }).await.unwrap();
    }
    stage.sees(|| shelf.texts(archived).is_some()).await;
    assert_eq!(shelf.attachments().len(), 3);
    stage.world.look().wall_ms += 61_000;
    let forgotten = |token: ChatToken| {
        let log = &stage.world.look().log;
        let entries = log.iter().filter_map(|logged| encode::decode(&logged.payload).ok());
        entries.filter(|entry| entry.chat == token).any(|entry| entry.changes == [Change::Forget])
    };
    stage.sees(|| forgotten(archived) && forgotten(plain)).await;
    assert_eq!((shelf.attachments(), shelf.removed().len()), (vec![7], 2));
}

#[tokio::test]
async fn a_chat_is_not_forgotten_before_its_attachments_are_gone() {
    let collect = Collect { forget: Some(Duration::from_secs(60)), ..swept().collect };
    let (stage, shelf) = nodes(vec![Chain::default()], Config { collect, ..swept() });
    let token = stage.chat().await;
    shelf.attach(&key_of(token, "bell"), 7);
    show(&stage, token, "1", "bell").await;
    stage.ask(0, Request::End { token, sender: None }).await.unwrap();
    shelf.gate.forget_permits(1_000);
    stage.world.look().wall_ms += 61_000;
    stage.sees(|| removals(&shelf) > 0).await;
    stage.rest().await;
    assert_eq!(named(&stage, 0, token).await, [Some(7)], "it is still there");
    shelf.gate.add_permits(1_000);
    stage.sees(|| !shelf.removed().is_empty()).await;
    let gone = async || refused(stage.ask(0, read(token, None)).await).code;
    stage
        .until(|world| {
            let last = world.log.last().and_then(|last| encode::decode(&last.payload).ok());
            last.filter(|entry| entry.changes == [Change::Forget]).map(|_| ())
        })
        .await;
    stage.rest().await;
    assert_eq!(gone().await, Code::UnknownChat);
}

/// Between the look before the entry that forgets a chat and that entry somebody deletes its archive, to which everything was
/// left, and something else is stored.
#[tokio::test]
async fn what_is_left_when_a_chat_is_forgotten_goes_right_after_it() {
    let collect = Collect { forget: Some(Duration::from_secs(60)), ..swept().collect };
    let (stage, shelf) = nodes(vec![Chain::default()], Config { collect, ..swept() });
    let token = stage.chat().await;
    shelf.attach(&key_of(token, "bell"), 7);
    show(&stage, token, "1", "bell").await;
    stage.ask(0, Request::End { token, sender: None }).await.unwrap();
    shelf.lay(token, 1);
    stage.hold();
    stage.world.look().wall_ms += 61_000;
    stage
        .until(|world| {
            let last = world.log.last().and_then(|last| encode::decode(&last.payload).ok());
            last.filter(|entry| entry.changes == [Change::Forget]).map(|_| ())
        })
        .await;
    assert_eq!((shelf.attachments(), removals(&shelf)), (vec![7], 0), "they are its archive's");
    shelf.take_away(token);
    shelf.attach(&key_of(token, "late"), 8);
    stage.world.look().commits = true;
    stage.world.commit();
    stage.sees(|| shelf.attachments().is_empty()).await;
    assert_eq!(refused(stage.ask(0, read(token, None)).await).code, Code::UnknownChat);
}
