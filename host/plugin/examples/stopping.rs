//! How soon a guest that loops is stopped, and what others notice of it:
//! `cargo run --release -p plugin --example stopping -- 10000`.
//!
//! One guest is asked again and again and never answers; its deadline is short, so that ten thousand such
//! calls take minutes and not a quarter of an hour. Beside it another plugin is asked every millisecond,
//! first alone and then together with the loop: how long after its time an answer is there is told for
//! both. Let nothing else run.

#![expect(clippy::print_stdout, reason = "this is what an example is for")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "an example ends where it fails")]

#[path = "../tests/case/mod.rs"]
mod case;
#[path = "../../../tests/src/guests.rs"]
#[expect(dead_code, unreachable_pub, reason = "the harness shares it with other crates' tests")]
mod guests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use guests::Guest;
use plugin::{Failure, Host, HostConfig, LimitsWanted, Plugin, Spec};
use runtime::{Stop, Tasks};

const CALLS: usize = 10_000;

const DEADLINE: Duration = Duration::from_millis(5);

/// How often the others are asked.
const EVERY: Duration = Duration::from_millis(1);

/// How often they are asked alone.
const ALONE: usize = 10_000;

#[tokio::main(flavor = "multi_thread")]
async fn main() {
    let calls = std::env::args().nth(1).map_or(CALLS, |count| count.parse().unwrap());
    let good = case::load(case::spec(Guest::default().build())).await.unwrap();
    let alone = Arc::new(AtomicBool::new(true));
    let before = asked(&good, ALONE.min(calls), &alone).await;

    let tasks = Tasks::current(Stop::default());
    let (done, ended) = tokio::sync::oneshot::channel();
    let going_on = Arc::clone(&alone);
    tasks.spawn("loops", async move {
        let late = stopped(calls).await;
        going_on.store(false, Ordering::Relaxed);
        let _nobody_waits = done.send(late);
    });
    let beside = asked(&good, usize::MAX, &alone).await;
    let late = ended.await.unwrap();
    tasks.finish().await;

    tell("another plugin, alone", &before);
    tell("another plugin, beside the loop", &beside);
    tell("the loop, after its deadline", &late);
}

/// How long after its deadline each of `calls` was stopped. The plugin is loaded anew, as it was compiled
/// once, before its breaker would leave it alone.
async fn stopped(calls: usize) -> Vec<Duration> {
    let folder = tempfile::tempdir().unwrap();
    let cache = Some(folder.path().to_owned());
    let config =
        HostConfig { cache, ceiling: case::PATIENT, calls_max: 4, ..HostConfig::default() };
    let host = Host::new(config).unwrap();
    let component = Guest::doing("(loop $again (br $again))").build();
    let limits = LimitsWanted { fuel: Some(1 << 40), deadline: Some(DEADLINE), memory: None };
    let mut late = Vec::with_capacity(calls);
    while late.len() < calls {
        let plugin = host.load(Spec { limits, ..case::spec(component.clone()) }).await.unwrap();
        for _ in 0..5 {
            let began = runtime::now();
            let failure = case::say(&plugin, "hello").await.unwrap_err();
            assert!(matches!(failure, Failure::Deadline { .. }), "{failure:?}");
            late.push((runtime::now() - began).saturating_sub(DEADLINE));
        }
    }
    late
}

/// How long after its time each answer was there.
async fn asked(plugin: &Plugin, calls: usize, while_this: &AtomicBool) -> Vec<Duration> {
    let mut took = Vec::new();
    let mut next = runtime::now();
    while took.len() < calls && while_this.load(Ordering::Relaxed) {
        runtime::sleep_until(next).await;
        case::say(plugin, "hello").await.unwrap();
        took.push(runtime::now() - next);
        next = runtime::now().max(next + EVERY);
    }
    took
}

fn tell(what: &str, took: &[Duration]) {
    let mut took = took.to_vec();
    took.sort();
    let at = |thousandths: usize| took[(took.len() - 1) * thousandths / 1_000].as_secs_f64() * 1e3;
    let (p50, p99, p999) = (at(500), at(990), at(999));
    println!(
        "{what:<32} {:>6} calls   p50 {p50:.2} ms   p99 {p99:.2} ms   p99.9 {p999:.2} ms",
        took.len()
    );
}
