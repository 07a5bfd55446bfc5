//! One run of one seed, its report, and many of them.

use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use replication::core::Sabotage;

use crate::agenda::Time;
use crate::invariants::{Verdict, Violation};
use crate::setup::Setup;
use crate::world::{Counts, World};

/// How a good run went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) trace: u64,
    pub(crate) counts: Counts,
    pub(crate) shown: u64,
    pub(crate) lasted: Time,
}

/// A run that broke a rule, and how to see it again.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) sabotage: Sabotage,
    pub(crate) violation: Violation,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, sabotage, violation } = self;
        writeln!(f, "{} broken: {}", violation.rule, violation.text)?;
        if *sabotage != Sabotage::default() {
            writeln!(f, "with {sabotage:?}")?;
        }
        write!(f, "again with SEED={seed} cargo test --release -p tests --test sim one_seed")
    }
}

/// A rule that `sabotage` breaks is noticed within so many seeds, and the first of them that notices is
/// good without it.
pub(crate) fn found<S: Copy + Default, R: fmt::Debug>(
    name: &str,
    sabotage: S,
    seeds: u64,
    run: impl Fn(u64, S) -> Result<R, Violation>,
) {
    let found = (0..seeds).find_map(|seed| Some((seed, run(seed, sabotage).err()?)));
    let Some((seed, violation)) = found else { panic!("{name} goes unnoticed in {seeds} seeds") };
    println!("{name}: {} seeds, {}", seed + 1, violation.rule);
    let without = run(seed, S::default());
    assert!(without.is_ok(), "SEED={seed} is bad without {name}: {without:?}");
}

/// Runs the world of a seed to its end.
pub(crate) fn run(seed: u64, sabotage: Sabotage) -> Result<Report, Failure> {
    let failure = |violation| Failure { seed, sabotage, violation };
    let mut world = World::new(Setup::random(seed, sabotage));
    live(&mut world).map_err(failure)?;
    let shown = world.partitions().map(|partition| world.history.shown(partition)).sum();
    Ok(Report {
        trace: world.trace.hash(),
        counts: world.counts,
        shown,
        lasted: world.agenda.now(),
    })
}

/// Runs it again with its trace as text, which is given back with the violation.
pub(crate) fn replay(seed: u64, sabotage: Sabotage) -> (String, Verdict) {
    let setup = Setup { readable: true, ..Setup::random(seed, sabotage) };
    let story = format!("{setup:#?}");
    let mut world = World::new(setup);
    let verdict = live(&mut world);
    (format!("{story}\n{}\n{}", world.trace, world.describe()), verdict)
}

fn live(world: &mut World) -> Verdict {
    let healed = world.setup.healed;
    world.run_for(healed + 1)?;
    world.settle()
}

/// Lives a world to its end.
pub(crate) fn live_world(setup: Setup) -> (World, Result<Report, Violation>) {
    let mut world = World::new(setup);
    let verdict = live(&mut world);
    let shown = world.partitions().map(|partition| world.history.shown(partition)).sum();
    let report = Report {
        trace: world.trace.hash(),
        counts: world.counts,
        shown,
        lasted: world.agenda.now(),
    };
    (world, verdict.map(|()| report))
}

/// Runs the world of a seed with chats in it to its end.
pub(crate) fn run_chats(seed: u64, sabotage: chat::Sabotage) -> Result<(Report, World), Violation> {
    let (world, report) = live_world(Setup::random_chats(seed, sabotage));
    Ok((report?, world))
}

/// The same, with its trace as text.
pub(crate) fn replay_chats(seed: u64, sabotage: chat::Sabotage) -> (String, Verdict) {
    let setup = Setup { readable: true, ..Setup::random_chats(seed, sabotage) };
    let story = format!("{setup:#?}");
    let mut world = World::new(setup);
    let verdict = live(&mut world);
    (format!("{story}\n{}\n{}", world.trace, world.describe()), verdict)
}

/// After so many failures nobody reads more.
const FAILURES_MAX: usize = 100;

/// Runs many seeds on all processors; gives all reports, and the failures by seed.
pub(crate) fn run_many(seeds: Range<u64>, sabotage: Sabotage) -> (Vec<Report>, Vec<Failure>) {
    let (reports, failures) = spread(seeds, |seed| run(seed, sabotage));
    (reports, failures.into_iter().map(|(_, failure)| failure).collect())
}

/// Does something with many seeds on all processors; gives what came well, and the failures by seed.
pub(crate) fn spread<T: Send, E: Send>(
    seeds: Range<u64>,
    one: impl Fn(u64) -> Result<T, E> + Sync,
) -> (Vec<T>, Vec<(u64, E)>) {
    let next = AtomicU64::new(seeds.start);
    let done = Mutex::new((Vec::new(), Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let result = one(seed);
                    let mut done = done.lock().expect("no run panics");
                    match result {
                        Ok(good) => done.0.push(good),
                        Err(failure) => done.1.push((seed, failure)),
                    }
                    if done.1.len() >= FAILURES_MAX {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let (good, mut failures) = done.into_inner().expect("no run panics");
    failures.sort_by_key(|(seed, _)| *seed);
    (good, failures)
}
