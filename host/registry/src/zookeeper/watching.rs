//! One watch: set, followed, and set again whenever the connection was away.
//!
//! The ensemble tells every change below a znode, in order, for as long as the connection lasts. What
//! happened while it was away is never told. So after every connection the watch is set anew, the keys
//! below it are read, and all of them are reported, with those that stood there before and are gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ::zookeeper::{AddWatchMode, EventType, PersistentWatcher, SessionState};
use runtime::{Backoff, Stop};

use super::link::{Live, Shared};
use super::tree::folder;
use crate::watch::WatchShared;
use crate::{Error, ensemble};

/// Pauses before a watch is set again.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Follows what `watch` waits for, until `stop`; then the watch is closed.
pub(crate) async fn run(shared: Arc<Shared>, watch: Arc<WatchShared>, stop: Stop) {
    let _closes = Closes(Arc::clone(&watch));
    tokio::select! { biased;
        () = stop.stopped() => {}
        () = follow(&shared, &watch) => {}
    }
}

/// Closes the watch also when the runtime is dropped.
struct Closes(Arc<WatchShared>);

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.close();
    }
}

async fn follow(shared: &Shared, watch: &WatchShared) {
    let mut known = BTreeSet::new();
    let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX);
    // The one before stays until the next is set, or the client would take back what both share.
    let mut before: Option<PersistentWatcher> = None;
    let mut live = shared.live.subscribe();
    loop {
        let Ok(Some(current)) = live.wait_for(Option::is_some).await.map(|live| live.clone())
        else {
            return;
        };
        match set(shared, watch, &current, &mut known).await {
            Ok(watcher) => {
                backoff.reset();
                drop(before.replace(watcher));
            }
            Err(error) => {
                tracing::debug!(prefix = watch.prefix, %error, "the watch is set again later");
                runtime::sleep(PAUSE_FIRST + backoff.next(rand::random())).await;
                continue;
            }
        }
        if let Some(watcher) = &mut before
            && !listen(shared, watch, watcher, &mut known).await
        {
            shared.tell_over(current.incarnation);
        }
        if current.is_over() {
            before = None;
        }
    }
}

/// Sets the watch, then reports everything that stands, or stood, below it.
async fn set(
    shared: &Shared,
    watch: &WatchShared,
    live: &Live,
    known: &mut BTreeSet<String>,
) -> Result<PersistentWatcher, Error> {
    let path = shared.tree.path(folder(&watch.prefix));
    let set = async {
        let set = live.client.watch(&path, AddWatchMode::PersistentRecursive).await;
        let watcher = set.map_err(|_refusal| Error::Unreachable)?;
        Ok((watcher, shared.tree.list(&live.client, &watch.prefix).await?))
    };
    let late = Err(Error::Unreachable);
    let set = runtime::timeout(shared.config.timeout, set).await;
    let (watcher, found) = set.unwrap_or(late)?;
    for key in std::mem::take(known) {
        watch.tell(&key);
    }
    for (key, _) in found {
        watch.tell(&key);
        known.insert(key);
    }
    Ok(watcher)
}

/// Reports changes until the connection is away. `false`: the client ended without a word.
async fn listen(
    shared: &Shared,
    watch: &WatchShared,
    watcher: &mut PersistentWatcher,
    known: &mut BTreeSet<String>,
) -> bool {
    while let Some(event) = ensemble::unless_gone(watcher.changed()).await {
        if event.event_type == EventType::Session {
            if event.session_state == SessionState::SyncConnected {
                continue;
            }
            return true;
        }
        let Some(key) = shared.tree.key(&event.path).filter(|key| key.starts_with(&watch.prefix))
        else {
            continue;
        };
        watch.tell(key);
        if event.event_type == EventType::NodeDeleted {
            known.remove(key);
        } else {
            known.insert(key.to_owned());
        }
    }
    false
}
