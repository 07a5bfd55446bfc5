//! A ring-aware HTTP client with cursors and retry.
//!
//! [`Client`] is for programs: it knows which node leads a chat and who else holds it, sends under a key so
//! that trying again is safe, and carries how far it has seen so that changing nodes never takes it back. Below it are [`Connection`]s, one
//! request at a time each, kept open between requests, and [`Socket`]s; the load generator uses them directly. HTTP/1.1
//! without TLS: what terminates TLS stands in front of the nodes.
//!
//! Objects of the archive go in whole or in parts, each as often as it takes, and come out as a stream that goes on at the
//! next node where the last one broke.
//!
//! Nothing runs in the background: dropping a future drops its connection, and that is all.

mod archive;
mod bearer;
mod bulk;
mod call;
mod client;
mod connection;
mod error;
mod floor;
mod nodes;
mod object;
mod path;
mod pool;
mod seen;
mod shape;
mod socket;
mod tail;
mod target;
mod tries;

pub use archive::{NewObject, Started};
pub use bearer::{Bearer, InvalidBearer};
pub use client::{Client, Options};
pub use connection::{Answer, Connection, write_request};
pub use error::{Archived, Error, Problem};
pub use floor::{HttpFloor, floor_http};
pub use object::{ObjectEntry, ObjectPage, Objects, ReadObject, StoredObject};
pub use shape::{
    Body, Chat, Created, Cursor, Ended, Message, NewChat, NewMessage, Owners, Page, Participant,
    ReadOptions, Reference, Ring, RingNode, RingPosition, Route, Sent, Stamp,
};
pub use socket::Socket;
pub use tail::Tail;
pub use target::{InvalidUrl, Target};
