//! Uploads that this node holds and of which nobody has said what becomes of them.
//!
//! Age proves nothing: what is held may be one of the copies that a version needs. So the coordinator is asked.
//! One that is not at it any more will not ask for a version again, and one that has begun another life cannot;
//! then the log says so, in order with whatever it may have asked before.

use std::sync::Arc;
use std::time::Duration;

use segment::archive::Held;

use crate::archive::Shared;
use crate::question::{Answer, Ask, Question, Reply};
use crate::request::Name;
use crate::{meters, place};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// So many are looked at each time.
const HELD_MAX: usize = 64;
/// So long a coordinator, and a primary, may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Decides, until the node stops.
pub(crate) async fn decide(shared: Arc<Shared>) {
    loop {
        runtime::sleep(LOOK_EVERY.min(shared.config.undecided)).await;
        let engine = shared.engine.clone();
        let held = match runtime::blocking(move || engine.held(HELD_MAX)).await {
            Some(Ok(held)) => held,
            Some(Err(error)) => {
                tracing::error!(%error, "what is held cannot be looked up");
                continue;
            }
            None => return,
        };
        let age = u64::try_from(shared.config.undecided.as_millis()).unwrap_or(u64::MAX);
        let now = runtime::wall_ms();
        for held in held.iter().filter(|held| held.time_ms.saturating_add(age) <= now) {
            decide_one(&shared, held).await;
        }
    }
}

async fn decide_one(shared: &Shared, held: &Held) {
    let upload = &held.upload;
    let (boot, under_way) = if upload.node == shared.node {
        let mine = shared.config.boot == upload.boot;
        (shared.config.boot, mine && shared.is_under_way(upload.count))
    } else {
        let question = Question::Upload(upload.clone());
        match shared.question(&upload.node, &question, ANSWER_MAX).await {
            Ok(Answer::Done(Ok(Reply::Upload { boot, under_way }))) => (boot, under_way),
            // Nobody knows: it is asked again.
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
