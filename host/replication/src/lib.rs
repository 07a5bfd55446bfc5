//! Epochs, quorums, take-over, catch-up; QUIC between nodes.
