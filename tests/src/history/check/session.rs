//! What a client had seen before: no answer goes back behind it.

use super::facts::Chat;
use super::{Report, Verdict};

pub(super) fn check(chat: &Chat<'_>, report: &mut Report) {
    let token = chat.token;
    for shown in &chat.pages {
        let (reading, page, client) = (shown.reading, shown.page, shown.client);
        let seen = reading.after.max(reading.seen).unwrap_or_default();
        if page.head.seq < seen.seq || page.head.epoch < seen.epoch {
            let head = page.head;
            report.find(Verdict::Session, || {
                format!("{token}: client {client} had seen {seen} and was shown {head}")
            });
        }
        let last = page.messages.last().map(|seen| seen.cursor);
        if last.is_some_and(|last| last.seq > page.head.seq) {
            let head = page.head;
            report.find(Verdict::Session, || format!("{token}: {last:?} is behind head {head}"));
        }
    }
}
