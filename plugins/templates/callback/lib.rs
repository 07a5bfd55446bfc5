//! What is asked with a question mark in front is asked of a service, and its answer is said.

wit_bindgen::generate!({ path: "wit", world: "plugin", generate_all });

use carillon::plugin::types::{CapError, Content, Draft, Route, Verdict};
use carillon::plugin::{outcall, post, settings};
use exports::carillon::plugin::callback_handler::{self, Reply};
use exports::carillon::plugin::lifecycle::{self, Problem};
use exports::carillon::plugin::message_handler::{self, Context, Decision, Failure, Message};

struct Plugin;

export!(Plugin);

impl lifecycle::Guest for Plugin {
    fn check_config(_config: String) -> Vec<Problem> {
        let detail = "missing or empty: write sorry = \"nobody knows\"".into();
        let problem = Problem { path: "sorry".into(), detail };
        if sorry().is_empty() { vec![problem] } else { vec![] }
    }
}

fn sorry() -> String {
    settings::text("sorry").unwrap_or_default()
}

impl message_handler::Guest for Plugin {
    /// The call is made when the message is committed, and tried until it is answered. {{secret:NAME}} in a header would
    /// be filled in by the node.
    fn on_message(_: Context, message: Message) -> Result<Decision, Failure> {
        if let [b'?', question @ ..] = &*message.content.body {
            // What comes back with the answer: here, who asked.
            let who = &message.sender.id;
            outcall::queue("facts", "/answers", &[], question, who).map_err(failed)?;
        }
        Ok(Decision { verdict: Verdict::Pass, notes: vec![] })
    }
}

impl callback_handler::Guest for Plugin {
    fn on_reply(_: Context, reply: Reply) -> Result<(), Failure> {
        let answer = match reply.status {
            200 => String::from_utf8_lossy(&reply.body).into_owned(),
            _ => sorry(),
        };
        let body = format!("{}, {answer}", reply.correlation).into();
        let content = Content { media_type: "text/plain".into(), body };
        let (kind, route, attrs) = ("text".into(), Route::Everyone, vec![]);
        post::send(&Draft { kind, route, content, attrs }).map(drop).map_err(failed)
    }
}

/// A power said no: nothing of this call happens.
fn failed(CapError { code, detail }: CapError) -> Failure {
    Failure { code, detail, retryable: false }
}
