//! Uploads that this node holds and of which nobody has said what becomes of them.
//!
//! Age proves nothing: what is held may be one of the copies that a version needs. So the coordinator is asked.
//! One that is not at it any more will not ask for a version again, and one that has begun another life cannot;
//! then the log says so, in order with whatever it may have asked before. One that cannot be asked for so long
//! that it would have been done twenty times over may never return: then the log is asked to say so all the same.
//! That is as safe: if a version was asked for after all, it stands in the log before the cancel, or is refused.
//!
//! The log tells its members. To a node that has left, and to one whose log begins behind the decision, it tells nothing:
//! what the log was asked to decide, and is undecided here at the next look, is asked about once more, and who leads then
//! says whether it never becomes a version.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use segment::archive::{Adopted, Fact, Held, Operation, Upload};

use crate::question::{Answer, Ask, Question, Reply};
use crate::request::Name;
use crate::shared::Shared;
use crate::{Refusal, meters, place};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// So many are looked at each time, and the next ones the next time: none waits for one that nobody can decide yet.
const HELD_MAX: usize = 64;
/// So long a coordinator, and a primary, may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Decides, until the node stops.
pub(crate) async fn decide(shared: Arc<Shared>) {
    // What the log was asked to decide, as long as it is undecided here: no more than that is remembered.
    let mut asked = BTreeSet::new();
    loop {
        runtime::sleep(LOOK_EVERY.min(shared.config.undecided)).await;
        asked.retain(|upload| shared.engine.is_undecided(upload));
        let undecided = shared.engine.undecided(HELD_MAX);
        let old = undecided.iter().filter(|(_, age)| *age >= shared.config.undecided);
        for (held, age) in old {
            let upload = &held.upload;
            if shared.config.sabotage.held_by_age {
                never(&shared, upload).await;
                continue;
            }
            let Some(boot) = left_by(&shared, upload, *age).await else { continue };
            // To ask may have taken its time, and the log said so meanwhile.
            if !shared.engine.is_undecided(upload) {
                continue;
            }
            // One fence is enough for all that a life left, and for what of it still comes.
            let fences = boot > upload.boot && !asked.contains(upload);
            let ask = match fences {
                true => Ask::Fence { node: upload.node.clone(), boot },
                false => Ask::Cancel { upload: upload.clone() },
            };
            match ask_log(&shared, held, ask).await {
                Ok(Reply::Never) if asked.contains(upload) => never(&shared, upload).await,
                Ok(_) if asked.insert(upload.clone()) => {
                    let how = if fences { "fenced" } else { "cancelled" };
                    meters::decided(how);
                    tracing::info!(%upload, how, "an upload whose coordinator left it is decided");
                }
                Ok(_) => {}
                Err(why) => tracing::debug!(%upload, %why, "an upload is not decided yet"),
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

/// Lets the log of what is held say what becomes of it.
async fn ask_log(shared: &Shared, held: &Held, ask: Ask) -> Result<Reply, Refusal> {
    let name = Name { collection: held.collection.clone(), key: held.key.clone() };
    let partition = place::of_name(shared.replication.partitions(), &name)?;
    shared.ask(partition, ask, runtime::now() + ANSWER_MAX).await
}

/// What is held here of an upload that never becomes a version is given up.
async fn never(shared: &Shared, upload: &Upload) {
    let fact = Fact::Cancelled { upload: upload.clone(), time_ms: runtime::wall_ms() };
    let entries = vec![Adopted { fact, collection: None, data: None }];
    if let Err(refused) = shared.perform(Operation::Adopt { entries, applied: Vec::new() }).await {
        tracing::warn!(%upload, %refused, "it never becomes a version, and is still held here");
    }
}
