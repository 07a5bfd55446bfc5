//! What is left of a connection for an endpoint whose answer goes on.
//!
//! A connection counts as long as somebody speaks over it, also when HTTP is done with it: whoever goes
//! on keeps a clone of this, and the connection's place among those that may be open goes with the last.

use std::sync::Arc;

use runtime::{Stop, Tasks};
use tokio::sync::OwnedSemaphorePermit;

use crate::crowd::Place;
use crate::socket::Stalled;

/// A connection's place, what ends it, and where work for it may run.
#[derive(Clone, Debug)]
pub(crate) struct Connected {
    /// Only held.
    _places: Arc<(OwnedSemaphorePermit, Place)>,
    /// Another for every connection.
    number: u64,
    draining: Stop,
    stalled: Stalled,
    tasks: Tasks,
}

impl Connected {
    /// Holds these places until the last clone is dropped.
    pub(crate) fn new(
        slot: OwnedSemaphorePermit,
        place: Place,
        draining: Stop,
        tasks: Tasks,
    ) -> Self {
        let stalled = Stalled::default();
        // 0 is no connection's.
        let number = rand::random::<u64>().max(1);
        Self { _places: Arc::new((slot, place)), number, draining, stalled, tasks }
    }

    /// Given when the listener closes: say goodbye and end.
    pub(crate) fn draining(&self) -> &Stop {
        &self.draining
    }

    /// What tells it from all others.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Whether its client took nothing for too long.
    pub(crate) fn stalled(&self) -> &Stalled {
        &self.stalled
    }

    /// The listener's tasks.
    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Given when the node ends, whatever is under way.
    pub(crate) fn stop(&self) -> &Stop {
        self.tasks.stop()
    }
}
