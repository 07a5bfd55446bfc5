//! Brings committed events to application services.
//!
//! For each service of this node's configuration there is one task (`running`) with one
//! [`transaction::Engine`], which decides; what it decides is done here: events are read from the log,
//! frozen by an entry of it, written out, sent, and what became of them is said by an entry again
//! (`working`). It works in the partitions that this node leads and only there; who leads next goes on where
//! the log says that this one was.
//!
//! No event waits in memory: what is to be sent is read from the log when it is sent, and forgotten then. It
//! stands on the log and on HTTP through two traits, [`Desk`] and [`Courier`].
//!
//! Calls that plugins ask for are made by the same task (`calls`), and their answers given to the chats. Those to a
//! service that has no task here end unanswered (`unserved`).
//!
//! A service is one thing for the cluster. What it is, and that it is stopped, stands in the registry (`agreed`,
//! `agreeing`, `obeying`): no node sends before it knows that. Where its transactions follow one another, a node sends
//! while it has the turn (`turning`). Since when it is down, and how far the waits are, outlives the nodes there too
//! (`outage`), and how a lane fails by itself its leaders (`series`). What is wanted of it on one node is wanted on all, and
//! what one node finds out is told to the others (`everywhere`). A node that goes finishes what it has begun (`draining`).

mod agreed;
mod agreeing;
mod attempts;
mod bell;
mod calls;
mod config;
mod courier;
mod delivering;
mod desk;
mod draining;
mod everywhere;
mod hook;
mod keeping;
mod lagging;
mod meters;
mod obeying;
mod outage;
mod question;
mod reading;
mod running;
mod series;
mod services;
mod turning;
mod unserved;
mod view;
mod working;

pub use agreed::Order;
pub use attempts::AttemptRecord;
pub use config::ServiceConfig;
pub use courier::Courier;
pub use desk::{Access, Call, Desk, Later, Reply};
pub use everywhere::{Gathered, Heard};
pub use hook::{Hook, Point, Says};
pub use keeping::Keep;
pub use question::is_question;
pub use services::{LETTERS_MAX, Services, Unknown, WishError};
pub use view::{Condition, DeadLetter, Letter, ServiceView};
