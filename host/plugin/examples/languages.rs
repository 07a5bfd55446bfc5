//! What the example plugin costs in every language: `make languages`, `carillon plugin build` in each folder of
//! `plugins/examples`, then `cargo run --release -p plugin --example languages -- plugins/examples 2000`.
//!
//! All of them do the same about the same message: read two settings, read and set a note, log, reject. One
//! thread, a fresh store for every call, nothing else in the process. A language that was not built is told as
//! SKIPPED. `fresh` is what a call touches of memory that no call before it left behind, so that with the 80 KiB
//! that a place keeps it is what one more call at the same time takes.

#![expect(clippy::print_stdout, reason = "this is what an example is for")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "an example ends where it fails")]

#[path = "../tests/case/mod.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod case;

use std::path::Path;
use std::time::Duration;

use model::Body;
use plugin::{Call, Host, HostConfig, Notes, Plugin, Spec, Verdict};

/// Calls that are counted, after a tenth of them that are not.
const CALLS: usize = 2_000;

const LANGUAGES: [&str; 5] = ["rust", "c", "js", "go", "python"];

/// A page of memory.
const PAGE_KIB: f64 = 4.0;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "plugins/examples".to_owned());
    let calls = std::env::args().nth(2).map_or(CALLS, |count| count.parse().unwrap());
    println!(
        "{:<8} {:>9} {:>10} {:>9} {:>10} {:>10} {:>10} {:>12}",
        "", "size", "compiled", "cached", "p50", "p99", "fresh", "fuel"
    );
    for language in LANGUAGES {
        let path = Path::new(&folder).join(language).join("target/polite.wasm");
        match std::fs::read(&path) {
            Ok(component) => measure(language, component, calls).await,
            Err(error) => println!("SKIPPED: {language}: {}: {error}", path.display()),
        }
    }
}

async fn measure(language: &str, component: Vec<u8>, calls: usize) {
    let size = component.len();
    let cache = tempfile::tempdir().unwrap();
    let host = || {
        let (cache, calls_max) = (Some(cache.path().to_owned()), 32);
        Host::new(HostConfig { cache, ceiling: case::PATIENT, calls_max, ..HostConfig::default() })
    };
    let config = serde_json::json!({"word": "darn", "most": 2});
    let spec = || Spec { config: config.clone(), ..case::spec(component.clone()) };

    let began = runtime::now();
    host().unwrap().load(spec()).await.unwrap();
    let compiled = runtime::now() - began;
    let warm = host().unwrap();
    let began = runtime::now();
    let plugin = warm.load(spec()).await.unwrap();
    let cached = runtime::now() - began;

    let notes = Notes::from([("rude/alice".to_owned(), b"7".to_vec())]);
    let call = Call { notes: notes.into(), ..case::call() };
    ask(&plugin, &call, calls / 10 + 1).await;
    let before = faults();
    let (mut took, fuel) = ask(&plugin, &call, calls).await;
    let fresh = (faults() - before) as f64 * PAGE_KIB / calls as f64;
    took.sort();
    let micros = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    println!(
        "{language:<8} {:>5} KiB {:>8.2} s {:>6.1} ms {:>7.1} µs {:>7.1} µs {fresh:>6.0} KiB {fuel:>12}",
        size / 1024,
        compiled.as_secs_f64(),
        cached.as_secs_f64() * 1e3,
        micros(50),
        micros(99),
    );
}

/// Asks so often; how long each took, and what one costs.
async fn ask(plugin: &Plugin, call: &Call, calls: usize) -> (Vec<Duration>, u64) {
    let mut took = Vec::with_capacity(calls);
    let mut fuel = 0;
    for _ in 0..calls {
        let (call, said) = (call.clone(), case::said("text", Body::Text("darn it".to_owned())));
        let began = runtime::now();
        let reply = plugin.on_message(call, said).await.unwrap();
        took.push(runtime::now() - began);
        assert!(matches!(reply.verdict, Verdict::Reject { .. }), "{reply:?}");
        fuel = reply.fuel;
    }
    (took, fuel)
}

/// Pages that this process was given without reading them from a disk.
fn faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // What follows the name, which may hold spaces.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    fields.split_whitespace().nth(7).unwrap().parse().unwrap()
}
