//! What the log knows of one decision about a message: found by the message's id, as it was before and as it
//! was asked.
//!
//! The chat before the turn is the fold of its entries before it; ids, time and dice follow from chat, epoch
//! and turn; the message is in the entry. All of it is committed, so what is found here stays so.

use std::sync::Arc;

use hashring::PartitionId;
use model::encode;
use model::{
    Answer, Body, Change, Chat, ChatToken, Cursor, Entry, Lineup, Message, MessageId, Remembered,
};
use plugin::{Earlier, Later, Past};

use crate::chats::Shared;
use crate::conversation::Found;
use crate::fold::Fold;
use crate::ledger::Ledger;
use crate::loading::{PAGE_BYTES_MAX, PAGE_ENTRIES_MAX};
use crate::places::Places;
use crate::play::{first_byte, message_id};
use crate::redacted::Redacted;
use crate::{Chats, Code, Refusal, Send, history};

/// A turn of the past in which handlers were asked about a message.
#[derive(Clone, Debug)]
pub struct Record {
    /// The chat.
    pub token: ChatToken,
    /// The message that they were asked about.
    pub message: MessageId,
    /// Who they were; `None` in entries from before that was recorded.
    pub lineup: Option<Arc<Lineup>>,
    /// The epoch in which it was decided.
    pub epoch: u64,
    /// The chat's turn.
    pub turn: u64,
    /// When, on the chat's clock.
    pub time_ms: u64,
    pub(crate) partition: PartitionId,
    pub(crate) entry: Entry,
    /// The chat before it.
    pub(crate) chat: Arc<Chat>,
    pub(crate) places: Arc<Places>,
    /// What was taken back of the chat until now.
    pub(crate) redacted: Arc<Redacted>,
    /// What was asked.
    pub(crate) send: Send,
}

/// Where an entry is.
#[derive(Clone, Copy, Debug)]
struct Spot {
    partition: PartitionId,
    token: ChatToken,
    seq: u64,
}

impl Record {
    /// Who sent the message.
    pub fn sender(&self) -> &str {
        &self.send.sender
    }

    /// Of which kind it was.
    pub fn kind(&self) -> &str {
        &self.send.kind
    }

    /// What it said.
    pub fn body(&self) -> &Body {
        &self.send.body
    }

    /// The number of the handlers that decided it.
    pub fn generation(&self) -> u64 {
        let of = |change: &Change| match change {
            Change::Generation(generation) => Some(*generation),
            Change::Lineup(lineup) => Some(lineup.generation),
            _ => None,
        };
        let own = self.entry.changes.iter().filter_map(of).max().unwrap_or_default();
        own.max(self.chat.generation)
    }
}

impl Chats {
    /// The record of the turn in which handlers were asked about the message of this id, or added it. Looked
    /// for in this node's log, as far as it is committed.
    ///
    /// # Errors
    /// [`Refusal`]: there is none here, or it does not hold what was asked.
    pub async fn record(&self, id: MessageId) -> Result<Record, Refusal> {
        let Ok(_alone) = self.shared.recalled.try_acquire() else {
            let detail = "another decision is being looked for on this node: ask again";
            return Err(Refusal::new(Code::Overloaded, detail));
        };
        let partitions = self.shared.ledger.partitions();
        for partition in partitions.all().filter(|one| first_byte(*one) == id.partition()) {
            if let Some(spot) = self.shared.spot(partition, id).await? {
                return self.shared.unfold(spot).await;
            }
        }
        let leads = partitions.all().find(|one| first_byte(*one) == id.partition());
        let leads = leads.and_then(|one| self.shared.ledger.view(one).primary.clone());
        let other = leads.filter(|node| *node != self.shared.node);
        let detail = match other {
            Some(node) => format!(
                "no handler is known to this node's log to have decided about {id}; ask {node}, which leads \
                 its partition"
            ),
            None => format!(
                "no entry of the log is about {id}: it was never sent, or nothing of it was stored because a \
                 handler broke"
            ),
        };
        Err(Refusal::new(Code::UnknownMessage, detail))
    }
}

impl Shared {
    /// The last entry of a partition that this node knows to be committed.
    fn committed(&self, partition: PartitionId) -> u64 {
        let view = self.ledger.view(partition);
        let reign = self.reign(partition, view.epoch);
        view.commit.max(reign.map_or(0, |reign| reign.committed()))
    }

    /// The entry that was decided when message `id` was sent, or that a handler added it to.
    async fn spot(&self, partition: PartitionId, id: MessageId) -> Result<Option<Spot>, Refusal> {
        let (mut next, end) = (1, self.committed(partition));
        while next <= end {
            for (seq, epoch, payload) in page(&*self.ledger, partition, &mut next).await? {
                if seq <= end
                    && let Ok(entry) = encode::decode(&payload)
                    && is_about(partition, epoch, &entry, id)
                {
                    return Ok(Some(Spot { partition, token: entry.chat, seq }));
                }
            }
        }
        Ok(None)
    }

    /// Folds the chat up to the entry at a spot.
    async fn unfold(&self, spot: Spot) -> Result<Record, Refusal> {
        let Spot { partition, token, seq: until } = spot;
        let mut fold = Fold::new(token);
        let (mut next, mut lineup) = (1, None);
        while next <= until {
            for (seq, epoch, payload) in page(&*self.ledger, partition, &mut next).await? {
                if seq > until || encode::chat_of(&payload) != Some(token) {
                    continue;
                }
                let entry = encode::decode(&payload).ok();
                let entry = entry.filter(|entry| entry.turn == fold.chat.turn);
                let entry = entry.ok_or_else(|| self.incomplete(partition, seq))?;
                for change in &entry.changes {
                    match change {
                        Change::Lineup(recorded) => lineup = Some(Arc::clone(recorded)),
                        Change::Generation(_) => lineup = None,
                        _ => {}
                    }
                }
                if seq == until {
                    let redacted = self.taken_back(spot, &fold).await?;
                    return recorded(partition, epoch, entry, fold, lineup, redacted);
                }
                fold.apply(epoch, seq, &entry);
            }
        }
        Err(self.incomplete(partition, until))
    }

    /// What was taken back of a chat until now: before a spot, and behind it.
    async fn taken_back(&self, spot: Spot, before: &Fold) -> Result<Redacted, Refusal> {
        let Spot { partition, token, seq } = spot;
        let mut redacted = before.redacted.clone();
        let (mut next, end) = (seq + 1, self.committed(partition));
        while next <= end {
            for (seq, _epoch, payload) in page(&*self.ledger, partition, &mut next).await? {
                if seq <= end && encode::chat_of(&payload) == Some(token) {
                    let entry = encode::decode(&payload).map_err(|_newer| unread(seq))?;
                    redacted.follow(seq, &entry);
                }
            }
        }
        Ok(redacted)
    }

    /// Not every entry of the chat up to `seq` is there.
    fn incomplete(&self, partition: PartitionId, seq: u64) -> Refusal {
        if self.ledger.base(partition).is_none() {
            return unread(seq);
        }
        let detail = "what the chat was then cannot be told: the log of its partition begins later on this node, and \
                      of what is before only messages and answers are kept";
        Refusal::new(Code::NotFound, detail)
    }
}

/// The next entries of a log: seq, epoch and payload of each.
async fn page(
    ledger: &dyn Ledger,
    partition: PartitionId,
    next: &mut u64,
) -> Result<Vec<(u64, u64, bytes::Bytes)>, Refusal> {
    let page = ledger.read(partition, *next, PAGE_ENTRIES_MAX, PAGE_BYTES_MAX).await;
    let page = page.filter(|page| page.last().is_some_and(|last| last.seq >= *next));
    let page = page.ok_or_else(|| unread(*next))?;
    *next = page.last().map_or(*next, |last| last.seq) + 1;
    // Whoever is served must not notice.
    tokio::task::yield_now().await;
    Ok(page.into_iter().map(|one| (one.seq, one.epoch, one.payload)).collect())
}

/// Whether an entry was decided when message `id` was sent, or holds it as one that a handler added.
fn is_about(partition: PartitionId, epoch: u64, entry: &Entry, id: MessageId) -> bool {
    if message_id(partition, entry.chat, epoch, entry.turn, 0) == id {
        return true;
    }
    let let_go = |change: &Change| matches!(change, Change::Settle { id: of, .. } if *of == id);
    entry.messages().any(|message| message.id == id) && !entry.changes.iter().any(let_go)
}

/// What an entry and the chat before it say of the turn.
fn recorded(
    partition: PartitionId,
    epoch: u64,
    entry: Entry,
    before: Fold,
    lineup: Option<Arc<Lineup>>,
    redacted: Redacted,
) -> Result<Record, Refusal> {
    if entry.taken_back(|id| redacted.iter().any(|(_, taken)| taken.id == id)) {
        let detail = "what was said in that turn was taken back: its decision cannot be made again";
        return Err(Refusal::new(Code::NotFound, detail));
    }
    let Fold { chat, places, .. } = before;
    let own = message_id(partition, chat.token, epoch, entry.turn, 0);
    let message = |kept: &&Remembered| !matches!(kept.answer, Answer::Twiml { .. });
    let Some(kept) = entry.remembered.as_ref().filter(message) else {
        let detail = "no message was asked about in that turn: a handler added it when it was told of an \
                      event or of an answer, or asked by Twilio, and only decisions about messages are made \
                      again";
        return Err(Refusal::new(Code::NotFound, detail));
    };
    let came = came(&entry, own).ok_or_else(|| {
        let detail = match kept.answer {
            Answer::Refused { .. } => {
                "what was asked is not in the record: it was refused before such messages were kept, or \
                 was too large to be"
            }
            Answer::Stored { .. } | Answer::Held { .. } | Answer::Twiml { .. } => {
                "its message is not in its entry"
            }
        };
        Refusal::new(Code::NotFound, detail)
    })?;
    Ok(Record {
        token: chat.token,
        message: own,
        lineup,
        epoch,
        turn: entry.turn,
        time_ms: entry.time_ms,
        partition,
        send: sent(&came, kept, chat.token),
        entry,
        chat,
        places: Arc::new(places),
        redacted: Arc::new(redacted),
    })
}

/// The message as it came.
fn came(entry: &Entry, own: MessageId) -> Option<Arc<Message>> {
    let whole = || {
        entry.changes.iter().find_map(|change| match change {
            Change::Message(message) | Change::Hold { message, .. } if message.id == own => {
                Some(message)
            }
            _ => None,
        })
    };
    let rewritten =
        |message: &&Arc<Message>| message.stamps.iter().any(|stamp| stamp.verdict == "rewrite");
    entry.asked().or_else(|| whole().filter(|message| !rewritten(message))).map(Arc::clone)
}

fn sent(came: &Message, kept: &Remembered, token: ChatToken) -> Send {
    Send {
        token,
        key: kept.key.clone(),
        acks: None,
        copies: None,
        sender: kept.sender.clone(),
        kind: came.kind.clone(),
        route: came.route.clone(),
        body: came.body.clone(),
        archive: came.archive.as_deref().map(|archive| Box::new(archive.into())),
        attrs: came.attrs.clone(),
        sent_ms: came.sent_ms,
    }
}

fn unread(seq: u64) -> Refusal {
    Refusal::new(Code::NotReady, format!("entry {seq} of the log cannot be read at the moment"))
}

/// What was said before a turn of the past.
#[derive(Debug)]
pub(crate) struct PastThen {
    ledger: Arc<dyn Ledger>,
    partition: PartitionId,
    token: ChatToken,
    places: Arc<Places>,
    redacted: Arc<Redacted>,
}

impl PastThen {
    pub(crate) fn of(ledger: &Arc<dyn Ledger>, record: &Record) -> Arc<dyn Past> {
        Arc::new(Self {
            ledger: Arc::clone(ledger),
            partition: record.partition,
            token: record.token,
            places: Arc::clone(&record.places),
            redacted: Arc::clone(&record.redacted),
        })
    }
}

impl Past for PastThen {
    fn before(&self, at: Cursor, limit: usize) -> Later<'_, Option<Vec<Earlier>>> {
        Box::pin(async move {
            let places = &self.places;
            let seq = places.resolve(at);
            let end = if places.cursor(seq) == at { seq } else { seq + 1 };
            let after = end.saturating_sub(1).saturating_sub(u64::try_from(limit).ok()?);
            let there = |seq| {
                let place = places.place(seq)?;
                let why = self.redacted.find(seq).map(Arc::clone);
                Some(Found::There { cursor: places.cursor(seq), place, why })
            };
            let found = (after + 1..end).filter_map(there).collect();
            let (stored, _read) =
                history::fetch(&*self.ledger, self.partition, self.token, found).await?;
            let earlier =
                stored.into_iter().map(|one| Earlier { at: one.cursor, message: one.message });
            Some(earlier.collect())
        })
    }
}
