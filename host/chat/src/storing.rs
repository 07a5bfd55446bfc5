//! From a decided turn to an entry that is stored, and what every request that changes a chat does first.

use std::sync::Arc;

use bytes::Bytes;
use model::encode;
use model::{Answer, Change, Chat, ChatToken, Entry, Remembered};
use plugin::Kind;
use replication::ENTRY_BYTES_MAX;

use crate::attaching::let_go;
use crate::chain::Chain;
use crate::chats::{Asked, Shared};
use crate::conversation::{Appended, Conversation, TurnGuard};
use crate::play::Scene;
use crate::ran::{Interrupt, because, ends, judge, not_committed, unknown};
use crate::reign::{NotAppended, Reign};
use crate::turn::{Flow, Stopped, Turn, Who};
use crate::{Code, Durability, Refusal, RequestOutcome};

/// Entries of one chat that may be appended and not committed: each is an answer somebody waits for.
const UNCOMMITTED_MAX: usize = 64;

impl Shared {
    /// The chat, if there is one. That there is none is only said when nobody else can lead by now.
    pub(crate) async fn existing(
        &self,
        reign: &Reign,
        token: ChatToken,
        asked: &Asked<'_>,
    ) -> Result<Arc<Conversation>, Interrupt> {
        let known = reign.conversation(token).filter(|chat| chat.head().is_some());
        if let Some(conversation) = &known
            && conversation.forgotten().0
        {
            // Whether it stays forgotten is known when that is committed.
            let patience = asked.deadline.min(runtime::now() + self.config.patience);
            if !conversation.until(reign, patience, |chat, _| chat.forgotten).await {
                if reign.closed().is_stopped() {
                    return Err(Interrupt::Ended { appended: false });
                }
                return Err(not_committed(Code::NotReady, "the chat is being forgotten").into());
            }
        }
        match known.filter(|conversation| !conversation.forgotten().0) {
            Some(conversation) => Ok(conversation),
            None => {
                if !self.config.sabotage.no_confirm {
                    Box::pin(self.confirm(reign, asked)).await?;
                }
                Err(Box::pin(self.absent(token, asked)).await.into())
            }
        }
    }

    /// Says that there is no such chat, and whether it is archived.
    async fn absent(&self, token: ChatToken, asked: &Asked<'_>) -> Refusal {
        match self.archived(token, asked.deadline).await {
            Ok(archive) => Refusal::unknown_chat(token, archive),
            Err(why) => {
                tracing::warn!(chat = ?token, %why, "whether a chat is archived is not known");
                let detail = "there is no such chat, and whether it is archived is not known yet";
                not_committed(Code::NotReady, detail)
            }
        }
    }

    /// Makes sure that this node leads, as of now.
    pub(crate) async fn confirm(&self, reign: &Reign, asked: &Asked<'_>) -> Result<(), Interrupt> {
        let outcome = runtime::timeout(asked.left(), self.ledger.confirm(reign.partition)).await;
        match outcome {
            Ok(replication::core::Outcome::Done) if !reign.closed().is_stopped() => Ok(()),
            Ok(_) => Err(Interrupt::Ended { appended: false }),
            Err(_elapsed) => {
                let detail = "too few nodes have confirmed in time that this node leads the chat";
                Err(not_committed(Code::NotReady, detail).into())
            }
        }
    }

    /// Waits for the chat's turn.
    pub(crate) async fn turn<'a>(
        &self,
        conversation: &'a Conversation,
        asked: &Asked<'_>,
    ) -> Result<TurnGuard<'a>, Interrupt> {
        let turn = conversation.turn(asked.deadline).await;
        turn.ok_or_else(|| {
            not_committed(Code::Overloaded, "too many requests wait for this chat").into()
        })
    }

    /// Whether an entry that `acks` nodes must hold can be taken, asked before anything is done for it.
    pub(crate) fn admits(&self, reign: &Reign, chat: &Appended, acks: u8) -> Result<(), Interrupt> {
        match self.ledger.view(reign.partition).admits(acks) {
            Ok(()) => {}
            Err(why) if ends(why) => return Err(Interrupt::Ended { appended: false }),
            Err(why) => return Err(because(why, RequestOutcome::NotCommitted).into()),
        }
        if chat.uncommitted >= UNCOMMITTED_MAX {
            let detail = "too much of this chat waits to be stored";
            return Err(not_committed(Code::Overloaded, detail).into());
        }
        Ok(())
    }

    /// Where and when the next turn is played.
    pub(crate) fn scene<'a>(&'a self, reign: &Reign, appended: &'a Appended) -> Scene<'a> {
        let chat = &appended.chat;
        Scene {
            chat,
            head: appended.head,
            partition: reign.partition,
            epoch: reign.epoch,
            now_ms: self.now_ms(chat),
            config: &self.config,
        }
    }

    /// The time of a chat's next entry: ours, but never before its last.
    pub(crate) fn now_ms(&self, chat: &Chat) -> u64 {
        chat.clock_ms.max(self.ledger.wall_ms())
    }

    /// Whether a chat is over, by its end or by itself.
    pub(crate) fn is_over(&self, chat: &Chat) -> bool {
        chat.over_ms(self.now_ms(chat), self.config.grace_ms()).is_some()
    }

    /// The handlers that decide a chat's next turn, from its beginning to its end: the live ones, unless the
    /// chat has seen later ones. This node is then behind others and says so, if it does not get there soon.
    pub(crate) async fn chain(
        &self,
        chat: &Chat,
        asked: &Asked<'_>,
    ) -> Result<Arc<Chain>, Interrupt> {
        let until = asked.deadline.min(runtime::now() + self.config.patience);
        let least = if self.config.sabotage.any_generation { 0 } else { chat.generation };
        self.chain.of(least, until).await.ok_or_else(|| {
            self.meters.behind.increment(1);
            let detail = match self.chain.now() {
                Some(chain) => format!(
                    "this chat was handled by generation {} of the plugins, and the node that leads it \
                     has generation {}",
                    chat.generation,
                    chain.generation()
                ),
                None => "the node that leads this chat has not loaded its plugins yet".to_owned(),
            };
            not_committed(Code::NotReady, detail).into()
        })
    }

    /// See [`Chain::marks`]: what is not told is counted.
    pub(crate) fn marked(
        &self,
        chain: &Chain,
        chat: &Chat,
        changes: Vec<Change>,
        depth: u8,
    ) -> Vec<Change> {
        let (changes, untold) = chain.marks(chat, changes, depth);
        if untold > 0 {
            self.meters.events_dropped.increment(u64::try_from(untold).unwrap_or(u64::MAX));
            tracing::debug!(chat = ?chat.token, untold, "too many events wait: these are not told");
        }
        changes
    }

    /// Asks every handler of a chain about what the turn shows.
    pub(crate) async fn ask(&self, chain: &Chain, turn: &mut Turn<'_>) -> Result<(), Stopped> {
        for handler in chain.of_kind(Kind::Message) {
            let call = self.told_of_past(turn.call(handler.name()), handler, turn.scene());
            let said = turn.said();
            let watched = self.chain.shadows.watch(handler.name(), &call, &said);
            let reply = handler.on_message(call, said).await;
            if let Some(watched) = watched {
                watched.answered(&reply);
            }
            if turn.hear(Who::of(handler), reply)? == Flow::Enough {
                break;
            }
        }
        Ok(())
    }

    /// Appends the entry of a turn, gives the turn to the next and waits until `acks` nodes hold it.
    pub(crate) async fn store(
        &self,
        reign: &Reign,
        conversation: &Arc<Conversation>,
        turn: TurnGuard<'_>,
        entry: Arc<Entry>,
        acks: u8,
        asked: &Asked<'_>,
    ) -> Result<Durability, Interrupt> {
        let payload = encode::encode(&entry).ok().filter(|bytes| bytes.len() <= ENTRY_BYTES_MAX);
        let payload = payload.map(Bytes::from).ok_or_else(|| {
            let detail = format!("with all that handlers added it is over {ENTRY_BYTES_MAX} bytes");
            not_committed(Code::TooLarge, detail)
        })?;
        let answer = reign.append(&*self.ledger, conversation, entry, payload, acks);
        drop(turn);
        let answer = answer.map_err(|why| match why {
            NotAppended::Closed | NotAppended::Moved => Interrupt::Ended { appended: false },
            NotAppended::Full => {
                not_committed(Code::Overloaded, "this node has too much to store").into()
            }
        })?;
        let Ok(Ok(outcome)) = runtime::timeout(asked.left(), answer).await else {
            return Err(unknown().into());
        };
        let judged = judge(outcome);
        let withdrawn = matches!(&judged, Err(Interrupt::Ended { appended: false }))
            || matches!(&judged, Err(Interrupt::Refused(refusal))
                if refusal.outcome == Some(RequestOutcome::NotCommitted));
        if withdrawn && !reign.closed().is_stopped() {
            // What we counted on is not in the log: nothing built on it may be answered.
            let (partition, epoch) = (reign.partition, reign.epoch);
            tracing::warn!(%partition, epoch, ?outcome, "an appended entry was refused: epoch given up");
            reign.close();
        }
        judged
    }

    /// Waits until everything that a look at the appended chat saw is committed.
    pub(crate) async fn barrier(
        &self,
        reign: &Reign,
        conversation: &Conversation,
        seen: &Appended,
        asked: &Asked<'_>,
    ) -> Result<(), Interrupt> {
        let turn = if self.config.sabotage.no_barrier { 0 } else { seen.chat.turn };
        if conversation.until(reign, asked.deadline, |chat, _| chat.turn >= turn).await {
            return Ok(());
        }
        if reign.closed().is_stopped() {
            // What was seen may be gone, or be what another attempt of the same request stored.
            return Err(Interrupt::Ended { appended: true });
        }
        Err(unknown().into())
    }

    /// Says no for what the appended chat is, once that cannot be withdrawn any more.
    pub(crate) async fn refuse(
        &self,
        reign: &Reign,
        conversation: &Conversation,
        seen: &Appended,
        refusal: Refusal,
        asked: &Asked<'_>,
    ) -> Interrupt {
        match Box::pin(self.barrier(reign, conversation, seen, asked)).await {
            Ok(()) => refusal.into(),
            Err(interrupt) => interrupt,
        }
    }
}

/// The entry of a turn, with what goes because messages that were kept back are dropped in it.
pub(crate) fn entry(
    chat: &Chat,
    time_ms: u64,
    mut changes: Vec<Change>,
    remembered: Option<Remembered>,
) -> Entry {
    let going = let_go(chat, &changes, time_ms);
    changes.extend(going);
    Entry { chat: chat.token, turn: chat.turn, time_ms, changes, remembered }
}

/// What a remembered refusal tells the client, now and again.
pub(crate) fn rejection(answer: Answer) -> Option<Refusal> {
    match answer {
        Answer::Refused { plugin, reason_code, reason, retry_after_ms } => {
            Some(Refusal::rejected(plugin, reason_code, reason, retry_after_ms))
        }
        Answer::Stored { .. } | Answer::Held { .. } | Answer::Twiml { .. } => None,
    }
}
