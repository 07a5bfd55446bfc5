//! The folds of a partition's chats as bytes, and what a log has to say before such bytes are believed.
//!
//! A snapshot is only ever a shortcut. It is used if the log has, at the snapshot's place, an entry of the
//! same epoch and chain: a chain covers everything before it, so the log up to there is what was folded. In
//! every other case the log is folded from its first entry, and it is said why.
//!
//! Each part begins with the version. Then come pieces: a chat, then what belongs to the chat before, in
//! pieces of a bounded size. `docs/formats.md` has them.

use std::sync::Arc;

use bytes::Bytes;
use hashring::PartitionId;
use metrics::counter;
use model::{Booked, Chat, Cursor, KeyHash, Known, Standing};
use segment::{LogEnd, LogEntry, Snapshot};
use serde::{Deserialize, Serialize};

use crate::Sabotage;
use crate::fold::{Fold, Folds};
use crate::ledger::Ledger;
use crate::redacted::TakenBack;

/// The version of the pieces, and of what the fold makes of an entry: a snapshot of another one is not used.
/// Raised whenever one of them changes. What logs stand on has it too, and nothing else has what is in there: from
/// 4 on, whoever raises it goes on reading those before.
const VERSION: u8 = 6;

/// Knows all pieces up to what is planned for a chat that goes on, and no message that refers to the archive. It is written
/// where it can say everything, so that a node of that version reads it.
const FIFTH: u8 = 5;

/// Likewise; it knows all pieces up to the shelf.
const FOURTH: u8 = 4;

/// A part is full when it is so long: it is decoded in about a millisecond.
const PART_BYTES: usize = 256 << 10;

/// Places, or keys, of one piece.
const PIECE_MAX: usize = 4096;

/// Messages that were taken back of one piece: each has words of people.
const WORDS_MAX: usize = 128;

/// One piece of a snapshot.
#[derive(Debug, Serialize, Deserialize)]
enum Piece {
    /// A chat begins.
    Chat { chat: Box<Chat>, ended_at: Option<Cursor> },
    /// More of its messages, all of one epoch: for each, how far its entry is from that of the message before.
    Places { epoch: u64, rises: Vec<u64> },
    /// More of its keys, oldest first.
    Keys(Vec<(KeyHash, Known)>),
    /// Of no chat: more entries that are not the chats', each by how far it is from the one before.
    Others(Vec<u64>),
    /// Of no chat: what is owed to a service.
    Service(Box<Booked>),
    /// Of no chat: more entries of forgotten chats that services are owed, each likewise.
    Shelf(Vec<u64>),
    /// More of the messages that were taken back, each with its number.
    Redacted(Vec<(u64, TakenBack)>),
    /// More of what Twilio was told, oldest first, each with its time.
    Told(Vec<(KeyHash, Known, u64)>),
    /// More of those who are unavailable because that was said.
    Absent(Vec<String>),
    /// What is planned for it while it goes on.
    Standing(Box<Standing>),
    /// More of its messages that have attachments: each with its number, and the version that it names.
    Attached(Vec<(u64, u64)>),
    /// More of its attachments that are to go: version and key.
    Going(Vec<(u64, String)>),
}

/// Why a snapshot is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unused {
    /// It is of another version. The log has everything.
    #[error("it is of version {0}")]
    Version(u8),
    /// It says what cannot be. The log has everything.
    #[error("it cannot be understood: {0}")]
    Strange(&'static str),
    /// The log has something else there, or nothing. The log is right.
    #[error("the log differs from it at entry {}", .0.seq)]
    Differs(LogEnd),
    /// Whether the log agrees cannot be found out at the moment. The log is asked again later.
    #[error("the log cannot be read at entry {0}")]
    Unread(u64),
}

impl Unused {
    fn word(&self) -> &'static str {
        match self {
            Self::Version(_) => "version",
            Self::Strange(_) => "strange",
            Self::Differs(_) => "differs",
            Self::Unread(_) => "unread",
        }
    }
}

/// The folds to begin with: of the partition's snapshot if there is one at or before `until` and the log agrees
/// with it; otherwise of the base that the log begins with, or none.
pub(crate) async fn begin(
    ledger: &dyn Ledger,
    partition: PartitionId,
    until: u64,
    sabotage: Sabotage,
) -> Folds {
    let base = ledger.base(partition).map_or(0, |base| base.place.seq);
    // One from before the log's beginning is of no use: what follows it is not there.
    if ledger.kept(partition).is_none_or(|kept| kept.seq >= base) {
        let folds = shortcut(ledger, partition, until, sabotage).await;
        if folds.place.seq >= base {
            return folds;
        }
    }
    of_base(ledger, partition).await
}

/// The folds that the log begins with: none if it begins with its first entry. Nothing else has them: if they
/// cannot be read the log cannot be folded.
pub(crate) async fn of_base(ledger: &dyn Ledger, partition: PartitionId) -> Folds {
    let Some(Snapshot { place, parts }) = ledger.base_snapshot(partition).await else {
        return Folds::default();
    };
    match folds(place, parts).await {
        Ok(folds) => folds,
        Err(why) => {
            tracing::error!(%partition, %why, "ALARM: what the log begins with is not understood");
            Folds::default()
        }
    }
}

/// The folds of the snapshot, if it can be used.
async fn shortcut(
    ledger: &dyn Ledger,
    partition: PartitionId,
    until: u64,
    sabotage: Sabotage,
) -> Folds {
    let Some(snapshot) = ledger.snapshot(partition).await else { return Folds::default() };
    match believe(ledger, partition, snapshot, until, sabotage).await {
        Ok(folds) => folds,
        Err(why) => {
            counter!("carillon_snapshots_ignored_total", "why" => why.word()).increment(1);
            tracing::warn!(%partition, %why, "the snapshot is not used: the log is folded instead");
            if !matches!(why, Unused::Unread(_)) {
                ledger.forget_snapshot(partition);
            }
            Folds::default()
        }
    }
}

async fn believe(
    ledger: &dyn Ledger,
    partition: PartitionId,
    snapshot: Snapshot,
    until: u64,
    sabotage: Sabotage,
) -> Result<Folds, Unused> {
    let Snapshot { place, parts } = snapshot;
    if place.seq == 0 || place.seq > until {
        return Err(Unused::Differs(place));
    }
    if !sabotage.believe_snapshots {
        let base = ledger.base(partition).map(|base| base.place);
        let found = match base.filter(|base| base.seq >= place.seq) {
            Some(base) => Some(base),
            None => {
                let page = ledger.read(partition, place.seq, 1, 1).await;
                let page = page.ok_or(Unused::Unread(place.seq))?;
                let at = |it: &LogEntry| LogEnd { epoch: it.epoch, seq: it.seq, chain: it.chain };
                page.first().map(at)
            }
        };
        found.filter(|found| *found == place).ok_or(Unused::Differs(place))?;
    }
    folds(place, parts).await
}

/// The folds that the parts of a snapshot tell of.
async fn folds(place: LogEnd, parts: Vec<Bytes>) -> Result<Folds, Unused> {
    let mut folds = Folds { place, ..Folds::default() };
    let mut open = None;
    for part in parts {
        decode(&part, &mut folds, &mut open)?;
        tokio::task::yield_now().await;
    }
    close(&mut folds, open)?;
    Ok(folds)
}

/// The parts of a snapshot of these folds, in the order of the tokens: one is made whenever it is asked for.
pub(crate) fn parts(folds: &Folds) -> impl Iterator<Item = Bytes> {
    let mut tokens: Vec<_> = folds.chats.keys().collect();
    tokens.sort_unstable();
    let pieces = tokens.into_iter().filter_map(|token| folds.chats.get(token)).flat_map(pieces);
    let others = climbing(&folds.others).map(Piece::Others);
    let services = folds.outbox.services().map(|booked| Piece::Service(Box::new(booked.clone())));
    let shelf = climbing(&folds.shelf).map(Piece::Shelf);
    let mut pieces = pieces.chain(others).chain(services).chain(shelf);
    let version = folds.chats.values().map(least).max().unwrap_or(FOURTH);
    std::iter::from_fn(move || {
        let mut part = vec![version];
        while part.len() < PART_BYTES
            && let Some(piece) = pieces.next()
        {
            // Appending to a vector cannot fail.
            part = postcard::to_extend(&piece, part).unwrap_or_default();
        }
        (part.len() > 1).then(|| Bytes::from(part))
    })
}

fn pieces(fold: &Fold) -> impl Iterator<Item = Piece> {
    let Fold { chat, keys, places, redacted, ended_at } = fold;
    let begin = Piece::Chat { chat: Box::new(Chat::clone(chat)), ended_at: *ended_at };
    let places = places.rises(PIECE_MAX).map(|(epoch, rises)| Piece::Places { epoch, rises });
    let redacted = redacted.iter().map(|(number, taken)| (number, taken.clone()));
    let beside = in_pieces(redacted, WORDS_MAX, Piece::Redacted)
        .chain(in_pieces(keys.told(), PIECE_MAX, Piece::Told))
        .chain(in_pieces(chat.absent.iter().cloned(), PIECE_MAX, Piece::Absent))
        .chain(chat.standing.clone().map(Piece::Standing))
        .chain(in_pieces(chat.attached.named(), PIECE_MAX, Piece::Attached))
        .chain(in_pieces(going(chat), WORDS_MAX, Piece::Going));
    std::iter::once(begin)
        .chain(places)
        .chain(in_pieces(keys.iter(), PIECE_MAX, Piece::Keys))
        .chain(beside)
}

/// At most so many in each piece, and none in none.
fn in_pieces<T>(
    mut all: impl Iterator<Item = T>,
    most: usize,
    piece: impl Fn(Vec<T>) -> Piece,
) -> impl Iterator<Item = Piece> {
    std::iter::from_fn(move || {
        let some: Vec<T> = all.by_ref().take(most).collect();
        (!some.is_empty()).then(|| piece(some))
    })
}

fn going(chat: &Chat) -> impl Iterator<Item = (u64, String)> {
    chat.attached.going().map(|(version, key)| (version, key.to_owned()))
}

/// The lowest version that can say it.
fn least(fold: &Fold) -> u8 {
    let Fold { chat, keys, redacted, .. } = fold;
    let mut held = chat.waiting.iter().flat_map(|waiting| waiting.held.values());
    if !chat.attached.is_empty() || held.any(|held| held.message.archive.is_some()) {
        return VERSION;
    }
    let beside = !chat.absent.is_empty() || chat.standing.is_some();
    let fifth = beside || !redacted.is_empty() || keys.told().next().is_some();
    if fifth { FIFTH } else { FOURTH }
}

/// Adds the pieces of a part. The chat that is `open` may go on in the next one.
fn decode(part: &[u8], folds: &mut Folds, open: &mut Option<Fold>) -> Result<(), Unused> {
    let (version, mut rest) = part.split_first().ok_or(Unused::Strange("an empty part"))?;
    if !(FOURTH..=VERSION).contains(version) {
        return Err(Unused::Version(*version));
    }
    while !rest.is_empty() {
        let taken = postcard::take_from_bytes(rest);
        let (piece, left) = taken.map_err(|_not_one| Unused::Strange("a broken piece"))?;
        rest = left;
        match (piece, &mut *open) {
            (Piece::Chat { mut chat, ended_at }, _) => {
                close(folds, open.take())?;
                chat.weigh();
                *open = Some(Fold {
                    chat: chat.into(),
                    ended_at,
                    ..Fold::new(model::ChatToken([0; 16]))
                });
            }
            (Piece::Places { epoch, rises }, Some(fold)) => {
                fold.places.extend(epoch, &rises).ok_or(Unused::Strange("places that fall"))?;
            }
            (Piece::Keys(keys), Some(fold)) => {
                keys.into_iter().for_each(|(key, known)| fold.keys.put(key, known));
            }
            (Piece::Redacted(taken), Some(fold)) => {
                taken.into_iter().for_each(|(number, taken)| fold.redacted.put(number, taken));
            }
            (Piece::Told(told), Some(fold)) => {
                told.into_iter().for_each(|(key, known, at)| fold.keys.put_told(key, known, at));
            }
            (Piece::Absent(ids), Some(fold)) => chat(fold).absent.extend(ids),
            (Piece::Standing(standing), Some(fold)) => chat(fold).standing = Some(standing),
            (Piece::Attached(named), Some(fold)) => {
                let attached = &mut chat(fold).attached;
                named.into_iter().for_each(|(number, version)| attached.name(number, version));
            }
            (Piece::Going(going), Some(fold)) => {
                let attached = &mut chat(fold).attached;
                going.into_iter().for_each(|(version, key)| attached.go(version, key));
            }
            (Piece::Others(rises), _) => {
                close(folds, open.take())?;
                climb(&mut folds.others, rises)?;
            }
            (Piece::Service(booked), _) => {
                close(folds, open.take())?;
                folds.outbox.put(*booked);
            }
            (Piece::Shelf(rises), _) => {
                close(folds, open.take())?;
                climb(&mut folds.shelf, rises)?;
            }
            (
                Piece::Places { .. }
                | Piece::Keys(_)
                | Piece::Redacted(_)
                | Piece::Told(_)
                | Piece::Absent(_)
                | Piece::Standing(_)
                | Piece::Attached(_)
                | Piece::Going(_),
                None,
            ) => {
                return Err(Unused::Strange("something of no chat"));
            }
        }
    }
    Ok(())
}

fn chat(fold: &mut Fold) -> &mut Chat {
    Arc::make_mut(&mut fold.chat)
}

/// Numbers that rise, in pieces, each by how far it is from the one before.
fn climbing(numbers: &[u64]) -> impl Iterator<Item = Vec<u64>> {
    let mut before = 0;
    let mut rises =
        numbers.iter().map(move |number| number - std::mem::replace(&mut before, *number));
    std::iter::from_fn(move || {
        let piece: Vec<u64> = rises.by_ref().take(PIECE_MAX).collect();
        (!piece.is_empty()).then_some(piece)
    })
}

/// Adds such a piece.
fn climb(numbers: &mut Vec<u64>, rises: Vec<u64>) -> Result<(), Unused> {
    for rise in rises {
        let before = numbers.last().copied().unwrap_or(0);
        numbers.push(before.checked_add(rise).ok_or(Unused::Strange("entries beyond all"))?);
    }
    Ok(())
}

/// Nothing more comes of a chat.
fn close(folds: &mut Folds, open: Option<Fold>) -> Result<(), Unused> {
    let Some(fold) = open else { return Ok(()) };
    if fold.places.count() != fold.chat.messages {
        return Err(Unused::Strange("a chat without some of its messages"));
    }
    match folds.chats.insert(fold.chat.token, fold) {
        None => Ok(()),
        Some(_) => Err(Unused::Strange("a chat twice")),
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
