//! A word is not said here: it is replaced, and after a few times the message is rejected.

wit_bindgen::generate!({ path: "wit", world: "plugin", generate_all });

use carillon::plugin::log::{self, Level};
use carillon::plugin::types::{CapError, Content, Rejection, Verdict};
use carillon::plugin::{kv, settings};
use exports::carillon::plugin::lifecycle::{self, Problem};
use exports::carillon::plugin::message_handler::{self, Context, Decision, Failure, Message};

struct Plugin;

export!(Plugin);

impl lifecycle::Guest for Plugin {
    fn check_config(_config: String) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem = |path: &str, detail: &str| {
            problems.push(Problem { path: path.into(), detail: detail.into() });
        };
        if settings::text("word").is_none_or(|word| word.is_empty()) {
            problem("word", "missing or empty: write word = \"darn\"");
        }
        if most().is_none() {
            problem("most", "missing or no number: write most = 2");
        }
        problems
    }
}

/// How often everybody may be rude.
fn most() -> Option<u32> {
    settings::one("most")?.parse().ok()
}

impl message_handler::Guest for Plugin {
    fn on_message(_: Context, message: Message) -> Result<Decision, Failure> {
        let word = settings::text("word").unwrap_or_default();
        let text = String::from_utf8_lossy(&message.content.body);
        if message.content.media_type != "text/plain" || !text.contains(&word) {
            return Ok(Decision { verdict: Verdict::Pass, notes: vec![] });
        }

        let sender = message.sender.id;
        let key = format!("rude/{sender}");
        let before = kv::get(&key).map_err(failed)?.unwrap_or_default();
        let count = String::from_utf8_lossy(&before).parse::<u32>().unwrap_or(0) + 1;
        kv::set(&key, count.to_string().as_bytes()).map_err(failed)?;
        log::emit(Level::Info, "rude", &[("sender".into(), sender), ("count".into(), count.to_string())]);

        let verdict = if count > most().unwrap_or(0) {
            Verdict::Reject(Rejection {
                code: "rude".into(),
                reason: format!("\"{word}\" is not said here"),
                retry_after_ms: None,
            })
        } else {
            let body = text.replace(&word, "***").into_bytes();
            Verdict::Rewrite(Content { media_type: message.content.media_type, body })
        };
        Ok(Decision { verdict, notes: vec![("rude".into(), count.to_string())] })
    }
}

/// A power said no: the operator decides what that means for the message.
fn failed(CapError { code, detail }: CapError) -> Failure {
    Failure { code, detail, retryable: false }
}
