//! The fields of a body, and why it is refused.

use serde_json::{Map, Value};

/// Longest name, as the host has it for members.
const NAME_BYTES_MAX: usize = 255;

/// Digits of the id of a message, and so of everything that one makes.
const ID_DIGITS: usize = 32;

/// Most characters of a reason, which may repeat what somebody sent.
const REASON_CHARS_MAX: usize = 200;

/// Why a message is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Stable, for programs.
    pub code: &'static str,
    /// For people.
    pub reason: String,
}

impl Refusal {
    pub(crate) fn new(code: &'static str, reason: &str) -> Self {
        Self { code, reason: reason.chars().take(REASON_CHARS_MAX).collect() }
    }

    /// A body that is not what its kind says.
    pub(crate) fn invalid(reason: &str) -> Self {
        Self::new("invalid-fields", reason)
    }
}

/// What a field is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Is {
    /// What a message made, by the name that it was given here.
    Id,
    /// Who or what, in a few words.
    Name,
    /// As long as a message may be.
    Text,
    /// A number of somebody else's, of 32 bits.
    Number,
    /// Unix milliseconds.
    Time,
    /// Yes or no.
    Flag,
}

/// Who says a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The sender, always.
    Sender,
    /// The sender, if they like.
    Choice,
    /// The plugin, and nobody else.
    Plugin,
}

/// A field of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    name: &'static str,
    is: Is,
    by: By,
}

/// A field that the sender says.
pub(crate) const fn said(name: &'static str, is: Is) -> Field {
    Field { name, is, by: By::Sender }
}

/// One that may be left out.
pub(crate) const fn perhaps(name: &'static str, is: Is) -> Field {
    Field { name, is, by: By::Choice }
}

/// One that is made here.
pub(crate) const fn made(name: &'static str) -> Field {
    Field { name, is: Is::Text, by: By::Plugin }
}

/// What was sent, without what is null: nothing but `fields`, and all that have to be said.
pub(crate) fn checked(
    mut sent: Map<String, Value>,
    fields: &[&[Field]],
) -> Result<Map<String, Value>, Refusal> {
    sent.retain(|_name, value| !value.is_null());
    let known = || fields.iter().flat_map(|fields| fields.iter());
    for (name, value) in &sent {
        let Some(field) = known().find(|field| field.name == name) else {
            return Err(Refusal::invalid(&format!("{name} is no field of it")));
        };
        if field.by == By::Plugin {
            return Err(Refusal::invalid(&format!("{name} is made here: leave it out")));
        }
        field.is.check(name, value)?;
    }
    let missing = known().find(|field| field.by == By::Sender && !sent.contains_key(field.name));
    match missing {
        Some(field) => Err(Refusal::invalid(&format!("{} is missing", field.name))),
        None => Ok(sent),
    }
}

impl Is {
    fn check(self, name: &str, value: &Value) -> Result<(), Refusal> {
        let (good, what) = match self {
            Self::Id => (value.as_str().is_some_and(is_id), "an id: 32 hex digits"),
            Self::Name => {
                (value.as_str().is_some_and(is_name), "a text of 1 to 255 bytes on one line")
            }
            Self::Text => (value.is_string(), "a text"),
            Self::Number => (
                value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
                "a whole number of 32 bits",
            ),
            Self::Time => (value.is_u64(), "Unix milliseconds"),
            Self::Flag => (value.is_boolean(), "true or false"),
        };
        if good { Ok(()) } else { Err(Refusal::invalid(&format!("{name} is not {what}"))) }
    }
}

fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}
