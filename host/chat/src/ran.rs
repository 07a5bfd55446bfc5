//! How a request ends where its chat is led: answered, refused, or interrupted because the epoch did.

use replication::core::{Outcome, Why};

use crate::{Code, Durability, Refusal, RequestOutcome, Response};

/// What became of a request on one reign.
pub(crate) type Ran = Result<Response, Interrupt>;

/// Why a request has no response from this reign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// The answer is no.
    Refused(Box<Refusal>),
    /// The epoch ended, or the chat moved, under it: whoever leads now must be asked.
    Ended {
        /// Whether it may have had its effect.
        appended: bool,
    },
    /// The asker has seen more than this reign has.
    Behind,
}

impl From<Refusal> for Interrupt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

/// What replication made of an entry.
pub(crate) fn judge(outcome: Outcome) -> Result<Durability, Interrupt> {
    match outcome {
        Outcome::Quorum { .. } => Ok(Durability::Quorum),
        Outcome::Local { .. } => Ok(Durability::Local),
        Outcome::NotCommitted(why) if ends(why) => Err(Interrupt::Ended { appended: false }),
        Outcome::Unknown(why) if ends(why) => Err(Interrupt::Ended { appended: true }),
        Outcome::NotCommitted(why) => Err(because(why, RequestOutcome::NotCommitted).into()),
        Outcome::Unknown(why) => Err(because(why, RequestOutcome::Unknown).into()),
        // The answer to another question; nobody gives it to an entry.
        Outcome::Done => Err(because(Why::Timeout, RequestOutcome::Unknown).into()),
    }
}

/// Whether a send is not taken because somebody else should be asked, or will be.
pub(crate) const fn ends(why: Why) -> bool {
    matches!(why, Why::NotLeading | Why::Deposed | Why::Moved | Why::HandingOver)
}

/// The refusal for what replication could not do.
pub(crate) fn because(why: Why, outcome: RequestOutcome) -> Refusal {
    let (code, detail) = match why {
        Why::NotLeading | Why::Deposed | Why::Moved | Why::HandingOver => {
            (Code::NoQuorum, "nobody leads this chat's partition at the moment")
        }
        Why::Timeout => (Code::NoQuorum, "too few nodes have answered in time"),
        Why::TooFewMembers => {
            (Code::NoQuorum, "fewer nodes are there than must hold it before the answer")
        }
        Why::Overloaded => {
            (Code::Overloaded, "too much waits to be stored in this chat's partition")
        }
        Why::Full => (Code::StorageFull, "the disk of the node that leads this chat is full"),
    };
    Refusal::new(code, detail).with_outcome(outcome)
}

/// A refusal after which nothing has happened and nothing will.
pub(crate) fn not_committed(code: Code, detail: impl Into<String>) -> Refusal {
    Refusal::new(code, detail).with_outcome(RequestOutcome::NotCommitted)
}

/// The asker has seen more than is committed here.
pub(crate) fn behind() -> Refusal {
    Refusal::new(Code::Behind, "what you have seen is not committed here yet")
}

/// Nobody knows whether it happened.
pub(crate) fn unknown() -> Refusal {
    because(Why::Timeout, RequestOutcome::Unknown)
}

#[cfg(test)]
mod tests {
    use replication::core::{Outcome, Why};

    use super::{Interrupt, judge};
    use crate::{Code, Durability, RequestOutcome};

    #[test]
    fn there_are_three_outcomes_and_a_lost_epoch_is_asked_about_again() {
        assert_eq!(judge(Outcome::Quorum { seq: 1 }), Ok(Durability::Quorum));
        assert_eq!(judge(Outcome::Local { seq: 1 }), Ok(Durability::Local));
        let ended = |outcome| match judge(outcome) {
            Err(Interrupt::Ended { appended }) => appended,
            other => panic!("{other:?}"),
        };
        assert!(ended(Outcome::Unknown(Why::Deposed)));
        assert!(!ended(Outcome::NotCommitted(Why::Deposed)));
        for (outcome, code, known) in [
            (Outcome::Unknown(Why::Timeout), Code::NoQuorum, RequestOutcome::Unknown),
            (Outcome::NotCommitted(Why::Full), Code::StorageFull, RequestOutcome::NotCommitted),
        ] {
            let Err(Interrupt::Refused(refusal)) = judge(outcome) else { panic!("{outcome:?}") };
            assert_eq!((refusal.code, refusal.outcome), (code, Some(known)));
            assert!(refusal.retryable);
        }
    }
}
