//! A call: what goes in, what comes out, and that it can be repeated.

use model::Body;
use plugin::{LoadError, OnFailure, Problem, Spec, Verdict, pack};

use crate::case::{call, load, said, say, spec};
use crate::guests::Guest;
use crate::{kept, note};

/// Keeps what `settings` answers to `function` for the key `list`.
fn asking(function: &str) -> Guest {
    let ask = "(call $ask (i32.const 1028) (i32.const 4) (i32.const 2048))
               (if (i32.load8_u (i32.const 2048)) (then
                 (call $keep (i32.load (i32.const 2052)) (i32.load (i32.const 2056)))))";
    let import = format!(
        "(import \"carillon:plugin/settings@0.1.0\" \"{function}\"
           (func $ask (param i32 i32 i32)))"
    );
    Guest::doing(ask)
        .keeping()
        .with_module("(data (i32.const 1028) \"list\")")
        .importing("import carillon:plugin/settings@0.1.0;", &import)
}

async fn configured(guest: Guest, config: serde_json::Value) -> Option<String> {
    let plugin = load(Spec { config, ..spec(guest.build()) }).await.unwrap();
    let note = note(&say(&plugin, "hello").await.unwrap());
    note.map(|note| String::from_utf8(note).unwrap())
}

#[tokio::test]
async fn settings_are_answered_from_the_configuration() {
    let list = || serde_json::json!({"list": ["a", 1], "other": true});
    assert_eq!(configured(asking("one"), list()).await.as_deref(), Some("[\"a\",1]"));
    assert_eq!(configured(asking("text"), list()).await, None);
    let text = || serde_json::json!({"list": "a \"b\""});
    assert_eq!(configured(asking("one"), text()).await.as_deref(), Some("\"a \\\"b\\\"\""));
    assert_eq!(configured(asking("text"), text()).await.as_deref(), Some("a \"b\""));
    assert_eq!(configured(asking("one"), serde_json::json!({})).await, None);

    let all = Guest::doing(
        "(call $all (i32.const 2048))
         (call $keep (i32.load (i32.const 2048)) (i32.load (i32.const 2052)))",
    )
    .keeping()
    .importing(
        "import carillon:plugin/settings@0.1.0;",
        "(import \"carillon:plugin/settings@0.1.0\" \"all\" (func $all (param i32)))",
    );
    let expected = "{\"list\":[\"a\",1],\"other\":true}";
    assert_eq!(configured(all, list()).await.as_deref(), Some(expected));
}

#[tokio::test]
async fn the_same_call_has_the_same_answer_and_costs_the_same() {
    // It looks at everything it was given: the message and the context are at the pointer.
    let guest = Guest::doing("(call $keep (local.get 0) (i32.const 200))").keeping();
    let plugin = load(spec(guest.build())).await.unwrap();
    let first = say(&plugin, "hello").await.unwrap();
    assert!(first.fuel > 500, "{} for a call of the host", first.fuel);
    for _ in 0..10 {
        assert_eq!(say(&plugin, "hello").await.unwrap(), first);
    }
}

#[tokio::test]
async fn nothing_survives_a_call() {
    let counts =
        "(i32.store8 (i32.const 2048) (i32.add (i32.load8_u (i32.const 2048)) (i32.const 1)))
                  (call $keep (i32.const 2048) (i32.const 1))";
    let plugin = load(spec(Guest::doing(counts).keeping().build())).await.unwrap();
    for _ in 0..100 {
        assert_eq!(kept(&plugin).await, [1]);
    }
}

#[tokio::test]
async fn a_guest_can_rewrite_a_message() {
    let rewrite = "(i32.store8 (i32.const 68) (i32.const 2))
        (i32.store (i32.const 72) (i32.const 1024)) (i32.store (i32.const 76) (i32.const 10))
        (i32.store (i32.const 80) (i32.const 1034)) (i32.store (i32.const 84) (i32.const 3))";
    let guest = Guest::doing(rewrite).with_module("(data (i32.const 1024) \"text/plainBye\")");
    let plugin = load(spec(guest.build())).await.unwrap();
    let verdict = say(&plugin, "hello").await.unwrap().verdict;
    assert_eq!(verdict, Verdict::Rewrite(Body::Text("Bye".to_owned())));
}

#[tokio::test]
async fn a_rejection_keeps_what_its_call_asked_for() {
    let guest = Guest::doing(
        "(call $keep (i32.const 1024) (i32.const 1))
         (i32.store8 (i32.const 68) (i32.const 3))
         (i32.store (i32.const 72) (i32.const 1024)) (i32.store (i32.const 76) (i32.const 1))
         (i32.store (i32.const 80) (i32.const 1024)) (i32.store (i32.const 84) (i32.const 1))
         (i32.store8 (i32.const 88) (i32.const 1)) (i32.store (i32.const 92) (i32.const 7))",
    );
    let plugin = load(spec(guest.keeping().build())).await.unwrap();
    let reply = say(&plugin, "hello").await.unwrap();
    let (code, reason) = ("k".to_owned(), "k".to_owned());
    assert_eq!(reply.verdict, Verdict::Reject { code, reason, retry_after_ms: Some(7) });
    assert_eq!(note(&reply).as_deref(), Some(&b"k"[..]));
}

#[tokio::test]
async fn what_the_guest_finds_wrong_with_its_configuration_is_told() {
    let problem =
        "(i32.store (i32.const 16) (i32.const 2048)) (i32.store (i32.const 20) (i32.const 1))
        (i32.store (i32.const 2048) (i32.const 1024)) (i32.store (i32.const 2052) (i32.const 5))
        (i32.store (i32.const 2056) (i32.const 1029)) (i32.store (i32.const 2060) (i32.const 7))";
    let guest = Guest { check_config: problem.to_owned(), ..Guest::default() };
    let guest = guest.with_module("(data (i32.const 1024) \"wordsmissing\")");
    let refusal = load(spec(guest.build())).await.unwrap_err();
    assert_eq!(refusal.to_string(), "plugin guest: its configuration: words: missing");
    let LoadError::Config { problems, .. } = refusal else { panic!("{refusal:?}") };
    let expected = Problem { path: "words".to_owned(), detail: "missing".to_owned() };
    assert_eq!(problems, [expected]);
}

#[tokio::test]
async fn a_manifest_gives_version_policy_and_limits_and_the_operator_has_the_last_word() {
    let manifest = "name = \"m\"\nversion = \"1.2.3\"\non-failure = \"skip\"\n\
                    [limits]\nfuel = 123456\nmemory = \"1MiB\"";
    let component = pack(&Guest::default().build(), manifest).unwrap();
    let plugin = load(spec(component.clone())).await.unwrap();
    assert_eq!((plugin.name(), plugin.version()), ("guest", "1.2.3"));
    assert_eq!(plugin.on_failure(), OnFailure::Skip);
    assert_eq!((plugin.limits().fuel, plugin.limits().memory_bytes), (123_456, 1 << 20));
    let on_failure = Some(OnFailure::Reject);
    let plugin = load(Spec { on_failure, ..spec(component) }).await.unwrap();
    assert_eq!(plugin.on_failure(), OnFailure::Reject);

    let bare = load(spec(Guest::default().build())).await.unwrap();
    assert_eq!(bare.version(), &bare.digest()[..12]);
    assert_eq!(bare.on_failure(), OnFailure::Reject);
}

#[tokio::test]
async fn a_body_reaches_the_guest_as_it_is() {
    // The message is the context's neighbour, too big for parameters: its place is at the pointer.
    let plugin = load(spec(Guest::default().build())).await.unwrap();
    let largest =
        said("text", Body::Bytes { media_type: "a/b".to_owned(), bytes: vec![0; 65_536] });
    assert_eq!(plugin.on_message(call(), largest).await.unwrap().verdict, Verdict::Pass);
}

#[tokio::test]
async fn a_name_that_is_no_name_is_refused() {
    for name in ["", "Upper", "1st", "with space", &"n".repeat(65)] {
        let named = Spec { name: name.to_owned(), ..spec(Guest::default().build()) };
        let refusal = load(named).await.unwrap_err();
        assert!(matches!(refusal, LoadError::Name { .. }), "{refusal:?}");
    }
}
