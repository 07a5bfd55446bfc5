//! Messages as they come, to whoever keeps a connection open.
//!
//! A stream is a reader who asks again: [`follow::Follower`] asks the chats for what comes after its
//! cursor and waits, like everybody who polls, so that a stream can promise what a poll promises and
//! survives whatever a poll survives (a take-over, a change of the ensemble, a node that is behind). What
//! is made of it is text: [`sse`] server-sent events, or the frames of a WebSocket ([`talk`], [`sayings`], [`frame`]), over which
//! messages are sent as well. One page is in memory for each stream, and the next
//! is asked for when the client has taken it: a slow client costs a page, and one that takes nothing
//! is ended by its socket.
//!
//! The same question brings what is not written: who types, how far others have read, who is there.

mod follow;
mod frame;
mod handshake;
mod meters;
mod sayings;
mod sse;
mod talk;
mod wire;
mod work;

pub(crate) use follow::Follower;
pub(crate) use handshake::accept;
pub(crate) use sse::{EVENT_STREAM, events};
pub(crate) use talk::Talk;
