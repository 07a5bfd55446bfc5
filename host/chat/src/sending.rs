//! A message on its way in: the key first, then what the chat allows, the handlers, and the log.

use std::sync::Arc;

use model::{
    Answer, Change, Cursor, Dropped, Entry, KeyHash, Known, Message, MessageId, Remembered,
};

use crate::attaching;
use crate::chats::{Asked, Shared};
use crate::config::ROSTER_BYTES_MAX;
use crate::conversation::{Appended, Conversation, TurnGuard};
use crate::effects::{Full, SYSTEM, admits};
use crate::fingerprint::fingerprint;
use crate::plan::wants_all;
use crate::play::message_id;
use crate::ran::{Interrupt, Ran, not_committed};
use crate::reign::Reign;
use crate::storing::{entry, rejection};
use crate::turn::{JOIN, LEAVE, Nothing, Turn};
use crate::{Code, Durability, Refusal, RequestOutcome, Response, Send, Sent, history};

impl Shared {
    /// Sends a message.
    pub(crate) async fn send(&self, reign: &Reign, send: &Send, asked: &Asked<'_>) -> Ran {
        let conversation = self.existing(reign, send.token, asked).await?;
        let key = KeyHash::of(&send.sender, &send.key);
        let said = fingerprint(send);
        // One chain at a time, and the key is looked up inside of it: so a repeat that comes while its
        // first attempt still runs finds what became of that.
        let turn = self.turn(&conversation, asked).await?;
        let seen = conversation.appended(Some(key), reign.epoch);
        if let Some(known) = seen.known.filter(|_| !self.key_timed_out(&seen)) {
            drop(turn);
            let again = self.replay(reign, &conversation, send, &said, &seen, known, asked);
            return Box::pin(again).await;
        }
        let mut acks = self.acks(send)?;
        if wants_all(&seen.chat) {
            acks = acks.max(self.members(reign));
        }
        self.check(send)?;
        self.admits(reign, &seen, acks)?;
        if let Some(refusal) = self.forbids(&seen, send) {
            drop(turn);
            return Err(self.refuse(reign, &conversation, &seen, refusal, asked).await);
        }
        let exact = match &send.archive {
            Some(naming) => Box::pin(self.refer(&seen, send, naming, asked)).await?,
            None => None,
        };
        let send = exact.as_deref().unwrap_or(send);
        self.play(reign, &conversation, turn, seen, (send, said, acks), asked).await
    }

    /// Runs the handlers and stores what they made of it.
    async fn play(
        &self,
        reign: &Reign,
        conversation: &Arc<Conversation>,
        guard: TurnGuard<'_>,
        seen: Appended,
        (send, body_hash, acks): (&Send, [u8; 32], u8),
        asked: &Asked<'_>,
    ) -> Ran {
        let chain = self.chain(&seen.chat, asked).await?;
        let scene = self.scene(reign, &seen);
        let now_ms = scene.now_ms;
        let (joins, nothing) = (joins(&seen, send), model::Attrs::new());
        let mut turn = match joins {
            true => Turn::of_join(scene, &send.sender, None, &nothing),
            false => Turn::of_message(scene, send),
        };
        let mut stopped = self.ask(&chain, &mut turn).await.err();
        if joins && stopped.is_none() {
            turn.show_message(send);
            stopped = self.ask(&chain, &mut turn).await.err();
        }
        let (sender, key) = (send.sender.clone(), send.key.clone());
        let remembered = |answer| Some(Remembered { sender, key, body_hash, answer });
        let (changes, answer) = match turn.settled(send, stopped) {
            Ok(settled) => settled,
            Err(Nothing::Failed(refusal)) => return Err(Interrupt::Refused(refusal)),
            Err(Nothing::Full(full)) => {
                drop(guard);
                let refusal = chat_full(full);
                return Err(self.refuse(reign, conversation, &seen, refusal, asked).await);
            }
        };
        let changes = self.marked(&chain, &seen.chat, changes, 0);
        // Only what is stored can be said earlier than it is committed, to those who want to wait for few.
        let acks = match &answer {
            Answer::Stored { .. } => acks,
            Answer::Refused { .. } | Answer::Held { .. } | Answer::Twiml { .. } => {
                acks.max(self.ledger.commit())
            }
        };
        let entry = Arc::new(entry(&seen.chat, now_ms, changes, remembered(answer)));
        let messages_before = seen.chat.messages;
        // What was looked at shares the roster with the chat, which is about to change it: while both look,
        // the change would copy it.
        drop(seen);
        let stored = self.store(reign, conversation, guard, Arc::clone(&entry), acks, asked).await;
        answered(&entry, reign, reign.epoch, messages_before, stored?, false)
    }

    /// Answers a key that is known: as the first time, or that it was used for something else.
    #[expect(clippy::too_many_arguments, reason = "everything that was looked up for it")]
    async fn replay(
        &self,
        reign: &Reign,
        conversation: &Arc<Conversation>,
        send: &Send,
        said: &[u8; 32],
        seen: &Appended,
        known: Known,
        asked: &Asked<'_>,
    ) -> Ran {
        self.barrier(reign, conversation, seen, asked).await?;
        if !known.is_for(said) {
            let detail = "this Idempotency-Key was used for another message";
            return Err(Refusal::new(Code::IdempotencyConflict, detail).into());
        }
        let acks = self.acks(send)?;
        if acks > self.ledger.commit() {
            self.touch(reign, conversation, acks, asked).await?;
        }
        let first = history::entry(&*self.ledger, reign.partition, send.token, known.seq).await;
        let Some((epoch, mut entry)) = first else {
            let detail = "the first answer cannot be read at the moment";
            return Err(Refusal::new(Code::NotReady, detail)
                .with_outcome(RequestOutcome::Unknown)
                .into());
        };
        conversation.redacted(|all| all.show(&mut entry, known.messages_before));
        let of_key = |kept: &&Remembered| kept.sender == send.sender && kept.key == send.key;
        match entry.remembered.as_ref().filter(of_key) {
            Some(_first) => {
                answered(&entry, reign, epoch, known.messages_before, Durability::Quorum, true)
            }
            None => settled(&entry, epoch, known.messages_before, send),
        }
    }

    /// Waits until `acks` nodes hold everything of a chat: a node that holds an entry holds all before it.
    /// More than make a commit are counted for entries only, so this appends an empty one.
    async fn touch(
        &self,
        reign: &Reign,
        conversation: &Arc<Conversation>,
        acks: u8,
        asked: &Asked<'_>,
    ) -> Result<(), Interrupt> {
        // What is asked about is committed already, so whatever fails here, it may be there.
        let stored = |interrupt| match interrupt {
            Interrupt::Refused(mut refusal) => {
                refusal.outcome = Some(RequestOutcome::Unknown);
                Interrupt::Refused(refusal)
            }
            Interrupt::Ended { .. } | Interrupt::Behind => Interrupt::Ended { appended: true },
        };
        let turn = self.turn(conversation, asked).await.map_err(stored)?;
        let seen = conversation.appended(None, reign.epoch);
        self.admits(reign, &seen, acks).map_err(stored)?;
        let empty = Arc::new(entry(&seen.chat, self.now_ms(&seen.chat), Vec::new(), None));
        let held = self.store(reign, conversation, turn, empty, acks, asked).await;
        held.map(drop).map_err(stored)
    }

    /// How many nodes must hold it before the answer.
    fn acks(&self, send: &Send) -> Result<u8, Refusal> {
        let invalid = |detail: String| not_committed(Code::InvalidRequest, detail);
        let (copies, acks) =
            (self.ledger.copies(), send.acks.unwrap_or_else(|| self.ledger.commit()));
        if acks == 0 {
            return Err(invalid("w: at least 1".to_owned()));
        }
        if acks > copies {
            return Err(invalid(format!(
                "w: {acks} nodes can never hold it; there are {copies} copies"
            )));
        }
        if let Some(wanted) = send.copies
            && !(acks <= wanted && wanted <= copies)
        {
            return Err(invalid(format!(
                "n: {wanted} is not between w = {acks} and {copies} copies"
            )));
        }
        Ok(acks)
    }

    /// Whether a key would have been forgotten by now if keys were forgotten by the clock, which they are
    /// not.
    fn key_timed_out(&self, seen: &Appended) -> bool {
        let minute_ago = self.ledger.wall_ms().saturating_sub(60_000);
        self.config.sabotage.keys_by_clock && seen.chat.clock_ms < minute_ago
    }

    /// What a chat alone can know about the shape of a message.
    fn check(&self, send: &Send) -> Result<(), Refusal> {
        let most = self.config.message_bytes_max;
        if send.body.len() > most {
            let detail = format!("a message has at most {most} bytes");
            return Err(not_committed(Code::TooLarge, detail));
        }
        if send.kind == JOIN || send.kind == LEAVE {
            let detail =
                format!("kind: {} is how handlers are shown who comes and goes", send.kind);
            return Err(not_committed(Code::InvalidRequest, detail));
        }
        Ok(())
    }

    /// Why the chat as it is takes no message of this sender.
    fn forbids(&self, seen: &Appended, send: &Send) -> Option<Refusal> {
        if self.is_over(&seen.chat) {
            return Some(chat_ended());
        }
        if let Some(full) = attaching::is_full(&seen.chat, send) {
            return Some(full);
        }
        if !joins(seen, send) {
            return None;
        }
        let (nothing, most) = (model::Attrs::new(), self.config.roster_max);
        admits(&seen.chat, &send.sender, None, &nothing, most).err().map(chat_full)
    }
}

/// Whether the sender joins with this message.
fn joins(seen: &Appended, send: &Send) -> bool {
    send.sender != SYSTEM && !seen.chat.roster.contains_key(&send.sender)
}

/// The answer that `entry` holds for the request it was made for, after `messages_before` messages.
fn answered(
    entry: &Entry,
    reign: &Reign,
    epoch: u64,
    messages_before: u64,
    durability: Durability,
    replay: bool,
) -> Ran {
    let (own, skew_ms) = match entry.remembered.as_ref().map(|kept| &kept.answer) {
        Some(Answer::Held { id }) => return Ok(Response::Held { id: *id, replay }),
        Some(Answer::Stored { own, skew_ms }) => (*own, *skew_ms),
        Some(refused @ Answer::Refused { .. }) => {
            let mut refusal = rejection(refused.clone()).unwrap_or_else(lost);
            let id = message_id(reign.partition, entry.chat, epoch, entry.turn, 0);
            refusal.message = Some(Box::new(id));
            return Err(refusal.into());
        }
        // Nobody who sends has such a key.
        Some(Answer::Twiml { .. }) | None => return Err(lost().into()),
    };
    let place = usize::try_from(own).unwrap_or(usize::MAX);
    let message = entry.messages().nth(place).map(Arc::clone).ok_or_else(lost)?;
    // What was let go in the same turn was said by others.
    let let_go = |id: MessageId| {
        let settles =
            |change: &Change| matches!(change, Change::Settle { id: of, .. } if *of == id);
        entry.changes.iter().any(settles)
    };
    let also = entry.messages().map(|other| other.id);
    Ok(Response::Sent(Sent {
        replay,
        cursor: Cursor { epoch, seq: messages_before + u64::from(own) + 1 },
        skew_ms,
        durability,
        also: also.filter(|id| *id != message.id && !let_go(*id)).collect(),
        message,
    }))
}

/// What became of a message that was kept back, in the entry that settled it.
fn settled(entry: &Entry, epoch: u64, messages_before: u64, send: &Send) -> Ran {
    let settles = entry.changes.iter().find_map(|change| match change {
        Change::Settle { id, sender, key, dropped }
            if *sender == send.sender && *key == send.key =>
        {
            Some((*id, dropped))
        }
        _ => None,
    });
    let (id, dropped) = settles.ok_or_else(lost)?;
    if let Some(dropped) = dropped.clone() {
        let Dropped { plugin, code, reason } = dropped;
        let mut refusal = Refusal::rejected(plugin, code, reason, None);
        refusal.message = Some(Box::new(id));
        return Err(refusal.into());
    }
    let mut messages = (messages_before + 1..).zip(entry.messages());
    let stored: Option<(u64, &Arc<Message>)> = messages.find(|(_, message)| message.id == id);
    let (seq, message) = stored.ok_or_else(lost)?;
    Ok(Response::Sent(Sent {
        replay: true,
        cursor: Cursor { epoch, seq },
        skew_ms: None,
        durability: Durability::Quorum,
        also: Vec::new(),
        message: Arc::clone(message),
    }))
}

/// An entry does not hold the answer that it was remembered for.
pub(crate) fn lost() -> Refusal {
    Refusal::new(Code::Internal, "a stored answer is not in its entry")
}

/// The chat is over, by its end or by itself.
pub(crate) fn chat_ended() -> Refusal {
    not_committed(Code::ChatEnded, "the chat is over")
}

/// No more may join, or no more may be said of who is there.
pub(crate) fn chat_full(full: Full) -> Refusal {
    let detail = match full {
        Full::Places => "no more may join this chat".to_owned(),
        Full::Bytes => format!(
            "with this, who is in the chat would take over {ROSTER_BYTES_MAX} bytes, attributes and all"
        ),
    };
    not_committed(Code::ChatFull, detail)
}
