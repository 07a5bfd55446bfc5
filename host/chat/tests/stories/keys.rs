//! One key, one message, one answer.

use chat::{Code, Config, Request, RequestOutcome, Send};
use model::{Body, Route};

use crate::stage::scripted::{Scripted, verdict};
use crate::stage::scripted::{chain, pass, strict, text};
use crate::stage::{Stage, message, refused, send, sent, waits};

#[tokio::test]
async fn the_same_key_and_body_get_the_first_answer_and_one_message() {
    let louder = Scripted::new("louder", |call| {
        verdict(plugin::Verdict::Rewrite(Body::Text(text(call).to_uppercase())))
    });
    let stage = Stage::new(vec![chain(&[&louder])], Config::default());
    let token = stage.chat().await;
    let first = Send { sent_ms: Some(1_000_400), ..message(token, "k1", "hello") };
    let answer = sent(stage.ask(0, Request::Send(first)).await);
    assert_eq!(answer.skew_ms, Some(400));
    // Another clock and another quorum are still the same message.
    let again = Send { sent_ms: Some(7), acks: Some(1), ..message(token, "k1", "hello") };
    let repeat = sent(stage.ask(0, Request::Send(again)).await);
    assert!(repeat.replay && !answer.replay);
    assert_eq!(chat::Sent { replay: false, ..repeat }, answer);
    assert_eq!(stage.texts(0, token).await, ["HELLO"]);
    assert_eq!(louder.calls(), 2, "for the join and for the message, once each");
}

#[tokio::test]
async fn a_key_that_was_used_for_something_else_is_a_conflict() {
    let stage = Stage::one();
    let token = stage.chat().await;
    stage.say(token, "k1", "hello").await;
    for other in [
        Send { body: Body::Text("goodbye".into()), ..message(token, "k1", "hello") },
        Send { route: Route::Nobody, ..message(token, "k1", "hello") },
        // The key is looked up before the quorum is.
        Send { acks: Some(9), ..message(token, "k1", "goodbye") },
    ] {
        let refusal = refused(stage.ask(0, Request::Send(other)).await);
        assert_eq!(refusal.code, Code::IdempotencyConflict);
    }
    let bob = Send { sender: "bob".into(), ..message(token, "k1", "goodbye") };
    assert!(!sent(stage.ask(0, Request::Send(bob)).await).replay, "a key belongs to its sender");
    assert_eq!(stage.texts(0, token).await, ["hello", "goodbye"]);
}

#[tokio::test]
async fn a_repeat_joins_an_attempt_whose_handlers_still_run() {
    let slow = Scripted::new("slow", |_call| pass());
    let stage = Stage::new(vec![chain(&[&slow])], Config::default());
    let token = stage.chat().await;
    stage.say(token, "k0", "first").await;
    slow.close_gate();
    let mut attempt = stage.ask(0, send(token, "k1", "hello"));
    let mut repeat = stage.ask(0, send(token, "k1", "hello"));
    waits(&mut attempt).await;
    waits(&mut repeat).await;
    let before = slow.calls();
    slow.open_gate();
    let (attempt, repeat) = tokio::join!(attempt, repeat);
    let (attempt, repeat) = (sent(attempt), sent(repeat));
    assert!(!attempt.replay && repeat.replay);
    assert_eq!(attempt.message, repeat.message);
    assert_eq!(slow.calls(), before + 1);
    assert_eq!(stage.texts(0, token).await, ["first", "hello"]);
}

#[tokio::test]
async fn a_repeat_of_an_attempt_that_is_not_committed_waits_for_it() {
    let stage = Stage::one();
    let token = stage.chat().await;
    stage.hold();
    let mut attempt = stage.ask(0, send(token, "k1", "hello"));
    waits(&mut attempt).await;
    let mut repeat = stage.ask(0, send(token, "k1", "hello"));
    let mut conflict = stage.ask(0, send(token, "k1", "goodbye"));
    waits(&mut repeat).await;
    waits(&mut conflict).await;
    stage.world.commit();
    assert!(!sent(attempt.await).replay);
    assert!(sent(repeat.await).replay);
    assert_eq!(refused(conflict.await).code, Code::IdempotencyConflict);
}

#[tokio::test]
async fn a_refusal_is_remembered_and_its_strike_counts_once() {
    let strict = strict();
    let stage = Stage::new(vec![chain(&[&strict])], Config::default());
    let token = stage.chat().await;
    let first = refused(stage.ask(0, send(token, "k1", "bad")).await);
    assert_eq!((first.code, first.reason.as_deref()), (Code::Rejected, Some("strike 1")));
    assert_eq!(first.outcome, None);
    let repeat = refused(stage.ask(0, send(token, "k1", "bad")).await);
    assert_eq!(repeat, first);
    let second = refused(stage.ask(0, send(token, "k2", "bad")).await);
    assert_eq!(second.reason.as_deref(), Some("strike 2"));
    assert!(stage.texts(0, token).await.is_empty());
}

#[tokio::test]
async fn a_repeat_that_wants_more_acks_waits_for_them() {
    let stage = Stage::one();
    let token = stage.chat().await;
    let first = stage.say(token, "k1", "hello").await;
    let all = || Request::Send(Send { acks: Some(3), ..message(token, "k1", "hello") });
    let repeat = sent(stage.ask(0, all()).await);
    assert_eq!((repeat.replay, &repeat.message), (true, &first.message));
    // One member is gone: the message is there, and not on three.
    stage.world.look().live = 2;
    let refusal = refused(stage.ask(0, all()).await);
    assert_eq!((refusal.code, refusal.outcome), (Code::NoQuorum, Some(RequestOutcome::Unknown)));
    assert_eq!(stage.texts(0, token).await, ["hello"]);
}

#[tokio::test]
async fn a_handler_that_broke_is_asked_again_under_the_same_key() {
    let flaky = Scripted::new("flaky", |call| {
        if call.notes.is_empty() && text(call) == "hello" && call.context.now_ms < 2_000_000 {
            return Err(plugin::Failure::Busy);
        }
        pass()
    });
    let stage = Stage::new(vec![chain(&[&flaky])], Config::default());
    let token = stage.chat().await;
    let refusal = refused(stage.ask(0, send(token, "k1", "hello")).await);
    assert_eq!(refusal.code, Code::PluginFailed);
    assert_eq!(refusal.outcome, Some(RequestOutcome::NotCommitted));
    stage.world.look().wall_ms = 2_000_000;
    assert!(!stage.say(token, "k1", "hello").await.replay);
}
