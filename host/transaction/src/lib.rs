//! Transactions: events reach application services in order, at least once, whatever happens.
//!
//! A transaction is a list of events with an id, frozen by an entry of the partition's log before it is
//! first tried. Its bytes are made again for each attempt from the events it names, so that the same id
//! never carries other bytes, whichever node sends it.
//!
//! Two halves live here. The rules are pure: when something is tried again, what is cut together, what
//! a lane does next, whether a service is tried at all. The other half knows HTTP: what is sent, to
//! which addresses, and what an answer means.

pub mod address;
mod attempt;
mod event;

pub use attempt::{Attempt, Outcome, Secret, Target};
pub use event::{Dialect, Event, InvalidDialect, Names, Rendered, TransactionId};
