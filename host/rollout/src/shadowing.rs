//! A swap that waits for a verdict on the differences: the version runs beside the live one on every node for
//! a while, and becomes live only if it decides the same, as far as is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hashring::NodeId;
use plugin::Comparison;

use crate::Refused;
use crate::beside::{Candidate, Seen};
use crate::changing::{locked, together};
use crate::gathering::Silence;
use crate::meters;
use crate::progress::Progress;
use crate::question::{Answer, Question};
use crate::rollout::Shared;
use crate::versions::Key;

/// How often nodes are asked what came of it.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The longest a version runs beside the live one: somebody waits.
pub const SHADOW_MAX: Duration = Duration::from_secs(24 * 3600);

/// What is asked of a version before it becomes live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// For how long it runs beside the live one.
    pub span: Duration,
    /// How many of a million calls may differ.
    pub differing_ppm_max: u64,
    /// How many of a million calls are looked at.
    pub sample_ppm: u32,
    /// How many calls must have been compared.
    pub calls_min: u64,
}

/// What came of a version beside the live one so far, on all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trialled {
    /// All nodes' calls.
    pub comparison: Comparison,
    /// Nodes on which it runs.
    pub nodes: usize,
    /// How long it goes on.
    pub left: Duration,
}

/// What each node said, in its present life and in those before.
#[derive(Debug, Default)]
struct Sum {
    nodes: BTreeMap<NodeId, (Comparison, Option<Comparison>)>,
}

impl Sum {
    /// A node has said what came of it so far.
    fn hear(&mut self, node: NodeId, comparison: Comparison) {
        self.nodes.entry(node).or_default().1 = Some(comparison);
    }

    /// A node does not know of it: it has been started again, and counts from nothing.
    fn lost(&mut self, node: &NodeId) {
        if let Some((before, now)) = self.nodes.get_mut(node)
            && let Some(now) = now.take()
        {
            before.add(&now);
        }
    }

    /// Whether a node runs it, as far as is known.
    fn runs(&self, node: &NodeId) -> bool {
        self.nodes.get(node).is_some_and(|(_, now)| now.is_some())
    }

    fn all(&self) -> Comparison {
        let mut all = Comparison::default();
        for (before, now) in self.nodes.values() {
            all.add(before);
            now.iter().for_each(|now| all.add(now));
        }
        all
    }
}

impl Trial {
    /// Whether a version that was compared like this may become live.
    ///
    /// # Errors
    /// Why not, in words.
    fn judge(&self, of: &Comparison) -> Result<(), String> {
        let Comparison { calls, differing, .. } = of;
        if *calls < self.calls_min {
            return Err(format!(
                "only {calls} calls were compared, and {} are wanted: let it run longer, or sample more",
                self.calls_min
            ));
        }
        let ppm = of.differing_ppm();
        if ppm > self.differing_ppm_max {
            return Err(format!(
                "of {calls} calls {differing} were decided otherwise ({}), and at most {} may be",
                percent(ppm),
                percent(self.differing_ppm_max)
            ));
        }
        Ok(())
    }
}

fn percent(ppm: u64) -> String {
    let (whole, rest) = (ppm / 10_000, ppm % 10_000);
    match rest {
        0 => format!("{whole} %"),
        _ => format!("{whole}.{} %", format!("{rest:04}").trim_end_matches('0')),
    }
}

impl Shared {
    /// Lets a version run beside the live one on every node, and judges what came of it.
    pub(crate) async fn tried(self: &Arc<Self>, key: &Key, trial: Trial) -> Result<(), Refused> {
        let Ok(_alone) = self.trying.try_acquire() else {
            let detail = "this node waits for the verdict on another version already: wait for it";
            return Err(Refused::Conflict(detail.to_owned()));
        };
        let (name, digest) = key;
        locked(&self.progress).take_if(|progress| progress.plugin == *name);
        *locked(&self.trial) = Some(Progress::preparing(name.clone(), Some(*digest)));
        self.tell("shadow", name, Some(*digest), None, &format!("{} s", trial.span.as_secs()))
            .await;
        let judged = self.trying(key, trial).await;
        let (event, detail) = match &judged {
            Ok(()) => ("shadow-passed", String::new()),
            Err(refused) => ("shadow-refused", refused.to_string()),
        };
        meters::tried(event);
        self.tell(event, name, Some(*digest), None, &detail).await;
        self.of_trial(|progress| {
            progress.state = if judged.is_ok() { "preparing" } else { "failed" };
            progress.detail = detail;
        });
        judged
    }

    async fn trying(self: &Arc<Self>, key: &Key, trial: Trial) -> Result<(), Refused> {
        self.everywhere(key, Silence::Stops).await?;
        let (name, digest) = key.clone();
        let candidate =
            Candidate { number: rand::random(), name, digest, sample: trial.sample_ppm };
        let until = runtime::now() + trial.span;
        let (mut sum, mut refused) = (Sum::default(), None);
        loop {
            let said = self.look_everywhere(&candidate, &mut sum).await;
            refused = refused.or(said);
            let left = until.saturating_duration_since(runtime::now());
            self.show_trial(&sum, left);
            if left.is_zero() || refused.is_some() {
                break;
            }
            runtime::sleep(LOOK_EVERY.min(left)).await;
        }
        self.end_everywhere(&candidate, &mut sum).await;
        self.show_trial(&sum, Duration::ZERO);
        match refused {
            Some(why) => Err(Refused::Unusable(why)),
            None => trial.judge(&sum.all()).map_err(|why| {
                let (name, digest) = key;
                Refused::Unusable(format!("{name} {digest} does not become live: {why}"))
            }),
        }
    }

    /// Asks every node what came of it, and lets it begin where it does not run. Why it cannot, if one says so.
    async fn look_everywhere(
        self: &Arc<Self>,
        candidate: &Candidate,
        sum: &mut Sum,
    ) -> Option<String> {
        let questions = self.registered().into_iter().map(|node| {
            let (shared, candidate, runs) = (Arc::clone(self), candidate.clone(), sum.runs(&node));
            async move {
                let seen = shared.look_on(&node, &candidate, runs).await;
                (node, seen)
            }
        });
        let mut refused = None;
        for (node, seen) in together(questions).await {
            match seen {
                Some(Seen::Runs(comparison)) => sum.hear(node, comparison),
                Some(Seen::Unknown) => sum.lost(&node),
                Some(Seen::Cannot(why)) => refused = Some(format!("on node {node}: {why}")),
                // It is silent, and may speak again.
                None => {}
            }
        }
        refused
    }

    async fn look_on(
        self: &Arc<Self>,
        node: &NodeId,
        candidate: &Candidate,
        runs: bool,
    ) -> Option<Seen> {
        let Candidate { number, name, digest, sample } = candidate.clone();
        let here = *node == self.settings.node;
        if here {
            let key = (name, digest);
            return Some(match runs {
                true => self.look_beside(number),
                false => self.begin_beside(number, &key, sample),
            });
        }
        let question = match runs {
            true => Question::LookBeside { number },
            false => Question::Beside { number, name, digest, sample },
        };
        match self.ask(node, &question).await? {
            Answer::Beside(seen) => Some(seen),
            _ => None,
        }
    }

    async fn end_everywhere(self: &Arc<Self>, candidate: &Candidate, sum: &mut Sum) {
        let number = candidate.number;
        let questions = self.registered().into_iter().map(|node| {
            let shared = Arc::clone(self);
            async move {
                let here = node == shared.settings.node;
                let seen = match here {
                    true => Some(shared.end_beside(number)),
                    false => match shared.ask(&node, &Question::EndBeside { number }).await {
                        Some(Answer::Beside(seen)) => Some(seen),
                        // It ends there by itself.
                        _ => None,
                    },
                };
                (node, seen)
            }
        });
        for (node, seen) in together(questions).await {
            if let Some(Seen::Runs(comparison)) = seen {
                sum.hear(node, comparison);
            }
        }
    }

    fn show_trial(&self, sum: &Sum, left: Duration) {
        let nodes = sum.nodes.values().filter(|(_, now)| now.is_some()).count();
        let trialled = Trialled { comparison: sum.all(), nodes, left };
        self.of_trial(|progress| {
            progress.state = "shadow";
            progress.trial = Some(trialled);
        });
    }

    fn of_trial(&self, with: impl FnOnce(&mut Progress)) {
        if let Some(progress) = &mut *locked(&self.trial) {
            with(progress);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use plugin::Comparison;

    use super::{Sum, Trial, percent};

    fn compared(calls: u64, differing: u64) -> Comparison {
        Comparison { calls, differing, ..Comparison::default() }
    }

    #[test]
    fn enough_calls_and_few_enough_differences_are_wanted() {
        let trial = Trial {
            span: Duration::ZERO,
            differing_ppm_max: 5_000,
            sample_ppm: 1_000_000,
            calls_min: 20,
        };
        assert_eq!(trial.judge(&compared(20, 0)), Ok(()));
        assert_eq!(trial.judge(&compared(200, 1)), Ok(()), "0.5 % of them, and no more");
        assert!(trial.judge(&compared(19, 0)).unwrap_err().contains("only 19 calls"));
        let refused = trial.judge(&compared(199, 1)).unwrap_err();
        assert!(refused.contains("0.5026 %") && refused.contains("at most 0.5 %"), "{refused}");
        let strict = Trial { differing_ppm_max: 0, ..trial };
        assert!(strict.judge(&compared(10_000_000, 1)).is_err());
        assert_eq!((percent(0), percent(1_000_000)), ("0 %".to_owned(), "100 %".to_owned()));
    }

    #[test]
    fn a_node_that_was_started_again_loses_nothing() {
        let node = |name: &str| name.parse().unwrap();
        let mut sum = Sum::default();
        sum.lost(&node("a"));
        sum.hear(node("a"), compared(3, 1));
        sum.hear(node("a"), compared(5, 1));
        sum.hear(node("b"), compared(2, 0));
        assert_eq!(sum.all(), compared(7, 1));
        sum.lost(&node("a"));
        assert!(!sum.runs(&node("a")) && sum.runs(&node("b")));
        sum.hear(node("a"), compared(1, 1));
        assert_eq!(sum.all(), compared(8, 2));
    }
}
