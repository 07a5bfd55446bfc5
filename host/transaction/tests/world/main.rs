//! Transactions through accidents that a seed decides: take-overs that lose what was not committed, answers
//! that are lost, services that are away, refuse, or take only some; and what must be so all the while.
//!
//! The log, the nodes and the service are models; what decides is the real thing: the fold of `model`, the
//! cutting and the engine of this crate. `SEED=7 cargo test -p transaction --test world one_seed` repeats one.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test says that it failed"
)]

mod book;
mod play;
mod receiver;

use std::panic::{AssertUnwindSafe, catch_unwind};

use play::{Sabotage, World};

/// Steps of one run: some hundred transactions.
const STEPS: usize = 3000;

fn run(seed: u64, sabotage: Sabotage) {
    let mut world = World::new(seed, sabotage);
    for _step in 0..STEPS {
        world.step();
    }
    world.heal();
}

#[test]
fn no_seed_breaks_an_invariant() {
    for seed in 0..150 {
        let told = catch_unwind(AssertUnwindSafe(|| run(seed, Sabotage::None)));
        if told.is_err() {
            panic!("SEED={seed} breaks it, see above");
        }
    }
}

#[test]
fn one_seed() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    run(seed, Sabotage::None);
}

/// Somebody must notice.
fn noticed(sabotage: Sabotage) {
    std::panic::set_hook(Box::new(|_quiet| {}));
    let seen = (0..40).any(|seed| catch_unwind(AssertUnwindSafe(|| run(seed, sabotage))).is_err());
    drop(std::panic::take_hook());
    assert!(seen, "nobody noticed {sabotage:?}");
}

#[test]
fn what_is_done_before_it_is_taken_is_noticed() {
    noticed(Sabotage::DoneBeforeTaken);
}

#[test]
fn what_is_sent_before_it_is_committed_is_noticed() {
    noticed(Sabotage::SentBeforeCommitted);
}

#[test]
fn a_range_in_place_of_a_list_of_events_is_noticed() {
    noticed(Sabotage::RangeForList);
}

#[test]
fn a_cut_that_does_not_say_where_it_began_is_noticed() {
    noticed(Sabotage::CutTwice);
}
