//! The shipped plugin `voice`: who calls takes part in the chat by telephone.
//!
//! Where one may be in the chat the caller is recorded, where more may be they meet in a conference that is named like the
//! chat and recorded too; at the end they are thanked. What is known of the calls and conferences is kept with the
//! chat, in its attributes `twilio_data` …: [`calls`] says how. [`decide()`] decides; `guest` is what a component needs beside it.

pub mod calls;
mod decide;
mod rules;

#[cfg(target_family = "wasm")]
mod bindings;
#[cfg(target_family = "wasm")]
mod guest;

pub use decide::{Asked, Chat, Decision, NotAnswered, Step, decide};
pub use rules::{THANKS, check};
