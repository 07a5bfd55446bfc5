//! The shipped plugin `moderation`: words that nobody may say, and strikes for those who do.
//!
//! A message with such a word is rejected as `forbidden-word`, its sender has a strike more and gets a
//! warning that only they see. After the last strike the sender is removed (disconnected, and refused as
//! `removed` from then on, also when they join again), or the chat ends: the operator chooses.
//!
//! Strikes are kept with the chat under `strikes/SENDER`, in decimal. [`Rules`] are the configuration,
//! [`words`] finds, [`judge()`] decides; `guest` is what a component needs beside them.

mod judge;
mod rules;
pub mod words;

#[cfg(target_family = "wasm")]
mod bindings;
#[cfg(target_family = "wasm")]
mod guest;

pub use judge::{Judgement, Penalty, judge, removed};
pub use rules::{LastStrike, Rules, check};
