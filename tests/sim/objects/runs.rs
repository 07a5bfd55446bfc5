//! Random runs with objects in them.

use std::collections::BTreeSet;
use std::time::Duration;

use archive::{Config, Sabotage};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::clients::Habits;
use super::{ObjectSetup, oracle};
use crate::agenda::ms;
use crate::faults::{self, Kind};
use crate::invariants::Violation;
use crate::run::{Report, live_world, spread};
use crate::setup::{Setup, pick};

/// As many as the gate runs.
const SEEDS: u64 = 100;

impl Setup {
    /// The world of a seed with objects in it.
    pub(crate) fn random_objects(seed: u64, sabotage: Sabotage) -> Self {
        let base = Self::random(seed, replication::core::Sabotage::default());
        let mut random = StdRng::seed_from_u64(seed ^ 0x6f62_6a65);
        let habits = Habits {
            keepers: random.random_range(2..6),
            keys: random.random_range(2..7),
            pause: *pick(&mut random, &[(ms(40), ms(400)), (ms(150), ms(900))]),
            bytes_max: *pick(&mut random, &[120_000, 700_000]),
            parts: random.random_bool(0.6),
            slow: random.random_bool(0.5),
        };
        let millis = |from: u64, to: u64, random: &mut StdRng| {
            Duration::from_millis(random.random_range(from..to))
        };
        let config = Config {
            slack: millis(200, 2_000, &mut random),
            undecided: millis(200, 1_500, &mut random),
            abandoned: millis(3_000, 60_000, &mut random),
            left: millis(500, 3_000, &mut random),
            // A sequence is cut short where there is little.
            memory_kib: *pick(&mut random, &[11 << 10, 128 << 10]),
            sabotage,
            ..Config::default()
        };
        let power_percent = *pick(&mut random, &[0, 50, 100]);
        let mut plan = base.plan;
        if random.random_bool(0.5) {
            let clocks = BTreeSet::from([Kind::Clock]);
            plan.extend(faults::plan(&mut random, &clocks, (ms(1_500), base.healed)));
        }
        let commit = base.commits.first().copied().unwrap_or(2);
        let commits = vec![commit; base.commits.len()];
        let bears_a_loss = commit == 2 && base.copies == 3;
        let losses = u32::from(bears_a_loss);
        let partitions = *pick(&mut random, &[1, 1, 2]);
        let objects = Some(ObjectSetup { config, habits, power_percent });
        let ring = random.random_bool(0.4);
        let setup =
            Self { partitions, load: None, trims: None, plan, commits, losses, objects, ..base };
        if !ring {
            return setup;
        }
        // While a member has not paid what it owes there may be fewer copies than a loss leaves one of.
        Self { losses: 0, ..setup.with_ring(seed) }
    }
}

/// How a good run went.
#[derive(Debug)]
pub(super) struct Ran {
    report: Report,
    counts: oracle::Counts,
    stored: u64,
    read: u64,
    nothing: u64,
    listed: u64,
    refused: u64,
    unknown: u64,
    lost: u64,
    power_losses: u64,
}

pub(super) fn run(seed: u64, sabotage: Sabotage) -> Result<Ran, Violation> {
    let (world, report) = live_world(Setup::random_objects(seed, sabotage));
    let report = report?;
    let shelf = world.shelf.as_ref().expect("a shelf");
    let book = &shelf.book;
    Ok(Ran {
        report,
        counts: shelf.oracle.counts,
        stored: book.stored,
        read: book.read,
        nothing: book.nothing,
        listed: book.listed,
        refused: book.refused,
        unknown: book.unknown,
        lost: book.lost,
        power_losses: shelf.power_losses,
    })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_seed_breaks_a_rule_of_objects() {
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let (ran, failures) = spread(0..seeds, |seed| run(seed, Sabotage::default()));
    if let Some((first, violation)) = failures.first() {
        for (seed, violation) in &failures {
            let text: String = violation.text.chars().take(400).collect();
            println!("SEED={seed} {}: {text}", violation.rule);
        }
        panic!("{} of {seeds} seeds fail, {first} with {violation:?}", failures.len());
    }
    let sum = |of: fn(&Ran) -> u64| ran.iter().map(of).sum::<u64>();
    let (stored, read) = (sum(|it| it.stored), sum(|it| it.read));
    let streamed = sum(|it| it.counts.streamed);
    let (cancels, fences) = (sum(|it| it.counts.cancels), sum(|it| it.counts.fences));
    println!(
        "{seeds} seeds: {} s simulated, {} reigns, {stored} told as stored, {read} read, {} not there, {} \
         listings, {} refused, {} of them unknown, {} lost; committed {} small, {streamed} streamed, {} parts, \
         {} finished, {} deletes, {cancels} cancels, {fences} fences; {} crashes, {} losses of power, {} changes",
        sum(|it| it.report.lasted) / 1_000_000,
        sum(|it| it.report.counts.opened),
        sum(|it| it.nothing),
        sum(|it| it.listed),
        sum(|it| it.refused),
        sum(|it| it.unknown),
        sum(|it| it.lost),
        sum(|it| it.counts.small),
        sum(|it| it.counts.parts),
        sum(|it| it.counts.finished),
        sum(|it| it.counts.deletes),
        sum(|it| it.report.counts.crashes),
        sum(|it| it.power_losses),
        sum(|it| it.report.counts.moved),
    );
    assert!(stored > seeds * 5 && read > seeds * 5, "nothing happens: {stored}, {read}");
    assert!(streamed > seeds * 2, "nothing is large: {streamed}");
    assert!(cancels > seeds / 10 && fences > seeds / 10, "all goes well: {cancels}, {fences}");
}

#[test]
fn one_seed_of_objects_tells_its_story() {
    let seed = number("SEED").unwrap_or(1);
    let setup = Setup { readable: true, ..Setup::random_objects(seed, Sabotage::default()) };
    let (world, verdict) = live_world(setup);
    if std::env::var("SEED").is_ok() || verdict.is_err() {
        println!("{:#?}\n{}\n{}", world.setup, world.trace, world.describe());
    }
    assert!(verdict.is_ok(), "SEED={seed}: {verdict:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace_of_objects() {
    for seed in 2_000_000..2_000_004 {
        let once = run(seed, Sabotage::default()).map(|ran| ran.report);
        let twice = run(seed, Sabotage::default()).map(|ran| ran.report);
        assert!(once.is_ok() && once == twice, "SEED={seed}: {once:?} {twice:?}");
    }
}
