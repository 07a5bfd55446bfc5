//! What a message asks for.

use serde_json::{Map, Value};

use crate::fields::{Field, Is, Refusal, checked, made, perhaps, said};

/// Whoever speaks for the node, and so for everybody.
const SYSTEM: &str = "system";

/// The parts of a message that matter here.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// What it is.
    pub kind: &'a str,
    /// Who sent it.
    pub sender: &'a str,
    /// Whether it is recorded and shown to nobody.
    pub hidden: bool,
    /// What its body is.
    pub media_type: &'a str,
    /// Its body.
    pub body: &'a [u8],
}

/// What is made in a chat, and stays until it is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    /// Something to find a minute by.
    Tag,
    /// What was talked of from then to then.
    Minute,
    /// What is drawn on.
    Whiteboard,
}

impl Thing {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Minute => "minute",
            Self::Whiteboard => "whiteboard",
        }
    }

    /// The field that names one.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Tag => "tag_id",
            Self::Minute => "minute_id",
            Self::Whiteboard => "whiteboard_id",
        }
    }

    /// Under what it is kept that there is one.
    pub fn key(self, id: &str) -> String {
        format!("{}/{id}", self.name())
    }
}

/// What comes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Something new, which is called like the message.
    Make(Thing),
    /// A line on a whiteboard, called like the message. There are thousands of them: they are not kept.
    Draw,
    /// A line goes. That there was one is not known here.
    Erase,
    /// Something goes.
    Remove,
    /// A minute is over.
    Over,
    /// Something that somebody did.
    Mark,
}

/// A message that is one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub act: Act,
    /// What has to be there already.
    pub of: Option<(Thing, String)>,
    /// The body, checked.
    pub fields: Map<String, Value>,
}

/// A kind of message.
struct Kind {
    name: &'static str,
    act: Act,
    of: Option<Thing>,
    fields: &'static [Field],
}

const KINDS: [Kind; 8] = [
    Kind {
        name: "minute.create",
        act: Act::Make(Thing::Minute),
        of: None,
        fields: &[
            said("topic_id", Is::Number),
            perhaps("start_ms", Is::Time),
            perhaps("end_ms", Is::Time),
            made("minute_id"),
        ],
    },
    Kind {
        name: "minute.update",
        act: Act::Over,
        of: Some(Thing::Minute),
        fields: &[
            said("minute_id", Is::Id),
            said("topic_id", Is::Number),
            said("start_ms", Is::Time),
            made("end_ms"),
        ],
    },
    Kind {
        name: "tag.create",
        act: Act::Make(Thing::Tag),
        of: Some(Thing::Minute),
        fields: &[
            said("minute_id", Is::Id),
            said("name", Is::Name),
            perhaps("tag_reference_id", Is::Number),
            made("tag_id"),
        ],
    },
    Kind {
        name: "tag.delete",
        act: Act::Remove,
        of: Some(Thing::Tag),
        fields: &[said("tag_id", Is::Id)],
    },
    Kind {
        name: "whiteboard.create",
        act: Act::Make(Thing::Whiteboard),
        of: None,
        fields: &[said("name", Is::Name), made("whiteboard_id")],
    },
    Kind {
        name: "whiteboard.delete",
        act: Act::Remove,
        of: Some(Thing::Whiteboard),
        fields: &[said("whiteboard_id", Is::Id)],
    },
    Kind {
        name: "whiteboard.path.create",
        act: Act::Draw,
        of: Some(Thing::Whiteboard),
        fields: &[said("whiteboard_id", Is::Id), said("path_data", Is::Text), made("path_id")],
    },
    Kind {
        name: "whiteboard.path.delete",
        act: Act::Erase,
        of: Some(Thing::Whiteboard),
        fields: &[said("whiteboard_id", Is::Id), said("path_id", Is::Id)],
    },
];

/// What every marker says.
const MARKER: &[Field] = &[said("type", Is::Name), perhaps("user", Is::Name)];

/// The types of markers, and what each says beside that.
const MARKERS: [(&str, &[Field]); 9] = [
    ("joined", &[said("name", Is::Name)]),
    ("connected", &[said("connected", Is::Flag)]),
    ("publishing", &[said("publishing", Is::Flag)]),
    ("speaking", &[said("speaking", Is::Flag)]),
    ("started", &[]),
    ("ended", &[]),
    ("recording_started", &[said("archive_id", Is::Name)]),
    ("recording_ended", &[said("archive_id", Is::Name)]),
    ("skew", &[said("user_ms", Is::Time), made("system_ms"), made("skew_ms")]),
];

/// Reads what `message` asks; nothing, if it is of another kind.
///
/// # Errors
/// [`Refusal`] when it is one of ours, and cannot be read, is shown to somebody, or speaks for somebody else.
pub fn read(message: Message<'_>) -> Result<Option<Request>, Refusal> {
    if message.kind == "marker" {
        return marker(message).map(Some);
    }
    let Some(kind) = KINDS.iter().find(|kind| kind.name == message.kind) else { return Ok(None) };
    let fields = checked(object(message)?, &[kind.fields])?;
    let of = kind.of.and_then(|thing| Some((thing, text(&fields, thing.field())?.to_owned())));
    Ok(Some(Request { act: kind.act, of, fields }))
}

fn marker(message: Message<'_>) -> Result<Request, Refusal> {
    let object = object(message)?;
    let of_type = text(&object, "type").unwrap_or_default();
    let Some((_, more)) = MARKERS.iter().find(|(name, _)| *name == of_type) else {
        let names = MARKERS.map(|(name, _)| name).join(", ");
        return Err(Refusal::invalid(&format!("a marker's type is one of {names}")));
    };
    let mut fields = checked(object, &[MARKER, more])?;
    let user = text(&fields, "user").unwrap_or(message.sender).to_owned();
    if user != message.sender && message.sender != SYSTEM {
        let reason = format!("{} cannot say what {user:?} does", message.sender);
        return Err(Refusal::new("not-yours", &reason));
    }
    if !message.hidden {
        let reason = "a marker is recorded and shown to nobody: send it with the route nobody";
        return Err(Refusal::new("wrong-route", reason));
    }
    fields.insert("user".to_owned(), user.into());
    Ok(Request { act: Act::Mark, of: None, fields })
}

fn object(message: Message<'_>) -> Result<Map<String, Value>, Refusal> {
    let invalid = |what: &str| Refusal::invalid(&format!("a {} carries {what}", message.kind));
    if message.media_type != "application/json" {
        return Err(invalid("JSON"));
    }
    match serde_json::from_slice(message.body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(invalid("an object")),
        Err(fault) => Err(invalid(&format!("JSON: {fault}"))),
    }
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::{Act, KINDS, Message, Refusal, Request, Thing, read};
    use serde_json::{Value, json};

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn send(kind: &str, body: &Value) -> Result<Option<Request>, Refusal> {
        let (media_type, body) = ("application/json", body.to_string());
        read(Message { kind, sender: "alice", hidden: true, media_type, body: body.as_bytes() })
    }

    fn code(kind: &str, body: &Value) -> &'static str {
        send(kind, body).unwrap_err().code
    }

    #[test]
    fn other_kinds_are_nobodys_business() {
        for kind in ["text", "markers", "tag", "minute.create.", "member.join"] {
            assert_eq!(send(kind, &json!(7)), Ok(None), "{kind}");
        }
    }

    #[test]
    fn every_kind_says_what_it_says_and_nothing_else() {
        let bodies = [
            json!({"topic_id": 7, "start_ms": 1, "end_ms": 2}),
            json!({"minute_id": ID, "topic_id": -7, "start_ms": 1}),
            json!({"minute_id": ID, "name": "budget", "tag_reference_id": 7}),
            json!({"tag_id": ID}),
            json!({"name": "plan"}),
            json!({"whiteboard_id": ID}),
            json!({"whiteboard_id": ID, "path_data": "M0 0L9 9"}),
            json!({"whiteboard_id": ID, "path_id": ID}),
        ];
        for (kind, body) in KINDS.iter().zip(bodies) {
            let request = send(kind.name, &body).unwrap().unwrap();
            assert_eq!((request.act, Value::Object(request.fields)), (kind.act, body.clone()));
            assert_eq!(request.of, kind.of.map(|thing| (thing, ID.to_owned())), "{}", kind.name);
            let mut more = body.clone();
            more["colour"] = "red".into();
            assert_eq!(code(kind.name, &more), "invalid-fields", "{more}");
        }
    }

    #[test]
    fn what_may_be_left_out_may_be_null() {
        let body = json!({"topic_id": 7, "start_ms": null, "end_ms": null, "minute_id": null});
        let request = send("minute.create", &body).unwrap().unwrap();
        assert_eq!(request.act, Act::Make(Thing::Minute));
        assert_eq!(Value::Object(request.fields), json!({"topic_id": 7}));
    }

    #[test]
    fn ids_are_made_here_and_nowhere_else() {
        for (kind, body) in [
            ("tag.create", json!({"tag_id": ID, "minute_id": ID, "name": "budget"})),
            ("minute.create", json!({"minute_id": ID, "topic_id": 7})),
            ("minute.update", json!({"minute_id": ID, "topic_id": 7, "start_ms": 1, "end_ms": 2})),
            ("whiteboard.create", json!({"whiteboard_id": ID, "name": "plan"})),
            (
                "whiteboard.path.create",
                json!({"whiteboard_id": ID, "path_data": "", "path_id": ID}),
            ),
            ("marker", json!({"type": "skew", "user_ms": 1, "system_ms": 1})),
        ] {
            let refusal = send(kind, &body).unwrap_err();
            assert!(refusal.reason.contains("made here"), "{kind}: {refusal:?}");
        }
    }

    #[test]
    fn what_is_not_what_it_should_be_is_refused() {
        for (kind, body) in [
            ("minute.create", json!({})),
            ("minute.create", json!({"topic_id": "7"})),
            ("minute.create", json!({"topic_id": 2_147_483_648_u64})),
            ("minute.create", json!({"topic_id": 7, "start_ms": -1})),
            ("tag.create", json!({"minute_id": ID, "name": ""})),
            ("tag.create", json!({"minute_id": ID, "name": "two\nlines"})),
            ("tag.create", json!({"minute_id": ID, "name": "x".repeat(256)})),
            ("tag.create", json!({"name": "budget"})),
            ("tag.delete", json!({"tag_id": "0123456789ABCDEF0123456789ABCDEF"})),
            ("tag.delete", json!({"tag_id": "0123"})),
            ("whiteboard.path.create", json!({"whiteboard_id": ID, "path_data": [1]})),
            ("whiteboard.delete", json!([])),
            ("marker", json!({})),
            ("marker", json!({"type": "gone"})),
            ("marker", json!({"type": "connected", "connected": 1})),
            ("marker", json!({"type": "joined"})),
            ("marker", json!({"type": "started", "name": "Alice"})),
        ] {
            assert_eq!(code(kind, &body), "invalid-fields", "{kind} {body}");
        }
        for (media_type, body) in
            [("text/plain", &b"{\"name\": \"plan\"}"[..]), ("application/json", &b"{"[..])]
        {
            let kind = "whiteboard.create";
            let message = Message { kind, sender: "alice", hidden: false, media_type, body };
            assert_eq!(read(message).unwrap_err().code, "invalid-fields");
        }
    }

    #[test]
    fn a_reason_is_no_longer_than_the_host_takes() {
        let body = json!({ "x".repeat(60_000): 1 });
        assert!(send("tag.delete", &body).unwrap_err().reason.len() < 1024);
    }

    #[test]
    fn a_marker_is_about_its_sender_and_the_system_speaks_for_all() {
        let own = send("marker", &json!({"type": "speaking", "speaking": true})).unwrap();
        let own = own.unwrap();
        assert_eq!((own.act, &own.fields["user"]), (Act::Mark, &json!("alice")));
        let body = json!({"type": "speaking", "speaking": true, "user": "bob"});
        assert_eq!(code("marker", &body), "not-yours");
        let (media_type, body) = ("application/json", body.to_string());
        let body = body.as_bytes();
        let system = Message { kind: "marker", sender: "system", hidden: true, media_type, body };
        assert_eq!(read(system).unwrap().unwrap().fields["user"], "bob");
    }

    #[test]
    fn a_marker_that_somebody_would_see_is_refused() {
        let (kind, media_type) = ("marker", "application/json");
        let body = br#"{"type": "joined", "name": "Alice"}"#;
        let shown = Message { kind, sender: "alice", hidden: false, media_type, body };
        assert_eq!(read(shown).unwrap_err().code, "wrong-route");
        assert!(read(Message { hidden: true, ..shown }).is_ok());
    }
}
