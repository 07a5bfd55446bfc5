//! Requests of Twilio: one answer each, whoever is asked and however often, and one entry with what it did.

use std::sync::Arc;

use chat::{Code, Config, Request, RequestOutcome, Response, Telephone, TwilioRequest};
use model::{Body, ChatToken, Cursor, MessageId, Route};
use plugin::{Draft, Effect, Failure, Prompt, Verb};

use crate::stage::scripted::{Scripted, chain};
use crate::stage::{Keeps, Stage, refused, waits};

/// What a call is told the first time.
const ONE: &str = "<Response><Say>1</Say></Response>";

fn request(token: ChatToken, key: &str) -> Request {
    let request = TwilioRequest {
        channel: "voice".into(),
        sid: "CA1".into(),
        params: vec![("CallSid".into(), "CA1".into())],
        ..TwilioRequest::default()
    };
    Request::Twilio(Box::new(Telephone { token, plugin: "voice".into(), key: key.into(), request }))
}

fn say(number: u8) -> Verb {
    Verb::Prompt(Prompt::Say(number.to_string()))
}

/// Counts its calls in a note, says so in the chat, and tells the caller the count.
fn counter() -> Arc<Scripted> {
    Scripted::answering("voice", |call, _request| {
        let count = call.notes.get("count").and_then(|value| value.first()).unwrap_or(&0) + 1;
        let ids = call.ids;
        let draft = Draft {
            id: MessageId::derive(ids.partition, ids.chat, ids.epoch, ids.turn, ids.next_index),
            kind: "text".into(),
            route: Route::Everyone,
            body: Body::Text(format!("call {count}")),
            attrs: Default::default(),
        };
        let note = Effect::Note { key: "count".into(), value: Some(vec![count]) };
        Ok((vec![say(count)], vec![note, Effect::Post(draft)]))
    })
}

fn twiml(result: Result<Response, chat::Refusal>) -> (String, bool) {
    match result {
        Ok(Response::Twiml { text, replay }) => (text, replay),
        other => panic!("no TwiML: {other:?}"),
    }
}

#[tokio::test]
async fn a_request_is_answered_once_and_its_repeat_as_the_first_time() {
    let counter = counter();
    let stage = Stage::new(vec![chain(&[&counter])], Config::default());
    let token = stage.chat().await;
    assert_eq!(twiml(stage.ask(0, request(token, "a")).await), (ONE.to_owned(), false));
    let entries = stage.world.look().entries();
    assert_eq!(twiml(stage.ask(0, request(token, "a")).await), (ONE.to_owned(), true));
    assert_eq!((counter.calls(), stage.world.look().entries()), (1, entries));
    let (second, replay) = twiml(stage.ask(0, request(token, "b")).await);
    assert_eq!((second.as_str(), replay), ("<Response><Say>2</Say></Response>", false));
    assert_eq!(stage.texts(0, token).await, ["call 1", "call 2"]);
}

#[tokio::test]
async fn the_same_signature_over_other_words_is_refused() {
    let counter = counter();
    let stage = Stage::new(vec![chain(&[&counter])], Config::default());
    let token = stage.chat().await;
    twiml(stage.ask(0, request(token, "a")).await);
    let Request::Twilio(mut other) = request(token, "a") else { panic!("it is one") };
    other.request.params = vec![("CallSi".into(), "dCA1".into())];
    let refusal = refused(stage.ask(0, Request::Twilio(other)).await);
    assert_eq!((refusal.code, counter.calls()), (Code::IdempotencyConflict, 1));
    // What is not signed is no part of it.
    let Request::Twilio(mut same) = request(token, "a") else { panic!("it is one") };
    same.request.idempotency = Some("another".into());
    assert!(twiml(stage.ask(0, Request::Twilio(same)).await).1);
}

#[tokio::test]
async fn nobody_who_sends_has_the_key_of_a_request() {
    let counter = counter();
    let stage = Stage::new(vec![chain(&[&counter])], Config::default());
    let token = stage.chat().await;
    stage.say(token, "a", "hello").await;
    for sender in ["twilio", "voice"] {
        let send = chat::Send { sender: sender.into(), ..crate::stage::message(token, "a", "hi") };
        stage.ask(0, Request::Send(send)).await.unwrap();
    }
    assert_eq!(twiml(stage.ask(0, request(token, "a")).await), (ONE.to_owned(), false));
}

#[tokio::test]
async fn an_answer_is_given_when_it_is_committed_and_again_by_whoever_leads_then() {
    let counters = [counter(), counter()];
    let chains = counters.iter().map(|counter| chain(&[counter])).collect();
    let stage = Stage::new(chains, Config::default());
    let token = stage.chat().await;
    stage.hold();
    let mut asking = stage.ask(0, request(token, "a"));
    waits(&mut asking).await;
    let mut again = stage.ask(0, request(token, "a"));
    waits(&mut again).await;
    assert_eq!(counters[0].calls(), 1, "the repeat waits for the first");
    stage.world.look().commits = true;
    stage.world.commit();
    assert_eq!(twiml(asking.await), (ONE.to_owned(), false));
    assert_eq!(twiml(again.await), (ONE.to_owned(), true));
    stage.world.close();
    stage.world.open(1, Keeps::Committed);
    for at in [0, 1] {
        assert_eq!(twiml(stage.ask(at, request(token, "a")).await), (ONE.to_owned(), true));
    }
    assert_eq!(counters[1].calls(), 0);
}

#[tokio::test]
async fn a_request_whose_entry_was_lost_is_answered_by_who_leads_then_and_does_it_once() {
    let counters = [counter(), counter()];
    let chains = counters.iter().map(|counter| chain(&[counter])).collect();
    let stage = Stage::new(chains, Config::default());
    let token = stage.chat().await;
    stage.hold();
    let mut asking = stage.ask(0, request(token, "a"));
    waits(&mut asking).await;
    stage.world.close();
    stage.world.look().commits = true;
    stage.world.open(1, Keeps::Committed);
    assert_eq!(twiml(asking.await), (ONE.to_owned(), false));
    assert_eq!((counters[0].calls(), counters[1].calls()), (1, 1));
    assert_eq!(stage.texts(1, token).await, ["call 1"]);
    // And if the entry was not lost, it is not asked again.
    stage.hold();
    let mut asking = stage.ask(1, request(token, "b"));
    waits(&mut asking).await;
    stage.world.close();
    stage.world.look().commits = true;
    stage.world.open(0, Keeps::Everything);
    let second = "<Response><Say>2</Say></Response>".to_owned();
    assert_eq!(twiml(asking.await), (second, true));
    assert_eq!((counters[0].calls(), counters[1].calls()), (1, 2));
    assert_eq!(stage.texts(0, token).await, ["call 1", "call 2"]);
}

#[tokio::test]
async fn a_handler_that_fails_leaves_nothing_and_is_asked_again() {
    let flaky = Scripted::answering("voice", |call, _request| {
        let keep = |key: &str| Effect::Note { key: key.into(), value: Some(vec![1]) };
        match call.context.now_ms {
            ..2_000_000 => Err(Failure::Trap { text: "unreachable".into() }),
            // Escaped it is longer than Twilio takes.
            2_000_000..3_000_000 => {
                Ok((vec![Verb::Message("&".repeat(16 << 10))], vec![keep("long")]))
            }
            // More than fits into a chat.
            3_000_000..4_000_000 => {
                let pair = |n: usize| Effect::ChatAttr { name: n.to_string(), value: "x".into() };
                Ok((vec![say(1)], (0..=64).map(pair).collect()))
            }
            _ if call.notes.is_empty() && call.context.chat_attrs.is_empty() => {
                Ok((vec![say(1)], vec![]))
            }
            _ => Ok((vec![say(9)], vec![])),
        }
    });
    let stage = Stage::new(vec![chain(&[&flaky])], Config::default());
    let token = stage.chat().await;
    for wall_ms in [1_000_000, 2_000_000, 3_000_000] {
        stage.world.look().wall_ms = wall_ms;
        let entries = stage.world.look().entries();
        let refusal = refused(stage.ask(0, request(token, "a")).await);
        assert_eq!((refusal.code, refusal.plugin.as_deref()), (Code::PluginFailed, Some("voice")));
        assert_eq!(refusal.outcome, Some(RequestOutcome::NotCommitted));
        assert_eq!(stage.world.look().entries(), entries);
    }
    stage.world.look().wall_ms = 4_000_000;
    assert_eq!(twiml(stage.ask(0, request(token, "a")).await), (ONE.to_owned(), false));
}

#[tokio::test]
async fn who_is_not_there_or_answers_no_telephones_is_not_asked() {
    let silent = Scripted::new("voice", |_call| crate::stage::scripted::pass());
    let stage = Stage::new(vec![chain(&[&silent])], Config::default());
    let token = stage.chat().await;
    let refusal = refused(stage.ask(0, request(token, "a")).await);
    assert_eq!((refusal.code, silent.calls()), (Code::PluginFailed, 0));
    let unknown = refused(stage.ask(0, request(ChatToken([9; 16]), "a")).await);
    assert_eq!(unknown.code, Code::UnknownChat);
}

#[tokio::test]
async fn a_chat_that_is_over_is_asked_and_stays_as_it_is_to_its_readers() {
    let counter = counter();
    let stage = Stage::new(vec![chain(&[&counter])], Config::default());
    let ended = stage.chat().await;
    stage.say(ended, "k", "hello").await;
    stage.ask(0, Request::End { token: ended, sender: None }).await.unwrap();
    assert_eq!(twiml(stage.ask(0, request(ended, "a")).await).0, ONE);
    assert_eq!(stage.texts(0, ended).await, ["hello"]);
    // What it noted is kept all the same.
    let (second, _) = twiml(stage.ask(0, request(ended, "b")).await);
    assert_eq!(second, "<Response><Say>2</Say></Response>");
    // The same of one that is over by itself.
    let starter = Scripted::new("starter", |_call| {
        crate::stage::scripted::with(plugin::Verdict::Pass, vec![Effect::StartChat])
    });
    let stage = Stage::new(vec![chain(&[&starter, &counter])], Config::default());
    let expired = stage.chat_with(Some(60), None).await;
    stage.say(expired, "k", "hello").await;
    stage.world.look().wall_ms += 60_000 + 360_000 + 1;
    assert_eq!(twiml(stage.ask(0, request(expired, "a")).await).0, ONE);
    assert_eq!(stage.texts(0, expired).await, ["hello"]);
}

#[tokio::test]
async fn what_a_request_said_in_the_chat_is_no_decision_that_can_be_made_again() {
    let counter = counter();
    let stage = Stage::new(vec![chain(&[&counter])], Config::default());
    let token = stage.chat().await;
    twiml(stage.ask(0, request(token, "a")).await);
    let read = crate::stage::read(token, None);
    let page = crate::stage::page(stage.ask(0, read).await);
    assert_eq!(page.head, Cursor { epoch: 1, seq: 1 });
    let refusal = stage.chats[0].record(page.messages[0].message.id).await.unwrap_err();
    assert_eq!(refusal.code, Code::NotFound);
    assert!(refusal.detail.contains("Twilio"), "{}", refusal.detail);
}
