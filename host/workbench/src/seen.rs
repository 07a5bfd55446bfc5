//! What came of a step, in words that a person writes into a fixture.

use std::collections::BTreeMap;
use std::time::Duration;

use chat::{Refusal, Response};
use model::{Body, Route};
use plugin::{Effect, Failure, Reply, Verdict};
use serde::Serialize;

use crate::recorder::Heard;

/// What came of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Seen {
    /// The plugin's word, or its failure's; nothing if it was not asked.
    pub verdict: Option<String>,
    /// What the sender is told: `stored`, `held`, `joined`, `left`, `ended`, or the code of the refusal.
    pub answer: String,
    /// The rejection's code.
    pub code: Option<String>,
    /// Its words; of a failure or another refusal, what it says.
    pub reason: Option<String>,
    /// What is stored, as text.
    pub text: Option<String>,
    /// What is stored, as JSON.
    pub json: Option<serde_json::Value>,
    /// The decision's notes.
    pub notes: BTreeMap<String, String>,
    /// What the plugin asked for, in this order.
    pub effects: Vec<String>,
    /// What its dearest call cost.
    pub fuel: u64,
    /// How many calls there were: somebody who joins with a message is shown first.
    pub calls: usize,
    /// How long all of them took, in microseconds.
    pub took_us: u64,
}

impl Seen {
    pub(crate) fn new(calls: Vec<Heard>, answer: Result<Response, Refusal>) -> Self {
        let mut seen = Self { calls: calls.len(), ..Self::default() };
        let mut took = Duration::ZERO;
        for heard in calls {
            took += heard.took;
            match heard.reply {
                Ok(reply) => seen.hear(reply),
                Err(failure) => seen.fail(&failure),
            }
        }
        seen.took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        match answer {
            Ok(response) => seen.answered(response),
            Err(refusal) => seen.refused(refusal),
        }
        seen
    }

    fn hear(&mut self, reply: Reply) {
        self.verdict = Some(reply.verdict.name().to_owned());
        self.fuel = self.fuel.max(reply.fuel);
        self.notes = reply.notes.into_iter().collect();
        self.effects.extend(reply.effects.iter().map(words));
        match reply.verdict {
            Verdict::Reject { code, reason, .. } => {
                (self.code, self.reason) = (Some(code), Some(reason));
            }
            Verdict::Hold { reason, .. } => self.reason = Some(reason),
            Verdict::Pass | Verdict::Accept | Verdict::Rewrite(_) => {}
        }
    }

    fn fail(&mut self, failure: &Failure) {
        self.verdict = Some(failure.name().to_owned());
        self.reason = Some(failure.to_string());
        self.notes = BTreeMap::new();
    }

    fn answered(&mut self, response: Response) {
        let answer = match response {
            Response::Sent(sent) => {
                self.store(&sent.message.body);
                "stored"
            }
            Response::Held { .. } => "held",
            Response::Joined { .. } => "joined",
            Response::Left => "left",
            Response::Ended { .. } => "ended",
            Response::Created(_)
            | Response::Chat(_)
            | Response::Page(_)
            | Response::Owners(_)
            | Response::OutcallDone { .. } => "answered",
        };
        answer.clone_into(&mut self.answer);
    }

    fn store(&mut self, body: &Body) {
        match body {
            Body::Text(text) => self.text = Some(text.clone()),
            // It is JSON: the host has looked.
            Body::Json(json) => self.json = serde_json::from_str(json).ok(),
            Body::Bytes { media_type, bytes } => {
                self.text = Some(format!("{} bytes of {media_type}", bytes.len()));
            }
        }
    }

    fn refused(&mut self, refusal: Refusal) {
        refusal.code.name().clone_into(&mut self.answer);
        if self.reason.is_none() {
            self.reason = Some(refusal.detail);
        }
    }
}

/// An effect in words.
fn words(effect: &Effect) -> String {
    match effect {
        Effect::Note { key, value: Some(value) } => format!("keep {key} = {}", text(value)),
        Effect::Note { key, value: None } => format!("forget {key}"),
        Effect::Post(draft) => {
            let to = match &draft.route {
                Route::Everyone => "everyone".to_owned(),
                Route::Nobody => "nobody".to_owned(),
                Route::Only(names) => names.join(", "),
            };
            format!("post {} to {to}: {}", draft.kind, body(&draft.body))
        }
        Effect::ChatAttr { name, value } => format!("chat {name} = {value}"),
        Effect::MemberAttr { member, name, value } => format!("member {member} {name} = {value}"),
        Effect::MemberStatus { member, status } => format!("member {member} is {status}"),
        Effect::StartChat => "start the chat".to_owned(),
        Effect::EndChat { reason } => format!("end the chat: {reason}"),
        Effect::Release { message } => format!("release {message}"),
        Effect::DropHeld { message, reason } => format!("drop {message}: {reason}"),
        Effect::StartTimer { name, after_ms } => format!("start timer {name} of {after_ms} ms"),
        Effect::CancelTimer { name } => format!("cancel timer {name}"),
        Effect::Outcall { service, path, body, .. } => {
            format!("call {service} {path} with {} bytes", body.len())
        }
    }
}

pub(crate) fn body(body: &Body) -> String {
    match body {
        Body::Text(text) | Body::Json(text) => text.clone(),
        Body::Bytes { media_type, bytes } => format!("{} bytes of {media_type}", bytes.len()),
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
    use plugin::Effect;

    use super::words;

    #[test]
    fn bytes_that_are_no_text_are_told_as_digits() {
        let note =
            |value: &[u8]| words(&Effect::Note { key: "k".into(), value: Some(value.to_vec()) });
        assert_eq!(note("grüße".as_bytes()), "keep k = grüße");
        assert_eq!(note(&[0xff, 0]), "keep k = 0xff00");
        assert_eq!(note(b"a\n"), "keep k = 0x610a");
    }
}
