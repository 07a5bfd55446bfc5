//! Epochs, quorums, take-over, catch-up; QUIC between nodes.

pub mod core;
mod handle;

pub use handle::{Answering, ForwardError, Host, Replication, RingMember, RingView, Submission};
pub use wire::{NotRun, RequestHead};
