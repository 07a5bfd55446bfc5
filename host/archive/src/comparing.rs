//! Whether this node shows of objects what the primary does: catalogues of members are compared, once in a while.
//!
//! The same entries show the same objects on every member, so a difference is damage that nobody has noticed: a fact
//! that is in one index and not in the other. Entries come all the time, and one side is always a bit ahead; so it is a
//! difference only if it stays the same, on both sides, until each of them knows what the other one did when it was first
//! seen: then there was an entry up to which both knew the log, and showed this. It is told, and this node takes over all
//! objects of the partition from its log once more. What it lacked it has after that; what it has too much, or the primary
//! lacks, is told again each time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hashring::{NodeId, PartitionId};
use replication::core::Role;
use segment::LogEnd;
use segment::archive::{Applied, Operation};

use crate::meters;
use crate::question::{Answer, Question, Reply, Shown};
use crate::shared::Shared;
use crate::{Code, Refusal};

/// A difference is looked at so often before it is one.
const LOOKS: u32 = 3;
/// The looks are so far apart: longer than what is committed takes to be taken over.
const APART: Duration = Duration::from_secs(2);
/// So long the primary may take to look through a partition.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// What this node and the primary showed at about the same time.
#[derive(Clone, Copy, Debug)]
struct Look {
    ours: Shown,
    theirs: Shown,
}

/// What came of a comparison.
enum Compared {
    Same,
    Differ(Look),
    /// It is not known, and why.
    Unknown(&'static str),
}

/// Compares, until the node stops.
pub(crate) async fn compare(shared: Arc<Shared>) {
    // Once, until they are the same again: whatever that does not mend it will not mend the next time.
    let mut again = BTreeSet::new();
    loop {
        runtime::sleep(shared.config.compare).await;
        let mut differ = 0;
        for partition in shared.replication.partitions().all() {
            let Some(primary) = primary(&shared, partition) else { continue };
            match compared(&shared, partition, &primary).await {
                Compared::Same => drop(again.remove(&partition)),
                Compared::Unknown(why) => meters::catalogues_not_compared(why),
                Compared::Differ(look) => {
                    differ += 1;
                    let is_new = again.insert(partition);
                    tell(partition, &primary, &look, !is_new);
                    if is_new {
                        take_over_again(&shared, partition).await;
                    }
                }
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

/// Says that they differ, and whether taking the log over again did not help.
fn tell(partition: PartitionId, primary: &NodeId, look: &Look, in_vain: bool) {
    meters::catalogues_differ();
    let (ours, theirs) = (look.ours.catalogue, look.theirs.catalogue);
    tracing::error!(
        %partition, %primary, %ours, %theirs,
        "ALARM: this node and the primary show different objects, by the same log"
    );
    if in_vain {
        tracing::error!(
            %partition,
            "its log was taken over again and that did not help: compare these lines of all members to see which node is \
             wrong; docs/operations.md says how, and what to do about it"
        );
    }
}

/// Whether this node and the primary show the same.
async fn compared(shared: &Shared, partition: PartitionId, primary: &NodeId) -> Compared {
    let mut first = None;
    for look in 1..=LOOKS {
        let now = match look_at(shared, partition, primary).await {
            Ok(now) if now.is_same() => return Compared::Same,
            Ok(now) => now,
            Err(why) => return Compared::Unknown(why),
        };
        let first = *first.get_or_insert(now);
        if look == LOOKS && now.differs_since(&first) {
            return Compared::Differ(now);
        }
        if look == LOOKS || !now.shows_as(&first) {
            break;
        }
        runtime::sleep(APART).await;
    }
    // Something came meanwhile, or one of them is far behind. There will be a quieter moment.
    Compared::Unknown("moving")
}

/// What both show now, or why that is not known.
async fn look_at(
    shared: &Shared,
    partition: PartitionId,
    primary: &NodeId,
) -> Result<Look, &'static str> {
    let asked = shared.question(primary, &Question::Catalogue(partition), ANSWER_MAX).await;
    let Ok(Answer::Done(Ok(Reply::Catalogue(theirs)))) = asked else { return Err("unanswered") };
    let ours = shared.catalogue(partition).await.map_err(|_refused| "unread")?;
    Ok(Look { ours, theirs })
}

impl Look {
    fn is_same(&self) -> bool {
        self.ours.catalogue == self.theirs.catalogue
    }

    /// Whether both show what they did then.
    fn shows_as(&self, first: &Self) -> bool {
        self.ours.catalogue == first.ours.catalogue
            && self.theirs.catalogue == first.theirs.catalogue
    }

    /// Whether both showed all the time what the log cannot explain: each knows by now what the other one knew at most
    /// when it was first seen. Who leads and does not know the objects yet knows nothing.
    fn differs_since(&self, first: &Self) -> bool {
        let (ours, theirs) = (&self.ours, &self.theirs);
        let known = ours.from > 0 && theirs.from > 0;
        let met = first.theirs.upto <= ours.from && first.ours.upto <= theirs.from;
        !self.is_same() && self.shows_as(first) && known && met
    }
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
            tracing::error!(%partition, %refused, "its objects are not taken over again");
        }
    }
}

impl Shared {
    /// What this node shows of a partition.
    pub(crate) async fn catalogue(&self, partition: PartitionId) -> Result<Shown, Refusal> {
        let from = self.applied_to(partition).await;
        let engine = self.engine.clone();
        let looked = runtime::blocking(move || engine.catalogue(partition.0)).await;
        // After the look: what came while it lasted may be in it.
        let upto = self.applied_at_most(partition).max(from);
        match looked {
            Some(Ok(catalogue)) => Ok(Shown { from, upto, catalogue }),
            Some(Err(error)) => Err(Refusal::new(Code::Internal, error.to_string())),
            None => Err(Refusal::new(Code::NotReady, "this node is stopping")),
        }
    }
}

#[cfg(test)]
mod tests {
    use segment::archive::Catalogue;

    use super::*;

    fn shown(versions: u64, from: u64, upto: u64) -> Shown {
        Shown { from, upto, catalogue: Catalogue { versions, sum: [0; 16] } }
    }

    /// Five here and six there, as far as each knows.
    fn look(ours: (u64, u64), theirs: (u64, u64)) -> Look {
        Look { ours: shown(5, ours.0, ours.1), theirs: shown(6, theirs.0, theirs.1) }
    }

    #[test]
    fn it_is_a_difference_once_each_knows_what_the_other_did() {
        let first = look((90, 95), (100, 103));
        assert!(look((103, 110), (100, 103)).differs_since(&first));
        assert!(!look((102, 110), (100, 103)).differs_since(&first), "we may lack what they have");
        let same = Look { ours: shown(6, 103, 110), ..look((103, 110), (103, 110)) };
        assert!(same.is_same() && !same.differs_since(&first));
        let other = Look { theirs: shown(7, 104, 110), ..look((110, 110), (104, 110)) };
        assert!(!other.differs_since(&first), "something came");
    }

    /// It answers, and does not know the objects before its reign has opened; or its disk takes nothing for seconds.
    #[test]
    fn a_primary_that_is_behind_is_no_difference() {
        let first = look((100, 100), (0, 0));
        assert!(!look((100, 100), (0, 0)).differs_since(&first));
        let first = look((100, 104), (90, 100));
        assert!(!look((104, 104), (90, 104)).differs_since(&first));
        assert!(!look((104, 104), (103, 104)).differs_since(&first));
        assert!(look((104, 104), (104, 104)).differs_since(&first));
        let nothing = look((0, 0), (100, 100));
        assert!(!nothing.differs_since(&nothing));
    }

    /// What is taken over while a catalogue is read may be in it.
    #[test]
    fn what_came_during_a_look_counts_as_seen() {
        let first = look((100, 100), (100, 120));
        assert!(!look((110, 130), (120, 120)).differs_since(&first));
        assert!(look((120, 130), (120, 120)).differs_since(&first));
    }
}
