//! What authors of plugins work with: begin one, build it, test it, look at it.
//!
//! A [`Project`] is an author's folder. [`build()`] makes one file of it with its language's own tools. A
//! [`Bench`] plays [`Fixture`]s with that file: on the host that nodes use, under the rules that nodes
//! decide by, on a log in memory; so what a test shows is what a node does. Nothing here needs a node or a
//! network. What is printed is the command line's part.

mod asked;
mod bless;
pub mod build;
mod expect;
mod files;
mod fixture;
mod inspect;
mod language;
mod ledger;
mod play;
mod project;
mod recorder;
mod replay;
mod script;
mod seen;
mod suite;
mod template;
mod trouble;
mod workshop;

pub use asked::{ReplyWritten, StatsWritten, TwilioWritten};
pub use bless::bless;
pub use build::{Built, build};
pub use fixture::{ChatBefore, Expect, Fixture, Member, RouteWritten, Step, fixtures};
pub use inspect::{Import, Inspected, inspect};
pub use language::Language;
pub use play::{Bench, Options, Played};
pub use project::{MANIFEST, Project};
pub use recorder::Fault;
pub use replay::replay;
pub use seen::Seen;
pub use suite::{Outcome, StepOutcome, run};
pub use template::begin;
pub use trouble::Trouble;
pub use workshop::{Changed, Round, Sources, Workshop};
