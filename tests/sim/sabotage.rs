//! Rules broken on purpose: a simulation that does not notice shows nothing.
//!
//! For each switch seeds are tried until one breaks a rule, and that seed must be a good one without
//! the switch.

use replication::core::Sabotage;

use crate::run::run;

/// Every switch is found within far fewer; the figures are printed with `--nocapture`.
const SEEDS_MAX: u64 = 400;

/// Seeds are tried from here on, until one breaks a rule.
fn found(name: &str, sabotage: Sabotage) {
    let failure = (0..SEEDS_MAX).find_map(|seed| run(seed, sabotage).err());
    let Some(failure) = failure else { panic!("{name} goes unnoticed in {SEEDS_MAX} seeds") };
    println!("{name}: {} seeds, {}", failure.seed + 1, failure.violation.rule);
    let without = run(failure.seed, Sabotage::default());
    assert!(without.is_ok(), "SEED={} is bad without {name}", failure.seed);
}

#[test]
fn a_member_that_keeps_no_promise_is_noticed() {
    found("no_fence", Sabotage { no_fence: true, ..Sabotage::default() });
}

#[test]
fn a_candidate_that_asks_nobody_is_noticed() {
    found("no_seal", Sabotage { no_seal: true, ..Sabotage::default() });
}

#[test]
fn a_primary_that_counts_old_acks_is_noticed() {
    found("any_epoch_acks", Sabotage { any_epoch_acks: true, ..Sabotage::default() });
}

#[test]
fn an_ack_before_the_sync_is_noticed() {
    found("ack_before_sync", Sabotage { ack_before_sync: true, ..Sabotage::default() });
}

#[test]
fn an_answer_before_the_commit_is_noticed() {
    found("show_before_commit", Sabotage { show_before_commit: true, ..Sabotage::default() });
}

#[test]
fn an_epoch_resumed_after_a_restart_is_noticed() {
    found("resume", Sabotage { resume: true, ..Sabotage::default() });
}

#[test]
fn a_primary_that_serves_before_it_is_open_is_noticed() {
    found("serve_before_open", Sabotage { serve_before_open: true, ..Sabotage::default() });
}

#[test]
fn an_ack_of_the_logs_end_is_noticed() {
    found("ack_log_end", Sabotage { ack_log_end: true, ..Sabotage::default() });
}

#[test]
fn a_seal_of_a_sealing_ensemble_is_noticed() {
    found("prev_from_sealing", Sabotage { prev_from_sealing: true, ..Sabotage::default() });
}
