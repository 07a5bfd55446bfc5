//! What a twilio handler is asked and what it answers.
//!
//! Verbs stay typed until they are written as TwiML, so that a caller's name cannot become one; what a
//! handler writes itself (`raw`) has to be well-formed elements.

use serde::{Deserialize, Serialize};

use crate::bindings::exports::carillon::plugin::twilio_handler as wit;
use crate::check::{self, Fault};
use crate::xml;

/// Most verbs of one answer, prompts inside others included.
const VERBS_MAX: usize = 64;
/// Longest text of one verb.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// Longest address, number or name.
const NAME_BYTES_MAX: usize = 2 << 10;
/// Bytes of all texts of one answer; Twilio itself takes 64 KiB of TwiML.
const ANSWER_BYTES_MAX: usize = 48 << 10;

/// A request of Twilio, after its signature was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TwilioRequest {
    /// `voice`, `sms` or `status`.
    pub channel: String,
    /// What comes after the channel in the path.
    pub path: String,
    /// The call or message.
    pub sid: String,
    /// Who calls.
    pub caller: String,
    /// Who is called.
    pub callee: String,
    /// Everything else that was sent.
    pub params: Vec<(String, String)>,
    /// Twilio's own key for a repeat.
    pub idempotency: Option<String>,
}

/// What is played while something else is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// Said.
    Say(String),
    /// Played from an address.
    Play(String),
    /// Silence, in seconds.
    Pause(u32),
}

/// Digits are collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gather {
    /// Played meanwhile.
    pub prompts: Vec<Prompt>,
    /// How many.
    pub digits: u32,
    /// How long is waited for one, in seconds.
    pub timeout_s: u32,
    /// Where they are sent.
    pub action: String,
}

/// The caller is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Where it is sent.
    pub action: String,
    /// At most so long, in seconds.
    pub max_length_s: u32,
    /// How much silence ends it, in seconds.
    pub timeout_s: u32,
}

/// The caller joins others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conference {
    /// Which.
    pub name: String,
    /// How many may be in it.
    pub max_participants: Option<u32>,
    /// Whether it is recorded.
    pub recorded: bool,
    /// Where its end is told.
    pub action: Option<String>,
}

/// One thing that Twilio is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Something is said, played or waited for.
    Prompt(Prompt),
    /// Digits are collected.
    Gather(Gather),
    /// The caller is recorded.
    Record(Recording),
    /// Another number is called.
    Dial(String),
    /// The caller joins others.
    Conference(Conference),
    /// A text message is sent.
    Message(String),
    /// Twilio asks another address.
    Redirect(String),
    /// The call is not taken.
    Reject(String),
    /// The call ends.
    Hangup,
    /// TwiML as the handler wrote it.
    Raw(String),
}

impl TwilioRequest {
    pub(crate) fn to_wit(&self) -> wit::Request {
        wit::Request {
            channel: self.channel.clone(),
            path: self.path.clone(),
            sid: self.sid.clone(),
            caller: self.caller.clone(),
            callee: self.callee.clone(),
            params: self.params.clone(),
            idempotency: self.idempotency.clone(),
        }
    }
}

/// An answer as it may be written.
pub(crate) fn verbs(verbs: Vec<wit::Verb>) -> Result<Vec<Verb>, Fault> {
    let mut room = Room { verbs: VERBS_MAX, bytes: ANSWER_BYTES_MAX };
    verbs.into_iter().map(|verb| room.verb(verb)).collect()
}

/// What an answer may still hold.
struct Room {
    verbs: usize,
    bytes: usize,
}

impl Room {
    fn verb(&mut self, verb: wit::Verb) -> Result<Verb, Fault> {
        self.count()?;
        Ok(match verb {
            wit::Verb::Prompt(prompt) => Verb::Prompt(self.prompt(prompt)?),
            wit::Verb::Gather(wit::Gather { prompts, digits, timeout_s, action }) => {
                let prompts = prompts.into_iter().map(|prompt| {
                    self.count()?;
                    self.prompt(prompt)
                });
                let prompts = prompts.collect::<Result<_, _>>()?;
                Verb::Gather(Gather { prompts, digits, timeout_s, action: self.name(action)? })
            }
            wit::Verb::RecordAudio(wit::Recording { action, max_length_s, timeout_s }) => {
                Verb::Record(Recording { action: self.name(action)?, max_length_s, timeout_s })
            }
            wit::Verb::Dial(number) => Verb::Dial(self.name(number)?),
            wit::Verb::Conference(conference) => {
                let wit::Conference { name, max_participants, recorded, action } = conference;
                let name = self.name(name)?;
                let action = action.map(|action| self.name(action)).transpose()?;
                Verb::Conference(Conference { name, max_participants, recorded, action })
            }
            wit::Verb::Message(text) => Verb::Message(self.text(text)?),
            wit::Verb::Redirect(to) => Verb::Redirect(self.name(to)?),
            wit::Verb::Reject(reason) => Verb::Reject(self.name(reason)?),
            wit::Verb::Hangup => Verb::Hangup,
            wit::Verb::Raw(text) => {
                let text = self.text(text)?;
                xml::check(&text).map_err(|what| invalid(format!("raw TwiML: {what}")))?;
                Verb::Raw(text)
            }
        })
    }

    fn prompt(&mut self, prompt: wit::Prompt) -> Result<Prompt, Fault> {
        Ok(match prompt {
            wit::Prompt::Say(text) => Prompt::Say(self.text(text)?),
            wit::Prompt::Play(from) => Prompt::Play(self.name(from)?),
            wit::Prompt::Pause(seconds) => Prompt::Pause(seconds),
        })
    }

    fn text(&mut self, text: String) -> Result<String, Fault> {
        self.take("bytes of a text", text, TEXT_BYTES_MAX)
    }

    fn name(&mut self, name: String) -> Result<String, Fault> {
        self.take("bytes of an address or name", name, NAME_BYTES_MAX)
    }

    fn take(&mut self, what: &str, text: String, most: usize) -> Result<String, Fault> {
        check::at_most(what, text.len(), most)?;
        if !xml::is_text(&text) {
            return Err(invalid(
                "a text has control characters, which TwiML cannot carry".to_owned(),
            ));
        }
        let left = self.bytes.checked_sub(text.len());
        self.bytes = left.ok_or_else(|| too_large(ANSWER_BYTES_MAX, "bytes"))?;
        Ok(text)
    }

    fn count(&mut self) -> Result<(), Fault> {
        self.verbs = self.verbs.checked_sub(1).ok_or_else(|| too_large(VERBS_MAX, "verbs"))?;
        Ok(())
    }
}

fn invalid(detail: String) -> Fault {
    Fault { code: "invalid", detail }
}

fn too_large(most: usize, of: &str) -> Fault {
    Fault { code: "too-large", detail: format!("an answer has at most {most} {of}") }
}
