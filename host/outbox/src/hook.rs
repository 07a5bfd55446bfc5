//! What a test ends a node with, between any two steps of a transaction.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hashring::NodeId;
use model::OutboxChange;

/// Called at each [`Point`], and waited for. No node of an operator has one.
#[derive(Clone)]
pub struct Hook(Arc<Hooked>);

type Hooked = dyn Fn(&NodeId, Point) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// Between which steps a node may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// An entry is about to be appended.
    Appending(Says),
    /// It is appended, and this node does not know whether it is committed.
    Appended(Says),
    /// It is committed, and nothing came of it yet.
    Committed(Says),
    /// A transaction is about to be sent.
    Sending,
    /// It was looked whether it may be, and the next thing is its first byte.
    Allowed,
    /// It was answered, and nobody knows that yet.
    Answered,
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// What concerns a service.
    Described,
    /// That events are sent together.
    Frozen,
    /// How a transaction ended.
    Settled,
    /// Something else.
    Other,
}

impl Hook {
    /// This one.
    pub fn new<F>(hook: impl Fn(&NodeId, Point) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self(Arc::new(move |node, point| Box::pin(hook(node, point))))
    }

    pub(crate) async fn reached(&self, node: &NodeId, point: Point) {
        (self.0)(node, point).await;
    }
}

impl Says {
    /// The last of what it says: how a transaction ended rides with the next one.
    pub(crate) fn of(changes: &[OutboxChange]) -> Self {
        match changes.last() {
            Some(OutboxChange::Service { .. }) => Self::Described,
            Some(OutboxChange::Cut { .. }) => Self::Frozen,
            Some(OutboxChange::Settle { .. }) => Self::Settled,
            _ => Self::Other,
        }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").finish_non_exhaustive()
    }
}
