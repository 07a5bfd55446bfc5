//! Every kind of handler, and the powers that reach beyond a call, with real components.

use std::collections::VecDeque;
use std::sync::Arc;

use model::{Body, Cursor, Decision, MessageId};
use plugin::{
    CallbackReply, Durability, Earlier, Effect, Event, Failure, Kind, Later, Past, Plugin, Stats,
    TwilioRequest, Verb, Verdict,
};

use crate::case::{alice, call, load, said, say, spec};
use crate::guests::Guest;
use crate::{kept, note};

/// A guest of one kind, which does this before it answers.
fn of_kind(kind: Kind, function: &str, does: &str) -> Guest {
    let interface = format!("carillon:plugin/{}@0.1.0", kind.interface());
    Guest {
        exports: format!("export carillon:plugin/lifecycle@0.1.0; export {interface};"),
        handler: format!("(export \"{interface}#{function}\") (param i32) (result i32)"),
        ..Guest::doing(does)
    }
}

async fn loaded(guest: Guest) -> Arc<Plugin> {
    load(spec(guest.build())).await.unwrap()
}

const KEEPS: &str = "(call $keep (i32.const 1024) (i32.const 1))";

#[tokio::test]
async fn a_component_is_what_it_exports() {
    let functions = ["on-message", "on-event", "on-reply", "on-request", "plan-for"];
    for (kind, function) in Kind::ALL.into_iter().zip(functions) {
        let plugin = loaded(of_kind(kind, function, "")).await;
        assert_eq!(plugin.kinds(), [kind]);
        if kind != Kind::Message {
            let failure = say(&plugin, "hello").await.unwrap_err();
            assert!(matches!(failure, Failure::Absent { .. }), "{failure:?}");
        }
    }
}

fn joined() -> Event {
    Event { name: "member.joined", subject: Some(alice()), attrs: Vec::new() }
}

#[tokio::test]
async fn who_is_told_of_an_event_asks_for_effects_or_fails() {
    let plugin = loaded(of_kind(Kind::Events, "on-event", KEEPS).keeping()).await;
    let answered = plugin.on_event(call(), joined()).await.unwrap();
    let kept = Effect::Note { key: "k".to_owned(), value: Some(b"k".to_vec()) };
    assert_eq!(answered.effects, [kept]);
    assert!(answered.fuel > 500);
    let plugin = loaded(of_kind(Kind::Events, "on-event", "unreachable")).await;
    let failure = plugin.on_event(call(), joined()).await.unwrap_err();
    assert!(matches!(failure, Failure::Trap { .. }), "{failure:?}");
    assert_eq!(plugin.counts(), (1, 1));
}

#[tokio::test]
async fn who_called_out_is_given_the_answer() {
    let plugin = loaded(of_kind(Kind::Callback, "on-reply", KEEPS).keeping()).await;
    let (correlation, body) = ("c".to_owned(), b"7".to_vec());
    let reply = CallbackReply { correlation, status: 200, body, attempts: 1 };
    assert_eq!(plugin.on_reply(call(), reply).await.unwrap().effects.len(), 1);
}

#[tokio::test]
async fn a_telephone_is_answered_with_verbs_within_their_bounds() {
    // Two verbs of 48 bytes at 2048: a text to say, and the end of the call.
    let says = |bytes: u32| {
        format!(
            "(i32.store (i32.const 68) (i32.const 2048)) (i32.store (i32.const 72) (i32.const 2))
             (i32.store (i32.const 2056) (i32.const 1024)) (i32.store (i32.const 2060) (i32.const {bytes}))
             (i32.store8 (i32.const {}) (i32.const 8))",
            2048 + VERB_BYTES
        )
    };
    let guest = of_kind(Kind::Twilio, "on-request", &says(5));
    let plugin = loaded(guest.with_module("(data (i32.const 1024) \"hello\")")).await;
    let request = || TwilioRequest { channel: "voice".to_owned(), ..TwilioRequest::default() };
    let answer = plugin.on_request(call(), request()).await.unwrap().answer;
    let hello = Verb::Prompt(plugin::Prompt::Say("hello".to_owned()));
    assert_eq!(answer, [hello, Verb::Hangup]);
    let plugin = loaded(of_kind(Kind::Twilio, "on-request", &says(20_000))).await;
    let failure = plugin.on_request(call(), request()).await.unwrap_err();
    assert!(matches!(failure, Failure::BadOutput { .. }), "{failure:?}");
}

/// One verb at 2048: TwiML that is at 1024.
fn writes(twiml: &str) -> Guest {
    let does = format!(
        "(i32.store (i32.const 68) (i32.const 2048)) (i32.store (i32.const 72) (i32.const 1))
         (i32.store8 (i32.const 2048) (i32.const 9))
         (i32.store (i32.const 2052) (i32.const 1024)) (i32.store (i32.const 2056) (i32.const {}))",
        twiml.len()
    );
    let data = format!("(data (i32.const 1024) \"{}\")", twiml.replace('"', "\\22"));
    of_kind(Kind::Twilio, "on-request", &does).with_module(&data)
}

#[tokio::test]
async fn what_a_handler_writes_itself_is_well_formed_or_a_failure() {
    let request = || TwilioRequest { channel: "voice".to_owned(), ..TwilioRequest::default() };
    let queue = "<Enqueue waitUrl=\"/music\">support &amp; more</Enqueue>";
    let answer = loaded(writes(queue)).await.on_request(call(), request()).await.unwrap().answer;
    assert_eq!(plugin::twiml(&answer), format!("<Response>{queue}</Response>"));
    for (bad, word) in [
        ("<Say>hello", "not closed"),
        ("</Response><Response><Dial>+1</Dial>", "closes nothing"),
        ("hello", "no element"),
        ("<!DOCTYPE x><Say/>", "document type"),
        ("<Say>a & b</Say>", "lone &"),
    ] {
        let failure = loaded(writes(bad)).await.on_request(call(), request()).await.unwrap_err();
        let Failure::BadOutput { text } = failure else { panic!("{bad}: {failure:?}") };
        assert!(text.contains("raw TwiML") && text.contains(word), "{bad}: {text}");
    }
}

/// A verb in memory: its case, and the largest of them, a conference.
const VERB_BYTES: u32 = 36;

#[tokio::test]
async fn a_policy_plans_with_words_that_are_known() {
    let durable =
        "(i32.store (i32.const 72) (i32.const 1024)) (i32.store (i32.const 76) (i32.const 7))";
    let guest = of_kind(Kind::Policy, "plan-for", durable);
    let plugin = loaded(guest.clone().with_module("(data (i32.const 1024) \"archive\")")).await;
    let stats = Stats { messages: 3, ..Stats::default() };
    let plan = plugin.plan_for(call(), "ended", stats).await.unwrap().answer;
    assert_eq!((plan.durability, plan.keep_ms), (Durability::Archive, None));
    let plugin = loaded(guest.with_module("(data (i32.const 1024) \"forever\")")).await;
    let failure = plugin.plan_for(call(), "ended", stats).await.unwrap_err();
    let Failure::BadOutput { text } = failure else { panic!("{failure:?}") };
    assert!(text.contains("forever"), "{text}");
}

#[tokio::test]
async fn a_message_can_be_held() {
    let hold = "(i32.store8 (i32.const 68) (i32.const 4))
        (i32.store (i32.const 72) (i32.const 1024)) (i32.store (i32.const 76) (i32.const 4))
        (i32.store (i32.const 80) (i32.const 1500)) (i32.store8 (i32.const 84) (i32.const 1))";
    let plugin = loaded(Guest::doing(hold).with_module("(data (i32.const 1024) \"read\")")).await;
    let verdict = say(&plugin, "hello").await.unwrap().verdict;
    let reason = "read".to_owned();
    assert_eq!(verdict, Verdict::Hold { reason, deadline_ms: 1_500, accept: true });
}

#[tokio::test]
async fn a_timer_is_asked_for() {
    let guest = Guest::doing(
        "(call $start (i32.const 1024) (i32.const 3) (i32.const 5000) (i32.const 512))
         (call $start (i32.const 1024) (i32.const 3) (i32.const 1) (i32.const 512))",
    )
    .with_module("(data (i32.const 1024) \"nap\")")
    .importing(
        "import carillon:plugin/timers@0.1.0;",
        "(import \"carillon:plugin/timers@0.1.0\" \"start\" (func $start (param i32 i32 i32 i32)))",
    );
    let timer = |after_ms| Effect::StartTimer { name: "nap".to_owned(), after_ms };
    let effects = say(&*loaded(guest).await, "hello").await.unwrap().effects;
    assert_eq!(effects, [timer(5_000), timer(100)], "none is shorter than that");
}

#[tokio::test]
async fn only_a_service_that_was_granted_is_called() {
    let queue = |service: &str| {
        let data = format!("(data (i32.const 1026) \"{service}/x\")");
        Guest::doing(
            "(call $queue (i32.const 1026) (i32.const 3) (i32.const 1029) (i32.const 2)
               (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
               (i32.const 2048))
             (call $keep (i32.const 2048) (i32.const 1))",
        )
        .keeping()
        .with_module(&data)
        .importing(
            "import carillon:plugin/outcall@0.1.0;",
            "(import \"carillon:plugin/outcall@0.1.0\" \"queue\"
               (func $queue (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))",
        )
    };
    let reply = say(&*loaded(queue("crm")).await, "hello").await.unwrap();
    assert_eq!(note(&reply), Some(vec![0]));
    let Some(Effect::Outcall { service, path, .. }) = reply.effects.first() else {
        panic!("{reply:?}")
    };
    assert_eq!((service.as_str(), path.as_str()), ("crm", "/x"));
    let denied = kept(&*loaded(queue("erp")).await).await;
    assert_eq!(denied, [1]);
}

/// Three messages, of which it tells the last that are asked for.
#[derive(Debug)]
struct Three;

impl Past for Three {
    fn before(&self, _at: Cursor, limit: usize) -> Later<'_, Option<Vec<Earlier>>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let message = |seq: u64| Earlier {
                at: Cursor { epoch: 1, seq },
                message: said("text", Body::Text(seq.to_string())).message,
            };
            Some((1..=3).map(message).skip(3_usize.saturating_sub(limit)).collect())
        })
    }
}

#[tokio::test]
async fn earlier_messages_are_read_as_many_as_were_granted() {
    // Twice: the number of messages, and in the end what the third time is answered.
    let guest = Guest::doing(
        "(call $before (i64.const 9) (i64.const 9) (i32.const 2) (i32.const 2048))
         (call $before (i64.const 9) (i64.const 9) (i32.const 50) (i32.const 2080))
         (i32.store8 (i32.const 2112) (i32.load (i32.const 2056)))
         (i32.store8 (i32.const 2113) (i32.load (i32.const 2088)))
         (i32.store8 (i32.const 2114) (i32.load8_u (i32.const 2080)))
         (call $keep (i32.const 2112) (i32.const 3))",
    )
    .keeping()
    .with_pages(4)
    .importing(
        "import carillon:plugin/history@0.1.0;",
        "(import \"carillon:plugin/history@0.1.0\" \"before\"
           (func $before (param i64 i64 i32 i32)))",
    );
    let plugin = loaded(guest).await;
    let past: Option<Arc<dyn Past>> = Some(Arc::new(Three));
    let call = plugin::Call { past, ..call() };
    let hello = said("text", Body::Text("hello".to_owned()));
    let reply = plugin.on_message(call, hello).await.unwrap();
    assert_eq!(note(&reply), Some(vec![2, 3, 0]));
    let nothing = say(&plugin, "hello").await.unwrap();
    assert_eq!(note(&nothing).unwrap()[2], 1, "there is none to read");
}

#[tokio::test]
async fn what_was_decided_before_is_told() {
    let guest = Guest::doing(
        "(call $mine (i32.const 2) (i32.const 2048))
         (i32.store8 (i32.const 2112) (i32.load (i32.const 2056)))
         (call $keep (i32.const 2112) (i32.const 1))",
    )
    .keeping()
    .importing(
        "import carillon:plugin/recall@0.1.0;",
        "(import \"carillon:plugin/recall@0.1.0\" \"mine\" (func $mine (param i32 i32)))",
    );
    let plugin = loaded(guest).await;
    let decision = Decision {
        at: Cursor { epoch: 1, seq: 2 },
        message: MessageId([1; 16]),
        version: "1".to_owned(),
        verdict: "pass".to_owned(),
        notes: vec![("score".to_owned(), "7".to_owned())],
    };
    let decisions = VecDeque::from([decision.clone(), decision.clone(), decision]);
    let call = plugin::Call { decisions: Some(Arc::new(decisions)), ..call() };
    let hello = said("text", Body::Text("hello".to_owned()));
    assert_eq!(note(&plugin.on_message(call, hello).await.unwrap()), Some(vec![2]));
    assert_eq!(kept(&plugin).await, [0]);
}

#[tokio::test]
async fn counting_is_no_effect_and_a_flood_of_it_ends_with_the_fuel() {
    let counting = |body: &str| {
        Guest::doing(body).with_module("(data (i32.const 1024) \"seen\")").importing(
            "import carillon:plugin/metrics@0.1.0;",
            "(import \"carillon:plugin/metrics@0.1.0\" \"count\" (func $count (param i32 i32 i64)))",
        )
    };
    let once = "(call $count (i32.const 1024) (i32.const 4) (i64.const 1))";
    let reply = say(&*loaded(counting(once)).await, "hello").await.unwrap();
    assert_eq!(reply.effects, []);
    let flood = format!("(loop $again {once} (br $again))");
    let limits = plugin::LimitsWanted { fuel: Some(1_000_000), ..spec(Vec::new()).limits };
    let spec = plugin::Spec { limits, ..spec(counting(&flood).build()) };
    let failure = say(&load(spec).await.unwrap(), "hello").await.unwrap_err();
    assert_eq!(failure, Failure::Fuel { fuel: 1_000_000 });
}
