//! The registry of a cluster: an Apache ZooKeeper ensemble.
//!
//! [`Link`] is one session as the rest of the node sees it, which outlives the ensemble's own: one task
//! connects, and connects anew when the ensemble has ended the session. What was put as ephemeral is put
//! again, and watches are set again and report everything below them as maybe changed, since nobody
//! knows what happened in between. A connection that is lost is not the end of a session: calls fail,
//! watches are late, and what was put stays as long as the ensemble waits.
//!
//! A write whose answer was lost may have happened, or may happen still; it is never sent again from
//! here. No call waits for longer than its deadline, and none waits for a connection that is known to
//! be away.

mod config;
mod keeper;
mod kept;
mod link;
mod owner;
mod problem;
mod tree;
mod watching;

pub use config::{Digest, ZooKeeperConfig};
pub(crate) use link::Link;
pub use problem::Problem;
