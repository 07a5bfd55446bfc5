//! Archives of parts that somebody began and goes on with no more.
//!
//! Their parts are whole and hold room on every member, and nobody sees them. Who began one may come back for as
//! long as it is worth waiting for, through any node; so no process life says when it is over, and only time can.
//! The node that leads the partition looks, and the log decides: a part that came meanwhile is in it before. What
//! is given up is hidden, and its bytes go as everything hidden does.

use std::sync::Arc;
use std::time::Duration;

use hashring::PartitionId;
use segment::archive::{At, ReadError};

use crate::decide::last_ms;
use crate::meters;
use crate::question::{Ask, Reply};
use crate::request::Name;
use crate::shared::Shared;

/// How often it looks: what is waited for takes days.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// So long a primary may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Gives them up, until the node stops.
pub(crate) async fn give_up(shared: Arc<Shared>) {
    let after = u64::try_from(shared.config.unfinished.as_millis()).unwrap_or(u64::MAX);
    loop {
        runtime::sleep(LOOK_EVERY.min(shared.config.unfinished)).await;
        let before_ms = runtime::wall_ms().saturating_sub(after);
        for partition in shared.replication.partitions().all() {
            if shared.reign_now(partition).is_none() {
                continue;
            }
            match overdue(&shared, partition, before_ms).await {
                Some(Ok(overdue)) => {
                    for at in overdue {
                        give_up_one(&shared, partition, at, before_ms).await;
                    }
                }
                Some(Err(error)) => {
                    tracing::error!(%error, %partition, "what is unfinished cannot be looked up");
                }
                None => return,
            }
        }
    }
}

/// Archives of which nothing came after a moment.
async fn overdue(
    shared: &Shared,
    partition: PartitionId,
    before_ms: u64,
) -> Option<Result<Vec<At>, ReadError>> {
    let engine = shared.engine.clone();
    let look = move || -> Result<Vec<At>, ReadError> {
        let mut overdue = Vec::new();
        for at in engine.unfinished(partition.0)? {
            let facts = engine.facts(&at.collection, &at.key)?;
            if last_ms(at.version, &facts) <= before_ms {
                overdue.push(at);
            }
        }
        Ok(overdue)
    };
    runtime::blocking(look).await
}

async fn give_up_one(shared: &Shared, partition: PartitionId, at: At, before_ms: u64) {
    let At { collection, key, version } = at;
    let Some(versioning) = shared.engine.versioning(&collection) else { return };
    let name = Name { collection, key };
    let ask = Ask::GiveUp { name: name.clone(), versioning, version, before_ms };
    let Name { collection, key } = &name;
    match shared.ask(partition, ask, runtime::now() + ANSWER_MAX).await {
        Ok(Reply::Version(_)) => {
            meters::unfinished();
            tracing::warn!(
                %collection, %key, %version,
                "an archive of parts was begun, and nothing came of it for too long: it is given up"
            );
        }
        // Somebody went on with it.
        Ok(_) => {}
        Err(refusal) => {
            tracing::debug!(%version, %refusal, "an archive of parts is not given up yet");
        }
    }
}
