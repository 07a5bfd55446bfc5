//! Messages that handlers keep back: nobody sees them, and each ends once.

use std::sync::Arc;
use std::time::Duration;

use chat::{Code, Config, Request, Response};
use model::{ChatToken, MessageId};
use plugin::{Effect, Failure, OnFailure, Verdict};
use runtime::SimulatedClock;

use crate::stage::scripted::{Scripted, chain, pass, text, verdict, with};
use crate::stage::{Keeps, Stage, message, refused, send, sent};

const SECOND: Duration = Duration::from_secs(1);

fn hold(accept: bool) -> Verdict {
    Verdict::Hold { reason: "to be read".into(), deadline_ms: 1_000, accept }
}

/// Keeps `maybe` back until its deadline, and lets go of everything at `go` or drops it at `drop`.
fn reviewer(name: &str, accept: bool) -> Arc<Scripted> {
    let script = move |call: &crate::stage::scripted::Asking| {
        let held = call.waiting.iter().flat_map(|waiting| waiting.held.keys().copied());
        match text(call) {
            "maybe" => verdict(hold(accept)),
            "go" => {
                let release = held.map(|message| Effect::Release { message });
                with(Verdict::Pass, release.collect())
            }
            "drop" => {
                let drops = held.map(|message| {
                    let reason = "not today".to_owned();
                    Effect::DropHeld { message, reason }
                });
                with(Verdict::Pass, drops.collect())
            }
            _ => pass(),
        }
    };
    Scripted::listening(name, script, |_call, _event| Ok(Vec::new()))
}

fn expired(handler: &Scripted) -> usize {
    handler.told().iter().filter(|name| *name == "hold.expired").count()
}

async fn held(stage: &Stage, token: ChatToken, key: &str) -> (MessageId, bool) {
    match stage.ask(0, send(token, key, "maybe")).await {
        Ok(Response::Held { id, replay }) => (id, replay),
        other => panic!("{other:?}"),
    }
}

async fn pending(stage: &Stage, at: usize, token: ChatToken) -> usize {
    match stage.ask(at, Request::Show { token, confirmed: false }).await {
        Ok(Response::Chat(chat)) => chat.pending.held,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_held_message_is_seen_when_it_is_let_go_and_its_key_knows() {
    let stage = Stage::new(vec![chain(&[&reviewer("review", true)])], Config::default());
    let token = stage.chat().await;
    let (id, first) = held(&stage, token, "k1").await;
    assert!(!first);
    assert_eq!(stage.texts(0, token).await, [""; 0]);
    assert_eq!(held(&stage, token, "k1").await, (id, true), "asked again while it is held");
    let other = refused(stage.ask(0, send(token, "k1", "other")).await);
    assert_eq!(other.code, Code::IdempotencyConflict);
    assert_eq!(pending(&stage, 0, token).await, 1);

    let go = stage.say(token, "k2", "go").await;
    assert_eq!(go.also, [], "what it let go was said by somebody else");
    assert_eq!(stage.texts(0, token).await, ["go", "maybe"]);
    assert_eq!(pending(&stage, 0, token).await, 0);
    let replay = stage.say(token, "k1", "maybe").await;
    assert!(replay.replay);
    assert_eq!((replay.message.id, replay.cursor.seq), (id, 2));
    assert_eq!(replay.message.stamps[0].verdict, "hold");
    // The key that let it go has its own answer still.
    assert_eq!(stage.say(token, "k2", "go").await.cursor, go.cursor);
    stage.say(token, "k3", "go").await;
    assert_eq!(stage.texts(0, token).await, ["go", "maybe", "go"], "it is let go once");
}

#[tokio::test]
async fn a_dropped_message_is_a_refusal_for_its_key() {
    let stage = Stage::new(vec![chain(&[&reviewer("review", true)])], Config::default());
    let token = stage.chat().await;
    held(&stage, token, "k1").await;
    stage.say(token, "k2", "drop").await;
    let refusal = refused(stage.ask(0, send(token, "k1", "maybe")).await);
    assert_eq!((refusal.code, refusal.plugin.as_deref()), (Code::Rejected, Some("review")));
    assert_eq!(refusal.reason_code.as_deref(), Some("dropped"));
    assert_eq!(refusal.reason.as_deref(), Some("not today"));
    stage.say(token, "k3", "go").await;
    assert_eq!(stage.texts(0, token).await, ["drop", "go"]);
}

#[tokio::test]
async fn everybody_who_keeps_it_back_must_let_it_go() {
    let (one, two) = (reviewer("one", true), reviewer("two", true));
    let only = Scripted::new("first", |call| match (text(call), &call.waiting) {
        ("maybe", _) => verdict(hold(true)),
        ("one", Some(waiting)) => {
            let release = waiting.held.keys().map(|message| Effect::Release { message: *message });
            with(Verdict::Pass, release.collect())
        }
        _ => pass(),
    });
    let stage = Stage::new(vec![chain(&[&only, &one])], Config::default());
    let token = stage.chat().await;
    held(&stage, token, "k1").await;
    stage.say(token, "k2", "one").await;
    assert_eq!(stage.texts(0, token).await, ["one"], "the other one still keeps it");
    stage.say(token, "k3", "go").await;
    assert_eq!(stage.texts(0, token).await, ["one", "go", "maybe"]);
    assert_eq!(two.calls(), 0);
}

#[tokio::test]
async fn at_its_deadline_it_is_stored_or_dropped_and_its_handler_is_told() {
    for accept in [true, false] {
        let clock = SimulatedClock::new();
        let _entered = clock.enter();
        let review = reviewer("review", accept);
        let stage = Stage::new(vec![chain(&[&review])], Config::default());
        let token = stage.chat().await;
        held(&stage, token, "k1").await;
        clock.set(SECOND - Duration::from_millis(1));
        stage.rest().await;
        assert_eq!(pending(&stage, 0, token).await, 1, "not before its time");
        clock.set(SECOND);
        stage.comes_to(|| expired(&review) == 1).await;
        stage.rest().await;
        let texts = stage.texts(0, token).await;
        if accept {
            assert_eq!(texts, ["maybe"]);
            assert!(sent(stage.ask(0, send(token, "k1", "maybe")).await).replay);
        } else {
            assert_eq!(texts, [""; 0]);
            let refusal = refused(stage.ask(0, send(token, "k1", "maybe")).await);
            assert_eq!(refusal.reason_code.as_deref(), Some("hold-expired"));
        }
        clock.set(10 * SECOND);
        stage.rest().await;
        assert_eq!((expired(&review), pending(&stage, 0, token).await), (1, 0));
    }
}

/// T-S13, of a deadline.
#[tokio::test]
async fn who_takes_over_ends_it_with_what_is_left_and_once() {
    let clock = SimulatedClock::new();
    let _entered = clock.enter();
    let (one, two) = (reviewer("review", true), reviewer("review", true));
    let stage = Stage::new(vec![chain(&[&one]), chain(&[&two])], Config::default());
    let token = stage.chat().await;
    held(&stage, token, "k1").await;
    stage.world.close();
    // The wall clock says that 700 of its 1,000 ms are gone.
    stage.world.look().wall_ms += 700;
    stage.world.open(1, Keeps::Everything);
    assert_eq!(pending(&stage, 1, token).await, 1);
    stage.rest().await;
    clock.set(Duration::from_millis(299));
    stage.rest().await;
    assert_eq!(stage.texts(1, token).await, [""; 0]);
    clock.set(Duration::from_millis(300));
    stage.comes_to(|| expired(&two) == 1).await;
    stage.rest().await;
    assert_eq!(stage.texts(1, token).await, ["maybe"]);
    // Back to the first, which once knew it as held.
    stage.world.close();
    stage.world.open(0, Keeps::Everything);
    clock.set(10 * SECOND);
    stage.rest().await;
    assert_eq!(stage.texts(0, token).await, ["maybe"]);
    assert_eq!(expired(&one), 0, "its deadline was over when another led");
}

/// T-S13, of a deadline whose entry is lost.
#[tokio::test]
async fn an_end_that_was_not_committed_ends_nothing() {
    let clock = SimulatedClock::new();
    let _entered = clock.enter();
    let (one, two) = (reviewer("review", true), reviewer("review", true));
    let stage = Stage::new(vec![chain(&[&one]), chain(&[&two])], Config::default());
    let token = stage.chat().await;
    held(&stage, token, "k1").await;
    stage.hold();
    clock.set(SECOND);
    stage.comes_to(|| expired(&one) == 1).await;
    stage.rest().await;
    // The entry in which it ended is lost with its epoch; the next leader ends it.
    stage.world.close();
    stage.world.look().commits = true;
    stage.world.look().wall_ms += 60_000;
    stage.world.open(1, Keeps::Committed);
    stage.comes_to(|| expired(&two) == 1).await;
    stage.rest().await;
    assert_eq!(stage.texts(1, token).await, ["maybe"]);
}

#[tokio::test]
async fn the_end_of_a_chat_drops_what_it_keeps_back() {
    let stage = Stage::new(vec![chain(&[&reviewer("review", true)])], Config::default());
    let token = stage.chat().await;
    held(&stage, token, "k1").await;
    stage.ask(0, Request::End { token, sender: None }).await.unwrap();
    let refusal = refused(stage.ask(0, send(token, "k1", "maybe")).await);
    assert_eq!(refusal.reason_code.as_deref(), Some("chat-ended"));
    assert_eq!(pending(&stage, 0, token).await, 0);
}

#[tokio::test]
async fn a_chat_keeps_back_only_so_much() {
    let stage = Stage::new(vec![chain(&[&reviewer("review", true)])], Config::default());
    let token = stage.chat().await;
    for key in 0..model::HELD_MAX {
        held(&stage, token, &key.to_string()).await;
    }
    let refusal = refused(stage.ask(0, send(token, "more", "maybe")).await);
    assert_eq!((refusal.code, refusal.retryable), (Code::Overloaded, true));
    stage.say(token, "go", "go").await;
    held(&stage, token, "more").await;
}

#[tokio::test]
async fn a_broken_handler_with_policy_hold_keeps_messages_back_and_nobody_out() {
    let breaks = Scripted::with_policy("breaks", OnFailure::Hold, |call| match text(call) {
        "maybe" => Err(Failure::Trap { text: "unreachable".into() }),
        _ => pass(),
    });
    let stage = Stage::new(vec![chain(&[&breaks])], Config::default());
    let token = stage.chat().await;
    held(&stage, token, "k1").await;
    assert_eq!(stage.texts(0, token).await, [""; 0]);
    let door =
        Scripted::with_policy("door", OnFailure::Hold, |call| match call.message().kind.as_str() {
            "member.join" => verdict(hold(true)),
            _ => pass(),
        });
    let stage = Stage::new(vec![chain(&[&door])], Config::default());
    let token = stage.chat().await;
    let refusal = refused(stage.ask(0, Request::Send(message(token, "k", "hello"))).await);
    assert_eq!(refusal.code, Code::PluginFailed);
}
