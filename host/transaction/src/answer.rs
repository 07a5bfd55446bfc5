//! What the answer of a service means.
//!
//! Its status decides, and has decided once the headers are there. The body is looked into only for the
//! events that a service could not take, and a body that says nothing of them says that it took all.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::Outcome;

/// The longest that a service may ask us to wait.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// What a status says about the transaction.
pub(crate) fn outcome(status: u16) -> Outcome {
    match status {
        200..300 => Outcome::Done,
        400 | 409 | 413 | 415 | 422 => Outcome::Refused,
        410 => Outcome::Gone,
        // Also 401, 403 and 404: an operator mends those, and the events are still wanted then. And a
        // redirect: what a service wants is asked of its operator, not of whoever answers for it.
        _ => Outcome::Retry { connected: true },
    }
}

/// What an operator may want to know beside the status.
pub(crate) fn hint(status: u16) -> Option<&'static str> {
    match status {
        300..=399 => Some("redirects are not followed: let url name the place itself"),
        401 | 403 => {
            Some("the service does not take our token or signature: see token_file, secret_file")
        }
        404 => Some("the service knows nothing at this place: see url and dialect"),
        _ => None,
    }
}

/// The ids in `{"failed": [ids]}`, in the order of the answer and without the `$` of Matrix.
pub(crate) fn failed(body: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Answer {
        failed: Vec<String>,
    }
    let Ok(Answer { mut failed }) = serde_json::from_slice(body) else { return Vec::new() };
    for id in &mut failed {
        if let Some(bare) = id.strip_prefix('$') {
            *id = bare.to_owned();
        }
    }
    failed
}

/// How long `Retry-After` asks to wait: seconds, or a date, which is measured from the service's own `Date`
/// if it says one, so that nobody's clock has to be right.
pub(crate) fn retry_after(value: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More seconds than a number holds are more than the most.
        let seconds = value.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs);
        return Some(seconds.min(RETRY_AFTER_MAX));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let since = date.and_then(|date| httpdate::parse_http_date(date.trim()).ok()).unwrap_or(now);
    Some(until.duration_since(since).unwrap_or_default().min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{failed, outcome, retry_after};
    use crate::Outcome;

    #[test]
    fn a_status_decides() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(outcome(status), Outcome::Done, "{status}");
        }
        for status in [400, 409, 413, 415, 422] {
            assert_eq!(outcome(status), Outcome::Refused, "{status}");
        }
        assert_eq!(outcome(410), Outcome::Gone);
        for status in [
            101, 199, 300, 302, 307, 401, 403, 404, 405, 408, 412, 421, 429, 431, 500, 503, 599,
            999,
        ] {
            assert_eq!(outcome(status), Outcome::Retry { connected: true }, "{status}");
        }
    }

    #[test]
    fn a_body_may_name_what_failed() {
        assert_eq!(failed(br#"{"failed": ["$a", "b", "$$c"], "more": 1}"#), ["a", "b", "$c"]);
        let nothing = [
            "",
            "{}",
            "ok",
            "[\"a\"]",
            r#"{"failed": "a"}"#,
            r#"{"failed": [1]}"#,
            r#"{"failed": ["a""#,
            "\u{0}",
        ];
        for body in nothing {
            assert!(failed(body.as_bytes()).is_empty(), "{body}");
        }
    }

    #[test]
    fn a_wait_is_seconds_or_a_date_and_never_longer_than_an_hour() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let wait = |value, date| retry_after(value, date, now).map(|wait| wait.as_secs());
        assert_eq!(wait("120", None), Some(120));
        assert_eq!(wait(" 0 ", None), Some(0));
        assert_eq!(wait("7200", None), Some(3600));
        assert_eq!(wait("99999999999999999999999", None), Some(3600));
        // 784111777 is this second.
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT", None), Some(0));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT", None), Some(60));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT", None), Some(0));
        assert_eq!(wait("Mon, 07 Nov 1994 08:50:37 GMT", None), Some(3600));
        // A service whose clock is wrong by years means what it says by its own clock.
        let date = Some("Thu, 01 Jan 2015 00:00:00 GMT");
        assert_eq!(wait("Thu, 01 Jan 2015 00:02:00 GMT", date), Some(120));
        assert_eq!(wait("Thu, 01 Jan 2015 00:02:00 GMT", Some("?")), Some(3600));
        for nothing in ["", "soon", "-1", "1.5", "+5"] {
            assert_eq!(wait(nothing, None), None, "{nothing}");
        }
    }
}
