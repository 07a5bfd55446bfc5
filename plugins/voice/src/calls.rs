//! What is known of a chat's calls: `{"users": {USER: {"calls": {SID: {"call_sid": SID, "started_ms": …}}}}}`, and of a
//! call that has gone on `status`, `duration_s` and `recording_url`.
//!
//! An attribute of a chat holds 4 KiB, which is more than ten calls with everything. When there are more the oldest
//! goes.

use serde_json::{Map, Value, json};

/// Bytes of an attribute.
const DATA_BYTES_MAX: usize = 4 << 10;
/// Bytes of what Twilio calls a call.
const SID_BYTES_MAX: usize = 64;
/// Bytes of a status.
const STATUS_BYTES_MAX: usize = 32;
/// Bytes of where a recording is.
const RECORDING_BYTES_MAX: usize = 512;

/// What is heard of a call.
#[derive(Clone, Copy, Debug, Default)]
pub struct News<'a> {
    /// How it goes, in Twilio's word.
    pub status: Option<&'a str>,
    /// How long it was.
    pub duration_s: Option<u64>,
    /// Where its recording is.
    pub recording: Option<&'a str>,
}

/// The data after `user` called.
pub fn begin(data: Option<&str>, user: &str, sid: &str, now_ms: u64) -> String {
    let mut data = read(data);
    let sid = sid.get(..SID_BYTES_MAX).unwrap_or(sid);
    let users = object(&mut data, "users");
    let calls = object(object_of(users.entry(user).or_insert_with(empty)), "calls");
    calls.entry(sid).or_insert_with(|| json!({"call_sid": sid, "started_ms": now_ms}));
    written(data)
}

/// The data after something was heard of a call; `None` if nothing has changed.
pub fn hear(data: Option<&str>, sid: &str, news: &News<'_>) -> Option<String> {
    let mut data = read(data);
    let sid = sid.get(..SID_BYTES_MAX).unwrap_or(sid);
    let users = data.get_mut("users")?.as_object_mut()?;
    let calls = users.values_mut().filter_map(|user| user.get_mut("calls")?.get_mut(sid));
    let call = calls.into_iter().next()?.as_object_mut()?;
    let before = call.clone();
    if let Some(status) = news.status.filter(|status| status.len() <= STATUS_BYTES_MAX) {
        call.insert("status".to_owned(), status.into());
    }
    if let Some(duration_s) = news.duration_s {
        call.insert("duration_s".to_owned(), duration_s.into());
    }
    if let Some(recording) = news.recording.filter(|at| at.len() <= RECORDING_BYTES_MAX) {
        call.insert("recording_url".to_owned(), recording.into());
    }
    let changed = *call != before;
    changed.then(|| written(data))
}

/// What is there, or nothing if that is something else.
fn read(data: Option<&str>) -> Map<String, Value> {
    data.and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default()
}

/// As it is kept: without the oldest calls, if it is too long with them.
fn written(mut data: Map<String, Value>) -> String {
    loop {
        let text = Value::Object(data.clone()).to_string();
        if text.len() <= DATA_BYTES_MAX || !forget_oldest(&mut data) {
            return text;
        }
    }
}

/// Whether there was one.
fn forget_oldest(data: &mut Map<String, Value>) -> bool {
    let oldest = calls(data).min_by_key(|(_, _, started_ms)| *started_ms);
    let Some((user, sid, _)) = oldest.map(|(user, sid, ms)| (user.to_owned(), sid.to_owned(), ms))
    else {
        return false;
    };
    let users = object(data, "users");
    if let Some(Value::Object(found)) = users.get_mut(&user) {
        let left = object(found, "calls");
        left.remove(&sid);
        if left.is_empty() {
            users.remove(&user);
        }
    }
    true
}

/// User, call and beginning of each.
fn calls(data: &Map<String, Value>) -> impl Iterator<Item = (&str, &str, u64)> {
    let users = data.get("users").and_then(Value::as_object).into_iter().flatten();
    users.flat_map(|(user, found)| {
        let calls = found.get("calls").and_then(Value::as_object).into_iter().flatten();
        calls.map(move |(sid, call)| {
            let started_ms = call.get("started_ms").and_then(Value::as_u64).unwrap_or_default();
            (user.as_str(), sid.as_str(), started_ms)
        })
    })
}

fn empty() -> Value {
    Value::Object(Map::new())
}

fn object<'a>(of: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    object_of(of.entry(name).or_insert_with(empty))
}

/// An object in the place of whatever else is there.
fn object_of(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = empty();
    }
    match value {
        Value::Object(object) => object,
        _ => unreachable!("it was made one"),
    }
}

#[cfg(test)]
mod tests {
    use super::{DATA_BYTES_MAX, News, begin, calls, hear};
    use serde_json::{Map, Value};

    fn read(data: &str) -> Map<String, Value> {
        serde_json::from_str(data).unwrap()
    }

    #[test]
    fn calls_are_kept_by_who_called_and_what_twilio_calls_them() {
        let one = begin(None, "bob", "CA1", 1);
        let two = begin(Some(&one), "bob", "CA2", 2);
        let three = begin(Some(&two), "eve", "CA3", 3);
        assert_eq!(begin(Some(&three), "bob", "CA1", 9), three, "a call begins once");
        let data = read(&three);
        let found: Vec<_> = calls(&data).collect();
        assert_eq!(found, [("bob", "CA1", 1), ("bob", "CA2", 2), ("eve", "CA3", 3)]);
    }

    #[test]
    fn what_is_something_else_is_begun_anew() {
        for other in ["", "[]", "7", r#"{"users": 7}"#, r#"{"users": {"bob": {"calls": []}}}"#] {
            let data = begin(Some(other), "bob", "CA1", 1);
            assert_eq!(calls(&read(&data)).count(), 1, "{other}");
            assert_eq!(
                hear(Some(other), "CA1", &News { duration_s: Some(1), ..News::default() }),
                None
            );
        }
    }

    #[test]
    fn the_same_news_changes_nothing() {
        let data = begin(None, "bob", "CA1", 1);
        let news = News { status: Some("completed"), ..News::default() };
        let after = hear(Some(&data), "CA1", &news).unwrap();
        assert_eq!(hear(Some(&after), "CA1", &news), None);
        let long = "x".repeat(1000);
        let news = News { status: Some(&long), recording: Some(&long), ..News::default() };
        assert_eq!(hear(Some(&after), "CA1", &news), None);
    }

    #[test]
    fn the_oldest_goes_when_there_are_more_than_fit() {
        let url = format!("https://{}", "r".repeat(500));
        let mut data = begin(None, "bob", "CA0", 0);
        for call in 1..=20_u64 {
            let (sid, user) = (format!("CA{call}"), format!("user{}", call % 3));
            data = begin(Some(&data), &user, &sid, call);
            let news = News { recording: Some(&url), ..News::default() };
            data = hear(Some(&data), &sid, &news).unwrap();
            assert!(data.len() <= DATA_BYTES_MAX);
        }
        let data = read(&data);
        let kept: Vec<u64> = calls(&data).map(|(_, _, started_ms)| started_ms).collect();
        assert!(kept.len() >= 6 && kept.iter().all(|call| *call > 20 - 8), "{kept:?}");
        let users = data["users"].as_object().unwrap();
        assert!(!users.contains_key("bob"), "nobody stays without a call");
    }
}
