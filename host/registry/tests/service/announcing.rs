//! A node that tells where it answers.

use crate::ensemble::Ensemble;
use registry::service::{Error, announce};
use serde_json::json;

use super::{map, open, sees};

#[tokio::test]
async fn an_announcement_is_found_below_the_folder_while_the_node_lives() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let root = ensemble.root();
    let (node, reader) = (open(&ensemble, &root).await, open(&ensemble, &root).await);
    let details = map(json!({"node": "n1", "url": "http://10.0.0.1:7081"}));
    announce(&node, "/services/carillon-http", "10.0.0.1:7081", details).await.expect("announced");
    let entry = reader.get("/services/carillon-http").await.expect("there");
    let found = entry.children["10.0.0.1:7081"].as_ref().expect("data");
    assert_eq!((&found["node"], &found["pid"]), (&json!("n1"), &json!(std::process::id())));
    let refused = announce(&node, "/x", "a/b", map(json!({}))).await;
    assert!(matches!(refused, Err(Error::InvalidPath { .. })), "{refused:?}");
    node.close().await;
    sees(&reader, "it is gone", "/services/carillon-http", |entry| entry.children.is_empty()).await;
}
