//! Uploads that this node holds and of which nobody has said what becomes of them.
//!
//! Age proves nothing: what is held may be one of the copies that a version needs. So the coordinator is asked.
//! One that is not at it any more will not ask for a version again, and one that has begun another life cannot;
//! then the log says so, in order with whatever it may have asked before. One that cannot be asked for so long
//! that it would have been done twenty times over may never return: then the log is asked to say so all the same.
//! That is as safe: if a version was asked for after all, it stands in the log before the cancel, or is refused.

use std::sync::Arc;
use std::time::Duration;

use segment::archive::{Adopted, Fact, Held, Operation};

use crate::question::{Answer, Ask, Question, Reply};
use crate::request::Name;
use crate::shared::Shared;
use crate::{meters, place};

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
                let (upload, time_ms) = (held.upload.clone(), runtime::wall_ms());
                let fact = Fact::Cancelled { upload, time_ms };
                let entries = vec![Adopted { fact, collection: None, data: None }];
                let given_up = Operation::Adopt { entries, applied: Vec::new() };
                drop(shared.perform(given_up).await);
                continue;
            }
            decide_one(&shared, held, *age).await;
        }
    }
}

async fn decide_one(shared: &Shared, held: &Held, age: Duration) {
    let upload = &held.upload;
    let (boot, under_way) = if upload.node == shared.node {
        let mine = shared.config.boot == upload.boot;
        (shared.config.boot, mine && shared.is_under_way(upload.count))
    } else {
        let question = Question::Upload(upload.clone());
        match shared.question(&upload.node, &question, ANSWER_MAX).await {
            Ok(Answer::Done(Ok(Reply::Upload { boot, under_way }))) => (boot, under_way),
            // Nobody knows: it is asked again, but not for ever.
            Ok(_) | Err(_) if age >= shared.config.abandoned => (upload.boot, false),
            Ok(_) | Err(_) => return,
        }
    };
    if under_way {
        return;
    }
    let name = Name { collection: held.collection.clone(), key: held.key.clone() };
    let Ok(partition) = place::of_name(shared.replication.partitions(), &name) else { return };
    let (ask, how) = if boot > upload.boot {
        (Ask::Fence { node: upload.node.clone(), boot }, "fenced")
    } else {
        (Ask::Cancel { upload: upload.clone() }, "cancelled")
    };
    match shared.ask(partition, ask, runtime::now() + ANSWER_MAX).await {
        Ok(_) => {
            meters::decided(how);
            tracing::info!(%upload, how, "an upload whose coordinator left it is decided");
        }
        Err(refusal) => tracing::debug!(%upload, %refusal, "an upload is not decided yet"),
    }
}
