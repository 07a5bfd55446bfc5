//! Transactions: events reach application services, in order, at least once, whatever happens.
//!
//! A transaction is a list of events with an id, frozen by an entry of the partition's log before it is
//! first tried. Its bytes are made again for each attempt from the events it names, so that the same id
//! never carries other bytes, whichever node sends it.
//!
//! Two halves live here. The rules are pure: when something is tried again, what is cut together, what
//! a lane does next, whether a service is tried at all ([`Engine`]), and whose turn it is ([`Turn`]). The other half knows HTTP: what is sent,
//! to which addresses, and what an answer means.
//!
//! **What is sent** ([`render`]) is a pure function of events, dialect, version of the writing, and the
//! cluster's name. The hash of a transaction covers just that. A signature or a token (`credential`) is put
//! beside it for each attempt, and the URL is the one that the node is configured with at that moment.
//!
//! **To where.** A service is a stranger, also one's own: its name may come to mean another machine, it may
//! answer with a redirect, and it may do both to make a node call what only a node can reach. So every
//! connection is checked at the address that it is about to be made to ([`address`]), redirects are answers like any
//! other, and a certificate is always verified. What is not public is called when the operator has named it.
//!
//! **How long.** Connecting, waiting for the headers and reading the body each have their time, and all
//! of it together ([`Times`]). Once the headers are there the status counts: a service that has said 200 and then
//! dribbles has taken its events. Of the body 64 KiB are read, for the events it could not take.
//!
//! Nothing runs in the background: an attempt is a future, a connection is moved by the attempt that waits
//! for it, and what rests between attempts is bounded.

mod batch;
mod cut;
mod engine;
mod lane;
mod schedule;
mod service;
mod state;
mod turn;

pub mod address;
mod answer;
mod attempt;
mod credential;
mod dial;
mod dialect;
mod event;
mod instances;
mod outcall;
mod resolver;
mod resting;
mod sender;
mod service_url;
mod trust;
mod wire;

pub use answer::RETRY_AFTER_MAX;
pub use attempt::{Attempt, Outcome, Secret, Target};
pub use batch::{BatchLimits, EVENTS_MAX};
pub use credential::{InvalidSecret, check as check_secret, mark};
pub use cut::{Cutting, Found};
pub use dialect::{VERSION, ping, render};
pub use engine::{Engine, EngineConfig, Failing, Step, Told, Tried};
pub use event::{Event, Names, Rendered, TransactionId};
pub use instances::Instances;
pub use lane::{After, Owed, Piece, ROUNDS_MAX, SETTLE_AFTER, Series, Settlement, Verdict, after};
pub use model::{Dialect, InvalidDialect};
pub use outcall::render_outcall;
pub use resolver::{Resolve, Resolving, SystemResolver};
pub use schedule::{Retry, Schedule};
pub use sender::{Sender, SenderConfig, Times};
pub use service::{PARKED_IN_A_ROW, Service};
pub use service_url::{InvalidUrl, ServiceUrl};
pub use state::{Cause, Ended, State};
pub use trust::TrustError;
pub use turn::{TURN, TURN_LEFT, Turn, TurnRecord, TurnSeen, TurnStep};
