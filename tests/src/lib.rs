//! The harness: what tests of more than one crate share.

#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "this is only used by tests, where a panic is how a failure is told"
)]

mod ambush;
mod artefacts;
mod browser;
pub mod carillon;
mod cluster;
pub mod ensemble;
mod events;
mod expiry;
pub mod figures;
pub mod guests;
pub mod history;
mod http;
pub mod python;
mod receiver;
mod skip;
mod socket;
pub mod twilio;
pub mod versions;
mod wait;

pub use ambush::Ambush;
pub use artefacts::{binary, component};
pub use browser::{Browser, Window};
pub use cluster::{Cluster, shipped};
pub use events::Events;
pub use expiry::expire_session;
pub use http::{Answer, Http, texts};
pub use receiver::{HANGS, Received, Receiver};
pub use skip::{skipped, without};
pub use socket::Socket;
pub use wait::{Deadline, eventually, until};
