//! Decisions that are made again from the log.

use std::sync::Arc;

use chat::{Again, Chain, Code, Config, Handler, LiveChain, Record};
use model::{Body, Change, MessageId, Route, encode};
use plugin::{Draft, Effect, Verdict};

use crate::stage::scripted::{Scripted, pass, reject, strict, text, verdict, with};
use crate::stage::{Keeps, Stage, message, refused, send, sent};

fn of(generation: u64, handlers: &[&Arc<Scripted>]) -> Chain {
    let handler = |each: &&Arc<Scripted>| -> Arc<dyn Handler> { Arc::<Scripted>::clone(each) };
    Chain::of_generation(generation, handlers.iter().map(handler).collect())
}

/// Adds everything to a text that a call has of its own, and says hello in a message of its own.
fn tells() -> Arc<Scripted> {
    Scripted::new("tells", |call| {
        if text(call).is_empty() || text(call) == "slow" {
            return pass();
        }
        let ids = call.ids;
        let id = MessageId::derive(ids.partition, ids.chat, ids.epoch, ids.turn, ids.next_index);
        let hello = Draft {
            id,
            kind: "hello".into(),
            route: Route::Everyone,
            body: Body::Text(format!("{}", call.decisions.as_ref().map_or(0, |them| them.len()))),
            attrs: model::Attrs::new(),
        };
        let told = format!(
            "{} {:x} {} {} {:?}",
            text(call),
            call.seed,
            call.context.now_ms,
            call.roster.len(),
            call.context.head
        );
        with(Verdict::Rewrite(Body::Text(told)), vec![Effect::Post(hello)])
    })
}

/// Keeps back what is slow.
fn slow() -> Arc<Scripted> {
    Scripted::new("slow", |call| match text(call) {
        "slow" => verdict(Verdict::Hold { reason: "slow".into(), deadline_ms: 9, accept: true }),
        _ => pass(),
    })
}

async fn record(stage: &Stage, at: usize, id: MessageId) -> Record {
    stage.chats[at].record(id).await.unwrap_or_else(|refusal| panic!("{id}: {refusal}"))
}

async fn again(stage: &Stage, at: usize, id: MessageId, chain: &Chain) -> Again {
    let record = record(stage, at, id).await;
    stage.chats[at].again(&record, chain).await
}

/// A chat in which everything comes to be that a message can: what each message's id is, and what it came to.
async fn conversation(stage: &Stage) -> Vec<(MessageId, &'static str)> {
    let token = stage.chat().await;
    let mut ids = Vec::new();
    for (index, said) in ["hello", "bad", "bad", "again", "slow", "bad"].into_iter().enumerate() {
        stage.world.look().wall_ms += 7;
        let mut send = message(token, &format!("k{index}"), said);
        send.sent_ms = Some(5);
        if index == 3 {
            send.sender = "bob".into();
        }
        match stage.ask(0, chat::Request::Send(send)).await {
            Ok(chat::Response::Sent(sent)) => ids.push((sent.message.id, "stored")),
            Ok(chat::Response::Held { id, .. }) => ids.push((id, "held")),
            Err(refusal) => ids.push((*refusal.message.expect("its id"), "refused")),
            other => panic!("{other:?}"),
        }
    }
    ids
}

#[tokio::test]
async fn every_decision_comes_out_as_it_did() {
    let handlers = [strict(), tells(), slow()];
    let all: Vec<&Arc<Scripted>> = handlers.iter().collect();
    let live = LiveChain::from(of(3, &all));
    let stage = Stage::new(vec![live.clone(), live], Config::default());
    let ids = conversation(&stage).await;
    let words: Vec<&str> = ids.iter().map(|(_, word)| *word).collect();
    assert_eq!(words, ["stored", "refused", "refused", "stored", "held", "refused"]);
    let check = async |at: usize| {
        for (index, (id, word)) in ids.iter().enumerate() {
            let record = record(&stage, at, *id).await;
            assert_eq!(record.generation(), 3);
            let lineup = record.lineup.clone().expect("who decided");
            assert_eq!(lineup.handlers.len(), 3);
            let again = stage.chats[at].again(&record, &of(3, &all)).await;
            assert_eq!(again.differences, [""; 0], "{index}: {again:?}");
            assert_eq!((again.then.word, again.now.word), (*word, *word));
        }
    };
    check(0).await;
    // Other chats, a new epoch and later messages change nothing of it.
    conversation(&stage).await;
    stage.world.close();
    stage.world.open(1, Keeps::Everything);
    check(1).await;

    let third = again(&stage, 1, ids[2].0, &of(3, &all)).await;
    assert_eq!(third.now.reason.as_deref(), Some("strike 2"), "with the notes of then");
    let first = again(&stage, 1, ids[0].0, &of(3, &all)).await;
    let shown: Vec<&str> = first.calls.iter().map(|call| call.shown.as_str()).collect();
    assert_eq!(shown, ["member.join", "member.join", "member.join", "text", "text", "text"]);
}

#[tokio::test]
async fn other_handlers_say_what_they_would_have_decided() {
    let (strict, tells) = (strict(), tells());
    let stage = Stage::new(vec![of(1, &[&strict, &tells])], Config::default());
    let ids = conversation(&stage).await;
    let mild = Scripted::new("strict", |call| match text(call) {
        "again" => verdict(reject("not twice")),
        _ => pass(),
    });
    let other = of(1, &[&mild, &tells]);
    let bad = again(&stage, 0, ids[1].0, &other).await;
    assert_eq!((bad.then.word, bad.now.word), ("refused", "stored"));
    assert!(
        bad.differences.iter().any(|it| it == "then: refused strict no strike 1; now: stored"),
        "{:?}",
        bad.differences
    );
    assert!(bad.differences.iter().any(|it| it == "only then: strict: keep strikes = 0x01"));
    let fine = again(&stage, 0, ids[3].0, &other).await;
    assert_eq!((fine.then.word, fine.now.word), ("stored", "refused"));
    assert_eq!(fine.calls.last().map(|call| call.word()), Some("reject"));
    let same = again(&stage, 0, ids[0].0, &other).await;
    assert_eq!(same.differences, [""; 0], "it would have decided the same");
}

#[tokio::test]
async fn a_message_that_a_handler_added_is_of_its_turn_and_others_are_told_in_words() {
    let tells = tells();
    let greets = Scripted::listening(
        "greets",
        |_call| pass(),
        |call, event| {
            let ids = call.ids;
            let (kind, route) = ("hi".into(), Route::Everyone);
            let id =
                MessageId::derive(ids.partition, ids.chat, ids.epoch, ids.turn, ids.next_index);
            let (body, attrs) = (Body::Text(event.name.into()), model::Attrs::new());
            Ok(vec![Effect::Post(Draft { id, kind, route, body, attrs })])
        },
    );
    let stage = Stage::new(vec![of(1, &[&tells, &greets])], Config::default());
    let token = stage.chat().await;
    let first = sent(stage.ask(0, send(token, "k", "hello")).await);
    let added = record(&stage, 0, first.also[0]).await;
    assert_eq!(added.message, first.message.id);

    stage.comes_to(|| greets.told().iter().any(|name| name == "member.joined")).await;
    let told = stage
        .until(|inner| {
            let entries = inner.log.iter().filter_map(|it| encode::decode(&it.payload).ok());
            let mut messages =
                entries.flat_map(|entry| entry.messages().cloned().collect::<Vec<_>>());
            messages.find(|message| message.kind == "hi")
        })
        .await;
    let none = stage.chats[0].record(told.id).await.unwrap_err();
    assert_eq!(none.code, Code::NotFound);
    assert!(none.detail.contains("when it was told of an event"), "{none}");
    let nobody = stage.chats[0].record(MessageId([0; 16])).await.unwrap_err();
    assert_eq!(nobody.code, Code::UnknownMessage);
}

/// What is not committed may never have been.
#[tokio::test]
async fn only_what_is_committed_is_known() {
    let strict = strict();
    let stage = Stage::new(vec![of(1, &[&strict])], Config::default());
    let token = stage.chat().await;
    stage.say(token, "k0", "hello").await;
    stage.hold();
    let asking = stage.ask(0, send(token, "k1", "bad"));
    let before = stage.world.look().entries();
    let (refusal, ()) = tokio::join!(asking, async {
        stage.until(|inner| (inner.entries() > before).then_some(())).await;
        let entry = {
            let inner = stage.world.look();
            let last = inner.log.last().cloned().unwrap();
            (last.epoch, encode::decode(&last.payload).unwrap())
        };
        let (epoch, entry) = entry;
        assert!(entry.changes.iter().any(|change| matches!(change, Change::Asked(_))));
        let id = MessageId::derive(0, token, epoch, entry.turn, 0);
        let nobody = stage.chats[0].record(id).await.unwrap_err();
        assert_eq!(nobody.code, Code::UnknownMessage);
        stage.world.commit();
    });
    let id = *refused(refusal).message.expect("its id");
    assert_eq!(record(&stage, 0, id).await.body(), &Body::Text("bad".into()));
}
