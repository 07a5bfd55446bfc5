//! The component: from the WIT's types to ours and back.

use crate::bindings::carillon::plugin::log::{self, Level};
use crate::bindings::carillon::plugin::types::{
    CapError, Content, Draft, Rejection, Route, Verdict,
};
use crate::bindings::carillon::plugin::{chat_control, kv, post, roster, settings};
use crate::bindings::exports::carillon::plugin::lifecycle;
use crate::bindings::exports::carillon::plugin::message_handler::{
    self, Context, Decision, Failure, Message,
};
use crate::{Judgement, Penalty, Rules, check, judge, removed, words};

/// What the component exports.
pub(crate) struct Moderation;

impl lifecycle::Guest for Moderation {
    fn check_config(config: String) -> Vec<lifecycle::Problem> {
        check(&config)
            .into_iter()
            .map(|(path, detail)| lifecycle::Problem { path, detail })
            .collect()
    }
}

impl message_handler::Guest for Moderation {
    fn on_message(_: Context, message: Message) -> Result<Decision, Failure> {
        let sender = &message.sender.id;
        let key = format!("strikes/{sender}");
        let kept = kv::get(&key).map_err(failed)?;
        let strikes = kept.map_or(0, |kept| decimal(&kept));
        // Whoever has no strikes needs no rules but the words.
        if strikes > 0 && removed(rules(), strikes) {
            let reason = "you were removed from this chat".to_owned();
            return Ok(rejected("removed", reason, strikes));
        }
        if !is_said(&message) || !says_forbidden_word(&message.content) {
            return Ok(Decision { verdict: Verdict::Pass, notes: Vec::new() });
        }
        let Judgement { strikes, code, reason, penalty } = judge(rules(), sender, strikes);
        match kv::set(&key, strikes.to_string().as_bytes()) {
            // So many have strikes that no more can be counted: the message is refused all the same.
            Err(full) if full.code == "quota" => log::emit(Level::Warn, &full.detail, &[]),
            counted => counted.map_err(failed)?,
        }
        punish(sender, strikes, penalty).map_err(failed)?;
        log::emit(
            Level::Info,
            "strike",
            &[("sender".to_owned(), sender.clone()), ("strikes".to_owned(), strikes.to_string())],
        );
        Ok(rejected(code, reason, strikes))
    }
}

/// Joining and leaving say nothing.
fn is_said(message: &Message) -> bool {
    !matches!(message.kind.as_str(), "member.join" | "member.leave")
}

fn says_forbidden_word(content: &Content) -> bool {
    let words = settings::one("words").unwrap_or_default();
    let words: Vec<String> = serde_json::from_str(&words).unwrap_or_default();
    words::said(&content.media_type, &content.body, &words)
}

fn punish(sender: &str, strikes: u32, penalty: Penalty) -> Result<(), CapError> {
    match penalty {
        Penalty::Warning { text } => {
            say("moderation.warning", Route::Only(vec![sender.to_owned()]), text, strikes)
        }
        Penalty::Removal { text } => {
            say("moderation.removed", Route::Everyone, text, strikes)?;
            // Whoever only ever sent what was refused is not in the chat, and a status would put them there.
            match roster::get(sender)? {
                Some(_) => chat_control::set_member_status(sender, "disconnected"),
                None => Ok(()),
            }
        }
        Penalty::End { text } => {
            let reason = text.clone();
            say("moderation.ended", Route::Everyone, text, strikes)?;
            chat_control::end_chat(&reason)
        }
    }
}

fn say(kind: &str, route: Route, text: String, strikes: u32) -> Result<(), CapError> {
    let content = Content { media_type: "text/plain".to_owned(), body: text.into_bytes() };
    let attrs = vec![("strikes".to_owned(), strikes.to_string())];
    post::send(&Draft { kind: kind.to_owned(), route, content, attrs }).map(|_id| ())
}

fn rules() -> Rules {
    let (strikes, last) = (settings::one("strikes"), settings::one("on_last_strike"));
    Rules::read(strikes.as_deref(), last.as_deref())
}

fn decimal(digits: &[u8]) -> u32 {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn rejected(code: &str, reason: String, strikes: u32) -> Decision {
    let rejection = Rejection { code: code.to_owned(), reason, retry_after_ms: None };
    let notes = vec![("strikes".to_owned(), strikes.to_string())];
    Decision { verdict: Verdict::Reject(rejection), notes }
}

fn failed(CapError { code, detail }: CapError) -> Failure {
    Failure { code, detail, retryable: false }
}
