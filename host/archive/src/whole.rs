//! Which members have all objects of a partition, for who leads it and is to do without one of them.
//!
//! A change of members waits for that: a newcomer has the log, and fetches the bytes of older objects afterwards. Each
//! member is asked how far it knows the objects, which must be as far as the primary did when it was asked, and whether
//! it lacks any of their bytes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hashring::{NodeId, PartitionId};
use replication::core::PartitionView;
use runtime::Instant;

use crate::meters;
use crate::question::{Answer, Question, Reply};
use crate::shared::Shared;

/// Changes that wait are looked for this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A member that is behind the log is asked again, so often and after so long: it takes over what is new several times a
/// second.
const ASKED_MAX: u32 = 4;
const AGAIN: Duration = Duration::from_millis(300);
/// So long a member may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// What keeps a change waiting is told this often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Tells of those that are asked for, until the node stops.
pub(crate) async fn tell(shared: Arc<Shared>) {
    shared.replication.await_objects().await;
    let mut told: Option<Instant> = None;
    loop {
        runtime::sleep(LOOK_EVERY).await;
        let (mut waiting, mut silent) = (0_u32, BTreeSet::new());
        for partition in shared.replication.partitions().all() {
            let view = shared.replication.view(partition);
            if !view.awaits_objects {
                continue;
            }
            let whole = whole(&shared, partition, &view, &mut silent).await;
            let lacking: Vec<&str> = view
                .ensemble
                .iter()
                .filter(|it| !whole.contains(*it))
                .map(NodeId::as_str)
                .collect();
            if !lacking.is_empty() {
                waiting += 1;
                let now = runtime::now();
                if told.is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY) {
                    told = Some(now);
                    let lacking = lacking.join(", ");
                    tracing::warn!(%partition, lacking, "a change of members may wait: these do not have all objects yet");
                }
            }
            shared.replication.set_whole(partition, view.epoch, whole).await;
        }
        meters::changes_waiting(waiting);
    }
}

/// Members that have everything. Who does not answer is not asked about the next partition.
async fn whole(
    shared: &Shared,
    partition: PartitionId,
    view: &PartitionView,
    silent: &mut BTreeSet<NodeId>,
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
    for member in view.ensemble.iter().filter(|member| **member != shared.node) {
        if silent.contains(member) {
            continue;
        }
        match has_all(shared, member, partition, wanted).await {
            Some(true) => drop(whole.insert(member.clone())),
            Some(false) => {}
            None => drop(silent.insert(member.clone())),
        }
    }
    whole
}

/// Whether a member has everything up to an entry; `None` if it says nothing.
async fn has_all(
    shared: &Shared,
    member: &NodeId,
    partition: PartitionId,
    wanted: u64,
) -> Option<bool> {
    for _ in 0..ASKED_MAX {
        let asked = shared.question(member, &Question::Has(partition), ANSWER_MAX).await;
        let Ok(Answer::Done(Ok(Reply::Has { seq, owed }))) = asked else { return None };
        if owed != Some(0) {
            return Some(false);
        }
        if seq >= wanted {
            return Some(true);
        }
        runtime::sleep(AGAIN).await;
    }
    Some(false)
}
