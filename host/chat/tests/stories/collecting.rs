//! Chats that nobody ended are ended once their time is over, and what has been over for long is forgotten, where
//! that is asked for: at the same place of every log.

use std::sync::Arc;
use std::time::Duration;

use chat::{Chain, ChatView, Code, Collect, Config, Read, Request, Response};
use model::{Attrs, Change, ChatStatus, ChatToken, encode};
use plugin::{Effect, Verdict};
use runtime::SimulatedClock;

use crate::stage::scripted::{Scripted, chain, pass, text, with};
use crate::stage::{Inner, Keeps, Stage, read, reading, refused, send, wait, waits};

const DAY_MS: u64 = 86_400_000;

/// Two nodes that forget chats a day after their end; the first leads.
fn stage(forget: Option<Duration>) -> Stage {
    let collect = Collect { forget, ..often() };
    let config = Config { collect, snapshot_entries: 10, ..Config::default() };
    Stage::new(vec![Chain::default(), Chain::default()], config)
}

fn often() -> Collect {
    let (every, pause) = (Duration::from_millis(5), Duration::from_millis(1));
    Collect { every, pause, ..Collect::default() }
}

async fn ended(stage: &Stage) -> ChatToken {
    let token = stage.chat().await;
    stage.say(token, "1", "hello").await;
    stage.ask(0, Request::End { token, sender: None }).await.unwrap();
    token
}

/// How many entries forget a chat.
fn forgettings(stage: &Stage, token: ChatToken) -> usize {
    let all = changes(&stage.world.look(), token);
    all.iter().filter(|change| **change == Change::Forget).count()
}

/// Why a chat ended, as often as it did.
fn endings(world: &Inner, token: ChatToken) -> Vec<String> {
    let reason = |change| if let Change::End { reason } = change { Some(reason) } else { None };
    changes(world, token).into_iter().filter_map(reason).collect()
}

fn changes(world: &Inner, token: ChatToken) -> Vec<Change> {
    let entries = world.log.iter().filter_map(|logged| encode::decode(&logged.payload).ok());
    entries.filter(|it| it.chat == token).flat_map(|it| it.changes).collect()
}

/// Waits until an end of the chat is committed.
async fn until_ended(stage: &Stage, token: ChatToken) {
    let all = |world: &Inner| world.committed == world.log.len() as u64;
    stage.until(|world| (all(world) && !endings(world, token).is_empty()).then_some(())).await;
}

async fn is_forgotten(stage: &Stage, node: usize, token: ChatToken) {
    for request in [
        read(token, None),
        send(token, "1", "hello"),
        send(token, "2", "more"),
        Request::Show { token, confirmed: false },
        Request::End { token, sender: None },
    ] {
        assert_eq!(refused(stage.ask(node, request).await).code, Code::UnknownChat);
    }
}

#[tokio::test]
async fn a_chat_is_forgotten_when_it_has_been_over_for_so_long_and_stays_so() {
    let stage = stage(Some(Duration::from_millis(DAY_MS)));
    let (old, open) = (ended(&stage).await, stage.chat().await);
    stage.world.look().wall_ms += DAY_MS - 1_000;
    let young = ended(&stage).await;
    stage.world.look().wall_ms += 1_000;
    stage.until(|world| world.log.last().filter(|last| last.payload[0] == 3).map(|_| ())).await;
    stage.until(|world| (world.committed == world.log.len() as u64).then_some(())).await;
    is_forgotten(&stage, 0, old).await;
    // Who folds the log, or a snapshot and the rest, makes the same of it.
    for index in 0..30 {
        stage.say(open, &index.to_string(), "and on").await;
    }
    stage.world.close();
    stage.world.open(1, Keeps::Committed);
    is_forgotten(&stage, 1, old).await;
    assert_eq!(stage.texts(1, open).await.len(), 30);
    assert_eq!(stage.texts(1, young).await, ["hello"]);
    assert_eq!((forgettings(&stage, old), forgettings(&stage, young)), (1, 0));
}

#[tokio::test]
async fn nothing_is_forgotten_unless_that_is_asked_for() {
    let stage = stage(None);
    let token = ended(&stage).await;
    stage.world.look().wall_ms += 4_000 * DAY_MS;
    stage.rest().await;
    assert_eq!(forgettings(&stage, token), 0);
    assert_eq!(stage.texts(0, token).await, ["hello"]);
}

#[tokio::test]
async fn a_forgetting_that_is_not_committed_is_told_to_nobody_and_can_be_withdrawn() {
    let stage = stage(Some(Duration::from_millis(DAY_MS)));
    let token = ended(&stage).await;
    stage.world.look().commits = false;
    stage.world.look().wall_ms += DAY_MS;
    stage.until(|world| world.log.last().filter(|last| last.payload[0] == 3).map(|_| ())).await;
    let mut asking = stage.ask(0, read(token, None));
    waits(&mut asking).await;
    stage.world.close();
    stage.world.look().wall_ms -= DAY_MS;
    stage.world.look().commits = true;
    stage.world.open(1, Keeps::Committed);
    let page = crate::stage::page(asking.await);
    assert_eq!(crate::stage::texts(&page), ["hello"]);
    assert_eq!(stage.texts(1, token).await, ["hello"]);
}

#[tokio::test]
async fn who_waits_in_a_chat_is_told_when_it_is_forgotten() {
    let stage = stage(Some(Duration::from_millis(DAY_MS)));
    let token = ended(&stage).await;
    let page = crate::stage::page(stage.ask(0, read(token, None)).await);
    let mut asking = stage.ask(0, wait(token, Some(page.cursor)));
    waits(&mut asking).await;
    stage.world.look().wall_ms += DAY_MS;
    assert_eq!(refused(asking.await).code, Code::UnknownChat);
}

/// A handler that starts a chat when somebody says so, and listens.
fn starter() -> Arc<Scripted> {
    Scripted::listening(
        "starter",
        |call| match text(call) {
            "start" => with(Verdict::Pass, vec![Effect::StartChat]),
            _ => pass(),
        },
        |_call, _event| Ok(Vec::new()),
    )
}

/// Two nodes that end what is over; the first leads.
fn ending(starters: &[Arc<Scripted>; 2], collect: Collect) -> Stage {
    let chains = starters.iter().map(|starter| chain(&[starter])).collect();
    Stage::new(chains, Config { collect, ..Config::default() })
}

async fn show(stage: &Stage, at: usize, token: ChatToken) -> ChatView {
    match stage.ask(at, Request::Show { token, confirmed: false }).await {
        Ok(Response::Chat(chat)) => *chat,
        other => panic!("{other:?}"),
    }
}

/// The original's zombies: a chat of 600 s that started at 1000 s. Nothing is sent from the moment of its expiry
/// on, and its end is written once, with its time and not with the sweep's.
#[tokio::test]
async fn a_chat_past_its_time_is_ended_once_and_those_who_listen_are_told() {
    let starters = [starter(), starter()];
    let stage = ending(&starters, often());
    let token = stage.chat_with(Some(600), None).await;
    stage.say(token, "k1", "start").await;
    assert_eq!(show(&stage, 0, token).await.started_ms, Some(1_000_000));
    stage.world.look().wall_ms = 1_960_000;
    stage.rest().await;
    assert_eq!(endings(&stage.world.look(), token), [""; 0]);
    stage.world.look().wall_ms = 1_960_001;
    assert_eq!(refused(stage.ask(0, send(token, "k2", "late")).await).code, Code::ChatEnded);
    until_ended(&stage, token).await;
    stage.comes_to(|| starters[0].told().contains(&"chat.ended".to_owned())).await;
    let chat = show(&stage, 1, token).await;
    assert_eq!((chat.status, chat.ended_ms), (ChatStatus::Ended, Some(1_600_000)));
    // Whoever leads it next finds it ended.
    stage.world.close();
    stage.world.open(1, Keeps::Committed);
    stage.world.look().wall_ms += DAY_MS;
    let other = stage.chat_with(Some(600), None).await;
    stage.say(other, "k1", "start").await;
    stage.world.look().wall_ms += DAY_MS;
    until_ended(&stage, other).await;
    assert_eq!(endings(&stage.world.look(), token), ["its time was over"]);
    assert_eq!(stage.texts(1, token).await, ["start"], "and can be read");
    stage.comes_to(|| starters[1].told().contains(&"chat.ended".to_owned())).await;
    stage.rest().await;
    for told in starters.map(|starter| starter.told()) {
        assert_eq!(told.iter().filter(|name| *name == "chat.ended").count(), 1, "{told:?}");
    }
}

#[tokio::test]
async fn a_chat_whose_time_is_past_looks_over_and_is_ended_as_of_then_before_any_sweep() {
    let starters = [starter(), starter()];
    let never = Collect { every: Duration::from_secs(3_600), ..often() };
    let stage = ending(&starters, never);
    let token = stage.chat_with(Some(600), None).await;
    stage.say(token, "k1", "start").await;
    stage.world.look().wall_ms = 1_960_000;
    let open = show(&stage, 1, token).await;
    assert_eq!((open.status, open.ended_ms), (ChatStatus::Started, None));
    stage.world.look().wall_ms = 1_970_000;
    let over = show(&stage, 1, token).await;
    assert_eq!((over.status, over.ended_ms), (ChatStatus::Ended, Some(1_600_000)));
    assert_eq!(endings(&stage.world.look(), token), [""; 0], "nobody has written it");
    match stage.ask(1, Request::End { token, sender: Some("alice".into()) }).await {
        Ok(Response::Ended { ended_ms, .. }) => assert_eq!(ended_ms, 1_600_000),
        other => panic!("{other:?}"),
    }
    assert_eq!(endings(&stage.world.look(), token), ["ended by alice"]);
}

#[tokio::test]
async fn a_chat_that_has_no_end_is_not_ended() {
    let starters = [starter(), starter()];
    let collect = Collect { idle: Some(Duration::from_millis(DAY_MS)), ..often() };
    let stage = ending(&starters, collect);
    let lasts = stage.chat_with(Some(0), None).await;
    stage.say(lasts, "k1", "start").await;
    let pending = stage.chat_with(Some(600), None).await;
    stage.say(pending, "k1", "hello").await;
    stage.world.look().wall_ms += DAY_MS;
    // Something that is swept shows that a sweep has passed.
    let over = stage.chat_with(Some(1), None).await;
    stage.say(over, "k1", "start").await;
    stage.say(pending, "k2", "again").await;
    stage.world.look().wall_ms += DAY_MS / 2;
    until_ended(&stage, over).await;
    for token in [lasts, pending] {
        assert_eq!(endings(&stage.world.look(), token), [""; 0]);
    }
}

/// Nobody ever started it, and it stood in memory for ever.
#[tokio::test]
async fn a_chat_that_never_started_is_ended_when_nothing_was_done_in_it_for_long() {
    let clock = SimulatedClock::new();
    let _entered = clock.enter();
    let starters = [starter(), starter()];
    let idle = Duration::from_millis(DAY_MS);
    let stage = ending(&starters, Collect { idle: Some(idle), ..Collect::default() });
    let (token, read_on) = (stage.chat().await, stage.chat().await);
    for token in [token, read_on] {
        let join = Request::Join { token, id: "bob".into(), role: None, attrs: Attrs::new() };
        stage.ask(0, join).await.unwrap();
    }
    let follow = |token| Read { reader: Some("bob".into()), ..reading(token, None) };
    stage.world.look().wall_ms += DAY_MS + 1;
    clock.set(Duration::from_secs(1_800));
    stage.rest().await;
    assert_eq!(endings(&stage.world.look(), token), [""; 0], "this leader does not know who reads");
    stage.ask(1, Request::Read(follow(read_on))).await.unwrap();
    for minute in 60..63 {
        clock.set(Duration::from_secs(minute * 60));
        stage.rest().await;
    }
    assert_eq!(endings(&stage.world.look(), token), ["it never started"]);
    assert_eq!(endings(&stage.world.look(), read_on), [""; 0], "somebody reads it");
    assert_eq!(show(&stage, 0, token).await.status, ChatStatus::Ended);
}

#[tokio::test]
async fn an_end_that_is_not_committed_is_written_by_the_next_leader() {
    let starters = [starter(), starter()];
    let stage = ending(&starters, often());
    let token = stage.chat_with(Some(600), None).await;
    stage.say(token, "k1", "start").await;
    stage.hold();
    stage.world.look().wall_ms = 1_960_001;
    stage.until(|world| (!endings(world, token).is_empty()).then_some(())).await;
    stage.world.close();
    stage.world.look().commits = true;
    stage.world.open(1, Keeps::Committed);
    until_ended(&stage, token).await;
    assert_eq!(endings(&stage.world.look(), token).len(), 1);
    assert_eq!(show(&stage, 1, token).await.ended_ms, Some(1_600_000));
}

#[tokio::test]
async fn who_ends_a_chat_again_or_at_the_same_time_is_answered_alike() {
    let stage = stage(None);
    let token = stage.chat().await;
    let said = stage.say(token, "k1", "hello").await.cursor;
    stage.hold();
    let end = |at| stage.ask(at, Request::End { token, sender: Some("alice".into()) });
    let mut asking = [end(0), end(1), end(0)];
    for one in &mut asking {
        waits(one).await;
    }
    let mut late = stage.ask(0, send(token, "k2", "late"));
    waits(&mut late).await;
    stage.world.look().commits = true;
    stage.world.commit();
    assert_eq!(refused(late.await).code, Code::ChatEnded);
    for one in asking {
        assert_eq!(one.await, Ok(Response::Ended { cursor: said, ended_ms: 1_000_000 }));
    }
    assert_eq!(end(1).await, Ok(Response::Ended { cursor: said, ended_ms: 1_000_000 }));
    assert_eq!(endings(&stage.world.look(), token), ["ended by alice"]);
    assert!(
        stage.ask(0, send(token, "k1", "hello")).await.is_ok(),
        "a repeat is answered as before"
    );
}
