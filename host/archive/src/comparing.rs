//! Whether this node shows of objects what the primary does: catalogues of members are compared, once in a while.
//!
//! The same entries show the same objects on every member, so a difference is damage that nobody has noticed: a fact
//! that is in one index and not in the other. Entries come all the time, and one side is always a bit ahead; so it is a
//! difference only if it stays the same, on both sides, until this node knows at least what the primary knew when it
//! was first seen. Then it is told, and this node takes over all objects of the partition from its log once more.
//! What it lacked it has after that; what it has too much, or the primary lacks, is told again each time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hashring::{NodeId, PartitionId};
use replication::core::Role;
use segment::LogEnd;
use segment::archive::{Applied, Catalogue, Operation};

use crate::meters;
use crate::question::{Answer, Question, Reply};
use crate::shared::Shared;
use crate::{Code, Refusal};

/// A difference is looked at so often before it is one.
const LOOKS: u32 = 3;
/// The looks are so far apart: longer than what is committed takes to be taken over.
const APART: Duration = Duration::from_secs(2);
/// So long the primary may take to look through a partition.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Compares, until the node stops.
pub(crate) async fn compare(shared: Arc<Shared>) {
    // Once in a life of the process: whatever that does not mend it will not mend the next time.
    let mut again = BTreeSet::new();
    loop {
        runtime::sleep(shared.config.compare).await;
        let mut differ = 0;
        for partition in shared.replication.partitions().all() {
            let Some(primary) = primary(&shared, partition) else { continue };
            let Some((ours, theirs)) = difference(&shared, partition, &primary).await else {
                continue;
            };
            differ += 1;
            meters::catalogues_differ();
            tracing::error!(
                %partition, %primary, ours = ours.versions, theirs = theirs.versions,
                "ALARM: this node and the primary show different objects, by the same log"
            );
            if again.insert(partition) {
                take_over_again(&shared, partition).await;
            } else {
                tracing::error!(
                    %partition,
                    "its log was taken over again and that did not help: stop the one that is wrong, remove the index of its \
                     archive, and start it"
                );
            }
        }
        meters::catalogues_differing(differ);
    }
}

/// Who leads a partition that this node is another member of.
fn primary(shared: &Shared, partition: PartitionId) -> Option<NodeId> {
    let view = shared.replication.view(partition);
    let primary = view.primary.clone().filter(|_| view.open && view.role == Role::Member)?;
    (primary != shared.node).then_some(primary)
}

/// What this node and the primary show, if that is not the same.
async fn difference(
    shared: &Shared,
    partition: PartitionId,
    primary: &NodeId,
) -> Option<(Catalogue, Catalogue)> {
    let mut first = None;
    for look in 1..=LOOKS {
        let asked = shared.question(primary, &Question::Catalogue(partition), ANSWER_MAX).await;
        let Ok(Answer::Done(Ok(Reply::Catalogue { seq: knows, catalogue: theirs }))) = asked else {
            return None;
        };
        let Ok(Reply::Catalogue { seq, catalogue: ours }) = shared.catalogue(partition).await
        else {
            return None;
        };
        if ours == theirs {
            return None;
        }
        let (knew, pair) = *first.get_or_insert((knows, (ours, theirs)));
        if pair != (ours, theirs) {
            // Something came meanwhile. There will be a quieter moment.
            return None;
        }
        if look == LOOKS {
            return (seq >= knew).then_some(pair);
        }
        runtime::sleep(APART).await;
    }
    None
}

/// Forgets how far the log of a partition is known, so that all of it is taken over: what is here already is passed over.
async fn take_over_again(shared: &Shared, partition: PartitionId) {
    let Some(one) = shared.catching_up.get(usize::from(partition.0)) else { return };
    let mut looked = one.lock().await;
    *looked = LogEnd::default();
    let nothing = Applied { partition: partition.0, end: LogEnd::default() };
    let forgotten = Operation::Adopt { entries: Vec::new(), applied: vec![nothing] };
    match shared.perform(forgotten).await {
        Ok(_) => tracing::info!(%partition, "its objects are taken over from the log again"),
        Err(refused) => {
            tracing::error!(%partition, %refused, "its objects are not taken over again")
        }
    }
}

impl Shared {
    /// What this node shows of a partition, and how far it knew the log before it looked.
    pub(crate) async fn catalogue(&self, partition: PartitionId) -> Result<Reply, Refusal> {
        let seq = self.applied_to(partition).await;
        let engine = self.engine.clone();
        let looked = runtime::blocking(move || engine.catalogue(partition.0)).await;
        match looked {
            Some(Ok(catalogue)) => Ok(Reply::Catalogue { seq, catalogue }),
            Some(Err(error)) => Err(Refusal::new(Code::Internal, error.to_string())),
            None => Err(Refusal::new(Code::NotReady, "this node is stopping")),
        }
    }
}
