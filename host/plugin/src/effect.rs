//! What a handler can ask for.
//!
//! Nothing of it has happened: whoever called puts it into the log, with the message or the event it was
//! asked for, or drops it.

use std::fmt;

use model::{Attrs, Body, MessageId, Route};

/// Something a handler asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Keep a note in this chat; `None` forgets it.
    Note {
        /// The key.
        key: String,
        /// The value.
        value: Option<Vec<u8>>,
    },
    /// Add a message. It does not pass through the chain.
    Post(Draft),
    /// A pair on the chat.
    ChatAttr {
        /// The pair's name.
        name: String,
        /// Its value.
        value: String,
    },
    /// A pair on a member.
    MemberAttr {
        /// Who.
        member: String,
        /// The pair's name.
        name: String,
        /// Its value.
        value: String,
    },
    /// A member's status.
    MemberStatus {
        /// Who; not necessarily a member yet.
        member: String,
        /// `connected`, `disconnected` or `unavailable`.
        status: String,
    },
    /// Pending becomes started.
    StartChat,
    /// The chat ends.
    EndChat {
        /// Why, in words.
        reason: String,
    },
    /// A message that this plugin keeps back is let go.
    Release {
        /// Which.
        message: MessageId,
    },
    /// A message that this plugin keeps back is stored nowhere.
    DropHeld {
        /// Which.
        message: MessageId,
        /// Why, in words.
        reason: String,
    },
    /// A timer starts, in place of one of the same name.
    StartTimer {
        /// Its name, this plugin's own.
        name: String,
        /// How long it runs.
        after_ms: u32,
    },
    /// A timer is stopped.
    CancelTimer {
        /// Its name.
        name: String,
    },
    /// A service outside is to be called.
    Outcall {
        /// Which service; it was granted.
        service: String,
        /// Path and query.
        path: String,
        /// Headers; secrets are still named, not filled in.
        headers: Attrs,
        /// What is sent.
        body: Vec<u8>,
        /// Comes back with the answer; empty when none is wanted.
        correlation: String,
    },
}

/// A message that a handler adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The id it was promised.
    pub id: MessageId,
    /// What it is.
    pub kind: String,
    /// To whom it goes.
    pub route: Route,
    /// What it says.
    pub body: Body,
    /// Free pairs.
    pub attrs: Attrs,
}

/// In words that a person writes into a fixture, and reads in answers.
impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note { key, value: Some(value) } => write!(f, "keep {key} = {}", text(value)),
            Self::Note { key, value: None } => write!(f, "forget {key}"),
            Self::Post(draft) => {
                let to = match &draft.route {
                    Route::Everyone => "everyone".to_owned(),
                    Route::Nobody => "nobody".to_owned(),
                    Route::Only(names) => names.join(", "),
                };
                write!(f, "post {} to {to}: {}", draft.kind, draft.body)
            }
            Self::ChatAttr { name, value } => write!(f, "chat {name} = {value}"),
            Self::MemberAttr { member, name, value } => {
                write!(f, "member {member} {name} = {value}")
            }
            Self::MemberStatus { member, status } => write!(f, "member {member} is {status}"),
            Self::StartChat => f.write_str("start the chat"),
            Self::EndChat { reason } => write!(f, "end the chat: {reason}"),
            Self::Release { message } => write!(f, "release {message}"),
            Self::DropHeld { message, reason } => write!(f, "drop {message}: {reason}"),
            Self::StartTimer { name, after_ms } => write!(f, "start timer {name} of {after_ms} ms"),
            Self::CancelTimer { name } => write!(f, "cancel timer {name}"),
            Self::Outcall { service, path, body, .. } => {
                write!(f, "call {service} {path} with {} bytes", body.len())
            }
        }
    }
}

/// Bytes as a person would write them: text, or hexadecimal digits after 0x.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.iter().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::Effect;

    #[test]
    fn bytes_that_are_no_text_are_told_as_digits() {
        let note = |value: &[u8]| {
            Effect::Note { key: "k".into(), value: Some(value.to_vec()) }.to_string()
        };
        assert_eq!(note("grüße".as_bytes()), "keep k = grüße");
        assert_eq!(note(&[0xff, 0]), "keep k = 0xff00");
        assert_eq!(note(b"a\n"), "keep k = 0x610a");
    }
}
