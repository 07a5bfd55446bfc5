//! Ending a node's session from outside, as a second client can.

use serde_json::Value;

use crate::deployment::Deployment;

/// Where the nodes of a cluster stand, one ephemeral for each position.
const RING: &str = "/services/carillon/hashring";

/// Ends the session of node `name`; false if it has none at the moment.
pub(crate) async fn expire(deployment: &Deployment, name: &str) -> bool {
    let intruder = deployment.ensemble.intruder().await;
    for position in intruder.names(RING).await {
        let path = format!("{RING}/{position}");
        // It may be gone by now.
        let Some((data, _)) = intruder.get(&path).await else { continue };
        let data: Value = serde_json::from_slice(&data).unwrap_or_default();
        if data["data"]["node"] == name {
            intruder.expire_session_of(&path).await;
            return true;
        }
    }
    false
}
