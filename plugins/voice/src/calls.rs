//! What is known of a chat's calls and conferences, in its attributes `twilio_data`, `twilio_data.2`, `twilio_data.3` …
//!
//! Each is JSON of the same form, and all of them together are what is known: `{"users": {USER: {"calls": {SID: {"call_sid": SID,
//! "started_ms": …}}}}, "conferences": {SID: {"conference_sid": SID}}}`. Of a call that has gone on there are `status`,
//! `duration_s` and `recording_url` too; of a conference `ended_ms`, `duration_s` and `recording_url`.
//!
//! An attribute holds 4 KiB, so a call is in the first that has room for it, and goes on to another when it has grown too long.
//! Nothing that is kept is dropped for something newer: what finds no room any more is counted in the first, as `left_out`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The chat's attribute with what is known of its calls; more of them have a number behind it.
const DATA: &str = "twilio_data";
/// Most attributes: half of what a chat may have. A call of which everything is known has about 330 bytes, so there is
/// room for more calls than the 250 that Twilio lets into a conference.
const PARTS_MAX: usize = 32;
/// Attributes that a chat may have. With more of them the host refuses the request as a whole.
const ATTRS_MAX: usize = 64;
/// Bytes of an attribute, less what it takes to say how much is left out.
const PART_BYTES_MAX: usize = (4 << 10) - 64;
/// Bytes of what Twilio calls a call.
const SID_BYTES_MAX: usize = 64;
/// Bytes of a status.
const STATUS_BYTES_MAX: usize = 32;
/// Bytes of where a recording is.
const RECORDING_BYTES_MAX: usize = 512;

/// What is heard of a call or a conference.
#[derive(Clone, Copy, Debug, Default)]
pub struct News<'a> {
    /// How it goes, in Twilio's word.
    pub status: Option<&'a str>,
    /// How long it was.
    pub duration_s: Option<u64>,
    /// Where its recording is.
    pub recording: Option<&'a str>,
    /// When it ended.
    pub ended_ms: Option<u64>,
}

/// What is to be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Attributes of the chat that have changed, by name.
    pub attrs: Vec<(String, String)>,
    /// Whether something found no room.
    pub left_out: bool,
}

/// What is known of the calls of one chat.
#[derive(Clone, Debug)]
pub struct Calls {
    parts: Vec<Part>,
    /// Attributes of the chat that are somebody else's.
    others: usize,
    left_out: u64,
    /// Whether that has grown.
    refused: bool,
}

/// One attribute. What is in it is read when it is asked for: of many most are passed over.
#[derive(Clone, Debug, Default)]
struct Part {
    /// As the chat has it.
    text: String,
    read: Option<Vec<Record>>,
    changed: bool,
}

/// A call, or a conference.
#[derive(Clone, Debug, PartialEq)]
struct Record {
    /// Who calls; nobody does in a conference.
    user: Option<String>,
    sid: String,
    known: Map<String, Value>,
}

impl Calls {
    /// What is known, as the attributes of the chat say it. What is something else there counts as nothing.
    pub fn read(attrs: &[(String, String)]) -> Self {
        let value = |name: &str| attrs.iter().find(|(it, _)| it == name).map(|(_, value)| value);
        let texts = (0..PARTS_MAX).map_while(|index| value(&name(index)));
        let part = |text: &String| Part { text: text.clone(), ..Part::default() };
        let parts: Vec<Part> = texts.map(part).collect();
        let first = parts.first().map(|first| object(&first.text)).unwrap_or_default();
        let left_out = first.get("left_out").and_then(Value::as_u64).unwrap_or_default();
        Self { others: attrs.len().saturating_sub(parts.len()), parts, left_out, refused: false }
    }

    /// `user` calls.
    pub fn begin(&mut self, user: &str, sid: &str, now_ms: u64) {
        let sid = cut(sid);
        if self.find(sid, false).is_some() {
            return;
        }
        let mut known = Map::from_iter([("call_sid".to_owned(), sid.into())]);
        known.insert("started_ms".to_owned(), now_ms.into());
        self.put(&Record { user: Some(user.to_owned()), sid: sid.to_owned(), known });
    }

    /// Something is heard of a call. One that nobody knows stays unknown.
    pub fn hear(&mut self, sid: &str, news: &News<'_>) {
        if let Some(at) = self.find(cut(sid), false) {
            self.learn(at, news);
        }
    }

    /// Something is heard of a conference, perhaps for the first time.
    pub fn hear_of_conference(&mut self, sid: &str, news: &News<'_>) {
        let sid = cut(sid);
        match self.find(sid, true) {
            Some(at) => self.learn(at, news),
            None => {
                let mut known = Map::from_iter([("conference_sid".to_owned(), sid.into())]);
                learn(&mut known, news);
                self.put(&Record { user: None, sid: sid.to_owned(), known });
            }
        }
    }

    /// What has changed.
    pub fn kept(mut self) -> Kept {
        let mut attrs = Vec::new();
        for (index, part) in self.parts.iter_mut().enumerate().filter(|(_, part)| part.changed) {
            let left_out = if index == 0 { self.left_out } else { 0 };
            attrs.push((name(index), written(part.records(), left_out)));
        }
        Kept { attrs, left_out: self.refused }
    }

    fn find(&mut self, sid: &str, conference: bool) -> Option<(usize, usize)> {
        let is = |record: &Record| record.sid == sid && record.user.is_none() == conference;
        let parts = self.parts.iter_mut().enumerate();
        let mut named = parts.filter(|(_, part)| part.text.contains(sid));
        named.find_map(|(index, part)| Some((index, part.records().iter().position(is)?)))
    }

    /// What is heard of a record that is there.
    fn learn(&mut self, (index, position): (usize, usize), news: &News<'_>) {
        let Some(part) = self.parts.get_mut(index) else { return };
        let Some(record) = part.records().get_mut(position) else { return };
        let before = record.clone();
        learn(&mut record.known, news);
        if *record == before {
            return;
        }
        part.changed = true;
        if written(part.records(), 0).len() <= PART_BYTES_MAX {
            return;
        }
        let grown = part.records().remove(position);
        if !self.fits(&grown)
            && let Some(part) = self.parts.get_mut(index)
        {
            part.records().insert(position, before);
            self.refuse();
        }
    }

    fn put(&mut self, record: &Record) {
        if !self.fits(record) {
            self.refuse();
        }
    }

    /// Whether there was room for it somewhere.
    fn fits(&mut self, record: &Record) -> bool {
        let most = PARTS_MAX.min(ATTRS_MAX.saturating_sub(self.others));
        let bytes = json!(record.known).to_string().len();
        for index in 0..most {
            if index == self.parts.len() {
                self.parts.push(Part::default());
            }
            let Some(part) = self.parts.get_mut(index) else { return false };
            if part.text.len() + bytes > PART_BYTES_MAX {
                continue;
            }
            part.records().push(record.clone());
            if written(part.records(), 0).len() <= PART_BYTES_MAX {
                part.changed = true;
                return true;
            }
            part.records().pop();
        }
        false
    }

    fn refuse(&mut self) {
        (self.left_out, self.refused) = (self.left_out.saturating_add(1), true);
        if let Some(first) = self.parts.first_mut() {
            first.changed = true;
        }
    }
}

impl Part {
    fn records(&mut self) -> &mut Vec<Record> {
        self.read.get_or_insert_with(|| records(&object(&self.text)))
    }
}

/// The attribute with that number, from 0.
fn name(index: usize) -> String {
    if index == 0 { DATA.to_owned() } else { format!("{DATA}.{}", index + 1) }
}

fn cut(sid: &str) -> &str {
    sid.get(..SID_BYTES_MAX).unwrap_or(sid)
}

fn learn(known: &mut Map<String, Value>, news: &News<'_>) {
    if let Some(status) = news.status.filter(|status| status.len() <= STATUS_BYTES_MAX) {
        known.insert("status".to_owned(), status.into());
    }
    if let Some(duration_s) = news.duration_s {
        known.insert("duration_s".to_owned(), duration_s.into());
    }
    if let Some(recording) = news.recording.filter(|at| at.len() <= RECORDING_BYTES_MAX) {
        known.insert("recording_url".to_owned(), recording.into());
    }
    if let Some(ended_ms) = news.ended_ms {
        known.insert("ended_ms".to_owned(), ended_ms.into());
    }
}

fn object(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_default()
}

fn records(data: &Map<String, Value>) -> Vec<Record> {
    let each = |user: Option<&str>, known: &Map<String, Value>, name: &str| {
        let all = known.get(name).and_then(Value::as_object).into_iter().flatten();
        let all = all.filter_map(|(sid, known)| {
            let (user, sid) = (user.map(str::to_owned), sid.clone());
            Some(Record { user, sid, known: known.as_object()?.clone() })
        });
        all.collect::<Vec<_>>()
    };
    let users = data.get("users").and_then(Value::as_object).into_iter().flatten();
    let users = users.filter_map(|(user, known)| Some((user.as_str(), known.as_object()?)));
    let calls = users.flat_map(|(user, known)| each(Some(user), known, "calls"));
    calls.chain(each(None, data, "conferences")).collect()
}

/// As it is kept.
fn written(records: &[Record], left_out: u64) -> String {
    let mut users: BTreeMap<&str, BTreeMap<&str, &Map<String, Value>>> = BTreeMap::new();
    let mut conferences = BTreeMap::new();
    for Record { user, sid, known } in records {
        let all = user.as_deref().map_or(&mut conferences, |user| users.entry(user).or_default());
        all.insert(sid.as_str(), known);
    }
    let mut data = Map::new();
    if !users.is_empty() {
        let calls = |calls| json!({ "calls": calls });
        let users = users.into_iter().map(|(user, all)| (user.to_owned(), calls(all)));
        data.insert("users".to_owned(), Value::Object(users.collect()));
    }
    if !conferences.is_empty() {
        data.insert("conferences".to_owned(), json!(conferences));
    }
    if left_out > 0 {
        data.insert("left_out".to_owned(), left_out.into());
    }
    Value::Object(data).to_string()
}

#[cfg(test)]
mod tests {
    use super::{ATTRS_MAX, Calls, Kept, News, PARTS_MAX};
    use serde_json::{Value, json};

    type Attrs = Vec<(String, String)>;

    /// The attributes after something was done, as the host would have them.
    fn after(attrs: &Attrs, does: impl FnOnce(&mut Calls)) -> (Attrs, Kept) {
        let mut calls = Calls::read(attrs);
        does(&mut calls);
        let kept = calls.kept();
        let mut attrs = attrs.clone();
        for (name, value) in &kept.attrs {
            assert!(value.len() <= 4 << 10, "{} bytes of {name}", value.len());
            match attrs.iter_mut().find(|(known, _)| known == name) {
                Some(pair) => pair.1.clone_from(value),
                None => attrs.push((name.clone(), value.clone())),
            }
        }
        assert!(attrs.len() <= ATTRS_MAX, "the host takes no more");
        (attrs, kept)
    }

    fn begun(attrs: &Attrs, user: &str, sid: &str, now_ms: u64) -> Attrs {
        after(attrs, |calls| calls.begin(user, sid, now_ms)).0
    }

    fn heard(attrs: &Attrs, sid: &str, news: &News<'_>) -> (Attrs, Kept) {
        after(attrs, |calls| calls.hear(sid, news))
    }

    fn json_of(attrs: &Attrs, name: &str) -> Value {
        let found = attrs.iter().find(|(known, _)| known == name);
        serde_json::from_str(&found.unwrap().1).unwrap()
    }

    /// Every call, wherever it is kept.
    fn calls(attrs: &Attrs) -> Vec<Value> {
        let parts = attrs.iter().filter(|(name, _)| name.starts_with("twilio_data"));
        let parts = parts.map(|(_, text)| serde_json::from_str::<Value>(text).unwrap());
        let users = parts.flat_map(|part| {
            part["users"].as_object().cloned().into_iter().flatten().collect::<Vec<_>>()
        });
        users
            .flat_map(|(_, user)| user["calls"].as_object().unwrap().clone().into_iter())
            .map(|(_, call)| call)
            .collect()
    }

    /// What Twilio calls a call, and where it keeps recordings: as long as they are.
    fn sid(number: u64) -> String {
        format!("CA{number:032x}")
    }

    fn recording(number: u64) -> String {
        let (account, recording) = ("0".repeat(32), format!("{number:032x}"));
        format!("https://api.twilio.com/2010-04-01/Accounts/AC{account}/Recordings/RE{recording}")
    }

    #[test]
    fn calls_are_kept_by_who_called_and_what_twilio_calls_them() {
        let one = begun(&vec![], "bob", "CA1", 1);
        let two = begun(&one, "bob", "CA2", 2);
        let three = begun(&two, "eve", "CA3", 3);
        assert_eq!(begun(&three, "bob", "CA1", 9), three, "a call begins once");
        let call = |sid: &str, ms: u64| json!({"call_sid": sid, "started_ms": ms});
        let bob = json!({"calls": {"CA1": call("CA1", 1), "CA2": call("CA2", 2)}});
        let users = json!({"users": {"bob": bob, "eve": {"calls": {"CA3": call("CA3", 3)}}}});
        assert_eq!((json_of(&three, "twilio_data"), three.len()), (users, 1));
    }

    #[test]
    fn what_is_something_else_is_begun_anew() {
        for other in ["", "[]", "7", r#"{"users": 7}"#, r#"{"users": {"bob": {"calls": []}}}"#] {
            let attrs = vec![("twilio_data".to_owned(), other.to_owned())];
            let news = News { duration_s: Some(1), ..News::default() };
            assert_eq!(heard(&attrs, "CA1", &news).1, Kept::default());
            assert_eq!(calls(&begun(&attrs, "bob", "CA1", 1)).len(), 1, "{other}");
        }
    }

    #[test]
    fn the_same_news_changes_nothing() {
        let attrs = begun(&vec![], "bob", "CA1", 1);
        let news = News { status: Some("completed"), ..News::default() };
        let (attrs, kept) = heard(&attrs, "CA1", &news);
        assert_eq!(kept.attrs.len(), 1);
        assert_eq!(heard(&attrs, "CA1", &news).1, Kept::default());
        let long = "x".repeat(1000);
        let news = News { status: Some(&long), recording: Some(&long), ..News::default() };
        assert_eq!(heard(&attrs, "CA1", &news).1, Kept::default());
    }

    #[test]
    fn a_conference_is_known_from_what_is_heard_of_it() {
        let ended = News { ended_ms: Some(7), ..News::default() };
        let recorded =
            News { recording: Some("https://r"), duration_s: Some(9), ..News::default() };
        let attrs = begun(&vec![], "bob", "CA1", 1);
        let (attrs, _) = after(&attrs, |calls| calls.hear_of_conference("CF1", &ended));
        let (attrs, _) = after(&attrs, |calls| calls.hear_of_conference("CF1", &recorded));
        let conference = json!({
            "conference_sid": "CF1", "ended_ms": 7, "duration_s": 9, "recording_url": "https://r",
        });
        let data = json_of(&attrs, "twilio_data");
        assert_eq!(data["conferences"], json!({ "CF1": conference }));
        assert_eq!(data["users"]["bob"]["calls"]["CA1"]["call_sid"], "CA1");
        // When those who left come again, that is another one.
        let (attrs, _) = after(&attrs, |calls| calls.hear_of_conference("CF2", &recorded));
        assert_eq!(json_of(&attrs, "twilio_data")["conferences"].as_object().unwrap().len(), 2);
    }

    #[test]
    fn a_call_and_a_conference_of_one_name_are_two() {
        let ended = News { ended_ms: Some(7), ..News::default() };
        let over = News { status: Some("completed"), ..News::default() };
        let call = json!({"call_sid": "X1", "started_ms": 1, "status": "completed"});
        let conference = json!({"conference_sid": "X1", "ended_ms": 7});
        let called = begun(&vec![], "bob", "X1", 1);
        let (called, _) = after(&called, |calls| calls.hear_of_conference("X1", &ended));
        let (met, _) = after(&vec![], |calls| calls.hear_of_conference("X1", &ended));
        for attrs in [called, begun(&met, "bob", "X1", 1)] {
            let (attrs, _) = heard(&attrs, "X1", &over);
            let data = json_of(&attrs, "twilio_data");
            assert_eq!(data["users"]["bob"]["calls"], json!({ "X1": call }));
            assert_eq!(data["conferences"], json!({ "X1": conference }));
        }
    }

    #[test]
    fn everything_of_as_many_calls_as_a_conference_takes_is_kept() {
        let mut attrs = vec![];
        for number in 0..250 {
            attrs = begun(&attrs, &format!("+49170{number:07}"), &sid(number), number);
        }
        for number in 0..250 {
            let at = recording(number);
            let status = Some("completed");
            let news =
                News { status, duration_s: Some(3_600), recording: Some(&at), ended_ms: None };
            let (now, kept) = heard(&attrs, &sid(number), &news);
            assert!(!kept.left_out && kept.attrs.len() <= 2, "{kept:?}");
            attrs = now;
        }
        let mut all = calls(&attrs);
        all.sort_by_key(|call| call["started_ms"].as_u64());
        for (number, call) in (0..250).zip(&all) {
            assert_eq!(call["call_sid"], sid(number));
            assert_eq!(call["recording_url"], recording(number), "a call that went on is whole");
            assert_eq!(
                (&call["status"], &call["duration_s"]),
                (&json!("completed"), &json!(3_600))
            );
        }
        assert_eq!(all.len(), 250);
        assert!(attrs.len() <= PARTS_MAX, "{}", attrs.len());
    }

    #[test]
    fn what_finds_no_room_is_counted_and_takes_nothing_from_what_is_kept() {
        let user = "u".repeat(128);
        let others = (0..60).map(|n| (format!("other{n}"), String::new()));
        let mut attrs: Attrs = others.collect();
        let mut number = 0;
        loop {
            let (now, kept) = after(&attrs, |calls| calls.begin(&user, &sid(number), number));
            if kept.left_out {
                assert_eq!(json_of(&now, "twilio_data")["left_out"], 1);
                assert_eq!(calls(&now).len(), calls(&attrs).len());
                attrs = now;
                break;
            }
            (attrs, number) = (now, number + 1);
            assert!(number < 1_000, "some of {number} calls find no room");
        }
        assert!(number > 80, "four attributes are there for {number} calls");
        // Of a call that is kept something more would be kept, and there is no room for it.
        let at = "r".repeat(500);
        let news = News { recording: Some(&at), ..News::default() };
        let (attrs, kept) = heard(&attrs, &sid(0), &news);
        assert!(kept.left_out);
        assert_eq!(json_of(&attrs, "twilio_data")["left_out"], 2);
        assert_eq!(calls(&attrs).len(), usize::try_from(number).unwrap(), "{number}");
    }
}
