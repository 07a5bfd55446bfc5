//! What goes in and comes out as JSON.
//!
//! The structs are read, written and documented: the OpenAPI document is made from the very types. Fields
//! without a value are left out on the way out; unknown ones are refused on the way in.

mod answers;
mod export;
mod message;
mod objects;
mod questions;
mod signs;

pub(crate) use answers::{
    ArchiveShape, ChatShape, CreatedShape, EndedShape, HealthyShape, HeldShape, JoinedShape,
    OwnersShape, ReadyShape, RingShape, Shown,
};
pub use export::{head_line, message_line};
pub(crate) use message::{GapShape, MessageShape, PageShape, RedactedShape, RouteShape, SentShape};
pub(crate) use objects::{CollectionShape, ListingShape, NewCollection, StoredShape, VersionShape};
pub(crate) use questions::{
    Ending, NewBody, NewChat, NewMember, NewMessage, NewReference, Redacting,
};
pub(crate) use signs::{NewMark, NewTyping, PeopleShape, ReadShape, TypingShape};
