//! Between our types and those of the WIT.

use model::{Attrs, Body, Cursor, Message, Participant, Reference, Route};

use crate::bindings::carillon::plugin::types as wit;
use crate::check::{self, Fault};
use crate::{Context, Verdict};

/// Media type of [`Body::Text`].
const TEXT: &str = "text/plain";
/// The pair on a message that was taken back: why. Nothing else is on it.
const REDACTED: &str = "redacted";

/// Media type of [`Body::Json`].
const JSON: &str = "application/json";

pub(crate) fn context(context: &Context) -> wit::Context {
    wit::Context {
        chat: context.chat.to_string(),
        head: position(context.head),
        now_ms: context.now_ms,
        status: context.status.name().to_owned(),
        started_ms: context.started_ms,
        max_duration_ms: context.max_duration_ms,
        max_participants: context.max_participants,
        participants: context.participants,
        chat_attrs: pairs(&context.chat_attrs),
    }
}

/// A message; one that has no place yet is not stored.
pub(crate) fn message(
    at: Option<Cursor>,
    message: &Message,
    sender: wit::Participant,
) -> wit::Message {
    wit::Message {
        id: message.id.to_string(),
        at: at.map(position),
        sender,
        kind: message.kind.clone(),
        route: match &message.route {
            Route::Everyone => wit::Route::Everyone,
            Route::Nobody => wit::Route::Nobody,
            Route::Only(names) => wit::Route::Only(names.clone()),
        },
        content: match &message.body {
            Body::Text(text) => content(TEXT, text.as_bytes()),
            Body::Json(text) => content(JSON, text.as_bytes()),
            Body::Bytes { media_type, bytes } => content(media_type, bytes),
            Body::Redacted(_) => content(TEXT, b""),
        },
        attrs: match message.redaction() {
            Some(why) => vec![(REDACTED.to_owned(), why.reason.clone())],
            None => pairs_of(message),
        },
        sent_ms: message.sent_ms,
        time_ms: message.time_ms,
    }
}

pub(crate) fn position(at: Cursor) -> wit::Position {
    wit::Position { epoch: at.epoch, seq: at.seq }
}

pub(crate) fn participant(participant: &Participant) -> wit::Participant {
    wit::Participant {
        id: participant.id.clone(),
        role: participant.role.clone(),
        status: participant.status.clone(),
        heard_ms: participant.heard_ms,
        attrs: pairs(&participant.attrs),
    }
}

pub(crate) fn route(route: wit::Route) -> Result<Route, Fault> {
    let route = match route {
        wit::Route::Everyone => Route::Everyone,
        wit::Route::Nobody => Route::Nobody,
        wit::Route::Only(names) => Route::Only(names),
    };
    check::route(&route)?;
    Ok(route)
}

/// A body: text and JSON are what their media type says, or refused.
pub(crate) fn body(content: wit::Content) -> Result<Body, Fault> {
    let wit::Content { media_type, body: bytes } = content;
    let text = |bytes| {
        String::from_utf8(bytes).map_err(|_not_text| Fault {
            code: "invalid",
            detail: format!("a body of {media_type} is not UTF-8"),
        })
    };
    let body = match media_type.as_str() {
        TEXT => Body::Text(text(bytes)?),
        JSON => {
            let text = text(bytes)?;
            if let Err(fault) = serde_json::from_str::<serde::de::IgnoredAny>(&text) {
                let detail = format!("a body of {media_type} is no JSON: {fault}");
                return Err(Fault { code: "invalid", detail });
            }
            Body::Json(text)
        }
        _ => Body::Bytes { media_type, bytes },
    };
    check::body(&body)?;
    Ok(body)
}

/// Pairs; of two with one name the later counts.
pub(crate) fn attrs(attrs: Vec<wit::Attr>) -> Result<Attrs, Fault> {
    let attrs = attrs.into_iter().collect();
    check::attrs(&attrs)?;
    Ok(attrs)
}

/// Headers; of two with one name the later counts. They are checked with the rest of their call.
pub(crate) fn headers(headers: Vec<wit::Attr>) -> Attrs {
    headers.into_iter().collect()
}

pub(crate) fn verdict(verdict: wit::Verdict) -> Result<Verdict, Fault> {
    Ok(match verdict {
        wit::Verdict::Pass => Verdict::Pass,
        wit::Verdict::Accept => Verdict::Accept,
        wit::Verdict::Rewrite(content) => Verdict::Rewrite(body(content)?),
        wit::Verdict::Reject(wit::Rejection { code, reason, retry_after_ms }) => {
            check::code(&code)?;
            check::reason(&reason)?;
            Verdict::Reject { code, reason, retry_after_ms }
        }
        wit::Verdict::Hold(wit::HoldSpec { reason, deadline_ms, accept_on_deadline }) => {
            check::reason(&reason)?;
            Verdict::Hold { reason, deadline_ms, accept: accept_on_deadline }
        }
    })
}

/// The pairs of a message, and what it refers to: never what somebody wrote there.
fn pairs_of(message: &Message) -> Vec<wit::Attr> {
    let mut pairs = pairs(&message.attrs);
    pairs.retain(|(name, _)| name != check::ARCHIVE);
    pairs.extend(message.archive.as_deref().map(|archive| {
        let Reference { collection, key, version } = archive;
        let json = serde_json::json!({
            "collection": collection, "key": key, "version": version.to_string(),
        });
        (check::ARCHIVE.to_owned(), json.to_string())
    }));
    pairs
}

fn pairs(attrs: &Attrs) -> Vec<wit::Attr> {
    attrs.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn content(media_type: &str, bytes: &[u8]) -> wit::Content {
    wit::Content { media_type: media_type.to_owned(), body: bytes.to_vec() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{Attrs, Body, Message, MessageId, Participant, Redaction, Reference, Route};

    use super::{message, participant};

    fn shown(archive: Option<Reference>, body: Body) -> Vec<(String, String)> {
        let attrs = ["a", "carillon.archive"].map(|name| (name.to_owned(), "forged".to_owned()));
        let told = Message {
            id: MessageId([1; 16]),
            sender: "alice".to_owned(),
            kind: "text".to_owned(),
            route: Route::Everyone,
            body,
            archive: archive.map(Arc::new),
            attrs: Attrs::from(attrs),
            time_ms: 1,
            sent_ms: None,
            stamps: Vec::new(),
        };
        message(None, &told, participant(&Participant::default())).attrs
    }

    #[test]
    fn a_handler_is_shown_what_a_message_refers_to_and_nothing_that_looks_like_it() {
        let text = || Body::Text("look".to_owned());
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(shown(None, text()), [pair("a", "forged")]);
        let (collection, key) = ("attachments".to_owned(), "t/bell.jpg".to_owned());
        let archive = Some(Reference { collection, key, version: 7 });
        let json = r#"{"collection":"attachments","key":"t/bell.jpg","version":"7"}"#;
        let expected = [pair("a", "forged"), pair("carillon.archive", json)];
        assert_eq!(shown(archive.clone(), text()), expected);
        let why = Redaction { reason: "private".to_owned(), ..Redaction::default() };
        let redacted = shown(archive, Body::Redacted(Arc::new(why)));
        assert_eq!(redacted, [pair("redacted", "private")]);
    }
}
