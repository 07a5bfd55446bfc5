//! What this node holds of partitions that it is no member of any more.
//!
//! It may be the only copy: members of now owe the bytes until they are paid, and are given them from here. So it is let
//! go when there are as many members as there should be, and each says that it knows all objects and owes nothing
//! of them. What comes later than that was never brought here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hashring::{NodeId, PartitionId};
use replication::core::{PartitionView, Role};
use segment::LogEnd;
use segment::archive::ReadError;

use crate::meters;
use crate::question::{Answer, Question, Reply};
use crate::shared::Shared;

/// So long a member may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Whether this node has left a partition, or is a member again, is looked for this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Gives back what is needed no more, until the node stops.
pub(crate) async fn give_back(shared: Arc<Shared>) {
    let mut due = runtime::now() + shared.config.left;
    // None: what is held here of others is not counted yet.
    let mut counted: Option<BTreeSet<PartitionId>> = None;
    loop {
        runtime::sleep(LOOK_EVERY.min(shared.config.left)).await;
        let gives = runtime::now() >= due;
        let outside = outside(&shared);
        // Who asks whether this node may go must not be told of a time when it had not left yet.
        if !gives && counted.as_ref() == Some(&outside) {
            continue;
        }
        let mut kept = 0;
        for partition in outside.iter().copied() {
            match holds_any(&shared, partition).await {
                Some(false) => {}
                Some(true) if gives && give_back_one(&shared, partition).await => {}
                Some(true) => kept += 1,
                None => return,
            }
        }
        meters::kept_for_others(kept);
        counted = Some(outside);
        if gives {
            due = runtime::now() + shared.config.left;
        }
    }
}

/// The partitions that this node has no part in.
fn outside(shared: &Shared) -> BTreeSet<PartitionId> {
    let is_outside = |partition: &PartitionId| {
        let view = shared.replication.view(*partition);
        is_outside(&view, &shared.node)
    };
    shared.replication.partitions().all().filter(is_outside).collect()
}

/// Whether anything of a partition is here that is not given back; `None` at the end of the process.
async fn holds_any(shared: &Shared, partition: PartitionId) -> Option<bool> {
    let engine = shared.engine.clone();
    let held = runtime::blocking(move || -> Result<bool, ReadError> {
        Ok(!engine.left().contains(&partition.0) && engine.has_any(partition.0)?)
    });
    // What cannot be looked up may be there.
    Some(held.await?.unwrap_or_else(|error| {
        tracing::error!(%error, %partition, "what is held here cannot be looked up");
        true
    }))
}

/// Whether it is given back.
async fn give_back_one(shared: &Shared, partition: PartitionId) -> bool {
    let Some((epoch, primary, others)) = members(shared, partition) else { return false };
    let asks = !shared.config.sabotage.left_at_once;
    if asks && !have_all(shared, partition, &primary, &others).await {
        return false;
    }
    let Some(one) = shared.catching_up.get(usize::from(partition.0)) else { return false };
    // Nothing of it is taken over meanwhile.
    let mut looked = one.lock().await;
    if members(shared, partition).is_none_or(|(now, ..)| now != epoch) {
        return false;
    }
    *looked = LogEnd::default();
    let engine = shared.engine.clone();
    match runtime::blocking(move || engine.let_go(partition.0)).await {
        Some(Ok(_)) => {
            meters::given_back();
            tracing::info!(%partition, "its members have every object: what is left of it here is given back");
            true
        }
        Some(Err(refused)) => {
            tracing::debug!(%partition, %refused, "it is not given back yet");
            false
        }
        None => false,
    }
}

/// Whether each member has everything that this node may have.
async fn have_all(
    shared: &Shared,
    partition: PartitionId,
    primary: &NodeId,
    others: &[NodeId],
) -> bool {
    // What it knows now is all there is.
    let Some(seq) = has_all(shared, primary, partition, 0).await else { return false };
    for member in others {
        if has_all(shared, member, partition, seq).await.is_none() {
            return false;
        }
    }
    true
}

/// The epoch of a partition, who leads it, and its other members, if this node is none and there are as many as there
/// should be.
fn members(shared: &Shared, partition: PartitionId) -> Option<(u64, NodeId, Vec<NodeId>)> {
    let view = shared.replication.view(partition);
    let all = view.ensemble.len() == usize::from(shared.replication.copies());
    let outside = is_outside(&view, &shared.node);
    let primary = view.primary.clone().filter(|_| view.open && all && outside)?;
    let others = view.ensemble.iter().filter(|node| **node != primary).cloned().collect();
    Some((view.epoch, primary, others))
}

/// Whether a node has no part in a partition, be it that its log is there still.
fn is_outside(view: &PartitionView, node: &NodeId) -> bool {
    matches!(view.role, Role::Outside | Role::Retired) && !view.ensemble.contains(node)
}

/// How far a member knows the objects, if that is as far as `seq` and it has all their bytes.
async fn has_all(
    shared: &Shared,
    member: &NodeId,
    partition: PartitionId,
    wanted: u64,
) -> Option<u64> {
    match shared.question(member, &Question::Has(partition), ANSWER_MAX).await {
        Ok(Answer::Done(Ok(Reply::Has { seq, owed: Some(0) }))) => {
            (seq > 0 && seq >= wanted).then_some(seq)
        }
        Ok(_) | Err(_) => None,
    }
}

impl Shared {
    /// What this node says of itself.
    pub(crate) async fn has(&self, partition: PartitionId) -> Reply {
        let seq = self.applied_to(partition).await;
        let owed = self.engine.owes(partition.0).and_then(|owed| u64::try_from(owed).ok());
        Reply::Has { seq, owed }
    }
}
