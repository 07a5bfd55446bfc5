//! What comes of a request.

use serde_json::Value;

use crate::fields::Refusal;
use crate::request::{Act, Request};

/// Longest body, as the host has it: with an id in it, a body may become longer than what was sent.
const BODY_BYTES_MAX: usize = 64 << 10;

/// The chat's attribute with when somebody was first connected.
const CONNECTED: &str = "connected_ms";

/// The chat's attribute with when somebody first published.
const PUBLISHING: &str = "publishing_ms";

/// How far the chat has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Now {
    /// Created and not started.
    Pending,
    /// Started and not ended.
    Started,
    /// Over.
    Ended,
}

/// What a request is decided by.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The id of its message.
    pub id: &'a str,
    /// The chat's clock.
    pub now_ms: u64,
    /// How far the chat has come.
    pub now: Now,
    /// What is known of the chat.
    pub attrs: &'a [(String, String)],
    /// Whether what the request is about is there.
    pub there: bool,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Keep that something is there.
    Keep {
        /// Under this key.
        key: String,
    },
    /// Forget that it was.
    Forget {
        /// The key.
        key: String,
    },
    /// Set a pair on the chat.
    Attr {
        /// The pair's name.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// Start the chat.
    Start,
    /// End it.
    End {
        /// Why.
        reason: String,
    },
}

/// What is stored, and what else happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The body.
    pub body: String,
    /// What else happens.
    pub changes: Vec<Change>,
}

/// Decides about a request.
///
/// # Errors
/// [`Refusal`] when what it is about is not there, or the chat cannot go where a marker sends it.
pub fn decide(request: Request, moment: Moment<'_>) -> Result<Decision, Refusal> {
    let Request { act, of, mut fields } = request;
    if let Some((thing, id)) = of.as_ref().filter(|_| !moment.there) {
        let reason = format!("there is no {} {id} in this chat", thing.name());
        return Err(Refusal::new("unknown-id", &reason));
    }
    let mut changes = Vec::new();
    let id = || Value::from(moment.id);
    match act {
        Act::Make(thing) => {
            if fields.contains_key("topic_id") {
                fields.entry("start_ms").or_insert_with(|| moment.now_ms.into());
            }
            fields.insert(thing.field().to_owned(), id());
            changes.push(Change::Keep { key: thing.key(moment.id) });
        }
        Act::Draw => {
            fields.insert("path_id".to_owned(), id());
        }
        Act::Erase => {}
        Act::Remove => {
            changes.extend(of.map(|(thing, id)| Change::Forget { key: thing.key(&id) }));
        }
        Act::Over => {
            fields.insert("end_ms".to_owned(), moment.now_ms.into());
        }
        Act::Mark => {
            changes.extend(marked(&fields, moment)?);
            if let Some(user_ms) = fields.get("user_ms").and_then(Value::as_u64) {
                fields.insert("system_ms".to_owned(), moment.now_ms.into());
                fields.insert("skew_ms".to_owned(), skew_ms(user_ms, moment.now_ms).into());
            }
        }
    }
    let body = Value::Object(fields).to_string();
    if body.len() > BODY_BYTES_MAX {
        return Err(Refusal::invalid("with its id in it, it is more than 64 KiB"));
    }
    Ok(Decision { body, changes })
}

/// How far the user's clock is ahead.
fn skew_ms(user_ms: u64, now_ms: u64) -> i64 {
    let apart = i64::try_from(user_ms.abs_diff(now_ms)).unwrap_or(i64::MAX);
    if user_ms < now_ms { -apart } else { apart }
}

/// What a marker does to the chat.
fn marked(
    fields: &serde_json::Map<String, Value>,
    moment: Moment<'_>,
) -> Result<Option<Change>, Refusal> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let is = |name: &str| fields.get(name).and_then(Value::as_bool).unwrap_or_default();
    let first = |name: &'static str| {
        let known = moment.attrs.iter().any(|(known, _)| known == name);
        (!known).then(|| Change::Attr { name, value: moment.now_ms.to_string() })
    };
    match (text("type"), moment.now) {
        ("connected", _) if is("connected") => Ok(first(CONNECTED)),
        ("publishing", _) if is("publishing") => Ok(first(PUBLISHING)),
        ("started", Now::Pending) => Ok(Some(Change::Start)),
        ("started", _) => Err(illegal("only a pending chat can be started")),
        ("ended", Now::Started) => {
            Ok(Some(Change::End { reason: format!("ended by {}", text("user")) }))
        }
        ("ended", _) => Err(illegal("only a started chat can be ended")),
        _ => Ok(None),
    }
}

fn illegal(reason: &str) -> Refusal {
    Refusal::new("illegal-transition", reason)
}

#[cfg(test)]
mod tests {
    use super::{Change, Decision, Moment, Now, decide};
    use crate::{Message, Refusal, read};
    use serde_json::{Value, json};

    const ID: &str = "0123456789abcdef0123456789abcdef";
    const NEW: &str = "fedcba9876543210fedcba9876543210";

    const MOMENT: Moment<'_> =
        Moment { id: NEW, now_ms: 1_000, now: Now::Started, attrs: &[], there: true };

    fn decided(kind: &str, body: &Value, moment: Moment<'_>) -> Result<Decision, Refusal> {
        let (media_type, body) = ("application/json", body.to_string());
        let body = body.as_bytes();
        let message = Message { kind, sender: "alice", hidden: true, media_type, body };
        decide(read(message)?.unwrap(), moment)
    }

    fn stored(decision: &Decision) -> Value {
        serde_json::from_str(&decision.body).unwrap()
    }

    #[test]
    fn what_a_message_makes_is_called_like_the_message_and_kept() {
        let tag = json!({"minute_id": ID, "name": "budget", "tag_reference_id": 7});
        let board = json!({"name": "plan"});
        for (kind, body, field, key) in [
            ("tag.create", tag, "tag_id", "tag"),
            ("whiteboard.create", board, "whiteboard_id", "whiteboard"),
        ] {
            let decision = decided(kind, &body, MOMENT).unwrap();
            let mut expected = body;
            expected[field] = NEW.into();
            assert_eq!(stored(&decision), expected);
            assert_eq!(decision.changes, [Change::Keep { key: format!("{key}/{NEW}") }]);
        }
    }

    #[test]
    fn a_minute_begins_when_it_is_made_and_is_over_when_it_is_changed() {
        let begun = decided("minute.create", &json!({"topic_id": 7}), MOMENT).unwrap();
        assert_eq!(stored(&begun), json!({"topic_id": 7, "start_ms": 1_000, "minute_id": NEW}));
        let said = json!({"topic_id": 7, "start_ms": 1, "end_ms": 2});
        let said = stored(&decided("minute.create", &said, MOMENT).unwrap());
        assert_eq!((&said["start_ms"], &said["end_ms"]), (&json!(1), &json!(2)));
        let body = json!({"minute_id": ID, "topic_id": 7, "start_ms": 1});
        let over = decided("minute.update", &body, MOMENT).unwrap();
        assert_eq!((&stored(&over)["end_ms"], over.changes.len()), (&json!(1_000), 0));
    }

    #[test]
    fn what_is_not_there_cannot_be_spoken_of() {
        let gone = Moment { there: false, ..MOMENT };
        for (kind, body) in [
            ("tag.create", json!({"minute_id": ID, "name": "budget"})),
            ("tag.delete", json!({"tag_id": ID})),
            ("minute.update", json!({"minute_id": ID, "topic_id": 7, "start_ms": 1})),
            ("whiteboard.delete", json!({"whiteboard_id": ID})),
            ("whiteboard.path.create", json!({"whiteboard_id": ID, "path_data": "M"})),
            ("whiteboard.path.delete", json!({"whiteboard_id": ID, "path_id": ID})),
        ] {
            assert_eq!(decided(kind, &body, gone).unwrap_err().code, "unknown-id", "{kind}");
            assert!(decided(kind, &body, MOMENT).is_ok(), "{kind}");
        }
        assert!(decided("whiteboard.create", &json!({"name": "plan"}), gone).is_ok());
    }

    #[test]
    fn what_is_deleted_is_forgotten_and_lines_are_not_kept() {
        let tag = decided("tag.delete", &json!({"tag_id": ID}), MOMENT).unwrap();
        assert_eq!(tag.changes, [Change::Forget { key: format!("tag/{ID}") }]);
        let line = json!({"whiteboard_id": ID, "path_data": "M0 0"});
        let line = decided("whiteboard.path.create", &line, MOMENT).unwrap();
        assert_eq!((&stored(&line)["path_id"], line.changes.len()), (&json!(NEW), 0));
        let gone = json!({"whiteboard_id": ID, "path_id": NEW});
        let erased = decided("whiteboard.path.delete", &gone, MOMENT).unwrap();
        assert_eq!((stored(&erased), erased.changes.len()), (gone, 0));
    }

    #[test]
    fn a_line_that_fills_a_message_is_refused_before_the_host_fails_for_it() {
        let line = |length: usize| json!({"whiteboard_id": ID, "path_data": "x".repeat(length)});
        let kind = "whiteboard.path.create";
        assert!(decided(kind, &line(65_000), MOMENT).is_ok());
        assert_eq!(decided(kind, &line(65_450), MOMENT).unwrap_err().code, "invalid-fields");
    }

    #[test]
    fn a_chat_starts_and_ends_by_its_markers_and_nothing_happens_twice() {
        let at = |now| Moment { now, ..MOMENT };
        let (start, end) = (json!({"type": "started"}), json!({"type": "ended"}));
        let started = decided("marker", &start, at(Now::Pending)).unwrap();
        assert_eq!(started.changes, [Change::Start]);
        let ended = decided("marker", &end, at(Now::Started)).unwrap();
        assert_eq!(ended.changes, [Change::End { reason: "ended by alice".to_owned() }]);
        for (body, now) in
            [(&start, Now::Started), (&start, Now::Ended), (&end, Now::Pending), (&end, Now::Ended)]
        {
            let refusal = decided("marker", body, at(now)).unwrap_err();
            assert_eq!(refusal.code, "illegal-transition", "{body} {now:?}");
        }
    }

    #[test]
    fn the_first_connection_and_the_first_publication_are_the_chats() {
        for (of_type, name) in [("connected", "connected_ms"), ("publishing", "publishing_ms")] {
            let body = |is: bool| json!({"type": of_type, of_type: is});
            let first = decided("marker", &body(true), MOMENT).unwrap();
            assert_eq!(first.changes, [Change::Attr { name, value: "1000".to_owned() }]);
            let attrs = [(name.to_owned(), "7".to_owned())];
            let again = decided("marker", &body(true), Moment { attrs: &attrs, ..MOMENT }).unwrap();
            assert_eq!(again.changes, []);
            assert_eq!(decided("marker", &body(false), MOMENT).unwrap().changes, []);
        }
    }

    #[test]
    fn skew_is_the_users_clock_less_ours() {
        for (user_ms, skew_ms) in
            [(1_250, 250), (1_000, 0), (400, -600), (u64::MAX, i64::MAX), (0, -1_000)]
        {
            let body = json!({"type": "skew", "user_ms": user_ms});
            let decision = decided("marker", &body, MOMENT).unwrap();
            let expected = json!({
                "type": "skew", "user": "alice", "user_ms": user_ms,
                "system_ms": 1_000, "skew_ms": skew_ms,
            });
            assert_eq!((stored(&decision), decision.changes.len()), (expected, 0));
        }
    }

    #[test]
    fn what_people_do_is_recorded_with_who_did_it() {
        for body in [
            json!({"type": "joined", "name": "Alice"}),
            json!({"type": "speaking", "speaking": false}),
            json!({"type": "recording_started", "archive_id": "a1"}),
            json!({"type": "recording_ended", "archive_id": "a1"}),
        ] {
            let decision = decided("marker", &body, MOMENT).unwrap();
            let mut expected = body;
            expected["user"] = "alice".into();
            assert_eq!((stored(&decision), decision.changes.len()), (expected, 0));
        }
    }
}
