//! Short histories of sends and confirmed reads: the checker agrees with a search for an order that
//! explains them.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, proptest};
use proptest::{prop_assert_eq, sample};

use super::story::{Story, ok, seen};
use crate::history::{Seen, Verdict};

/// A send that became number `number`, or a read that saw so many.
#[derive(Clone, Copy, Debug)]
struct Step {
    begun: u64,
    ended: u64,
    read: bool,
    number: u64,
}

/// Whether some order of the steps, each at one moment between its begin and its end, explains them.
fn explained(left: &[Step], reached: u64) -> bool {
    if left.is_empty() {
        return true;
    }
    (0..left.len()).any(|index| {
        let step = left[index];
        let wanted = if step.read { reached } else { reached + 1 };
        let waits = left.iter().any(|other| other.ended < step.begun);
        if waits || step.number != wanted {
            return false;
        }
        let mut rest = left.to_vec();
        rest.remove(index);
        explained(&rest, wanted)
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    (1..5usize, 0..4usize)
        .prop_flat_map(|(sends, reads)| {
            let numbers: Vec<u64> = (1..=sends as u64).collect();
            let times: Vec<u64> = (0..2 * (sends + reads) as u64).collect();
            let heads = vec(0..=sends as u64, reads);
            (Just(numbers).prop_shuffle(), heads, Just(times).prop_shuffle(), any::<bool>())
        })
        .prop_map(|(numbers, heads, times, tidy)| {
            let numbers = numbers.into_iter().map(|number| (false, number));
            let all: Vec<(bool, u64)> =
                numbers.chain(heads.into_iter().map(|h| (true, h))).collect();
            let mut pairs: Vec<[u64; 2]> = times
                .chunks_exact(2)
                .map(|pair| [pair[0].min(pair[1]), pair[0].max(pair[1])])
                .collect();
            if tidy {
                // Nearly in order: otherwise good ones are rare.
                pairs.sort_unstable();
            }
            let mut steps: Vec<Step> = all
                .into_iter()
                .zip(pairs)
                .map(|((read, number), [begun, ended])| Step { begun, ended, read, number })
                .collect();
            if tidy {
                let mut numbers: Vec<(u64, bool)> =
                    steps.iter().map(|step| (step.number, step.read)).collect();
                numbers.sort_unstable();
                for (step, (number, read)) in steps.iter_mut().zip(numbers) {
                    (step.number, step.read) = (number, read);
                }
            }
            steps
        })
}

fn named(number: u64) -> Seen {
    seen(&number.to_string(), 1, number)
}

proptest! {
    #[test]
    fn the_checker_agrees_with_a_search(steps in steps(), _seed in sample::select(vec![0u8])) {
        let mut story = Story::default();
        let sends = steps.iter().filter(|step| !step.read).count() as u64;
        for step in &steps {
            let times = (step.begun, step.ended);
            if step.read {
                let page: Vec<Seen> = (1..=step.number).map(named).collect();
                story.confirmed(times, &page);
            } else {
                let name = step.number.to_string();
                story.send(times, &name, ok(&name, 1, step.number));
            }
        }
        let all: Vec<Seen> = (1..=sends).map(named).collect();
        story.ends(&all);
        let report = story.judged();
        prop_assert_eq!(report.is_zero(), explained(&steps, 0), "{}", report);
        for verdict in report.found.keys() {
            let timely = [Verdict::Inverted, Verdict::Stale, Verdict::Phantom];
            proptest::prop_assert!(timely.contains(verdict), "{}", report);
        }
    }
}
