//! The shipped plugin `archive`: what is kept of a chat that is over, and for how long.
//!
//! A chat in which something was said is archived when it ends, whoever or whatever ends it; how long it can still be
//! read as a chat is the operator's choice. [`Rules`] are the configuration, [`plan()`] decides; `guest` is what a
//! component needs beside them.

mod plan;
mod rules;

#[cfg(target_family = "wasm")]
mod bindings;
#[cfg(target_family = "wasm")]
mod guest;

pub use plan::{Plan, plan};
pub use rules::{Rules, Which, check};
