//! Refusals of the archive that the chats do not have: their names, numbers and titles.

use archive::{Code, Outcome, Refusal};
use chat::RequestOutcome;
use hyper::StatusCode;

/// A code beside those of the chats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    /// The bytes have another MD5 than was said.
    Md5Mismatch,
    /// The bytes are not as many as was said.
    SizeMismatch,
    /// Parts are missing.
    WrongOrder,
    /// There is no such collection.
    UnknownCollection,
    /// The key has no such version.
    UnknownVersion,
    /// It exists and is something else.
    CollectionExists,
    /// It is whole already, or was given up.
    AlreadyFinal,
    /// The same upload is under way.
    SegmentBusy,
    /// The range begins behind the last byte.
    Range,
    /// No copy verifies.
    Damaged,
}

impl Beside {
    /// As clients see it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Md5Mismatch => "md5-mismatch",
            Self::SizeMismatch => "size-mismatch",
            Self::WrongOrder => "wrong-order",
            Self::UnknownCollection => "unknown-collection",
            Self::UnknownVersion => "unknown-version",
            Self::CollectionExists => "collection-exists",
            Self::AlreadyFinal => "already-final",
            Self::SegmentBusy => "segment-busy",
            Self::Range => "range-not-satisfiable",
            Self::Damaged => "damaged",
        }
    }

    /// HTTP's number for it.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Md5Mismatch | Self::SizeMismatch | Self::WrongOrder => StatusCode::BAD_REQUEST,
            Self::UnknownCollection | Self::UnknownVersion => StatusCode::NOT_FOUND,
            Self::CollectionExists | Self::AlreadyFinal | Self::SegmentBusy => StatusCode::CONFLICT,
            Self::Range => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Damaged => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// In words.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Md5Mismatch => "The bytes are not those that were announced",
            Self::SizeMismatch => "The bytes are not as many as were announced",
            Self::WrongOrder => "Parts are missing",
            Self::UnknownCollection => "There is no such collection",
            Self::UnknownVersion => "There is no such version",
            Self::CollectionExists => "The collection is there and is another one",
            Self::AlreadyFinal => "It is decided already",
            Self::SegmentBusy => "It is under way already",
            Self::Range => "There are not so many bytes",
            Self::Damaged => "No copy of it is whole",
        }
    }
}

/// A refusal of the archive as one of the chats, and what they do not have. The chats' code is then only the
/// nearest, for what counts by kinds.
pub(crate) fn translate(refusal: Refusal) -> (chat::Refusal, Option<Beside>) {
    let (code, beside) = match refusal.code {
        Code::InvalidRequest => (chat::Code::InvalidRequest, None),
        Code::NotFound => (chat::Code::NotFound, None),
        Code::IdempotencyConflict => (chat::Code::IdempotencyConflict, None),
        Code::TooLarge => (chat::Code::TooLarge, None),
        Code::Timeout => (chat::Code::Timeout, None),
        Code::NoQuorum => (chat::Code::NoQuorum, None),
        Code::NotReady => (chat::Code::NotReady, None),
        Code::Overloaded => (chat::Code::Overloaded, None),
        Code::StorageFull => (chat::Code::StorageFull, None),
        Code::Internal => (chat::Code::Internal, None),
        Code::Md5Mismatch => (chat::Code::InvalidRequest, Some(Beside::Md5Mismatch)),
        Code::SizeMismatch => (chat::Code::InvalidRequest, Some(Beside::SizeMismatch)),
        Code::WrongOrder => (chat::Code::InvalidRequest, Some(Beside::WrongOrder)),
        Code::UnknownCollection => (chat::Code::NotFound, Some(Beside::UnknownCollection)),
        Code::UnknownVersion => (chat::Code::NotFound, Some(Beside::UnknownVersion)),
        Code::CollectionExists => (chat::Code::InvalidRequest, Some(Beside::CollectionExists)),
        Code::AlreadyFinal => (chat::Code::InvalidRequest, Some(Beside::AlreadyFinal)),
        Code::SegmentBusy => (chat::Code::InvalidRequest, Some(Beside::SegmentBusy)),
        Code::Range => (chat::Code::InvalidRequest, Some(Beside::Range)),
        Code::Damaged => (chat::Code::NotReady, Some(Beside::Damaged)),
    };
    let mut told = chat::Refusal::new(code, refusal.detail.clone());
    told.retryable = match beside {
        None => told.retryable,
        Some(_) => refusal.is_retryable(),
    };
    told.outcome = refusal.outcome.map(|outcome| match outcome {
        Outcome::NotCommitted => RequestOutcome::NotCommitted,
        Outcome::Unknown => RequestOutcome::Unknown,
    });
    (told, beside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Problem;

    #[test]
    fn every_refusal_has_its_number_and_its_name() {
        for (code, status, name) in [
            (Code::InvalidRequest, 400, "invalid-request"),
            (Code::Md5Mismatch, 400, "md5-mismatch"),
            (Code::SizeMismatch, 400, "size-mismatch"),
            (Code::WrongOrder, 400, "wrong-order"),
            (Code::UnknownCollection, 404, "unknown-collection"),
            (Code::NotFound, 404, "not-found"),
            (Code::UnknownVersion, 404, "unknown-version"),
            (Code::Timeout, 408, "timeout"),
            (Code::CollectionExists, 409, "collection-exists"),
            (Code::AlreadyFinal, 409, "already-final"),
            (Code::SegmentBusy, 409, "segment-busy"),
            (Code::IdempotencyConflict, 409, "idempotency-conflict"),
            (Code::TooLarge, 413, "too-large"),
            (Code::Range, 416, "range-not-satisfiable"),
            (Code::Damaged, 500, "damaged"),
            (Code::Internal, 500, "internal"),
            (Code::NoQuorum, 503, "no-quorum"),
            (Code::NotReady, 503, "not-ready"),
            (Code::Overloaded, 503, "overloaded"),
            (Code::StorageFull, 507, "storage-full"),
        ] {
            let problem = Problem::from(Refusal::new(code, "why"));
            assert_eq!((problem.status().as_u16(), problem.name()), (status, name));
        }
    }
}
