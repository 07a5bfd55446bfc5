//! What a message asks of the chat's state.

use serde_json::{Map, Value};

use crate::change::Status;

/// Whoever speaks for the node, and so for everybody.
const SYSTEM: &str = "system";

/// Longest name of a member, as the host checks it; what else is said about them is no longer.
const TEXT_BYTES_MAX: usize = 255;

/// Most characters of a reason, which may repeat what somebody sent.
const REASON_CHARS_MAX: usize = 200;

/// The parts of a message that matter here.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// What it is.
    pub kind: &'a str,
    /// Who sent it.
    pub sender: &'a str,
    /// What its body is.
    pub media_type: &'a str,
    /// Its body.
    pub body: &'a [u8],
}

/// What somebody wants to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The chat shall be started.
    Start,
    /// The chat shall be ended.
    End {
        /// Who says so.
        by: String,
    },
    /// How a member stands.
    Member {
        /// Who.
        user: String,
        /// Connected or not.
        status: Status,
        /// What else is said about them.
        attrs: Vec<(String, String)>,
    },
    /// Somebody joins, perhaps again.
    Join {
        /// Who.
        user: String,
    },
}

/// Why a message is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Stable, for programs.
    pub code: &'static str,
    /// For people.
    pub reason: String,
}

/// Reads what `message` asks; nothing, if it is not about a status.
///
/// # Errors
/// [`Refusal`] when it should be, and cannot be read or is about somebody else.
pub fn read(message: Message<'_>) -> Result<Option<Request>, Refusal> {
    match message.kind {
        "chat.status" => chat(message).map(Some),
        "user.status" => member(message).map(Some),
        "member.join" => Ok(Some(Request::Join { user: message.sender.to_owned() })),
        _ => Ok(None),
    }
}

fn chat(message: Message<'_>) -> Result<Request, Refusal> {
    match text(&object(message)?, "status")? {
        "started" => Ok(Request::Start),
        "ended" => Ok(Request::End { by: message.sender.to_owned() }),
        "pending" => Err(illegal("a chat does not become pending again")),
        other => Err(invalid(format!("a chat's status is started or ended, not {other:?}"))),
    }
}

fn member(message: Message<'_>) -> Result<Request, Refusal> {
    let object = object(message)?;
    let user = text(&object, "user")?;
    if user.is_empty() || user.len() > TEXT_BYTES_MAX || user.chars().any(char::is_control) {
        return Err(invalid("user: 1 to 255 bytes without control characters".to_owned()));
    }
    if message.sender != user && message.sender != SYSTEM {
        let reason = format!("{} cannot say how {user:?} stands", message.sender);
        return Err(refusal("not-yours", &reason));
    }
    let status = text(&object, "status")?;
    let status = Status::parse(status).ok_or_else(|| {
        invalid(format!("status is connected, disconnected or unavailable, not {status:?}"))
    })?;
    let named = |name: &str| match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= TEXT_BYTES_MAX => {
            Ok(Some((name.to_owned(), text.clone())))
        }
        Some(Value::Number(number)) => Ok(Some((name.to_owned(), number.to_string()))),
        Some(_) => Err(invalid(format!("{name} is a text of at most 255 bytes"))),
    };
    let attrs = [named("first_name")?, named("participant")?].into_iter().flatten().collect();
    Ok(Request::Member { user: user.to_owned(), status, attrs })
}

fn object(message: Message<'_>) -> Result<Map<String, Value>, Refusal> {
    if message.media_type != "application/json" {
        return Err(invalid(format!("a {} carries JSON", message.kind)));
    }
    match serde_json::from_slice(message.body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(invalid(format!("a {} carries an object", message.kind))),
        Err(fault) => Err(invalid(format!("a {} carries JSON: {fault}", message.kind))),
    }
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a str, Refusal> {
    object
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| invalid(format!("{name} is missing or not a text")))
}

fn invalid(reason: String) -> Refusal {
    refusal("invalid-status", &reason)
}

pub(crate) fn illegal(reason: &str) -> Refusal {
    refusal("illegal-transition", reason)
}

fn refusal(code: &'static str, reason: &str) -> Refusal {
    Refusal { code, reason: reason.chars().take(REASON_CHARS_MAX).collect() }
}

#[cfg(test)]
mod tests {
    use super::{Message, Refusal, Request, read};
    use crate::Status;

    fn json(kind: &'static str, body: &str) -> Result<Option<Request>, Refusal> {
        let media_type = "application/json";
        read(Message { kind, sender: "alice", media_type, body: body.as_bytes() })
    }

    fn code(kind: &'static str, body: &str) -> &'static str {
        json(kind, body).unwrap_err().code
    }

    #[test]
    fn what_is_not_about_a_status_is_nobodys_business() {
        assert_eq!(json("text", "{"), Ok(None));
        assert_eq!(json("member.leave", ""), Ok(None));
    }

    #[test]
    fn a_chat_is_started_and_ended() {
        assert_eq!(json("chat.status", r#"{"status": "started"}"#), Ok(Some(Request::Start)));
        let end = Request::End { by: "alice".to_owned() };
        assert_eq!(json("chat.status", r#"{"status": "ended"}"#), Ok(Some(end)));
        assert_eq!(code("chat.status", r#"{"status": "pending"}"#), "illegal-transition");
    }

    #[test]
    fn a_member_speaks_for_themselves_and_the_system_for_all() {
        let body =
            r#"{"user": "bob", "status": "connected", "first_name": "Bob", "participant": 7}"#;
        assert_eq!(code("user.status", body), "not-yours");
        let system = Message {
            kind: "user.status",
            sender: "system",
            media_type: "application/json",
            body: body.as_bytes(),
        };
        let attrs = [("first_name", "Bob"), ("participant", "7")];
        let attrs = attrs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let request = Request::Member { user: "bob".to_owned(), status: Status::Connected, attrs };
        assert_eq!(read(system), Ok(Some(request)));
        let own = r#"{"user": "alice", "status": "unavailable"}"#;
        assert!(json("user.status", own).unwrap().is_some());
    }

    #[test]
    fn what_cannot_be_read_is_rejected() {
        for body in ["", "[]", "{", "{}", r#"{"status": 1}"#, r#"{"status": "begun"}"#] {
            assert_eq!(code("chat.status", body), "invalid-status", "{body}");
        }
        for body in [
            r#"{"status": "connected"}"#,
            r#"{"user": "", "status": "connected"}"#,
            r#"{"user": "alice", "status": "gone"}"#,
            r#"{"user": "alice", "status": "connected", "first_name": []}"#,
            &format!(r#"{{"user": "alice", "status": "{}"}}"#, "x".repeat(60_000)),
        ] {
            let refusal = json("user.status", body).unwrap_err();
            assert_eq!(refusal.code, "invalid-status", "{body}");
            assert!(refusal.reason.len() < 1024, "the host takes no longer reason");
        }
        let text = Message {
            kind: "chat.status",
            sender: "alice",
            media_type: "text/plain",
            body: br#"{"status": "started"}"#,
        };
        assert_eq!(read(text).unwrap_err().code, "invalid-status");
    }
}
