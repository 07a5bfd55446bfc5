//! What a component can be asked about: one exported interface is one kind.
//!
//! The host asks for each of them by name and knows no world; a component that exports several is several
//! handlers in one.

use serde::Deserialize;

/// What a plugin can handle; each is an interface that it exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// What somebody wants to say, and who comes and goes.
    Message,
    /// What has happened in a chat.
    Events,
    /// Answers of services that it called.
    Callback,
    /// Calls and texts of telephones.
    Twilio,
    /// How long and how safely a chat is kept.
    Policy,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Message, Self::Events, Self::Callback, Self::Twilio, Self::Policy];

    /// The interface that is exported.
    pub const fn interface(self) -> &'static str {
        match self {
            Self::Message => "message-handler",
            Self::Events => "chat-events",
            Self::Callback => "callback-handler",
            Self::Twilio => "twilio-handler",
            Self::Policy => "persistence-policy",
        }
    }

    pub(crate) fn message() -> Vec<Self> {
        vec![Self::Message]
    }
}
