//! The shipped plugin `sms`: who texts takes part in the chat by telephone.
//!
//! A text message becomes a message of the chat, with the number as its attribute `from`. What others said since the
//! same number wrote last goes back with the answer, a text each: whoever has only a telephone hears of the chat when they
//! write. How far each number was answered is kept under `seen/NUMBER`. [`decide()`] and [`replies()`] decide; `guest` is
//! what a component needs beside them.

mod decide;
mod replies;
mod rules;

#[cfg(target_family = "wasm")]
mod bindings;
#[cfg(target_family = "wasm")]
mod guest;

pub use decide::{Asked, NotAnswered, Post, decide};
pub use replies::{Earlier, Place, Route, replies};
pub use rules::{OVER, check};
