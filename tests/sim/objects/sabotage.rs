//! Rules about objects broken on purpose: each must be noticed, by an invariant and within few seeds, and the first
//! seed that notices is a good one without; or by a schedule, which is good without.

use archive::Sabotage;

use super::runs::run;
use super::schedules::a_slow_node_in_the_place_of_a_dead_one;
use super::standing_still::a_primary_that_stood_still_is_asked_what_a_key_shows;
use crate::invariants::Violation;

/// Every switch is found within far fewer; the figures are printed with `--nocapture`.
const SEEDS_MAX: u64 = 150;

/// Seeds are tried until one breaks one of these rules.
fn found(name: &str, sabotage: Sabotage, rules: &[&str]) {
    let only = |seed, sabotage| -> Result<(), Violation> {
        match run(seed, sabotage) {
            Err(violation) if sabotage == Sabotage::default() => Err(violation),
            Err(violation) if rules.contains(&violation.rule) => Err(violation),
            _ => Ok(()),
        }
    };
    crate::run::found(name, sabotage, SEEDS_MAX, only);
}

#[test]
fn a_final_that_is_asked_for_before_it_is_held_is_noticed() {
    let sabotage = Sabotage { final_before_held: true, ..Sabotage::default() };
    found("final_before_held", sabotage, &["G-I1"]);
}

#[test]
fn what_is_said_to_be_held_before_it_is_synced_is_noticed() {
    let sabotage = Sabotage { held_unsynced: true, ..Sabotage::default() };
    found("held_unsynced", sabotage, &["G-I1"]);
}

#[test]
fn what_is_given_up_by_its_age_is_noticed() {
    let sabotage = Sabotage { held_by_age: true, ..Sabotage::default() };
    found("held_by_age", sabotage, &["G-I6", "G-I1"]);
}

/// In random worlds whoever comes has nearly always paid by then.
#[test]
fn a_node_that_left_and_deletes_at_once_is_noticed() {
    let sabotage = Sabotage { left_at_once: true, ..Sabotage::default() };
    let broken = a_slow_node_in_the_place_of_a_dead_one(sabotage);
    assert_eq!(broken.map_err(|violation| violation.rule), Err("G-I9"));
    assert_eq!(a_slow_node_in_the_place_of_a_dead_one(Sabotage::default()), Ok(()));
}

#[test]
fn what_is_read_of_a_primary_that_may_lead_no_more_is_noticed() {
    let sabotage = Sabotage { read_unconfirmed: true, ..Sabotage::default() };
    let story = a_primary_that_stood_still_is_asked_what_a_key_shows;
    crate::run::found("read_unconfirmed", sabotage, SEEDS_MAX, story);
    for seed in 0..20 {
        assert_eq!(story(seed, Sabotage::default()), Ok(()), "SEED={seed}");
    }
}
