//! What is left of a connection for an endpoint whose answer goes on.
//!
//! A connection counts as long as somebody speaks over it, also when HTTP is done with it: whoever goes
//! on keeps a clone of this, and the connection's place among those that may be open goes with the last.

use std::sync::Arc;

use runtime::{Stop, Tasks};
use tokio::sync::OwnedSemaphorePermit;

use crate::crowd::Place;

/// A connection's place, what ends it, and where work for it may run.
#[derive(Clone, Debug)]
pub(crate) struct Connected {
    /// Only held.
    _places: Arc<(OwnedSemaphorePermit, Place)>,
    draining: Stop,
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
        Self { _places: Arc::new((slot, place)), draining, tasks }
    }

    /// Given when the listener closes: say goodbye and end.
    pub(crate) fn draining(&self) -> &Stop {
        &self.draining
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
