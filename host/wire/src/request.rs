//! A request that one node sends on to another, and why it was not run there.

use serde::{Deserialize, Serialize};

/// What stands before the request's own bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHead {
    /// How often it was sent on, this time included.
    pub hop: u8,
    /// How long the asker still waits. A duration, because the clocks of nodes differ.
    pub wait_ms: u32,
}

/// The request was not run: it may be sent elsewhere without harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotRun {
    /// The node is stopping.
    Stopping,
    /// It runs as many requests of other nodes as it may.
    Busy,
}
