//! Why something was not done, in words that clients can rely on.

use serde::{Deserialize, Serialize};

/// The stable part of a refusal. HTTP's number for it is `api`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Code {
    /// A bad value.
    InvalidRequest,
    /// The bytes have another MD5 than was said.
    Md5Mismatch,
    /// The bytes are not as many as was said.
    SizeMismatch,
    /// Parts are missing, or it is not the part that may come.
    WrongOrder,
    /// There is no such collection.
    UnknownCollection,
    /// The key shows nothing.
    NotFound,
    /// The key has no such version.
    UnknownVersion,
    /// It exists and is something else.
    CollectionExists,
    /// It is whole already, or was given up.
    AlreadyFinal,
    /// The same upload is under way.
    SegmentBusy,
    /// The key was used for something else.
    IdempotencyConflict,
    /// The range begins behind the last byte.
    Range,
    /// More bytes than allowed.
    TooLarge,
    /// The bytes came too slowly.
    Timeout,
    /// Too few nodes can answer.
    NoQuorum,
    /// This node is not as far as it must be for this.
    NotReady,
    /// Too much at once.
    Overloaded,
    /// No room on the disks.
    StorageFull,
    /// No copy verifies.
    Damaged,
    /// A bug of ours.
    Internal,
}

/// What became of a request that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing was done.
    NotCommitted,
    /// It may have been done. Asking again with the same key is safe.
    Unknown,
}

/// A request that was not done, or not known to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people.
    pub detail: String,
    /// What became of it, where that is in question.
    pub outcome: Option<Outcome>,
}

impl Refusal {
    /// A refusal that says nothing of an outcome.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), outcome: None }
    }

    /// Nothing was done.
    pub(crate) fn not_committed(code: Code, detail: impl Into<String>) -> Self {
        Self { outcome: Some(Outcome::NotCommitted), ..Self::new(code, detail) }
    }

    /// Nobody knows.
    pub(crate) fn unknown(detail: impl Into<String>) -> Self {
        Self { outcome: Some(Outcome::Unknown), ..Self::new(Code::NoQuorum, detail) }
    }

    /// Whether the same request may do better in a moment.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.code,
            Code::NoQuorum
                | Code::NotReady
                | Code::Overloaded
                | Code::Timeout
                | Code::SegmentBusy
                | Code::Damaged
        )
    }
}
