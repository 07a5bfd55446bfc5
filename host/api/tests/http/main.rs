//! The whole HTTP surface over real sockets, asking somebody who pretends to be the chats.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test ends where a step fails"
)]

mod answers;
mod auth;
mod bad_input;
mod bounds;
mod desk;
mod flow;
mod objects;
mod operators;
mod pages;
mod refused_objects;
mod services;
mod shelf;
mod signs;
mod sockets;
mod streams;
mod support;
mod tokens;
mod twilio;
