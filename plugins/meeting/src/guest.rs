//! The component: from the WIT's types to ours and back.

use crate::bindings::carillon::plugin::types::{CapError, Content, Rejection, Route, Verdict};
use crate::bindings::carillon::plugin::{chat_control, kv};
use crate::bindings::exports::carillon::plugin::lifecycle;
use crate::bindings::exports::carillon::plugin::message_handler::{self, Context, Failure};
use crate::{Change, Decision, Message, Moment, Now, Refusal, decide, read};

/// What is kept of something that is there: that it is.
const THERE: &[u8] = b"1";

/// What the component exports.
pub(crate) struct Meeting;

impl lifecycle::Guest for Meeting {
    /// There is nothing to configure, and so nothing may be.
    fn check_config(config: String) -> Vec<lifecycle::Problem> {
        if config == "{}" {
            return Vec::new();
        }
        let (path, detail) = (String::new(), "meeting has no configuration".to_owned());
        vec![lifecycle::Problem { path, detail }]
    }
}

impl message_handler::Guest for Meeting {
    fn on_message(
        context: Context,
        message: message_handler::Message,
    ) -> Result<message_handler::Decision, Failure> {
        let asked = Message {
            kind: &message.kind,
            sender: &message.sender.id,
            hidden: matches!(message.route, Route::Nobody),
            media_type: &message.content.media_type,
            body: &message.content.body,
        };
        let request = match read(asked) {
            Ok(None) => return Ok(decided(Verdict::Pass)),
            Ok(Some(request)) => request,
            Err(refusal) => return Ok(rejected(refusal)),
        };
        let there = match &request.of {
            Some((thing, id)) => kv::get(&thing.key(id)).map_err(failed)?.is_some(),
            None => false,
        };
        let now = match context.status.as_str() {
            "pending" => Now::Pending,
            "started" => Now::Started,
            _ => Now::Ended,
        };
        let (now_ms, attrs) = (context.now_ms, &context.chat_attrs);
        let Decision { body, changes } =
            match decide(request, Moment { id: &message.id, now_ms, now, attrs, there }) {
                Ok(decision) => decision,
                Err(refusal) => return Ok(rejected(refusal)),
            };
        match changes.into_iter().try_for_each(ask) {
            Ok(()) => Ok(decided(stored(&message.content.body, body))),
            Err(error) if error.code == "quota" => Ok(rejected(full())),
            Err(error) => Err(failed(error)),
        }
    }
}

/// What was sent stays as it was sent, where nothing is added.
fn stored(sent: &[u8], body: String) -> Verdict {
    if sent == body.as_bytes() {
        return Verdict::Pass;
    }
    let media_type = "application/json".to_owned();
    Verdict::Rewrite(Content { media_type, body: body.into_bytes() })
}

fn ask(change: Change) -> Result<(), CapError> {
    match change {
        Change::Keep { key } => kv::set(&key, THERE),
        Change::Forget { key } => kv::delete(&key),
        Change::Attr { name, value } => chat_control::set_attr(&(name.to_owned(), value)),
        Change::Start => chat_control::start_chat(),
        Change::End { reason } => chat_control::end_chat(&reason),
    }
}

fn full() -> Refusal {
    let reason = "no more tags, minutes and whiteboards fit into this chat: delete some";
    Refusal { code: "full", reason: reason.to_owned() }
}

fn rejected(Refusal { code, reason }: Refusal) -> message_handler::Decision {
    decided(Verdict::Reject(Rejection { code: code.to_owned(), reason, retry_after_ms: None }))
}

fn decided(verdict: Verdict) -> message_handler::Decision {
    message_handler::Decision { verdict, notes: Vec::new() }
}

fn failed(CapError { code, detail }: CapError) -> Failure {
    Failure { code, detail, retryable: false }
}
