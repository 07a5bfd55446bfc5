//! What came of a step, in words that a person writes into a fixture.

use std::collections::BTreeMap;
use std::time::Duration;

use chat::{Refusal, Response};
use model::Body;
use plugin::{Failure, Reply, Verdict};
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
        self.effects.extend(reply.effects.iter().map(ToString::to_string));
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
