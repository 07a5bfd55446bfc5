//! What clients asked, what they were told, and what that must have in common.
//!
//! Every answer is held against the fold of what is committed and against what was answered before: the
//! promises that clients can see.

use std::collections::BTreeMap;

use chat::{
    ChatView, Code, Created, Durability, Page, Read, Refusal, RequestOutcome, Response, Sent,
};
use model::{Answer, ChatToken, Cursor, MessageId};

use super::handlers::text;
use super::oracle::Oracle;
use crate::agenda::Time;
use crate::invariants::{Verdict, must};

/// What a client asked for.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Create,
    Send {
        token: ChatToken,
        key: String,
        text: String,
        acks: Option<u8>,
    },
    Read {
        read: Read,
        /// The reader has followed from the start, and stands after so many.
        follows: Option<u64>,
        /// The cursor is of a message of their own, which few nodes hold.
        local: Option<MessageId>,
    },
    Show {
        token: ChatToken,
        confirmed: bool,
    },
    Join {
        token: ChatToken,
    },
    Leave {
        token: ChatToken,
    },
    End {
        token: ChatToken,
    },
}

/// What a client was told.
#[derive(Clone, Debug)]
pub(crate) enum Heard {
    /// Nothing: the connection ended, or time ran out.
    Lost,
    Refused(Refusal),
    Answered(Response),
}

/// One question, and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) person: usize,
    pub(crate) name: String,
    pub(crate) node: usize,
    pub(crate) boot: u64,
    pub(crate) asked: Time,
    pub(crate) what: What,
    /// What the client has seen, if it said so.
    pub(crate) seen: Option<Cursor>,
    /// The highest message that anybody was told of when it was asked.
    pub(crate) floor: u64,
    /// Somebody was told by then that the chat is over.
    pub(crate) over: bool,
    pub(crate) answered: Option<Time>,
}

impl What {
    /// The chat it is about.
    pub(crate) fn token(&self) -> Option<ChatToken> {
        match self {
            Self::Create => None,
            Self::Read { read, .. } => Some(read.token),
            Self::Send { token, .. }
            | Self::Show { token, .. }
            | Self::Join { token }
            | Self::Leave { token }
            | Self::End { token } => Some(*token),
        }
    }
}

/// What is known of one key.
#[derive(Debug, Default)]
struct OfKey {
    /// What was sent under it, and how each attempt ended.
    attempts: Vec<(String, Option<bool>)>,
    /// The highest message known when it was sent first.
    floor: u64,
    acked: Option<(Cursor, MessageId)>,
    refused: Option<String>,
}

/// Everything that clients were told.
#[derive(Debug, Default)]
pub(crate) struct Book {
    keys: BTreeMap<(ChatToken, String, String), OfKey>,
    /// The highest message of each chat that anybody was told of.
    told: BTreeMap<ChatToken, u64>,
    over: BTreeMap<ChatToken, bool>,
    pub(crate) stored: u64,
    pub(crate) local: u64,
    pub(crate) refused: u64,
    pub(crate) replays: u64,
    pub(crate) unknown: u64,
    pub(crate) shown: u64,
    pub(crate) confirmed: u64,
    pub(crate) behind: u64,
}

impl Book {
    /// The highest message that anybody was told of.
    pub(crate) fn told(&self, token: ChatToken) -> u64 {
        self.told.get(&token).copied().unwrap_or(0)
    }

    /// Whether anybody was told that it is over.
    pub(crate) fn over(&self, token: ChatToken) -> bool {
        self.over.get(&token).copied().unwrap_or(false)
    }

    /// Somebody asks.
    pub(crate) fn asked(&mut self, operation: &Operation) -> usize {
        let What::Send { token, key, text, .. } = &operation.what else { return 0 };
        let of = self.keys.entry((*token, operation.name.clone(), key.clone())).or_default();
        if of.attempts.is_empty() {
            of.floor = operation.floor;
        }
        of.attempts.push((text.clone(), None));
        of.attempts.len() - 1
    }

    /// Somebody is told.
    pub(crate) fn heard(
        &mut self,
        operation: &Operation,
        attempt: usize,
        heard: &Heard,
        oracle: &Oracle,
    ) -> Verdict {
        let verdict = match heard {
            Heard::Lost => self.is_unknown(operation),
            Heard::Refused(refusal) => self.refused(operation, attempt, refusal, oracle),
            Heard::Answered(response) => self.answered(operation, response, oracle),
        };
        verdict.map_err(|mut violation| {
            violation.text = format!("{}: {operation:?} was told {heard:?}", violation.text);
            violation
        })
    }

    fn is_unknown(&mut self, operation: &Operation) -> Verdict {
        self.unknown += u64::from(matches!(operation.what, What::Send { .. }));
        Ok(())
    }

    fn answered(&mut self, asked: &Operation, response: &Response, oracle: &Oracle) -> Verdict {
        match (&asked.what, response) {
            (What::Create, Response::Created(Created { token, .. })) => {
                let there = oracle.chats.contains_key(token);
                must(there, "P1", || "a chat that is not committed".to_owned())
            }
            (What::Send { token, key, text, .. }, Response::Sent(sent)) => {
                self.sent(asked, (*token, key, text), sent, oracle)
            }
            (What::Send { token, key, .. }, Response::Held { id, .. }) => {
                let kept = oracle.kept(*token, &asked.name, key);
                let good = kept.is_some_and(|kept| kept.held == Some(*id));
                must(good, "P1", || format!("it is held, and committed is {kept:?}"))
            }
            (What::Read { read, follows, local }, Response::Page(page)) => {
                self.page(asked, read, page, oracle)?;
                match (follows, local) {
                    (Some(last), _) => {
                        let first = page.messages.first().map_or(last + 1, |it| it.cursor.seq);
                        must(first == last + 1, "I8", || {
                            format!("who follows and stands after {last} is shown {first}")
                        })
                    }
                    (None, Some(id)) => after_local(read, *id, page, oracle),
                    (None, None) => Ok(()),
                }
            }
            (What::Show { token, confirmed }, Response::Chat(view)) => {
                self.view(asked, *token, *confirmed, view, oracle)
            }
            (What::End { token }, Response::Ended { cursor, .. }) => {
                must(oracle.is_over(*token), "P3", || "the end is not committed".to_owned())?;
                self.over.insert(*token, true);
                let last = oracle.said(*token, oracle.count(*token)).map(|said| said.cursor);
                must(last.unwrap_or_default() == *cursor, "I8", || format!("it ended at {last:?}"))
            }
            (What::Join { .. }, Response::Joined { .. }) | (What::Leave { .. }, Response::Left) => {
                Ok(())
            }
            _ => must(false, "P4", || "another answer than was asked for".to_owned()),
        }
    }

    /// P1, P2, P5: what was acknowledged is committed, after what was acknowledged before it was sent,
    /// and a key has one message.
    fn sent(
        &mut self,
        asked: &Operation,
        (token, key, said): (ChatToken, &str, &str),
        sent: &Sent,
        oracle: &Oracle,
    ) -> Verdict {
        let whole = sent.message.sender == asked.name && text(&sent.message.body) == said;
        must(whole, "P5", || "another message than was sent".to_owned())?;
        let of = self.keys.entry((token, asked.name.clone(), key.to_owned())).or_default();
        must(of.refused.is_none(), "I9", || "stored, and refused before".to_owned())?;
        if sent.durability == Durability::Local {
            self.local += 1;
            return Ok(());
        }
        self.stored += 1;
        self.replays += u64::from(sent.replay);
        let there = oracle.said(token, sent.cursor.seq);
        let good =
            there.is_some_and(|it| it.cursor == sent.cursor && it.message.id == sent.message.id);
        must(good, "P1", || format!("acknowledged, and committed is {there:?}"))?;
        must(sent.cursor.seq > of.floor, "P2", || {
            format!("acknowledged below {}, which was told before", of.floor)
        })?;
        let now = (sent.cursor, sent.message.id);
        let first = *of.acked.get_or_insert(now);
        must(first == now, "P5", || format!("it was {first:?} before"))?;
        self.is_told(token, sent.cursor.seq);
        Ok(())
    }

    /// P3, P7, P8, I8: only what is committed, all of it, and no less than the reader has a right to.
    fn page(&mut self, asked: &Operation, read: &Read, page: &Page, oracle: &Oracle) -> Verdict {
        let token = read.token;
        self.shown += page.messages.len() as u64;
        let mut last = None;
        for stored in &page.messages {
            let there = oracle.said(token, stored.cursor.seq);
            let good =
                there.is_some_and(|it| it.cursor == stored.cursor && it.message == stored.message);
            must(good, "P3", || format!("shown {stored:?}, and committed is {there:?}"))?;
            let follows = last.is_none_or(|last| stored.cursor.seq == last + 1);
            must(follows, "P2", || format!("{stored:?} is shown after {last:?}"))?;
            last = Some(stored.cursor.seq);
            self.is_told(token, stored.cursor.seq);
        }
        if let Some(stored) = page.messages.last() {
            must(page.cursor == stored.cursor, "I8", || "the cursor is not the last's".to_owned())?;
        }
        if read.after.is_none()
            && let Some(stored) = page.messages.first()
        {
            must(stored.cursor.seq == 1, "P2", || "the first message is missing".to_owned())?;
        }
        self.reaches(asked, token, read.confirmed, page.head)
    }

    fn view(
        &mut self,
        asked: &Operation,
        token: ChatToken,
        confirmed: bool,
        view: &ChatView,
        oracle: &Oracle,
    ) -> Verdict {
        let there = oracle.said(token, view.cursor.seq).map(|said| said.cursor);
        let committed = there.unwrap_or_default() == view.cursor;
        must(committed, "P3", || format!("shown at {:?}, committed is {there:?}", view.cursor))?;
        let ended = view.ended_ms.is_some();
        must(!ended || oracle.is_over(token), "P3", || "an end that is not committed".to_owned())?;
        must(ended || !(confirmed && asked.over), "P8", || "it is over, and open".to_owned())?;
        self.reaches(asked, token, confirmed, view.cursor)
    }

    /// P7: an answer is not older than what its asker has seen. P8: a confirmed one, not than what
    /// anybody was told before.
    fn reaches(
        &mut self,
        asked: &Operation,
        token: ChatToken,
        confirmed: bool,
        head: Cursor,
    ) -> Verdict {
        if let Some(seen) = asked.seen {
            must(head >= seen, "P7", || format!("seen {seen:?}, told {head:?}"))?;
        }
        if confirmed {
            self.confirmed += 1;
            must(head.seq >= asked.floor, "P8", || {
                format!("{} was told before it was asked, told {head:?}", asked.floor)
            })?;
        }
        self.is_told(token, head.seq);
        Ok(())
    }

    fn refused(
        &mut self,
        asked: &Operation,
        attempt: usize,
        refusal: &Refusal,
        oracle: &Oracle,
    ) -> Verdict {
        let Some(token) = asked.what.token() else { return Ok(()) };
        match refusal.code {
            // Every token that clients use was acknowledged.
            Code::UnknownChat => {
                self.is_nowhere(asked, attempt, token);
                must(oracle.is_forgotten(token), "I11", || "the chat exists".to_owned())
            }
            Code::ChatEnded => {
                self.over.insert(token, true);
                self.is_nowhere(asked, attempt, token);
                must(oracle.is_over(token), "R14", || "an end that is not committed".to_owned())
            }
            Code::Behind => {
                self.behind += 1;
                Ok(())
            }
            _ => match &asked.what {
                What::Send { key, text, .. } => {
                    self.not_sent(asked, attempt, (token, key, text), refusal, oracle)
                }
                What::Join { .. } | What::Leave { .. } | What::End { .. } => {
                    must(refusal.outcome.is_some(), "P4", || "no outcome".to_owned())
                }
                What::Read { .. } | What::Show { .. } | What::Create => {
                    must(refusal.retryable, "P4", || "refused for good".to_owned())
                }
            },
        }
    }

    /// This attempt of a send stored nothing.
    fn is_nowhere(&mut self, asked: &Operation, attempt: usize, token: ChatToken) {
        let What::Send { key, .. } = &asked.what else { return };
        let of = self.keys.entry((token, asked.name.clone(), key.clone())).or_default();
        if let Some((_, end)) = of.attempts.get_mut(attempt) {
            *end = Some(true);
        }
    }

    fn not_sent(
        &mut self,
        asked: &Operation,
        attempt: usize,
        (token, key, said): (ChatToken, &str, &str),
        refusal: &Refusal,
        oracle: &Oracle,
    ) -> Verdict {
        let of = self.keys.entry((token, asked.name.clone(), key.to_owned())).or_default();
        let kept = oracle.kept(token, &asked.name, key);
        match refusal.code {
            Code::Rejected => {
                self.refused += 1;
                let reason = refusal.reason.clone().unwrap_or_default();
                let good = kept.is_some_and(|kept| {
                    matches!(&kept.answer, Answer::Refused { reason: kept, .. } if *kept == reason)
                });
                must(good, "R14", || format!("refused, and committed is {kept:?}"))?;
                must(of.acked.is_none(), "I9", || "refused, and stored before".to_owned())?;
                let first = of.refused.get_or_insert_with(|| reason.clone()).clone();
                must(first == reason, "P5", || format!("it was refused as {first} before"))
            }
            Code::IdempotencyConflict => {
                let other = of.attempts.iter().any(|(text, _)| text != said);
                must(other && kept.is_some(), "P5", || "nothing else was sent so".to_owned())
            }
            _ => {
                must(refusal.outcome.is_some(), "P4", || "no outcome".to_owned())?;
                let none = refusal.outcome == Some(RequestOutcome::NotCommitted);
                self.unknown += u64::from(!none);
                if let Some((_, end)) = of.attempts.get_mut(attempt) {
                    *end = Some(none);
                }
                Ok(())
            }
        }
    }

    fn is_told(&mut self, token: ChatToken, seq: u64) {
        let told = self.told.entry(token).or_default();
        *told = (*told).max(seq);
    }

    /// P4: what was never more than refused is not there; P1: what was acknowledged is.
    pub(crate) fn check_end(&self, oracle: &Oracle) -> Verdict {
        for ((token, name, key), of) in &self.keys {
            let kept = oracle.kept(*token, name, key);
            let what = || format!("{name} sent {key} to {token:?}: {of:?}, committed is {kept:?}");
            let nothing = of.attempts.iter().all(|(_, end)| *end == Some(true));
            must(!nothing || kept.is_none(), "P4", || format!("refused, and there: {}", what()))?;
            let said = kept.and_then(|kept| kept.said.as_ref());
            if let Some((cursor, id)) = of.acked {
                let there = said.is_some_and(|it| it.cursor == cursor && it.message.id == id);
                must(there, "P1", || format!("lost: {}", what()))?;
            }
            let among = said.is_none_or(|said| {
                of.attempts.iter().any(|(sent, _)| sent == text(&said.message.body))
            });
            must(among, "P4", || format!("nobody sent it: {}", what()))?;
        }
        Ok(())
    }
}

/// I8: who reads on after a message of their own that few nodes held misses nothing, should it be gone.
fn after_local(read: &Read, id: MessageId, page: &Page, oracle: &Oracle) -> Verdict {
    let Some(after) = read.after else { return Ok(()) };
    let stands = oracle.said(read.token, after.seq).is_some_and(|it| it.message.id == id);
    let next = if stands { after.seq + 1 } else { after.seq };
    let Some(first) = page.messages.first().map(|it| it.cursor.seq) else { return Ok(()) };
    must(first <= next, "I8", || format!("who stands after {after:?} is shown {first}"))
}
