//! What each power does to the buffer, and what it says no to. Lifting and lowering are generated code;
//! `tests/hostile.rs` looks at them from the guest's side.

use std::sync::Arc;

use model::{Attrs, Body, ChatStatus, ChatToken, Cursor, MessageId, Participant, Route};

use super::{chat_control, kv, log, outcall, post, roster, settings, timers, wit};
use crate::journal::Subject;
use crate::state::{Settings, State};
use crate::{Call, Context, Draft, Effect, Grant, HistoryGrant, Ids, KvGrant, Limits, Notes};

const CHAT: ChatToken = ChatToken([7; 16]);
const IDS: Ids = Ids { partition: 9, chat: CHAT, epoch: 3, turn: 5, next_index: 1 };

fn member(id: &str, ordinal: u32) -> Participant {
    let status = "connected".to_owned();
    Participant { id: id.to_owned(), status, ordinal, ..Participant::default() }
}

/// A chat of three, who joined in another order than their names have.
fn call(status: ChatStatus) -> Call {
    let members = [member("alice", 3), member("bob", 1), member("carol", 2)];
    Call {
        context: Context {
            chat: CHAT,
            head: Cursor { epoch: 3, seq: 4 },
            now_ms: 1_000,
            status,
            started_ms: None,
            max_duration_ms: None,
            max_participants: None,
            participants: 3,
            chat_attrs: Arc::new(Attrs::new()),
        },
        notes: Arc::new(Notes::from([("seen".to_owned(), b"1".to_vec())])),
        roster: Arc::new(members.into_iter().collect()),
        waiting: None,
        decisions: None,
        past: None,
        ids: IDS,
        seed: 1,
    }
}

fn grant() -> Grant {
    Grant {
        kv: Some(KvGrant { bytes: 100 }),
        history: Some(HistoryGrant { messages: 5 }),
        outcall: vec!["crm".to_owned()],
        ..Grant::default()
    }
}

fn state_of(call: Option<Call>) -> State {
    let settings = Arc::new(Settings::new(&serde_json::json!({"words": ["a"], "name": "x"})));
    let (limits, of) = (Limits::default(), Subject::default());
    State::new("guest".into(), settings, &limits, call.map(Box::new), of, Arc::new(grant()))
}

fn started() -> State {
    state_of(Some(call(ChatStatus::Started)))
}

/// The effects that a call leaves.
fn effects(state: State) -> Vec<Effect> {
    state.buffer.into_effects()
}

fn code<T: std::fmt::Debug>(answer: wasmtime::Result<Result<T, wit::CapError>>) -> String {
    answer.unwrap().unwrap_err().code
}

fn draft(kind: &str, route: wit::Route, media_type: &str, body: &[u8]) -> wit::Draft {
    let content = wit::Content { media_type: media_type.to_owned(), body: body.to_vec() };
    wit::Draft { kind: kind.to_owned(), route, content, attrs: vec![] }
}

#[test]
fn a_note_is_read_as_the_call_left_it() {
    let mut state = started();
    assert_eq!(kv::Host::get(&mut state, "seen".into()).unwrap().unwrap(), Some(b"1".to_vec()));
    kv::Host::set(&mut state, "seen".into(), b"2".to_vec()).unwrap().unwrap();
    kv::Host::set(&mut state, "more".into(), b"3".to_vec()).unwrap().unwrap();
    assert_eq!(kv::Host::get(&mut state, "seen".into()).unwrap().unwrap(), Some(b"2".to_vec()));
    assert_eq!(kv::Host::keys(&mut state, "".into(), 9).unwrap().unwrap(), ["more", "seen"]);
    assert_eq!(kv::Host::keys(&mut state, "".into(), 1).unwrap().unwrap(), ["more"]);
    kv::Host::delete(&mut state, "more".into()).unwrap().unwrap();
    assert_eq!(kv::Host::get(&mut state, "more".into()).unwrap().unwrap(), None);
    let value = Some(b"2".to_vec());
    assert!(effects(state).contains(&Effect::Note { key: "seen".to_owned(), value }));
}

#[test]
fn notes_have_a_quota_and_keys_have_a_form() {
    let mut state = started();
    assert_eq!(code(kv::Host::set(&mut state, "k".into(), vec![0; 100])), "quota");
    assert_eq!(code(kv::Host::set(&mut state, "".into(), vec![])), "invalid");
    assert_eq!(code(kv::Host::set(&mut state, "k".repeat(513), vec![])), "too-large");
    assert_eq!(effects(state), []);
}

#[test]
fn the_roster_is_paged_in_the_order_of_joining() {
    let mut state = started();
    let mut page = |after: Option<&str>, limit| {
        let page = roster::Host::page(&mut state, after.map(str::to_owned), limit);
        page.unwrap().map(|page| page.into_iter().map(|member| member.id).collect::<Vec<_>>())
    };
    assert_eq!(page(None, 2).unwrap(), ["bob", "carol"]);
    assert_eq!(page(Some("carol"), 2).unwrap(), ["alice"]);
    assert_eq!(page(None, 0).unwrap(), [""; 0]);
    assert_eq!(page(Some("mallory"), 2).unwrap_err().code, "invalid");
    let bob = roster::Host::get(&mut state, "bob".into()).unwrap().unwrap();
    assert_eq!(bob.map(|bob| bob.status).as_deref(), Some("connected"));
    assert!(roster::Host::get(&mut state, "mallory".into()).unwrap().unwrap().is_none());
}

#[test]
fn what_a_handler_says_refers_to_nothing() {
    let mut state = started();
    let mut said = draft("note", wit::Route::Everyone, "text/plain", b"look");
    said.attrs = vec![("carillon.archive".to_owned(), "{}".to_owned())];
    assert_eq!(code(post::Host::send(&mut state, said)), "invalid");
    assert_eq!(effects(state), []);
}

#[test]
fn a_post_is_promised_the_id_it_will_have() {
    let mut state = started();
    let only = wit::Route::Only(vec!["alice".to_owned()]);
    let text = draft("warning", only, "text/plain", b"mind your words");
    let first = post::Host::send(&mut state, text).unwrap().unwrap();
    let json = draft("data", wit::Route::Everyone, "application/json", b"{}");
    let second = post::Host::send(&mut state, json).unwrap().unwrap();
    let id = |index| MessageId::derive(9, CHAT, 3, 5, index);
    assert_eq!((first, second), (id(1).to_string(), id(2).to_string()));
    let posted = Draft {
        id: id(1),
        kind: "warning".to_owned(),
        route: Route::Only(vec!["alice".to_owned()]),
        body: Body::Text("mind your words".to_owned()),
        attrs: Attrs::new(),
    };
    assert_eq!(effects(state).first(), Some(&Effect::Post(posted)));
}

#[test]
fn what_no_client_may_send_no_guest_may_post() {
    let mut state = started();
    let everyone = || wit::Route::Everyone;
    for (draft, expected) in [
        (draft("", everyone(), "text/plain", b""), "invalid"),
        (draft("k", everyone(), "text/plain", b"\xff"), "invalid"),
        (draft("k", everyone(), "application/json", b"{"), "invalid"),
        (draft("k", everyone(), "nothing", b""), "invalid"),
        (draft("k", everyone(), "a/b", &[0; 65_537]), "too-large"),
        (draft("k", wit::Route::Only(vec![]), "a/b", b""), "invalid"),
    ] {
        assert_eq!(code(post::Host::send(&mut state, draft.clone())), expected, "{draft:?}");
    }
    assert_eq!(effects(state), []);
}

#[test]
fn a_call_can_post_only_so_much() {
    let mut state = started();
    let mut post = || {
        let draft = draft("k", wit::Route::Everyone, "a/b", b"");
        post::Host::send(&mut state, draft).unwrap()
    };
    for _ in 0..64 {
        post().unwrap();
    }
    assert_eq!(post().unwrap_err().code, "quota");
    assert_eq!(effects(state).len(), 64);
}

#[test]
fn a_chat_is_controlled_within_its_rules() {
    let mut state = state_of(Some(call(ChatStatus::Pending)));
    chat_control::Host::start_chat(&mut state).unwrap().unwrap();
    chat_control::Host::set_attr(&mut state, ("topic".into(), "x".into())).unwrap().unwrap();
    let pair = ("mood".to_owned(), "good".to_owned());
    chat_control::Host::set_member_attr(&mut state, "bob".into(), pair).unwrap().unwrap();
    let away = "unavailable".to_owned();
    chat_control::Host::set_member_status(&mut state, "bob".into(), away).unwrap().unwrap();
    let gone = "gone".to_owned();
    assert_eq!(
        code(chat_control::Host::set_member_status(&mut state, "bob".into(), gone)),
        "invalid"
    );
    assert_eq!(code(chat_control::Host::end_chat(&mut state, "r".repeat(1025))), "too-large");
    assert_eq!(code(chat_control::Host::release(&mut state, "id".into())), "invalid");
    assert_eq!(code(chat_control::Host::drop_held(&mut state, "id".into(), "".into())), "invalid");
    let (name, value) = ("topic".to_owned(), "x".to_owned());
    let effects = effects(state);
    assert_eq!(effects[..2], [Effect::StartChat, Effect::ChatAttr { name, value }]);
    assert_eq!(effects.len(), 4);
}

#[test]
fn a_chat_starts_and_ends_once() {
    let mut state = started();
    assert_eq!(code(chat_control::Host::start_chat(&mut state)), "invalid");
    chat_control::Host::end_chat(&mut state, "done".into()).unwrap().unwrap();
    assert_eq!(effects(state), [Effect::EndChat { reason: "done".to_owned() }]);
    let mut state = state_of(Some(call(ChatStatus::Ended)));
    assert_eq!(code(chat_control::Host::end_chat(&mut state, "again".into())), "invalid");
}

#[test]
fn there_is_no_chat_while_the_configuration_is_checked() {
    let mut state = state_of(None);
    assert_eq!(code(kv::Host::get(&mut state, "k".into())), "unavailable");
    assert_eq!(code(kv::Host::set(&mut state, "k".into(), vec![])), "unavailable");
    assert_eq!(code(kv::Host::keys(&mut state, "".into(), 1)), "unavailable");
    assert_eq!(code(roster::Host::get(&mut state, "bob".into())), "unavailable");
    assert_eq!(code(roster::Host::page(&mut state, None, 1)), "unavailable");
    assert_eq!(code(chat_control::Host::start_chat(&mut state)), "unavailable");
    let draft = draft("k", wit::Route::Everyone, "a/b", b"");
    assert_eq!(code(post::Host::send(&mut state, draft)), "unavailable");
    // These are for everyone and at any time.
    let words = settings::Host::one(&mut state, "words".into()).unwrap();
    assert_eq!(words.as_deref(), Some("[\"a\"]"));
    assert_eq!(settings::Host::text(&mut state, "words".into()).unwrap(), None);
    assert_eq!(settings::Host::text(&mut state, "name".into()).unwrap().as_deref(), Some("x"));
    log::Host::emit(&mut state, log::Level::Info, "checking".into(), vec![]).unwrap();
}

#[test]
fn every_call_of_the_host_costs_fuel() {
    let mut state = started();
    let before = state.host_fuel_left;
    settings::Host::all(&mut state).unwrap();
    let all = before - state.host_fuel_left;
    assert!(all > 500, "{all}");
    state.host_fuel_left = 10;
    assert!(kv::Host::get(&mut state, "seen".into()).is_err());
    assert_eq!(state.host_fuel_left, 0);
}

#[test]
fn what_happens_later_has_a_bound_and_a_form() {
    let mut state = started();
    for number in 0..16 {
        timers::Host::start(&mut state, number.to_string(), 1_000).unwrap().unwrap();
    }
    assert_eq!(code(timers::Host::start(&mut state, "more".into(), 1_000)), "quota");
    timers::Host::start(&mut state, "0".into(), 2_000).unwrap().unwrap();
    timers::Host::cancel(&mut state, "1".into()).unwrap().unwrap();
    timers::Host::start(&mut state, "more".into(), 1_000).unwrap().unwrap();
    assert_eq!(code(timers::Host::start(&mut state, "".into(), 1_000)), "invalid");
    let mut ended = state_of(Some(call(ChatStatus::Ended)));
    assert_eq!(code(timers::Host::start(&mut ended, "late".into(), 1_000)), "invalid");

    let mut state = started();
    let mut queue = |service: &str, path: &str, header: (&str, &str), bytes: usize| {
        let headers = vec![(header.0.to_owned(), header.1.to_owned())];
        let (service, path) = (service.to_owned(), path.to_owned());
        outcall::Host::queue(&mut state, service, path, headers, vec![0; bytes], String::new())
    };
    queue("crm", "/score", ("authorization", "{{secret:key}}"), 60_000).unwrap().unwrap();
    for (service, path, header, bytes, expected) in [
        ("erp", "/", ("a", "b"), 1, "denied"),
        ("crm", "score", ("a", "b"), 1, "invalid"),
        ("crm", "/a b", ("a", "b"), 1, "invalid"),
        ("crm", "/", ("a b", "b"), 1, "invalid"),
        ("crm", "/", ("a", "b\r\nc: d"), 1, "invalid"),
        ("crm", "/", ("Host", "elsewhere"), 1, "invalid"),
        ("crm", "/", ("a", "b"), 65_537, "too-large"),
    ] {
        assert_eq!(
            code(queue(service, path, header, bytes)),
            expected,
            "{service} {path} {header:?}"
        );
    }
    for _call in 0..3 {
        queue("crm", "/", ("a", "b"), 60_000).unwrap().unwrap();
    }
    assert_eq!(code(queue("crm", "/", ("a", "b"), 60_000)), "quota");
}

#[test]
fn only_who_holds_a_message_lets_it_go_and_once() {
    let id = MessageId([5; 16]);
    let hold = |plugin: &str| model::Hold {
        plugin: plugin.to_owned(),
        reason: String::new(),
        deadline_ms: 1,
        accept: true,
    };
    let message = model::Message {
        id,
        sender: "alice".to_owned(),
        kind: "text".to_owned(),
        route: Route::Everyone,
        body: Body::Text("hello".to_owned()),
        archive: None,
        attrs: Attrs::new(),
        time_ms: 1,
        sent_ms: None,
        stamps: Vec::new(),
    };
    let held = |plugin: &str| {
        let held = model::Held {
            message: Arc::new(message.clone()),
            key: "k".to_owned(),
            holds: vec![hold(plugin)],
        };
        let waiting = model::Waiting { held: [(id, held)].into(), ..model::Waiting::default() };
        state_of(Some(Call { waiting: Some(Arc::new(waiting)), ..call(ChatStatus::Started) }))
    };
    let mut state = held("other");
    assert_eq!(code(chat_control::Host::release(&mut state, id.to_string())), "invalid");
    let mut state = held("guest");
    chat_control::Host::release(&mut state, id.to_string()).unwrap().unwrap();
    let again = chat_control::Host::drop_held(&mut state, id.to_string(), "no".into());
    assert_eq!(code(again), "invalid", "it was let go");
    assert_eq!(effects(state), [Effect::Release { message: id }]);
}
