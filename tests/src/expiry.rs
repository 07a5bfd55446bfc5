//! The end of a node's session, as a second client brings it about.

use std::time::Duration;

use crate::ensemble::{Ensemble, Intruder};

/// Ends the session of node `node` of the cluster below `root`, and waits until the node has another, with a
/// place on the ring. `false`: it has no session at the moment.
///
/// # Errors
/// When it has no other within `timeout`.
pub async fn expire_session(
    ensemble: &Ensemble,
    root: &str,
    node: &str,
    timeout: Duration,
) -> Result<bool, String> {
    let intruder = ensemble.intruder().await;
    let Some((path, _)) = place_of(&intruder, root, node).await else { return Ok(false) };
    let ended = intruder.expire_session_of(&path).await;
    let until = runtime::now() + timeout;
    loop {
        match place_of(&intruder, root, node).await {
            Some((_, session)) if session != ended => return Ok(true),
            found if runtime::now() >= until => {
                return Err(format!("{node} has no other session within {timeout:?}: {found:?}"));
            }
            _ => runtime::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// A place of `node` below `root`, and whose session it belongs to.
async fn place_of(intruder: &Intruder, root: &str, node: &str) -> Option<(String, i64)> {
    let ring = format!("{root}/hashring");
    for position in intruder.names(&ring).await {
        let path = format!("{ring}/{position}");
        // It may be gone by now.
        let Some((data, stat)) = intruder.get(&path).await else { continue };
        let data: serde_json::Value = serde_json::from_slice(&data).unwrap_or_default();
        if data["data"]["node"] == node {
            return Some((path, stat.ephemeral_owner));
        }
    }
    None
}
