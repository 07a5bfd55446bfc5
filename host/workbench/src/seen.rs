//! What came of a step, in words that a person writes into a fixture.

use std::collections::BTreeMap;

use chat::{Refusal, Response};
use model::Body;
use plugin::{Answered, Event, Failure, Reply, Verdict};
use serde::Serialize;

use crate::asked;
use crate::recorder::Heard;

/// What came of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Seen {
    /// The plugin's word, or its failure's; nothing if it was not asked.
    pub verdict: Option<String>,
    /// What the sender is told: `stored`, `held`, `joined`, `left`, `ended`, or the code of the refusal; `answered` to
    /// Twilio; `started`, `waited` and `answered` where nobody sent anything.
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
    /// What the plugin was told of, in this order; those that it failed at say so.
    pub events: Vec<String>,
    /// What the plugin asked for, in this order.
    pub effects: Vec<String>,
    /// What Twilio is answered.
    pub twiml: Option<String>,
    /// What is to become of the chat.
    pub plan: Option<serde_json::Map<String, serde_json::Value>>,
    /// What its dearest call cost.
    pub fuel: u64,
    /// How many calls there were: somebody who joins with a message is shown first.
    pub calls: usize,
}

impl Seen {
    /// What was heard, in the order of hearing.
    pub(crate) fn of(answer: &str, calls: Vec<Heard>) -> Self {
        let mut seen = Self { calls: calls.len(), ..Self::default() };
        answer.clone_into(&mut seen.answer);
        for heard in calls {
            match heard {
                Heard::Reply(Ok(reply)) => seen.hear(reply),
                Heard::Reply(Err(failure)) => seen.fail(&failure),
                Heard::Event(event, answer) => seen.told(&event, answer),
                Heard::Verbs(answer) => {
                    let verbs = seen.answered(answer);
                    seen.twiml = verbs.map(|verbs| plugin::twiml(&verbs));
                }
                Heard::Callback(answer) => {
                    let _told: Option<()> = seen.answered(answer);
                }
                Heard::Plan(answer) => {
                    let plan = seen.answered(answer);
                    seen.plan = plan.map(asked::plan);
                }
            }
        }
        seen
    }

    /// The same, and what the sender was told.
    pub(crate) fn new(calls: Vec<Heard>, answer: Result<Response, Refusal>) -> Self {
        let mut seen = Self::of("", calls);
        match answer {
            Ok(response) => seen.responded(response),
            Err(refusal) => seen.refused(refusal),
        }
        seen
    }

    fn told(&mut self, event: &Event, answer: Result<Answered<()>, Failure>) {
        let mut told = event.name.to_owned();
        if let Some(subject) = &event.subject {
            told.push_str(&format!(" {}", subject.id));
        }
        // An id says nothing to who reads a fixture.
        for (name, value) in event.attrs.iter().filter(|(name, _)| name != "message") {
            told.push_str(&format!(" {name}={value}"));
        }
        match answer {
            Ok(answered) => {
                self.fuel = self.fuel.max(answered.fuel);
                self.effects.extend(answered.effects.iter().map(ToString::to_string));
            }
            Err(failure) => {
                told.push_str(&format!(": {}", failure.name()));
                self.reason = Some(failure.to_string());
            }
        }
        self.events.push(told);
    }

    /// The answer of a handler that decides about no message.
    fn answered<T>(&mut self, answer: Result<Answered<T>, Failure>) -> Option<T> {
        match answer {
            Ok(Answered { answer, effects, fuel }) => {
                self.fuel = self.fuel.max(fuel);
                self.effects.extend(effects.iter().map(ToString::to_string));
                Some(answer)
            }
            Err(failure) => {
                self.fail(&failure);
                None
            }
        }
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

    fn responded(&mut self, response: Response) {
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
            | Response::OutcallDone { .. }
            | Response::Twiml { .. }
            | Response::Noted
            | Response::Redacted { .. } => "answered",
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
            Body::Redacted(_) => self.text = Some(body.to_string()),
        }
    }

    fn refused(&mut self, refusal: Refusal) {
        refusal.code.name().clone_into(&mut self.answer);
        if self.reason.is_none() {
            self.reason = Some(refusal.detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use model::Participant;
    use plugin::{Answered, Effect, Event, Failure};

    use super::Seen;
    use crate::recorder::Heard;

    #[test]
    fn an_event_is_told_with_whom_it_is_about_and_a_failure_with_its_word() {
        let event = |name, subject: Option<&str>, attrs: &[(&str, &str)]| {
            let id = |id: &str| Participant { id: id.to_owned(), ..Participant::default() };
            let attrs = attrs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            Event { name, subject: subject.map(id), attrs: attrs.collect() }
        };
        let effects = vec![Effect::StartChat];
        let done = Ok(Answered { answer: (), effects, fuel: 9 });
        let expired = [("message", "123"), ("outcome", "dropped")];
        let seen = Seen::of(
            "waited",
            vec![
                Heard::Event(event("member.joined", Some("bob"), &[]), done),
                Heard::Event(event("hold.expired", None, &expired), Err(Failure::Busy)),
            ],
        );
        assert_eq!(seen.events, ["member.joined bob", "hold.expired outcome=dropped: busy"]);
        assert_eq!(
            (seen.calls, seen.fuel, seen.effects),
            (2, 9, vec!["start the chat".to_owned()])
        );
        assert_eq!(seen.reason, Some(Failure::Busy.to_string()));
    }
}
