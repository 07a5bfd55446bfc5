//! The judge of a history.
//!
//! Everything is a question about one chat, but for acknowledgements of an epoch that was over, which is
//! a question about a partition. Each file asks one kind; [`Verdict`] says what the answers can be.

mod confirmed;
mod facts;
mod fence;
mod order;
mod reached;
mod report;
mod session;
mod set;
mod trace;

pub use report::{Counts, Finding, Report, Verdict};
pub use trace::{Trace, check_traces};

use super::Operation;
use facts::Facts;

/// Judges a history. The order of its operations does not matter.
pub fn check(history: &[Operation]) -> Report {
    let mut report = Report::default();
    report.counts.count(history);
    let facts = Facts::gather(history, &mut report);
    for chat in facts.chats.values() {
        set::check(chat, &mut report);
        order::check(chat, &mut report);
        session::check(chat, &mut report);
        confirmed::check(chat, &mut report);
    }
    fence::check(&facts, &mut report);
    report
}
