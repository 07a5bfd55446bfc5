//! Who is there: the first frame either side of a connection sends.
//!
//! The certificate already proves a name. HELLO adds what a certificate cannot know: the cluster's id,
//! so that two clusters under one authority stay apart; the data directory and the process life, since
//! what a node says counts by store and an earlier life must not speak for a later one.

use hashring::NodeId;
use serde::{Deserialize, Serialize};

use crate::limits::SENTENCE_BYTES_MAX;

/// The newest protocol this node speaks. A node refuses a newer one, so in a rolling update the newer
/// nodes speak the older protocol until all can speak the newer.
pub const PROTOCOL: u16 = 1;

/// Who sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The protocol it wants to speak.
    pub protocol: u16,
    /// The cluster's id, from the registry.
    pub cluster: u64,
    /// Its name; must be the name in its certificate.
    pub node: NodeId,
    /// Its data directory.
    pub store: u64,
    /// Its process life.
    pub boot: u64,
}

/// Why a HELLO was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// It speaks a protocol this node does not know.
    Protocol,
    /// It belongs to another cluster.
    Cluster,
    /// Its name is not the one in its certificate, or not the one that was dialled.
    Name,
    /// A later process life of the same node is connected: it must stop.
    Superseded,
    /// It names itself as the node it called.
    Same,
    /// Its data directory is another one than the registry knows of this life of it.
    Store,
    /// Its certificate is another one than the registry knows of it.
    Certificate,
}

/// A refusal, in words for whoever reads the log of the refused node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{sentence}")]
pub struct Refusal {
    /// Which.
    pub reason: Reason,
    /// What is wrong and what to change.
    pub sentence: String,
}

impl Refusal {
    /// A refusal; a sentence too long is cut.
    pub fn new(reason: Reason, sentence: &str) -> Self {
        let mut end = sentence.len().min(SENTENCE_BYTES_MAX);
        while !sentence.is_char_boundary(end) {
            end -= 1;
        }
        Self { reason, sentence: sentence.get(..end).unwrap_or_default().to_owned() }
    }
}

impl Hello {
    /// Whether `self` may be taken by the node that says `ours`, when the certificate of the
    /// connection is in the name of `certified`.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub fn check(&self, ours: &Self, certified: &NodeId) -> Result<(), Refusal> {
        let (reason, sentence) = if self.protocol > ours.protocol {
            (
                Reason::Protocol,
                format!(
                    "node {} speaks protocol {}, node {} only up to {}: update {} first",
                    self.node, self.protocol, ours.node, ours.protocol, ours.node
                ),
            )
        } else if self.cluster != ours.cluster {
            (
                Reason::Cluster,
                format!(
                    "node {} belongs to cluster {:016x}, node {} to {:016x}: check the registry's \
                     address and root",
                    self.node, self.cluster, ours.node, ours.cluster
                ),
            )
        } else if self.node != *certified {
            (
                Reason::Name,
                format!(
                    "the node calls itself {} but its certificate is for {certified}: check \
                     node.id and quic.cert",
                    self.node
                ),
            )
        } else if self.node == ours.node {
            (Reason::Same, format!("two nodes call themselves {}: give one another id", self.node))
        } else {
            return Ok(());
        };
        Err(Refusal::new(reason, &sentence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(node: &str) -> Hello {
        let node = node.parse().unwrap();
        Hello { protocol: PROTOCOL, cluster: 7, node, store: 1, boot: 1 }
    }

    fn reason(theirs: &Hello, certified: &str) -> Option<Reason> {
        let certified = certified.parse().unwrap();
        theirs.check(&hello("a"), &certified).err().map(|refusal| refusal.reason)
    }

    #[test]
    fn a_hello_is_taken_only_from_this_cluster_in_its_own_name_and_a_known_protocol() {
        assert_eq!(reason(&hello("b"), "b"), None);
        assert_eq!(
            reason(&Hello { protocol: PROTOCOL + 1, ..hello("b") }, "b"),
            Some(Reason::Protocol)
        );
        assert_eq!(reason(&Hello { cluster: 8, ..hello("b") }, "b"), Some(Reason::Cluster));
        assert_eq!(reason(&hello("b"), "c"), Some(Reason::Name));
        assert_eq!(reason(&hello("a"), "a"), Some(Reason::Same));
        assert_eq!(reason(&Hello { protocol: 0, ..hello("b") }, "b"), None, "older is spoken");
    }

    #[test]
    fn a_long_sentence_is_cut_between_two_characters() {
        let refusal = Refusal::new(Reason::Name, &"ä".repeat(400));
        assert_eq!(refusal.sentence.len(), SENTENCE_BYTES_MAX);
        assert!(refusal.sentence.chars().all(|c| c == 'ä'));
    }
}
