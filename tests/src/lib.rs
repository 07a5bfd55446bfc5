//! The harness: what tests of more than one crate share.

#![expect(
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "this is only used by tests, where a panic is how a failure is told"
)]

mod artefacts;
pub mod guests;
mod wait;

pub use artefacts::{binary, component};
pub use wait::{Deadline, eventually};
