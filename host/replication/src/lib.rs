//! Epochs, quorums, take-over, catch-up; QUIC between nodes.
//!
//! The rules are in [`core`], a pure state machine that is told what happened and asked what to do.
//! Everything else here is its driver: one task that owns the core ([`Driver`]), the connections to
//! other nodes that bring it messages, and the registry that says who they are. The floors above hold a
//! [`Replication`] and are told what becomes of their partitions through a [`Host`].

#![forbid(unsafe_code)]

pub mod core;

mod config;
mod ending;
mod evidence;
mod handle;
mod start;
mod trimming;

mod bases;
mod driver;
mod inbox;
mod links;
mod reads;
mod registrar;
mod scrub;

mod follow;
mod foreign;
mod founding;
mod membership;
mod wanted;

mod authority;
mod dialler;
mod distrust;
mod forward;
mod greeting;
mod incoming;
mod listener;
mod outgoing;
mod peer;
mod peers;
mod stream;
mod tls;
mod transport;
mod trust;

mod floor;
mod metric;
#[cfg(test)]
mod tests;

pub use authority::{AUTHORITY_DAYS, Authority, NODE_DAYS};
pub use config::{BUILD, Config, ENTRY_BYTES_MAX, Parts};
pub use ending::Failure;
pub use floor::{FloorError, floor_quic};
pub use founding::{NotFounded, Remains, found, lasting};
pub use handle::{Answering, ForwardError, Host, Replication, RingMember, RingView, Submission};
pub use inbox::Notices;
pub use membership::{enlist, set_leaving};
pub use start::{Driver, StartError, bind, host};
pub use stream::{Carried, Receiving, Sending, Stream, StreamEnded, Streaming};
pub use tls::{Credentials, Pem, TlsError};
pub use transport::EndpointError;
pub use trimming::Anew;
pub use wire::limits::ANSWER_BYTES_MAX;
pub use wire::{NotRun, RequestHead};
