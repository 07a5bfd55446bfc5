//! Brings committed events to application services.
//!
//! For each service of this node's configuration there is one task ([`running`]) with one
//! [`transaction::Engine`], which decides; what it decides is done here: events are read from the log,
//! frozen by an entry of it, written out, sent, and what became of them is said by an entry again
//! ([`working`]). It works in the partitions that this node leads and only there; who leads next goes on where
//! the log says that this one was.
//!
//! No event waits in memory: what is to be sent is read from the log when it is sent, and forgotten then. It
//! stands on the log and on HTTP through two traits, [`Desk`] and [`Courier`].

mod attempts;
mod bell;
mod config;
mod courier;
mod desk;
mod meters;
mod reading;
mod running;
mod services;
mod working;

pub use attempts::AttemptRecord;
pub use config::ServiceConfig;
pub use courier::Courier;
pub use desk::{Desk, Later};
pub use services::{DeadLetter, LETTERS_MAX, ServiceView, Services, Unknown};
