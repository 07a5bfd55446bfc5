//! Epochs that are over: nothing that is sent after one was seen is acknowledged under an older one.
//!
//! This is what clients can see of it: an epoch that somebody was shown had been sealed and opened before.
//! What only the nodes know is [`super::check_traces`].

use std::collections::BTreeMap;

use super::facts::Facts;
use super::reached::Reached;
use super::{Report, Verdict};
use crate::history::Durability;

pub(super) fn check(facts: &Facts<'_>, report: &mut Report) {
    let mut seen: BTreeMap<u8, Vec<(u64, u64)>> = BTreeMap::new();
    for chat in facts.chats.values() {
        for tried in chat.tried.values() {
            for (ended, stored) in tried.quorum() {
                let partition = seen.entry(stored.id.partition()).or_default();
                partition.push((ended, stored.cursor.epoch));
            }
        }
        for shown in &chat.pages {
            for message in &shown.page.messages {
                let partition = seen.entry(message.id.partition()).or_default();
                partition.push((shown.ended, message.cursor.epoch));
            }
        }
    }
    let reached: BTreeMap<u8, Reached> =
        seen.into_iter().map(|(partition, points)| (partition, Reached::new(points))).collect();
    for chat in facts.chats.values() {
        for tried in chat.tried.values() {
            // A repeat is told what was decided when it was first tried.
            for (_, stored) in tried.stored.iter().filter(|(_, stored)| !stored.replay) {
                let epoch = stored.cursor.epoch;
                let partition = stored.id.partition();
                let known = reached.get(&partition).and_then(|known| known.before(tried.begun));
                let Some(known) = known.filter(|known| *known > epoch) else { continue };
                if stored.durability == Durability::Local {
                    report.counts.local_late += 1;
                    continue;
                }
                let (token, key) = (chat.token, tried.key);
                report.find(Verdict::LateAck, || {
                    format!("{token}: {key} under epoch {epoch} when {known} was there")
                });
            }
        }
    }
}
