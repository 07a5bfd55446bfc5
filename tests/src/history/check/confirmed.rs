//! Confirmed reads: they see everything that was acknowledged, or shown, before they began.
//!
//! With order and real time of the sends checked elsewhere, this is all that is left of linearizability:
//! a log with unique values at places that the server names needs no search.

use super::facts::Chat;
use super::reached::Reached;
use super::{Report, Verdict};

pub(super) fn check(chat: &Chat<'_>, report: &mut Report) {
    let acked = chat.tried.values().flat_map(|tried| tried.quorum());
    let acked = acked.map(|(ended, stored)| (ended, stored.cursor.seq));
    let heads = chat.pages.iter().map(|shown| (shown.ended, shown.page.head.seq));
    let reached = Reached::new(acked.chain(heads));
    for shown in chat.pages.iter().filter(|shown| shown.reading.confirmed) {
        let head = shown.page.head.seq;
        if let Some(before) = reached.before(shown.begun).filter(|before| *before > head) {
            let (token, client) = (chat.token, shown.client);
            report.find(Verdict::Stale, || {
                format!("{token}: client {client} was shown {head} when {before} was there")
            });
        }
    }
}
