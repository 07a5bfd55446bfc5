//! A recorded chat, as steps of a fixture: what people said, when, played again with another build.
//!
//! The recording is what a node answers to `GET /v1/chats/TOKEN/messages`, or one message a line.

use serde::Deserialize;

use crate::fixture::RouteWritten;
use crate::{Fixture, Step, Trouble};

/// More steps than this are no chat that somebody waits for after every save.
const MESSAGES_MAX: usize = 10_000;

/// The sender of what handlers and nodes add: it comes again by itself.
const SYSTEM: &str = "system";

#[derive(Deserialize)]
struct Page {
    messages: Vec<Message>,
}

/// A message as clients see it. What is not named here is not needed.
#[derive(Deserialize)]
struct Message {
    sender: String,
    kind: String,
    #[serde(default)]
    route: RouteWritten,
    text: Option<String>,
    json: Option<serde_json::Value>,
    base64: Option<String>,
    media_type: Option<String>,
    #[serde(default)]
    attrs: model::Attrs,
    time_ms: u64,
}

/// The steps of a recorded chat, under `settings`.
///
/// # Errors
/// When it is no recording.
pub fn replay(
    recorded: &str,
    settings: serde_json::Map<String, serde_json::Value>,
) -> Result<Fixture, Trouble> {
    let fix = "Record one: curl URL/v1/chats/TOKEN/messages, or carillon chat tail --json";
    let wrong = |fault: serde_json::Error| {
        Trouble::usage(format!("the recording cannot be read: {fault}"), fix)
    };
    let messages = match serde_json::from_str::<Page>(recorded) {
        Ok(page) => page.messages,
        Err(_no_page) => {
            let lines = recorded.lines().filter(|line| !line.trim().is_empty());
            lines.map(serde_json::from_str).collect::<Result<_, _>>().map_err(wrong)?
        }
    };
    if messages.is_empty() || messages.len() > MESSAGES_MAX {
        let what = format!("the recording has {} messages", messages.len());
        return Err(Trouble::usage(what, format!("Record 1 to {MESSAGES_MAX} of them")));
    }
    let mut fixture = Fixture { settings, ..Fixture::default() };
    let mut before_ms = messages.first().map_or(0, |first| first.time_ms);
    fixture.chat.now_ms = before_ms;
    for message in messages.into_iter().filter(|message| message.sender != SYSTEM) {
        let after_ms = message.time_ms.saturating_sub(before_ms);
        before_ms = before_ms.max(message.time_ms);
        fixture.steps.push(step(message, after_ms));
    }
    Ok(fixture)
}

fn step(message: Message, after_ms: u64) -> Step {
    let Message { sender, kind, route, text, json, base64, media_type, attrs, .. } = message;
    let (from, kind) = (Some(sender), Some(kind));
    Step { after_ms, from, kind, route, text, json, base64, media_type, attrs, ..Step::default() }
}

#[cfg(test)]
mod tests {
    use super::replay;

    const FIRST: &str = r#"{"id": "1", "sender": "alice", "kind": "text", "route": "everyone", "text": "hi", "time_ms": 5, "stamps": []}"#;
    const SECOND: &str = r#"{"id": "2", "sender": "system", "kind": "note", "route": {"only": ["alice"]}, "text": "x", "time_ms": 5}"#;
    const THIRD: &str = r#"{"id": "3", "sender": "bob", "kind": "x", "route": {"only": ["alice"]}, "json": [1], "time_ms": 9}"#;

    #[test]
    fn a_page_and_lines_are_the_same_chat() {
        let page = format!("{{\"messages\": [{FIRST}, {SECOND}, {THIRD}], \"more\": false}}");
        let page = replay(&page, Default::default()).unwrap();
        let lines = replay(&format!("{FIRST}\n{SECOND}\n{THIRD}\n"), Default::default()).unwrap();
        assert_eq!(page.steps, lines.steps);
        assert_eq!(page.chat.now_ms, 5);
        let said: Vec<_> =
            page.steps.iter().map(|step| (step.from.as_deref(), step.after_ms)).collect();
        assert_eq!(said, [(Some("alice"), 0), (Some("bob"), 4)]);
        assert!(page.steps.iter().all(|step| step.act().is_ok()));
    }

    #[test]
    fn what_is_no_recording_is_told() {
        assert!(replay("hello", Default::default()).unwrap_err().what.contains("cannot be read"));
        assert!(replay("", Default::default()).unwrap_err().what.contains("0 messages"));
    }
}
