//! Which messages there are: nothing lost, nothing invented, nothing twice.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::Chat;
use super::{Report, Verdict};
use crate::history::{Content, Seen};

pub(super) fn check(chat: &Chat<'_>, report: &mut Report) {
    let token = chat.token;
    let Some(first) = chat.surveys.first() else {
        return report.find(Verdict::Unread, || token.to_string());
    };
    for other in &chat.surveys {
        if let Some(difference) = difference(&first.messages, &other.messages) {
            let nodes = format!("{} and {}", first.node, other.node);
            report.find(Verdict::Diverged, || format!("{token}: {nodes}: {difference}"));
        }
    }
    let surveys: Vec<BTreeSet<Content>> = chat
        .surveys
        .iter()
        .map(|survey| survey.messages.iter().map(|seen| seen.content).collect())
        .collect();
    let everywhere = |content| surveys.iter().all(|survey| survey.contains(&content));
    report.counts.messages += first.messages.len() as u64;
    for (content, tried) in &chat.tried {
        let there = everywhere(*content);
        if let (Some(at), false) = (tried.acked, there) {
            let key = tried.key;
            report.find(Verdict::Lost, || format!("{token}: {key}, acknowledged at {at}"));
        } else if there && tried.stored.is_empty() {
            report.counts.recovered += u64::from(tried.possible);
        } else if !there && !tried.stored.is_empty() {
            report.counts.local_lost += 1;
        }
    }
    phantoms(chat, everywhere, report);
    keys(chat, report);
}

fn difference(one: &[Seen], other: &[Seen]) -> Option<String> {
    let at = one.iter().zip(other).position(|(one, other)| one != other);
    match at {
        Some(at) => {
            let text = |side: &[Seen]| side.get(at).map(ToString::to_string);
            Some(format!("{:?} and {:?}", text(one), text(other)))
        }
        None if one.len() != other.len() => Some(format!("{} and {}", one.len(), other.len())),
        None => None,
    }
}

/// What was shown was sent, could have been stored, and is still there.
fn phantoms(chat: &Chat<'_>, everywhere: impl Fn(Content) -> bool, report: &mut Report) {
    let token = chat.token;
    let contents: BTreeMap<Content, Seen> = chat.read().map(|seen| (seen.content, seen)).collect();
    for (content, seen) in contents {
        match chat.tried.get(&content) {
            None => report.find(Verdict::Phantom, || format!("{token}: {seen} was never sent")),
            Some(tried) if !tried.possible => {
                report.find(Verdict::RefusedRead, || format!("{token}: {seen}, {}", tried.key));
            }
            Some(_) => {}
        }
        if !everywhere(content) {
            report.find(Verdict::Phantom, || format!("{token}: {seen} was shown and is gone"));
        }
    }
    for shown in &chat.pages {
        for seen in &shown.page.messages {
            let sent = chat.tried.get(&seen.content).map(|tried| tried.begun);
            if sent.is_some_and(|begun| begun > shown.ended) {
                report.find(Verdict::Phantom, || format!("{token}: {seen} before it was sent"));
            }
        }
    }
}

/// One message a key, and one answer.
fn keys(chat: &Chat<'_>, report: &mut Report) {
    let token = chat.token;
    let read: BTreeSet<Content> = chat.read().map(|seen| seen.content).collect();
    let mut messages: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (content, tried) in &chat.tried {
        if read.contains(content) {
            *messages.entry((tried.sender, tried.key)).or_default() += 1;
        }
        let answers = tried.answers();
        if answers.len() > 1 {
            let key = tried.key;
            report.find(Verdict::KeySplit, || format!("{token}: {key} at {answers:?}"));
        }
    }
    for ((_, key), count) in messages {
        if count > 1 {
            report.find(Verdict::KeySplit, || format!("{token}: {key} has {count} messages"));
        }
    }
}
