//! Logs that hold what nobody ever wrote, or what cannot be read: found, and mended from those who agree.

use replication::core::{Outcome, Role, Sabotage};

use crate::agenda::ms;
use crate::invariants::Violation;
use crate::run::{Report, live_world, spread};
use crate::setup::Setup;
use crate::stage::{P, Stage};
use crate::world::World;

/// As many as the gate runs.
const SEEDS: u64 = 300;
/// Within so many a broken rule is noticed.
const SABOTAGED_MAX: u64 = 300;

fn run(seed: u64, sabotage: Sabotage) -> Result<Report, Violation> {
    live_world(Setup::random_losses(seed, sabotage)).1
}

#[test]
fn no_seed_breaks_a_rule_where_disks_lie_and_records_vanish() {
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let (reports, failures) = spread(0..seeds, |seed| run(seed, Sabotage::default()));
    if let Some((first, violation)) = failures.first() {
        for (seed, violation) in &failures {
            let text: String = violation.text.chars().take(300).collect();
            println!("SEED={seed} {}: {text}", violation.rule);
        }
        panic!("{} of {seeds} seeds fail, {first} with {violation:?}", failures.len());
    }
    let mended: u64 = reports.iter().map(|report| report.counts.mended).sum();
    println!("{seeds} seeds: {mended} logs mended");
    assert!(mended > seeds / 10, "no log is ever mended: {mended}");
}

#[test]
fn one_loss_tells_its_story() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let setup = Setup { readable: true, ..Setup::random_losses(seed, Sabotage::default()) };
    let (world, verdict) = live_world(setup);
    if std::env::var("SEED").is_ok() || verdict.is_err() {
        println!("{:#?}\n{}\n{}", world.setup, world.trace, world.describe());
    }
    assert!(verdict.is_ok(), "SEED={seed}: {verdict:?}");
}

impl Stage {
    /// The log of a node that does not run says something else from its entry `first` on.
    fn alter(&mut self, node: usize, first: u64) {
        self.world.nodes[node].disk.alter(P, first);
    }

    /// Crashes a node and lets it return with another log.
    fn return_altered(&mut self, node: usize, first: u64) {
        self.crash(node);
        self.alter(node, first);
        self.world.restart(node);
    }
}

fn is_whole(world: &World, node: usize) -> bool {
    let log = world.nodes[node].durable(P);
    log.altered.is_none() && log.unreadable.is_empty() && !world.view(node, P).damaged
}

#[test]
fn a_member_with_another_log_is_mended_while_the_others_go_on() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    let tokens: Vec<u64> = (0..30).map(|_| stage.commit(leader)).collect();
    let member = stage.others()[0];
    stage.until("all of it", |world| world.is_equal(P));
    stage.return_altered(member, 11);
    let more = stage.commit(leader);
    stage.until("it is mended", |world| is_whole(world, member));
    stage.good(stage.world.counts.mended == 1, "once");
    stage.good(stage.has(member, tokens[29]) && stage.has(member, more), "it has everything again");
    stage.heal();
}

#[test]
fn a_primary_that_returns_with_another_log_does_not_lead_by_it() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    let tokens: Vec<u64> = (0..10).map(|_| stage.commit(leader)).collect();
    stage.until("all of it", |world| world.is_equal(P));
    stage.return_altered(leader, 4);
    let next = stage.leader_but(&[leader]);
    stage.good(tokens.iter().all(|token| stage.has(next, *token)), "nothing is lost");
    stage.until("it is mended", |world| is_whole(world, leader));
    stage.heal();
}

/// Two members contradict each other and the third is gone: nobody knows who is right, and nothing is
/// changed or committed until there are two against one.
#[test]
fn one_against_one_changes_nothing() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    for _ in 0..10 {
        stage.commit(leader);
    }
    let others = stage.others();
    stage.until("all of it", |world| world.is_equal(P));
    stage.crash(others[1]);
    stage.return_altered(others[0], 3);
    let unsaid = stage.send(leader, 2);
    stage.pass(9_000);
    let outcome = stage.world.outcome(unsaid);
    stage.good(!matches!(outcome, Some(Outcome::Quorum { .. })), "one holds it");
    stage.good(stage.world.counts.mended == 0, "one against one");
    stage.good(stage.world.view(others[0], P).role == Role::Mending, "it takes nothing");
    stage.world.restart(others[1]);
    stage.until("it is mended", |world| is_whole(world, others[0]));
    stage.heal();
}

/// A primary that cannot read an entry gives the partition away, and is mended by its successor.
#[test]
fn a_primary_that_cannot_read_its_log_is_mended() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    for _ in 0..10 {
        stage.commit(leader);
    }
    stage.until("all of it", |world| world.is_equal(P));
    stage.world.rot(leader);
    stage.leader_but(&[leader]);
    stage.until("it is mended", |world| is_whole(world, leader));
    stage.heal();
}

#[test]
fn a_log_that_is_mended_on_one_word_is_noticed() {
    let sabotage = Sabotage { mend_alone: true, ..Sabotage::default() };
    crate::run::found("mend_alone", sabotage, SABOTAGED_MAX, run);
    let violation = dropped(sabotage).unwrap_err();
    assert_ne!(violation.rule, "schedule", "{violation:?}");
    assert_eq!(dropped(Sabotage::default()), Ok(()));
}

/// Two of three have committed what the third lacks; then one of the two returns with another log. If it
/// drops what it has on the primary's word, the primary alone has it.
fn dropped(sabotage: Sabotage) -> Result<(), Violation> {
    let mut stage = Stage::of(Setup { sabotage, ..Setup::calm(3, 2) });
    let leader = stage.leader();
    for _ in 0..5 {
        stage.commit(leader);
    }
    stage.until("all of it", |world| world.is_equal(P));
    let others = stage.others();
    stage.crash(others[1]);
    for _ in 0..5 {
        stage.commit(leader);
    }
    stage.world.crash(others[0])?;
    stage.alter(others[0], 3);
    // What was committed above is of an earlier time than the difference: only below it all three agree.
    stage.world.restart(others[0]);
    stage.world.run_for(ms(5_000))?;
    stage.world.restart(others[1]);
    stage.world.run_for(ms(5_000))?;
    stage.world.heal()?;
    stage.world.settle()
}
