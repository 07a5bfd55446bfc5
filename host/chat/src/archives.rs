//! Where chats that are over are kept for good, and what messages refer to: what the chats need of an archive, as a trait,
//! and what it is given of a chat.
//!
//! In service it is the archive of the cluster, which the node puts beside the chats; in tests it is a map. How a
//! chat is written there is no matter of this crate.

use std::fmt;
use std::sync::Arc;

use model::{Chat, ChatToken, Plan};
use runtime::Instant;

use crate::conversation::Conversation;
use crate::ledger::{Later, Ledger};
use crate::reign::Reign;
use crate::{ChatView, Stored, history};

/// Messages that are read at once: with the largest that there can be it is 16 MiB.
const PAGE_MAX: usize = 16;

/// Keeps chats that are over, each at most once, and what belongs to messages. That lies in the log of its chat: who leads the
/// one decides about the other.
pub trait Archives: fmt::Debug + Send + Sync + 'static {
    /// The version under which a chat is archived, if it is.
    fn find(&self, chat: ChatToken, until: Instant) -> Later<'_, Result<Option<u64>, NotArchived>>;
    /// Archives a chat, and gives the version. The same again is the same version. Dropping the future gives it up,
    /// unless it was about to become true.
    fn put<'a>(&'a self, over: &'a OverChat<'a>) -> Later<'a, Result<u64, NotArchived>>;
    /// The version of an attachment that can be seen now: this one, or the newest if none is named.
    fn look<'a>(
        &'a self,
        key: &'a str,
        version: Option<u64>,
        until: Instant,
    ) -> Later<'a, Result<Option<u64>, NotArchived>>;
    /// Deletes a version of an attachment. The same again, and what was never there, changes nothing.
    fn remove<'a>(
        &'a self,
        key: &'a str,
        version: u64,
        until: Instant,
    ) -> Later<'a, Result<(), NotArchived>>;
    /// Deletes all attachments of a chat that is about to be forgotten, unless it is archived: then they belong to
    /// its archive.
    fn clear(&self, chat: ChatToken, until: Instant) -> Later<'_, Result<(), NotArchived>>;
}

/// A chat was not archived, or it is not known whether it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotArchived {
    /// It is archived already, with other content. That stays.
    #[error("it is archived already, with other content")]
    There,
    /// It is not known whether it is. It can be tried again.
    #[error("{0}")]
    Failed(String),
}

/// A chat that is over, with its messages as the node that leads it reads them.
pub struct OverChat<'a> {
    /// What it looks like.
    pub view: ChatView,
    pub(crate) reign: &'a Reign,
    pub(crate) ledger: &'a dyn Ledger,
    pub(crate) conversation: &'a Arc<Conversation>,
    /// Its messages are these from the first on: what came later is not part of it.
    pub(crate) messages: u64,
    pub(crate) plan: Arc<Plan>,
}

/// Its messages from the first to the last, a few at a time.
#[derive(Debug)]
pub struct Pages<'a> {
    over: &'a OverChat<'a>,
    after: u64,
}

impl<'a> OverChat<'a> {
    pub(crate) fn new(
        view: ChatView,
        chat: &Chat,
        plan: &Arc<Plan>,
        reign: &'a Reign,
        ledger: &'a dyn Ledger,
        conversation: &'a Arc<Conversation>,
    ) -> Self {
        let (messages, plan) = (chat.messages, Arc::clone(plan));
        Self { view, reign, ledger, conversation, messages, plan }
    }

    /// What was planned for it.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Its messages, from the first: as often as wanted, and the same every time. Hidden ones are among them, those
    /// of kinds that are not kept are not.
    pub fn pages(&self) -> Pages<'_> {
        Pages { over: self, after: 0 }
    }
}

impl Pages<'_> {
    /// The next few; `None` behind the last.
    ///
    /// # Errors
    /// [`NotArchived::Failed`]: the log cannot be read, or this node leads the chat no more.
    pub async fn next(&mut self) -> Result<Option<Vec<Stored>>, NotArchived> {
        let over = self.over;
        while self.after < over.messages {
            if over.reign.closed().is_stopped() {
                return Err(NotArchived::Failed("this node leads the chat no more".to_owned()));
            }
            let stretch = over.conversation.stretch(self.after, Some(over.messages + 1), PAGE_MAX);
            let (partition, token) = (over.reign.partition, over.view.token);
            let fetched = history::fetch(over.ledger, partition, token, stretch.found).await;
            let unread = || NotArchived::Failed("its messages cannot be read".to_owned());
            let (mut stored, _read) = fetched.ok_or_else(unread)?;
            self.after = stored.last().ok_or_else(unread)?.cursor.seq;
            let dropped = &over.plan.drop_kinds;
            stored.retain(|stored| !dropped.contains(&stored.message.kind));
            if !stored.is_empty() {
                return Ok(Some(stored));
            }
        }
        Ok(None)
    }
}

impl fmt::Debug for OverChat<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OverChat").field("view", &self.view).finish_non_exhaustive()
    }
}
