//! What becomes of chats that are over: planned once, archived once, and not forgotten before that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chat::{Chain, ChatView, Code, Collect, Config, Handler, KeepConfig, Request, Response, Send};
use model::{Change, ChatToken, Route, encode};
use plugin::{Durability, Effect, Failure, Plan, Verdict};

use crate::stage::scripted::{Scripted, with};
use crate::stage::shelf::{Policy, Shelf};
use crate::stage::{Inner, Keeps, Stage, message, read, refused};

const DAY_MS: u64 = 86_400_000;

/// Two nodes whose chats are over as `policy` says; the first leads. They look for them all the time.
fn stage(policy: &Arc<Policy>, shelf: &Arc<Shelf>, forget: Option<Duration>) -> Stage {
    let chain = || Chain::new(vec![Arc::<Policy>::clone(policy) as Arc<dyn Handler>]);
    staged(vec![chain(), chain()], shelf, forget, KeepConfig::default().retries)
}

fn staged(chains: Vec<Chain>, shelf: &Arc<Shelf>, forget: Option<Duration>, retries: u32) -> Stage {
    let (every, pause) = (Duration::from_millis(5), Duration::from_millis(1));
    let collect = Collect { every, pause, forget, ..Collect::default() };
    let config = Config { collect, snapshot_entries: 10, ..Config::default() };
    let stage = Stage::new(chains, config);
    for chats in &stage.chats {
        let keep = KeepConfig {
            policy: "policy".to_owned(),
            pause: Duration::from_millis(1),
            retries,
            ..KeepConfig::default()
        };
        chats.keep(keep, Arc::<Shelf>::clone(shelf));
    }
    stage
}

/// Somebody who starts a chat with the first message.
fn starting() -> Arc<dyn Handler> {
    Scripted::new("starter", |_| with(Verdict::Pass, vec![Effect::StartChat]))
}

fn archive(keep_ms: Option<u64>) -> Plan {
    Plan { durability: Durability::Archive, keep_ms, ..Plan::default() }
}

async fn ended(stage: &Stage) -> ChatToken {
    let token = stage.chat().await;
    stage.say(token, "1", "hello").await;
    stage.say(token, "2", "again").await;
    stage.ask(0, Request::End { token, sender: None }).await.unwrap();
    token
}

async fn show(stage: &Stage, at: usize, token: ChatToken) -> ChatView {
    match stage.ask(at, Request::Show { token, confirmed: false }).await {
        Ok(Response::Chat(view)) => *view,
        other => panic!("{other:?}"),
    }
}

/// How many changes of a chat's log are so.
fn count(world: &Inner, token: ChatToken, is: impl Fn(&Change) -> bool) -> usize {
    let entries = world.log.iter().filter_map(|logged| encode::decode(&logged.payload).ok());
    entries.filter(|it| it.chat == token).flat_map(|it| it.changes).filter(is).count()
}

fn plans(world: &Inner, token: ChatToken) -> usize {
    count(world, token, |change| matches!(change, Change::Planned(_)))
}

fn keeps(world: &Inner, token: ChatToken) -> usize {
    count(world, token, |change| matches!(change, Change::Kept { .. }))
}

fn forgettings(world: &Inner, token: ChatToken) -> usize {
    count(world, token, |change| *change == Change::Forget)
}

/// Waits until the log of a chat says so, and everybody can see it.
async fn comes_to(stage: &Stage, is: impl Fn(&Inner) -> usize) {
    let committed = |world: &Inner| world.committed == world.log.len() as u64;
    stage.until(|world| (is(world) > 0 && committed(world)).then_some(())).await;
}

async fn kept(stage: &Stage, token: ChatToken) {
    comes_to(stage, |world| keeps(world, token)).await;
}

#[tokio::test]
async fn a_chat_that_ends_is_archived_once_and_forgotten_when_its_plan_says() {
    let (policy, shelf) = (Policy::new(|_, _| Ok(archive(Some(DAY_MS)))), Shelf::new());
    let stage = stage(&policy, &shelf, None);
    let (over, open) = (ended(&stage).await, stage.chat().await);
    kept(&stage, over).await;
    let view = show(&stage, 1, over).await;
    assert_eq!((view.archive, show(&stage, 0, open).await.archive), (Some(1), None));
    assert_eq!(shelf.texts(over), Some(vec!["hello".to_owned(), "again".to_owned()]));
    stage.world.look().wall_ms += DAY_MS - 1;
    stage.sweeps().await;
    assert_eq!(forgettings(&stage.world.look(), over), 0, "a day is not over");
    stage.world.look().wall_ms += 1;
    comes_to(&stage, |world| forgettings(world, over)).await;
    for node in [0, 1] {
        let refusal = refused(stage.ask(node, read(over, None)).await);
        assert_eq!((refusal.code, refusal.archive), (Code::UnknownChat, Some(Box::new(over))));
    }
    let unknown = refused(stage.ask(0, read(ChatToken([7; 16]), None)).await);
    assert_eq!((unknown.code, unknown.archive), (Code::UnknownChat, None));
    assert_eq!((policy.asked(), shelf.begun()), (vec!["ended"], 1));
}

#[tokio::test]
async fn four_chats_are_archived_at_a_time_and_the_others_after_them() {
    let (policy, shelf) = (Policy::new(|_, _| Ok(archive(None))), Shelf::new());
    let stage = stage(&policy, &shelf, None);
    shelf.before.forget_permits(1_000);
    let mut over = Vec::new();
    for _chat in 0..6 {
        over.push(ended(&stage).await);
    }
    stage.sees(|| shelf.begun() == 4).await;
    stage.sweeps().await;
    assert_eq!(shelf.begun(), 4, "the other two have no place");
    shelf.before.add_permits(1_000);
    for token in over {
        kept(&stage, token).await;
    }
    assert_eq!(shelf.begun(), 6);
}

#[tokio::test]
async fn the_node_keeps_for_longer_than_a_plan_asks_if_it_is_told_to() {
    let (policy, shelf) = (Policy::new(|_, _| Ok(archive(Some(1)))), Shelf::new());
    let stage = stage(&policy, &shelf, Some(Duration::from_millis(DAY_MS)));
    let token = ended(&stage).await;
    kept(&stage, token).await;
    stage.world.look().wall_ms += DAY_MS - 1;
    stage.sweeps().await;
    assert_eq!(stage.texts(0, token).await, ["hello", "again"]);
    stage.world.look().wall_ms += 1;
    comes_to(&stage, |world| forgettings(world, token)).await;
}

/// Whoever leads when a chat ends is lost while it archives: before it has begun to, and after it was through and
/// before it could say so.
#[tokio::test]
async fn a_successor_asks_nobody_again_and_archives_nothing_twice() {
    for stored in [false, true] {
        let (policy, shelf) = (Policy::new(|_, _| Ok(archive(None))), Shelf::new());
        let stage = stage(&policy, &shelf, None);
        let gate = if stored { &shelf.after } else { &shelf.before };
        gate.forget_permits(1_000);
        let token = ended(&stage).await;
        let there = || shelf.begun() > 0 && shelf.texts(token).is_some() == stored;
        stage.comes_to(there).await;
        assert_eq!(show(&stage, 0, token).await.archive, None, "nobody has said so");
        stage.world.close();
        stage.world.open(1, Keeps::Committed);
        gate.add_permits(1_000);
        kept(&stage, token).await;
        assert_eq!(show(&stage, 0, token).await.archive, Some(1));
        assert_eq!(policy.asked(), ["ended"]);
        assert_eq!(shelf.begun(), if stored { 1 } else { 2 });
        let world = stage.world.look();
        assert_eq!((plans(&world, token), keeps(&world, token)), (1, 1));
    }
}

/// A plan that was made and lost with its epoch is made again; one whose entry is there is not.
#[tokio::test]
async fn a_plan_that_was_withdrawn_is_made_again() {
    let (policy, shelf) = (Policy::new(|_, _| Ok(archive(None))), Shelf::new());
    let stage = stage(&policy, &shelf, None);
    let token = stage.chat().await;
    stage.say(token, "1", "hello").await;
    let closed = shelf.before.acquire_many(1_000).await.unwrap();
    stage.ask(0, Request::End { token, sender: None }).await.unwrap();
    stage.comes_to(|| shelf.begun() == 1).await;
    let before = plans(&stage.world.look(), token);
    stage.world.close();
    {
        // The entry of the plan is nowhere but on the node that is lost.
        let mut world = stage.world.look();
        let end = world.log.iter().position(|entry| entry.payload[0] == 4).unwrap();
        world.log.truncate(end);
        world.committed = end as u64;
    }
    drop(closed);
    stage.world.open(1, Keeps::Committed);
    kept(&stage, token).await;
    assert_eq!((before, policy.asked().len()), (1, 2));
    assert_eq!(plans(&stage.world.look(), token), 1);
}

#[tokio::test]
async fn a_policy_that_fails_is_asked_again_and_nothing_is_forgotten_meanwhile() {
    let trap = || Failure::Refused { code: "trap".into(), detail: String::new(), retryable: true };
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = Arc::clone(&mended);
    let policy = Policy::new(move |_, _| match is_mended.load(Ordering::SeqCst) {
        true => Ok(Plan::default()),
        false => Err(trap()),
    });
    let shelf = Shelf::new();
    let chain = Chain::new(vec![Arc::<Policy>::clone(&policy) as Arc<dyn Handler>]);
    let stage = staged(vec![chain], &shelf, Some(Duration::ZERO), 100);
    let token = ended(&stage).await;
    stage.world.look().wall_ms += DAY_MS;
    stage.sees(|| policy.asked().len() >= 3).await;
    assert_eq!(stage.texts(0, token).await, ["hello", "again"]);
    mended.store(true, Ordering::SeqCst);
    comes_to(&stage, |world| forgettings(world, token)).await;
    let world = stage.world.look();
    assert_eq!((plans(&world, token), keeps(&world, token), shelf.begun()), (1, 1, 0));
}

#[tokio::test]
async fn an_archive_that_fails_is_tried_again_and_no_chat_is_lost_for_it() {
    let (policy, shelf) = (Policy::new(|_, _| Ok(archive(Some(0)))), Shelf::new());
    shelf.failing.store(4, Ordering::SeqCst);
    let stage = stage(&policy, &shelf, None);
    let token = ended(&stage).await;
    comes_to(&stage, |world| forgettings(world, token)).await;
    assert_eq!((shelf.begun(), policy.asked().len()), (5, 1));
    assert!(shelf.texts(token).is_some());
    // Once more than there are attempts: then it is left alone, and stays.
    shelf.failing.store(5, Ordering::SeqCst);
    let token = ended(&stage).await;
    stage.sees(|| shelf.begun() == 10).await;
    stage.sweeps().await;
    assert_eq!((shelf.begun(), forgettings(&stage.world.look(), token)), (10, 0));
    assert_eq!(stage.texts(0, token).await, ["hello", "again"]);
}

#[tokio::test]
async fn an_archive_with_other_content_stays_and_counts() {
    let (policy, shelf) = (Policy::new(|_, _| Ok(archive(None))), Shelf::new());
    shelf.before.forget_permits(1_000);
    let stage = stage(&policy, &shelf, None);
    let token = ended(&stage).await;
    stage.comes_to(|| shelf.begun() == 1).await;
    shelf.lay(token, 7);
    shelf.before.add_permits(1_000);
    kept(&stage, token).await;
    assert_eq!(show(&stage, 0, token).await.archive, Some(7));
}

/// What nobody was shown is archived, what the plan drops is not, and a chat's own history may be far longer than
/// what is in memory.
#[tokio::test]
async fn hidden_messages_are_archived_and_kinds_that_a_plan_drops_are_not() {
    let plan = Plan { drop_kinds: vec!["noise".into()], archive_now: true, ..Plan::default() };
    let (policy, shelf) = (Policy::new(move |_, _| Ok(plan.clone())), Shelf::new());
    let stage = stage(&policy, &shelf, None);
    let token = stage.chat().await;
    let mut expected = Vec::new();
    for index in 0..70 {
        let key = index.to_string();
        let mut send = message(token, &key, &key);
        if index % 5 == 0 {
            send = Send { route: Route::Nobody, ..send };
        }
        if index % 3 == 0 {
            send = Send { kind: "noise".into(), ..send };
        } else {
            expected.push(key);
        }
        stage.ask(0, Request::Send(send)).await.unwrap();
    }
    // From the log, not from memory.
    stage.world.close();
    stage.world.open(1, Keeps::Everything);
    stage.ask(1, Request::End { token, sender: None }).await.unwrap();
    kept(&stage, token).await;
    assert_eq!(shelf.texts(token), Some(expected));
}

#[tokio::test]
async fn a_chat_that_time_ended_is_a_zombie_to_its_policy() {
    let (policy, shelf) = (Policy::new(|_, _| Ok(Plan::default())), Shelf::new());
    let chains =
        vec![Chain::new(vec![Arc::<Policy>::clone(&policy) as Arc<dyn Handler>, starting()])];
    let stage = staged(chains, &shelf, None, 4);
    let token = stage.chat_with(Some(60), None).await;
    stage.say(token, "1", "start").await;
    stage.world.look().wall_ms += 60_000 + 360_000 + 1;
    kept(&stage, token).await;
    assert_eq!((policy.asked(), shelf.begun()), (vec!["zombie"], 0));
}

/// All members: whoever is away is waited for, and the chat stays until then.
#[tokio::test]
async fn a_chat_that_all_members_are_to_hold_is_not_kept_before_they_do() {
    let plan = Plan { durability: Durability::All, ..Plan::default() };
    let (policy, shelf) = (Policy::new(move |_, _| Ok(plan.clone())), Shelf::new());
    let stage = stage(&policy, &shelf, Some(Duration::ZERO));
    stage.world.look().live = 2;
    let token = ended(&stage).await;
    comes_to(&stage, |world| plans(world, token)).await;
    stage.world.look().wall_ms += DAY_MS;
    stage.sweeps().await;
    assert_eq!((keeps(&stage.world.look(), token), policy.asked().len()), (0, 1));
    stage.world.look().live = 3;
    comes_to(&stage, |world| forgettings(world, token)).await;
    let world = stage.world.look();
    assert_eq!((plans(&world, token), keeps(&world, token), shelf.begun()), (1, 1, 0));
}
