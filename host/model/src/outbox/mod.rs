//! What a partition owes to application services: the entries about it, and the fold of them.
//!
//! Which events concern a service is a pure function of the log: a `service` entry says from where on
//! and of which kinds, and every message after it counts or does not. What was sent together, what was
//! done with and what was put aside is said by entries too. So every node that folds the same log knows
//! the same of it, and whoever leads next goes on where the one before was.
//!
//! No event is kept here, only where it stands in the log.

mod entry;
mod fold;
mod lane;

pub use entry::{
    Dialect, EventPlace, FrozenId, InvalidDialect, OUTBOX, OutboxChange, OutboxEntry, Part,
    ServiceRecord, StrangeOutbox, is_outbox,
};
pub use fold::{Booked, Outbox};
pub use lane::{Dead, Frozen, Lane};
