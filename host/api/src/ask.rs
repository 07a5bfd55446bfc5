//! What the endpoints ask, and of whom.
//!
//! The chats of a node in service; in tests whatever answers. One boxed future a request is the price.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use chat::{CallContext, Chats, Readiness, Refusal, Request, Response, RingView};
use hashring::NodeId;
use model::ChatToken;

/// An answer, while it is made. Dropping it stops waiting for it.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Result<Response, Refusal>> + Send + 'a>>;

/// Who answers requests.
pub trait Ask: Send + Sync + 'static {
    /// Answers a request. Its shape was checked.
    fn call(&self, request: Request, context: CallContext) -> Asking<'_>;
    /// The ring as this node knows it.
    fn ring(&self) -> Arc<RingView>;
    /// Its version, which every answer carries.
    fn ring_version(&self) -> u64 {
        self.ring().version
    }
    /// The node that leads a chat, if it is known and not this one.
    fn led_elsewhere(&self, chat: ChatToken) -> Option<NodeId>;
    /// Whether this node can be asked.
    fn readiness(&self) -> Readiness;
    /// Answers readers who wait with what there is, and lets no new one wait.
    fn drain(&self);
}

impl Ask for Chats {
    fn call(&self, request: Request, context: CallContext) -> Asking<'_> {
        Box::pin(Self::call(self, request, context))
    }

    fn ring(&self) -> Arc<RingView> {
        Self::ring(self)
    }

    fn ring_version(&self) -> u64 {
        Self::ring_version(self)
    }

    fn led_elsewhere(&self, chat: ChatToken) -> Option<NodeId> {
        Self::led_elsewhere(self, chat)
    }

    fn readiness(&self) -> Readiness {
        Self::readiness(self)
    }

    fn drain(&self) {
        Self::drain(self);
    }
}
