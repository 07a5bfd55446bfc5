//! What becomes of requests when their epoch is lost.

use std::time::Duration;

use chat::{CallContext, Chain, Code, Config, Request, RequestOutcome, Send};

use crate::stage::scripted::{Scripted, chain, pass, reject, strict, verdict};
use crate::stage::{
    Keeps, PATIENCE, Stage, context, create, message, page, read, refused, send, sent, texts, wait,
    waits,
};

fn two() -> Stage {
    Stage::new(vec![Chain::default(), Chain::default()], Config::default())
}

/// A chat is ended, and before that is committed somebody sends and hears 409, if they are told too early.
/// The epoch is lost, and the end with it: then the chat never ended, and nobody may have been told so.
#[tokio::test]
async fn s7_a_send_is_not_refused_for_an_end_that_is_withdrawn() {
    let stage = two();
    let token = stage.chat().await;
    stage.hold();
    let mut end = stage.ask(0, Request::End { token, sender: None });
    waits(&mut end).await;
    let mut late = stage.ask(0, send(token, "k1", "hello"));
    waits(&mut late).await;
    stage.world.close();
    stage.world.look().commits = true;
    stage.world.open(1, Keeps::Committed);
    assert!(!sent(late.await).replay);
    let end = refused(end.await);
    assert_eq!((end.code, end.outcome), (Code::NoQuorum, Some(RequestOutcome::Unknown)));
    assert_eq!(stage.texts(1, token).await, ["hello"]);
}

/// A refusal with its strike is appended and not committed; the epoch is lost. The send is tried once more
/// where the strike never happened, and it counts once.
#[tokio::test]
async fn s8_a_withdrawn_strike_counts_once() {
    let (first, second) = (strict(), strict());
    let chains = vec![chain(&[&first]), chain(&[&second])];
    let stage = Stage::new(chains, Config::default());
    let token = stage.chat().await;
    stage.hold();
    let mut bad = stage.ask(0, send(token, "k1", "bad"));
    waits(&mut bad).await;
    let mut next = stage.ask(0, send(token, "k2", "bad"));
    waits(&mut next).await;
    stage.world.close();
    stage.world.look().commits = true;
    stage.world.open(1, Keeps::Committed);
    let reasons = [refused(bad.await), refused(next.await)].map(|refusal| refusal.reason.unwrap());
    assert_eq!(reasons, ["strike 1", "strike 2"]);
    assert_eq!(
        refused(stage.ask(1, send(token, "k2", "bad")).await).reason.as_deref(),
        Some("strike 2")
    );
}

/// A send is appended, its epoch is lost and its entry is not. Its sender, and a repeat that had joined
/// it, both get the one message; also when they ask the node that leads no more.
#[tokio::test]
async fn s9_a_repeat_that_joined_gets_the_first_answer_across_a_take_over() {
    let stage = two();
    let token = stage.chat().await;
    stage.hold();
    let mut attempt = stage.ask(0, send(token, "k1", "hello"));
    waits(&mut attempt).await;
    let mut repeat = stage.ask(0, send(token, "k1", "hello"));
    waits(&mut repeat).await;
    stage.world.close();
    stage.world.look().commits = true;
    stage.world.open(1, Keeps::Everything);
    let (attempt, repeat) = (sent(attempt.await), sent(repeat.await));
    assert!(attempt.replay && repeat.replay, "both are told by the new primary");
    assert_eq!(attempt.message, repeat.message);
    assert_eq!((attempt.cursor.epoch, attempt.cursor.seq), (1, 1), "the entry keeps its epoch");
    assert_eq!(stage.texts(0, token).await, ["hello"]);
    assert_eq!(sent(stage.ask(0, send(token, "k1", "hello")).await), repeat);
}

/// The same, and the entry is lost: then it is stored once, in the new epoch.
#[tokio::test]
async fn s9_a_send_whose_entry_is_lost_is_stored_once_by_the_next_primary() {
    let stage = two();
    let token = stage.chat().await;
    stage.hold();
    let mut attempt = stage.ask(0, send(token, "k1", "hello"));
    waits(&mut attempt).await;
    stage.world.close();
    stage.world.look().commits = true;
    stage.world.open(1, Keeps::Committed);
    let attempt = sent(attempt.await);
    assert_eq!((attempt.replay, attempt.cursor.epoch), (false, 2));
    let repeat = sent(stage.ask(0, send(token, "k1", "hello")).await);
    assert_eq!((repeat.replay, repeat.message), (true, attempt.message));
    assert_eq!(stage.texts(1, token).await, ["hello"]);
}

/// A handler refuses and wants nothing else; the node is lost; the same message comes again to a node whose
/// handler would take it now. It was refused, and stays so.
#[tokio::test]
async fn s10_a_bare_refusal_survives_a_take_over() {
    let strict = Scripted::new("strict", |call| match call.message().kind.as_str() {
        "text" => verdict(reject("never")),
        _ => pass(),
    });
    let stage = Stage::new(vec![chain(&[&strict]), Chain::default()], Config::default());
    let token = stage.chat().await;
    let first = refused(stage.ask(0, send(token, "k1", "hello")).await);
    assert_eq!(first.code, Code::Rejected);
    stage.world.close();
    stage.world.open(1, Keeps::Committed);
    assert_eq!(refused(stage.ask(0, send(token, "k1", "hello")).await), first);
    assert!(stage.texts(1, token).await.is_empty());
}

/// Somebody is told of a message that the primary's disk alone has, and goes on reading after it. The
/// message is lost with the primary; what is sent next must not be skipped.
#[tokio::test]
async fn s11_a_reader_with_a_withdrawn_cursor_misses_nothing() {
    let stage = two();
    let token = stage.chat().await;
    let one = stage.say(token, "k1", "one").await.cursor;
    stage.hold();
    let local = Send { acks: Some(1), ..message(token, "k2", "two") };
    let withdrawn = sent(stage.ask(0, Request::Send(local)).await).cursor;
    assert_eq!((withdrawn.epoch, withdrawn.seq), (1, 2));
    stage.world.close();
    stage.world.look().commits = true;
    stage.world.open(1, Keeps::Committed);
    let nothing = page(stage.ask(1, read(token, Some(withdrawn))).await);
    assert_eq!((nothing.messages.len(), nothing.cursor, nothing.more), (0, one, false));
    assert_eq!(nothing.gap, Some(one), "and is told after which message theirs is gone");
    sent(stage.ask(1, send(token, "k3", "other two")).await);
    let after = page(stage.ask(0, read(token, Some(withdrawn))).await);
    assert_eq!((texts(&after), after.gap), (vec!["other two".to_owned()], Some(one)));
    assert_eq!((after.cursor.epoch, after.cursor.seq), (2, 2));
}

#[tokio::test]
async fn a_waiting_reader_goes_with_the_primary() {
    let stage = two();
    let token = stage.chat().await;
    let first = stage.say(token, "k1", "one").await;
    let mut reader = stage.ask(0, wait(token, Some(first.cursor)));
    waits(&mut reader).await;
    stage.world.close();
    waits(&mut reader).await;
    stage.world.open(1, Keeps::Committed);
    waits(&mut reader).await;
    sent(stage.ask(1, send(token, "k2", "two")).await);
    assert_eq!(texts(&page(reader.await)), ["two"]);
}

#[tokio::test]
async fn a_waiting_reader_is_sent_away_with_its_cursor_when_nobody_leads() {
    let config = Config { patience: Duration::from_millis(20), ..Config::default() };
    let stage = Stage::new(vec![Chain::default()], config);
    let token = stage.chat().await;
    let first = stage.say(token, "k1", "one").await;
    let mut reader = stage.ask(0, wait(token, Some(first.cursor)));
    waits(&mut reader).await;
    stage.world.close();
    let page = page(reader.await);
    assert_eq!((page.messages.len(), page.cursor, page.more), (0, first.cursor, false));
}

#[tokio::test]
async fn a_request_to_another_node_goes_where_its_chat_is_led() {
    let stage = two();
    let token = stage.chat().await;
    let said = sent(stage.ask(1, send(token, "k1", "hello")).await);
    assert_eq!(stage.texts(1, token).await, ["hello"]);
    assert_eq!(stage.texts(0, token).await, ["hello"]);
    let repeat = stage.say(token, "k1", "hello").await;
    assert_eq!((repeat.replay, repeat.message), (true, said.message));
    let Ok(chat::Response::Created(created)) = stage
        .ask(
            1,
            Request::Create {
                max_duration_s: None,
                max_participants: None,
                attrs: model::Attrs::new(),
            },
        )
        .await
    else {
        panic!("not created")
    };
    assert!(stage.texts(0, created.token).await.is_empty());
}

/// Two nodes that each believe the other leads would pass a request to and fro.
#[tokio::test]
async fn a_request_that_was_passed_on_is_not_passed_on_again() {
    let stage = two();
    let token = stage.chat().await;
    let entries = stage.world.look().entries();
    let passed_on = CallContext { hop: 1, ..context() };
    let refusal = refused(stage.chats[1].call(send(token, "k1", "hello"), passed_on.clone()).await);
    assert_eq!(
        (refusal.code, refusal.outcome),
        (Code::NoQuorum, Some(RequestOutcome::NotCommitted))
    );
    assert_eq!(stage.world.look().entries(), entries, "whoever leads it was not asked");
    assert!(!sent(stage.chats[0].call(send(token, "k1", "hello"), passed_on).await).replay);
}

#[tokio::test]
async fn nobody_leads_and_nothing_was_done() {
    let config = Config { patience: Duration::from_millis(20), ..Config::default() };
    let stage = Stage::new(vec![Chain::default(), Chain::default()], config);
    let token = stage.chat().await;
    stage.world.look().cut.push(0);
    let refusal = refused(stage.ask(1, send(token, "k1", "hello")).await);
    assert_eq!(
        (refusal.code, refusal.outcome),
        (Code::NoQuorum, Some(RequestOutcome::NotCommitted))
    );
    stage.world.look().leading = false;
    let refusal = refused(stage.ask(0, send(token, "k1", "hello")).await);
    assert_eq!(
        (refusal.code, refusal.outcome),
        (Code::NoQuorum, Some(RequestOutcome::NotCommitted))
    );
    stage.world.look().leading = true;
    assert!(!stage.say(token, "k1", "hello").await.replay);
}

#[tokio::test]
async fn a_send_waits_for_the_next_primary_and_is_done_there() {
    let stage = two();
    let token = stage.chat().await;
    stage.world.close();
    let mut early = stage.ask(0, send(token, "k1", "hello"));
    waits(&mut early).await;
    stage.world.open(1, Keeps::Committed);
    assert!(!sent(early.await).replay);
}

#[tokio::test]
async fn a_turn_whose_epoch_ends_while_its_handlers_run_is_played_again() {
    let slow = Scripted::new("slow", |_call| pass());
    let stage = Stage::new(vec![chain(&[&slow])], Config::default());
    let token = stage.chat().await;
    slow.close_gate();
    let mut attempt = stage.ask(0, send(token, "k1", "hello"));
    waits(&mut attempt).await;
    stage.world.close();
    stage.world.open(0, Keeps::Committed);
    slow.open_gate();
    let attempt = sent(attempt.await);
    assert_eq!((attempt.replay, attempt.cursor.epoch), (false, 2));
    assert_eq!(stage.texts(0, token).await, ["hello"]);
}

/// A node dies after it has stored a message and before it says so to the node that sent it on. That one does
/// not wait for the dead: as soon as somebody else leads, it asks there under the same key.
#[tokio::test]
async fn a_request_sent_on_to_a_node_that_dies_is_answered_by_the_next_leader() {
    let stage = two();
    let token = stage.chat().await;
    stage.world.look().silent.push(0);
    let mut sending = stage.ask(1, send(token, "k1", "hello"));
    waits(&mut sending).await;
    let mut waiting = stage.ask(1, wait(token, None));
    waits(&mut waiting).await;
    let mut ending = stage.ask(1, Request::End { token, sender: None });
    waits(&mut ending).await;
    let mut creating = stage.ask(1, create());
    waits(&mut creating).await;
    stage.world.close();
    stage.world.open(1, Keeps::Everything);
    let answers = async { (sending.await, waiting.await, ending.await, creating.await) };
    let answers = runtime::timeout(PATIENCE, answers).await.expect("nobody waits for the dead");
    assert!(sent(answers.0).replay, "it was stored, and the next leader knows the key");
    assert_eq!(texts(&page(answers.1)), ["hello"]);
    for refusal in [refused(answers.2), refused(answers.3)] {
        let outcome = (refusal.code, refusal.outcome);
        assert_eq!(outcome, (Code::NoQuorum, Some(RequestOutcome::Unknown)), "nobody can know");
    }
}
