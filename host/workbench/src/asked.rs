//! What a fixture asks of handlers of telephones, of replies and of policies, and their answers as a fixture writes them.

use std::collections::BTreeMap;

use plugin::{CallbackReply, Durability, Plan, Stats, TwilioRequest};
use serde::Deserialize;
use serde_json::{Map, Value};

/// A request of Twilio, as it is after its signature was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TwilioWritten {
    /// `voice`, `sms` or `status`.
    pub channel: String,
    /// What comes after the channel in the path.
    pub path: String,
    /// The call or message.
    pub sid: String,
    /// Who calls.
    pub caller: String,
    /// Who is called.
    pub callee: String,
    /// Everything else that was sent.
    pub params: BTreeMap<String, String>,
    /// Twilio's own key for a repeat.
    pub idempotency: Option<String>,
}

impl From<TwilioWritten> for TwilioRequest {
    fn from(written: TwilioWritten) -> Self {
        let TwilioWritten { channel, path, sid, caller, callee, params, idempotency } = written;
        let params = params.into_iter().collect();
        Self { channel, path, sid, caller, callee, params, idempotency }
    }
}

/// What a service answers to a call that the plugin has queued.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplyWritten {
    /// As it was given when the call was queued.
    pub correlation: String,
    /// The HTTP status; 0 when there was no answer.
    pub status: u16,
    /// The body.
    pub text: String,
    /// How often it was tried.
    pub attempts: u32,
}

impl Default for ReplyWritten {
    fn default() -> Self {
        let (correlation, text) = (String::new(), String::new());
        Self { correlation, status: 200, text, attempts: 1 }
    }
}

impl From<ReplyWritten> for CallbackReply {
    fn from(written: ReplyWritten) -> Self {
        let ReplyWritten { correlation, status, text, attempts } = written;
        Self { correlation, status, body: text.into_bytes(), attempts }
    }
}

/// What is known of a chat when its policy is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatsWritten {
    /// Messages in it.
    pub messages: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Since it was created.
    pub age_ms: u64,
    /// Since its last message.
    pub idle_ms: u64,
}

impl From<StatsWritten> for Stats {
    fn from(written: StatsWritten) -> Self {
        let StatsWritten { messages, bytes, age_ms, idle_ms } = written;
        Self { messages, bytes, age_ms, idle_ms }
    }
}

/// The moments at which policies are asked.
pub(crate) const MOMENTS: [&str; 5] = ["committed", "idle", "ended", "zombie", "erase-requested"];

/// A plan, key by key; one that says nothing of `keep_ms` has none.
pub(crate) fn plan(plan: Plan) -> Map<String, Value> {
    let Plan { durability, keep_ms, drop_kinds, archive_now } = plan;
    let durability = match durability {
        Durability::Quorum => "quorum",
        Durability::All => "all",
        Durability::Archive => "archive",
    };
    let mut plan = Map::new();
    plan.insert("durability".to_owned(), durability.into());
    plan.extend(keep_ms.map(|keep_ms| ("keep_ms".to_owned(), keep_ms.into())));
    plan.insert("drop_kinds".to_owned(), drop_kinds.into());
    plan.insert("archive_now".to_owned(), archive_now.into());
    plan
}
