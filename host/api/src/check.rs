//! What fields may hold. One function a rule; each names the field in what it says.
//!
//! Bounds are constants: an operator who needs longer names needs another design, not another setting.
//! Names are for people of any language, so they are any text without control characters; kinds are for
//! programs, so they are ASCII.

use std::fmt::Display;

use archive::{CollectionName, InvalidName, InvalidVersion, Key, UnifiedId};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::{Attrs, Body, Route};

use crate::problem::Problem;
use crate::shape::{NewBody, NewReference};
use chat::{Code, Naming, SYSTEM};

/// Bytes of the name of a sender, reader or member.
pub(crate) const NAME_BYTES_MAX: usize = 128;
/// Bytes of a message's kind.
pub(crate) const KIND_BYTES_MAX: usize = 64;
/// Bytes of a member's role.
pub(crate) const ROLE_BYTES_MAX: usize = 64;
/// Bytes of the reason for which a message is taken back: the chat remembers it.
pub(crate) const REASON_BYTES_MAX: usize = 512;
/// Names in a route.
pub(crate) const ROUTE_NAMES_MAX: usize = 128;
/// Pairs in attributes.
pub(crate) const ATTRS_MAX: usize = 32;
/// Bytes of an attribute's name.
pub(crate) const ATTR_NAME_BYTES_MAX: usize = 64;
/// Bytes of an attribute's value.
pub(crate) const ATTR_VALUE_BYTES_MAX: usize = 1024;
/// Bytes of a media type.
pub(crate) const MEDIA_TYPE_BYTES_MAX: usize = 127;
/// How deep JSON in a message may be nested: well below where parsers of others give up.
pub(crate) const JSON_DEPTH_MAX: usize = 64;
/// Bytes of an idempotency key.
pub(crate) const KEY_BYTES_MAX: usize = 255;

/// Whether it can be an idempotency key; if not, what is wrong with it.
pub(crate) fn key(key: &str) -> Result<(), &'static str> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err("wrong length");
    }
    let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
    if visible { Ok(()) } else { Err("invisible characters") }
}
/// The largest integer that every client's language can hold.
pub(crate) const INTEGER_MAX: u64 = (1 << 53) - 1;
/// Ten years in seconds.
pub(crate) const DURATION_S_MAX: u64 = 315_360_000;

/// The kind of a message that did not say.
pub(crate) const KIND_DEFAULT: &str = "text";
/// Handlers see joins and leaves under these kinds, so nobody may send them.
const RESERVED_KINDS: &str = "member.";

/// A name of somebody.
pub(crate) fn name(field: &str, name: &str) -> Result<(), Problem> {
    plain(field, name, 1, NAME_BYTES_MAX)
}

/// A name of somebody who speaks for themselves: not what the node and its handlers speak as, since whoever
/// reads must be able to believe that.
pub(crate) fn speaker(field: &str, said: &str) -> Result<(), Problem> {
    name(field, said)?;
    if said == SYSTEM {
        let rule = format!("{field}: {SYSTEM} is what the node itself speaks as");
        return Err(Problem::invalid(rule));
    }
    Ok(())
}

/// What somebody is in a chat.
pub(crate) fn role(role: &str) -> Result<(), Problem> {
    plain("role", role, 0, ROLE_BYTES_MAX)
}

/// Why something was done.
pub(crate) fn reason(reason: &str) -> Result<(), Problem> {
    plain("reason", reason, 0, REASON_BYTES_MAX)
}

fn plain(field: &str, text: &str, min: usize, max: usize) -> Result<(), Problem> {
    if (min..=max).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    let rule = format!("{field}: {min} to {max} bytes of text without control characters");
    Err(Problem::invalid(rule))
}

/// What a message is.
pub(crate) fn kind(kind: &str) -> Result<(), Problem> {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !(1..=KIND_BYTES_MAX).contains(&kind.len()) || !kind.bytes().all(letters) {
        let rule = format!("kind: 1 to {KIND_BYTES_MAX} ASCII letters, digits and '.', '_', '-'");
        return Err(Problem::invalid(rule));
    }
    if kind.starts_with(RESERVED_KINDS) {
        return Err(Problem::invalid(format!("kind: {RESERVED_KINDS}* is for joins and leaves")));
    }
    Ok(())
}

/// To whom a message goes.
pub(crate) fn route(route: &Route) -> Result<(), Problem> {
    let Route::Only(names) = route else { return Ok(()) };
    if !(1..=ROUTE_NAMES_MAX).contains(&names.len()) {
        return Err(Problem::invalid(format!("route.only: 1 to {ROUTE_NAMES_MAX} names")));
    }
    names.iter().try_for_each(|named| name("route.only", named))
}

/// Free pairs.
pub(crate) fn attrs(attrs: &Attrs) -> Result<(), Problem> {
    if attrs.len() > ATTRS_MAX {
        return Err(Problem::invalid(format!("attrs: at most {ATTRS_MAX} pairs")));
    }
    for (name, value) in attrs {
        plain("attrs: a name", name, 1, ATTR_NAME_BYTES_MAX)?;
        if value.len() > ATTR_VALUE_BYTES_MAX {
            let name = name.escape_default();
            let rule = format!("attrs.{name}: at most {ATTR_VALUE_BYTES_MAX} bytes");
            return Err(Problem::invalid(rule));
        }
    }
    Ok(())
}

/// What a message refers to in the archive: names that can be, and a version that can be.
pub(crate) fn archive(new: NewReference) -> Result<Naming, Problem> {
    let NewReference { collection, key, version } = new;
    let wrong =
        |field: &str, wrong: &dyn Display| Problem::invalid(format!("archive.{field}: {wrong}"));
    let _named: CollectionName =
        collection.parse().map_err(|error: InvalidName| wrong("collection", &error))?;
    let _named: Key = key.parse().map_err(|error: InvalidName| wrong("key", &error))?;
    let version = version.map(|text| text.parse::<UnifiedId>()).transpose();
    let version = version.map_err(|error: InvalidVersion| wrong("version", &error))?;
    Ok(Naming { collection, key, version: version.map(|version| version.0) })
}

/// An integer that has an upper end.
pub(crate) fn at_most(field: &str, number: u64, max: u64) -> Result<(), Problem> {
    if number <= max {
        return Ok(());
    }
    Err(Problem::invalid(format!("{field}: at most {max}")))
}

/// Exactly one body, of at most `bytes_max` bytes.
pub(crate) fn body(new: NewBody<'_>, bytes_max: usize) -> Result<Body, Problem> {
    let only_one = "exactly one of text, json and base64";
    let body = match (new.text, new.json, new.base64, new.media_type) {
        (Some(text), None, None, None) => Body::Text(text),
        (None, Some(json), None, None) => {
            shallow(json.get())?;
            Body::Json(json.get().to_owned())
        }
        (None, None, Some(base64), Some(media_type)) => bytes(&base64, media_type)?,
        (None, None, Some(_), None) => {
            return Err(Problem::invalid("media_type: missing; base64 needs it"));
        }
        (_, _, None, Some(_)) => return Err(Problem::invalid("media_type: only with base64")),
        (None, None, None, None) => {
            return Err(Problem::invalid(format!("text: missing; {only_one} is the body")));
        }
        (text, json, ..) => {
            let second = if text.is_some() && json.is_some() { "json" } else { "base64" };
            return Err(Problem::invalid(format!("{second}: a second body; {only_one}")));
        }
    };
    if body.len() > bytes_max {
        let detail = format!("the body has {} bytes; {bytes_max} are allowed", body.len());
        return Err(Problem::new(Code::TooLarge, detail));
    }
    Ok(body)
}

fn bytes(base64: &str, media_type: String) -> Result<Body, Problem> {
    let parts = media_type.split_once('/');
    let is_type = media_type.len() <= MEDIA_TYPE_BYTES_MAX
        && media_type.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && parts.is_some_and(|(kind, rest)| !kind.is_empty() && !rest.is_empty());
    if !is_type {
        let rule = format!("media_type: type/subtype, at most {MEDIA_TYPE_BYTES_MAX} bytes");
        return Err(Problem::invalid(rule));
    }
    match STANDARD.decode(base64) {
        Ok(bytes) => Ok(Body::Bytes { media_type, bytes }),
        Err(error) => Err(Problem::invalid(format!("base64: {error}"))),
    }
}

/// JSON that others can read too. It is known to be well-formed.
fn shallow(json: &str) -> Result<(), Problem> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                if depth > JSON_DEPTH_MAX {
                    let rule = format!("json: nested deeper than {JSON_DEPTH_MAX}");
                    return Err(Problem::invalid(rule));
                }
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Whether what a query escapes is UTF-8. A `%` that escapes nothing stands for itself.
pub(crate) fn is_text(query: &str) -> bool {
    let mut bytes = Vec::with_capacity(query.len());
    let mut rest = query.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|_| *first == b'%').map(|digits| {
            digits.iter().try_fold(0, |byte, digit| {
                char::from(*digit).to_digit(16).map(|digit| byte * 16 + digit)
            })
        });
        match digits.flatten().and_then(|byte| u8::try_from(byte).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    std::str::from_utf8(&bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_any_text_that_can_be_shown_on_one_line() {
        for good in ["alice", "Zoë", "小明", &"x".repeat(128)] {
            assert!(name("sender", good).is_ok(), "{good}");
        }
        for bad in ["", "a\nb", "\u{7f}", &"x".repeat(129)] {
            let problem = name("sender", bad).unwrap_err();
            assert!(problem.detail().starts_with("sender: "), "{}", problem.detail());
        }
    }

    #[test]
    fn nobody_speaks_as_the_node_itself() {
        assert!(speaker("sender", "systems").is_ok());
        let problem = speaker("sender", "system").unwrap_err();
        assert!(problem.detail().starts_with("sender: system is"), "{}", problem.detail());
    }

    #[test]
    fn nobody_sends_what_looks_like_a_join() {
        assert!(kind("chat.status").is_ok());
        for bad in ["", "member.join", "two words", "ä", &"k".repeat(65)] {
            assert!(kind(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn json_may_be_as_deep_as_the_bound_and_brackets_in_text_do_not_count() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(shallow(&nested(JSON_DEPTH_MAX)).is_ok());
        assert!(shallow(&nested(JSON_DEPTH_MAX + 1)).is_err());
        assert!(shallow(&format!("[\"\\\"{}\"]", "[".repeat(100))).is_ok());
    }

    #[test]
    fn a_route_to_some_names_some() {
        assert!(route(&Route::Only(vec![])).is_err());
        assert!(route(&Route::Only(vec!["bob".to_owned()])).is_ok());
        assert!(route(&Route::Only(vec!["bob".to_owned(); ROUTE_NAMES_MAX + 1])).is_err());
        assert!(route(&Route::Only(vec![String::new()])).is_err());
    }

    #[test]
    fn attributes_are_few_and_short() {
        let pair = |name: &str, value: &str| Attrs::from([(name.to_owned(), value.to_owned())]);
        assert!(attrs(&pair("seat", "12a")).is_ok());
        assert!(attrs(&pair("", "x")).is_err());
        assert!(attrs(&pair("seat", &"x".repeat(1025))).is_err());
        let many = (0..33).map(|n| (n.to_string(), String::new())).collect();
        assert!(attrs(&many).is_err());
    }
}
