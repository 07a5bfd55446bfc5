//! The schedules of objects by name, each as one story.

use std::time::Duration;

use archive::{Code, Config, Name, Sabotage, UnifiedId};
use replication::core::Timings;
use segment::archive::Fact;

use super::ObjectSetup;
use super::clients::{COLLECTIONS, Habits, Heard, Putting, What, make, name};
use super::oracle::of_key;
use crate::agenda::ms;
use crate::disk::Pace;
use crate::invariants::{Verdict, must};
use crate::node::Wall;
use crate::setup::Setup;
use crate::stage::{P, Stage};
use crate::world::World;

const DAY_MS: i64 = 24 * 3_600_000;

/// A calm world with collections, in which nobody asks anything by themselves.
fn stage(setup: Setup) -> Stage {
    stage_with(setup, Sabotage::default())
}

pub(super) fn stage_with(setup: Setup, sabotage: Sabotage) -> Stage {
    let habits = Habits {
        keepers: 0,
        keys: 0,
        pause: (ms(1), ms(2)),
        bytes_max: 100_000,
        parts: false,
        slow: false,
    };
    let config = Config {
        slack: Duration::from_millis(500),
        undecided: Duration::from_millis(300),
        abandoned: Duration::from_secs(3),
        left: Duration::from_secs(1),
        sabotage,
        ..Config::default()
    };
    let objects = Some(ObjectSetup { config, habits, power_percent: 100 });
    let mut stage = Stage::of(Setup { objects, ..setup });
    for number in 0..COLLECTIONS.len() {
        let heard = ask(&mut stage, 0, make(number));
        stage.good(matches!(heard, Heard::Made), &format!("{heard:?}"));
    }
    stage
}

pub(super) fn three() -> Stage {
    stage(Setup::calm(3, 2))
}

/// Five nodes of which three hold the partition, and the ring decides which.
pub(super) fn ring(nodes: usize) -> Stage {
    ring_with(nodes, Sabotage::default())
}

fn ring_with(nodes: usize, sabotage: Sabotage) -> Stage {
    let timings = Timings {
        settle: Duration::from_millis(300),
        dead: Duration::from_secs(4),
        ..Timings::default()
    };
    stage_with(Setup { ring: true, timings, ..Setup::calm(nodes, 2) }, sabotage)
}

pub(super) fn putting(name: &Name, seed: u64, size: usize) -> Putting {
    let pause = Duration::ZERO;
    Putting { name: name.clone(), size, seed, part: None, cut: None, pause }
}

/// One whose bytes come over a second.
fn slow(name: &Name, seed: u64) -> What {
    let pause = Duration::from_millis(100);
    What::Put(Putting { pause, ..putting(name, seed, 400_000) })
}

fn ask(stage: &mut Stage, node: usize, what: What) -> Heard {
    let heard = stage.world.ask_and_wait(node, what);
    stage.good(heard.is_ok(), &format!("{heard:?}"));
    heard.unwrap_or(Heard::Lost)
}

pub(super) fn begin(stage: &mut Stage, node: usize, what: What) -> u64 {
    let number = stage.world.ask_vault(node, what);
    stage.good(number.is_some(), "the node is not there");
    number.unwrap_or(0)
}

pub(super) fn heard(stage: &mut Stage, number: u64) -> Heard {
    for _ in 0..6 {
        let told = |world: &World| shelf(world).results.contains_key(&number);
        let in_time = stage.world.run_until(ms(12_000), told);
        stage.good(in_time.is_ok(), &format!("{in_time:?}"));
    }
    let heard = shelf(&stage.world).results.get(&number).cloned();
    stage.good(heard.is_some(), "no answer");
    heard.unwrap_or(Heard::Lost)
}

pub(super) fn shelf(world: &World) -> &super::Shelf {
    world.shelf.as_ref().expect("a shelf")
}

pub(super) fn stored(stage: &mut Stage, node: usize, what: What) -> UnifiedId {
    let number = begin(stage, node, what);
    match heard(stage, number) {
        Heard::Stored(stored) => stored.version,
        other => {
            stage.good(false, &format!("{other:?}"));
            UnifiedId(0)
        }
    }
}

fn reads(stage: &mut Stage, node: usize, name: &Name, version: UnifiedId) {
    let heard = ask(stage, node, What::Get { name: name.clone() });
    let good = matches!(&heard, Heard::Read(found, _) if found.version == version);
    stage.good(good, &format!("n{} reads {heard:?}", node + 1));
}

fn has_nothing(stage: &mut Stage, node: usize, name: &Name) {
    let heard = ask(stage, node, What::Get { name: name.clone() });
    let good = matches!(&heard, Heard::Refused(refusal) if refusal.code == Code::NotFound);
    stage.good(good, &format!("n{} reads {heard:?}", node + 1));
}

pub(super) fn facts(stage: &Stage, name: &Name) -> Vec<Fact> {
    let facts = shelf(&stage.world).oracle.facts(&of_key(name));
    facts.iter().map(|(_, fact)| fact.clone()).collect()
}

/// Waits until so many members hold what is under way.
pub(super) fn until_held(stage: &mut Stage, by: usize) {
    stage.until("it to be held", |world| {
        let holds = |vault: &super::Vault| !vault.with(|engine| engine.held(9)).is_empty();
        (0..world.nodes.len()).filter(|node| world.vault(*node).is_some_and(holds)).count() >= by
    });
}

/// G-S1. The primary dies before it is asked for the final: the next one is, and makes it.
#[test]
fn g_s1_the_primary_dies_before_the_final() {
    let mut stage = three();
    let leader = stage.leader();
    let coordinator = stage.others()[0];
    let name = name("plain", "k");
    let put = begin(&mut stage, coordinator, slow(&name, 1));
    stage.pass(400);
    stage.crash(leader);
    let heard = heard(&mut stage, put);
    stage.good(matches!(heard, Heard::Stored(_)), &format!("{heard:?}"));
    stage.world.restart(leader);
    stage.heal();
}

/// G-S2. All is held, and nobody can ask the coordinator: in the end the log gives it up. The final that comes after
/// that is refused.
#[test]
fn g_s2_a_late_final_behind_a_cancel_is_refused() {
    let mut stage = three();
    stage.world.network.set_idle(ms(60_000));
    let coordinator = stage.others()[0];
    let name = name("plain", "k");
    let put = begin(&mut stage, coordinator, What::Put(putting(&name, 2, 300_000)));
    until_held(&mut stage, 2);
    stage.world.isolate(coordinator);
    stage.until("a cancel", |world| shelf(world).oracle.counts.cancels > 0);
    stage.world.join(coordinator);
    let heard = heard(&mut stage, put);
    stage.good(matches!(heard, Heard::Refused(_)), &format!("{heard:?}"));
    stage.good(facts(&stage, &name).is_empty(), "nothing became final");
    stage.heal();
}

/// G-S3. The coordinator dies when all is held, and returns: its earlier life is fenced off, and the key is free.
#[test]
fn g_s3_a_coordinator_that_returns_is_fenced_off() {
    let mut stage = three();
    let coordinator = stage.others()[0];
    let key = name("plain", "k");
    begin(&mut stage, coordinator, What::Put(putting(&key, 3, 300_000)));
    until_held(&mut stage, 2);
    stage.crash(coordinator);
    stage.pass(100);
    let before = facts(&stage, &key).len();
    stage.world.restart(coordinator);
    if before == 0 {
        stage.until("a fence", |world| shelf(world).oracle.counts.fences > 0);
    }
    stored(&mut stage, coordinator, What::Put(putting(&key, 4, 300_000)));
    stage.heal();
}

/// G-S4. A member loses its power right after it said that it holds all of it: it still does.
#[test]
fn g_s4_a_member_dies_after_it_holds_it() {
    let mut stage = three();
    let leader = stage.leader();
    let member = stage.others()[0];
    let name = name("plain", "k");
    let put = begin(&mut stage, leader, What::Put(putting(&name, 5, 300_000)));
    stage.until("it to be held there", |world| {
        world.vault(member).is_some_and(|vault| !vault.with(|engine| engine.held(9)).is_empty())
    });
    stage.crash(member);
    let heard = heard(&mut stage, put);
    stage.good(matches!(heard, Heard::Stored(_)), &format!("{heard:?}"));
    stage.world.restart(member);
    stage.heal();
}

/// G-S5. Bytes on two members, what makes them a version on another two; each of those may be lost.
#[test]
fn g_s5_bytes_on_two_and_the_entry_on_another_two() {
    let mut stage = three();
    let leader = stage.leader();
    let [second, third] = stage.others()[..] else { panic!("three members") };
    let name = name("plain", "k");
    stage.crash(third);
    let version = stored(&mut stage, leader, What::Put(putting(&name, 6, 300_000)));
    stage.world.restart(third);
    stage.until("the third to know it", |world| world.is_equal(P));
    stage.crash(leader);
    stage.leader_but(&[leader]);
    reads(&mut stage, third, &name, version);
    stage.world.restart(leader);
    stage.until("all to be there", |world| world.is_equal(P));
    stage.crash(second);
    stage.pass(3_000);
    stage.leader_but(&[second]);
    reads(&mut stage, leader, &name, version);
    stage.world.restart(second);
    stage.heal();
}

/// G-S6. The whole ensemble is replaced while an upload goes on, and what was stored before is read from the new one.
#[test]
fn g_s6_the_ensemble_is_replaced() {
    let mut stage = ring(6);
    let first: Vec<usize> = members(&stage);
    let key = name("plain", "k");
    let version = stored(&mut stage, first[0], What::Put(putting(&key, 7, 300_000)));
    let outsider = (0..6).find(|node| !first.contains(node)).unwrap();
    let other = name("plain", "other");
    let put = begin(&mut stage, outsider, slow(&other, 8));
    for node in &first {
        stage.world.set_leaving(*node, true);
    }
    wait_long(&mut stage, "another ensemble", |world| {
        let record = world.registry.current(P);
        let new =
            |node: &usize| record.names(&world.nodes[*node].id, world.nodes[*node].disk.store);
        record.ensemble.len() == 3 && !first.iter().any(new)
    });
    let heard = heard(&mut stage, put);
    let decided = matches!(heard, Heard::Stored(_) | Heard::Refused(_));
    stage.good(decided, &format!("{heard:?}"));
    for node in 0..6 {
        reads(&mut stage, node, &key, version);
    }
    wait_long(&mut stage, "all to be paid", |world| {
        world.copies_of(P).iter().all(|(_, holders)| *holders == 3)
    });
    stage.heal();
}

/// G-S7. A planned move, in which a member dies that stays.
#[test]
fn g_s7_a_planned_move_in_which_a_member_dies() {
    let mut stage = ring(5);
    let before = members(&stage);
    let key = name("plain", "k");
    let version = stored(&mut stage, before[0], What::Put(putting(&key, 9, 300_000)));
    stage.world.set_leaving(before[0], true);
    stage.pass(400);
    stage.crash(before[1]);
    stage.pass(6_000);
    stage.world.restart(before[1]);
    wait_long(&mut stage, "all to be paid", |world| {
        let gone = world.registry.current(P).names(&world.nodes[before[0]].id, 1);
        let copies = world.copies_of(P);
        !gone && !copies.is_empty() && copies.iter().all(|(_, holders)| *holders == 3)
    });
    for node in 0..5 {
        reads(&mut stage, node, &key, version);
    }
    stage.heal();
}

/// G-S8. A node that left has the last copy that can be reached: it is read from there, and kept until others have it.
#[test]
fn g_s8_a_node_that_left_has_the_last_copy() {
    let mut stage = ring(4);
    let before = members(&stage);
    let [first, second, third] = before[..] else { panic!("three members") };
    stage.crash(third);
    let key = name("plain", "k");
    let version = stored(&mut stage, second, What::Put(putting(&key, 10, 300_000)));
    stage.world.set_leaving(first, true);
    stage.world.restart(third);
    stage.pass(500);
    stage.crash(second);
    stage.pass(5_000);
    let outside = (0..4).find(|node| !before.contains(node)).unwrap();
    reads(&mut stage, outside, &key, version);
    stage.world.restart(second);
    stage.heal();
}

/// G-S9. The primary's clock is 25 hours ahead, and right again; another one takes over: versions rise.
#[test]
fn g_s9_versions_rise_whatever_the_clock_does() {
    let mut stage = three();
    let leader = stage.leader();
    let key = name("plain", "k");
    stage.world.nodes[leader].wall = Wall { shift_ms: 25 * 3_600_000, frozen: None };
    let first = stored(&mut stage, leader, What::Put(putting(&key, 11, 100)));
    stage.world.nodes[leader].wall = Wall::default();
    let second = stored(&mut stage, leader, What::Put(putting(&key, 12, 100)));
    stage.crash(leader);
    let next = stage.leader_but(&[leader]);
    let third = stored(&mut stage, next, What::Put(putting(&key, 13, 100)));
    stage.good(first < second && second < third, &format!("{first} {second} {third}"));
    stage.world.restart(leader);
    stage.heal();
}

/// G-S10. It is deleted while a member that was away fetches it.
#[test]
fn g_s10_a_delete_while_a_member_fetches() {
    let mut stage = three();
    let leader = stage.leader();
    let away = stage.others()[0];
    stage.crash(away);
    let key = name("plain", "k");
    stored(&mut stage, leader, What::Put(putting(&key, 14, 2_000_000)));
    stage.world.restart(away);
    stage.until("it to fetch", |world| {
        world.vault(away).is_some_and(|vault| vault.engine.owed() > 0)
    });
    let heard = ask(&mut stage, leader, What::Delete { name: key.clone(), version: None });
    stage.good(matches!(heard, Heard::Version(_)), &format!("{heard:?}"));
    has_nothing(&mut stage, away, &key);
    stage.heal();
}

/// G-S11. A node is away for 9 days, and for 11: when it returns nothing that was deleted does. Of deletes older than
/// the grace the others know nothing any more, but in the log.
#[test]
fn g_s11_away_for_longer_than_the_grace() {
    for days in [9, 11] {
        let mut stage = three();
        let leader = stage.leader();
        let away = stage.others()[0];
        let (goes, stays) = (name("plain", "goes"), name("plain", "stays"));
        stored(&mut stage, leader, What::Put(putting(&goes, 15, 200_000)));
        let version = stored(&mut stage, leader, What::Put(putting(&stays, 16, 200_000)));
        stage
            .until("all to have it", |world| world.copies_of(P).iter().all(|(_, have)| *have == 3));
        stage.crash(away);
        ask(&mut stage, leader, What::Delete { name: goes.clone(), version: None });
        for node in 0..3 {
            stage.world.nodes[node].wall = Wall { shift_ms: days * DAY_MS, frozen: None };
        }
        let now = stage.world.agenda.now();
        for node in (0..3).filter(|node| *node != away) {
            let wall_ms = stage.world.nodes[node].wall.ms(now);
            let vault = stage.world.vault(node).unwrap();
            // The open file is closed, or nothing is collected of it.
            let done = vault.with(|engine| engine.compact(wall_ms));
            stage.good(done.is_ok(), &format!("{done:?}"));
        }
        stage.world.restart(away);
        stage.until("it to be back", |world| world.is_equal(P));
        for node in 0..3 {
            has_nothing(&mut stage, node, &goes);
            reads(&mut stage, node, &stays, version);
        }
        stage.crash(leader);
        stage.leader_but(&[leader]);
        has_nothing(&mut stage, away, &goes);
    }
}

/// G-S15. Whoever lists while the primary is lost is told all of it, or that it cannot be told.
#[test]
fn g_s15_a_listing_in_a_take_over() {
    let mut stage = three();
    let leader = stage.leader();
    let other = stage.others()[0];
    for number in 0..12 {
        let key = name("plain", &format!("k{number}"));
        stored(&mut stage, leader, What::Put(putting(&key, 20 + number, 100)));
    }
    stage.crash(leader);
    let mut listed = None;
    for _ in 0..100 {
        let name = "plain".parse().unwrap();
        match ask(&mut stage, other, What::List { name }) {
            Heard::Listed(listing) => {
                listed = Some(listing.entries.len());
                break;
            }
            _ => stage.pass(100),
        }
    }
    stage.good(listed == Some(12), &format!("{listed:?}"));
    stage.world.restart(leader);
    stage.heal();
}

/// G-S17. Finish and abort race: whichever the log has first, every node tells the same.
#[test]
fn g_s17_finish_and_abort_race() {
    for first in 0..2 {
        let mut stage = three();
        let nodes = [stage.leader(), stage.others()[0]];
        let key = name("plain", "k");
        let started = ask(&mut stage, nodes[0], What::Start { name: key.clone() });
        let Heard::Version(version) = started else { panic!("{started:?}") };
        let part = Putting { part: Some((version, 1)), ..putting(&key, 40, 200_000) };
        stored(&mut stage, nodes[0], What::Put(part));
        let finish = What::Finish { name: key.clone(), version };
        let abort = What::Abort { name: key.clone(), version };
        let both =
            [begin(&mut stage, nodes[first], finish), begin(&mut stage, nodes[1 - first], abort)];
        let heard = both.map(|number| heard(&mut stage, number));
        stage.good(matches!(heard[1], Heard::Done), &format!("{heard:?}"));
        let finished = facts(&stage, &key).iter().any(|fact| matches!(fact, Fact::Finished { .. }));
        stage.good(finished == matches!(heard[0], Heard::Done), &format!("{heard:?}"));
        for node in 0..3 {
            has_nothing(&mut stage, node, &key);
        }
        stage.heal();
    }
}

/// G-S18. The node that archives a chat dies in the middle of it, and returns: the chat is archived once.
#[test]
fn g_s18_an_archiver_dies() {
    let mut stage = three();
    let made = What::Make {
        name: archive::CHATS.parse().unwrap(),
        versioning: archive::Versioning::Unversioned,
    };
    ask(&mut stage, 0, made);
    let archiver = stage.others()[0];
    let next = stage.leader();
    let chat = name(archive::CHATS, "00112233445566778899aabbccddeeff");
    begin(&mut stage, archiver, slow(&chat, 50));
    stage.pass(500);
    stage.crash(archiver);
    let version = stored(&mut stage, next, What::Put(putting(&chat, 51, 300_000)));
    stage.world.restart(archiver);
    stage.until("it to be back", |world| world.is_equal(P));
    let again = begin(&mut stage, archiver, What::Put(putting(&chat, 52, 300_000)));
    let heard = heard(&mut stage, again);
    let refused = matches!(&heard, Heard::Refused(it) if it.code == Code::AlreadyFinal);
    stage.good(refused, &format!("{heard:?}"));
    let finals = facts(&stage, &chat).iter().filter(|it| matches!(it, Fact::Final(_))).count();
    stage.good(finals == 1, &format!("{finals}"));
    for node in 0..3 {
        reads(&mut stage, node, &chat, version);
    }
    stage.heal();
}

/// A member dies, and who comes in its place at once is slow to fetch what it owes. The dead one returns and is none any
/// more: it gives back what it holds when all is paid, and not before.
pub(super) fn a_slow_node_in_the_place_of_a_dead_one(sabotage: Sabotage) -> Verdict {
    const KEYS: u64 = 40;
    let mut stage = ring_with(4, sabotage);
    let before = members(&stage);
    let (dies, stays) = (before[0], before[1]);
    for number in 0..KEYS {
        let key = name("plain", &format!("k{number}"));
        stored(&mut stage, stays, What::Put(putting(&key, 70 + number, 70_000)));
    }
    let comes = (0..4).find(|node| !before.contains(node)).unwrap_or_default();
    let world = &mut stage.world;
    world.pace(comes, Pace::Slow);
    world.crash(dies)?;
    world.set_on_ring(dies, false);
    let (id, store) = (world.nodes[dies].id.clone(), world.nodes[dies].disk.store);
    let replaced = |world: &World| !world.registry.current(P).names(&id, store);
    let mut is_so = false;
    for _ in 0..5 {
        is_so = is_so || world.run_until(ms(12_000), replaced)?;
    }
    must(is_so, "schedule", || "nobody takes its place".to_owned())?;
    world.restart(dies);
    let gives =
        |world: &World| world.vault(dies).is_some_and(|vault| !vault.engine.left().is_empty());
    let mut given = false;
    for _ in 0..20 {
        given = given || world.run_until(ms(12_000), gives)?;
    }
    must(given, "schedule", || "nothing is ever given back".to_owned())?;
    let copies = world.copies_of(P);
    let all = copies.len() as u64 == KEYS && copies.iter().all(|(_, holders)| *holders == 3);
    must(all, "schedule", || format!("{copies:?}"))
}

pub(super) fn members(stage: &Stage) -> Vec<usize> {
    let record = stage.world.registry.current(P);
    record.ensemble.iter().filter_map(|it| stage.world.index_of(&it.node)).collect()
}

/// A change of members takes longer than a take-over.
pub(super) fn wait_long(stage: &mut Stage, what: &str, is_so: impl Fn(&World) -> bool) {
    for _ in 0..10 {
        let so = stage.world.run_until(ms(12_000), &is_so);
        if matches!(so, Ok(true)) {
            return;
        }
        stage.good(so.is_ok(), &format!("{so:?}"));
    }
    stage.good(false, &format!("waiting in vain for {what}"));
}
