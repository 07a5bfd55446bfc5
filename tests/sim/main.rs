//! Replication in a simulated world: cores over a network, disks and a registry that misbehave.
//!
//! One seed decides everything. `SEEDS=…` says how many of them a run tries, and `SEED=…` makes
//! `one_seed` repeat one with its whole story. What must hold is in `invariants.rs`; the schedules by
//! name are in `schedules.rs`, the rules broken on purpose in `sabotage.rs`.

#[cfg(test)]
mod accidents;
#[cfg(test)]
mod agenda;
#[cfg(test)]
mod bases;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod chats;
#[cfg(test)]
mod client;
#[cfg(test)]
mod conversations;
#[cfg(test)]
mod dialogue;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod invariants;
#[cfg(test)]
mod load;
#[cfg(test)]
mod mending;
#[cfg(test)]
mod network;
#[cfg(test)]
mod node;
#[cfg(test)]
mod objects;
#[cfg(test)]
mod records;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod ring;
#[cfg(test)]
mod run;
#[cfg(test)]
mod sabotage;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod settle;
#[cfg(test)]
mod setup;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod talks;
#[cfg(test)]
mod trace;
#[cfg(test)]
mod turn;
#[cfg(test)]
mod weather;
#[cfg(test)]
mod world;

#[cfg(test)]
mod runs {
    //! Random runs.

    use replication::core::Sabotage;

    use crate::run::{Failure, Report, replay, run, run_many};

    /// As many as the gate runs.
    const SEEDS: u64 = 1_000;

    fn number(name: &str) -> Option<u64> {
        std::env::var(name).ok()?.parse().ok()
    }

    #[test]
    fn no_seed_breaks_a_rule() {
        let seeds = number("SEEDS").unwrap_or(SEEDS);
        let (reports, failures) = run_many(0..seeds, Sabotage::default());
        if let Some(first) = failures.first() {
            let (story, _) = replay(first.seed, Sabotage::default());
            println!("{story}\n");
            for Failure { seed, violation, .. } in &failures {
                let text: String = violation.text.chars().take(150).collect();
                println!("SEED={seed} {}: {text}", violation.rule);
            }
            panic!("{} of {seeds} seeds fail\n{first}", failures.len());
        }
        let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
        let (shown, opened) = (sum(|it| it.shown), sum(|it| it.counts.opened));
        let (trimmed, taken) = (sum(|it| it.counts.trimmed), sum(|it| it.counts.bases_taken));
        println!(
            "{seeds} seeds: {} s simulated, {opened} reigns, {shown} entries shown, {} answers, {} of \
             them unknown and {} local, {} cuts, {} fetches, {} crashes, {trimmed} logs trimmed, {taken} \
             bases taken",
            sum(|it| it.lasted) / 1_000_000,
            sum(|it| it.counts.answered),
            sum(|it| it.counts.unknown),
            sum(|it| it.counts.local),
            sum(|it| it.counts.cuts),
            sum(|it| it.counts.fetches),
            sum(|it| it.counts.crashes),
        );
        assert!(trimmed > seeds && taken > seeds / 10, "nothing is trimmed: {trimmed}, {taken}");
        assert!(shown > seeds * 20 && opened > seeds * 2, "nothing happens: {shown}, {opened}");
    }

    #[test]
    fn one_seed_tells_its_story() {
        let seed = number("SEED").unwrap_or(1);
        let (story, verdict) = replay(seed, Sabotage::default());
        if std::env::var("SEED").is_ok() || verdict.is_err() {
            println!("{story}");
        }
        assert_eq!(verdict, Ok(()), "SEED={seed}");
    }

    #[test]
    fn the_same_seed_gives_the_same_trace() {
        for seed in 1_000_000..1_000_010 {
            let once = run(seed, Sabotage::default());
            let twice = run(seed, Sabotage::default());
            let same = matches!((&once, &twice), (Ok(once), Ok(twice)) if once == twice);
            assert!(same, "SEED={seed}: {once:?} {twice:?}");
        }
    }

    #[test]
    fn another_seed_gives_another_trace() {
        let one = run(1, Sabotage::default()).map(|report| report.trace).ok();
        let other = run(2, Sabotage::default()).map(|report| report.trace).ok();
        assert_ne!(one, other);
    }
}
