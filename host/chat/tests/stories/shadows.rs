//! Versions that run beside the live ones.

use std::sync::Arc;

use chat::{Config, Handler, LiveChain, SAMPLE_ALL};
use plugin::{Comparison, Effect, Failure, Verdict};
use runtime::{Stop, Tasks};

use crate::stage::scripted::{Scripted, chain, pass, reject, strict, text, verdict, with};
use crate::stage::{Stage, send, sent};

/// Refuses what holds `bad` anywhere, and traps on `trap`.
fn candidate() -> Arc<Scripted> {
    Scripted::new("strict", |call| match text(call) {
        "trap" => Err(Failure::Trap { text: "here".into() }),
        said if said.contains("bad") => {
            let note = Effect::Note { key: "strikes".into(), value: Some(vec![1]) };
            with(reject("strike 1"), vec![note])
        }
        _ => pass(),
    })
}

fn handler(of: &Arc<Scripted>) -> Arc<dyn Handler> {
    Arc::<Scripted>::clone(of)
}

async fn compared(stage: &Stage, live: &LiveChain, calls: u64) -> Comparison {
    let told = || live.shadowed().unwrap_or_default();
    stage.comes_to(|| told().calls + told().dropped >= calls).await;
    told()
}

#[tokio::test]
async fn a_version_beside_the_live_one_is_compared_and_changes_nothing() {
    let (live, beside) = (LiveChain::from(chain(&[&strict()])), candidate());
    let stage = Stage::new(vec![live.clone()], Config::default());
    let token = stage.chat().await;
    stage.say(token, "k0", "hello").await;
    assert_eq!(live.shadowed(), None);
    let tasks = Tasks::current(Stop::default());
    tasks.spawn("beside", live.begin_shadow(handler(&beside), SAMPLE_ALL));
    stage.say(token, "k1", "fine").await;
    stage.say(token, "k2", "not bad").await;
    assert!(stage.ask(0, send(token, "k3", "bad")).await.is_err());
    stage.say(token, "k4", "trap").await;
    let told = compared(&stage, &live, 4).await;
    assert_eq!((told.calls, told.differing, told.failed, told.dropped), (4, 2, 1, 0), "{told:?}");
    let pairs: Vec<(&str, &str)> =
        told.pairs.iter().map(|it| (it.live.as_str(), it.other.as_str())).collect();
    assert_eq!(pairs, [("pass", "reject"), ("pass", "trap")]);
    let example = &told.pairs[0].examples[0];
    assert_eq!((example.text.as_str(), example.sender.as_str()), ("not bad", "alice"));
    assert_eq!(example.other, "reject (no): strike 1; keep strikes = 0x01");
    assert_eq!(stage.texts(0, token).await, ["hello", "fine", "not bad", "trap"]);

    assert_eq!(live.end_shadow().map(|told| told.calls), Some(4));
    tasks.finish().await;
    stage.say(token, "k5", "not bad again").await;
    assert_eq!((beside.calls(), live.shadowed()), (4, None), "it is asked no more");
}

/// The version answers nothing at all, and nobody waits for it.
#[tokio::test]
async fn a_message_never_waits_for_the_version_beside() {
    let (live, beside) = (LiveChain::from(chain(&[&strict()])), candidate());
    let stage = Stage::new(vec![live.clone()], Config::default());
    let token = stage.chat().await;
    stage.say(token, "first", "hello").await;
    beside.close_gate();
    Tasks::current(Stop::default())
        .spawn("beside", live.begin_shadow(handler(&beside), SAMPLE_ALL));
    for number in 0..100 {
        sent(stage.ask(0, send(token, &format!("k{number}"), "hello")).await);
    }
    let told = live.shadowed().unwrap();
    assert_eq!(told.calls, 0);
    assert!(told.dropped >= 100 - 64 - 1, "{told:?}");
    beside.open_gate();
    let told = compared(&stage, &live, 100).await;
    assert_eq!((told.calls + told.dropped, told.differing), (100, 0));
}

#[tokio::test]
async fn only_some_are_looked_at_and_only_of_its_name() {
    let other = Scripted::new("other", |_call| verdict(Verdict::Accept));
    let (live, beside) = (LiveChain::from(chain(&[&strict(), &other])), candidate());
    let stage = Stage::new(vec![live.clone()], Config::default());
    let token = stage.chat().await;
    stage.say(token, "first", "hello").await;
    Tasks::current(Stop::default())
        .spawn("beside", live.begin_shadow(handler(&beside), SAMPLE_ALL / 4));
    for number in 0..200 {
        sent(stage.ask(0, send(token, &format!("k{number}"), "hello")).await);
        stage.rest().await;
    }
    let told = live.end_shadow().unwrap();
    let looked = told.calls + told.dropped;
    assert!((20..90).contains(&looked), "a quarter of 200, by dice: {told:?}");
    assert_eq!(told.differing, 0, "the other handler's accept is none of it");
}
