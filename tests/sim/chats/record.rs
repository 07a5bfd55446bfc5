//! What clients did and were told, as a history that somebody else judges: the same judge that looks at
//! clients of real processes.

use chat::{Code, Durability, RequestOutcome, Response};
use model::ChatToken;
use tests::history::{self, Act, Content, Outcome, Page, Reading, Seen, Sending, Stored, Survey};

use super::book::{Heard, Operation, What};
use super::handlers::text;
use super::oracle::Oracle;
use crate::agenda::Time;
use crate::invariants::{Verdict, must};

/// The history of a world's clients.
#[derive(Debug, Default)]
pub(crate) struct Record {
    operations: Vec<history::Operation>,
}

impl Record {
    /// A client was told; `client` does one thing after the other.
    pub(crate) fn heard(
        &mut self,
        client: u32,
        operation: &Operation,
        heard: &Heard,
        now: Time,
        commit: u8,
    ) {
        let act = match &operation.what {
            What::Send { key, text, acks, .. } => Act::Send(Sending {
                key: key.clone(),
                sender: operation.name.clone(),
                content: Content::of(&operation.name, text),
                w: acks.unwrap_or(commit),
                n: None,
                outcome: outcome(heard),
            }),
            // Of a message that few nodes held and that is gone the judge cannot know what comes after.
            What::Read { local: Some(_), .. } => return,
            What::Read { read, .. } => Act::Read(Reading {
                after: read.after,
                seen: operation.seen,
                confirmed: read.confirmed,
                page: page(heard),
            }),
            _ => return,
        };
        let Some(chat) = operation.what.token() else { return };
        let (begun, ended) = (operation.asked, Some(now));
        self.operations.push(history::Operation { begun, ended, client, chat, act });
    }

    /// In the end: a whole chat, as a node tells it.
    pub(crate) fn survey(
        &mut self,
        node: String,
        chat: ChatToken,
        messages: Vec<chat::Stored>,
        now: Time,
    ) {
        let messages = messages.iter().map(seen).collect();
        let act = Act::Final(Survey { node, messages });
        let operation =
            history::Operation { begun: now, ended: Some(now), client: u32::MAX, chat, act };
        self.operations.push(operation);
    }

    /// Whether a correct cluster could have told its clients all that. Chats that are forgotten cannot be read
    /// in the end: of them the book alone tells.
    pub(crate) fn judge(&self, oracle: &Oracle) -> Verdict {
        let known = self.operations.iter().filter(|it| !oracle.is_forgotten(it.chat));
        let operations: Vec<history::Operation> = known.cloned().collect();
        let report = history::check(&operations);
        must(report.is_zero(), "history", || format!("{:?}", report.findings))
    }
}

fn outcome(heard: &Heard) -> Outcome {
    match heard {
        Heard::Answered(Response::Sent(sent)) => Outcome::Ok(Stored {
            id: sent.message.id,
            cursor: sent.cursor,
            durability: match sent.durability {
                Durability::Quorum => history::Durability::Quorum,
                Durability::Local => history::Durability::Local,
            },
            replay: sent.replay,
        }),
        Heard::Refused(refusal) => {
            let code = refusal.code.name().to_owned();
            match (refusal.code, refusal.outcome) {
                (Code::Rejected | Code::IdempotencyConflict | Code::ChatEnded, _) => {
                    Outcome::Refused { code }
                }
                (_, Some(RequestOutcome::NotCommitted)) => Outcome::NotCommitted { code },
                _ => Outcome::Unknown { code },
            }
        }
        Heard::Answered(_) | Heard::Lost => Outcome::Unknown { code: "lost".to_owned() },
    }
}

fn page(heard: &Heard) -> Option<Page> {
    let Heard::Answered(Response::Page(page)) = heard else { return None };
    Some(Page { head: page.head, messages: page.messages.iter().map(seen).collect() })
}

fn seen(stored: &chat::Stored) -> Seen {
    let message = &stored.message;
    let content = Content::of(&message.sender, text(&message.body));
    Seen { cursor: stored.cursor, id: message.id, content }
}
