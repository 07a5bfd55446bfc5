//! Wasm components as handlers of a chat.
//!
//! A [`Host`] turns bytes into a [`Plugin`]: it reads the manifest, refuses imports that nobody
//! granted, compiles (or takes the compiled form from an authenticated cache), loads every export once
//! and has the guest check its own configuration. A [`Plugin`] then answers [`Call`]s. Every call runs
//! in a store of its own that is dropped afterwards, under limits of fuel, time and memory; whatever the
//! guest does ends as a [`Reply`] or a [`Failure`], never as a panic. What it asked for comes back as a
//! list of effects: committing them is the caller's part, as is the order of the chain and what a
//! failure means for a message.

mod aloud;
mod bindings;
mod breaker;
mod buffer;
mod cache;
mod call;
mod calling;
mod check;
mod comparison;
mod compiler;
mod component;
mod convert;
mod effect;
mod engine;
mod exports;
mod failure;
mod grant;
mod host;
mod imports;
mod journal;
mod kind;
mod limits;
mod line;
mod manifest;
mod measure;
mod outcome;
mod policy;
mod powers;
mod reply;
mod self_test;
mod series;
mod state;
mod tally;
mod twilio;
mod twiml;
mod units;
mod wasi;
mod watch;
mod xml;

pub use breaker::{BreakerRule, BreakerState};
pub use call::{Call, CallbackReply, Context, Earlier, Event, Ids, Later, Notes, Past, Said};
pub use comparison::{About, Comparison, EXAMPLES_MAX, Example, Pair};
pub use compiler::{CompileLimits, Compiler, CompilerProgram, compile_child};
pub use component::Plugin;
pub use effect::{Draft, Effect};
pub use failure::{Failure, LoadError, Problem, RefusedImport};
pub use grant::{Grant, HistoryGrant, KvGrant};
pub use host::{Host, HostConfig, HostError, Loading, Spec, digest};
pub use imports::Standing;
pub use journal::{ErrorEntry, Journal, LinesPage, LogLine, Subject};
pub use kind::Kind;
pub use limits::{Limits, LimitsWanted, OnFailure};
pub use manifest::{InvalidManifest, Manifest, SECTION, embed as pack};
pub use policy::{Durability, Plan, Stats};
pub use reply::{Answered, Reply, Verdict};
pub use tally::Tally;
pub use twilio::{Conference, Gather, Prompt, Recording, TwilioRequest, Verb};
pub use twiml::{TWIML_BYTES_MAX, check_twiml, twiml};
