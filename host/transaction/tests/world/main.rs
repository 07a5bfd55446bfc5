//! Transactions through accidents that a seed decides: nodes that die, take-overs that lose what was not committed and
//! that the one before learns of too late, answers that are lost, logs that are trimmed, messages that are redacted,
//! services that are away, refuse, or take only some; and what must be so all the while.
//!
//! The log, the nodes and the service are models; what decides is the real thing: the fold of `model`, the
//! cutting and the engine of this crate. `SEED=7 cargo test -p transaction --test world one_seed` repeats one,
//! `SEEDS=20000` in front of `no_seed` tries more. Schedules that are known to be hard are played by hand.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test says that it failed"
)]

mod book;
mod driver;
mod log;
mod play;
mod receiver;
mod schedules;

use std::panic::{AssertUnwindSafe, catch_unwind};

use play::{Sabotage, World};

/// The service that everything is for.
pub(crate) const SERVICE: &str = "crm";

/// Steps of one run: some hundred transactions.
const STEPS: usize = 3000;

/// Runs that the gate makes.
const SEEDS: u64 = 150;

/// What went wrong, what was taken, and how often some of that was again.
fn run(seed: u64, sabotage: Sabotage) -> [usize; 3] {
    let mut world = World::new(seed, sabotage);
    for _step in 0..STEPS {
        world.step();
    }
    world.heal();
    let (events, again) = world.book.sums();
    [world.faults, events, again]
}

#[test]
fn no_seed_breaks_an_invariant() {
    let [mut faults, mut events, mut again] = [0; 3];
    for seed in 0..number("SEEDS").unwrap_or(SEEDS) {
        match catch_unwind(AssertUnwindSafe(|| run(seed, Sabotage::None))) {
            Ok([made, taken, twice]) => {
                (faults, events, again) = (faults + made, events + taken, again + twice);
            }
            Err(_told) => panic!("SEED={seed} breaks it, see above"),
        }
    }
    println!(
        "{faults} faults, {events} events: 0 missing, 0 inversions, {again} taken again, none under its id with \
         other bytes"
    );
    assert!(faults > 1_000, "{faults} faults are nothing");
}

#[test]
fn one_seed() {
    run(number("SEED").unwrap_or(1), Sabotage::None);
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Somebody must notice, and say which rule is broken. That the same seeds are good without it is tried above.
fn noticed(sabotage: Sabotage, rules: &[&str]) {
    let told = |seed| {
        let panic = catch_unwind(AssertUnwindSafe(|| run(seed, sabotage))).err()?;
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()))
    };
    let Some(words) = (0..40).find_map(told) else { panic!("nobody noticed {sabotage:?}") };
    assert!(rules.iter().any(|rule| words.contains(rule)), "{sabotage:?}: {words}");
}

#[test]
fn what_is_done_before_it_is_taken_is_noticed() {
    noticed(Sabotage::DoneBeforeTaken, &["T-I12"]);
}

#[test]
fn what_is_sent_before_it_is_committed_is_noticed() {
    noticed(Sabotage::SentBeforeCommitted, &["T-I4"]);
}

#[test]
fn a_range_in_place_of_a_list_of_events_is_noticed() {
    noticed(Sabotage::RangeForList, &["T-I1:", "T-I2"]);
}

#[test]
fn a_cut_that_does_not_say_where_it_began_is_noticed() {
    noticed(Sabotage::CutTwice, &["T-I1:"]);
}

#[test]
fn a_trim_that_takes_what_a_service_is_owed_is_noticed() {
    noticed(Sabotage::TrimWithoutShelf, &["T-I12"]);
}
