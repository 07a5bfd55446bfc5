//! Messages between nodes, and the frames that carry them. Pure: no socket, no clock.

mod message;

pub use message::{
    Ack, Append, Beat, BeatAnswer, Chain, End, Entry, Fetch, Fetched, HandOver, HandOverAnswer,
    Lead, Message, PreVote, PreVoteAnswer, PreVoteAsk, Promised, Refuse, RefuseWhy, Seal,
    SealAnswer, Sealed, Vote,
};
