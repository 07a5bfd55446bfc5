//! What clients did and were told, and whether any correct cluster could have told them that.
//!
//! A history is a list of [`Operation`]s, each with the moments of its begin and end on one clock that
//! never steps. Simulations make it in memory, clients of real processes append it to a file each, one
//! JSON object a line ([`Writer`], [`load`]). [`check()`] judges it; it knows nothing of nodes, so that its
//! own tests can show it histories that no correct cluster makes. What the nodes themselves noted, where
//! they note anything, is judged by [`check_traces`].
//!
//! Cursors are opaque to clients, who may only compare them for equality. A test may look inside:
//! `model::Cursor` reads the text that a node gave out, and its two numbers are the epoch of the entry and
//! the number of the message in its chat. The partition of a message is the first byte of its id.
//!
//! What a history must be, so that its verdicts mean something:
//!
//! - bodies are unique in a chat: a [`Content`] was sent under one key only (trying again is the same
//!   content under the same key, and an operation of its own),
//! - everything is routed to everyone and handlers rewrite and add nothing, so that a reader sees all,
//! - a client presents as `seen` only cursors of committed state, not of answers that are only local,
//! - after the last accident every chat is read to its end from every member ([`Survey`]).

mod check;
mod operation;
mod text;
mod written;

#[cfg(test)]
mod tests;

pub use check::{Counts, Finding, Report, Trace, Verdict, check, check_traces};
pub use operation::{
    Act, Content, Durability, Operation, Outcome, Page, Reading, Seen, Sending, Stored, Survey,
};
pub use written::{Writer, load};
