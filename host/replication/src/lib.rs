//! Epochs, quorums, take-over, catch-up; QUIC between nodes.

pub mod core;
