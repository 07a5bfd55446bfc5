//! A policy that is asked while a chat goes on: when something was said for the first time, when nothing was said for
//! long, when a message is taken back. What it plans only makes the chat safer.

use std::sync::Arc;
use std::time::Duration;

use chat::{Chain, Code, Collect, Config, Handler, KeepConfig, Redact, Request, Response};
use model::{Change, ChatToken, encode};
use plugin::{Durability, Failure, Plan};

use crate::stage::shelf::{Policy, Shelf};
use crate::stage::{Inner, Keeps, Stage, refused, send, sent};

const HOUR_MS: u64 = 3_600_000;

/// Two nodes whose policy is asked in every moment; the first leads. They look for what is to be done all the time.
fn stage(policy: &Arc<Policy>, shelf: &Arc<Shelf>) -> Stage {
    let (every, pause) = (Duration::from_millis(5), Duration::from_millis(1));
    let collect = Collect { every, pause, ..Collect::default() };
    let config = Config { collect, snapshot_entries: 1, ..Config::default() };
    let chain = || Chain::new(vec![Arc::<Policy>::clone(policy) as Arc<dyn Handler>]);
    let stage = Stage::new(vec![chain(), chain()], config);
    for chats in &stage.chats {
        let keep = KeepConfig {
            policy: "policy".to_owned(),
            pause,
            committed: true,
            idle: Some(Duration::from_millis(HOUR_MS)),
            ..KeepConfig::default()
        };
        chats.keep(keep, Arc::<Shelf>::clone(shelf));
    }
    stage
}

/// Plans this in one moment, and nothing in others.
fn planning(at: &'static str, durability: Durability) -> Arc<Policy> {
    Policy::new(move |moment, _| match moment == at {
        true => Ok(Plan { durability, ..Plan::default() }),
        false => Ok(Plan::default()),
    })
}

/// The moments in which something was planned for a chat that goes on.
fn stood(world: &Inner, token: ChatToken) -> Vec<String> {
    let entries = world.log.iter().filter_map(|logged| encode::decode(&logged.payload).ok());
    let of = entries.filter(|entry| entry.chat == token);
    of.flat_map(|entry| entry.changes)
        .filter_map(|change| match change {
            Change::Standing(plan) => Some(plan.moment.clone()),
            _ => None,
        })
        .collect()
}

/// Waits until so much was planned, and everybody can see it.
async fn comes_to(stage: &Stage, token: ChatToken, moments: &[&str]) {
    let committed = |world: &Inner| world.committed == world.log.len() as u64;
    let there = |world: &Inner| stood(world, token) == moments && committed(world);
    stage.until(|world| there(world).then_some(())).await;
    stage.rest().await;
}

#[tokio::test]
async fn what_is_first_said_is_planned_for_once_and_a_successor_knows() {
    let (policy, shelf) = (planning("committed", Durability::All), Shelf::new());
    let stage = stage(&policy, &shelf);
    let (token, silent) = (stage.chat().await, stage.chat().await);
    stage.say(token, "1", "hello").await;
    comes_to(&stage, token, &["committed"]).await;
    // From now on every member has what is said before it is answered.
    stage.say(token, "2", "safe").await;
    stage.world.look().live = 2;
    let away = refused(stage.ask(0, send(token, "3", "too few")).await);
    assert_eq!(away.code, Code::NoQuorum);
    stage.say(silent, "1", "as ever").await;
    stage.world.look().live = 3;
    stage.say(token, "3", "all again").await;
    for (at, with_snapshot) in [(1, false), (0, true)] {
        if with_snapshot {
            let end = stage.world.look().log.len() as u64;
            let kept = |world: &Inner| world.snapshot.as_ref().map(|kept| kept.place.seq);
            stage.until(|world| kept(world).filter(|seq| *seq >= end)).await;
            stage.world.close();
        } else {
            stage.world.close();
            stage.world.look().snapshot = None;
        }
        stage.world.open(at, Keeps::Committed);
        stage.sweeps().await;
        stage.world.look().live = 2;
        let away = refused(stage.ask(at, send(token, "4", "too few")).await);
        assert_eq!(away.code, Code::NoQuorum, "node {at}");
        stage.world.look().live = 3;
    }
    let asked = policy.asked();
    assert_eq!(asked, ["committed", "committed"], "once for each chat");
    assert!(sent(stage.ask(0, send(token, "2", "safe")).await).replay);
}

#[tokio::test]
async fn a_chat_in_which_nothing_is_said_is_asked_about_once_each_time() {
    let (policy, shelf) = (planning("idle", Durability::Archive), Shelf::new());
    let stage = stage(&policy, &shelf);
    let token = stage.chat().await;
    stage.say(token, "1", "hello").await;
    comes_to(&stage, token, &["committed"]).await;
    stage.world.look().wall_ms += HOUR_MS - 1;
    stage.sweeps().await;
    assert_eq!(policy.asked(), ["committed"], "an hour is not over");
    stage.world.look().wall_ms += 1;
    comes_to(&stage, token, &["committed", "idle"]).await;
    stage.world.look().wall_ms += 10 * HOUR_MS;
    stage.sweeps().await;
    stage.world.close();
    stage.world.open(1, Keeps::Committed);
    stage.sweeps().await;
    assert_eq!(policy.asked(), ["committed", "idle"], "nothing new was said");
    stage.ask(1, send(token, "2", "again")).await.unwrap();
    stage.world.look().wall_ms += HOUR_MS;
    comes_to(&stage, token, &["committed", "idle", "idle"]).await;
    // The last plan is weaker: what was planned before counts.
    stage.ask(1, Request::End { token, sender: None }).await.unwrap();
    stage.sees(|| shelf.texts(token).is_some()).await;
    assert_eq!(policy.asked().last(), Some(&"ended"));
}

#[tokio::test]
async fn a_message_is_taken_back_whatever_the_policy_says_to_it() {
    for fails in [false, true] {
        let policy = Policy::new(move |moment, _| match moment {
            "erase-requested" if fails => {
                Err(Failure::Refused { code: "no".into(), detail: String::new(), retryable: true })
            }
            _ => Ok(Plan::default()),
        });
        let shelf = Shelf::new();
        let stage = stage(&policy, &shelf);
        let token = stage.chat().await;
        let id = stage.say(token, "1", "a secret").await.message.id;
        comes_to(&stage, token, &["committed"]).await;
        let (by, reason) = (Some("alice".to_owned()), String::new());
        let redact = Redact { token, id, cursor: None, reason, by, any: false };
        for _again in 0..2 {
            let redact = Request::Redact(Box::new(redact.clone()));
            let answer = stage.ask(1, redact).await;
            assert!(matches!(answer, Ok(Response::Redacted { .. })), "{answer:?}");
        }
        assert_eq!(policy.asked(), ["committed", "erase-requested"], "once: {fails}");
        let stood = stood(&stage.world.look(), token);
        assert_eq!(stood.len(), if fails { 1 } else { 2 });
    }
}

#[tokio::test]
async fn a_policy_that_fails_holds_nobody_up() {
    let fails = || Failure::Refused { code: "no".into(), detail: String::new(), retryable: true };
    let (policy, shelf) = (Policy::new(move |_, _| Err(fails())), Shelf::new());
    let stage = stage(&policy, &shelf);
    let token = stage.chat().await;
    stage.say(token, "1", "hello").await;
    stage.sees(|| policy.asked().len() >= 3).await;
    stage.say(token, "2", "still").await;
    assert_eq!(stage.texts(1, token).await, ["hello", "still"]);
    assert!(stood(&stage.world.look(), token).is_empty());
}
