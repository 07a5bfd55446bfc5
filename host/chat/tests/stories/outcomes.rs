//! A send is stored, refused, or nobody knows; and nobody sees it before it is committed.

use std::time::Duration;

use chat::{Chain, Code, Config, Durability, Request, RequestOutcome, Send};
use model::{Body, ChatToken};
use plugin::{Effect, Verdict};

use crate::stage::scripted::{Scripted, chain, pass, text, with};
use crate::stage::{Keeps, Stage, message, page, read, refused, send, sent, texts, waits};

#[tokio::test]
async fn a_message_is_seen_when_it_is_committed_and_not_before() {
    let stage = Stage::one();
    let token = stage.chat().await;
    stage.hold();
    let local = Send { acks: Some(1), ..message(token, "k1", "early") };
    let early = sent(stage.ask(0, Request::Send(local)).await);
    assert_eq!(early.durability, Durability::Local);
    let mut quorum = stage.ask(0, send(token, "k2", "late"));
    waits(&mut quorum).await;
    assert!(
        stage.texts(0, token).await.is_empty(),
        "an entry nobody else has is nobody's business"
    );
    stage.world.commit();
    let late = sent(quorum.await);
    assert_eq!((late.durability, late.cursor.seq), (Durability::Quorum, 2));
    assert_eq!(stage.texts(0, token).await, ["early", "late"]);
}

#[tokio::test]
async fn what_takes_too_long_is_unknown_and_may_appear() {
    let config = Config { timeout: Duration::from_millis(30), ..Config::default() };
    let stage = Stage::new(vec![Chain::default()], config);
    let token = stage.chat().await;
    stage.hold();
    let refusal = refused(stage.ask(0, send(token, "k1", "hello")).await);
    assert_eq!((refusal.code, refusal.outcome), (Code::NoQuorum, Some(RequestOutcome::Unknown)));
    assert!(refusal.retryable);
    stage.world.commit();
    stage.world.look().commits = true;
    assert_eq!(stage.texts(0, token).await, ["hello"]);
    assert!(stage.say(token, "k1", "hello").await.replay);
}

#[tokio::test]
async fn more_acks_than_can_be_are_refused_at_once_and_nothing_is_appended() {
    let stage = Stage::one();
    let token = stage.chat().await;
    stage.world.look().live = 2;
    let cases = [
        (Some(3), None, Code::NoQuorum),
        (Some(4), None, Code::InvalidRequest),
        (Some(3), Some(2), Code::InvalidRequest),
        (None, Some(4), Code::InvalidRequest),
        (Some(0), None, Code::InvalidRequest),
        (None, Some(1), Code::InvalidRequest),
    ];
    let before = stage.world.look().entries();
    for (acks, copies, code) in cases {
        let send = Send { acks, copies, ..message(token, "k1", "hello") };
        let refusal = refused(stage.ask(0, Request::Send(send)).await);
        assert_eq!((refusal.code, refusal.outcome), (code, Some(RequestOutcome::NotCommitted)));
        assert_eq!(refusal.retryable, code == Code::NoQuorum);
    }
    assert_eq!(stage.world.look().entries(), before);
    let two = Send { acks: Some(2), copies: Some(3), ..message(token, "k1", "hello") };
    sent(stage.ask(0, Request::Send(two)).await);
}

#[tokio::test]
async fn a_full_disk_refuses_sends_and_reads_go_on() {
    let stage = Stage::one();
    let token = stage.chat().await;
    stage.say(token, "k1", "hello").await;
    stage.world.look().full = true;
    let refusal = refused(stage.ask(0, send(token, "k2", "more")).await);
    let wanted = (Code::StorageFull, Some(RequestOutcome::NotCommitted));
    assert_eq!((refusal.code, refusal.outcome), wanted);
    assert!(stage.say(token, "k1", "hello").await.replay, "what is known is still said");
    assert_eq!(stage.texts(0, token).await, ["hello"]);
}

#[tokio::test]
async fn too_many_uncommitted_entries_of_a_chat_are_refused_before_their_handlers_run() {
    let handler = Scripted::new("p", |_call| pass());
    let stage = Stage::new(vec![chain(&[&handler])], Config::default());
    let token = stage.chat().await;
    stage.say(token, "k", "join").await;
    stage.hold();
    let mut waiting = Vec::new();
    for n in 0..64 {
        let mut asking = stage.ask(0, send(token, &format!("k{n}"), "hello"));
        waits(&mut asking).await;
        waiting.push(asking);
    }
    let calls = handler.calls();
    let refusal = refused(stage.ask(0, send(token, "one more", "hello")).await);
    assert_eq!(
        (refusal.code, refusal.outcome),
        (Code::Overloaded, Some(RequestOutcome::NotCommitted))
    );
    assert_eq!(handler.calls(), calls);
    stage.world.commit();
    for asking in waiting {
        sent(asking.await);
    }
}

#[tokio::test]
async fn a_chat_that_ended_takes_no_message_and_says_its_end_again() {
    let stage = Stage::one();
    let token = stage.chat().await;
    stage.say(token, "k1", "hello").await;
    let end = || Request::End { token, sender: Some("alice".into()) };
    let first = stage.ask(0, end()).await.unwrap();
    stage.world.look().wall_ms += 5_000;
    assert_eq!(stage.ask(0, end()).await.unwrap(), first);
    assert_eq!(refused(stage.ask(0, send(token, "k2", "more")).await).code, Code::ChatEnded);
    assert!(stage.say(token, "k1", "hello").await.replay);
    assert_eq!(stage.texts(0, token).await, ["hello"]);
}

#[tokio::test]
async fn a_chat_expires_by_its_duration_and_the_grace() {
    let starts = Scripted::new("starts", |call| match text(call) {
        "start" => with(Verdict::Pass, vec![Effect::StartChat]),
        _ => pass(),
    });
    let stage = Stage::new(vec![chain(&[&starts])], Config::default());
    let token = stage.chat_with(Some(60), None).await;
    stage.say(token, "k1", "start").await;
    stage.world.look().wall_ms += 60_000 + 360_000;
    stage.say(token, "k2", "still").await;
    stage.world.look().wall_ms += 1;
    assert_eq!(refused(stage.ask(0, send(token, "k3", "late")).await).code, Code::ChatEnded);
    // A clock that goes back does not open it again: the chat's own clock never does.
    assert_eq!(stage.texts(0, token).await, ["start", "still"]);
}

#[tokio::test]
async fn what_only_a_chat_can_know_about_a_message_is_checked() {
    let config = Config { message_bytes_max: 10, ..Config::default() };
    let stage = Stage::new(vec![Chain::default()], config);
    let token = stage.chat().await;
    let long = Send { body: Body::Text("x".repeat(11)), ..message(token, "k1", "") };
    assert_eq!(refused(stage.ask(0, Request::Send(long)).await).code, Code::TooLarge);
    let join = Send { kind: "member.join".into(), ..message(token, "k1", "") };
    assert_eq!(refused(stage.ask(0, Request::Send(join)).await).code, Code::InvalidRequest);
}

#[tokio::test]
async fn a_chat_that_is_unknown_is_only_called_so_by_a_node_that_leads_for_sure() {
    let config = Config { patience: Duration::from_millis(20), ..Config::default() };
    let stage = Stage::new(vec![Chain::default()], config);
    let token = ChatToken([9; 16]);
    for request in [send(token, "k", "hello"), read(token, None)] {
        assert_eq!(refused(stage.ask(0, request).await).code, Code::UnknownChat);
    }
    assert_eq!(stage.world.look().entries(), 0, "it does not become a chat");
    stage.world.look().confirms = false;
    for request in [send(token, "k", "hello"), read(token, None)] {
        let refusal = refused(stage.ask(0, request).await);
        assert_ne!(refusal.code, Code::UnknownChat);
        assert!(refusal.retryable);
    }
}

#[tokio::test]
async fn an_entry_of_a_newer_version_keeps_the_partition_closed() {
    let config = Config { patience: Duration::from_millis(20), ..Config::default() };
    let stage = Stage::new(vec![Chain::default()], config);
    let token = stage.chat().await;
    stage.say(token, "k1", "hello").await;
    stage.world.close();
    {
        let mut inner = stage.world.look();
        let mut strange = inner.log.last().unwrap().clone();
        strange.seq += 1;
        strange.payload = vec![2, 1, 2, 3].into();
        inner.log.push(strange);
    }
    stage.world.open(0, Keeps::Everything);
    stage.world.look().commits = true;
    let refusal = refused(stage.ask(0, read(token, None)).await);
    assert_eq!(refusal.code, Code::NotReady);
    let refusal = refused(stage.ask(0, send(token, "k1", "hello")).await);
    assert_eq!(refusal.code, Code::NotReady);
    assert_eq!(refusal.outcome, Some(RequestOutcome::NotCommitted));
}

#[tokio::test]
async fn a_message_keeps_everything_that_was_said() {
    let stage = Stage::one();
    let token = stage.chat().await;
    let bytes = Body::Bytes { media_type: "image/png".into(), bytes: vec![0, 255] };
    let sent_ms = Some(999_000);
    let picture = Send { body: bytes.clone(), sent_ms, ..message(token, "k1", "") };
    let answer = sent(stage.ask(0, Request::Send(picture)).await);
    assert_eq!((answer.skew_ms, answer.message.sent_ms), (Some(-1_000), sent_ms));
    let page = page(stage.ask(0, read(token, None)).await);
    assert_eq!(page.messages[0].message, answer.message);
    assert_eq!(
        (page.messages[0].cursor, page.cursor, page.head),
        (answer.cursor, answer.cursor, answer.cursor)
    );
    assert_eq!(page.messages[0].message.body, bytes);
    assert!(texts(&chat::Page { messages: Vec::new(), ..page }).is_empty());
}
