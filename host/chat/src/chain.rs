//! The handlers of a node's chats, in their order.
//!
//! Only who they are and how they are asked. What an answer means for a message is decided by
//! [`crate::turn`], which asks nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use plugin::{Call, Failure, OnFailure, Plugin, Reply};

use crate::ledger::Later;

/// Somebody who is asked about messages: a [`Plugin`], or what stands for one in a test.
pub trait Handler: Send + Sync + 'static {
    /// The operator's name for it.
    fn name(&self) -> &str;
    /// Goes into stamps.
    fn version(&self) -> &str;
    /// What its failure means for a message.
    fn on_failure(&self) -> OnFailure;
    /// Asks it about a message. Dropping the future ends the call.
    fn on_message(&self, call: Call) -> Later<'_, Result<Reply, Failure>>;
}

impl Handler for Plugin {
    fn name(&self) -> &str {
        Self::name(self)
    }

    fn version(&self) -> &str {
        Self::version(self)
    }

    fn on_failure(&self) -> OnFailure {
        Self::on_failure(self)
    }

    fn on_message(&self, call: Call) -> Later<'_, Result<Reply, Failure>> {
        Box::pin(Self::on_message(self, call))
    }
}

/// Handlers in the order in which they are asked. May be empty: then everything passes.
#[derive(Clone, Default)]
pub struct Chain {
    handlers: Vec<Arc<dyn Handler>>,
}

impl Chain {
    /// These, in this order.
    pub fn new(handlers: Vec<Arc<dyn Handler>>) -> Self {
        Self { handlers }
    }

    /// In their order.
    pub(crate) fn handlers(&self) -> impl Iterator<Item = &dyn Handler> {
        self.handlers.iter().map(AsRef::as_ref)
    }

    /// Names and versions.
    pub(crate) fn versions(&self) -> BTreeMap<String, String> {
        self.handlers()
            .map(|handler| (handler.name().to_owned(), handler.version().to_owned()))
            .collect()
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Chain").field(&self.versions()).finish()
    }
}
