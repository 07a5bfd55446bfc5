//! Uploads that this node holds and of which nobody has said what becomes of them.
//!
//! Age proves nothing: what is held may be one of the copies that a version needs. So the coordinator is asked.
//! One that is not at it any more will not ask for a version again, and one that has begun another life cannot;
//! then the log says so, in order with whatever it may have asked before. One that cannot be asked for so long
//! that it would have been done twenty times over may never return: then the log is asked to say so all the same.
//! That is as safe: if a version was asked for after all, it stands in the log before the cancel, or is refused.

use std::sync::Arc;
use std::time::Duration;

use hashring::PartitionId;
use segment::archive::{Adopted, Fact, Held, Operation, Upload};

use crate::question::{Answer, Ask, Question, Reply};
use crate::request::Name;
use crate::shared::Shared;
use crate::{left, meters, place};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// So many are looked at each time, and the next ones the next time: none waits for one that nobody can decide yet.
const HELD_MAX: usize = 64;
/// So long a coordinator, and a primary, may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Decides, until the node stops.
pub(crate) async fn decide(shared: Arc<Shared>) {
    loop {
        runtime::sleep(LOOK_EVERY.min(shared.config.undecided)).await;
        let undecided = shared.engine.undecided(HELD_MAX);
        let old = undecided.iter().filter(|(_, age)| *age >= shared.config.undecided);
        for (held, age) in old {
            if shared.config.sabotage.held_by_age {
                never(&shared, &held.upload).await;
                continue;
            }
            let Some(boot) = left_by(&shared, &held.upload, *age).await else { continue };
            // To ask may have taken its time, and the log said so meanwhile.
            if shared.engine.is_undecided(&held.upload) {
                decide_one(&shared, held, boot).await;
            }
        }
    }
}

/// In which life the coordinator of an upload is, if it is not at it any more.
async fn left_by(shared: &Shared, upload: &Upload, age: Duration) -> Option<u64> {
    if upload.node == shared.node {
        let mine = shared.config.boot == upload.boot;
        let under_way = mine && shared.is_under_way(upload.count);
        return (!under_way).then_some(shared.config.boot);
    }
    let question = Question::Upload(upload.clone());
    match shared.question(&upload.node, &question, ANSWER_MAX).await {
        Ok(Answer::Done(Ok(Reply::Upload { boot, under_way }))) => (!under_way).then_some(boot),
        // Nobody knows: it is asked again, but not for ever.
        Ok(_) | Err(_) => (age >= shared.config.abandoned).then_some(upload.boot),
    }
}

/// Lets the log say what becomes of an upload whose coordinator, now in life `boot`, has left it.
async fn decide_one(shared: &Shared, held: &Held, boot: u64) {
    let upload = &held.upload;
    let name = Name { collection: held.collection.clone(), key: held.key.clone() };
    let Ok(partition) = place::of_name(shared.replication.partitions(), &name) else { return };
    let ask = |ask| shared.ask(partition, ask, runtime::now() + ANSWER_MAX);
    // One entry for all that a life left, and for what of it still comes.
    let fenced = boot > upload.boot;
    if fenced && let Err(refusal) = ask(Ask::Fence { node: upload.node.clone(), boot }).await {
        tracing::debug!(%upload, %refusal, "the life that left an upload is not fenced off yet");
        return;
    }
    match ask(Ask::Cancel { upload: upload.clone() }).await {
        Ok(reply) => {
            let how = match &reply {
                Reply::Became(_) => "final",
                _ if fenced => "fenced",
                _ => "cancelled",
            };
            meters::decided(how);
            tracing::info!(%upload, how, "an upload whose coordinator left it is decided");
            match reply {
                Reply::Never => never(shared, upload).await,
                Reply::Became(made) if is_outside(shared, partition) => {
                    adopt(shared, Fact::Final(*made)).await;
                }
                // A member has it from the log, if not now then soon.
                _ => {}
            }
        }
        Err(refusal) => tracing::debug!(%upload, %refusal, "an upload is not decided yet"),
    }
}

/// What is held here of an upload that never becomes a version is given up. The log would say so too, but where it stands
/// below what a member's log begins with, it says so to that member no more, nor to a node that has left.
async fn never(shared: &Shared, upload: &Upload) {
    let (upload, time_ms) = (upload.clone(), runtime::wall_ms());
    adopt(shared, Fact::Cancelled { upload, time_ms }).await;
}

/// Takes over what was decided.
async fn adopt(shared: &Shared, fact: Fact) {
    let entries = vec![Adopted { fact, collection: None, data: None }];
    if let Err(refused) = shared.perform(Operation::Adopt { entries, applied: Vec::new() }).await {
        tracing::warn!(%refused, "what became of an upload is not taken over, and is asked again");
    }
}

/// Whether this node has no part in a partition: then no log tells it anything, and what it holds is given back once the
/// members have it.
fn is_outside(shared: &Shared, partition: PartitionId) -> bool {
    left::is_outside(&shared.replication.view(partition), &shared.node)
}
