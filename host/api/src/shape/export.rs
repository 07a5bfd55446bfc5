//! A chat as lines of JSON, one for what it is and one for each message: how chats that are over are archived.
//!
//! A message is what every other answer shows of it. `docs/formats.md` has the lines.

use chat::{ChatView, Stored};
use model::{Attrs, ChatStatus, ChatToken};
use serde::Serialize;

use super::Shown;
use super::answers::ParticipantShape;
use super::message::MessageShape;

/// The version of these lines.
const VERSION: u8 = 1;

/// The first line.
#[derive(Debug, Serialize)]
struct HeadShape<'a> {
    carillon_chat: u8,
    token: Shown<ChatToken>,
    status: ChatStatus,
    created_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_duration_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_participants: Option<u32>,
    participants: Vec<ParticipantShape<'a>>,
    attrs: &'a Attrs,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    dropped_kinds: &'a [String],
}

/// The first line: what the chat is, and the kinds of messages that are left out.
pub fn head_line(view: &ChatView, dropped_kinds: &[String]) -> Vec<u8> {
    line(&HeadShape {
        carillon_chat: VERSION,
        token: Shown(view.token),
        status: view.status,
        created_ms: view.created_ms,
        started_ms: view.started_ms,
        ended_ms: view.ended_ms,
        max_duration_s: view.max_duration_s,
        max_participants: view.max_participants,
        participants: view.participants.iter().map(ParticipantShape::new).collect(),
        attrs: &view.attrs,
        dropped_kinds,
    })
}

/// The line of a message.
pub fn message_line(stored: &Stored) -> Vec<u8> {
    line(&MessageShape::new(&stored.message, stored.cursor))
}

fn line(shape: &impl Serialize) -> Vec<u8> {
    // Plain data into memory: nothing can fail.
    let mut line = serde_json::to_vec(shape).unwrap_or_default();
    // A body in JSON is as it came, and may be many lines. Within a text JSON has no raw line ends, so that all
    // there are stand between words.
    for byte in &mut line {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use chat::{ChatView, Pending, Stored};
    use model::{Attrs, Body, ChatStatus, ChatToken, Cursor, Message, MessageId, Route};
    use serde_json::{Value, json};

    use super::{head_line, message_line};

    #[test]
    fn a_chat_begins_with_what_it_is() {
        let view = ChatView {
            token: ChatToken([1; 16]),
            status: ChatStatus::Ended,
            cursor: Cursor::default(),
            created_ms: 5,
            started_ms: None,
            ended_ms: Some(9),
            max_duration_s: None,
            max_participants: None,
            participants: Vec::new(),
            attrs: Attrs::new(),
            pending: Pending::default(),
            plugins: BTreeMap::new(),
            archive: None,
        };
        let line = head_line(&view, &["noise".to_owned()]);
        let head: Value = serde_json::from_slice(&line).unwrap();
        let expected = json!({
            "carillon_chat": 1, "token": "01010101010101010101010101010101", "status": "ended",
            "created_ms": 5, "ended_ms": 9, "participants": [], "attrs": {},
            "dropped_kinds": ["noise"],
        });
        assert_eq!(head, expected);
    }

    #[test]
    fn a_message_is_one_line_whatever_is_in_it() {
        let body = Body::Json("{\r\n  \"a\":\t\"one\\ntwo\"\n}".to_owned());
        let message = Message {
            id: MessageId([2; 16]),
            sender: "ali\nce".to_owned(),
            kind: "text".to_owned(),
            route: Route::Everyone,
            body,
            archive: None,
            attrs: Attrs::new(),
            time_ms: 5,
            sent_ms: None,
            stamps: Vec::new(),
        };
        let line = message_line(&Stored { cursor: Cursor::default(), message: Arc::new(message) });
        assert_eq!(line.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count(), 1);
        let read: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!((&read["json"]["a"], &read["sender"]), (&json!("one\ntwo"), &json!("ali\nce")));
    }
}
