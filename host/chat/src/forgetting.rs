//! Forgets chats that have been over for long, where an operator asks for that.
//!
//! The node that leads a chat looks now and then, and stores an entry; so every node forgets the same chat at
//! the same place of the log. From that entry on its token means nothing, and nothing of it is kept in
//! memory or in a snapshot. Age is what the leader's wall clock says against the times in the chat.

use std::sync::Arc;
use std::time::Duration;

use model::Change;

use crate::CallContext;
use crate::chats::{Asked, Shared};
use crate::conversation::Conversation;
use crate::lock::locked;
use crate::ran::Interrupt;
use crate::reign::Reign;
use crate::storing::entry;

impl Shared {
    /// Looks again and again, until the node stops.
    pub(crate) async fn forget_all(self: Arc<Self>) {
        let Some(age) = self.config.collect.forget else { return };
        let sweep = async {
            loop {
                runtime::sleep(self.config.collect.every).await;
                self.sweep(age).await;
            }
        };
        tokio::select! {
            biased;
            () = self.tasks.stop().stopped() => {}
            () = sweep => {}
        }
    }

    /// Forgets what is old enough of all that this node leads.
    async fn sweep(&self, age: Duration) {
        for slot in &self.reigns {
            let reign = locked(slot).as_ref().filter(|reign| reign.serves()).map(Arc::clone);
            let Some(reign) = reign else { continue };
            let mut chats = reign.conversations();
            // The same order whenever a simulation is repeated.
            chats.sort_unstable_by_key(|conversation| conversation.token);
            for conversation in chats {
                if self.stopping.is_stopped() || reign.closed().is_stopped() {
                    break;
                }
                if !self.is_old(&conversation, age) {
                    continue;
                }
                match self.forget(&reign, &conversation, age).await {
                    Ok(true) => self.meters.forgotten.increment(1),
                    Ok(false) => {}
                    // Whoever leads it looks again.
                    Err(interrupt) => {
                        tracing::debug!(chat = ?conversation.token, ?interrupt, "not forgotten yet");
                    }
                }
                runtime::sleep(self.config.collect.pause).await;
            }
            tokio::task::yield_now().await;
        }
    }

    fn is_old(&self, conversation: &Conversation, age: Duration) -> bool {
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        conversation.may_be_forgotten(self.ledger.wall_ms(), age_ms)
    }

    /// Forgets one chat, if it is still to be when its turn comes.
    async fn forget(
        &self,
        reign: &Reign,
        conversation: &Arc<Conversation>,
        age: Duration,
    ) -> Result<bool, Interrupt> {
        let context = CallContext::of_node(runtime::now() + self.config.timeout);
        let asked = Asked::of_node(&context);
        let guard = self.turn(conversation, &asked).await?;
        let seen = conversation.appended(None, reign.epoch);
        if !self.is_old(conversation, age) {
            return Ok(false);
        }
        let commit = self.ledger.commit();
        self.admits(reign, &seen, commit)?;
        let changes = vec![Change::Forget];
        let entry = Arc::new(entry(&seen.chat, self.now_ms(&seen.chat), changes, None));
        drop(seen);
        self.store(reign, conversation, guard, entry, commit, &asked).await?;
        Ok(true)
    }
}
