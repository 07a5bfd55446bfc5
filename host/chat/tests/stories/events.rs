//! Events: told to those who listen, after what they tell of is committed. And calls out, with history and
//! earlier decisions as handlers are told them.

use std::sync::Arc;

use chat::{Config, OutcallDone, Request, Response};
use model::{Attrs, Change, ChatToken, Cursor};
use plugin::{Effect, Failure, Verdict};

use crate::stage::scripted::{Asking, Scripted, chain, pass, text, with};
use crate::stage::{Keeps, Stage, send};

fn note(key: &str, value: u8) -> Effect {
    Effect::Note { key: key.into(), value: Some(vec![value]) }
}

/// Counts in a note what it was told, whatever it was.
fn counter() -> Arc<Scripted> {
    Scripted::listening(
        "counter",
        |_call| pass(),
        |call, _event| {
            let before = call.notes.get("count").and_then(|value| value.first()).unwrap_or(&0);
            Ok(vec![note("count", before + 1), attr("count", before + 1)])
        },
    )
}

fn attr(name: &str, value: u8) -> Effect {
    Effect::ChatAttr { name: name.into(), value: value.to_string() }
}

async fn shown(stage: &Stage, at: usize, token: ChatToken) -> chat::ChatView {
    match stage.ask(at, Request::Show { token, confirmed: false }).await {
        Ok(Response::Chat(chat)) => *chat,
        other => panic!("{other:?}"),
    }
}

async fn counted(stage: &Stage, at: usize, token: ChatToken) -> Option<String> {
    shown(stage, at, token).await.attrs.get("count").cloned()
}

fn join(token: ChatToken, id: &str) -> Request {
    Request::Join { token, id: id.into(), role: None, attrs: Attrs::new() }
}

#[tokio::test]
async fn who_listens_is_told_what_is_committed_and_in_its_order() {
    let counter = counter();
    let starter = Scripted::new("starter", |call| match text(call) {
        "start" => with(Verdict::Pass, vec![Effect::StartChat]),
        _ => pass(),
    });
    let stage = Stage::new(vec![chain(&[&starter, &counter])], Config::default());
    let token = stage.chat().await;
    stage.hold();
    let mut joins = stage.ask(0, join(token, "bob"));
    crate::stage::waits(&mut joins).await;
    stage.rest().await;
    assert_eq!(counter.told(), [""; 0], "nothing is told that could be withdrawn");
    stage.world.look().commits = true;
    stage.world.commit();
    joins.await.unwrap();
    stage.say(token, "k1", "start").await;
    stage.ask(0, join(token, "bob")).await.unwrap();
    stage.ask(0, Request::Leave { token, id: "bob".into() }).await.unwrap();
    stage.ask(0, Request::End { token, sender: None }).await.unwrap();
    stage.comes_to(|| counter.told().len() == 5).await;
    stage.rest().await;
    let told = ["member.joined", "member.joined", "chat.started", "member.left", "chat.ended"];
    assert_eq!(counter.told(), told);
    assert_eq!(counted(&stage, 0, token).await.as_deref(), Some("5"));
}

#[tokio::test]
async fn an_event_takes_effect_once_through_a_take_over() {
    let counters = [counter(), counter()];
    let chains = counters.iter().map(|counter| chain(&[counter])).collect();
    let stage = Stage::new(chains, Config::default());
    let token = stage.chat().await;
    // Told, and the entry that says so is lost with its epoch.
    counters[0].ears.forget_permits(10_000);
    stage.ask(0, join(token, "bob")).await.unwrap();
    stage.hold();
    counters[0].ears.add_permits(10_000);
    stage.comes_to(|| counters[0].told().len() == 1).await;
    stage.rest().await;
    stage.world.close();
    stage.world.look().commits = true;
    stage.world.open(1, Keeps::Committed);
    stage.comes_to(|| counters[1].told().len() == 1).await;
    stage.rest().await;
    assert_eq!(counted(&stage, 1, token).await.as_deref(), Some("1"));
    // Told and committed: nobody tells it again.
    stage.world.close();
    stage.world.open(0, Keeps::Everything);
    stage.rest().await;
    assert_eq!(counters[0].told().len(), 1);
    assert_eq!(counted(&stage, 0, token).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_listener_that_fails_is_told_once_and_the_others_are_told() {
    let breaks = Scripted::listening(
        "breaks",
        |_call| pass(),
        |_call, _event| Err(Failure::Trap { text: "unreachable".into() }),
    );
    let counter = counter();
    let stage = Stage::new(vec![chain(&[&breaks, &counter])], Config::default());
    let token = stage.chat().await;
    stage.ask(0, join(token, "bob")).await.unwrap();
    stage.comes_to(|| counter.told().len() == 1).await;
    stage.rest().await;
    assert_eq!(breaks.told().len(), 1);
    assert_eq!(counted(&stage, 0, token).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn events_that_cause_events_come_to_an_end() {
    let grows = Scripted::listening(
        "grows",
        |_call| pass(),
        |call, _event| {
            let member = format!("guest-{}", call.roster.len());
            Ok(vec![Effect::MemberStatus { member, status: "connected".into() }])
        },
    );
    let stage = Stage::new(vec![chain(&[&grows])], Config::default());
    let token = stage.chat().await;
    stage.ask(0, join(token, "bob")).await.unwrap();
    stage.comes_to(|| grows.told().len() == 4).await;
    stage.rest().await;
    assert_eq!(grows.told().len(), 4);
    assert_eq!(shown(&stage, 0, token).await.participants.len(), 5);
}

#[tokio::test]
async fn where_nobody_listens_nothing_is_written_for_listeners() {
    let stage = Stage::one();
    let token = stage.chat().await;
    let before = stage.world.look().entries();
    stage.ask(0, join(token, "bob")).await.unwrap();
    stage.rest().await;
    let inner = stage.world.look();
    assert_eq!(inner.entries(), before + 1);
    let last = model::encode::decode(&inner.log.last().unwrap().payload).unwrap();
    assert!(matches!(&last.changes[..], [Change::Join { .. }]), "{last:?}");
}

/// Has a service called when it is asked to, and keeps the status of the answer.
fn caller() -> Arc<Scripted> {
    Scripted::calling(
        "caller",
        |call| match text(call) {
            "ask" => with(
                Verdict::Pass,
                vec![Effect::Outcall {
                    service: "crm".into(),
                    path: "/score".into(),
                    headers: Attrs::new(),
                    body: b"{}".to_vec(),
                    correlation: "c1".into(),
                }],
            ),
            _ => pass(),
        },
        |_call, reply| match reply.status {
            503 => Err(Failure::Busy),
            status => Ok(vec![attr("status", u8::try_from(status).unwrap_or(u8::MAX))]),
        },
    )
}

fn done(token: ChatToken, status: u16) -> Request {
    let body = b"7".to_vec();
    Request::OutcallDone(OutcallDone { token, number: 1, status, body, attempts: 2 })
}

fn told_of_replies(handler: &Scripted) -> usize {
    handler.told().iter().filter(|told| *told == "c1").count()
}

#[tokio::test]
async fn a_call_out_waits_until_it_is_answered_and_is_answered_once() {
    let caller = caller();
    let stage = Stage::new(vec![chain(&[&caller])], Config::default());
    let token = stage.chat().await;
    stage.say(token, "k1", "ask").await;
    assert_eq!(shown(&stage, 0, token).await.pending.outcalls, 1);
    let later = stage.ask(0, done(token, 503)).await.unwrap_err();
    assert!(later.retryable, "a handler that was busy is asked again");
    assert_eq!(shown(&stage, 0, token).await.pending.outcalls, 1);
    for waited in [true, false] {
        assert_eq!(stage.ask(0, done(token, 200)).await, Ok(Response::OutcallDone { waited }));
    }
    assert_eq!(told_of_replies(&caller), 2, "one of them failed");
    let chat = shown(&stage, 0, token).await;
    assert_eq!(chat.attrs.get("status").map(String::as_str), Some("200"));
    assert!(chat.pending.is_empty());
}

#[tokio::test]
async fn a_reply_that_its_plugin_cannot_take_ends_its_call_after_three_runs() {
    let caller = Scripted::calling(
        "caller",
        |call| {
            if text(call) != "ask" {
                return pass();
            }
            let (service, path) = ("crm".into(), "/score".into());
            let (headers, body, correlation) = (Attrs::new(), b"{}".to_vec(), "c1".into());
            let call = Effect::Outcall { service, path, headers, body, correlation };
            with(Verdict::Pass, vec![call])
        },
        |_call, _reply| Err(Failure::Deadline { deadline_ms: 50 }),
    );
    let stage = Stage::new(vec![chain(&[&caller])], Config::default());
    let token = stage.chat().await;
    stage.say(token, "k1", "ask").await;
    let done = OutcallDone { token, number: 1, status: 200, body: b"7".to_vec(), attempts: 2 };
    let done = || Request::OutcallDone(done.clone());
    for _run in 1..3 {
        let later = stage.ask(0, done()).await.unwrap_err();
        assert!(later.retryable);
        assert_eq!(shown(&stage, 0, token).await.pending.outcalls, 1);
    }
    for waited in [true, false] {
        assert_eq!(stage.ask(0, done()).await, Ok(Response::OutcallDone { waited }));
    }
    assert_eq!(caller.told().into_iter().filter(|told| told == "c1").count(), 3);
    let chat = shown(&stage, 0, token).await;
    assert!(chat.pending.is_empty(), "nobody waits for it any more");
    stage.say(token, "k2", "and on it goes").await;
}

/// T-S13, of a reply. Its entry is lost with its epoch: whoever leads next is given it again, and its effects are there
/// once (T-I6).
#[tokio::test]
async fn a_reply_that_was_not_committed_is_given_to_the_next_leader() {
    let (one, two) = (caller(), caller());
    let stage = Stage::new(vec![chain(&[&one]), chain(&[&two])], Config::default());
    let token = stage.chat().await;
    stage.say(token, "k1", "ask").await;
    stage.hold();
    let comes = async {
        stage.comes_to(|| told_of_replies(&one) == 1).await;
        stage.rest().await;
    };
    tokio::select! { biased;
        answer = stage.ask(0, done(token, 200)) => panic!("nothing is committed: {answer:?}"),
        () = comes => {}
    }
    stage.world.close();
    stage.world.look().commits = true;
    stage.world.open(1, Keeps::Committed);
    assert_eq!(shown(&stage, 1, token).await.pending.outcalls, 1, "it waits");
    for waited in [true, false] {
        let asked = stage.ask(1, done(token, 201)).await;
        assert_eq!(asked, Ok(Response::OutcallDone { waited }));
    }
    assert_eq!((told_of_replies(&one), told_of_replies(&two)), (1, 1));
    let chat = shown(&stage, 1, token).await;
    assert_eq!(chat.attrs.get("status").map(String::as_str), Some("201"));
}

/// Tells in its message's place what it is told of the past.
async fn past(call: &Asking, at: Cursor, limit: usize) -> Vec<String> {
    let past = call.past.clone().expect("it may read it");
    let earlier = past.before(at, limit).await.expect("it can be read");
    let texts = earlier.iter().map(|earlier| match &earlier.message.body {
        model::Body::Text(text) => format!("{}:{text}", earlier.at.seq),
        other => format!("{other:?}"),
    });
    texts.collect()
}

#[tokio::test]
async fn a_handler_reads_what_is_appended_before_it() {
    let reader = Scripted::new("reader", |call| match text(call) {
        "read" => {
            let everything = Cursor { epoch: u64::MAX, seq: u64::MAX };
            let (all, three, before) = futures(call, everything);
            assert_eq!(all, ["1:a", "2:b", "3:c", "4:d"]);
            assert_eq!(three, ["2:b", "3:c", "4:d"]);
            assert_eq!(before, ["1:a", "2:b"]);
            pass()
        }
        _ => pass(),
    });
    let stage = Stage::new(vec![chain(&[&reader])], Config::default());
    let token = stage.chat().await;
    stage.say(token, "k1", "a").await;
    stage.say(token, "k2", "b").await;
    stage.hold();
    let mut asking: Vec<_> =
        ["c", "d"].iter().map(|words| stage.ask(0, send(token, words, words))).collect();
    for each in &mut asking {
        crate::stage::waits(each).await;
    }
    let mut reads = stage.ask(0, send(token, "r", "read"));
    crate::stage::waits(&mut reads).await;
    stage.world.commit();
    assert!(reads.await.is_ok(), "the handler has seen what it should");
}

/// Everything, the last three, and what is before the third: what is in memory is there at once.
fn futures(call: &Asking, everything: Cursor) -> (Vec<String>, Vec<String>, Vec<String>) {
    let third = Cursor { epoch: call.ids.epoch, seq: 3 };
    let now = |at, limit| {
        let mut read = Box::pin(past(call, at, limit));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match read.as_mut().poll(&mut context) {
            std::task::Poll::Ready(texts) => texts,
            std::task::Poll::Pending => panic!("it is in memory"),
        }
    };
    (now(everything, 9), now(everything, 3), now(third, 9))
}

#[tokio::test]
async fn a_handler_is_told_what_it_decided_before() {
    let judge = Scripted::new("judge", |call| {
        let before = call.decisions.iter().flat_map(|decisions| decisions.iter());
        let before: Vec<String> =
            before.map(|decision| format!("{}@{}", decision.verdict, decision.at.seq)).collect();
        match text(call) {
            "bad" => crate::stage::scripted::verdict(crate::stage::scripted::reject("no")),
            "tell" => crate::stage::scripted::verdict(Verdict::Rewrite(model::Body::Text(
                before.join(" "),
            ))),
            _ => pass(),
        }
    });
    let stage = Stage::new(vec![chain(&[&judge])], Config::default());
    let token = stage.chat().await;
    stage.say(token, "k1", "good").await;
    stage.ask(0, send(token, "k2", "bad")).await.unwrap_err();
    let said = stage.say(token, "k3", "tell").await;
    // First the join of who said it.
    assert_eq!(said.message.body, model::Body::Text("pass@0 pass@1 reject@1".into()));
}
