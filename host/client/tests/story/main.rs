//! What the client does when nodes answer, fail, break off or are not there.

#![expect(clippy::unwrap_used, reason = "a test ends where a step fails")]

mod connections;
mod objects;
mod places;
mod requests;
mod server;
