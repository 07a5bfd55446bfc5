//! What a node put as ephemeral, and that it stands.
//!
//! An ephemeral ends with the ensemble's session, and anybody with the right may delete it. The node did
//! not take it back, so it is put again: after a new session, and when a watch says that something
//! happened to it. Another's znode in its place is left alone, and looked at again later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::{Backoff, Stop};
use tokio::sync::Notify;

use super::link::Shared;
use super::tree::folder;
use crate::Error;

/// Pauses before a key is tried again: an earlier session of this node stands there until the ensemble
/// has given it up, which takes seconds.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The ephemerals of one node. Bounded by what the node puts: its places, and an announcement.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    keys: BTreeMap<String, Vec<u8>>,
    /// To be put, or looked at, again.
    due: BTreeSet<String>,
    folders: BTreeSet<String>,
}

impl Kept {
    /// Keeps what was just put; `current`: by the session that still is. Says whether it is the first in
    /// its folder.
    pub(crate) fn keep(&self, key: &str, data: Vec<u8>, current: bool) -> bool {
        let mut state = self.lock();
        state.keys.insert(key.to_owned(), data);
        if !current {
            state.due.insert(key.to_owned());
            self.wake.notify_one();
        }
        state.folders.insert(folder(key).to_owned())
    }

    pub(crate) fn forget(&self, key: &str) {
        let mut state = self.lock();
        state.keys.remove(key);
        state.due.remove(key);
    }

    /// Something happened to these keys.
    pub(crate) fn look_at<'a>(&self, keys: impl Iterator<Item = &'a String>) {
        let mut state = self.lock();
        for key in keys {
            if state.keys.contains_key(key) {
                state.due.insert(key.clone());
            }
        }
        self.wake.notify_one();
    }

    /// Everything may be gone.
    pub(crate) fn look_at_all(&self) {
        let mut state = self.lock();
        state.due = state.keys.keys().cloned().collect();
        self.wake.notify_one();
    }

    fn due(&self) -> Vec<(String, Vec<u8>)> {
        let state = self.lock();
        let due = state.due.iter();
        due.filter_map(|key| Some((key.clone(), state.keys.get(key)?.clone()))).collect()
    }

    fn done(&self, key: &str) {
        self.lock().due.remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts again what is due, until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, stop: Stop) {
    let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX);
    let mut taken = BTreeSet::new();
    let keep = async {
        loop {
            let all_stand = put_due(&shared, &mut taken).await;
            if all_stand {
                backoff.reset();
                shared.kept.wake.notified().await;
            } else {
                // At least half of the ceiling, so that a place that is taken costs little.
                runtime::sleep(PAUSE_FIRST + backoff.next(rand::random())).await;
            }
        }
    };
    tokio::select! { biased;
        () = stop.stopped() => {}
        () = keep => {}
    }
}

/// `false` if something has to be tried again.
async fn put_due(shared: &Shared, taken: &mut BTreeSet<String>) -> bool {
    let mut all_stand = true;
    for (key, data) in shared.kept.due() {
        let put = shared.call(Error::Unknown, |live| {
            let (key, data) = (&key, &data);
            async move { shared.tree.put_ephemeral(&live.client, key, data).await }
        });
        match put.await {
            Ok(Ok(())) => {
                shared.kept.done(&key);
                if taken.remove(&key) {
                    tracing::info!(key, "stands in the registry again");
                }
            }
            Ok(Err(_other)) => {
                all_stand = false;
                if taken.insert(key.clone()) {
                    tracing::warn!(
                        key,
                        "another session's znode stands here: trying on until it is gone"
                    );
                }
            }
            Err(error) => {
                all_stand = false;
                match error {
                    Error::Unreachable => break,
                    Error::Unknown => {}
                    error if taken.insert(key.clone()) => {
                        tracing::warn!(key, %error, "what this node put is gone and cannot be put again");
                    }
                    _told => {}
                }
            }
        }
    }
    all_stand
}
