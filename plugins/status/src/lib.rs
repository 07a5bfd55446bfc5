//! The shipped plugin `status`: messages that change how a chat or a member stands.
//!
//! - `chat.status`, `{"status": "started"|"ended"}`: pending becomes started, started becomes ended.
//!   Anything else is rejected as `illegal-transition`: a state that does not change is not announced.
//! - `user.status`, `{"user": …, "status": "connected"|"disconnected"|"unavailable", "first_name"?,
//!   "participant"?}`: about the sender; only `system` speaks for others.
//! - `member.join` of somebody who is still in the chat and was not connected: they are again.
//!
//! Everything else passes. [`read`] tells what a message asks, [`changes`] decides what it changes; both
//! are plain functions, and `guest` is what a component needs beside them.

mod change;
mod request;

#[cfg(target_family = "wasm")]
mod bindings;
#[cfg(target_family = "wasm")]
mod guest;

pub use change::{Change, Member, Now, Status, changes};
pub use request::{Message, Refusal, Request, read};
