//! Why somebody was refused: counted, and told to nobody outside.

use ::metrics::Counter;
use chat::Code;

use crate::problem::Problem;

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No token.
    Missing,
    /// More than one `Authorization`.
    TwoHeaders,
    /// Not a token: not `Bearer`, not three parts, not base64, not JSON.
    Malformed,
    /// More bytes than a token has.
    TooLarge,
    /// A header that asks for more than is done here: `crit`, another `typ`, a key of its own.
    Header,
    /// No key has this name.
    UnknownKey,
    /// The header's algorithm is not the key's.
    Algorithm,
    /// The signature is not the key's.
    Signature,
    /// A claim is missing, or holds what it cannot.
    Claim,
    /// It was valid.
    Expired,
    /// It will be valid.
    NotYet,
    /// It lives longer than tokens may.
    TooLong,
    /// It is for somebody else.
    Audience,
    /// It is somebody else's.
    Issuer,
    /// It is valid, and has not the scope.
    Scope,
    /// It is valid, and not for this chat.
    Chat,
    /// It is valid, and somebody else's name was used.
    Subject,
}

impl Reason {
    const ALL: [Self; 17] = [
        Self::Missing,
        Self::TwoHeaders,
        Self::Malformed,
        Self::TooLarge,
        Self::Header,
        Self::UnknownKey,
        Self::Algorithm,
        Self::Signature,
        Self::Claim,
        Self::Expired,
        Self::NotYet,
        Self::TooLong,
        Self::Audience,
        Self::Issuer,
        Self::Scope,
        Self::Chat,
        Self::Subject,
    ];

    /// As it is counted.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::TwoHeaders => "two-headers",
            Self::Malformed => "malformed",
            Self::TooLarge => "too-large",
            Self::Header => "header",
            Self::UnknownKey => "unknown-key",
            Self::Algorithm => "algorithm",
            Self::Signature => "signature",
            Self::Claim => "claim",
            Self::Expired => "expired",
            Self::NotYet => "not-yet",
            Self::TooLong => "too-long",
            Self::Audience => "audience",
            Self::Issuer => "issuer",
            Self::Scope => "scope",
            Self::Chat => "chat",
            Self::Subject => "subject",
        }
    }

    /// As it is told: one of two answers, whatever the reason.
    pub(crate) fn problem(self) -> Problem {
        match self {
            Self::Scope | Self::Chat | Self::Subject => {
                Problem::new(Code::Forbidden, "the token does not allow this")
            }
            Self::Missing
            | Self::TwoHeaders
            | Self::Malformed
            | Self::TooLarge
            | Self::Header
            | Self::UnknownKey
            | Self::Algorithm
            | Self::Signature
            | Self::Claim
            | Self::Expired
            | Self::NotYet
            | Self::TooLong
            | Self::Audience
            | Self::Issuer => {
                let detail = "one header Authorization: Bearer TOKEN with a valid token is needed";
                Problem::new(Code::Unauthenticated, detail)
            }
        }
    }
}

/// What is counted of authentication. By reason and never by subject: names have no place in metrics.
#[derive(Debug)]
pub(crate) struct Counters {
    refused: Vec<Counter>,
    /// Tokens whose signature was looked at.
    pub(crate) verified: Counter,
    /// Tokens that were known already.
    pub(crate) known: Counter,
}

impl Counters {
    pub(crate) fn new() -> Self {
        let refused = |reason: Reason| ::metrics::counter!("carillon_auth_refusals_total", "reason" => reason.name());
        Self {
            refused: Reason::ALL.into_iter().map(refused).collect(),
            verified: ::metrics::counter!("carillon_auth_tokens_verified_total"),
            known: ::metrics::counter!("carillon_auth_tokens_known_total"),
        }
    }

    pub(crate) fn refused(&self, reason: Reason) {
        let at = Reason::ALL.iter().position(|one| *one == reason);
        if let Some(counter) = at.and_then(|at| self.refused.get(at)) {
            counter.increment(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_has_a_counter_of_its_own_and_one_of_two_answers() {
        let names: BTreeSet<_> = Reason::ALL.into_iter().map(Reason::name).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        let told: BTreeSet<_> =
            Reason::ALL.into_iter().map(|reason| reason.problem().body("r")).collect();
        assert_eq!(told.len(), 2);
    }
}
