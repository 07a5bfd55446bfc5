//! The task that keeps what the registry last said on the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use runtime::Stop;

use super::link::Shared;
use crate::cache::{LastKnown, PREFIXES};
use crate::watch::Watch;
use crate::{Error, SessionState};

/// The pause between two readings: a take-over rewrites a hundred records in a second.
const PAUSE: Duration = Duration::from_secs(2);
/// How often the file is written when nothing changes, so that its age after a crash is about right.
const REFRESH: Duration = Duration::from_secs(300);

/// Keeps the file at `path` until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, mut watch: Watch, path: PathBuf, stop: Stop) {
    let keep = async {
        let mut state = shared.reach.subscribe();
        let mut known = LastKnown::default();
        loop {
            if *state.borrow_and_update() == SessionState::Connected {
                if let Ok(records) = read(&shared).await {
                    known.records = records;
                    known.written_ms = runtime::wall_ms();
                    write(&known, &path).await;
                }
            } else if !known.records.is_empty() {
                // Until a moment ago it still held.
                known.written_ms = runtime::wall_ms();
                write(&known, &path).await;
                if state.changed().await.is_err() {
                    return;
                }
                continue;
            }
            runtime::sleep(PAUSE).await;
            tokio::select! {
                changed = relevant(&mut watch) => if !changed { return },
                _ = state.changed() => {}
                () = runtime::sleep(REFRESH) => {}
            }
        }
    };
    tokio::select! { biased;
        () = stop.stopped() => {}
        () = keep => {}
    }
}

/// Waits for a change of what is kept; `false` at the end of the session.
async fn relevant(watch: &mut Watch) -> bool {
    while let Some(keys) = watch.changed().await {
        if keys.iter().any(|key| PREFIXES.iter().any(|prefix| key.starts_with(prefix))) {
            return true;
        }
    }
    false
}

async fn read(shared: &Shared) -> Result<Vec<(String, crate::Value)>, Error> {
    let mut records = Vec::new();
    for prefix in PREFIXES {
        let listed = shared.call(Error::Unreachable, |live| async move {
            shared.tree.list(&live.client, prefix).await
        });
        records.extend(listed.await?);
    }
    Ok(records)
}

async fn write(known: &LastKnown, path: &Path) {
    let (known, to) = (known.clone(), path.to_path_buf());
    if let Some(Err(error)) = runtime::blocking(move || known.write(&to)).await {
        tracing::warn!(path = %path.display(), %error, "the last known ring cannot be kept");
    }
}
