//! Which members have all objects of a partition, for who leads it and is to do without one of them.
//!
//! A change of members waits for that: a newcomer has the log, and fetches the bytes of older objects afterwards. Each
//! member is asked how far it knows the objects, which must be as far as the primary did when it was asked, and whether
//! it lacks any of their bytes. All are asked at once, so that one who is slow keeps nobody else waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hashring::{NodeId, PartitionId};
use replication::ForwardError;
use replication::core::PartitionView;
use runtime::Instant;

use crate::gather::{Some1, gather};
use crate::meters;
use crate::question::{Answer, Question, Reply};
use crate::shared::Shared;

/// Changes that wait are looked for this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A member that is behind the log is asked again, so often and after so long: it takes over what is new several times a
/// second.
const ASKED_MAX: u32 = 4;
const AGAIN: Duration = Duration::from_millis(300);
/// So long a member may take to answer, and all of them with what they are asked again.
const ANSWER_MAX: Duration = Duration::from_secs(2);
const ANSWERS_MAX: Duration = Duration::from_secs(5);
/// Who was late so often is not asked about the other partitions of a round: what was heard counts for half a minute.
const LATE_MAX: u32 = 3;
/// What keeps changes waiting is told this often, with so many names.
const TELL_EVERY: Duration = Duration::from_secs(60);
const NAMED_MAX: usize = 8;

/// What a member says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// It has everything.
    All,
    /// It does not, or will not say.
    NotAll,
    /// Nothing, so far.
    Late,
    /// Nothing: nobody is there.
    Unreachable,
}

/// What is heard when all partitions are gone through once.
#[derive(Debug, Default)]
struct Round {
    /// How many changes may wait.
    waiting: u32,
    /// Of how many partitions a member does not have everything, as far as is known.
    lacking: BTreeMap<NodeId, u32>,
    /// How often a member was late.
    late: BTreeMap<NodeId, u32>,
}

/// Tells of those that are asked for, until the node stops.
pub(crate) async fn tell(shared: Arc<Shared>) {
    shared.replication.await_objects().await;
    let mut told: Option<Instant> = None;
    loop {
        runtime::sleep(LOOK_EVERY).await;
        let mut round = Round::default();
        for partition in shared.replication.partitions().all() {
            let view = shared.replication.view(partition);
            if view.awaits_objects {
                let whole = whole(&shared, partition, &view, &mut round).await;
                round.note(&view.ensemble, &whole);
                shared.replication.set_whole(partition, view.epoch, whole).await;
            }
        }
        meters::changes_waiting(round.waiting);
        let now = runtime::now();
        let is_due = told.is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY);
        if round.waiting > 0 && is_due {
            told = Some(now);
            let (partitions, lacking) = (round.waiting, round.who_lacks());
            tracing::warn!(
                partitions,
                lacking,
                "changes of members may wait: these do not have all objects yet, or have not said so"
            );
        }
    }
}

impl Round {
    fn is_asked(&self, member: &NodeId) -> bool {
        self.late.get(member).is_none_or(|late| *late < LATE_MAX)
    }

    fn hear(&mut self, member: &NodeId, says: Says) {
        match says {
            Says::All | Says::NotAll => {}
            Says::Late => *self.late.entry(member.clone()).or_default() += 1,
            Says::Unreachable => drop(self.late.insert(member.clone(), LATE_MAX)),
        }
    }

    /// Takes note of who of a partition's members has not everything.
    fn note(&mut self, ensemble: &[NodeId], whole: &BTreeSet<NodeId>) {
        let mut all = true;
        for member in ensemble.iter().filter(|member| !whole.contains(*member)) {
            *self.lacking.entry(member.clone()).or_default() += 1;
            all = false;
        }
        self.waiting += u32::from(!all);
    }

    /// Who does not have everything, and of how many partitions.
    fn who_lacks(&self) -> String {
        let name = |(member, of): (&NodeId, &u32)| format!("{member} ({of})");
        let mut named: Vec<String> = self.lacking.iter().take(NAMED_MAX).map(name).collect();
        let more = self.lacking.len().saturating_sub(NAMED_MAX);
        if more > 0 {
            named.push(format!("{more} more"));
        }
        named.join(", ")
    }
}

/// Members that have everything.
async fn whole(
    shared: &Shared,
    partition: PartitionId,
    view: &PartitionView,
    round: &mut Round,
) -> BTreeSet<NodeId> {
    let mut whole = BTreeSet::new();
    let Reply::Has { seq: wanted, owed } = shared.has(partition).await else { return whole };
    if wanted == 0 {
        // It does not know the objects itself yet.
        return whole;
    }
    if owed == Some(0) {
        whole.insert(shared.node.clone());
    }
    let others = view.ensemble.iter().filter(|member| **member != shared.node);
    let asked: Vec<&NodeId> = others.filter(|member| round.is_asked(member)).collect();
    let mut all: Vec<Some1<'_, Says>> = Vec::new();
    for member in &asked {
        all.push(Box::pin(has_all(shared, member, partition, wanted)));
    }
    let enough = all.len();
    let heard = gather(all, enough, |_says| true, Duration::ZERO, ANSWERS_MAX).await;
    for (member, says) in asked.into_iter().zip(heard) {
        let says = says.unwrap_or(Says::Late);
        round.hear(member, says);
        if says == Says::All {
            whole.insert(member.clone());
        }
    }
    whole
}

/// Whether a member has everything up to an entry.
async fn has_all(shared: &Shared, member: &NodeId, partition: PartitionId, wanted: u64) -> Says {
    for _ in 0..ASKED_MAX {
        match shared.question(member, &Question::Has(partition), ANSWER_MAX).await {
            Ok(Answer::Done(Ok(Reply::Has { seq, owed: Some(0) }))) => {
                if seq >= wanted {
                    return Says::All;
                }
            }
            Err(ForwardError::NotRun { why: None, .. }) => return Says::Unreachable,
            Err(ForwardError::Lost { .. } | ForwardError::Late { .. }) => return Says::Late,
            Ok(_) | Err(ForwardError::NotRun { .. }) => return Says::NotAll,
        }
        runtime::sleep(AGAIN).await;
    }
    Says::NotAll
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u32) -> NodeId {
        format!("n{number}").parse().unwrap()
    }

    /// Once late, it was held to be silent, and what it had said of other partitions was taken back.
    #[test]
    fn who_is_late_is_asked_again_and_who_is_not_there_is_not() {
        let mut round = Round::default();
        round.hear(&node(1), Says::Unreachable);
        round.hear(&node(2), Says::NotAll);
        for _ in 1..LATE_MAX {
            round.hear(&node(2), Says::Late);
            round.hear(&node(3), Says::All);
        }
        assert_eq!([1, 2, 3].map(|number| round.is_asked(&node(number))), [false, true, true]);
        round.hear(&node(2), Says::Late);
        assert!(!round.is_asked(&node(2)), "it would keep the others waiting for ever");
    }

    #[test]
    fn all_who_lack_something_are_named_up_to_a_bound() {
        let mut round = Round::default();
        let members = [1, 2, 3].map(node);
        round.note(&members, &members.clone().into());
        assert_eq!((round.waiting, round.who_lacks()), (0, String::new()));
        round.note(&members, &BTreeSet::from([node(1)]));
        round.note(&members, &BTreeSet::from([node(1), node(2)]));
        assert_eq!((round.waiting, round.who_lacks()), (2, "n2 (1), n3 (2)".to_owned()));
        let many: Vec<NodeId> = (10..30).map(node).collect();
        round.note(&many, &BTreeSet::new());
        let told = round.who_lacks();
        assert!(told.starts_with("n10 (1), ") && told.ends_with(", 14 more"), "{told}");
    }
}
