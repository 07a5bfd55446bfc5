//! The registry on real ZooKeeper servers: the contract of every registry, and what only a server can do
//! to a node.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test ends where a step fails"
)]

mod access;
mod contract;
#[path = "../../../../tests/src/ensemble/mod.rs"]
mod ensemble;
mod faults;
mod ring;
#[path = "../../../../tests/src/skip.rs"]
mod skip;
#[expect(dead_code, reason = "not everybody needs all of it")]
#[path = "../../../../tests/src/wait.rs"]
mod wait;

use std::collections::BTreeSet;
use std::time::Duration;

use registry::{Cas, Session, SessionState, Watch};

/// Longer than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn put(key: &str, expect: Option<u64>, data: &str) -> Cas {
    Cas { key: key.to_owned(), expect, data: Some(data.as_bytes().to_vec()) }
}

async fn write(session: &Session, cas: Cas) -> u64 {
    session.cas(cas).await.expect("there is an answer").expect("the version is right")
}

/// Waits until `watch` has told of all these keys, and returns everything it told.
async fn told(watch: &mut Watch, keys: &[&str]) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    let all = async {
        while !keys.iter().all(|key| told.contains(*key)) {
            told.extend(watch.changed().await.expect("the session lives"));
        }
    };
    runtime::timeout(PATIENCE, all).await.expect("the watch tells of it");
    told
}

/// Waits until the session is there, or away.
async fn until(session: &Session, wanted: SessionState) {
    let mut state = session.state();
    let waited = runtime::timeout(PATIENCE, state.wait_for(|state| *state == wanted)).await;
    waited.expect("in time").expect("the session lives");
}
