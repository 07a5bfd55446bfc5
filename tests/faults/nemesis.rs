//! Who makes faults happen, one after the other, in an order that a seed decides.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::accident::{Injected, Kind};
use crate::clock::Clock;
use crate::deployment::Deployment;
use crate::tools::Tools;

/// Faults in their order. Every round holds each kind as often as its weight says; a round that is cut
/// short by time begins with one of each.
#[derive(Debug)]
pub(crate) struct Plan {
    kinds: Vec<Kind>,
}

impl Plan {
    /// Of what is possible here, all of it shuffled, one of each first.
    pub(crate) fn all(seed: u64, tools: &Tools) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let possible = Kind::ALL.iter().filter(|(kind, _)| kind.is_possible(tools));
        let possible: BTreeMap<Kind, u32> = possible.copied().collect();
        let mut first: Vec<Kind> = possible.keys().copied().collect();
        first.shuffle(&mut rng);
        let mut rest: Vec<Kind> = Vec::new();
        for (kind, count) in &possible {
            rest.extend((1..*count).map(|_| *kind));
        }
        rest.shuffle(&mut rng);
        Self { kinds: [first, rest].concat() }
    }

    /// These, as far as they are possible here.
    pub(crate) fn of(kinds: &[Kind], tools: &Tools) -> Self {
        let kinds = kinds.iter().filter(|kind| kind.is_possible(tools)).copied().collect();
        Self { kinds }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Lets it happen, until it is done or `within` is over.
    pub(crate) async fn run(
        &self,
        deployment: &mut Deployment,
        clock: Clock,
        seed: u64,
        within: Duration,
    ) -> Vec<Injected> {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(1));
        let begun = runtime::now();
        let mut injected = Vec::new();
        for kind in &self.kinds {
            if begun.elapsed() >= within {
                let left = self.kinds.iter().skip(injected.len()).map(|kind| kind.words());
                let left: BTreeSet<&str> = left.collect();
                tests::skipped(&format!("for want of time, more of {left:?}"));
                break;
            }
            let fault = kind.happen(deployment, clock, &mut rng).await;
            println!(
                "{:6.1} s  {:28} {:32} healed after {:4.1} s, all well after {:4.1} s",
                fault.begun as f64 / 1e6,
                kind.words(),
                fault.detail,
                (fault.healed - fault.begun) as f64 / 1e6,
                (fault.well - fault.healed) as f64 / 1e6
            );
            injected.push(fault);
            runtime::sleep(Duration::from_millis(rng.random_range(300..1_500))).await;
        }
        injected
    }
}
