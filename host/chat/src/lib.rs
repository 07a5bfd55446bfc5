//! What becomes of a message: handlers, log, readers.
//!
//! [`Chats`] answers requests, on the node that leads the chat's partition; on any other it sends them
//! there. It stands on replication (through [`Ledger`]) and is its [`replication::Host`]: told which
//! partitions this node leads, in which epoch, and what is committed. For each of those epochs there is a
//! reign, for each chat of it a conversation with two folds of the log: what is *appended*, which handlers
//! and checks look at, and what is *committed*, which is all that anybody else is ever shown.
//!
//! A message takes its chat's turn, its key is looked up, the chat is asked whether it may, the handlers
//! are asked one by one, and what they decided becomes one entry. The turn ends when the entry is
//! submitted: the next handlers run while it is replicated. An answer that rests on the appended fold and
//! is not itself an entry waits until what it saw is committed, so that nothing anybody was told can be
//! withdrawn.
//!
//! What a chat has to do by itself (a timer that is over, an event to be told) is a turn like any other, which
//! the node that leads it plays without being asked.
//!
//! What is known of people and not written (who was heard, types, has read) is in the memory of the node that
//! leads the chat, and begins anew with whoever leads it next.

mod again;
mod agenda;
mod archives;
mod attaching;
mod chain;
mod chats;
mod collecting;
mod config;
mod conversation;
mod creating;
mod deadlines;
mod duty;
mod effects;
mod ephemera;
mod fingerprint;
mod fold;
mod forward;
mod history;
mod keeper;
mod keeping;
mod ledger;
mod life;
mod loading;
mod lock;
mod members;
mod meters;
mod others;
mod owing;
mod past;
mod people;
mod places;
mod plan;
mod play;
mod ran;
mod reading;
mod record;
mod redacted;
mod redacting;
mod refusal;
mod reign;
mod replies;
mod request;
mod response;
mod routing;
mod sending;
mod shadow;
mod snapshot;
mod storing;
mod telling;
mod tending;
mod trimming;
mod turn;
mod twilio;
mod waiting;

pub use again::{Again, CallAgain, Outcome};
pub use archives::{Archives, NotArchived, OverChat, Pages};
pub use chain::{Chain, Handler, LiveChain, Needs};
pub use chats::{Chats, Readiness, RingMember, RingView};
pub use config::{Collect, Config, Sabotage, Trim};
pub use effects::SYSTEM;
pub use keeping::KeepConfig;
pub use ledger::{Later, Ledger};
pub use others::Others;
/// What a plugin is asked by telephone, for those who only ask chats.
pub use plugin::TwilioRequest;
pub use record::Record;
pub use refusal::{Code, Refusal, RequestOutcome};
pub use request::{CallContext, Naming, OutcallDone, Read, Redact, Request, Send, Telephone};
pub use response::{
    ChatView, Created, Durability, Owners, Page, Pending, People, Person, Pulse, PulseAt, Response,
    Sent, Stored,
};
pub use shadow::SAMPLE_ALL;
