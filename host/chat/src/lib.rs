//! What becomes of a message: handlers, log, readers.

mod chats;
mod refusal;
mod request;
mod response;

pub use chats::{Chats, Readiness, RingMember, RingView};
pub use refusal::{Code, Refusal, RequestOutcome};
pub use request::{CallContext, Read, Request, Send};
pub use response::{ChatView, Created, Durability, Owners, Page, Response, Sent, Stored};
