//! What a turn makes of a chat and of its handlers' replies.

use std::sync::Arc;

use hashring::PartitionId;
use model::{Answer, Attrs, Body, Change, Chat, ChatToken, Cursor, Message, MessageId, Route};
use plugin::{Draft, Effect, Failure, OnFailure, Reply, Verdict};

use super::{Flow, Played, Stopped, Turn, Who};
use crate::effects::Full;
use crate::play::Scene;
use crate::{Code, Config, RequestOutcome, Send};

const TOKEN: ChatToken = ChatToken([1; 16]);
const REJECTS: Who<'_> =
    Who { name: "p", version: "1", on_failure: OnFailure::Reject, recalls: false };
const SKIPS: Who<'_> = Who { name: "q", version: "2", on_failure: OnFailure::Skip, recalls: false };

fn chat() -> Chat {
    let mut chat = Chat { turn: 4, ..Chat::new(TOKEN) };
    chat.change(&Change::Join { id: "alice".into(), role: "host".into(), attrs: Attrs::new() }, 5);
    chat
}

fn scene<'a>(chat: &'a Chat, config: &'a Config) -> Scene<'a> {
    let head = Cursor { epoch: 2, seq: 9 };
    Scene { chat, head, partition: PartitionId(3), epoch: 2, now_ms: 100, config }
}

fn send(sender: &str) -> Send {
    Send {
        token: TOKEN,
        key: "k".into(),
        acks: None,
        copies: None,
        sender: sender.into(),
        kind: "text".into(),
        route: Route::Everyone,
        body: Body::Text("hello".into()),
        archive: None,
        attrs: Attrs::new(),
        sent_ms: None,
    }
}

fn reply(verdict: Verdict, effects: Vec<Effect>) -> Result<Reply, Failure> {
    Ok(Reply { verdict, notes: Vec::new(), effects, fuel: 0 })
}

fn note(value: u8) -> Effect {
    Effect::Note { key: "n".into(), value: Some(vec![value]) }
}

fn post(turn: &Turn<'_>) -> Effect {
    let ids = turn.call("p").ids;
    let id = MessageId::derive(ids.partition, ids.chat, ids.epoch, ids.turn, ids.next_index);
    let body = Body::Text("welcome".into());
    Effect::Post(Draft {
        id,
        kind: "text".into(),
        route: Route::Everyone,
        body,
        attrs: Attrs::new(),
    })
}

/// The changes, the message, and which of the entry's messages it is.
fn stored(turn: Turn<'_>) -> (Vec<Change>, Arc<Message>, u32) {
    let Played::Stored { changes, own } = turn.played("k") else { panic!("it is held") };
    let message = changes
        .iter()
        .filter_map(|change| match change {
            Change::Message(message) => Some(Arc::clone(message)),
            _ => None,
        })
        .nth(usize::try_from(own).unwrap())
        .unwrap();
    (changes, message, own)
}

fn reject() -> Verdict {
    Verdict::Reject { code: "no".into(), reason: "because".into(), retry_after_ms: None }
}

fn broken() -> Result<Reply, Failure> {
    Err(Failure::Trap { text: "unreachable".into() })
}

#[test]
fn a_first_message_joins_its_sender_before_it() {
    let (chat, config) = (chat(), Config::default());
    let mut turn = Turn::of_join(scene(&chat, &config), "bob", None, &Attrs::new());
    let call = turn.call("p");
    assert_eq!(turn.said().message.kind, "member.join");
    assert_eq!((turn.said().sender.id.as_str(), turn.said().sender.ordinal), ("bob", 2));
    assert!(!call.roster.contains_key("bob"), "who joins is not in yet");
    let welcome = post(&turn);
    assert_eq!(turn.hear(REJECTS, reply(Verdict::Pass, vec![note(1), welcome])), Ok(Flow::Next));
    turn.show_message(&send("bob"));
    let call = turn.call("p");
    assert!(call.roster.contains_key("bob"), "by now they are");
    assert_eq!(call.notes["n"], [1], "what the same turn noted");
    assert_eq!(call.ids.next_index, 2);
    assert_eq!(turn.hear(REJECTS, reply(Verdict::Pass, vec![note(2)])), Ok(Flow::Next));
    let (changes, message, own) = stored(turn);
    assert_eq!(own, 1, "the welcome comes before it");
    assert_eq!(message.stamps.len(), 1, "the stamps of its own round");
    let kinds: Vec<&str> = changes
        .iter()
        .map(|change| match change {
            Change::Join { .. } => "join",
            Change::Note { .. } => "note",
            Change::Message(_) => "message",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ["join", "note", "message", "message", "note"]);
}

#[test]
fn a_refusal_keeps_the_refusing_handlers_effects_alone() {
    let (chat, config) = (chat(), Config::default());
    let mut turn = Turn::of_message(scene(&chat, &config), &send("alice"));
    turn.hear(SKIPS, reply(Verdict::Pass, vec![Effect::StartChat, note(1)])).unwrap();
    let stopped = turn.hear(REJECTS, reply(reject(), vec![note(2)]));
    let Err(Stopped::Refused { changes, answer }) = stopped else { panic!("{stopped:?}") };
    assert!(matches!(&changes[..], [Change::Note { plugin, .. }] if plugin == "p"));
    assert!(matches!(answer, Answer::Refused { reason_code, .. } if reason_code == "no"));
}

#[test]
fn each_handler_sees_what_those_before_it_did() {
    let (chat, config) = (chat(), Config::default());
    let mut turn = Turn::of_message(scene(&chat, &config), &send("alice"));
    let louder = Verdict::Rewrite(Body::Text("HELLO".into()));
    turn.hear(REJECTS, reply(louder, vec![Effect::StartChat])).unwrap();
    let call = turn.call("q");
    assert_eq!(turn.said().message.body, Body::Text("HELLO".into()));
    assert_eq!(call.context.started_ms, Some(100));
    assert_eq!(turn.hear(SKIPS, reply(Verdict::Accept, Vec::new())), Ok(Flow::Enough));
    let (changes, message, own) = stored(turn);
    assert_eq!((own, message.body.clone()), (0, Body::Text("HELLO".into())));
    let verdicts: Vec<&str> = message.stamps.iter().map(|stamp| stamp.verdict.as_str()).collect();
    assert_eq!(verdicts, ["rewrite", "accept"]);
    assert!(matches!(&changes[..], [Change::Message(_), Change::Start, Change::Asked(_)]));
    let Some(Change::Asked(came)) = changes.last() else { panic!() };
    assert_eq!((&came.body, &came.stamps[..]), (&Body::Text("hello".into()), &[][..]));
}

#[test]
fn what_is_refused_is_kept_as_it_came_unless_it_is_too_large() {
    let (chat, config) = (chat(), Config::default());
    for (text, kept) in [("hello".to_owned(), true), ("x".repeat(200_000), false)] {
        let send = Send { body: Body::Text(text), ..send("alice") };
        let mut turn = Turn::of_message(scene(&chat, &config), &send);
        turn.hear(REJECTS, reply(Verdict::Rewrite(Body::Text("x".into())), Vec::new())).unwrap();
        let stopped = turn.hear(REJECTS, reply(reject(), Vec::new())).err();
        let Ok((changes, Answer::Refused { .. })) = turn.settled(&send, stopped) else { panic!() };
        let came = changes.iter().filter_map(|change| match change {
            Change::Asked(came) => Some(came.body == send.body),
            _ => None,
        });
        assert_eq!(came.collect::<Vec<_>>(), vec![true; usize::from(kept)]);
    }
}

#[test]
fn a_broken_handler_follows_its_policy() {
    let (chat, config) = (chat(), Config::default());
    let mut turn = Turn::of_message(scene(&chat, &config), &send("alice"));
    assert_eq!(turn.hear(SKIPS, broken()), Ok(Flow::Next));
    let Err(Stopped::Failed(refusal)) = turn.hear(REJECTS, broken()) else { panic!() };
    assert_eq!(refusal.code, Code::PluginFailed);
    assert_eq!(refusal.outcome, Some(RequestOutcome::NotCommitted));
    assert_eq!(refusal.plugin.as_deref(), Some("p"));
    let (changes, message, _) = stored(turn);
    assert_eq!(changes.len(), 1, "nothing of a call that failed is left");
    assert!(message.stamps.iter().all(|stamp| stamp.verdict == "skipped"));
}

#[test]
fn what_does_not_fit_is_a_failure_and_somebody_too_many_a_full_chat() {
    let config = Config { message_bytes_max: 10, ..Config::default() };
    let chat = Chat { max_participants: Some(1), ..chat() };
    let mut turn = Turn::of_message(scene(&chat, &config), &send("alice"));
    let long = Verdict::Rewrite(Body::Text("x".repeat(11)));
    assert!(matches!(turn.hear(REJECTS, reply(long, Vec::new())), Err(Stopped::Failed(_))));
    let status = Effect::MemberStatus { member: "bob".into(), status: "connected".into() };
    assert_eq!(
        turn.hear(SKIPS, reply(Verdict::Pass, vec![status])),
        Err(Stopped::Full(Full::Places))
    );
}

#[test]
fn the_same_turn_has_the_same_ids_and_the_same_dice() {
    let (chat, config) = (chat(), Config::default());
    let shown = |epoch| {
        let scene = Scene { epoch, ..scene(&chat, &config) };
        let turn = Turn::of_message(scene, &send("alice"));
        let call = turn.call("p");
        (turn.said().message.id, call.seed, turn.call("q").seed)
    };
    assert_eq!(shown(2), shown(2));
    assert_ne!(shown(2).0, shown(3).0, "another epoch is another turn");
    assert_ne!(shown(2).1, shown(2).2, "each plugin has its own dice");
    assert_eq!(shown(2).0.partition(), 3);
}

#[test]
fn joining_again_keeps_the_role_unless_another_is_named() {
    let (chat, config) = (chat(), Config::default());
    let joined =
        |role| Turn::of_join(scene(&chat, &config), "alice", role, &Attrs::new()).changes();
    assert!(matches!(&joined(None)[..], [Change::Join { role, .. }] if role == "host"));
    assert!(matches!(&joined(Some("guest"))[..], [Change::Join { role, .. }] if role == "guest"));
}
