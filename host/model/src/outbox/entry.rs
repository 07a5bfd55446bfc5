//! A log entry about what is owed to services, and its bytes.
//!
//! The first byte is [`OUTBOX`], the second the version, the rest postcard. One entry can say several
//! things, so that what belongs together is there together or not at all.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The first byte of an entry that is about transactions, and no chat's.
pub const OUTBOX: u8 = b'T';

/// The newest version of everything behind the first two bytes. From 2 on something can be abandoned. An entry is
/// written in the lowest version that can say it, so that nodes of before can read what they know.
const VERSION: u8 = 2;

/// Whether a log entry's payload is about transactions.
pub fn is_outbox(payload: &[u8]) -> bool {
    payload.first() == Some(&OUTBOX)
}

/// How a service wants its events written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// As a Matrix home server does it.
    Matrix,
    /// As Standard Webhooks does it.
    Webhook,
}

/// A dialect nobody here speaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a dialect is \"matrix\" or \"webhook\", not {0:?}")]
pub struct InvalidDialect(String);

impl FromStr for Dialect {
    type Err = InvalidDialect;

    fn from_str(text: &str) -> Result<Self, InvalidDialect> {
        match text {
            "matrix" => Ok(Self::Matrix),
            "webhook" => Ok(Self::Webhook),
            other => Err(InvalidDialect(other.to_owned())),
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Matrix => "matrix",
            Self::Webhook => "webhook",
        })
    }
}

/// What the cluster has to know of a service: what concerns it, and in which words. Neither its address
/// nor what proves who sends is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Its name.
    pub name: String,
    /// Rises when the cluster's record of it changes; 0 where there was none.
    pub revision: u64,
    /// How it wants its events.
    pub dialect: Dialect,
    /// Which kinds concern it: a kind, the beginning of kinds and `*`, or `*` alone.
    pub kinds: Vec<String>,
}

impl ServiceRecord {
    /// Whether messages of this kind concern it.
    pub fn wants(&self, kind: &str) -> bool {
        wants(&self.kinds, kind)
    }
}

/// Whether one of `kinds` is, or begins, this one.
pub(super) fn wants(kinds: &[String], kind: &str) -> bool {
    kinds.iter().any(|wanted| match wanted.strip_suffix('*') {
        Some(start) => kind.starts_with(start),
        None => wanted == kind,
    })
}

/// Where an event stands in its partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventPlace {
    /// The entry's number.
    pub seq: u64,
    /// Which of the entry's messages.
    pub index: u32,
    /// The entry's epoch.
    pub epoch: u64,
    /// Which of its chat's messages, from 1; 0 when the chat was forgotten before the event was cut.
    pub number: u64,
}

/// What a transaction is called within its partition: the entry that froze it, and which of those that the
/// entry froze. An entry's place is never given twice, so neither is this.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct FrozenId {
    /// The entry's epoch.
    pub epoch: u64,
    /// The entry's number.
    pub seq: u64,
    /// Which of the entry's transactions, from 0.
    pub index: u16,
}

/// What is sent together, under one id and with the same bytes each time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// In whose words.
    pub dialect: Dialect,
    /// In which version of them.
    pub render: u8,
    /// What, in the order of the log.
    pub events: Vec<EventPlace>,
    /// SHA-256 of what is sent: where it differs, nothing is sent.
    pub hash: [u8; 32],
    /// How often its events were sent and not all taken.
    pub rounds: u8,
}

/// One thing that is so from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutboxChange {
    /// What comes from here on concerns this service; or it is described anew.
    Service {
        /// What of it is known.
        record: ServiceRecord,
        /// Whether what stands in the log before concerns it too. Only heard when it is new.
        from_start: bool,
    },
    /// Nothing concerns this service any more, and what it was owed is given up.
    Forget {
        /// Its name.
        service: String,
    },
    /// These events are sent together from now on.
    Cut {
        /// To whom.
        service: String,
        /// What; no events: only that everything before `upto` was looked at.
        part: Part,
        /// Where they were looked for from: not heard if that is not where the lane stands.
        from: (u64, u32),
        /// Everything of this service before this place is cut: an entry, and one of its messages.
        upto: (u64, u32),
    },
    /// A transaction is over. Its events that are neither sent again nor put aside are done.
    Settle {
        /// Whose.
        service: String,
        /// Which.
        id: FrozenId,
        /// Goes again in its place, in this order, under new ids.
        again: Vec<Part>,
        /// Put aside.
        parked: Vec<EventPlace>,
        /// The last answer's status.
        status: Option<u16>,
    },
    /// What was put aside under this id goes again, as the next of its lane, with the same bytes.
    Replay {
        /// Whose.
        service: String,
        /// Which.
        id: FrozenId,
    },
    /// A transaction has waited for longer than its service's events are kept: what is in it is given up.
    Abandon {
        /// Whose.
        service: String,
        /// Which.
        id: FrozenId,
    },
}

impl OutboxChange {
    fn version(&self) -> u8 {
        match self {
            Self::Service { .. }
            | Self::Forget { .. }
            | Self::Cut { .. }
            | Self::Settle { .. }
            | Self::Replay { .. } => 1,
            Self::Abandon { .. } => 2,
        }
    }
}

/// An entry about what is owed to services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxEntry {
    /// Unix milliseconds, for display only.
    pub time_ms: u64,
    /// What is so, in this order.
    pub changes: Vec<OutboxChange>,
}

/// Bytes that are no entry of this version. A newer node may know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an entry about transactions that this version knows")]
pub struct StrangeOutbox;

impl OutboxEntry {
    /// As a log entry's payload.
    pub fn encode(&self) -> Vec<u8> {
        // Plain data into memory: nothing can fail.
        let version = self.changes.iter().map(OutboxChange::version).max().unwrap_or(1);
        postcard::to_extend(self, vec![OUTBOX, version]).unwrap_or_default()
    }

    /// What a payload says.
    ///
    /// # Errors
    /// [`StrangeOutbox`]. Nothing that the bytes claim is believed before it is there.
    pub fn decode(payload: &[u8]) -> Result<Self, StrangeOutbox> {
        let [OUTBOX, version @ 1..=VERSION, rest @ ..] = payload else { return Err(StrangeOutbox) };
        let read = postcard::take_from_bytes(rest);
        let (entry, left): (Self, _) = read.map_err(|_broken| StrangeOutbox)?;
        let knows = entry.changes.iter().all(|change| change.version() <= *version);
        if left.is_empty() && knows { Ok(entry) } else { Err(StrangeOutbox) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> OutboxEntry {
        let place = |seq| EventPlace { seq, index: 1, epoch: 3, number: 9 };
        let part = |seq| Part {
            dialect: Dialect::Webhook,
            render: 1,
            events: vec![place(seq)],
            hash: [u8::try_from(seq).unwrap(); 32],
            rounds: 2,
        };
        let service = "crm".to_owned();
        let record = ServiceRecord {
            name: service.clone(),
            revision: 4,
            dialect: Dialect::Matrix,
            kinds: vec!["*".to_owned()],
        };
        let id = FrozenId { epoch: 3, seq: 200, index: 1 };
        let changes = vec![
            OutboxChange::Service { record, from_start: true },
            OutboxChange::Cut {
                service: service.clone(),
                part: part(5),
                from: (4, 0),
                upto: (6, 0),
            },
            OutboxChange::Settle {
                service: service.clone(),
                id,
                again: vec![part(7), part(8)],
                parked: vec![place(10)],
                status: Some(413),
            },
            OutboxChange::Replay { service: service.clone(), id },
            OutboxChange::Forget { service },
        ];
        OutboxEntry { time_ms: 1_700_000_000_000, changes }
    }

    /// When this breaks, logs on disks are no longer readable.
    #[test]
    fn an_entry_has_the_bytes_it_always_had() {
        let golden = include_str!("../../tests/golden/outbox.v1.hex");
        let hex: String = entry().encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden.split_whitespace().collect::<String>());
    }

    fn abandons() -> OutboxEntry {
        let id = FrozenId { epoch: 3, seq: 200, index: 1 };
        let changes = vec![OutboxChange::Abandon { service: "crm".to_owned(), id }];
        OutboxEntry { time_ms: 1_700_000_000_000, changes }
    }

    /// When this breaks, logs on disks are no longer readable.
    #[test]
    fn what_is_abandoned_has_the_bytes_it_always_had() {
        let golden = include_str!("../../tests/golden/outbox.v2.hex");
        let hex: String = abandons().encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden.split_whitespace().collect::<String>());
        assert_eq!(OutboxEntry::decode(&abandons().encode()), Ok(abandons()));
        let older = [&[OUTBOX, 1], &abandons().encode()[2..]].concat();
        assert_eq!(OutboxEntry::decode(&older), Err(StrangeOutbox), "version 1 did not know it");
    }

    #[test]
    fn what_was_encoded_comes_back_and_everything_else_is_refused() {
        let bytes = entry().encode();
        assert!(is_outbox(&bytes));
        assert_eq!(OutboxEntry::decode(&bytes), Ok(entry()));
        for cut in 0..bytes.len() {
            assert_eq!(OutboxEntry::decode(&bytes[..cut]), Err(StrangeOutbox));
        }
        assert_eq!(OutboxEntry::decode(&[&bytes[..], b"x"].concat()), Err(StrangeOutbox));
        let newer = [&[OUTBOX, VERSION + 1], &bytes[2..]].concat();
        assert_eq!(OutboxEntry::decode(&newer), Err(StrangeOutbox));
    }

    #[test]
    fn a_kind_is_wanted_by_its_name_by_its_beginning_or_like_all() {
        let wants = |kinds: &[&str], kind| {
            let kinds = kinds.iter().map(|&kind| kind.to_owned()).collect();
            let name = String::new();
            ServiceRecord { name, revision: 0, dialect: Dialect::Matrix, kinds }.wants(kind)
        };
        assert!(wants(&["*"], "text") && wants(&["text"], "text") && wants(&["a", "b.*"], "b.c"));
        assert!(!wants(&[], "text") && !wants(&["tex"], "text") && !wants(&["b.*"], "b"));
    }
}
