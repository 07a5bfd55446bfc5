//! Ensembles that change: random worlds with a ring, the schedules by name, and the rules of a change
//! broken on purpose.

use registry::PartitionState;
use replication::core::{Sabotage, Timings};

use crate::agenda::ms;
use crate::invariants::Violation;
use crate::run::{Report, live_world, spread};
use crate::setup::Setup;
use crate::stage::{P, Stage};

/// As many as the gate runs.
const SEEDS: u64 = 500;
/// Within so many a broken rule is noticed.
const SABOTAGED_MAX: u64 = 400;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(seed: u64, sabotage: Sabotage) -> Result<Report, Violation> {
    live_world(Setup::random_ring(seed, sabotage)).1
}

#[test]
fn no_seed_breaks_a_rule_while_ensembles_change() {
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let (reports, failures) = spread(0..seeds, |seed| run(seed, Sabotage::default()));
    if let Some((first, violation)) = failures.first() {
        for (seed, violation) in &failures {
            let text: String = violation.text.chars().take(300).collect();
            println!("SEED={seed} {}: {text}", violation.rule);
        }
        panic!("{} of {seeds} seeds fail, {first} with {violation:?}", failures.len());
    }
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let moved = sum(|it| it.counts.moved);
    println!(
        "{seeds} seeds: {} s simulated, {} reigns, {moved} changes, {} given up, {} entries shown",
        sum(|it| it.lasted) / 1_000_000,
        sum(|it| it.counts.opened),
        sum(|it| it.counts.given_up),
        sum(|it| it.shown),
    );
    assert!(moved > seeds, "nothing changes: {moved}");
}

#[test]
fn one_change_tells_its_story() {
    let seed = number("SEED").unwrap_or(1);
    let setup = Setup { readable: true, ..Setup::random_ring(seed, Sabotage::default()) };
    let (world, verdict) = live_world(setup);
    if std::env::var("SEED").is_ok() || verdict.is_err() {
        println!("{:#?}\n{}\n{}", world.setup, world.trace, world.describe());
    }
    assert!(verdict.is_ok(), "SEED={seed}: {verdict:?}");
}

fn found(name: &str, sabotage: Sabotage) {
    crate::run::found(name, sabotage, SABOTAGED_MAX, run);
}

#[test]
fn a_change_within_an_epoch_is_noticed() {
    found("change_in_place", Sabotage { change_in_place: true, ..Sabotage::default() });
}

#[test]
fn a_learner_that_counts_is_noticed() {
    found("count_learners", Sabotage { count_learners: true, ..Sabotage::default() });
}

#[test]
fn a_change_that_seals_the_new_ensemble_is_noticed() {
    found("seal_own_ensemble", Sabotage { seal_own_ensemble: true, ..Sabotage::default() });
}

#[test]
fn a_node_that_counts_whatever_its_store_is_noticed() {
    found("count_by_node", Sabotage { count_by_node: true, ..Sabotage::default() });
}

#[test]
fn a_new_ensemble_that_counts_too_early_is_noticed() {
    found("c_early", Sabotage { c_early: true, ..Sabotage::default() });
}

/// A calm world with a ring that ensembles follow at once.
fn calm(nodes: usize, members: usize) -> Setup {
    let timings = Timings {
        settle: std::time::Duration::from_millis(500),
        dead: std::time::Duration::from_secs(4),
        ..Timings::default()
    };
    Setup { ring: true, members, timings, ..Setup::calm(nodes, 2) }
}

fn names(stage: &Stage, node: usize) -> bool {
    let id = &stage.world.nodes[node].id;
    stage.world.registry.current(P).ensemble.iter().any(|member| member.node == *id)
}

/// S13. A member is to leave while clients send: another node takes its place, and nothing is lost.
#[test]
fn an_ensemble_changes_under_load() {
    let mut stage = Stage::of(Setup { load: Some((ms(2), ms(20))), ..calm(4, 3) });
    stage.world.busy = true;
    stage.pass(3_000);
    let leader = stage.leader();
    let goes = stage.others()[0];
    let token = stage.commit(leader);
    stage.world.set_leaving(goes, true);
    stage.until("the change", |world| {
        let id = &world.nodes[goes].id;
        world.registry.current(P).ensemble.iter().all(|member| member.node != *id)
    });
    stage.pass(2_000);
    let leader = stage.leader();
    stage.good(stage.has(leader, token), "nothing is lost");
    stage.heal();
}

/// S13. The primary itself is to leave.
#[test]
fn a_primary_that_leaves_hands_over_and_goes() {
    let mut stage = Stage::of(calm(4, 3));
    stage.pass(3_000);
    let leader = stage.leader();
    let token = stage.commit(leader);
    stage.world.set_leaving(leader, true);
    stage.until("the change", |world| {
        let id = &world.nodes[leader].id;
        world.registry.current(P).ensemble.iter().all(|member| member.node != *id)
            && world.leader(P).is_some()
    });
    let next = stage.leader();
    stage.good(next != leader && stage.has(next, token), "handed over");
    stage.heal();
}

/// S6. A partition of one member, whose every append is committed, grows to three with a quorum of two; then
/// its primary is lost.
#[test]
fn a_partition_that_grows_survives_its_first_member() {
    let mut stage = Stage::of(calm(3, 1));
    let leader = stage.leader();
    let tokens: Vec<u64> = (0..20).map(|_| stage.commit(leader)).collect();
    stage.until("three members", |world| {
        let record = world.registry.current(P);
        let open = record.state == PartitionState::Open;
        open && record.ensemble.len() == 3 && world.leader(P).is_some()
    });
    let leader = stage.leader();
    let last = stage.commit(leader);
    stage.crash(leader);
    let next = stage.leader_but(&[leader]);
    let all = tokens.iter().chain([&last]).all(|token| stage.has(next, *token));
    stage.good(all, "nothing is lost");
    stage.world.restart(leader);
    stage.heal();
}

/// S22. A member is gone for good, and an empty node takes its place from a log that no memory holds.
#[test]
fn a_dead_member_is_replaced_by_an_empty_node() {
    let limits = replication::core::Limits {
        tail_entries_max: 8,
        append_entries_max: 5,
        in_flight_entries_max: 10,
        ..replication::core::Limits::default()
    };
    let mut stage = Stage::of(Setup { limits, ..calm(4, 3) });
    stage.pass(3_000);
    let leader = stage.leader();
    let dies = stage.others()[0];
    let tokens: Vec<u64> = (0..200).map(|_| stage.commit(leader)).collect();
    stage.crash(dies);
    stage.world.set_on_ring(dies, false);
    stage.until("the change", |world| {
        let id = &world.nodes[dies].id;
        let ensemble = &world.registry.current(P).ensemble;
        ensemble.len() == 3 && ensemble.iter().all(|member| member.node != *id)
    });
    stage.pass(500);
    let leader = stage.leader();
    stage.good(!names(&stage, dies), "it is out");
    let all = tokens.iter().all(|token| stage.has(leader, *token));
    stage.good(all, "nothing is lost");
    stage.world.restart(dies);
    stage.world.set_on_ring(dies, true);
    stage.heal();
}
