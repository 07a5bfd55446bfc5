//! Who is there, who types, how far they have read: told to those who follow, and written only where somebody
//! stands otherwise than before.

use std::sync::Arc;
use std::time::Duration;

use chat::{Chain, ChatView, Code, Config, Page, Pulse, PulseAt, Read, Request, Response};
use model::{Attrs, Body, ChatToken, Cursor};
use plugin::{Effect, Verdict};
use runtime::SimulatedClock;

use crate::stage::scripted::{Scripted, chain, pass, with};
use crate::stage::{Asking, Keeps, Stage, page, read, reading, refused, send, waits};

const SECOND: Duration = Duration::from_secs(1);
/// More than a follower is told of at once.
const SOON: Duration = Duration::from_millis(300);

/// Two nodes, of which the first leads, that give people 20 s.
fn stage() -> Stage {
    let config = Config { idle: Some(20 * SECOND), ..Config::default() };
    Stage::new(vec![Chain::default(), Chain::default()], config)
}

async fn join(stage: &Stage, token: ChatToken, id: &str) {
    let (id, attrs) = (id.to_owned(), Attrs::new());
    stage.ask(0, Request::Join { token, id, role: None, attrs }).await.unwrap();
}

/// Somebody reads what there is, once.
async fn poll(stage: &Stage, at: usize, token: ChatToken, reader: &str) {
    let reader = Some(reader.to_owned());
    page(stage.ask(at, Request::Read(Read { reader, ..reading(token, None) })).await);
}

async fn types(stage: &Stage, at: usize, token: ChatToken, who: &str, typing: bool) {
    let sender = who.to_owned();
    let noted = stage.ask(at, Request::Typing { token, sender, typing }).await;
    assert_eq!(noted, Ok(Response::Noted));
}

/// A follower's question.
fn follow(
    stage: &Stage,
    at: usize,
    token: ChatToken,
    cursor: Cursor,
    known: PulseAt,
) -> Asking<'_> {
    let read = Read { pulse: Some(known), wait_ms: 8_000, ..reading(token, Some(cursor)) };
    stage.ask(at, Request::Read(read))
}

/// What a follower knows who has just come.
async fn first(stage: &Stage, at: usize, token: ChatToken) -> (Cursor, Box<Pulse>) {
    let read = Read { pulse: Some(PulseAt::default()), ..reading(token, None) };
    let page = page(stage.ask(at, Request::Read(read)).await);
    (page.cursor, page.pulse.expect("everything is new"))
}

/// Lets time go on until a follower is answered.
async fn comes(clock: &SimulatedClock, now: Duration, mut follower: Asking<'_>) -> Page {
    for step in 0..8 {
        clock.set(now + step * SOON);
        for _turn in 0..200 {
            tokio::select! {
                biased;
                answer = &mut follower => return page(answer),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    panic!("nothing is told");
}

fn pulse(page: Page) -> Pulse {
    *page.pulse.expect("something is told")
}

async fn show(stage: &Stage, at: usize, token: ChatToken) -> ChatView {
    match stage.ask(at, Request::Show { token, confirmed: false }).await {
        Ok(Response::Chat(chat)) => *chat,
        other => panic!("{other:?}"),
    }
}

async fn status(stage: &Stage, at: usize, token: ChatToken, id: &str) -> String {
    let chat = show(stage, at, token).await;
    let found = chat.participants.into_iter().find(|member| member.id == id);
    found.expect("they are there").status
}

/// What the node itself has said of how people stand.
async fn said(stage: &Stage, at: usize, token: ChatToken) -> Vec<String> {
    let page = page(stage.ask(at, read(token, None)).await);
    let said = page.messages.iter().map(|stored| &stored.message);
    let said = said.filter(|message| message.sender == "system" && message.kind == "user.status");
    said.map(|message| match &message.body {
        Body::Json(json) => json.clone(),
        other => panic!("{other:?}"),
    })
    .collect()
}

fn stands(id: &str, status: &str) -> String {
    serde_json::json!({ "user": id, "status": status }).to_string()
}

#[tokio::test]
async fn who_types_is_told_on_every_node_and_nothing_is_written() {
    let clock = SimulatedClock::new();
    let _entered = clock.enter();
    let stage = stage();
    let token = stage.chat().await;
    join(&stage, token, "alice").await;
    let (cursor, begin) = first(&stage, 1, token).await;
    assert_eq!(begin.typing, Some(Vec::new()));
    let entries = stage.world.look().entries();
    let mut here = follow(&stage, 0, token, cursor, begin.at);
    let mut there = follow(&stage, 1, token, cursor, begin.at);
    waits(&mut here).await;
    waits(&mut there).await;
    types(&stage, 1, token, "alice", true).await;
    waits(&mut there).await;
    clock.set(SOON);
    for follower in [here, there] {
        let page = page(follower.await);
        assert_eq!((page.messages.len(), page.cursor), (0, cursor));
        let told = pulse(page);
        assert_eq!(told.typing, Some(vec!["alice".to_owned()]));
        assert_eq!((told.read, told.people), (None, None));
    }
    assert_eq!(stage.world.look().entries(), entries);
}

#[tokio::test]
async fn who_is_there_is_put_together_once_for_all_who_follow() {
    let clock = SimulatedClock::new();
    let _entered = clock.enter();
    let stage = stage();
    let token = stage.chat().await;
    let (cursor, begin) = first(&stage, 0, token).await;
    let mut known = begin.at;
    let mut before = None;
    for (name, now) in [("alice", SOON), ("bob", 2 * SOON)] {
        let mut followers: Vec<Asking<'_>> =
            (0..3).map(|_| follow(&stage, 0, token, cursor, known)).collect();
        for follower in &mut followers {
            waits(follower).await;
        }
        join(&stage, token, name).await;
        clock.set(now);
        let mut told = Vec::new();
        for follower in followers {
            let pulse = pulse(page(follower.await));
            known = pulse.at;
            told.push(pulse.people.expect("who is there"));
        }
        let one = Arc::clone(&told[0]);
        assert!(told.iter().all(|people| Arc::ptr_eq(people, &one)), "it is the same");
        assert!(one.participants.iter().any(|person| person.id == name), "{one:?}");
        assert!(before.replace(one).is_none_or(|before| !Arc::ptr_eq(&before, &told[0])));
    }
}

#[tokio::test]
async fn typing_ends_by_itself_with_a_message_or_when_it_is_said() {
    let clock = SimulatedClock::new();
    let _entered = clock.enter();
    let stage = stage();
    let token = stage.chat().await;
    types(&stage, 0, token, "alice", true).await;
    types(&stage, 0, token, "bob", true).await;
    let (cursor, told) = first(&stage, 0, token).await;
    assert_eq!(told.typing, Some(vec!["alice".to_owned(), "bob".to_owned()]));
    clock.set(3 * SECOND);
    types(&stage, 0, token, "bob", true).await;
    let mut follower = follow(&stage, 0, token, cursor, told.at);
    waits(&mut follower).await;
    clock.set(6 * SECOND);
    let told = pulse(page(follower.await));
    assert_eq!(told.typing, Some(vec!["bob".to_owned()]), "nobody had to say so");
    types(&stage, 0, token, "bob", false).await;
    let mut follower = follow(&stage, 0, token, cursor, told.at);
    waits(&mut follower).await;
    clock.set(7 * SECOND);
    let told = pulse(page(follower.await));
    assert_eq!(told.typing, Some(Vec::new()));
    types(&stage, 0, token, "alice", true).await;
    stage.say(token, "k1", "hello").await;
    let page = page(follow(&stage, 0, token, cursor, told.at).await);
    assert_eq!(page.messages.len(), 1, "messages wait for nothing");
    assert_eq!(pulse(page).typing, Some(Vec::new()), "and come with what is told");
}

#[tokio::test]
async fn a_mark_goes_forward_and_names_what_is_there() {
    let config = Config { patience: Duration::from_millis(50), ..Config::default() };
    let stage = Stage::new(vec![Chain::default(), Chain::default()], config);
    let token = stage.chat().await;
    let one = stage.say(token, "k1", "one").await.cursor;
    let two = stage.say(token, "k2", "two").await.cursor;
    let mark = |at, upto| stage.ask(at, Request::Mark { token, sender: "bob".into(), upto });
    for upto in [two, one] {
        assert_eq!(mark(1, upto).await, Ok(Response::Noted));
    }
    let (_, told) = first(&stage, 0, token).await;
    assert_eq!(told.read, Some([("bob".to_owned(), two)].into()));
    let later = Cursor { seq: two.seq + 1, ..two };
    assert_eq!(refused(mark(0, later).await).code, Code::Behind);
    let unknown = Request::Mark { token: ChatToken([9; 16]), sender: "bob".into(), upto: one };
    assert_eq!(refused(stage.ask(0, unknown).await).code, Code::UnknownChat);
}

#[tokio::test]
async fn who_is_silent_is_unavailable_and_back_when_they_are_heard() {
    let clock = SimulatedClock::new();
    let _entered = clock.enter();
    let stage = stage();
    let token = stage.chat().await;
    join(&stage, token, "alice").await;
    join(&stage, token, "bob").await;
    clock.set(15 * SECOND);
    poll(&stage, 1, token, "bob").await;
    let entries = stage.world.look().entries();
    clock.set(20 * SECOND);
    stage.rest().await;
    assert_eq!(stage.world.look().entries(), entries, "for exactly so long is not for longer");
    clock.set(20 * SECOND + SOON);
    stage.comes_to(|| stage.world.look().entries() > entries).await;
    stage.rest().await;
    assert_eq!(stage.world.look().entries(), entries + 1, "one entry, and nobody polled");
    assert_eq!(status(&stage, 1, token, "alice").await, "unavailable");
    assert_eq!(status(&stage, 1, token, "bob").await, "connected");
    assert_eq!(said(&stage, 0, token).await, [stands("alice", "unavailable")]);
    // A read writes nothing; that it was heard does.
    poll(&stage, 1, token, "alice").await;
    stage.comes_to(|| stage.world.look().entries() == entries + 2).await;
    stage.rest().await;
    poll(&stage, 1, token, "alice").await;
    stage.rest().await;
    assert_eq!(stage.world.look().entries(), entries + 2, "only what changes is written");
    assert_eq!(status(&stage, 0, token, "alice").await, "connected");
    let back = [stands("alice", "unavailable"), stands("alice", "connected")];
    assert_eq!(said(&stage, 0, token).await, back);
}

#[tokio::test]
async fn who_waits_is_heard_all_the_time_and_shown_as_heard() {
    let clock = SimulatedClock::new();
    let _entered = clock.enter();
    let stage = stage();
    let token = stage.chat().await;
    join(&stage, token, "alice").await;
    let joined_ms = show(&stage, 0, token).await.participants[0].heard_ms;
    let alice = Read { reader: Some("alice".into()), wait_ms: 9_000, ..reading(token, None) };
    for _turn in 0..5 {
        let mut waiting = stage.ask(1, Request::Read(alice.clone()));
        waits(&mut waiting).await;
        let at = clock.next().expect("the end of the wait");
        clock.set(at.max(9 * SECOND));
        stage.world.look().wall_ms += 9_000;
        drop(waiting);
        stage.rest().await;
    }
    assert_eq!(status(&stage, 0, token, "alice").await, "connected");
    let heard_ms = show(&stage, 1, token).await.participants[0].heard_ms;
    assert!(heard_ms > joined_ms, "{heard_ms} {joined_ms}");
}

#[tokio::test]
async fn a_successor_knows_nothing_and_says_nothing_false() {
    let clock = SimulatedClock::new();
    let _entered = clock.enter();
    let stage = stage();
    let token = stage.chat().await;
    join(&stage, token, "alice").await;
    types(&stage, 0, token, "alice", true).await;
    let (cursor, told) = first(&stage, 1, token).await;
    let mut follower = follow(&stage, 1, token, cursor, told.at);
    waits(&mut follower).await;
    clock.set(SECOND);
    stage.world.close();
    stage.world.open(1, Keeps::Committed);
    stage.rest().await;
    let told = pulse(comes(&clock, SECOND, follower).await);
    assert_eq!(told.typing, Some(Vec::new()), "nobody types, as far as it knows");
    assert_eq!(told.people.expect("who is there").participants.len(), 1);
    // They were silent for long, but this leader gives them the whole time.
    clock.set(21 * SECOND);
    stage.rest().await;
    assert_eq!(status(&stage, 1, token, "alice").await, "connected");
    clock.set(22 * SECOND);
    stage.rest().await;
    assert_eq!(status(&stage, 1, token, "alice").await, "unavailable");
    // And once more: what is written stays, and is not written again.
    stage.world.close();
    stage.world.open(0, Keeps::Committed);
    stage.rest().await;
    clock.set(100 * SECOND);
    stage.rest().await;
    assert_eq!(said(&stage, 0, token).await, [stands("alice", "unavailable")]);
}

#[tokio::test]
async fn who_said_that_they_are_unavailable_stays_so_when_another_node_leads() {
    let clock = SimulatedClock::new();
    let _entered = clock.enter();
    let away = || {
        Scripted::new("away", |call| {
            let (member, status) = (call.message().sender.clone(), "unavailable".to_owned());
            with(Verdict::Pass, vec![Effect::MemberStatus { member, status }])
        })
    };
    let config = Config { idle: Some(20 * SECOND), snapshot_entries: 1, ..Config::default() };
    let stage = Stage::new(vec![chain(&[&away()]), chain(&[&away()])], config);
    let token = stage.chat().await;
    stage.say(token, "k1", "I am away").await;
    assert_eq!(status(&stage, 0, token, "alice").await, "unavailable");
    for (at, keeps_snapshot) in [(1, false), (0, true)] {
        if keeps_snapshot {
            // The clock stands still where nothing waits for it.
            for second in 1..5 {
                clock.set(second * SECOND);
                stage.rest().await;
            }
            assert!(stage.world.look().snapshot.is_some());
        }
        stage.world.close();
        stage.world.open(at, Keeps::Committed);
        stage.rest().await;
        poll(&stage, at, token, "alice").await;
        stage.rest().await;
        assert_eq!(status(&stage, at, token, "alice").await, "unavailable", "{at}");
    }
    assert_eq!(said(&stage, 0, token).await, [""; 0]);
}

#[tokio::test]
async fn silence_that_cannot_be_written_is_written_later() {
    let clock = SimulatedClock::new();
    let _entered = clock.enter();
    let stage = stage();
    let token = stage.chat().await;
    join(&stage, token, "alice").await;
    stage.world.look().live = 1;
    clock.set(21 * SECOND);
    stage.rest().await;
    assert_eq!(status(&stage, 0, token, "alice").await, "connected");
    stage.world.look().live = 3;
    clock.set(27 * SECOND);
    stage.rest().await;
    assert_eq!(said(&stage, 0, token).await, [stands("alice", "unavailable")]);
}

#[tokio::test]
async fn a_chat_that_is_over_is_left_as_it_is() {
    let clock = SimulatedClock::new();
    let _entered = clock.enter();
    let stage = stage();
    let token = stage.chat().await;
    join(&stage, token, "alice").await;
    let (cursor, told) = first(&stage, 0, token).await;
    let mut follower = follow(&stage, 0, token, cursor, told.at);
    waits(&mut follower).await;
    stage.ask(0, Request::End { token, sender: None }).await.unwrap();
    clock.set(SOON);
    let people = pulse(page(follower.await)).people.expect("it ended");
    assert_eq!(people.status, model::ChatStatus::Ended);
    let typing = Request::Typing { token, sender: "alice".into(), typing: true };
    assert_eq!(refused(stage.ask(0, typing).await).code, Code::ChatEnded);
    let entries = stage.world.look().entries();
    clock.set(100 * SECOND);
    stage.rest().await;
    assert_eq!(stage.world.look().entries(), entries);
    assert_eq!(status(&stage, 0, token, "alice").await, "connected");
}

#[tokio::test]
async fn nobody_falls_silent_unless_that_is_asked_for() {
    let clock = SimulatedClock::new();
    let _entered = clock.enter();
    let stage = Stage::one();
    let token = stage.chat().await;
    sent_by_alice(&stage, token).await;
    clock.set(1_000 * SECOND);
    stage.rest().await;
    assert_eq!(status(&stage, 0, token, "alice").await, "connected");
    assert_eq!(said(&stage, 0, token).await, [""; 0]);
}

async fn sent_by_alice(stage: &Stage, token: ChatToken) {
    crate::stage::sent(stage.ask(0, send(token, "k1", "hello")).await);
}

#[tokio::test]
async fn listeners_are_told_now_and_then_that_a_member_polls() {
    let clock = SimulatedClock::new();
    let _entered = clock.enter();
    let listener = Scripted::listening(
        "listener",
        |_call| pass(),
        |_call, event| match event.name {
            "member.polled" => {
                let subject = event.subject.as_ref().map(|subject| subject.id.clone());
                let value = subject.unwrap_or_default();
                Ok(vec![Effect::ChatAttr { name: "polled".into(), value }])
            }
            _ => Ok(Vec::new()),
        },
    );
    let stage = Stage::new(vec![chain(&[&listener])], Config::default());
    let token = stage.chat().await;
    join(&stage, token, "bob").await;
    let polled = || listener.told().iter().filter(|name| *name == "member.polled").count();
    poll(&stage, 0, token, "stranger").await;
    poll(&stage, 0, token, "bob").await;
    stage.comes_to(|| polled() == 1).await;
    stage.rest().await;
    assert_eq!(show(&stage, 0, token).await.attrs["polled"], "bob");
    for second in [5, 9, 10] {
        clock.set(second * SECOND);
        poll(&stage, 0, token, "bob").await;
        stage.rest().await;
        assert_eq!(polled(), if second < 10 { 1 } else { 2 });
    }
}
