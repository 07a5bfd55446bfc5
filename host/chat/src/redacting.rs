//! Taking back what a message said.
//!
//! One entry, that says which message, who and why. A chat that is over takes it too, until it is forgotten: what must not
//! be read must not be read there either, and what belongs to it in the archive goes afterwards (`attaching.rs`). The same again is the same answer, and nothing is written. Handlers are
//! not asked, and nobody is told: it is not a message. A policy is asked what it plans then, and may have something taken
//! back elsewhere; it has no say in this.

use std::sync::Arc;

use model::{Change, MessageId, REDACTED_MAX};

use crate::attaching::detaches;
use crate::chats::{Asked, Shared};
use crate::conversation::{Conversation, Found};
use crate::duty::Duty;
use crate::ran::{Interrupt, Ran, not_committed};
use crate::redacted::shown;
use crate::reign::Reign;
use crate::storing::entry;
use crate::{Code, Redact, Refusal, RequestOutcome, Response, Stored, history};

/// Messages looked at in one go for the one that is meant.
const LOOK_MAX: u64 = 256;

impl Shared {
    /// Takes back what a message said.
    pub(crate) async fn redact(&self, reign: &Reign, redact: &Redact, asked: &Asked<'_>) -> Ran {
        let conversation = self.existing(reign, redact.token, asked).await?;
        self.caught_up(reign, &conversation, asked.context.seen, asked).await?;
        self.caught_up(reign, &conversation, redact.cursor, asked).await?;
        let stored = self.meant(reign, &conversation, redact, asked).await?;
        may(redact, &stored)?;
        if stored.message.redaction().is_none() {
            self.take_back(reign, &conversation, redact, &stored, asked).await?;
        }
        let number = stored.cursor.seq;
        let message = conversation.redacted(|all| shown(&stored.message, all.find(number)));
        if message.redaction().is_none() {
            return Err(full().into());
        }
        let stored = Stored { message, ..stored };
        Ok(Response::Redacted { stored, archive: conversation.archive() })
    }

    /// The message that is meant.
    async fn meant(
        &self,
        reign: &Reign,
        conversation: &Conversation,
        redact: &Redact,
        asked: &Asked<'_>,
    ) -> Result<Stored, Interrupt> {
        let head = conversation.head().unwrap_or_default().seq;
        if let Some(cursor) = redact.cursor {
            let number = conversation.resolve(cursor);
            let there = (number > 0 && conversation.cursor(number) == cursor).then_some(number);
            let found = match there {
                Some(number) => self.among(reign, conversation, number, number, redact.id).await?,
                None => None,
            };
            return found.ok_or_else(|| unknown(redact.id).into());
        }
        let Ok(_alone) = self.searched.try_acquire() else {
            let detail = "other messages are being looked for on the node that leads this chat: try again, or \
                          name the message's cursor";
            return Err(not_committed(Code::Overloaded, detail).into());
        };
        let mut last = head;
        while last > 0 {
            if asked.left().is_zero() {
                let detail = "the message was not found in time: name its cursor";
                return Err(not_committed(Code::Timeout, detail).into());
            }
            let first = last.saturating_sub(LOOK_MAX) + 1;
            if let Some(found) = self.among(reign, conversation, first, last, redact.id).await? {
                return Ok(found);
            }
            last = first - 1;
            // Whoever is served must not notice.
            tokio::task::yield_now().await;
        }
        Err(unknown(redact.id).into())
    }

    /// The message of this id among those of these numbers.
    async fn among(
        &self,
        reign: &Reign,
        conversation: &Conversation,
        first: u64,
        last: u64,
        id: MessageId,
    ) -> Result<Option<Stored>, Interrupt> {
        let most = usize::try_from(last + 1 - first).unwrap_or(usize::MAX);
        let found: Vec<Found> = conversation.stretch(first - 1, Some(last + 1), most).found;
        let (ledger, token) = (&*self.ledger, conversation.token);
        let fetched = history::fetch(ledger, reign.partition, token, found).await;
        let (stored, _read) = fetched.ok_or_else(|| {
            let detail = "messages of this chat cannot be read at the moment";
            not_committed(Code::NotReady, detail)
        })?;
        Ok(stored.into_iter().find(|stored| stored.message.id == id))
    }

    /// Writes that a message is taken back, and what goes with it.
    async fn take_back(
        &self,
        reign: &Reign,
        conversation: &Arc<Conversation>,
        redact: &Redact,
        stored: &Stored,
        asked: &Asked<'_>,
    ) -> Result<(), Interrupt> {
        let number = stored.cursor.seq;
        let guard = self.turn(conversation, asked).await?;
        let seen = conversation.appended(None, reign.epoch);
        let commit = self.ledger.commit();
        self.admits(reign, &seen, commit)?;
        // Somebody who came first may have said so, and that may not be committed yet: what is said second counts
        // for nothing.
        if conversation.redacted(|all| all.find(number).is_some()) {
            return Ok(());
        }
        if conversation.redacted(|all| all.is_full()) {
            return Err(full().into());
        }
        let (id, reason) = (redact.id, redact.reason.clone());
        let by = redact.by.clone().unwrap_or_default();
        let mut changes = vec![Change::Redact { id, number, reason, by }];
        changes.extend(detaches(&seen.chat, number, &stored.message));
        let now_ms = self.now_ms(&seen.chat);
        if self.plans() {
            let chain = self.chain(&seen.chat, asked).await?;
            let mut duty = Duty::new(self.scene(reign, &seen));
            let plan = self.ask_about_erasing(&chain, &mut duty).await;
            let (chat, asked_for, depth) = duty.done_all();
            changes.extend(asked_for);
            // What is over has its plan, or gets it.
            let plan = plan.filter(|_| chat.ended_ms.is_none());
            changes.extend(plan.map(|plan| Change::Standing(Arc::new(plan))));
            changes = self.marked(&chain, chat, changes, depth);
        }
        let entry = Arc::new(entry(&seen.chat, now_ms, changes, None));
        drop(seen);
        self.store(reign, conversation, guard, entry, commit, asked).await?;
        self.meters.redacted.increment(1);
        Ok(())
    }
}

/// Whether whoever asks may take back this message. Of one that they may not read they are told nothing.
fn may(redact: &Redact, stored: &Stored) -> Result<(), Refusal> {
    let who = redact.by.as_deref();
    if redact.any || who == Some(stored.message.sender.as_str()) {
        return Ok(());
    }
    if who.is_some_and(|_| stored.message.route.reaches(who)) {
        let detail = "only who sent a message, or a token with the scope admin, takes it back";
        return Err(not_committed(Code::Forbidden, detail));
    }
    Err(unknown(redact.id))
}

fn unknown(id: MessageId) -> Refusal {
    not_committed(Code::UnknownMessage, format!("no message of this chat has the id {id}"))
}

fn full() -> Refusal {
    let detail = format!(
        "{REDACTED_MAX} messages of this chat are taken back, and it remembers no more of them"
    );
    Refusal::new(Code::ChatFull, detail).with_outcome(RequestOutcome::NotCommitted)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{Attrs, Body, ChatToken, Cursor, Message, MessageId, Route};

    use super::may;
    use crate::{Code, Redact, Stored};

    fn stored(route: Route) -> Stored {
        let message = Message {
            id: MessageId([1; 16]),
            sender: "alice".into(),
            kind: "text".into(),
            route,
            body: Body::Text("hello".into()),
            archive: None,
            attrs: Attrs::new(),
            time_ms: 1,
            sent_ms: None,
            stamps: Vec::new(),
        };
        Stored { cursor: Cursor::default(), message: Arc::new(message) }
    }

    #[test]
    fn a_message_is_its_senders_and_hidden_ones_do_not_exist_for_others() {
        let asks = |who: Option<&str>, any, route| {
            let redact = Redact {
                token: ChatToken([1; 16]),
                id: MessageId([1; 16]),
                cursor: None,
                reason: String::new(),
                by: who.map(str::to_owned),
                any,
            };
            may(&redact, &stored(route)).map_err(|refusal| refusal.code)
        };
        let only = |name: &str| Route::Only(vec![name.to_owned()]);
        assert_eq!(asks(Some("alice"), false, Route::Nobody), Ok(()));
        assert_eq!(asks(Some("bob"), false, Route::Everyone), Err(Code::Forbidden));
        assert_eq!(asks(Some("bob"), false, only("bob")), Err(Code::Forbidden));
        assert_eq!(asks(Some("bob"), false, only("carol")), Err(Code::UnknownMessage));
        assert_eq!(asks(Some("bob"), false, Route::Nobody), Err(Code::UnknownMessage));
        assert_eq!(asks(Some("bob"), true, only("carol")), Ok(()));
        assert_eq!(asks(None, true, Route::Nobody), Ok(()));
    }
}
