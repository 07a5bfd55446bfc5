//! Frames between nodes and their codec.
//!
//! Pure: bytes in, values out. A connection begins with one [`Hello`] each way; then each stream
//! carries frames of one purpose. Every length is checked before memory is set aside, and no bytes a
//! peer can send end in a panic: they end in an [`Error`], and the stream's reader closes the
//! connection. `docs/formats.md` has the bytes.

pub mod codec;
mod error;
mod frame;
mod hello;
pub mod limits;
mod message;
mod request;

pub use error::Error;
pub use frame::{Frame, Frames, Kind, VERSION};
pub use hello::{Hello, PROTOCOL, Reason, Refusal};
pub use message::{
    Ack, Append, Base, BaseHave, Beat, BeatAnswer, Chain, End, Entry, Fetch, Fetched, HandOver,
    HandOverAnswer, Lead, Look, Looked, Message, PreVote, PreVoteAnswer, PreVoteAsk, Promised,
    Refuse, RefuseWhy, Seal, SealAnswer, Sealed, Vote,
};
pub use request::{NotRun, RequestHead};
