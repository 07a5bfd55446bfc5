//! What the shipped handlers cost a message: `cargo plugins`, then
//! `cargo run --release -p plugin --example chain -- target/wasm32-wasip2/release`.
//!
//! One thread, nothing else in the process. A line tells the median and the 99th percentile of a call,
//! and its fuel, which is the same on every machine: when the times differ and the fuel does not, it was
//! the machine.

#![expect(clippy::print_stdout, reason = "this is what an example is for")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "an example ends where it fails")]

#[path = "../tests/case/mod.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod case;
#[path = "../../../tests/src/guests.rs"]
#[expect(dead_code, unreachable_pub, reason = "the harness shares it with other crates' tests")]
mod guests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::Body;
use plugin::{Call, Plugin, Said, Spec};

/// Calls that are counted, after a tenth of them that are not.
const CALLS: usize = 20_000;

/// As long as the messages of the load test.
const BODY_BYTES: usize = 200;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "target/plugins".to_owned());
    let folder = Path::new(&folder);
    let empty = case::load(case::spec(guests::Guest::default().build())).await.unwrap();
    let status = shipped(folder, "status", serde_json::json!({})).await;
    let words = serde_json::json!({ "words": ["badword"] });
    let moderation = shipped(folder, "moderation", words).await;

    let text = text();
    let call = (case::call(), case::said("text", Body::Text(text)));
    measure("a guest that does nothing", &[empty], &call).await;
    measure("status", &[Arc::clone(&status)], &call).await;
    measure("moderation", &[Arc::clone(&moderation)], &call).await;
    measure("status, then moderation", &[status, moderation], &call).await;
}

/// Words of five letters.
fn text() -> String {
    "hello ".chars().cycle().take(BODY_BYTES).collect()
}

/// The component as `make build` packs it or, in another folder, as the compiler leaves it.
async fn shipped(folder: &Path, name: &str, config: serde_json::Value) -> Arc<Plugin> {
    let packed = folder.join(format!("{name}.wasm"));
    let built = folder.join(format!("plugin_{name}.wasm"));
    let component = std::fs::read(packed).or_else(|_none| std::fs::read(built)).unwrap();
    let name = name.to_owned();
    case::load(Spec { name, config, ..case::spec(component) }).await.unwrap()
}

async fn measure(what: &str, chain: &[Arc<Plugin>], (call, said): &(Call, Said)) {
    let mut took = Vec::with_capacity(CALLS);
    let mut fuel = 0;
    for count in 0..CALLS + CALLS / 10 {
        let began = runtime::now();
        fuel = 0;
        for plugin in chain {
            fuel += plugin.on_message(call.clone(), said.clone()).await.unwrap().fuel;
        }
        if count >= CALLS / 10 {
            took.push(runtime::now() - began);
        }
    }
    took.sort();
    let micros = |at: usize| Duration::as_secs_f64(&took[at]) * 1e6;
    let (p50, p99) = (micros(CALLS / 2), micros(CALLS * 99 / 100));
    println!("{what:<28} p50 {p50:6.1} µs   p99 {p99:6.1} µs   fuel {fuel}");
}
