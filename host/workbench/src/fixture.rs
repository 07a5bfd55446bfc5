//! A test of a plugin, as its author writes it: one TOML file, one chat.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use model::{Attrs, Body, ChatStatus, Route};
use plugin::{CallbackReply, Stats, TwilioRequest};
use serde::Deserialize;

use crate::asked::{MOMENTS, ReplyWritten, StatsWritten, TwilioWritten};
use crate::{Trouble, files};

/// When a chat begins, unless the fixture says otherwise: any time would do, but always the same.
const BEGINS_MS: u64 = 1_700_000_000_000;

/// A chat, what happens in it, and what should come of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fixture {
    /// `[plugins.NAME.config]`.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// Where `check-config` should find faults, if it should; then nothing else happens.
    pub problems: Option<Vec<String>>,
    /// The chat before the first step.
    pub chat: ChatBefore,
    /// Who is in it before the first step.
    pub members: Vec<Member>,
    /// What the plugin has kept in it.
    pub notes: BTreeMap<String, String>,
    /// What happens, in this order.
    #[serde(rename = "step")]
    pub steps: Vec<Step>,
}

/// The chat before the first step.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChatBefore {
    /// `pending`, `started` or `ended`.
    pub status: ChatStatus,
    /// Its clock, in Unix milliseconds.
    pub now_ms: u64,
    /// How long it may last after it started, in seconds.
    pub max_duration_s: Option<u64>,
    /// How many may be in it.
    pub max_participants: Option<u32>,
    /// Free pairs.
    pub attrs: Attrs,
}

impl Default for ChatBefore {
    fn default() -> Self {
        Self {
            status: ChatStatus::Pending,
            now_ms: BEGINS_MS,
            max_duration_s: None,
            max_participants: None,
            attrs: Attrs::new(),
        }
    }
}

/// Somebody who is in the chat.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Who.
    pub id: String,
    /// As what.
    #[serde(default)]
    pub role: String,
    /// `connected` unless it is said.
    pub status: Option<String>,
    /// Free pairs.
    #[serde(default)]
    pub attrs: Attrs,
}

/// Something that happens. Exactly one of `from`, `join`, `leave`, `start`, `end`, `twilio`, `reply` and
/// `policy`; `after_ms` may stand beside each, or alone.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// So much time passes before it.
    pub after_ms: u64,
    /// Who says something.
    pub from: Option<String>,
    /// What they say, as text.
    pub text: Option<String>,
    /// Or as JSON.
    pub json: Option<serde_json::Value>,
    /// Or as bytes, in base64, with `media_type`.
    pub base64: Option<String>,
    /// What the bytes are.
    pub media_type: Option<String>,
    /// What kind of message it is; `text` unless it is said.
    pub kind: Option<String>,
    /// To whom: `"everyone"`, `"nobody"` or `{ only = ["bob"] }`.
    pub route: RouteWritten,
    /// Somebody joins.
    pub join: Option<String>,
    /// As what they join.
    pub role: Option<String>,
    /// Free pairs of the message, or of who joins.
    pub attrs: Attrs,
    /// Somebody leaves.
    pub leave: Option<String>,
    /// The chat is started, as another handler would.
    pub start: bool,
    /// The chat is ended.
    pub end: bool,
    /// A telephone asks.
    pub twilio: Option<TwilioWritten>,
    /// A service answers a call that the plugin has queued.
    pub reply: Option<ReplyWritten>,
    /// It is asked what is to become of the chat, at this moment.
    pub policy: Option<String>,
    /// What is known of the chat then.
    pub stats: Option<StatsWritten>,
    /// What should come of it.
    pub expect: Option<Expect>,
}

/// A route as clients write it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteWritten {
    /// To everybody.
    #[default]
    Everyone,
    /// To nobody.
    Nobody,
    /// To the named.
    Only(Vec<String>),
}

/// What should come of a step. What is not written is not looked at.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// `pass`, `accept`, `rewrite`, `reject`, …, or the failure: `trap`, `deadline`, …
    pub verdict: Option<String>,
    /// What the sender is told: `stored`, `held`, `joined`, or the code of the refusal.
    pub answer: Option<String>,
    /// The rejection's code.
    pub code: Option<String>,
    /// Its words.
    pub reason: Option<String>,
    /// What is stored, as text.
    pub text: Option<String>,
    /// What is stored, as JSON.
    pub json: Option<serde_json::Value>,
    /// The decision's notes.
    pub notes: Option<BTreeMap<String, String>>,
    /// What the plugin was told of, in words, in this order.
    pub events: Option<Vec<String>>,
    /// What it asked for, in words, in this order.
    pub effects: Option<Vec<String>>,
    /// What Twilio is answered.
    pub twiml: Option<String>,
    /// What is to become of the chat; of its keys those that are written.
    pub plan: Option<serde_json::Map<String, serde_json::Value>>,
    /// The most that one call may cost.
    pub fuel_max: Option<u64>,
}

impl Fixture {
    /// Reads a fixture.
    ///
    /// # Errors
    /// When it is not one; the words name the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fixture: Self =
            toml::from_str(text).map_err(|fault| fault.to_string().trim().to_owned())?;
        for (index, step) in fixture.steps.iter().enumerate() {
            step.act().map_err(|fault| format!("step {}: {fault}", index + 1))?;
        }
        if fixture.problems.is_some() && !fixture.steps.is_empty() {
            return Err("problems: with settings that are refused there are no steps".to_owned());
        }
        Ok(fixture)
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act {
    /// Somebody says something.
    Send { from: String, kind: String, route: Route, body: Body },
    /// Somebody joins.
    Join { id: String },
    /// Somebody leaves.
    Leave { id: String },
    /// The chat is started.
    Start,
    /// The chat is ended.
    End,
    /// A telephone asks.
    Telephone(TwilioRequest),
    /// A service answers.
    Reply(CallbackReply),
    /// A policy is asked.
    Policy { moment: String, stats: Stats },
    /// Time passes.
    Wait,
}

impl Step {
    /// What it does, if it does one thing.
    pub(crate) fn act(&self) -> Result<Act, String> {
        let body = self.body()?;
        if self.from.is_none() && body.is_some() {
            return Err("says something and nobody does: write from".to_owned());
        }
        if self.policy.is_none() && self.stats.is_some() {
            return Err("has stats for no policy: write policy, the moment".to_owned());
        }
        let said = self.from.clone().map(|from| {
            let kind = self.kind.clone().unwrap_or_else(|| "text".to_owned());
            let nothing = "says nothing: write text, json, or base64 and media_type";
            let body = body.ok_or_else(|| nothing.to_owned())?;
            Ok(Act::Send { from, kind, route: self.route.clone().into(), body })
        });
        let mut acts = [
            said,
            self.join.clone().map(|id| Ok(Act::Join { id })),
            self.leave.clone().map(|id| Ok(Act::Leave { id })),
            self.start.then_some(Ok(Act::Start)),
            self.end.then_some(Ok(Act::End)),
            self.twilio.clone().map(|request| Ok(Act::Telephone(request.into()))),
            self.reply.clone().map(answered),
            self.policy.clone().map(|moment| self.question(moment)),
        ]
        .into_iter()
        .flatten();
        match (acts.next(), acts.next()) {
            (Some(act), None) => act,
            (None, None) if self.after_ms > 0 => Ok(Act::Wait),
            _ => {
                Err("does not do one thing: write from and what is said, or join, leave, twilio, \
                      reply or policy, or start = true or end = true, or after_ms alone"
                    .to_owned())
            }
        }
    }

    fn question(&self, moment: String) -> Result<Act, String> {
        if !MOMENTS.contains(&moment.as_str()) {
            return Err(format!("policy: {moment:?} is none of {}", MOMENTS.join(", ")));
        }
        Ok(Act::Policy { moment, stats: self.stats.unwrap_or_default().into() })
    }

    fn body(&self) -> Result<Option<Body>, String> {
        use base64::Engine as _;
        match (&self.text, &self.json, &self.base64, &self.media_type) {
            (None, None, None, None) => Ok(None),
            (Some(text), None, None, None) => Ok(Some(Body::Text(text.clone()))),
            (None, Some(json), None, None) => Ok(Some(Body::Json(json.to_string()))),
            (None, None, Some(base64), Some(media_type)) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(base64);
                let bytes = bytes.map_err(|fault| format!("base64: {fault}"))?;
                Ok(Some(Body::Bytes { media_type: media_type.clone(), bytes }))
            }
            _ => {
                Err("says more than one thing: text, or json, or base64 with media_type".to_owned())
            }
        }
    }
}

fn answered(reply: ReplyWritten) -> Result<Act, String> {
    if reply.correlation.is_empty() {
        return Err("has a reply to nothing: write correlation, as the call was queued with".into());
    }
    Ok(Act::Reply(reply.into()))
}

impl From<RouteWritten> for Route {
    fn from(written: RouteWritten) -> Self {
        match written {
            RouteWritten::Everyone => Self::Everyone,
            RouteWritten::Nobody => Self::Nobody,
            RouteWritten::Only(names) => Self::Only(names),
        }
    }
}

/// The fixtures of a project, in the order of their names.
///
/// # Errors
/// When one cannot be read.
pub fn fixtures(folder: &Path) -> Result<Vec<(PathBuf, Fixture)>, Trouble> {
    let tests = folder.join("tests");
    if !tests.is_dir() {
        return Ok(Vec::new());
    }
    let read = |path: PathBuf| {
        let unreadable = |fault: String| {
            let what = format!("{}: {fault}", path.display());
            Trouble::usage(what, "Mend the fixture")
        };
        let text = String::from_utf8(files::read(&path)?)
            .map_err(|_binary| unreadable("not UTF-8".to_owned()))?;
        let fixture = Fixture::parse(&text).map_err(unreadable)?;
        Ok((path, fixture))
    };
    files::below(&tests, "toml")?.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use model::{Body, Route};
    use plugin::{CallbackReply, Stats, TwilioRequest};

    use super::{Act, Fixture};

    fn fault(text: &str) -> String {
        Fixture::parse(text).unwrap_err()
    }

    #[test]
    fn a_step_does_one_thing() {
        let fixture = Fixture::parse(
            "[[step]]\nfrom = \"a\"\ntext = \"hi\"\nroute = { only = [\"b\"] }\n\
             [[step]]\njoin = \"b\"\n[[step]]\nafter_ms = 5\n[[step]]\nend = true\n",
        )
        .unwrap();
        let acts: Vec<Act> = fixture.steps.iter().map(|step| step.act().unwrap()).collect();
        let (from, kind) = ("a".to_owned(), "text".to_owned());
        let (route, body) = (Route::Only(vec!["b".to_owned()]), Body::Text("hi".to_owned()));
        let join = Act::Join { id: "b".to_owned() };
        assert_eq!(acts, [Act::Send { from, kind, route, body }, join, Act::Wait, Act::End]);
    }

    #[test]
    fn telephones_replies_and_policies_are_asked_too() {
        let fixture = Fixture::parse(
            "[[step]]\nstart = true\n\
             [[step]]\ntwilio = { channel = \"voice\", params = { Digits = \"1\" } }\n\
             [[step]]\nreply = { correlation = \"7\", text = \"yes\" }\n\
             [[step]]\npolicy = \"idle\"\nstats = { messages = 3 }\n",
        )
        .unwrap();
        let acts: Vec<Act> = fixture.steps.iter().map(|step| step.act().unwrap()).collect();
        let (channel, params) = ("voice".to_owned(), vec![("Digits".to_owned(), "1".to_owned())]);
        let request = TwilioRequest { channel, params, ..TwilioRequest::default() };
        let stats = Stats { messages: 3, ..Stats::default() };
        let policy = Act::Policy { moment: "idle".to_owned(), stats };
        let (correlation, body) = ("7".to_owned(), b"yes".to_vec());
        let reply = Act::Reply(CallbackReply { correlation, status: 200, body, attempts: 1 });
        assert_eq!(acts, [Act::Start, Act::Telephone(request), reply, policy]);
    }

    #[test]
    fn what_cannot_be_meant_is_told_with_its_step() {
        assert!(fault("[[step]]\nfrom = \"a\"\n").contains("step 1: says nothing"));
        assert!(fault("[[step]]\njoin = \"a\"\ntext = \"hi\"\n").contains("nobody does"));
        assert!(fault("[[step]]\njoin = \"a\"\nstart = true\n").contains("one thing"));
        assert!(fault("[[step]]\npolicy = \"noon\"\n").contains("none of committed"));
        assert!(fault("[[step]]\nstats = { messages = 1 }\nend = true\n").contains("no policy"));
        assert!(
            fault("[[step]]\nfrom = \"a\"\ntext = \"a\"\njson = 1\n").contains("more than one")
        );
        assert!(fault("[[step]]\nreply = { status = 404 }\n").contains("reply to nothing"));
        assert!(fault("[[step]]\nform = \"a\"\n").contains("form"));
        assert!(fault("problems = []\n[[step]]\nend = true\n").contains("problems"));
    }
}
