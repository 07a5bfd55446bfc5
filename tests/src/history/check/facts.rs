//! A history by chat, and what is known of each thing that was sent.

use std::collections::{BTreeMap, BTreeSet};

use model::{ChatToken, Cursor, MessageId};

use super::{Report, Verdict};
use crate::history::{
    Act, Content, Durability, Operation, Outcome, Page, Reading, Seen, Stored, Survey,
};

/// A history, taken apart.
#[derive(Debug, Default)]
pub(super) struct Facts<'h> {
    pub(super) chats: BTreeMap<ChatToken, Chat<'h>>,
}

/// Everything about one chat.
#[derive(Debug)]
pub(super) struct Chat<'h> {
    pub(super) token: ChatToken,
    pub(super) tried: BTreeMap<Content, Tried<'h>>,
    pub(super) pages: Vec<Shown<'h>>,
    pub(super) surveys: Vec<&'h Survey>,
}

/// All tries of one content.
#[derive(Debug)]
pub(super) struct Tried<'h> {
    pub(super) sender: &'h str,
    pub(super) key: &'h str,
    /// When the first began.
    pub(super) begun: u64,
    /// When the first quorum's answer was known.
    pub(super) acked: Option<u64>,
    /// Every acknowledgement, with its end.
    pub(super) stored: Vec<(u64, &'h Stored)>,
    /// Whether any try may have had an effect.
    pub(super) possible: bool,
}

/// One answered read.
#[derive(Debug)]
pub(super) struct Shown<'h> {
    pub(super) begun: u64,
    pub(super) ended: u64,
    pub(super) client: u32,
    pub(super) reading: &'h Reading,
    pub(super) page: &'h Page,
}

impl<'h> Facts<'h> {
    pub(super) fn gather(history: &'h [Operation], report: &mut Report) -> Self {
        let mut facts = Self::default();
        for operation in history {
            let chat = facts.chats.entry(operation.chat);
            let chat = chat.or_insert_with(|| Chat::new(operation.chat));
            chat.add(operation, report);
        }
        report.counts.chats = facts.chats.len() as u64;
        facts
    }
}

impl<'h> Chat<'h> {
    fn new(token: ChatToken) -> Self {
        Self { token, tried: BTreeMap::new(), pages: Vec::new(), surveys: Vec::new() }
    }

    fn add(&mut self, operation: &'h Operation, report: &mut Report) {
        let begun = operation.begun;
        let ended = operation.ended.unwrap_or(u64::MAX);
        match &operation.act {
            Act::Final(survey) => self.surveys.push(survey),
            Act::Read(reading) => {
                let client = operation.client;
                let shown = |page: &'h Page| Shown { begun, ended, client, reading, page };
                self.pages.extend(reading.page.as_ref().map(shown));
            }
            Act::Send(sending) => {
                let tried = self.tried.entry(sending.content).or_insert_with(|| Tried {
                    sender: &sending.sender,
                    key: &sending.key,
                    begun,
                    acked: None,
                    stored: Vec::new(),
                    possible: false,
                });
                if (tried.sender, tried.key) != (sending.sender.as_str(), sending.key.as_str()) {
                    let (chat, content) = (self.token, sending.content);
                    let keys = (tried.key, &sending.key);
                    report.find(Verdict::Malformed, || format!("{chat}: {content} under {keys:?}"));
                }
                tried.add(begun, ended, &sending.outcome);
            }
        }
    }

    /// Everything that was shown or acknowledged by a quorum: what must be one and the same for ever.
    pub(super) fn observations(&self) -> impl Iterator<Item = Seen> {
        let acked = self.tried.iter().flat_map(|(content, tried)| {
            let places = tried.quorum().map(|(_, stored)| (stored.cursor, stored.id));
            places.map(|(cursor, id)| Seen { cursor, id, content: *content })
        });
        acked.chain(self.read())
    }

    /// Everything that was shown.
    pub(super) fn read(&self) -> impl Iterator<Item = Seen> {
        let pages = self.pages.iter().flat_map(|shown| &shown.page.messages);
        let surveys = self.surveys.iter().flat_map(|survey| &survey.messages);
        pages.chain(surveys).copied()
    }

    /// Where each content stands, once it was seen anywhere.
    pub(super) fn places(&self) -> BTreeMap<Content, Cursor> {
        self.observations().map(|seen| (seen.content, seen.cursor)).collect()
    }
}

impl<'h> Tried<'h> {
    fn add(&mut self, begun: u64, ended: u64, outcome: &'h Outcome) {
        self.begun = self.begun.min(begun);
        match outcome {
            Outcome::Ok(stored) => {
                self.possible = true;
                self.stored.push((ended, stored));
                if stored.durability == Durability::Quorum {
                    self.acked = Some(self.acked.map_or(ended, |acked| acked.min(ended)));
                }
            }
            Outcome::Held { .. } | Outcome::Unknown { .. } => self.possible = true,
            Outcome::Refused { .. } | Outcome::NotCommitted { .. } => {}
        }
    }

    /// Acknowledgements that are for ever.
    pub(super) fn quorum(&self) -> impl Iterator<Item = (u64, &'h Stored)> {
        let stored = self.stored.iter().copied();
        stored.filter(|(_, stored)| stored.durability == Durability::Quorum)
    }

    /// The places of acknowledgements that are for ever.
    pub(super) fn answers(&self) -> BTreeSet<(Cursor, MessageId)> {
        self.quorum().map(|(_, stored)| (stored.cursor, stored.id)).collect()
    }
}
