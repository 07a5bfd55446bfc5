//! Powers are imports, and an import that is not granted keeps the plugin out.

use plugin::{Grant, HistoryGrant, KvGrant, LoadError, RefusedImport, Spec, Verdict};

use crate::case::{load, say, spec};
use crate::guests::Guest;

/// A guest that imports one function of each of these interfaces.
fn importing(interfaces: &[&str]) -> Vec<u8> {
    let function = |interface: &str| match interface {
        "roster" => "\"get\" (func (param i32 i32 i32))",
        "post" => "\"send\" (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32))",
        "chat-control" => "\"start-chat\" (func (param i32))",
        "kv" => "\"delete\" (func (param i32 i32 i32))",
        "timers" => "\"cancel\" (func (param i32 i32 i32))",
        "outcall" => "\"queue\" (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32))",
        "history" => "\"before\" (func (param i64 i64 i32 i32))",
        "recall" => "\"mine\" (func (param i32 i32))",
        "metrics" => "\"count\" (func (param i32 i32 i64))",
        "wasi:http/outgoing-handler" => "\"handle\" (func (result i32))",
        other => panic!("{other}"),
    };
    let mut guest = Guest::default();
    for interface in interfaces {
        let name = if interface.contains(':') {
            format!("{interface}@0.2.0")
        } else {
            format!("carillon:plugin/{interface}@0.1.0")
        };
        let core = format!("(import \"{name}\" {})", function(interface));
        guest = guest.importing(&format!("import {name};"), &core);
    }
    guest.build()
}

async fn refusals(component: Vec<u8>, grant: Grant) -> Vec<RefusedImport> {
    match load(Spec { grant, ..spec(component) }).await.unwrap_err() {
        LoadError::Imports { refused, .. } => refused,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn everything_missing_is_told_at_once_with_the_line_that_grants_it() {
    let component = importing(&["roster", "post", "chat-control", "kv"]);
    let grant = Grant { post: true, ..Grant::default() };
    let refusal = load(Spec { grant, ..spec(component) }).await.unwrap_err().to_string();
    assert_eq!(
        refusal,
        "plugin guest: imports carillon:plugin/roster@0.1.0 which is not granted: \
         add `[plugins.guest.grant] roster = true`; \
         imports carillon:plugin/chat-control@0.1.0 which is not granted: \
         add `[plugins.guest.grant] chat-control = true`; \
         imports carillon:plugin/kv@0.1.0 which is not granted: \
         add `[plugins.guest.grant] kv = { bytes = \"64KiB\" }`"
    );
}

#[tokio::test]
async fn what_nobody_can_grant_is_named_without_a_line() {
    let component = importing(&["wasi:http/outgoing-handler"]);
    let refused = refusals(component, crate::case::everything()).await;
    let names: Vec<&str> = refused.iter().map(|refused| refused.import.as_str()).collect();
    assert_eq!(names, ["wasi:http/outgoing-handler@0.2.0"]);
    assert!(refused.iter().all(|refused| refused.grant.is_none()), "{refused:?}");
}

#[tokio::test]
async fn each_power_is_granted_alone() {
    let (kv, history) = (Some(KvGrant { bytes: 1 }), Some(HistoryGrant { messages: 1 }));
    let grants = [
        ("roster", Grant { roster: true, ..Grant::default() }),
        ("post", Grant { post: true, ..Grant::default() }),
        ("chat-control", Grant { chat_control: true, ..Grant::default() }),
        ("kv", Grant { kv, ..Grant::default() }),
        ("timers", Grant { timers: true, ..Grant::default() }),
        ("outcall", Grant { outcall: vec!["crm".to_owned()], ..Grant::default() }),
        ("history", Grant { history, ..Grant::default() }),
        ("recall", Grant { recall: true, ..Grant::default() }),
        ("metrics", Grant { metrics: true, ..Grant::default() }),
    ];
    for (power, grant) in &grants {
        let plugin =
            load(Spec { grant: grant.clone(), ..spec(importing(&[power])) }).await.unwrap();
        assert_eq!(say(&plugin, "hello").await.unwrap().verdict, Verdict::Pass);
        for (other, _) in grants.iter().filter(|(other, _)| other != power) {
            let refused = refusals(importing(&[other]), grant.clone()).await;
            assert_eq!(refused.len(), 1, "{other} with {grant:?}");
        }
    }
}

#[tokio::test]
async fn nothing_is_needed_for_settings_and_log() {
    let component = Guest::default().build();
    let plugin = load(Spec { grant: Grant::default(), ..spec(component) }).await.unwrap();
    assert_eq!(plugin.grant().names(), [""; 0]);
    assert_eq!(say(&plugin, "hello").await.unwrap().verdict, Verdict::Pass);
}
