//! Random runs with chats in them.

use chat::Sabotage;

use crate::chats::book::Book;
use crate::invariants::Violation;
use crate::run::{Report, replay_chats, run_chats, spread};

/// As many as the gate runs.
const SEEDS: u64 = 500;

/// Within so many a broken rule is noticed.
const SABOTAGED_MAX: u64 = 600;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// How a good run went.
#[derive(Debug)]
struct Ran {
    report: Report,
    book: Book,
    forgotten: u64,
    /// Timers and holds that ended by themselves.
    ended: u64,
    /// Generations of the handlers beyond the first.
    swaps: u64,
}

fn run(seed: u64, sabotage: Sabotage) -> Result<Ran, Violation> {
    let (report, world) = run_chats(seed, sabotage)?;
    let talk = world.talk.as_ref();
    let forgotten = talk.map_or(0, |talk| talk.oracle.forgotten());
    let ended = talk.map_or(0, |talk| talk.oracle.ended());
    let swaps = talk.map_or(0, |talk| talk.generation - 1);
    let book = world.talk.map(|talk| talk.people.book).unwrap_or_default();
    Ok(Ran { report, book, forgotten, ended, swaps })
}

#[test]
fn no_seed_breaks_a_promise() {
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let (ran, failures) = spread(0..seeds, |seed| run(seed, Sabotage::default()));
    if let Some((first, violation)) = failures.first() {
        let (story, _) = replay_chats(*first, Sabotage::default());
        println!("{story}\n");
        for (seed, violation) in &failures {
            let text: String = violation.text.chars().take(300).collect();
            println!("SEED={seed} {}: {text}", violation.rule);
        }
        panic!("{} of {seeds} seeds fail, {first} with {violation:?}", failures.len());
    }
    let sum = |of: fn(&Ran) -> u64| ran.iter().map(of).sum::<u64>();
    let (stored, shown) = (sum(|it| it.book.stored), sum(|it| it.book.shown));
    let (ended, swaps) = (sum(|it| it.ended), sum(|it| it.swaps));
    let kept = sum(|it| it.report.counts.snapshots);
    let read = sum(|it| it.report.counts.snapshots_read);
    let forgotten = sum(|it| it.forgotten);
    let trimmed = sum(|it| it.report.counts.trimmed);
    let taken = sum(|it| it.report.counts.bases_taken);
    println!(
        "{seeds} seeds: {} s simulated, {} reigns, {stored} stored, {} of them again, {} local, {} \
         refused, {} unknown, {shown} shown, {} confirmed reads, {} behind, {} crashes, {kept} snapshots \
         kept and {read} read, {forgotten} chats forgotten, {ended} timers and holds ended, {swaps} swaps, \
         {trimmed} logs trimmed, {taken} bases taken",
        sum(|it| it.report.lasted) / 1_000_000,
        sum(|it| it.report.counts.opened),
        sum(|it| it.book.replays),
        sum(|it| it.book.local),
        sum(|it| it.book.refused),
        sum(|it| it.book.unknown),
        sum(|it| it.book.confirmed),
        sum(|it| it.book.behind),
        sum(|it| it.report.counts.crashes),
    );
    assert!(stored > seeds * 10 && shown > seeds * 20, "nothing happens: {stored}, {shown}");
    assert!(forgotten > seeds / 4, "nothing is forgotten: {forgotten}");
    assert!(trimmed > seeds && taken > seeds / 20, "nothing is trimmed: {trimmed}, {taken}");
    assert!(kept > seeds * 5 && read > seeds, "no snapshots: {kept}, {read}");
    assert!(ended > seeds && swaps > seeds, "nothing ends by itself: {ended}, {swaps}");
}

#[test]
fn one_conversation_tells_its_story() {
    let seed = number("SEED").unwrap_or(1);
    let (story, verdict) = replay_chats(seed, Sabotage::default());
    if std::env::var("SEED").is_ok() || verdict.is_err() {
        println!("{story}");
    }
    assert_eq!(verdict, Ok(()), "SEED={seed}");
}

#[test]
fn the_same_seed_gives_the_same_conversations() {
    for seed in 1_000_000..1_000_010 {
        let trace = |_| run(seed, Sabotage::default()).map(|ran| ran.report);
        let (once, twice) = (trace(()), trace(()));
        assert!(once.is_ok() && once == twice, "SEED={seed}: {once:?} {twice:?}");
    }
}

#[test]
fn the_same_seed_tells_the_same_story_word_by_word() {
    for seed in 2_000_000..2_000_004 {
        let (once, _) = replay_chats(seed, Sabotage::default());
        let (twice, _) = replay_chats(seed, Sabotage::default());
        assert!(once == twice, "SEED={seed} tells two stories");
    }
}

/// A rule that is broken is noticed in random worlds too, and the world is good without.
fn found(name: &str, sabotage: Sabotage) {
    crate::run::found(name, sabotage, SABOTAGED_MAX, run);
}

#[test]
fn keys_that_are_forgotten_by_who_takes_over_are_noticed() {
    found("forget_keys", Sabotage { forget_keys: true, ..Sabotage::default() });
}

#[test]
fn keys_that_are_forgotten_by_the_clock_are_noticed() {
    found("keys_by_clock", Sabotage { keys_by_clock: true, ..Sabotage::default() });
}

#[test]
fn answers_that_do_not_wait_for_what_they_saw_are_noticed() {
    found("no_barrier", Sabotage { no_barrier: true, ..Sabotage::default() });
}

#[test]
fn snapshots_of_what_is_not_committed_are_noticed() {
    found("believe_snapshots", Sabotage { believe_snapshots: true, ..Sabotage::default() });
}

#[test]
fn timers_that_go_off_again_are_noticed() {
    found("timers_stay", Sabotage { timers_stay: true, ..Sabotage::default() });
}

#[test]
fn handlers_of_an_earlier_generation_are_noticed() {
    found("any_generation", Sabotage { any_generation: true, ..Sabotage::default() });
}
