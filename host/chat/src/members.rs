//! Who comes and goes. Handlers are shown both and may refuse; neither is a message.

use std::sync::Arc;

use model::{Attrs, Change, ChatToken};

use crate::Response;
use crate::chain::Chain;
use crate::chats::{Asked, Shared};
use crate::conversation::{Appended, Conversation, TurnGuard};
use crate::effects::admits;
use crate::ran::{Interrupt, Ran};
use crate::reign::Reign;
use crate::sending::{chat_ended, chat_full};
use crate::storing::{entry, rejection};
use crate::turn::{Stopped, Turn};

/// Somebody who wants to join.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joiner<'a> {
    /// Who.
    pub(crate) id: &'a str,
    /// As what, if they said so.
    pub(crate) role: Option<&'a str>,
    /// Free pairs.
    pub(crate) attrs: &'a Attrs,
}

impl Shared {
    /// Somebody joins, or joins again as something else.
    pub(crate) async fn join(
        &self,
        reign: &Reign,
        token: ChatToken,
        joiner: Joiner<'_>,
        asked: &Asked<'_>,
    ) -> Ran {
        let conversation = self.existing(reign, token, asked).await?;
        let guard = self.turn(&conversation, asked).await?;
        let seen = conversation.appended(None, reign.epoch);
        self.admits(reign, &seen, self.ledger.commit())?;
        let there = seen.chat.roster.get(joiner.id).map(|member| member.ordinal);
        let refusal = if self.is_over(&seen.chat) {
            Some(chat_ended())
        } else {
            let (Joiner { id, role, attrs }, most) = (joiner, self.config.roster_max);
            admits(&seen.chat, id, role, attrs, most).err().map(chat_full)
        };
        if let Some(refusal) = refusal {
            drop(guard);
            return Err(self.refuse(reign, &conversation, &seen, refusal, asked).await);
        }
        let ordinal = there.unwrap_or(seen.chat.joined + 1);
        let chain = self.chain(&seen.chat, asked).await?;
        let scene = self.scene(reign, &seen);
        let mut turn = Turn::of_join(scene, joiner.id, joiner.role, joiner.attrs);
        let decided = self.ask(&chain, &mut turn).await.map(|()| turn.changes());
        self.settle_member(reign, &conversation, guard, (seen, &chain), decided, asked).await?;
        Ok(Response::Joined { ordinal })
    }

    /// Somebody leaves, also a chat that is over.
    pub(crate) async fn leave(
        &self,
        reign: &Reign,
        token: ChatToken,
        id: &str,
        asked: &Asked<'_>,
    ) -> Ran {
        let conversation = self.existing(reign, token, asked).await?;
        let guard = self.turn(&conversation, asked).await?;
        let seen = conversation.appended(None, reign.epoch);
        self.admits(reign, &seen, self.ledger.commit())?;
        if !seen.chat.roster.contains_key(id) {
            drop(guard);
            self.barrier(reign, &conversation, &seen, asked).await?;
            return Ok(Response::Left);
        }
        let chain = self.chain(&seen.chat, asked).await?;
        let mut turn = Turn::of_leave(self.scene(reign, &seen), id);
        let decided = self.ask(&chain, &mut turn).await.map(|()| {
            turn.left(id);
            turn.changes()
        });
        self.settle_member(reign, &conversation, guard, (seen, &chain), decided, asked).await?;
        Ok(Response::Left)
    }

    /// Stores what the handlers decided about somebody who comes or goes. A refusal has no key to be
    /// remembered under, so one without effects leaves nothing.
    async fn settle_member(
        &self,
        reign: &Reign,
        conversation: &Arc<Conversation>,
        guard: TurnGuard<'_>,
        (seen, chain): (Appended, &Chain),
        decided: Result<Vec<Change>, Stopped>,
        asked: &Asked<'_>,
    ) -> Result<(), Interrupt> {
        let (changes, refusal) = match decided {
            Ok(changes) => (self.marked(chain, &seen.chat, changes, 0), None),
            Err(Stopped::Refused { changes, answer }) => {
                (self.marked(chain, &seen.chat, changes, 0), rejection(answer))
            }
            Err(Stopped::Failed(refusal)) => return Err(Interrupt::Refused(refusal)),
            Err(Stopped::Full(full)) => (Vec::new(), Some(chat_full(full))),
        };
        if changes.is_empty()
            && let Some(refusal) = refusal
        {
            drop(guard);
            return Err(self.refuse(reign, conversation, &seen, refusal, asked).await);
        }
        let entry = Arc::new(entry(&seen.chat, self.now_ms(&seen.chat), changes, None));
        // What was looked at shares the roster with the chat, which is about to change it: while both look, the change
        // would copy it.
        drop(seen);
        self.store(reign, conversation, guard, entry, self.ledger.commit(), asked).await?;
        refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
    }
}
