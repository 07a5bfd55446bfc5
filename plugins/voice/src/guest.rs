//! The component: from the WIT's types to ours and back.

use crate::bindings::carillon::plugin::log::{self, Level};
use crate::bindings::carillon::plugin::{chat_control, settings};
use crate::bindings::exports::carillon::plugin::lifecycle;
use crate::bindings::exports::carillon::plugin::twilio_handler::{
    self, Conference, Context, Failure, Prompt, Recording, Request, Verb,
};
use crate::{Asked, Chat, Decision, NotAnswered, Step, THANKS, check, decide};

/// What an operator is told when the attributes of a chat are full.
const LEFT_OUT: &str = "something of this call is not kept: what is known of the calls fills the chat's attributes, \
                        and is counted in twilio_data as left_out";

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
        let chat = Chat {
            token: &context.chat,
            now_ms: context.now_ms,
            max_duration_ms: context.max_duration_ms,
            max_participants: context.max_participants,
            attrs: &context.chat_attrs,
        };
        let asked = Asked {
            channel: &request.channel,
            path: &request.path,
            sid: &request.sid,
            caller: &request.caller,
            params: &request.params,
        };
        let Decision { steps, kept } = decide(asked, chat).map_err(failed)?;
        if kept.left_out {
            log::emit(Level::Warn, LEFT_OUT, &[("sid".to_owned(), request.sid.clone())]);
        }
        for pair in &kept.attrs {
            chat_control::set_attr(pair).map_err(|error| failure(error.code, error.detail))?;
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
