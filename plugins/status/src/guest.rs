//! The component: from the WIT's types to ours and back.

use crate::bindings::carillon::plugin::types::{CapError, Rejection, Verdict};
use crate::bindings::carillon::plugin::{chat_control, roster};
use crate::bindings::exports::carillon::plugin::lifecycle;
use crate::bindings::exports::carillon::plugin::message_handler::{
    self, Context, Decision, Failure,
};
use crate::{Change, Member, Message, Now, Refusal, Request, changes, read};

/// What the component exports.
pub(crate) struct Status;

impl lifecycle::Guest for Status {
    /// There is nothing to configure, and so nothing may be.
    fn check_config(config: String) -> Vec<lifecycle::Problem> {
        if config == "{}" {
            return Vec::new();
        }
        let (path, detail) = (String::new(), "status has no configuration".to_owned());
        vec![lifecycle::Problem { path, detail }]
    }
}

impl message_handler::Guest for Status {
    fn on_message(
        context: Context,
        message: message_handler::Message,
    ) -> Result<Decision, Failure> {
        let message = Message {
            kind: &message.kind,
            sender: &message.sender.id,
            media_type: &message.content.media_type,
            body: &message.content.body,
        };
        let request = match read(message) {
            Ok(None) => return Ok(decided(Verdict::Pass)),
            Ok(Some(request)) => request,
            Err(refusal) => return Ok(rejected(refusal)),
        };
        let member = match &request {
            Request::Member { user, .. } | Request::Join { user } => {
                roster::get(user).map_err(failed)?
            }
            Request::Start | Request::End { .. } => None,
        };
        let member = member.map(|found| Member { status: found.status, attrs: found.attrs });
        let now = match context.status.as_str() {
            "pending" => Now::Pending,
            "started" => Now::Started,
            _ => Now::Ended,
        };
        match changes(request, now, member.as_ref()) {
            Ok(changes) => changes.into_iter().try_for_each(ask).map_err(failed)?,
            Err(refusal) => return Ok(rejected(refusal)),
        }
        Ok(decided(Verdict::Pass))
    }
}

fn ask(change: Change) -> Result<(), CapError> {
    match change {
        Change::Start => chat_control::start_chat(),
        Change::End { reason } => chat_control::end_chat(&reason),
        Change::Status { user, status } => chat_control::set_member_status(&user, status.name()),
        Change::Attr { user, name, value } => chat_control::set_member_attr(&user, &(name, value)),
    }
}

fn rejected(Refusal { code, reason }: Refusal) -> Decision {
    decided(Verdict::Reject(Rejection { code: code.to_owned(), reason, retry_after_ms: None }))
}

fn decided(verdict: Verdict) -> Decision {
    Decision { verdict, notes: Vec::new() }
}

fn failed(CapError { code, detail }: CapError) -> Failure {
    Failure { code, detail, retryable: false }
}
