//! Components that nobody wrote: sections of anything, or good ones with wrong bytes. Each is refused with words, or runs
//! within its limits. A seed is printed before it is tried; `CARILLON_GUESTS_SEEDS=10000` tries more,
//! `CARILLON_GUESTS_FROM=7` begins elsewhere.

use plugin::{LimitsWanted, LoadError, Spec};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tests::guests::Guest;

use crate::HOST;
use crate::case::{say, spec};

/// How many are tried where nobody has the time for more.
const SEEDS: u64 = 40;

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).unwrap_or_default();
    if text.is_empty() { otherwise } else { text.parse().unwrap() }
}

/// The randomness of every seed that is to be tried.
fn seeds(of: &str) -> impl Iterator<Item = StdRng> {
    let from = number("CARILLON_GUESTS_FROM", 0);
    (from..from + number("CARILLON_GUESTS_SEEDS", SEEDS)).map(move |seed| {
        println!("{of}: seed {seed}");
        StdRng::seed_from_u64(seed)
    })
}

/// Loads it, and lets it answer if it can be loaded; returns whether it could.
async fn is_harmless(component: Vec<u8>) -> bool {
    let limits = LimitsWanted { fuel: Some(1_000_000), ..spec(Vec::new()).limits };
    match HOST.load(Spec { limits, ..spec(component) }).await {
        Ok(plugin) => {
            // Any end will do: a limit, a trap, an answer.
            let _any_end = say(&plugin, "hello").await;
            true
        }
        Err(LoadError::Compiler { text, .. }) => panic!("the compiler broke: {text}"),
        Err(_refused) => false,
    }
}

/// Bytes behind the header of a component, section after section of anything.
#[tokio::test]
async fn made_up_sections_are_refused() {
    for mut random in seeds("made up") {
        let mut bytes = vec![0, b'a', b's', b'm', 13, 0, 1, 0];
        for _ in 0..random.random_range(1..20) {
            let length: u8 = random.random_range(0..100);
            bytes.extend([random.random_range(0..13), length]);
            bytes.extend((0..length).map(|_| random.random::<u8>()));
        }
        assert!(!is_harmless(bytes).await, "nobody wrote a handler by chance");
    }
}

#[tokio::test]
async fn good_components_with_wrong_bytes_are_refused_or_run_within_their_limits() {
    let good = Guest::doing("(drop (call $sum (i32.const 3)))")
        .with_module("(func $sum (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))")
        .keeping()
        .build();
    let mut loaded = 0;
    for mut random in seeds("wrong bytes") {
        let mut bytes = good.clone();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        loaded += u32::from(is_harmless(bytes).await);
    }
    println!("{loaded} of them were loaded");
}
