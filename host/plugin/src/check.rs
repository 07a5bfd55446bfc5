//! What a guest hands over is checked like what a client sends: it ends in the same log.

use model::{Attrs, Body, Route};

/// Longest kind of a message.
const KIND_CHARS_MAX: usize = 64;
/// Longest name of a participant, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// Most names in a route.
const ROUTE_NAMES_MAX: usize = 1_000;
/// Most pairs on one thing.
const ATTRS_MAX: usize = 64;
/// Longest name of a pair.
const ATTR_NAME_BYTES_MAX: usize = 128;
/// Longest value of a pair.
const ATTR_VALUE_BYTES_MAX: usize = 4 << 10;
/// Longest reason code.
const CODE_BYTES_MAX: usize = 64;
/// Longest reason in words.
const REASON_BYTES_MAX: usize = 1 << 10;
/// Longest body: the default of `limits.message_bytes`.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Longest key of a note: a participant's name and as much again to say what is noted of them.
const NOTE_KEY_BYTES_MAX: usize = 512;
/// Bytes of all notes of one decision.
const DECISION_NOTES_BYTES_MAX: usize = 16 << 10;
/// Longest name of a timer.
const TIMER_BYTES_MAX: usize = 128;
/// Longest path of a call out.
const PATH_BYTES_MAX: usize = 2 << 10;
/// Most headers of a call out.
const HEADERS_MAX: usize = 32;
/// Longest correlation of a call out.
const CORRELATION_BYTES_MAX: usize = 255;
/// Longest media type.
const MEDIA_TYPE_BYTES_MAX: usize = 127;

/// What is wrong with something a guest handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// `invalid`, `too-large` or `unavailable`.
    pub(crate) code: &'static str,
    /// In words.
    pub(crate) detail: String,
}

type Checked = Result<(), Fault>;

fn invalid(detail: String) -> Checked {
    Err(Fault { code: "invalid", detail })
}

pub(crate) fn at_most(what: &str, length: usize, length_max: usize) -> Checked {
    if length > length_max {
        let detail = format!("{what}: {length} is more than {length_max}");
        return Err(Fault { code: "too-large", detail });
    }
    Ok(())
}

/// A message's kind: visible ASCII.
pub(crate) fn kind(kind: &str) -> Checked {
    at_most("characters of a kind", kind.chars().count(), KIND_CHARS_MAX)?;
    if kind.is_empty() || !kind.bytes().all(|byte| byte.is_ascii_graphic()) {
        return invalid(format!("kind {kind:?} is not visible ASCII"));
    }
    Ok(())
}

/// A participant's name.
pub(crate) fn name(name: &str) -> Checked {
    at_most("bytes of a name", name.len(), NAME_BYTES_MAX)?;
    if name.is_empty() || name.chars().any(char::is_control) {
        return invalid(format!("name {name:?} is empty or has control characters"));
    }
    Ok(())
}

/// Every name in a route, and how many.
pub(crate) fn route(route: &Route) -> Checked {
    match route {
        Route::Everyone | Route::Nobody => Ok(()),
        Route::Only(names) => {
            at_most("names in a route", names.len(), ROUTE_NAMES_MAX)?;
            if names.is_empty() {
                return invalid("a route to some names nobody".to_owned());
            }
            names.iter().try_for_each(|each| name(each))
        }
    }
}

/// A body's size and media type.
pub(crate) fn body(body: &Body) -> Checked {
    at_most("bytes of a body", body.len(), BODY_BYTES_MAX)?;
    match body {
        Body::Text(_) | Body::Json(_) => Ok(()),
        Body::Redacted(_) => invalid("what is taken back is not said".to_owned()),
        Body::Bytes { media_type, .. } => {
            at_most("bytes of a media type", media_type.len(), MEDIA_TYPE_BYTES_MAX)?;
            if !media_type.contains('/') || !media_type.bytes().all(|b| matches!(b, b' '..=b'~')) {
                return invalid(format!("media type {media_type:?}"));
            }
            Ok(())
        }
    }
}

/// The pair under which a handler is shown what a message refers to in the archive. Nobody writes it.
pub(crate) const ARCHIVE: &str = "carillon.archive";

/// One pair.
pub(crate) fn attr(name: &str, value: &str) -> Checked {
    at_most("bytes of an attribute's name", name.len(), ATTR_NAME_BYTES_MAX)?;
    at_most("bytes of an attribute's value", value.len(), ATTR_VALUE_BYTES_MAX)?;
    if name.is_empty() || name.chars().any(char::is_control) {
        return invalid(format!("attribute name {name:?} is empty or has control characters"));
    }
    Ok(())
}

/// All pairs, and how many.
pub(crate) fn attrs(attrs: &Attrs) -> Checked {
    at_most("attributes", attrs.len(), ATTRS_MAX)?;
    attrs.iter().try_for_each(|(name, value)| attr(name, value))
}

/// Pairs of a decision, in its order.
pub(crate) fn notes(notes: &[(String, String)]) -> Checked {
    at_most("notes", notes.len(), ATTRS_MAX)?;
    notes.iter().try_for_each(|(name, value)| attr(name, value))
}

/// Pairs that are kept beside a message: they are in its entry, and in the memory of those who may recall
/// them.
pub(crate) fn decision_notes(pairs: &[(String, String)]) -> Checked {
    notes(pairs)?;
    let bytes = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
    at_most("bytes of notes", bytes, DECISION_NOTES_BYTES_MAX)
}

/// A stable word for programs.
pub(crate) fn code(code: &str) -> Checked {
    at_most("bytes of a code", code.len(), CODE_BYTES_MAX)?;
    if code.is_empty() || !code.bytes().all(|byte| byte.is_ascii_graphic()) {
        return invalid(format!("code {code:?} is not visible ASCII"));
    }
    Ok(())
}

/// Words for people.
pub(crate) fn reason(reason: &str) -> Checked {
    at_most("bytes of a reason", reason.len(), REASON_BYTES_MAX)
}

/// A participant's status.
pub(crate) fn member_status(status: &str) -> Checked {
    match status {
        "connected" | "disconnected" | "unavailable" => Ok(()),
        other => {
            invalid(format!("status {other:?} is none of connected, disconnected, unavailable"))
        }
    }
}

/// A note's key.
pub(crate) fn note_key(key: &str) -> Checked {
    at_most("bytes of a key", key.len(), NOTE_KEY_BYTES_MAX)?;
    if key.is_empty() {
        return invalid("a key is empty".to_owned());
    }
    Ok(())
}

/// A timer's name.
pub(crate) fn timer(name: &str) -> Checked {
    at_most("bytes of a timer's name", name.len(), TIMER_BYTES_MAX)?;
    if name.is_empty() || name.chars().any(char::is_control) {
        return invalid(format!("timer name {name:?} is empty or has control characters"));
    }
    Ok(())
}

/// Where a call out goes, and what it carries.
pub(crate) fn outcall(path: &str, headers: &Attrs, body: &[u8], correlation: &str) -> Checked {
    at_most("bytes of a path", path.len(), PATH_BYTES_MAX)?;
    if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return invalid(format!("path {path:?} is not / and visible ASCII"));
    }
    at_most("headers", headers.len(), HEADERS_MAX)?;
    headers.iter().try_for_each(|(name, value)| header(name, value))?;
    at_most("bytes of a body", body.len(), BODY_BYTES_MAX)?;
    at_most("bytes of a correlation", correlation.len(), CORRELATION_BYTES_MAX)
}

/// A header that a plugin may set: those that say how a request is carried are the sender's.
fn header(name: &str, value: &str) -> Checked {
    at_most("bytes of a header's name", name.len(), ATTR_NAME_BYTES_MAX)?;
    at_most("bytes of a header's value", value.len(), ATTR_VALUE_BYTES_MAX)?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return invalid(format!("header name {name:?}"));
    }
    if !value.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return invalid(format!("the value of header {name:?} is not visible ASCII"));
    }
    const CARRIER: [&str; 8] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "expect",
    ];
    if CARRIER.iter().any(|carrier| name.eq_ignore_ascii_case(carrier)) {
        return invalid(format!("header {name:?} is the sender's to set"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use model::{Body, Route};

    fn refused(checked: super::Checked) -> &'static str {
        checked.unwrap_err().code
    }

    #[test]
    fn what_a_client_may_not_send_a_guest_may_not_hand_over() {
        assert_eq!(refused(super::kind(&"k".repeat(65))), "too-large");
        assert_eq!(refused(super::kind("with space")), "invalid");
        assert_eq!(refused(super::name("")), "invalid");
        assert_eq!(refused(super::name("a\nb")), "invalid");
        assert_eq!(refused(super::route(&Route::Only(vec![]))), "invalid");
        assert_eq!(refused(super::route(&Route::Only(vec!["a".to_owned(); 1001]))), "too-large");
        assert_eq!(refused(super::body(&Body::Text("x".repeat(65_537)))), "too-large");
        let strange = Body::Bytes { media_type: "a/b\n".to_owned(), bytes: vec![] };
        assert_eq!(refused(super::body(&strange)), "invalid");
        assert_eq!(refused(super::member_status("gone")), "invalid");
        assert_eq!(refused(super::code("")), "invalid");
        assert_eq!(refused(super::reason(&"r".repeat(1025))), "too-large");
    }
}
