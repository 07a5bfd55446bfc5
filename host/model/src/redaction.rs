//! Messages whose content was taken back: what is left of them, and of what stands beside them in the log.
//!
//! An entry says which message, who took it back and why. From then on everybody is shown the message without what it
//! said, and where a log is written anew its entries are written so, too. An entry that was written anew once is
//! the same when that is done again, with more or with the same messages.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Attrs, Body, Change, Entry, Message, MessageId};

/// Messages of one chat that can be taken back: who leads it remembers each of them as long as the chat.
pub const REDACTED_MAX: usize = 10_000;

/// Why a message says nothing any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redaction {
    /// Who took it back; empty if they did not say.
    pub by: String,
    /// Why, in words; may be empty.
    pub reason: String,
    /// When, in Unix milliseconds on the chat's clock.
    pub time_ms: u64,
}

impl Message {
    /// The same without anything that it said.
    #[must_use]
    pub fn redacted(&self, redaction: &Arc<Redaction>) -> Self {
        Self {
            id: self.id,
            sender: self.sender.clone(),
            kind: self.kind.clone(),
            route: self.route.clone(),
            body: Body::Redacted(Arc::clone(redaction)),
            archive: None,
            attrs: Attrs::new(),
            time_ms: self.time_ms,
            sent_ms: self.sent_ms,
            stamps: self.stamps.clone(),
        }
    }

    /// Why it says nothing any more, if that is so.
    pub fn redaction(&self) -> Option<&Arc<Redaction>> {
        match &self.body {
            Body::Redacted(redaction) => Some(redaction),
            Body::Text(_) | Body::Json(_) | Body::Bytes { .. } => None,
        }
    }
}

impl Entry {
    /// Whether anything of it was said in a message that was taken back, or taken out of it.
    pub fn taken_back(&self, is_taken: impl Fn(MessageId) -> bool) -> bool {
        self.changes.iter().any(|change| match change {
            Change::Message(message) | Change::Hold { message, .. } | Change::Asked(message) => {
                message.redaction().is_some() || is_taken(message.id)
            }
            _ => false,
        })
    }

    /// Takes out of it what was said in the messages that `why` knows: in those that are stored, in one that was
    /// kept back, as it came before somebody rewrote it, and what was noted beside it. Whether anything was there.
    pub fn redact<'a>(&mut self, why: impl Fn(MessageId) -> Option<&'a Arc<Redaction>>) -> bool {
        let before = self.changes.len();
        self.changes
            .retain(|change| !matches!(change, Change::Asked(came) if why(came.id).is_some()));
        let mut anew = self.changes.len() < before;
        for change in &mut self.changes {
            match change {
                Change::Message(message) | Change::Hold { message, .. } => {
                    let found = why(message.id).filter(|_| message.redaction().is_none());
                    if let Some(redaction) = found {
                        *message = Arc::new(message.redacted(redaction));
                        anew = true;
                    }
                }
                Change::Decided { decision, .. } if why(decision.message).is_some() => {
                    anew |= !decision.notes.is_empty();
                    decision.notes.clear();
                }
                _ => {}
            }
        }
        anew
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Redaction;
    use crate::{
        Attrs, Body, Change, ChatToken, Cursor, Decision, Entry, Message, MessageId, Reference,
        Route, encode,
    };

    fn message(id: u8) -> Arc<Message> {
        Arc::new(Message {
            id: MessageId([id; 16]),
            sender: "alice".into(),
            kind: "text".into(),
            route: Route::Everyone,
            body: Body::Text("a secret".into()),
            archive: Some(Arc::new(Reference {
                collection: "attachments".into(),
                key: "t/secret".into(),
                version: 7,
            })),
            attrs: Attrs::from([("note".into(), "a secret".into())]),
            time_ms: 300,
            sent_ms: None,
            stamps: Vec::new(),
        })
    }

    fn entry() -> Entry {
        let decision = Decision {
            at: Cursor::default(),
            message: MessageId([1; 16]),
            version: "1".into(),
            verdict: "rewrite".into(),
            notes: vec![("was".into(), "a secret".into())],
        };
        let hold = Change::Hold { message: message(2), key: "k".into(), holds: Vec::new() };
        let changes = vec![
            Change::Message(message(1)),
            Change::Message(message(3)),
            hold,
            Change::Decided { plugin: "m".into(), decision },
            Change::Asked(message(1)),
        ];
        Entry { chat: ChatToken([9; 16]), turn: 1, time_ms: 300, changes, remembered: None }
    }

    fn without(entry: &mut Entry, ids: &[u8]) -> bool {
        let why = Arc::new(Redaction { by: "bob".into(), reason: "private".into(), time_ms: 9 });
        entry.redact(|id| ids.contains(&id.0[0]).then_some(&why))
    }

    #[test]
    fn nothing_that_was_said_is_left_and_everything_else_is() {
        let mut entry = entry();
        assert!(without(&mut entry, &[1, 2]));
        let shown: Vec<_> = entry.messages().map(|message| message.redaction().is_some()).collect();
        assert_eq!(shown, [true, false]);
        let first = entry.messages().next().unwrap();
        assert_eq!((first.sender.as_str(), first.time_ms), ("alice", 300));
        assert!(first.attrs.is_empty() && first.archive.is_none());
        assert!(without(&mut entry, &[3]));
        let bytes = encode::encode(&entry).unwrap();
        assert!(!bytes.windows(6).any(|six| six == b"secret"));
        assert!(bytes.windows(7).any(|seven| seven == b"private"));
        assert!(!without(&mut entry, &[1, 2, 3]), "there is nothing left to take out");
    }

    #[test]
    fn the_order_in_which_messages_are_taken_out_makes_no_difference() {
        let (mut one, mut other, mut both) = (entry(), entry(), entry());
        without(&mut one, &[1]);
        without(&mut one, &[2, 3]);
        without(&mut other, &[3]);
        without(&mut other, &[1, 2]);
        without(&mut both, &[1, 2, 3]);
        assert_eq!((&one, &other), (&both, &both));
    }
}
