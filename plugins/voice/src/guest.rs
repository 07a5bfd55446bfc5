//! The component: from the WIT's types to ours and back.

use crate::bindings::carillon::plugin::{chat_control, settings};
use crate::bindings::exports::carillon::plugin::lifecycle;
use crate::bindings::exports::carillon::plugin::twilio_handler::{
    self, Conference, Context, Failure, Prompt, Recording, Request, Verb,
};
use crate::{Asked, Chat, Decision, NotAnswered, Step, THANKS, check, decide};

/// The chat's attribute with what is known of its calls.
const DATA: &str = "twilio_data";

/// What the component exports.
pub(crate) struct Voice;

impl lifecycle::Guest for Voice {
    fn check_config(config: String) -> Vec<lifecycle::Problem> {
        let problems = check(&config).into_iter();
        problems.map(|(path, detail)| lifecycle::Problem { path, detail }).collect()
    }
}

impl twilio_handler::Guest for Voice {
    fn on_request(context: Context, request: Request) -> Result<Vec<Verb>, Failure> {
        let data = context.chat_attrs.iter().find(|(name, _)| name == DATA);
        let chat = Chat {
            token: &context.chat,
            now_ms: context.now_ms,
            max_duration_ms: context.max_duration_ms,
            max_participants: context.max_participants,
            data: data.map(|(_, data)| data.as_str()),
        };
        let asked = Asked {
            channel: &request.channel,
            path: &request.path,
            sid: &request.sid,
            caller: &request.caller,
            params: &request.params,
        };
        let Decision { steps, data } = decide(asked, chat).map_err(failed)?;
        if let Some(data) = data {
            let kept = chat_control::set_attr(&(DATA.to_owned(), data));
            kept.map_err(|error| failure(error.code, error.detail))?;
        }
        Ok(steps.into_iter().map(verb).collect())
    }
}

fn verb(step: Step) -> Verb {
    match step {
        Step::Record { action, max_length_s, timeout_s } => {
            Verb::RecordAudio(Recording { action, max_length_s, timeout_s })
        }
        Step::Conference { name, max_participants, action } => {
            let (recorded, action) = (true, Some(action));
            Verb::Conference(Conference { name, max_participants, recorded, action })
        }
        Step::Thanks => {
            let thanks = settings::text("thanks").unwrap_or_else(|| THANKS.to_owned());
            Verb::Prompt(Prompt::Say(thanks))
        }
        Step::Hangup => Verb::Hangup,
    }
}

fn failed(why: NotAnswered) -> Failure {
    let (code, detail) = match why {
        NotAnswered::Path => ("unknown-path", "voice answers at its channel, at end and at status"),
        NotAnswered::NoCall => ("no-call", "CallSid is missing"),
    };
    failure(code.to_owned(), detail.to_owned())
}

fn failure(code: String, detail: String) -> Failure {
    Failure { code, detail, retryable: false }
}
