//! Objects on nodes of one process, real QUIC, real files and the embedded registry.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends where a step fails"
)]

mod cleared;
mod compared;
mod listed;
mod lost;
mod memory;
mod mended;
mod moved;
mod objects;
mod schedules;
mod stalled;
mod support;
mod versions;
#[expect(unreachable_pub, reason = "shared with other crates")]
#[expect(dead_code, reason = "not everybody needs all of it")]
#[path = "../../../../tests/src/wait.rs"]
mod wait;
