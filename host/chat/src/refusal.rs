//! Why something was not done, in words that clients can rely on.

use model::{ChatToken, MessageId};
use serde::{Deserialize, Serialize};

/// The stable part of a refusal; its name is in every problem. HTTP's number for it is `api`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Code {
    /// Not JSON, an unknown or missing field, a bad value.
    InvalidRequest,
    /// No chat has this token.
    UnknownChat,
    /// No message has this id.
    UnknownMessage,
    /// Nothing is there.
    NotFound,
    /// Not with this method.
    MethodNotAllowed,
    /// The request came too slowly, or the answer took too long.
    Timeout,
    /// A bug of ours.
    Internal,
    /// The key was used for something else.
    IdempotencyConflict,
    /// The chat is over.
    ChatEnded,
    /// No more may join.
    ChatFull,
    /// The chat cannot go from where it is to there.
    IllegalTransition,
    /// The body must say how long it is.
    LengthRequired,
    /// More bytes than allowed.
    TooLarge,
    /// Not a media type this endpoint reads.
    UnsupportedMediaType,
    /// Too many headers, or too long ones.
    HeadersTooLarge,
    /// A handler said no.
    Rejected,
    /// Too often.
    RateLimited,
    /// Too few nodes can answer.
    NoQuorum,
    /// A handler broke and its policy is `reject`.
    PluginFailed,
    /// This node is not as far as it must be for this.
    NotReady,
    /// Too much at once.
    Overloaded,
    /// No room on the disk.
    StorageFull,
    /// The asker has seen more than is committed here. To clients the same as [`Code::NotReady`]; apart,
    /// because a client alone can cause it, with a cursor it made up.
    Behind,
    /// It is not known who asks.
    Unauthenticated,
    /// Whoever asks may not.
    Forbidden,
    /// The component cannot become a live plugin. For operators.
    PluginUnusable,
    /// Somebody else changes the live plugins. For operators.
    PluginConflict,
    /// What is to go cannot be done without.
    Needed,
}

impl Code {
    /// As clients see it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid-request",
            Self::UnknownChat => "unknown-chat",
            Self::UnknownMessage => "unknown-message",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
            Self::IdempotencyConflict => "idempotency-conflict",
            Self::ChatEnded => "chat-ended",
            Self::ChatFull => "chat-full",
            Self::IllegalTransition => "illegal-transition",
            Self::LengthRequired => "length-required",
            Self::TooLarge => "too-large",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::HeadersTooLarge => "headers-too-large",
            Self::Rejected => "rejected",
            Self::RateLimited => "rate-limited",
            Self::NoQuorum => "no-quorum",
            Self::PluginFailed => "plugin-failed",
            Self::NotReady | Self::Behind => "not-ready",
            Self::Overloaded => "overloaded",
            Self::StorageFull => "storage-full",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::PluginUnusable => "plugin-unusable",
            Self::PluginConflict => "plugin-conflict",
            Self::Needed => "needed",
        }
    }

    /// Whether the same request, later or elsewhere, may well succeed.
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Timeout
                | Self::Internal
                | Self::RateLimited
                | Self::NoQuorum
                | Self::PluginFailed
                | Self::NotReady
                | Self::Overloaded
                | Self::StorageFull
                | Self::Behind
        )
    }
}

/// What is known about a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequestOutcome {
    /// It had no effect and never will.
    NotCommitted,
    /// It may have had its effect, or still get it. The same key makes a retry safe.
    Unknown,
}

/// A request was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{}: {detail}", code.name())]
pub struct Refusal {
    /// Why.
    pub code: Code,
    /// Why, for people; names the field if there is one.
    pub detail: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// The message that a handler refused: by this id its decision can be asked about.
    pub message: Option<Box<MessageId>>,
    /// Which handler.
    pub plugin: Option<String>,
    /// The handler's reason code.
    pub reason_code: Option<Box<str>>,
    /// The handler's reason, for people.
    pub reason: Option<String>,
    /// When it makes sense to try again.
    pub retry_after_ms: Option<u32>,
    /// Whether it may have had an effect.
    pub outcome: Option<RequestOutcome>,
    /// The chat that is not there, if it is archived.
    pub archive: Option<Box<ChatToken>>,
}

impl Refusal {
    /// A refusal that its code and some words tell fully.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retryable: code.is_retryable(),
            message: None,
            plugin: None,
            reason_code: None,
            reason: None,
            retry_after_ms: None,
            outcome: None,
            archive: None,
        }
    }

    /// There is no such chat; but it may be archived.
    pub(crate) fn unknown_chat(token: ChatToken, archive: Option<u64>) -> Self {
        match archive {
            None => Self::new(Code::UnknownChat, "there is no such chat"),
            Some(_version) => Self {
                archive: Some(Box::new(token)),
                ..Self::new(Code::UnknownChat, "the chat is forgotten; it is in the archive")
            },
        }
    }

    /// Says whether it may have had an effect.
    #[must_use]
    pub fn with_outcome(mut self, outcome: RequestOutcome) -> Self {
        self.outcome = Some(outcome);
        self
    }

    /// A handler's no.
    pub fn rejected(
        plugin: impl Into<String>,
        reason_code: impl Into<String>,
        reason: impl Into<String>,
        retry_after_ms: Option<u32>,
    ) -> Self {
        let (plugin, reason_code, reason) = (plugin.into(), reason_code.into(), reason.into());
        // A transition a handler forbids is the chat's own refusal, with the same number as if it were ours.
        let code = if reason_code == Code::IllegalTransition.name() {
            Code::IllegalTransition
        } else {
            Code::Rejected
        };
        let detail = format!("{plugin} refused it: {reason}");
        let mut refusal = Self::new(code, detail);
        refusal.plugin = Some(plugin);
        refusal.reason_code = Some(reason_code.into_boxed_str());
        refusal.reason = Some(reason);
        refusal.retry_after_ms = retry_after_ms;
        refusal
    }
}

#[cfg(test)]
mod tests {
    use super::{Code, Refusal};

    #[test]
    fn a_forbidden_transition_keeps_its_own_code() {
        let refusal = Refusal::rejected("status", "illegal-transition", "it has ended", None);
        assert_eq!(refusal.code, Code::IllegalTransition);
        assert_eq!(Refusal::rejected("moderation", "badword", "no", None).code, Code::Rejected);
    }
}
