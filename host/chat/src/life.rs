//! Where a chat begins, what it looks like, and where it ends.

use std::sync::Arc;

use model::{Change, ChatStatus, ChatToken, Cursor};

use crate::chats::{Asked, Shared};
use crate::conversation::Committed;
use crate::effects::ending;
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
        let mut participants: Vec<_> = chat.roster.values().cloned().collect();
        participants.sort_by_key(|participant| participant.ordinal);
        Ok(Response::Chat(Box::new(ChatView {
            token,
            status: chat.status,
            cursor: head,
            created_ms: chat.created_ms,
            started_ms: chat.started_ms,
            ended_ms: chat.ended_ms,
            max_duration_s: chat.max_duration_s,
            max_participants: chat.max_participants,
            participants,
            attrs: chat.attrs.as_ref().clone(),
            pending: Pending::of(&chat),
            plugins: self.chain.now().map(|chain| chain.versions()).unwrap_or_default(),
        })))
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
            let ends = ending(&seen.chat, reason);
            // Nobody is asked, but those who listen are told, and never by an earlier generation.
            let chain = self.chain(&seen.chat, asked).await?;
            let ends = self.marked(&chain, &seen.chat, ends, 0);
            let entry = Arc::new(entry(&seen.chat, self.now_ms(&seen.chat), ends, None));
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
