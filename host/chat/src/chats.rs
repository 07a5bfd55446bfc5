//! The chats of a cluster, as one node answers for them.

use std::sync::Arc;

use crate::{CallContext, Refusal, Request, Response};

/// What a request is asked of. Clones are the same.
#[derive(Clone, Debug)]
pub struct Chats {
    shared: Arc<()>,
}

/// The ring, for those who only ask chats.
pub use replication::{RingMember, RingView};

/// Whether this node can be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Partitions there are; 0 before the cluster exists.
    pub partitions: usize,
    /// Partitions that have a leader this node knows of.
    pub led: usize,
    /// The node is stopping.
    pub stopping: bool,
}

impl Chats {
    /// Answers a request, here or through the node that leads its chat.
    ///
    /// # Errors
    /// [`Refusal`], which says whether anything may have happened.
    pub async fn call(&self, request: Request, context: CallContext) -> Result<Response, Refusal> {
        let _unused = (request, context, &self.shared);
        std::future::pending().await
    }

    /// The ring as this node knows it.
    pub fn ring(&self) -> Arc<RingView> {
        todo!("the chats'")
    }

    /// Whether this node can be asked.
    pub fn readiness(&self) -> Readiness {
        todo!("the chats'")
    }

    /// Answers readers who wait with what there is, and lets no new one wait.
    pub fn drain(&self) {
        todo!("the chats'")
    }
}
