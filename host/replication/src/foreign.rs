//! What stands in the registry and does not belong there: told once, counted, and passed over.

use std::collections::BTreeMap;

use hashring::NodeId;

use crate::metric;

/// Keys remembered as told; beyond it nothing more is told, and still counted.
const TOLD_MAX: usize = 1024;

/// What was told already, with the version that it had then.
#[derive(Debug, Default)]
pub(crate) struct Foreign {
    told: BTreeMap<String, u64>,
}

impl Foreign {
    /// Counts it, and tells it unless that was done for this very version.
    pub(crate) fn pass_over(&mut self, node: &NodeId, kind: &'static str, key: &str, version: u64) {
        if self.told.get(key) == Some(&version) {
            return;
        }
        metric::foreign(node, kind);
        if self.told.len() >= TOLD_MAX && !self.told.contains_key(key) {
            return;
        }
        self.told.insert(key.to_owned(), version);
        let what = match kind {
            "place" => {
                "is no place on the ring, and is passed over. If no other program needs it, delete it"
            }
            "member" => {
                "is no member's record, and is passed over. If no other program needs it, delete it"
            }
            "missing" => {
                "is gone: whoever leads its partition goes on and writes it anew. If nobody leads it, put the record \
                 back as it was, then start those who hold it again, one after another"
            }
            "partition" => "is no partition's record: it changes nothing until somebody mends it",
            "authority" => {
                "have a certificate of another authority, and are no part of the ring: give it one that this \
                 cluster's ca.pem has signed"
            }
            _ => {
                "is not the cluster that this node joined: two clusters may share one root. Give each its own"
            }
        };
        tracing::error!(%node, key, "{key} {what}");
    }
}
