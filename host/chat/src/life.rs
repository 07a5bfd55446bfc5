//! Where a chat begins, what it looks like, and where it ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Change, Chat, ChatStatus, ChatToken, Cursor};

use crate::chats::{Asked, Shared};
use crate::conversation::Committed;
use crate::ran::{Interrupt, Ran, not_committed};
use crate::reign::Reign;
use crate::storing::entry;
use crate::{ChatView, Code, Created, Pending, Response};

impl Shared {
    /// A new chat in this reign's partition.
    pub(crate) async fn create(
        &self,
        reign: &Reign,
        token: ChatToken,
        create: Change,
        asked: &Asked<'_>,
    ) -> Ran {
        let conversation = reign.conversation_or_new(token);
        let guard = self.turn(&conversation, asked).await?;
        let seen = conversation.appended(None, reign.epoch);
        if seen.chat.turn > 0 {
            // 128 random bits drawn twice.
            return Err(not_committed(Code::NotReady, "the token is taken").into());
        }
        let commit = self.ledger.commit();
        let created_ms = self.now_ms(&seen.chat);
        let entry = Arc::new(entry(&seen.chat, created_ms, vec![create], None));
        let stored = match self.admits(reign, &seen, commit) {
            Ok(()) => self.store(reign, &conversation, guard, entry, commit, asked).await,
            Err(interrupt) => Err(interrupt),
        };
        if let Err(interrupt) = stored {
            if conversation.next_turn() == 0 {
                reign.forget(token);
            }
            return Err(interrupt);
        }
        let (cursor, status) = (Cursor::default(), ChatStatus::Pending);
        Ok(Response::Created(Created { token, cursor, status, created_ms }))
    }

    /// What the chat looks like.
    pub(crate) async fn show(
        &self,
        reign: &Reign,
        token: ChatToken,
        confirmed: bool,
        asked: &Asked<'_>,
    ) -> Ran {
        let conversation = self.existing(reign, token, asked).await?;
        if confirmed {
            self.confirm(reign, asked).await?;
        }
        self.caught_up(reign, &conversation, asked.context.seen, asked).await?;
        let committed = conversation.committed();
        let Committed { chat, head, .. } = committed.ok_or(Interrupt::Ended { appended: false })?;
        let plugins = self.chain.now().map(|chain| chain.versions()).unwrap_or_default();
        let mut view = view(&chat, head, plugins);
        if let Some(ended_ms) = self.over_by_itself(&chat) {
            // Nothing can be said there any more: it does not look as if it could until that is written.
            (view.status, view.ended_ms) = (ChatStatus::Ended, Some(ended_ms));
        }
        let heard = conversation.heard_ms(self.ledger.wall_ms());
        for person in &mut view.participants {
            let heard_ms = heard.get(&person.id).copied().unwrap_or_default();
            person.heard_ms = person.heard_ms.max(heard_ms);
        }
        Ok(Response::Chat(Box::new(view)))
    }

    /// The chat is over; if it was before, that is said again.
    pub(crate) async fn end(
        &self,
        reign: &Reign,
        token: ChatToken,
        sender: Option<&str>,
        asked: &Asked<'_>,
    ) -> Ran {
        let conversation = self.existing(reign, token, asked).await?;
        let guard = self.turn(&conversation, asked).await?;
        let seen = conversation.appended(None, reign.epoch);
        if seen.chat.status == ChatStatus::Ended {
            drop(guard);
            self.barrier(reign, &conversation, &seen, asked).await?;
        } else {
            let commit = self.ledger.commit();
            self.admits(reign, &seen, commit)?;
            let reason = sender.map(|sender| format!("ended by {sender}")).unwrap_or_default();
            let chain = self.chain(&seen.chat, asked).await?;
            let ends = self.ends(&chain, &seen.chat, reason);
            let over_ms = self.over_by_itself(&seen.chat);
            let time_ms = over_ms.unwrap_or_else(|| self.now_ms(&seen.chat));
            let entry = Arc::new(entry(&seen.chat, time_ms, ends, None));
            drop(seen);
            self.store(reign, &conversation, guard, entry, commit, asked).await?;
        }
        let committed = conversation.committed();
        let ended = committed.and_then(|committed| {
            Some(Response::Ended {
                cursor: committed.ended_at?,
                ended_ms: committed.chat.ended_ms?,
            })
        });
        ended.ok_or(Interrupt::Ended { appended: true })
    }
}

/// What a chat looks like whose last message is at `head`.
pub(crate) fn view(chat: &Chat, head: Cursor, plugins: BTreeMap<String, String>) -> ChatView {
    let mut participants: Vec<_> = chat.roster.values().cloned().collect();
    participants.sort_by_key(|participant| participant.ordinal);
    ChatView {
        token: chat.token,
        status: chat.status,
        cursor: head,
        created_ms: chat.created_ms,
        started_ms: chat.started_ms,
        ended_ms: chat.ended_ms,
        max_duration_s: chat.max_duration_s,
        max_participants: chat.max_participants,
        participants,
        attrs: chat.attrs.as_ref().clone(),
        pending: Pending::of(chat),
        plugins,
        archive: archive(chat),
    }
}

/// The version that a chat is archived as, if it is.
pub(crate) fn archive(chat: &Chat) -> Option<u64> {
    chat.keeping.as_ref()?.kept?.archive
}
