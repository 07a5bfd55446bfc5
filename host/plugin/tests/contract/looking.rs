//! What is known of calls after they are over.

use std::sync::Arc;
use std::time::Duration;

use plugin::{BreakerState, Failure, Host, HostConfig, LoadError, Plugin};

use crate::case::{PATIENT, call, said, say, spec};
use crate::guests::Guest;

/// A host of its own: journals are by name, and every guest here has the same.
async fn load(guest: Guest) -> (Host, Arc<Plugin>) {
    let config = HostConfig { ceiling: PATIENT, calls_max: 4, ..HostConfig::default() };
    let host = Host::new(config).unwrap();
    let plugin = host.load(spec(guest.build())).await.unwrap();
    (host, plugin)
}

/// Any text as WAT writes it.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("\\{byte:02x}")).collect()
}

/// Says `text` as a warning.
fn saying(text: &str) -> Guest {
    let (bytes, text) = (text.len(), escaped(text));
    Guest::doing(&format!(
        "(call $emit (i32.const 2) (i32.const 2048) (i32.const {bytes}) (i32.const 0) (i32.const 0))"
    ))
    .with_module(&format!("(data (i32.const 2048) \"{text}\")"))
}

/// A guest that prints `text` to standard error before it does `then`.
fn printing(text: &str, then: &str) -> Guest {
    let (bytes, text) = (text.len(), escaped(text));
    Guest::doing(&format!(
        "(call $write (call $stderr) (i32.const 2048) (i32.const {bytes}) (i32.const 3072)) {then}"
    ))
    .with_module(&format!("(data (i32.const 2048) \"{text}\")"))
    .importing(
        "import wasi:cli/stderr@0.2.0; import wasi:io/streams@0.2.0;",
        "(import \"wasi:cli/stderr@0.2.0\" \"get-stderr\" (func $stderr (result i32)))
         (import \"wasi:io/streams@0.2.0\" \"[method]output-stream.blocking-write-and-flush\"
           (func $write (param i32 i32 i32 i32)))",
    )
}

#[tokio::test]
async fn a_line_says_in_which_chat_and_about_which_message_it_was_said() {
    let (host, plugin) = load(saying("a \u{1b}[31mred\nline")).await;
    say(&plugin, "hello").await.unwrap();
    let asked = said("text", model::Body::Text("hello".to_owned()));
    let page = plugin.journal().lines(None, 0);
    let [line] = page.lines.as_slice() else { panic!("{page:?}") };
    assert_eq!((line.number, line.level), (1, "warn"));
    assert_eq!(line.of.chat, Some(call().context.chat));
    assert_eq!(line.of.message, Some(asked.message.id));
    assert_eq!(&*line.version, plugin.version());
    assert_eq!(line.text, "a \\u{1b}[31mred\\nline", "a terminal must not obey it");
    let other = model::ChatToken([9; 16]);
    assert!(plugin.journal().lines(Some(other), 0).lines.is_empty());
    // The next generation goes on in the same journal, and so does whoever asks by name.
    let next = host.load(spec(saying("second").build())).await.unwrap();
    say(&next, "hello").await.unwrap();
    let all = host.journal("guest").unwrap().lines(None, page.next);
    assert_eq!((all.lines.len(), all.lines[0].text.as_str()), (1, "second"));
    assert!(host.journal("nobody").is_none());
}

#[tokio::test]
async fn what_is_printed_is_in_the_journal_when_the_call_is_over() {
    let (_host, plugin) = load(printing("one\ntwo", "")).await;
    say(&plugin, "hello").await.unwrap();
    let lines = plugin.journal().lines(None, 0).lines;
    let said: Vec<_> = lines.iter().map(|line| (line.level, line.text.as_str())).collect();
    assert_eq!(said, [("printed", "one"), ("printed", "two")]);
    assert!(lines.iter().all(|line| line.of.message.is_some()));
}

#[tokio::test]
async fn an_error_tells_the_panic_the_place_and_the_message() {
    let guest = printing("thread main panicked at src/lib.rs:7", "(call $deep)")
        .with_module("(func $deep (call $deeper)) (func $deeper unreachable)");
    let (_host, plugin) = load(guest).await;
    for _ in 0..3 {
        say(&plugin, "hello").await.unwrap_err();
    }
    let errors = plugin.journal().errors();
    let [error] = errors.as_slice() else { panic!("{errors:?}") };
    assert_eq!((error.kind, error.count), ("trap", 3));
    let asked = said("text", model::Body::Text("hello".to_owned()));
    assert_eq!(error.of.message, Some(asked.message.id));
    for part in ["src/lib.rs:7", "unreachable", "in deeper < deep < on_message"] {
        assert!(error.text.contains(part), "{part}: {}", error.text);
    }
}

#[tokio::test]
async fn the_end_of_what_is_printed_counts() {
    // A talkative guest: the beginning is pushed out, the last word is there.
    let guest = printing("the last word", "").with_module(
        "(func $talk (local $i i32) (loop $again
           (call $write (call $stderr) (i32.const 8192) (i32.const 4096) (i32.const 3072))
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $i) (i32.const 20)))))",
    );
    let body = format!("(call $talk) {} unreachable", guest.on_message);
    let (_host, plugin) = load(Guest { on_message: body, ..guest }).await;
    let Failure::Trap { text } = say(&plugin, "hello").await.unwrap_err() else { panic!() };
    assert!(text.contains("the last word") && text.contains("unreachable"), "{text}");
    assert!(text.len() <= 2 << 10, "{} bytes", text.len());
}

#[tokio::test]
async fn a_plugin_that_always_fails_is_left_alone_after_five() {
    let (_host, plugin) = load(Guest::doing("unreachable")).await;
    for _ in 0..5 {
        assert_eq!(plugin.breaker(), BreakerState::Closed);
        assert!(matches!(say(&plugin, "hello").await, Err(Failure::Trap { .. })));
    }
    assert_eq!(plugin.breaker(), BreakerState::Open);
    let failure = say(&plugin, "hello").await.unwrap_err();
    let Failure::Paused { retry_after_ms } = failure else { panic!("{failure:?}") };
    assert!(failure.retryable() && retry_after_ms <= 30_000);
    assert!(Duration::from_millis(retry_after_ms) > Duration::from_secs(20));
    assert_eq!(plugin.counts(), (6, 6));
    assert_eq!(plugin.journal().errors()[0].count, 5, "it was not called the sixth time");
}

#[tokio::test]
async fn a_guest_that_cannot_decide_is_not_left_alone() {
    let refuses = Guest::doing(
        "(i32.store8 (i32.const 64) (i32.const 1))
         (i32.store (i32.const 68) (i32.const 1024)) (i32.store (i32.const 72) (i32.const 4))",
    );
    let (_host, plugin) = load(refuses.with_module("(data (i32.const 1024) \"busy\")")).await;
    for _ in 0..20 {
        assert!(matches!(say(&plugin, "hello").await, Err(Failure::Refused { .. })));
    }
    assert_eq!(plugin.breaker(), BreakerState::Closed);
}

#[tokio::test]
async fn a_check_that_fails_is_in_the_journal_of_who_was_not_loaded() {
    let config = HostConfig { ceiling: PATIENT, calls_max: 1, ..HostConfig::default() };
    let host = Host::new(config).unwrap();
    let guest = Guest { check_config: "unreachable".to_owned(), ..Guest::default() };
    let refusal = host.load(spec(guest.build())).await.unwrap_err();
    assert!(matches!(refusal, LoadError::CheckConfig { .. }), "{refusal:?}");
    let errors = host.journal("guest").unwrap().errors();
    assert_eq!((errors[0].kind, errors[0].of.chat), ("trap", None));
}

/// A decision that is made again, or beside the live one, is nobody's.
#[tokio::test]
async fn calls_aside_leave_no_trace_and_open_no_breaker() {
    let (host, plugin) = load(Guest::doing("unreachable")).await;
    let aside = plugin.aside(Duration::ZERO);
    let loaded = host.load_aside(spec(saying("aside").build())).await.unwrap();
    for _ in 0..10 {
        assert!(matches!(say(&aside, "hello").await, Err(Failure::Trap { .. })));
        say(&loaded, "hello").await.unwrap();
    }
    assert_eq!((plugin.counts(), plugin.tally().calls()), ((0, 0), 0));
    assert_eq!((aside.tally().failed, loaded.tally().pass), (10, 10));
    assert_eq!((plugin.breaker(), aside.breaker()), (BreakerState::Closed, BreakerState::Closed));
    let journal = host.journal("guest").unwrap();
    assert!(journal.errors().is_empty() && journal.lines(None, 0).lines.is_empty());
    assert_eq!(loaded.journal().lines(None, 0).lines.len(), 10, "who asks hears what it said");
}

#[tokio::test]
async fn what_a_plugin_is_given_is_one_number_that_differs_when_it_does() {
    let (host, plugin) = load(Guest::default()).await;
    let with = async |change: fn(&mut plugin::Spec)| {
        let mut spec = spec(Guest::default().build());
        change(&mut spec);
        host.load(spec).await.unwrap().setup()
    };
    assert_eq!(with(|_spec| {}).await, plugin.setup());
    assert_eq!(with(|spec| spec.limits.deadline = None).await, plugin.setup(), "no input");
    assert_ne!(with(|spec| spec.config = serde_json::json!({"a": 1})).await, plugin.setup());
    assert_ne!(with(|spec| spec.grant.recall = false).await, plugin.setup());
    assert_ne!(with(|spec| spec.limits.fuel = Some(1 << 30)).await, plugin.setup());
    assert_ne!(with(|spec| spec.on_failure = Some(plugin::OnFailure::Skip)).await, plugin.setup());
}
