//! Histories as a test tells them: names for contents, numbers for moments.

use model::{ChatToken, Cursor, MessageId};

use crate::history::{
    Act, Content, Durability, Operation, Outcome, Page, Reading, Report, Seen, Sending, Stored,
    Survey, Verdict, check,
};

/// The chat of every story that has one.
pub(super) const CHAT: ChatToken = ChatToken([7; 16]);

/// What happened, in any order.
#[derive(Clone, Debug, Default)]
pub(super) struct Story(pub(super) Vec<Operation>);

pub(super) fn content(name: &str) -> Content {
    Content::of("alice", name)
}

/// An id of partition 3 that belongs to this content alone.
pub(super) fn id(name: &str) -> MessageId {
    let mut bytes = [3; 16];
    bytes[8..].copy_from_slice(&content(name).0.to_le_bytes());
    MessageId(bytes)
}

pub(super) fn at(epoch: u64, seq: u64) -> Cursor {
    Cursor { epoch, seq }
}

pub(super) fn seen(name: &str, epoch: u64, seq: u64) -> Seen {
    Seen { cursor: at(epoch, seq), id: id(name), content: content(name) }
}

pub(super) fn ok(name: &str, epoch: u64, seq: u64) -> Outcome {
    stored(name, epoch, seq, Durability::Quorum, false)
}

pub(super) fn stored(
    name: &str,
    epoch: u64,
    seq: u64,
    durability: Durability,
    replay: bool,
) -> Outcome {
    Outcome::Ok(Stored { id: id(name), cursor: at(epoch, seq), durability, replay })
}

pub(super) fn unknown() -> Outcome {
    Outcome::Unknown { code: "no-quorum".to_owned() }
}

pub(super) fn refused() -> Outcome {
    Outcome::Refused { code: "rejected".to_owned() }
}

impl Story {
    /// Three messages, sent one after the other in epoch 1, each read.
    pub(super) fn good() -> Self {
        let mut story = Self::default();
        story.send((10, 20), "a", ok("a", 1, 1));
        story.send((30, 40), "b", ok("b", 1, 2));
        story.send((50, 60), "c", ok("c", 1, 3));
        story.read((65, 70), None, &[seen("a", 1, 1), seen("b", 1, 2), seen("c", 1, 3)]);
        story
    }

    pub(super) fn push(&mut self, (begun, ended): (u64, u64), act: Act) -> &mut Operation {
        self.0.push(Operation { begun, ended: Some(ended), client: 1, chat: CHAT, act });
        self.0.last_mut().unwrap()
    }

    /// A try whose key is its content's name.
    pub(super) fn send(&mut self, times: (u64, u64), name: &str, outcome: Outcome) {
        self.send_as(times, name, name, outcome);
    }

    pub(super) fn send_as(&mut self, times: (u64, u64), key: &str, name: &str, outcome: Outcome) {
        let (key, sender) = (key.to_owned(), "alice".to_owned());
        let sending = Sending { key, sender, content: content(name), w: 2, n: None, outcome };
        self.push(times, Act::Send(sending));
    }

    /// A page that ends at the chat's head.
    pub(super) fn read(&mut self, times: (u64, u64), after: Option<Cursor>, page: &[Seen]) {
        let head = page.last().map(|seen| seen.cursor).or(after).unwrap_or_default();
        let page = Some(Page { head, messages: page.to_vec() });
        let reading = Reading { after, seen: None, confirmed: false, page };
        self.push(times, Act::Read(reading));
    }

    pub(super) fn confirmed(&mut self, times: (u64, u64), page: &[Seen]) {
        self.read(times, None, page);
        let Some(Operation { act: Act::Read(reading), .. }) = self.0.last_mut() else { return };
        reading.confirmed = true;
    }

    /// Every member has these in the end.
    pub(super) fn ends(&mut self, messages: &[Seen]) {
        for node in ["n1", "n2", "n3"] {
            self.ends_at(node, messages);
        }
    }

    pub(super) fn ends_at(&mut self, node: &str, messages: &[Seen]) {
        let survey = Survey { node: node.to_owned(), messages: messages.to_vec() };
        self.push((1_000, 1_001), Act::Final(survey));
    }

    pub(super) fn judged(&self) -> Report {
        check(&self.0)
    }

    /// The verdict is found, and nothing else but what is listed with it.
    pub(super) fn is_flagged(&self, verdicts: &[Verdict]) {
        let report = self.judged();
        let found: Vec<Verdict> = report.found.keys().copied().collect();
        let mut wanted = verdicts.to_vec();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{report}");
    }
}
