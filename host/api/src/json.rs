//! A body that says it is JSON: which media types are that, and what is wrong with what is none.

use serde::Deserialize;

use crate::problem::Problem;

/// Reads a JSON object. What is wrong is said with the path of its field.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    // Serde reads a struct from an array too, by the order of its fields; that order is nobody's promise.
    if !is_object(body) {
        return Err(no_object(body));
    }
    match serde_json::from_slice(body) {
        Ok(value) => Ok(value),
        Err(_said_again_below) => Err(explain::<T>(body)),
    }
}

/// Whether it can only be an object, if it is JSON.
pub(crate) fn is_object(body: &[u8]) -> bool {
    body.iter().find(|byte| !b" \t\r\n".contains(byte)) == Some(&b'{')
}

/// What is wrong with a body that does not begin like an object.
fn no_object(body: &[u8]) -> Problem {
    if std::str::from_utf8(body).is_err() {
        return Problem::invalid("the body is not UTF-8");
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
        Ok(_other) => Problem::invalid("the body must be a JSON object"),
        Err(wrong) => Problem::invalid(format!("the body is not JSON: {wrong}")),
    }
}

/// Reads it again, slowly, to find out where it is wrong.
fn explain<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Problem {
    if std::str::from_utf8(body).is_err() {
        return Problem::invalid("the body is not UTF-8");
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize::<_, T>(&mut reader);
    let Err(wrong) = read else {
        return Problem::invalid("the body goes on after its JSON value");
    };
    let path = wrong.path().to_string();
    let what = wrong.into_inner();
    // Some of what is wrong with the data is called a fault of the syntax.
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    Problem::invalid(match (is_json, path.as_str()) {
        (false, _) => format!("the body is not JSON: {what}"),
        (true, ".") => format!("the body: {what}"),
        (true, path) => format!("{path}: {what}"),
    })
}

/// `application/json`, in UTF-8 if it says in what.
pub(crate) fn is_json(media_type: &str) -> bool {
    let mut parts = media_type.split(';').map(str::trim);
    let json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    json && parts.all(|part| part.is_empty() || part.eq_ignore_ascii_case("charset=utf-8"))
}

#[cfg(test)]
mod tests {
    use super::{is_json, parse};
    use crate::shape::NewMessage;

    #[track_caller]
    fn refused(body: &[u8]) -> String {
        parse::<NewMessage<'_>>(body).unwrap_err().detail().to_owned()
    }

    #[test]
    fn what_is_wrong_is_said_with_its_field() {
        let sender = |rest: &str| format!("{{\"sender\": \"a\", {rest}}}");
        for (rest, field) in [
            ("\"text\": 5", "text"),
            ("\"txet\": \"a\"", "txet"),
            ("\"attrs\": {\"a\": 1}", "attrs.a"),
            ("\"route\": {\"only\": \"bob\"}", "route"),
            ("\"sent_ms\": -1", "sent_ms"),
            ("\"text\": \"a\", \"text\": \"b\"", "text"),
        ] {
            let detail = refused(sender(rest).as_bytes());
            assert!(detail.contains(field), "{rest}: {detail}");
        }
    }

    #[test]
    fn what_is_not_json_is_called_that() {
        assert!(refused(b"hello").contains("not JSON"));
        assert!(refused(b"").contains("not JSON"));
        assert!(refused(b"{\"sender\": \"a\", \"text\": \"\xff\"}").contains("not UTF-8"));
        assert!(refused(b"{\"sender\": \"a\", \"text\": \"b\"} {}").contains("goes on"));
        assert!(refused(b"5 x").contains("not JSON"));
        assert!(refused(b"[\"\xff\"]").contains("not UTF-8"));
    }

    #[test]
    fn what_is_no_object_is_told_what_is_wanted() {
        for other in ["[]", "5", "null", "\"a\"", " \t\r\n[\"alice\", null, null, \"hi\"]"] {
            assert_eq!(refused(other.as_bytes()), "the body must be a JSON object", "{other}");
        }
        assert!(parse::<NewMessage<'_>>(b" \t\r\n{\"sender\": \"a\"}").is_ok());
    }

    #[test]
    fn json_is_any_value_and_null_is_one() {
        let message: NewMessage<'_> = parse(b"{\"sender\": \"a\", \"json\": null}").unwrap();
        assert_eq!(message.json.map(serde_json::value::RawValue::get), Some("null"));
        let message: NewMessage<'_> =
            parse(b"{\"sender\": \"a\", \"json\": {\"a\": [1e99]}}").unwrap();
        assert_eq!(message.json.map(serde_json::value::RawValue::get), Some("{\"a\": [1e99]}"));
    }

    #[test]
    fn media_types_are_compared_as_they_should_be() {
        for good in ["application/json", "Application/JSON; charset=UTF-8", "application/json;"] {
            assert!(is_json(good), "{good}");
        }
        for bad in ["", "text/plain", "application/json; charset=latin1", "application/jsonp"] {
            assert!(!is_json(bad), "{bad}");
        }
    }
}
