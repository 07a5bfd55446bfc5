//! Rules broken on purpose: a simulation that does not notice shows nothing.
//!
//! For each switch seeds are tried until one breaks a rule, and that seed must be a good one without
//! the switch. Three switches break rules that other rules cover in nearly every world; each has a
//! schedule in which nothing else helps.

use replication::core::Sabotage;
use wire::{Append, End, Message};

use crate::agenda::ms;
use crate::disk::Pace;
use crate::invariants::{Verdict, Violation, must};
use crate::run::{live_world, run};
use crate::setup::Setup;
use crate::stage::P;
use crate::world::World;

/// Every switch is found within far fewer; the figures are printed with `--nocapture`.
const SEEDS_MAX: u64 = 1_000;

/// Seeds are tried from here on, until one breaks a rule.
fn found(name: &str, sabotage: Sabotage) {
    let run = |seed, sabotage| run(seed, sabotage).map_err(|failure| failure.violation);
    crate::run::found(name, sabotage, SEEDS_MAX, run);
}

#[test]
fn a_member_that_keeps_no_promise_is_noticed() {
    let sabotage = Sabotage { no_fence: true, ..Sabotage::default() };
    found("no_fence", sabotage);
    played("no_fence", sabotage, a_return);
}

#[test]
fn a_candidate_that_asks_nobody_is_noticed() {
    found("no_seal", Sabotage { no_seal: true, ..Sabotage::default() });
}

#[test]
fn an_ack_before_the_sync_is_noticed() {
    found("ack_before_sync", Sabotage { ack_before_sync: true, ..Sabotage::default() });
}

#[test]
fn a_seal_answered_before_the_promise_is_synced_is_noticed() {
    found("late_sync", Sabotage { late_sync: true, ..Sabotage::default() });
}

#[test]
fn a_member_that_forgets_what_it_has_is_noticed() {
    found("cut_to_append", Sabotage { cut_to_append: true, ..Sabotage::default() });
}

#[test]
fn a_log_that_begins_where_nothing_is_committed_is_noticed() {
    found("trim_early", Sabotage { trim_early: true, ..Sabotage::default() });
}

#[test]
fn a_log_that_begins_before_what_it_stands_on_is_synced_is_noticed() {
    found("base_unsynced", Sabotage { base_unsynced: true, ..Sabotage::default() });
}

/// Not a switch of the core, which knows no files: a disk of which the writer syncs contents and no names.
#[test]
fn a_file_whose_name_is_not_synced_is_noticed() {
    let setup = |seed| Setup::random(seed, Sabotage::default());
    let lies = |seed| live_world(Setup { unnamed: true, ..setup(seed) }).1.err();
    let found = (0..SEEDS_MAX).find_map(|seed| Some((seed, lies(seed)?)));
    let Some((seed, violation)) = found else { panic!("it goes unnoticed") };
    println!("names not synced: {} seeds, {}", seed + 1, violation.rule);
    assert!(live_world(setup(seed)).1.is_ok(), "SEED={seed} is bad without");
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
fn a_seal_of_a_sealing_ensemble_is_noticed() {
    found("prev_from_sealing", Sabotage { prev_from_sealing: true, ..Sabotage::default() });
}

/// A schedule breaks a rule with the switch, and none without.
fn played(name: &str, sabotage: Sabotage, schedule: impl Fn(Sabotage) -> Verdict) {
    let verdict = schedule(sabotage);
    let Err(violation) = verdict else { panic!("{name} goes unnoticed") };
    println!("{name}: {}", violation.rule);
    assert_ne!(violation.rule, "schedule", "{violation:?}");
    assert_eq!(schedule(Sabotage::default()), Ok(()), "without {name}");
}

#[test]
fn a_primary_that_counts_old_acks_is_noticed() {
    let sabotage = Sabotage { any_epoch_acks: true, ..Sabotage::default() };
    played("any_epoch_acks", sabotage, late_acks);
}

#[test]
fn an_ack_of_the_logs_end_is_noticed() {
    let sabotage = Sabotage { ack_log_end: true, ..Sabotage::default() };
    played("ack_log_end", sabotage, a_question);
}

/// A member promises the next epoch to a candidate, which dies. The old primary, which was cut off,
/// returns and goes on: the member must not take what it sends.
fn a_return(sabotage: Sabotage) -> Verdict {
    let mut world = World::new(Setup { sabotage, ..Setup::calm(3, 2) });
    let first = leader(&mut world, None)?;
    until(&mut world, "a beginning", |world| world.is_equal(P))?;
    let epoch = world.registry.current(P).epoch;
    world.isolate(first);
    world.session(first, false);
    for _ in 0..20 {
        world.submit(first, P, 1);
    }
    until(&mut world, "a candidate", |world| world.registry.current(P).epoch > epoch)?;
    let by = world.registry.current(P).primary.clone();
    let second = by.and_then(|by| world.index_of(&by)).unwrap_or_default();
    let third = (0..3).find(|node| *node != first && *node != second).unwrap_or_default();
    until(&mut world, "a promise", |world| world.nodes[third].durable(P).promised() > epoch)?;
    world.crash(second)?;
    world.join(first);
    world.run_for(ms(2_000))?;
    world.heal()?;
    world.settle()
}

/// Waits for something that happens in every run of a schedule.
fn until(world: &mut World, what: &str, is_so: impl FnMut(&World) -> bool) -> Verdict {
    let so = world.run_until(ms(12_000), is_so)?;
    must(so, "schedule", || format!("waited in vain for {what}: {}", world.describe()))
}

fn leader(world: &mut World, not: Option<usize>) -> Result<usize, Violation> {
    let found = |world: &World| world.leader(P).filter(|leader| Some(*leader) != not);
    until(world, "a leader", |world| found(world).is_some())?;
    Ok(found(world).unwrap_or_default())
}

/// A primary's entries are acknowledged by one member, and the acks are held up. They are withdrawn by
/// the next epoch. Then the first node leads a third epoch, and the acks arrive: they say nothing
/// about its entries, which that member has not synced.
fn late_acks(sabotage: Sabotage) -> Verdict {
    let calm = Setup::calm(3, 3);
    let mut world = World::new(Setup { sabotage, ..calm });
    world.network.set_idle(ms(60_000));
    let first = leader(&mut world, None)?;
    let (held, second) = ((first + 1) % 3, (first + 2) % 3);
    until(&mut world, "a beginning", |world| world.is_equal(P))?;
    world.network.cut(&mut world.agenda, held, first);
    world.network.cut(&mut world.agenda, first, second);
    world.network.cut(&mut world.agenda, second, first);
    for _ in 0..10 {
        world.submit(first, P, 1);
    }
    // One seal is enough where all three make a commit: the second need not ask who has the entries.
    world.network.cut(&mut world.agenda, held, second);
    let epoch = world.registry.current(P).epoch;
    until(&mut world, "a second epoch", |world| world.end(second, P).epoch > epoch)?;
    world.network.heal(&mut world.agenda, held, second);
    world.network.heal(&mut world.agenda, second, first);
    world.network.heal(&mut world.agenda, first, second);
    leader(&mut world, Some(first))?;
    until(&mut world, "the cut", |world| world.end(held, P) == world.end(second, P))?;
    world.run_for(ms(100))?;
    world.pace(held, Pace::Hung);
    let epoch = world.registry.current(P).epoch;
    world.crash(second)?;
    until(&mut world, "a third epoch", |world| world.registry.current(P).epoch > epoch)?;
    world.restart(second);
    world.run_for(ms(1_000))?;
    world.network.heal(&mut world.agenda, held, first);
    world.run_for(ms(1_000))?;
    world.heal()?;
    world.settle()
}

/// A deposed primary has a stale suffix, and is asked whether it shares an earlier place. It does; the
/// suffix it says nothing about.
fn a_question(sabotage: Sabotage) -> Verdict {
    let mut world = World::new(Setup { sabotage, ..Setup::calm(3, 2) });
    let first = leader(&mut world, None)?;
    until(&mut world, "a beginning", |world| world.is_equal(P))?;
    let shared = world.end(first, P);
    world.isolate(first);
    for _ in 0..20 {
        world.submit(first, P, 1);
    }
    let second = leader(&mut world, Some(first))?;
    let epoch = world.registry.current(P).epoch;
    let prev = End { epoch: shared.epoch, seq: shared.seq, chain: shared.chain.0 };
    let commit = world.history.shown(P);
    let append = Append { partition: P, epoch, prev, entries: Vec::new(), commit };
    world.join(first);
    // It is asked before the leader sends what it would.
    let linked = |world: &World| {
        let life = world.nodes[first].life.as_ref();
        life.and_then(|life| life.peers.get(&second)).copied()
    };
    let before = linked(&world);
    until(&mut world, "a connection", |world| linked(world).is_some() && linked(world) != before)?;
    let generation = linked(&world).unwrap_or_default();
    let question = Message::Append(append);
    world.network.send(&mut world.agenda, (second, first), generation, question);
    world.run_for(ms(1_000))?;
    world.settle()
}
