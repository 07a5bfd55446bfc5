//! What operators see of the archive's collections on a node.

use hyper::StatusCode;
use serde::Serialize;

use super::endpoints::in_time;
use super::order::Order;
use crate::endpoints::{Answered, json};

/// How much of a collection one node holds.
#[derive(Clone, Debug, Serialize)]
pub struct CollectionInfo {
    /// Its name.
    pub collection: String,
    /// Segments that are final and not yet collected, whether anybody can see them or not. A version is one, or has one for
    /// each of its parts.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
}

#[derive(Debug, Serialize)]
struct CollectionsShape {
    collections: Vec<CollectionInfo>,
}

pub(super) async fn collections(order: Order) -> Answered {
    let desk = order.into_desk();
    let collections = in_time(&desk, desk.operate.collections()).await?;
    json(StatusCode::OK, &CollectionsShape { collections })
}
