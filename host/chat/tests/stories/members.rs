//! Who comes and goes.

use chat::{Code, Config, Request, Response, Send};
use model::{Attrs, ChatToken};
use plugin::{Effect, Verdict};

use crate::stage::scripted::{Scripted, chain, pass, reject, verdict, with};
use crate::stage::{Stage, message, refused, send, sent, waits};

fn join(token: ChatToken, id: &str) -> Request {
    Request::Join { token, id: id.into(), role: None, attrs: Attrs::new() }
}

async fn members(stage: &Stage, token: ChatToken) -> Vec<(String, u32)> {
    match stage.ask(0, Request::Show { token, confirmed: false }).await {
        Ok(Response::Chat(chat)) => {
            chat.participants.into_iter().map(|member| (member.id, member.ordinal)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_chat_takes_as_many_as_it_may_and_ordinals_stay() {
    let stage = Stage::one();
    let token = stage.chat_with(None, Some(2)).await;
    assert_eq!(stage.ask(0, join(token, "bob")).await, Ok(Response::Joined { ordinal: 1 }));
    stage.say(token, "k1", "hello").await;
    assert_eq!(members(&stage, token).await, [("bob".into(), 1), ("alice".into(), 2)]);
    assert_eq!(refused(stage.ask(0, join(token, "eve")).await).code, Code::ChatFull);
    let eve = Send { sender: "eve".into(), ..message(token, "k1", "hi") };
    assert_eq!(refused(stage.ask(0, Request::Send(eve.clone())).await).code, Code::ChatFull);
    assert_eq!(stage.ask(0, join(token, "bob")).await, Ok(Response::Joined { ordinal: 1 }));
    let leave = Request::Leave { token, id: "bob".into() };
    assert_eq!(stage.ask(0, leave.clone()).await, Ok(Response::Left));
    assert_eq!(stage.ask(0, leave).await, Ok(Response::Left), "also who is not there");
    assert!(!sent(stage.ask(0, Request::Send(eve)).await).replay, "a full chat is not remembered");
    assert_eq!(members(&stage, token).await, [("alice".into(), 2), ("eve".into(), 3)]);
}

/// Pairs of 1,000 bytes each.
fn pairs(count: usize) -> Attrs {
    (0..count).map(|n| (format!("pair-{n}"), "x".repeat(1000))).collect()
}

/// Lets people join with 32 pairs until the chat takes no more.
async fn fill(stage: &Stage, token: ChatToken) -> usize {
    for count in 0..66 {
        let id = format!("member-{count}");
        let join = Request::Join { token, id, role: None, attrs: pairs(32) };
        match stage.ask(0, join).await {
            Ok(_joined) => {}
            Err(refusal) => {
                assert_eq!(refusal.code, Code::ChatFull);
                assert!(refusal.detail.contains("bytes"), "{refusal}");
                return count;
            }
        }
    }
    66
}

#[tokio::test]
async fn a_chat_holds_only_so_much_of_its_people_that_any_node_can_show_it() {
    let chains = vec![chat::Chain::default(), chat::Chain::default()];
    let stage = Stage::new(chains, Config::default());
    let token = stage.chat().await;
    let count = fill(&stage, token).await;
    match stage.ask(1, Request::Show { token, confirmed: false }).await {
        Ok(Response::Chat(chat)) => assert_eq!(chat.participants.len(), count),
        other => panic!("{:?}", other.err()),
    }
    let mut alone = 0;
    let last = loop {
        // Whoever brings little still fits, for a while.
        let id = format!("{alone:0>200}");
        match stage.ask(0, join(token, &id)).await {
            Ok(_joined) => alone += 1,
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(last.code, Code::ChatFull);
    let sender = "s".repeat(255);
    let send = Send { sender, ..message(token, "k1", "who comes with a message too") };
    let refusal = refused(stage.ask(0, Request::Send(send)).await);
    assert_eq!((refusal.code, refusal.detail), (Code::ChatFull, last.detail));
    let more = Request::Join { token, id: "member-0".into(), role: None, attrs: pairs(33) };
    assert_eq!(refused(stage.ask(0, more).await).code, Code::ChatFull);
    let less = Request::Join { token, id: "member-0".into(), role: None, attrs: pairs(31) };
    assert_eq!(stage.ask(0, less).await, Ok(Response::Joined { ordinal: 1 }));
    sent(stage.ask(0, send_again(token)).await);
}

fn send_again(token: ChatToken) -> Request {
    Request::Send(Send { sender: "s".repeat(255), ..message(token, "k1", "now there is room") })
}

#[tokio::test]
async fn a_handler_adds_no_more_to_somebody_than_the_chat_can_hold() {
    let tagger = Scripted::new("tagger", |call| match call.message().kind.as_str() {
        "tag" => {
            let tag = |n: usize| Effect::MemberAttr {
                member: "member-0".into(),
                name: format!("tag-{n}"),
                value: "x".repeat(4000),
            };
            with(Verdict::Pass, (0..30).map(tag).collect())
        }
        _ => pass(),
    });
    let stage = Stage::new(vec![chain(&[&tagger])], Config::default());
    let token = stage.chat().await;
    fill(&stage, token).await;
    let (sender, kind) = ("system".to_owned(), "tag".to_owned());
    let tag = Send { sender, kind, ..message(token, "k1", "") };
    let refusal = refused(stage.ask(0, Request::Send(tag.clone())).await);
    assert_eq!(refusal.code, Code::ChatFull);
    assert!(refusal.detail.contains("bytes"), "{refusal}");
    for id in ["member-1", "member-2", "member-3", "member-4"] {
        stage.ask(0, Request::Leave { token, id: id.into() }).await.unwrap();
    }
    sent(stage.ask(0, Request::Send(tag)).await);
}

#[tokio::test]
async fn a_handler_may_refuse_who_comes_with_a_message_and_then_neither_happens() {
    let door = Scripted::new("door", |call| match call.message().kind.as_str() {
        "member.join" if call.message().sender == "alice" => verdict(reject("not you")),
        _ => pass(),
    });
    let stage = Stage::new(vec![chain(&[&door])], Config::default());
    let token = stage.chat().await;
    let refusal = refused(stage.ask(0, send(token, "k1", "hello")).await);
    assert_eq!((refusal.code, refusal.reason.as_deref()), (Code::Rejected, Some("not you")));
    assert_eq!(refused(stage.ask(0, send(token, "k1", "hello")).await), refusal);
    assert_eq!(door.calls(), 1, "its message was not shown, and the repeat is remembered");
    assert!(members(&stage, token).await.is_empty());
    assert!(stage.texts(0, token).await.is_empty());
}

#[tokio::test]
async fn a_handler_may_refuse_a_join_and_count_it() {
    let door = Scripted::new("door", |call| match call.message().kind.as_str() {
        "member.join" => {
            let knocks = call.notes.get("knocks").map_or(0, Vec::len) + 1;
            let note = Effect::Note { key: "knocks".into(), value: Some(vec![1; knocks]) };
            with(reject(&format!("knock {knocks}")), vec![note])
        }
        _ => pass(),
    });
    let stage = Stage::new(vec![chain(&[&door])], Config::default());
    let token = stage.chat().await;
    for wanted in ["knock 1", "knock 2"] {
        let refusal = refused(stage.ask(0, join(token, "bob")).await);
        assert_eq!((refusal.code, refusal.reason.as_deref()), (Code::Rejected, Some(wanted)));
    }
}

#[tokio::test]
async fn a_handler_may_keep_somebody_from_leaving() {
    let door = Scripted::new("door", |call| match call.message().kind.as_str() {
        "member.leave" => verdict(reject("stay")),
        _ => pass(),
    });
    let stage = Stage::new(vec![chain(&[&door])], Config::default());
    let token = stage.chat().await;
    stage.ask(0, join(token, "bob")).await.unwrap();
    let leave = Request::Leave { token, id: "bob".into() };
    assert_eq!(refused(stage.ask(0, leave).await).code, Code::Rejected);
    assert_eq!(members(&stage, token).await.len(), 1);
}

#[tokio::test]
async fn the_status_of_somebody_unknown_brings_them_in_while_there_is_room() {
    let status = Scripted::new("status", |call| match call.message().kind.as_str() {
        "user.status" => {
            let status = "unavailable".into();
            with(Verdict::Pass, vec![Effect::MemberStatus { member: "bob".into(), status }])
        }
        _ => pass(),
    });
    let stage = Stage::new(vec![chain(&[&status])], Config::default());
    let token = stage.chat_with(None, Some(1)).await;
    let told = |key: &str| {
        let (sender, kind) = ("system".into(), "user.status".into());
        Request::Send(Send { sender, kind, ..message(token, key, "") })
    };
    sent(stage.ask(0, told("k1")).await);
    assert_eq!(
        members(&stage, token).await,
        [("bob".into(), 1)],
        "the system itself joins nothing"
    );
    let token = stage.chat_with(None, Some(0)).await;
    let told = Request::Send(Send {
        sender: "system".into(),
        kind: "user.status".into(),
        ..message(token, "k1", "")
    });
    assert_eq!(refused(stage.ask(0, told).await).code, Code::ChatFull);
}

/// A full chat is only full once the one who filled it is committed.
#[tokio::test]
async fn nobody_is_kept_out_by_somebody_who_is_withdrawn() {
    let chains = vec![chat::Chain::default(), chat::Chain::default()];
    let stage = Stage::new(chains, Config::default());
    let token = stage.chat_with(None, Some(1)).await;
    stage.hold();
    let mut bob = stage.ask(0, join(token, "bob"));
    waits(&mut bob).await;
    let mut eve = stage.ask(0, join(token, "eve"));
    waits(&mut eve).await;
    stage.world.commit();
    assert_eq!(bob.await, Ok(Response::Joined { ordinal: 1 }));
    assert_eq!(refused(eve.await).code, Code::ChatFull);
}

/// The original counted with one update of a row; here joins take turns, and nothing is said before it is
/// committed.
#[tokio::test]
async fn of_many_who_join_at_once_as_many_are_in_as_may() {
    let stage = Stage::one();
    let token = stage.chat_with(None, Some(3)).await;
    stage.hold();
    let ids: Vec<String> = (0..20).map(|number| format!("p{number}")).collect();
    let mut asking: Vec<_> = ids.iter().map(|id| stage.ask(0, join(token, id))).collect();
    for one in &mut asking {
        waits(one).await;
    }
    stage.world.look().commits = true;
    stage.world.commit();
    let mut ordinals = Vec::new();
    for one in asking {
        match one.await {
            Ok(Response::Joined { ordinal }) => ordinals.push(ordinal),
            other => assert_eq!(refused(other).code, Code::ChatFull),
        }
    }
    assert_eq!(ordinals, [1, 2, 3]);
    assert_eq!(members(&stage, token).await.len(), 3);
}
