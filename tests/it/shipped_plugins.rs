//! The shipped components, as `make build` packs them, with the grants that their manifests ask for.

use std::sync::Arc;

use model::{Attrs, Body, ChatStatus, Roster, Route};
use plugin::{
    Call, Draft, Effect, LoadError, Manifest, Notes, OnFailure, Plugin, Reply, Said, Spec, Verdict,
};
use serde_json::{Value, json};

use crate::case::{self, call, said};

/// A call, and what Alice says in it.
#[derive(Clone)]
struct Asking {
    call: Call,
    said: Said,
}

/// Alice says something.
fn asking(kind: &str, body: Body) -> Asking {
    Asking { call: call(), said: said(kind, body) }
}

impl std::ops::Deref for Asking {
    type Target = Call;

    fn deref(&self) -> &Call {
        &self.call
    }
}

impl std::ops::DerefMut for Asking {
    fn deref_mut(&mut self) -> &mut Call {
        &mut self.call
    }
}

/// The plugin `name` under `config`, with what its manifest asks for and nothing else.
async fn load(name: &str, config: Value) -> Result<Arc<Plugin>, LoadError> {
    let component = std::fs::read(tests::component(name)).expect("the component is readable");
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins").join(name);
    let manifest = std::fs::read_to_string(folder.join("plugin.toml")).expect("it has a manifest");
    let grant = Manifest::parse(&manifest).expect("the manifest is one").asks;
    case::load(Spec { name: name.to_owned(), config, grant, ..case::spec(component) }).await
}

async fn status() -> Arc<Plugin> {
    load("status", json!({})).await.expect("status loads")
}

async fn moderation(config: Value) -> Arc<Plugin> {
    load("moderation", config).await.expect("moderation loads")
}

fn json_call(kind: &str, body: &Value, status: ChatStatus) -> Asking {
    let mut call = asking(kind, Body::Json(body.to_string()));
    call.context.status = status;
    call
}

async fn ask(plugin: &Plugin, call: Asking) -> Reply {
    plugin.on_message(call.call, call.said).await.expect("it answers")
}

/// The code of a rejection.
fn code(reply: &Reply) -> &str {
    match &reply.verdict {
        Verdict::Reject { code, .. } => code,
        other => panic!("it was to be rejected: {other:?}"),
    }
}

#[tokio::test]
async fn the_manifests_are_in_the_components() {
    let moderation = moderation(json!({"words": []})).await;
    for plugin in [status().await, moderation] {
        assert_eq!(plugin.version(), env!("CARGO_PKG_VERSION"));
        assert_eq!(plugin.on_failure(), OnFailure::Reject);
        assert_eq!(plugin.limits().memory_bytes, 8 << 20);
    }
}

#[tokio::test]
async fn a_chat_starts_and_ends_by_its_status_messages() {
    let status = status().await;
    let (started, ended) = (json!({"status": "started"}), json!({"status": "ended"}));
    let start = ask(&status, json_call("chat.status", &started, ChatStatus::Pending)).await;
    assert_eq!((start.verdict, start.effects), (Verdict::Pass, vec![Effect::StartChat]));
    let end = ask(&status, json_call("chat.status", &ended, ChatStatus::Started)).await;
    let reason = "ended by alice".to_owned();
    assert_eq!((end.verdict, end.effects), (Verdict::Pass, vec![Effect::EndChat { reason }]));
    for (body, now) in [(started, ChatStatus::Started), (ended, ChatStatus::Pending)] {
        let reply = ask(&status, json_call("chat.status", &body, now)).await;
        assert_eq!((code(&reply), reply.effects.as_slice()), ("illegal-transition", &[][..]));
    }
    let broken = ask(&status, asking("chat.status", Body::Text("started".to_owned()))).await;
    assert_eq!(code(&broken), "invalid-status");
}

#[tokio::test]
async fn a_member_says_how_they_stand() {
    let status = status().await;
    let body = json!({"user": "alice", "status": "unavailable", "first_name": "Alice"});
    let own = ask(&status, json_call("user.status", &body, ChatStatus::Started)).await;
    let member = || "alice".to_owned();
    let (name, value) = ("first_name".to_owned(), "Alice".to_owned());
    assert_eq!(
        own.effects,
        [
            Effect::MemberStatus { member: member(), status: "unavailable".to_owned() },
            Effect::MemberAttr { member: member(), name, value },
        ]
    );
    let same = json!({"user": "alice", "status": "connected"});
    let same = ask(&status, json_call("user.status", &same, ChatStatus::Started)).await;
    assert_eq!((same.verdict, same.effects), (Verdict::Pass, vec![]));
    let others = json!({"user": "bob", "status": "connected"});
    let others = ask(&status, json_call("user.status", &others, ChatStatus::Started)).await;
    assert_eq!(code(&others), "not-yours");
}

#[tokio::test]
async fn who_was_away_is_connected_by_joining_again() {
    let status = status().await;
    let mut again = json_call("member.join", &json!({"id": "alice"}), ChatStatus::Started);
    assert_eq!(ask(&status, again.clone()).await.effects, []);
    let mut roster = Roster::clone(&again.roster);
    roster.get_mut("alice").expect("she is in").status = "disconnected".to_owned();
    again.roster = Arc::new(roster);
    let connected =
        Effect::MemberStatus { member: "alice".to_owned(), status: "connected".to_owned() };
    assert_eq!(ask(&status, again).await.effects, [connected]);
}

#[tokio::test]
async fn status_has_nothing_to_say_about_talk_and_nothing_to_configure() {
    let reply = case::say(&*status().await, "hello").await.expect("it answers");
    assert_eq!((reply.verdict, reply.effects), (Verdict::Pass, vec![]));
    let refusal = load("status", json!({"words": []})).await.expect_err("it has no configuration");
    assert!(matches!(refusal, LoadError::Config { .. }), "{refusal:?}");
}

/// Somebody under moderation, whose strikes are kept from call to call as a chat keeps them.
struct Talk {
    moderation: Arc<Plugin>,
    notes: Notes,
}

impl Talk {
    async fn under(config: Value) -> Self {
        Self { moderation: moderation(config).await, notes: Notes::new() }
    }

    async fn say(&mut self, text: &str) -> Reply {
        self.send(asking("text", Body::Text(text.to_owned()))).await
    }

    async fn send(&mut self, mut call: Asking) -> Reply {
        call.notes = Arc::new(self.notes.clone());
        let reply = ask(&self.moderation, call).await;
        for effect in &reply.effects {
            if let Effect::Note { key, value: Some(value) } = effect {
                self.notes.insert(key.clone(), value.clone());
            }
        }
        reply
    }
}

/// What was posted.
fn posted(reply: &Reply) -> &Draft {
    let post = reply.effects.iter().find_map(|effect| match effect {
        Effect::Post(draft) => Some(draft),
        _ => None,
    });
    post.unwrap_or_else(|| panic!("nothing was posted: {reply:?}"))
}

#[tokio::test]
async fn two_warnings_then_the_sender_is_removed() {
    let mut alice = Talk::under(json!({"words": ["badword"]})).await;
    assert_eq!(alice.say("good words").await.verdict, Verdict::Pass);
    for strike in ["1", "2"] {
        let reply = alice.say("a BadWord!").await;
        assert_eq!(code(&reply), "forbidden-word");
        assert_eq!(reply.notes, [("strikes".to_owned(), strike.to_owned())]);
        let warning = posted(&reply);
        assert_eq!(warning.kind, "moderation.warning");
        assert_eq!(warning.route, Route::Only(vec!["alice".to_owned()]));
        assert_eq!(warning.attrs, Attrs::from([("strikes".to_owned(), strike.to_owned())]));
        assert_eq!(reply.effects.len(), 2, "the warning and the count: {:?}", reply.effects);
        assert_eq!(alice.notes["strikes/alice"], strike.as_bytes());
    }
    let third = alice.say("badword").await;
    assert_eq!(code(&third), "forbidden-word");
    assert_eq!(posted(&third).route, Route::Everyone);
    let gone =
        Effect::MemberStatus { member: "alice".to_owned(), status: "disconnected".to_owned() };
    assert!(third.effects.contains(&gone), "{:?}", third.effects);

    let sorry = alice.say("sorry").await;
    assert_eq!((code(&sorry), sorry.effects.as_slice()), ("removed", &[][..]));
    let join = json_call("member.join", &json!({"id": "alice"}), ChatStatus::Started);
    assert_eq!(code(&alice.send(join).await), "removed");
}

#[tokio::test]
async fn being_refused_makes_nobody_a_member() {
    let mut stranger = Talk::under(json!({"words": ["badword"], "strikes": 1})).await;
    let mut first = asking("text", Body::Text("badword".to_owned()));
    first.roster = Arc::new(Roster::default());
    let reply = stranger.send(first).await;
    assert_eq!(posted(&reply).kind, "moderation.removed");
    let status = |effect: &Effect| matches!(effect, Effect::MemberStatus { .. });
    assert!(!reply.effects.iter().any(status), "{:?}", reply.effects);
}

#[tokio::test]
async fn the_last_strike_ends_the_chat_where_the_operator_wants_it() {
    let config = json!({"words": ["badword"], "strikes": 1, "on_last_strike": "end"});
    let mut alice = Talk::under(config).await;
    let reply = alice.say("badword").await;
    assert_eq!(posted(&reply).kind, "moderation.ended");
    assert!(
        reply.effects.iter().any(|effect| matches!(effect, Effect::EndChat { .. })),
        "{:?}",
        reply.effects
    );
}

#[tokio::test]
async fn a_word_is_found_in_json_and_nowhere_else() {
    let mut alice = Talk::under(json!({"words": ["badword"]})).await;
    let json = asking("card", Body::Json(r#"{"title": "\u0062adword"}"#.to_owned()));
    assert_eq!(code(&alice.send(json).await), "forbidden-word");
    let bytes = Body::Bytes { media_type: "image/png".to_owned(), bytes: b"badword".to_vec() };
    assert_eq!(alice.send(asking("image", bytes)).await.verdict, Verdict::Pass);
    let join = json_call("member.join", &json!({"id": "badword"}), ChatStatus::Started);
    assert_eq!(alice.send(join).await.verdict, Verdict::Pass);
}

#[tokio::test]
async fn the_longest_message_and_the_longest_list_are_within_the_limits() {
    let words: Vec<String> = (0..500).map(|n| format!("aaaa{n}")).collect();
    let mut alice = Talk::under(json!({ "words": words })).await;
    let reply = alice.say(&"aaaa ".repeat(13_000)).await;
    assert_eq!(reply.verdict, Verdict::Pass);
    println!("{} fuel of {}", reply.fuel, alice.moderation.limits().fuel);
}

#[tokio::test]
async fn moderation_tells_every_fault_of_its_configuration() {
    let config = json!({"words": "badword", "strikes": 0, "wrods": []});
    let refusal = load("moderation", config).await.expect_err("it has faults");
    let LoadError::Config { problems, .. } = refusal else { panic!("{refusal:?}") };
    let mut paths: Vec<_> = problems.into_iter().map(|problem| problem.path).collect();
    paths.sort();
    assert_eq!(paths, ["strikes", "words", "wrods"]);
}

#[tokio::test]
async fn a_call_can_be_repeated_exactly() {
    let moderation = moderation(json!({"words": ["badword"]})).await;
    let call = asking("text", Body::Text("badword ".repeat(20)));
    let first = ask(&moderation, call.clone()).await;
    for _ in 0..50 {
        assert_eq!(ask(&moderation, call.clone()).await, first);
    }
}

/// Plays the fixtures of a shipped plugin with the component that was built.
fn plays(name: &str) {
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins").join(name);
    // What playing leaves behind is nothing for the repository.
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("tests")).expect("it is made");
    let copy = |path: &std::path::Path| {
        let text = std::fs::read(shipped.join(path)).expect("it is readable");
        std::fs::write(folder.path().join(path), text).expect("it is written");
    };
    copy("plugin.toml".as_ref());
    let fixtures = std::fs::read_dir(shipped.join("tests")).expect("it has fixtures");
    for fixture in fixtures {
        copy(&std::path::Path::new("tests").join(fixture.expect("a fixture").file_name()));
    }
    let output = std::process::Command::new(tests::binary("carillon"))
        .args(["plugin", "test", "--component"])
        .arg(tests::component(name))
        .arg(folder.path())
        .output()
        .expect("carillon runs");
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", told(&output.stdout), told(&output.stderr));
}

#[test]
fn what_the_fixtures_of_shipped_plugins_expect_comes_of_them() {
    plays("voice");
    plays("sms");
    plays("archive");
    plays("meeting");
}

/// What Twilio asks `voice` in a chat with these attributes; they are changed as it wants.
async fn telephone(voice: &Plugin, attrs: &mut Attrs, path: &str, params: &[(&str, &str)]) -> u64 {
    let mut call = call();
    call.context.chat_attrs = Arc::new(attrs.clone());
    call.context.max_participants = None;
    let sid = params.first().map_or("", |(_, sid)| *sid);
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let request = plugin::TwilioRequest {
        channel: "voice".to_owned(),
        path: path.to_owned(),
        sid: sid.to_owned(),
        caller: format!("+49{sid}"),
        callee: "+4930".to_owned(),
        params: params.iter().map(pair).collect(),
        idempotency: None,
    };
    let answered = voice.on_request(call, request).await.expect("it answers");
    for effect in answered.effects {
        let Effect::ChatAttr { name, value } = effect else { panic!("{effect:?}") };
        attrs.insert(name, value);
    }
    answered.fuel
}

#[tokio::test]
async fn as_many_calls_as_a_conference_takes_are_known_within_the_limits() {
    let voice = load("voice", json!({})).await.expect("voice loads");
    let mut attrs = Attrs::new();
    let url =
        format!("https://api.twilio.com/2010-04-01/Accounts/{0}/Recordings/{0}", "0".repeat(34));
    let mut dearest = 0;
    for index in 0..250 {
        let sid = format!("CA{index:032x}");
        let begun = telephone(&voice, &mut attrs, "", &[("CallSid", &*sid)]).await;
        let left = [("CallSid", &*sid), ("RecordingUrl", &*url), ("CallDuration", "3600")];
        let over = telephone(&voice, &mut attrs, "end", &left).await;
        dearest = dearest.max(begun).max(over);
    }
    let known: Vec<&String> = attrs.values().collect();
    assert_eq!(known.iter().map(|part| part.matches(&url).count()).sum::<usize>(), 250);
    assert!(known.iter().all(|part| !part.contains("left_out")));
    let most = voice.limits().fuel;
    println!("{} attributes, {dearest} fuel of {most}", attrs.len());
    assert!(dearest < most / 2, "{dearest} fuel of {most}");
}

/// Alice sends a message of a meeting, that nobody is shown if it is `hidden`.
fn of_a_meeting(kind: &str, body: &Value, hidden: bool) -> Asking {
    let mut asking = json_call(kind, body, ChatStatus::Started);
    let mut message = model::Message::clone(&asking.said.message);
    message.route = if hidden { Route::Nobody } else { Route::Everyone };
    asking.said.message = Arc::new(message);
    asking
}

/// The body that is stored.
fn rewritten(reply: &Reply) -> Value {
    match &reply.verdict {
        Verdict::Rewrite(Body::Json(text)) => serde_json::from_str(text).expect("it is JSON"),
        other => panic!("it was to be rewritten: {other:?}"),
    }
}

#[tokio::test]
async fn what_a_message_of_a_meeting_makes_has_its_id_from_the_server() {
    let meeting = load("meeting", json!({})).await.expect("meeting loads");
    assert_eq!(meeting.on_failure(), OnFailure::Reject);
    let minute = of_a_meeting("minute.create", &json!({"topic_id": 7}), false);
    let id = minute.said.message.id.to_string();
    let made = ask(&meeting, minute).await;
    let stored = rewritten(&made);
    assert_eq!(
        (&stored["minute_id"], &stored["start_ms"]),
        (&json!(id), &json!(call().context.now_ms))
    );
    let key = format!("minute/{id}");
    assert_eq!(made.effects, [Effect::Note { key: key.clone(), value: Some(b"1".to_vec()) }]);

    let tag = json!({"minute_id": id, "name": "budget"});
    let mut tag = of_a_meeting("tag.create", &tag, false);
    assert_eq!(code(&ask(&meeting, tag.clone()).await), "unknown-id");
    tag.notes = Arc::new(Notes::from([(key, b"1".to_vec())]));
    let tag_id = tag.said.message.id.to_string();
    let tagged = ask(&meeting, tag).await;
    assert_eq!(rewritten(&tagged), json!({"minute_id": id, "name": "budget", "tag_id": tag_id}));

    let own = json!({"name": "plan", "whiteboard_id": id});
    let own = ask(&meeting, of_a_meeting("whiteboard.create", &own, false)).await;
    assert_eq!((code(&own), own.effects.as_slice()), ("invalid-fields", &[][..]));
}

#[tokio::test]
async fn a_meeting_has_so_many_things_and_says_when_it_is_full() {
    let meeting = load("meeting", json!({})).await.expect("meeting loads");
    let board = json!({"name": "plan"});
    let mut one = of_a_meeting("whiteboard.create", &board, false);
    let kept = |count: usize| {
        let all = (0..count).map(|n| (format!("tag/{n:032x}"), b"1".to_vec()));
        Arc::new(all.collect::<Notes>())
    };
    one.notes = kept(1_000);
    assert_eq!(rewritten(&ask(&meeting, one.clone()).await)["name"], "plan");
    one.notes = kept(64 * 1024 / 37);
    let full = ask(&meeting, one).await;
    assert_eq!((code(&full), full.effects.as_slice()), ("full", &[][..]));
}

#[tokio::test]
async fn markers_are_recorded_for_nobody_and_start_and_end_the_chat() {
    let meeting = load("meeting", json!({})).await.expect("meeting loads");
    let skew = json!({"type": "skew", "user_ms": call().context.now_ms - 400});
    let shown = ask(&meeting, of_a_meeting("marker", &skew, false)).await;
    assert_eq!(code(&shown), "wrong-route");
    let hidden = rewritten(&ask(&meeting, of_a_meeting("marker", &skew, true)).await);
    assert_eq!((&hidden["skew_ms"], &hidden["user"]), (&json!(-400), &json!("alice")));
    assert_eq!(hidden["system_ms"], json!(call().context.now_ms));

    let end = of_a_meeting("marker", &json!({"type": "ended"}), true);
    let reason = "ended by alice".to_owned();
    assert_eq!(ask(&meeting, end.clone()).await.effects, [Effect::EndChat { reason }]);
    let mut early = end;
    early.context.status = ChatStatus::Pending;
    assert_eq!(code(&ask(&meeting, early).await), "illegal-transition");
    let mut start = of_a_meeting("marker", &json!({"type": "started"}), true);
    start.context.status = ChatStatus::Pending;
    assert_eq!(ask(&meeting, start).await.effects, [Effect::StartChat]);

    let talk = case::say(&meeting, "hello").await.expect("it answers");
    assert_eq!((talk.verdict, talk.effects), (Verdict::Pass, vec![]));
}

/// What the shipped policy plans under `config` for a chat with so many messages.
async fn plan(config: Value, moment: &str, messages: u64) -> plugin::Plan {
    let policy = load("archive", config).await.expect("archive loads");
    assert_eq!(policy.kinds(), [plugin::Kind::Policy]);
    let stats = plugin::Stats { messages, ..plugin::Stats::default() };
    policy.plan_for(call(), moment, stats).await.expect("it plans").answer
}

#[tokio::test]
async fn the_archive_policy_keeps_what_was_said_as_long_as_it_is_told() {
    let config = json!({"keep": "30d", "keep_empty": "1h", "drop_kinds": ["typing"]});
    let said = plan(config.clone(), "ended", 12).await;
    assert_eq!(said.durability, plugin::Durability::Archive);
    assert_eq!((said.keep_ms, said.archive_now), (Some(2_592_000_000), true));
    assert_eq!(said.drop_kinds, ["typing"]);
    let empty = plan(config.clone(), "zombie", 0).await;
    assert_eq!((empty.durability, empty.archive_now), (plugin::Durability::Quorum, false));
    assert_eq!(empty.keep_ms, Some(3_600_000));
    assert_eq!(plan(config, "committed", 12).await, plugin::Plan::default());
    assert_eq!(plan(json!({}), "ended", 12).await.keep_ms, None);
    let wrong = load("archive", json!({"keep": 30})).await;
    assert!(matches!(wrong, Err(LoadError::Config { .. })), "{wrong:?}");
}
