//! What Twilio is to do with a call, and what is kept of it.

use crate::calls::{Calls, Kept, News};

/// How long a chat that is past its duration is still open, in seconds: a call may last as long.
const GRACE_S: u64 = 360;

/// The longest recording where the chat has no duration: what Twilio takes by itself.
const RECORDING_S: u64 = 3_600;

/// The longest recording that Twilio makes.
const RECORDING_S_MAX: u64 = 14_400;

/// So much silence ends a recording, in seconds.
const SILENCE_S: u32 = 30;

/// The most that Twilio lets into a conference.
const CONFERENCE_MAX: u32 = 250;

/// What Twilio calls the end of a conference.
const CONFERENCE_END: &str = "conference-end";

/// Bytes of what a caller is called here.
const USER_BYTES_MAX: usize = 128;

/// What Twilio asks.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The channel, as the operator named it.
    pub channel: &'a str,
    /// What comes after it in the path.
    pub path: &'a str,
    /// The call.
    pub sid: &'a str,
    /// Who calls.
    pub caller: &'a str,
    /// Everything that was sent.
    pub params: &'a [(String, String)],
}

/// The chat.
#[derive(Clone, Copy, Debug)]
pub struct Chat<'a> {
    /// Its name.
    pub token: &'a str,
    /// Its clock.
    pub now_ms: u64,
    /// How long it may last.
    pub max_duration_ms: Option<u64>,
    /// How many may be in it.
    pub max_participants: Option<u32>,
    /// What is known of it, and so of its calls.
    pub attrs: &'a [(String, String)],
}

/// One thing that Twilio is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The caller is recorded.
    Record {
        /// What is asked at the end.
        action: String,
        /// How long, in seconds.
        max_length_s: u32,
        /// How much silence ends it, in seconds.
        timeout_s: u32,
    },
    /// The caller meets others.
    Conference {
        /// Its name.
        name: String,
        /// How many may be in it.
        max_participants: Option<u32>,
        /// What is asked at the end, and when its recording can be fetched.
        action: String,
    },
    /// The caller is thanked.
    Thanks,
    /// The call ends.
    Hangup,
}

/// What Twilio is told, and what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// In this order.
    pub steps: Vec<Step>,
    /// What is known of the chat's calls from now on, where that has changed.
    pub kept: Kept,
}

/// Nobody can answer that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAnswered {
    /// There is nothing at this path.
    Path,
    /// It is about no call.
    NoCall,
}

/// Decides about a request.
///
/// # Errors
/// [`NotAnswered`]; nothing is kept then.
pub fn decide(asked: Asked<'_>, chat: Chat<'_>) -> Result<Decision, NotAnswered> {
    let over = |steps| Ok(Decision { steps, kept: hear(asked, chat) });
    match (asked.channel, asked.path) {
        ("status", _) | (_, "status") => over(Vec::new()),
        (_, "") => begin(asked, chat),
        // Nobody listens to what is answered about a conference.
        (_, "end") if conference(asked).is_some() => over(Vec::new()),
        (_, "end") => over(vec![Step::Thanks, Step::Hangup]),
        _ => Err(NotAnswered::Path),
    }
}

/// What is heard of a call that goes on, or of a conference: that it is over, or where its recording is. That says the
/// conference, and no call.
fn hear(asked: Asked<'_>, chat: Chat<'_>) -> Kept {
    let mut calls = Calls::read(chat.attrs);
    match conference(asked) {
        Some(sid) => {
            let ended = param(asked.params, "StatusCallbackEvent") == Some(CONFERENCE_END);
            let ended_ms = ended.then_some(chat.now_ms);
            calls.hear_of_conference(sid, &News { ended_ms, ..news(asked) });
        }
        None => calls.hear(asked.sid, &news(asked)),
    }
    calls.kept()
}

/// The conference that a request is about.
fn conference(asked: Asked<'_>) -> Option<&str> {
    param(asked.params, "ConferenceSid").filter(|sid| !sid.is_empty())
}

fn begin(asked: Asked<'_>, chat: Chat<'_>) -> Result<Decision, NotAnswered> {
    if asked.sid.is_empty() {
        return Err(NotAnswered::NoCall);
    }
    let user = user(asked);
    let action =
        format!("{}/end?chat_token={}&user_id={}", asked.channel, chat.token, escaped(user));
    let steps = if chat.max_participants == Some(1) {
        let (max_length_s, timeout_s) = (recording_s(chat.max_duration_ms), SILENCE_S);
        vec![Step::Record { action, max_length_s, timeout_s }]
    } else {
        let name = chat.token.to_owned();
        let max_participants = chat.max_participants.map(|most| most.clamp(2, CONFERENCE_MAX));
        // Whoever is left when the conference is over hears the rest.
        vec![Step::Conference { name, max_participants, action }, Step::Thanks, Step::Hangup]
    };
    let mut calls = Calls::read(chat.attrs);
    calls.begin(user, asked.sid, chat.now_ms);
    Ok(Decision { steps, kept: calls.kept() })
}

/// Who calls: as the address says, or else the number.
fn user(asked: Asked<'_>) -> &str {
    let said = param(asked.params, "user_id").filter(|user| !user.is_empty());
    let user = said.unwrap_or(if asked.caller.is_empty() { "unknown" } else { asked.caller });
    let end = (0..=USER_BYTES_MAX.min(user.len())).rev().find(|end| user.is_char_boundary(*end));
    user.get(..end.unwrap_or_default()).unwrap_or_default()
}

/// What a request says of a call that goes on.
fn news(asked: Asked<'_>) -> News<'_> {
    let number = |name: &str| param(asked.params, name).and_then(|text| text.parse().ok());
    News {
        status: param(asked.params, "CallStatus"),
        duration_s: number("CallDuration").or_else(|| number("RecordingDuration")),
        recording: param(asked.params, "RecordingUrl"),
        ended_ms: None,
    }
}

/// As long as the chat may last and its grace.
fn recording_s(max_duration_ms: Option<u64>) -> u32 {
    let lasts = max_duration_ms.filter(|lasts| *lasts > 0);
    let seconds = lasts.map_or(RECORDING_S, |lasts| (lasts / 1000).saturating_add(GRACE_S));
    u32::try_from(seconds.min(RECORDING_S_MAX)).unwrap_or_default()
}

fn param<'a>(params: &'a [(String, String)], name: &str) -> Option<&'a str> {
    params.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
}

/// As a query says it.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{Asked, Chat, Decision, Kept, NotAnswered, Step, decide};
    use serde_json::{Value, json};

    const CHAT: Chat<'_> = Chat {
        token: "t",
        now_ms: 7,
        max_duration_ms: Some(600_000),
        max_participants: Some(1),
        attrs: &[],
    };

    fn asked<'a>(path: &'a str, params: &'a [(String, String)]) -> Asked<'a> {
        Asked { channel: "voice", path, sid: "CA1", caller: "+49 1", params }
    }

    fn params(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn data(decision: &Decision) -> Value {
        let [(name, data)] = &decision.kept.attrs[..] else { panic!("{:?}", decision.kept) };
        assert_eq!(name, "twilio_data");
        serde_json::from_str(data).unwrap()
    }

    #[test]
    fn one_alone_is_recorded_as_long_as_the_chat_may_last_and_its_grace() {
        let bob = params(&[("user_id", "bob & co")]);
        let decision = decide(asked("", &bob), CHAT).unwrap();
        let action = "voice/end?chat_token=t&user_id=bob%20%26%20co".to_owned();
        assert_eq!(decision.steps, [Step::Record { action, max_length_s: 960, timeout_s: 30 }]);
        let call = json!({"call_sid": "CA1", "started_ms": 7});
        assert_eq!(data(&decision), json!({"users": {"bob & co": {"calls": {"CA1": call}}}}));
        for (lasts, seconds) in [(None, 3_600), (Some(0), 3_600), (Some(u64::MAX), 14_400)] {
            let decision = decide(asked("", &[]), Chat { max_duration_ms: lasts, ..CHAT });
            let steps = decision.unwrap().steps;
            assert!(
                matches!(steps[..], [Step::Record { max_length_s, .. }] if max_length_s == seconds)
            );
        }
    }

    #[test]
    fn more_meet_in_a_conference_named_like_the_chat() {
        for (most, wanted) in [(Some(2), Some(2)), (Some(9_000), Some(250)), (None, None)] {
            let chat = Chat { max_participants: most, ..CHAT };
            let decision = decide(asked("", &[]), chat).unwrap();
            let action = "voice/end?chat_token=t&user_id=%2B49%201".to_owned();
            let conference =
                Step::Conference { name: "t".to_owned(), max_participants: wanted, action };
            assert_eq!(decision.steps, [conference, Step::Thanks, Step::Hangup]);
            assert!(data(&decision)["users"]["+49 1"]["calls"]["CA1"].is_object());
        }
    }

    #[test]
    fn the_end_of_a_call_is_thanked_for_and_what_it_left_is_kept() {
        let first = decide(asked("", &[]), CHAT).unwrap().kept.attrs;
        let chat = Chat { attrs: &first, ..CHAT };
        let left = params(&[("RecordingUrl", "https://r"), ("RecordingDuration", "12")]);
        let decision = decide(asked("end", &left), chat).unwrap();
        assert_eq!(decision.steps, [Step::Thanks, Step::Hangup]);
        let call = data(&decision)["users"]["+49 1"]["calls"]["CA1"].clone();
        assert_eq!(
            (&call["recording_url"], &call["duration_s"]),
            (&json!("https://r"), &json!(12))
        );
        // A call that nobody knows leaves nothing.
        let other = Asked { sid: "CA2", ..asked("end", &left) };
        assert_eq!(decide(other, chat).unwrap().kept, Kept::default());
    }

    #[test]
    fn the_recording_of_a_conference_is_kept_with_the_chat() {
        let together = Chat { max_participants: Some(2), ..CHAT };
        let first = decide(asked("", &[]), together).unwrap().kept.attrs;
        // As Twilio says it: the conference, and no call.
        let recorded = params(&[
            ("ConferenceSid", "CF1"),
            ("RecordingSid", "RE1"),
            ("RecordingUrl", "https://r"),
            ("RecordingStatus", "completed"),
            ("RecordingDuration", "12"),
        ]);
        let chat = Chat { attrs: &first, ..together };
        let recorded = Asked { sid: "CF1", ..asked("end", &recorded) };
        let decision = decide(recorded, chat).unwrap();
        assert_eq!(decision.steps, [], "nobody is on the line");
        let conference =
            json!({"conference_sid": "CF1", "duration_s": 12, "recording_url": "https://r"});
        let known = data(&decision);
        assert_eq!(known["conferences"], json!({"CF1": conference}));
        assert!(known["users"]["+49 1"]["calls"]["CA1"].is_object());
        let ended = params(&[("ConferenceSid", "CF1"), ("StatusCallbackEvent", "conference-end")]);
        let ended = Asked { sid: "CF1", ..asked("end", &ended) };
        let chat = Chat { attrs: &decision.kept.attrs, ..together };
        let over = data(&decide(ended, chat).unwrap());
        assert_eq!(over["conferences"]["CF1"]["ended_ms"], 7);
        assert_eq!(over["conferences"]["CF1"]["recording_url"], "https://r");
    }

    #[test]
    fn how_a_call_goes_is_kept_and_needs_no_answer() {
        let first = decide(asked("", &[]), CHAT).unwrap().kept.attrs;
        let chat = Chat { attrs: &first, ..CHAT };
        let over = params(&[("CallStatus", "completed"), ("CallDuration", "61")]);
        let by_channel = Asked { channel: "status", ..asked("", &over) };
        let decision = decide(by_channel, chat).unwrap();
        assert_eq!(decision, decide(asked("status", &over), chat).unwrap());
        assert_eq!(decision.steps, []);
        let call = data(&decision)["users"]["+49 1"]["calls"]["CA1"].clone();
        assert_eq!((&call["status"], &call["duration_s"]), (&json!("completed"), &json!(61)));
    }

    #[test]
    fn what_is_not_asked_here_is_not_answered() {
        assert_eq!(decide(asked("menu", &[]), CHAT), Err(NotAnswered::Path));
        let no_call = Asked { sid: "", ..asked("", &[]) };
        assert_eq!(decide(no_call, CHAT), Err(NotAnswered::NoCall));
    }
}
