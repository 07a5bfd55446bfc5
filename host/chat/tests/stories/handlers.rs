//! What handlers can do to a message, and what their failures do.

use std::sync::Arc;

use chat::{Code, Config, Request, RequestOutcome, Response};
use model::{Body, ChatStatus, MessageId, Route};
use plugin::{Draft, Effect, Failure, OnFailure, Verdict};

use crate::stage::scripted::{Asking, Scripted, chain, pass, reject, text, verdict, with};
use crate::stage::{Stage, page, read, refused, send, sent, texts};

fn draft(call: &Asking, words: &str, route: Route) -> Effect {
    let ids = call.ids;
    Effect::Post(Draft {
        id: MessageId::derive(ids.partition, ids.chat, ids.epoch, ids.turn, ids.next_index),
        kind: "text".into(),
        route,
        body: Body::Text(words.into()),
        attrs: Default::default(),
    })
}

fn breaks(on_failure: OnFailure) -> Arc<Scripted> {
    Scripted::with_policy("breaks", on_failure, |call| match text(call) {
        "break" => Err(Failure::Trap { text: "unreachable".into() }),
        _ => pass(),
    })
}

#[tokio::test]
async fn a_message_and_what_handlers_add_are_one_entry() {
    let greets = Scripted::new("greets", |call| match text(call) {
        "hello" => {
            with(Verdict::Pass, vec![draft(call, "greetings", Route::Everyone), Effect::StartChat])
        }
        _ => pass(),
    });
    let stage = Stage::new(vec![chain(&[&greets])], Config::default());
    let token = stage.chat().await;
    let before = stage.world.look().entries();
    let said = stage.say(token, "k1", "hello").await;
    assert_eq!(stage.world.look().entries(), before + 1);
    let page = page(stage.ask(0, read(token, None)).await);
    assert_eq!(texts(&page), ["hello", "greetings"]);
    assert_eq!(said.cursor, page.messages[0].cursor);
    assert_eq!(said.also, [page.messages[1].message.id]);
    assert_eq!(page.messages[1].message.sender, "system");
    assert_eq!(page.messages[0].message.stamps[0].verdict, "pass");
    let repeat = stage.say(token, "k1", "hello").await;
    assert_eq!(chat::Sent { replay: false, ..repeat }, said);
    let Ok(Response::Chat(shown)) = stage.ask(0, Request::Show { token, confirmed: false }).await
    else {
        panic!("not shown")
    };
    assert_eq!(shown.status, ChatStatus::Started);
    assert_eq!(shown.plugins["greets"], "1.0.0");
}

#[tokio::test]
async fn a_broken_handler_with_policy_reject_refuses_this_message_only() {
    let stage = Stage::new(vec![chain(&[&breaks(OnFailure::Reject)])], Config::default());
    let token = stage.chat().await;
    let refusal = refused(stage.ask(0, send(token, "k1", "break")).await);
    assert_eq!((refusal.code, refusal.plugin.as_deref()), (Code::PluginFailed, Some("breaks")));
    assert_eq!(refusal.outcome, Some(RequestOutcome::NotCommitted));
    stage.say(token, "k2", "hello").await;
    assert_eq!(stage.texts(0, token).await, ["hello"]);
}

#[tokio::test]
async fn a_broken_handler_with_policy_skip_is_stamped_and_the_rest_is_asked() {
    let last = Scripted::new("last", |_call| pass());
    let chain = chain(&[&breaks(OnFailure::Skip), &last]);
    let stage = Stage::new(vec![chain], Config::default());
    let token = stage.chat().await;
    let said = stage.say(token, "k1", "break").await;
    let stamps: Vec<(&str, &str)> = said
        .message
        .stamps
        .iter()
        .map(|stamp| (stamp.plugin.as_str(), stamp.verdict.as_str()))
        .collect();
    assert_eq!(stamps, [("breaks", "skipped"), ("last", "pass")]);
}

#[tokio::test]
async fn who_accepts_ends_the_round_and_who_refuses_drops_what_came_before() {
    let first = Scripted::new("first", |call| {
        let note = Effect::Note { key: "seen".into(), value: Some(vec![1]) };
        match text(call) {
            "accept" => verdict(Verdict::Accept),
            _ => with(Verdict::Pass, vec![note]),
        }
    });
    let second = Scripted::new("second", |call| match text(call) {
        "refuse" => {
            let warning = draft(call, "warning", Route::Only(vec!["alice".into()]));
            with(reject("no"), vec![warning])
        }
        "accept" => verdict(reject("was asked")),
        _ => pass(),
    });
    let stage = Stage::new(vec![chain(&[&first, &second])], Config::default());
    let token = stage.chat().await;
    let refusal = refused(stage.ask(0, send(token, "k1", "refuse")).await);
    assert_eq!((refusal.code, refusal.plugin.as_deref()), (Code::Rejected, Some("second")));
    assert_eq!(stage.texts(0, token).await, ["warning"], "what the refusing handler asked for");
    let said = stage.say(token, "k2", "accept").await;
    assert_eq!(said.message.stamps.len(), 1);
    assert_eq!(said.cursor.seq, 2);
}

#[tokio::test]
async fn an_illegal_transition_is_the_chats_own_refusal() {
    let status = Scripted::new("status", |call| match text(call) {
        "end" => verdict(Verdict::Reject {
            code: "illegal-transition".into(),
            reason: "it has not started".into(),
            retry_after_ms: None,
        }),
        _ => pass(),
    });
    let stage = Stage::new(vec![chain(&[&status])], Config::default());
    let token = stage.chat().await;
    let first = refused(stage.ask(0, send(token, "k1", "end")).await);
    assert_eq!(first.code, Code::IllegalTransition);
    assert_eq!(refused(stage.ask(0, send(token, "k1", "end")).await), first);
}

#[tokio::test]
async fn handlers_read_what_is_appended_and_not_committed() {
    let counts = Scripted::new("counts", |call| {
        if call.message().kind != "text" {
            return pass();
        }
        let count = call.notes.get("count").and_then(|value| value.first()).unwrap_or(&0) + 1;
        let note = Effect::Note { key: "count".into(), value: Some(vec![count]) };
        with(Verdict::Rewrite(Body::Text(count.to_string())), vec![note])
    });
    let stage = Stage::new(vec![chain(&[&counts])], Config::default());
    let token = stage.chat().await;
    stage.hold();
    let mut asking: Vec<_> =
        ["k1", "k2", "k3"].iter().map(|key| stage.ask(0, send(token, key, "x"))).collect();
    for each in &mut asking {
        crate::stage::waits(each).await;
    }
    stage.world.commit();
    for each in asking {
        sent(each.await);
    }
    assert_eq!(stage.texts(0, token).await, ["1", "2", "3"]);
}
