//! Timers: each goes off once, whoever leads the chat by then.

use std::sync::Arc;
use std::time::Duration;

use chat::{Config, Request, Response};
use model::{ChatToken, MessageId, Route};
use plugin::{Call, Draft, Effect, Verdict};
use runtime::SimulatedClock;

use crate::stage::scripted::{Scripted, chain, pass, text, with};
use crate::stage::{Keeps, Stage};

const SECOND: Duration = Duration::from_secs(1);

fn draft(call: &Call, words: &str) -> Effect {
    let ids = call.ids;
    Effect::Post(Draft {
        id: MessageId::derive(ids.partition, ids.chat, ids.epoch, ids.turn, ids.next_index),
        kind: "text".into(),
        route: Route::Everyone,
        body: model::Body::Text(words.into()),
        attrs: Default::default(),
    })
}

fn start(after_ms: u32) -> Effect {
    Effect::StartTimer { name: "nap".into(), after_ms }
}

/// Says `awake` a second after `start`, and starts or stops over at `again` and `stop`.
fn alarm() -> Arc<Scripted> {
    Scripted::listening(
        "alarm",
        |call| match text(call) {
            "start" | "again" => with(Verdict::Pass, vec![start(1_000)]),
            "stop" => with(Verdict::Pass, vec![Effect::CancelTimer { name: "nap".into() }]),
            _ => pass(),
        },
        |call, event| match event.name {
            "timer.fired" => Ok(vec![draft(call, "awake")]),
            _ => Ok(Vec::new()),
        },
    )
}

async fn timers(stage: &Stage, at: usize, token: ChatToken) -> usize {
    match stage.ask(at, Request::Show { token, confirmed: false }).await {
        Ok(Response::Chat(chat)) => chat.pending.timers,
        other => panic!("{other:?}"),
    }
}

fn fired(alarm: &Scripted) -> usize {
    alarm.told().iter().filter(|name| *name == "timer.fired").count()
}

#[tokio::test]
async fn a_timer_goes_off_once_and_what_it_causes_is_in_its_entry() {
    let clock = SimulatedClock::new();
    let _entered = clock.enter();
    let alarm = alarm();
    let stage = Stage::new(vec![chain(&[&alarm])], Config::default());
    let token = stage.chat().await;
    stage.say(token, "k1", "start").await;
    stage.rest().await;
    assert_eq!(timers(&stage, 0, token).await, 1);
    let before = stage.world.look().entries();
    clock.set(SECOND);
    stage.comes_to(|| fired(&alarm) == 1).await;
    stage.rest().await;
    assert_eq!(stage.world.look().entries(), before + 1);
    assert_eq!(stage.texts(0, token).await, ["start", "awake"]);
    clock.set(100 * SECOND);
    stage.rest().await;
    assert_eq!((fired(&alarm), timers(&stage, 0, token).await), (1, 0));
}

#[tokio::test]
async fn a_timer_that_is_started_again_is_another_and_one_that_is_stopped_is_none() {
    let clock = SimulatedClock::new();
    let _entered = clock.enter();
    let alarm = alarm();
    let stage = Stage::new(vec![chain(&[&alarm])], Config::default());
    let token = stage.chat().await;
    stage.say(token, "k1", "start").await;
    clock.set(SECOND / 2);
    stage.say(token, "k2", "again").await;
    clock.set(SECOND);
    stage.rest().await;
    assert_eq!(fired(&alarm), 0, "the first one was over when the second began");
    clock.set(3 * SECOND / 2);
    stage.comes_to(|| fired(&alarm) == 1).await;
    stage.say(token, "k3", "start").await;
    stage.say(token, "k4", "stop").await;
    clock.set(10 * SECOND);
    stage.rest().await;
    assert_eq!((fired(&alarm), timers(&stage, 0, token).await), (1, 0));
}

#[tokio::test]
async fn a_timer_of_a_chat_that_ended_never_goes_off() {
    let clock = SimulatedClock::new();
    let _entered = clock.enter();
    let alarm = alarm();
    let stage = Stage::new(vec![chain(&[&alarm])], Config::default());
    let token = stage.chat().await;
    stage.say(token, "k1", "start").await;
    stage.ask(0, Request::End { token, sender: None }).await.unwrap();
    clock.set(10 * SECOND);
    stage.rest().await;
    assert_eq!((fired(&alarm), timers(&stage, 0, token).await), (0, 0));
}

/// I14: whatever is lost on the way, a timer that was committed goes off in one committed entry.
#[tokio::test]
async fn a_timer_ends_once_through_any_number_of_leaders() {
    for (lost, wall_ms) in [(true, 0), (true, 400), (false, 0), (false, 90_000_000)] {
        let clock = SimulatedClock::new();
        let _entered = clock.enter();
        let alarms = [alarm(), alarm()];
        let chains = alarms.iter().map(|alarm| chain(&[alarm])).collect();
        let stage = Stage::new(chains, Config::default());
        let token = stage.chat().await;
        stage.say(token, "k1", "start").await;
        stage.hold();
        clock.set(SECOND);
        stage.comes_to(|| fired(&alarms[0]) == 1).await;
        stage.rest().await;
        stage.world.close();
        stage.world.look().commits = true;
        stage.world.look().wall_ms += wall_ms;
        stage.world.open(1, if lost { Keeps::Committed } else { Keeps::Everything });
        stage.rest().await;
        // At most its length after the new leader found it.
        clock.set(2 * SECOND);
        if lost {
            stage.comes_to(|| fired(&alarms[1]) == 1).await;
        }
        stage.rest().await;
        assert_eq!(stage.texts(1, token).await, ["start", "awake"]);
        stage.world.close();
        stage.world.open(0, Keeps::Everything);
        clock.set(100 * SECOND);
        stage.rest().await;
        assert_eq!(stage.texts(0, token).await, ["start", "awake"], "{lost} {wall_ms}");
        assert_eq!(timers(&stage, 0, token).await, 0);
    }
}

#[tokio::test]
async fn a_leader_that_goes_on_goes_on_with_its_timers() {
    let clock = SimulatedClock::new();
    let _entered = clock.enter();
    let alarm = alarm();
    let stage = Stage::new(vec![chain(&[&alarm])], Config::default());
    let token = stage.chat().await;
    stage.say(token, "k1", "start").await;
    clock.set(SECOND / 2);
    // A change of the ensemble: the same node leads at once.
    stage.world.close();
    stage.world.open(0, Keeps::Everything);
    stage.rest().await;
    clock.set(SECOND);
    stage.comes_to(|| fired(&alarm) == 1).await;
}
