//! What was said before, for handlers that may read it.
//!
//! Handlers look at what is appended, so this does too: the committed messages from memory or the log, and
//! behind them those that are on their way. While a handler runs its chat has the turn, so nothing comes
//! after the last of them, and the same call is told the same.

use std::sync::Arc;

use model::Cursor;
use plugin::{Call, Earlier, Later, Past};

use crate::chain::Handler;
use crate::chats::Shared;
use crate::conversation::Conversation;
use crate::history;
use crate::ledger::Ledger;
use crate::play::Scene;
use crate::reign::Reign;

/// How often what is on its way is looked for again: it is in nobody's hands for as long as a commit takes
/// from one list to the other.
const LOOKS_MAX: usize = 100;

/// The messages of one chat up to the last one appended.
#[derive(Debug)]
struct ChatPast {
    ledger: Arc<dyn Ledger>,
    reign: Arc<Reign>,
    conversation: Arc<Conversation>,
    head: Cursor,
}

impl Shared {
    /// A call, with what was said before if its handler may read that.
    pub(crate) fn told_of_past(
        &self,
        mut call: Call,
        handler: &dyn Handler,
        scene: &Scene<'_>,
    ) -> Call {
        if !handler.needs().history {
            return call;
        }
        let reign = self.reign(scene.partition, scene.epoch);
        call.past = reign.and_then(|reign| {
            let conversation = reign.conversation(scene.chat.token)?;
            let ledger = Arc::clone(&self.ledger);
            let past = ChatPast { ledger, reign, conversation, head: scene.head };
            Some(Arc::new(past) as Arc<dyn Past>)
        });
        call
    }
}

impl Past for ChatPast {
    fn before(&self, at: Cursor, limit: usize) -> Later<'_, Option<Vec<Earlier>>> {
        Box::pin(self.read(at, limit))
    }
}

impl ChatPast {
    async fn read(&self, at: Cursor, limit: usize) -> Option<Vec<Earlier>> {
        for _look in 0..LOOKS_MAX {
            // First those on their way: one that is committed in between is then in both lists, not in none.
            let ahead = self.reign.ahead(&self.conversation);
            let committed = self.conversation.head().unwrap_or_default();
            let on_their_way = u64::try_from(ahead.len()).unwrap_or(u64::MAX);
            if committed.seq.saturating_add(on_their_way) < self.head.seq {
                tokio::task::yield_now().await;
                continue;
            }
            let end = self.end(at, committed);
            let after = end.saturating_sub(1).saturating_sub(u64::try_from(limit).ok()?);
            let stretch = self.conversation.stretch(after, Some(end), limit);
            let (ledger, token) = (&*self.ledger, self.conversation.token);
            let (stored, _read) =
                history::fetch(ledger, self.reign.partition, token, stretch.found).await?;
            let mut found: Vec<Earlier> = stored
                .into_iter()
                .map(|stored| Earlier { at: stored.cursor, message: stored.message })
                .collect();
            let last =
                found.last().map_or_else(|| after.min(committed.seq), |earlier| earlier.at.seq);
            let first_ahead = (self.head.seq + 1).saturating_sub(on_their_way);
            let numbered = (first_ahead..).zip(ahead);
            let wanted = numbered.filter(|(seq, _)| *seq > last.max(after) && *seq < end);
            found.extend(wanted.map(|(seq, message)| Earlier {
                at: Cursor { epoch: self.reign.epoch, seq },
                message,
            }));
            return Some(found);
        }
        None
    }

    /// The number of the message before which everything is wanted.
    fn end(&self, at: Cursor, committed: Cursor) -> u64 {
        if at.epoch >= self.reign.epoch && at.seq > committed.seq {
            return at.seq.min(self.head.seq.saturating_add(1));
        }
        let seq = self.conversation.resolve(at);
        if self.conversation.cursor(seq) == at { seq } else { seq + 1 }
    }
}
