//! In which order they stand: the same for everyone, without gaps, and as real time had it.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::Chat;
use super::reached::Reached;
use super::{Report, Verdict};
use crate::history::{Content, Seen};

pub(super) fn check(chat: &Chat<'_>, report: &mut Report) {
    one_to_one(chat, report);
    without_gaps(chat, report);
    in_real_time(chat, report);
}

/// A place has one message, a message one place, an id one message: over everything that was ever seen.
fn one_to_one(chat: &Chat<'_>, report: &mut Report) {
    let token = chat.token;
    let (mut places, mut contents, mut ids) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut told = BTreeSet::new();
    for seen in chat.observations() {
        let at_place = *places.entry(seen.cursor.seq).or_insert(seen);
        let mut differ = |verdict, first: Seen, name: u128| {
            if first != seen && told.insert((verdict, name)) {
                report.find(verdict, || format!("{token}: {first} and {seen}"));
            }
        };
        if at_place.content != seen.content || at_place.id != seen.id {
            differ(Verdict::Forked, at_place, u128::from(seen.cursor.seq));
        }
        let of_content = *contents.entry(seen.content).or_insert(seen);
        if (of_content.cursor, of_content.id) != (seen.cursor, seen.id) {
            differ(Verdict::Duplicate, of_content, u128::from(seen.content.0));
        }
        let of_id = *ids.entry(seen.id).or_insert(seen);
        if of_id.content != seen.content {
            differ(Verdict::Duplicate, of_id, u128::from_le_bytes(seen.id.0));
        }
    }
}

/// Visible numbers are 1, 2, 3 …, on each page from where it was asked for, and epochs never fall.
fn without_gaps(chat: &Chat<'_>, report: &mut Report) {
    let token = chat.token;
    for survey in &chat.surveys {
        if let Some(gap) = gap(0, &survey.messages) {
            report.find(Verdict::Gap, || format!("{token}: {}: {gap}", survey.node));
        }
        if let Some(pair) = falls(&survey.messages) {
            report.find(Verdict::Inverted, || format!("{token}: {}: {pair}", survey.node));
        }
    }
    for shown in &chat.pages {
        let (page, after) = (shown.page, shown.reading.after.unwrap_or_default());
        if let Some(gap) = gap(after.seq, &page.messages) {
            report.find(Verdict::Gap, || format!("{token}: page after {after}: {gap}"));
        }
        if page.messages.is_empty() && page.head.seq > after.seq {
            let head = page.head;
            report.find(Verdict::Gap, || format!("{token}: nothing after {after} up to {head}"));
        }
        if let Some(pair) = falls(&page.messages) {
            report.find(Verdict::Inverted, || format!("{token}: page after {after}: {pair}"));
        }
    }
}

fn gap(after: u64, messages: &[Seen]) -> Option<String> {
    let mut numbered = (after + 1..).zip(messages);
    let (wanted, seen) = numbered.find(|(wanted, seen)| seen.cursor.seq != *wanted)?;
    Some(format!("{seen} where number {wanted} should be"))
}

fn falls(messages: &[Seen]) -> Option<String> {
    let pairs = messages.windows(2);
    let mut falls = pairs.filter(|pair| pair[0].cursor.epoch > pair[1].cursor.epoch);
    falls.next().map(|pair| format!("{} before {}", pair[0], pair[1]))
}

/// What ended before a send began stands before it, and no read before it saw as far.
fn in_real_time(chat: &Chat<'_>, report: &mut Report) {
    let places: BTreeMap<Content, u64> =
        chat.places().into_iter().map(|(content, cursor)| (content, cursor.seq)).collect();
    let acked = chat
        .tried
        .iter()
        .filter_map(|(content, tried)| Some((tried.acked?, places.get(content).copied()?)));
    let heads = chat.pages.iter().map(|shown| (shown.ended, shown.page.head.seq));
    let reached = Reached::new(acked.chain(heads));
    for (content, tried) in &chat.tried {
        let Some(seq) = places.get(content) else { continue };
        if let Some(before) = reached.before(tried.begun).filter(|before| before >= seq) {
            let (token, key) = (chat.token, tried.key);
            report.find(Verdict::Inverted, || {
                format!("{token}: {key} is number {seq}, and {before} was there before it was sent")
            });
        }
    }
}
