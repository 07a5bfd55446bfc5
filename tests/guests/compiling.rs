//! What the child makes of what it is given.

use std::fs;

use plugin::{CompilerProgram, Host, HostConfig, LoadError, Verdict};
use tempfile::TempDir;
use tests::guests::Guest;

use crate::case::{PATIENT, say, spec};
use crate::{CompileLimits, Compiler, HOST, compiler, is_refused};

#[tokio::test]
async fn the_code_of_a_child_is_kept_and_no_child_is_needed_for_it_again() {
    let folder = TempDir::new().unwrap();
    let component = Guest::default().build();
    let host = |compiler| {
        let cache = Some(folder.path().to_owned());
        let config = HostConfig { cache, compiler, ceiling: PATIENT, calls_max: 1 };
        Host::new(config).unwrap()
    };
    let first = host(compiler(CompileLimits::default()));
    let plugin = first.load(spec(component.clone())).await.unwrap();
    assert_eq!(say(&plugin, "hello").await.unwrap().verdict, Verdict::Pass);

    let nobody = Compiler::Child(CompilerProgram {
        program: "/nowhere/compiler".into(),
        args: Vec::new(),
        env: Vec::new(),
        limits: CompileLimits::default(),
    });
    let second = host(nobody.clone());
    let plugin = second.load(spec(component)).await.unwrap();
    assert_eq!(say(&plugin, "hello").await.unwrap().verdict, Verdict::Pass);
    // Another component is not there, and neither is anybody who could compile it.
    let other = spec(Guest::default().with_pages(3).build());
    let refusal = second.load(other).await.unwrap_err();
    let LoadError::Compiler { text, .. } = refusal else { panic!("{refusal:?}") };
    assert!(text.contains("/nowhere/compiler"), "{text}");
}

#[tokio::test]
async fn the_shipped_plugins_compile_within_the_limits() {
    for (name, config) in
        [("status", serde_json::json!({})), ("moderation", serde_json::json!({"words": ["x"]}))]
    {
        let component = fs::read(tests::component(name)).unwrap();
        HOST.load(plugin::Spec { config, ..spec(component) }).await.unwrap();
    }
}

#[tokio::test]
async fn bytes_that_are_no_component_are_refused_by_the_child_with_words() {
    let whole = Guest::default().build();
    let mut changed = whole.clone();
    // The version of the format, behind the magic.
    changed[4] ^= 0x55;
    for (bytes, why) in [
        (Vec::new(), "unexpected end"),
        (b"hello, this is no component".to_vec(), "magic"),
        (whole[..whole.len() / 2].to_vec(), "unexpected end"),
        (wat::parse_str("(module)").unwrap(), "module"),
        (changed, "version"),
    ] {
        let refusal = is_refused(&HOST, bytes).await;
        let LoadError::NotAComponent { text, .. } = refusal else { panic!("{refusal:?}") };
        assert!(text.contains(why), "{text}");
    }
}

#[tokio::test]
async fn a_hundred_megabytes_are_refused_before_anything_is_read() {
    let refusal = is_refused(&HOST, vec![0; 100 << 20]).await;
    let LoadError::TooLarge { bytes, .. } = refusal else { panic!("{refusal:?}") };
    assert_eq!(bytes, 100 << 20);
}

#[tokio::test]
async fn a_guest_that_begins_with_more_memory_than_any_call_has_is_refused() {
    let refusal = is_refused(&HOST, Guest::default().with_pages(2_000).build()).await;
    let LoadError::NotAComponent { text, .. } = refusal else { panic!("{refusal:?}") };
    assert!(text.contains("memory"), "{text}");
}

#[tokio::test]
async fn who_stops_waiting_takes_the_child_along() {
    let bomb = crate::bombs::tables(1_000, 100);
    let loading = HOST.load(spec(bomb));
    let waited = runtime::timeout(std::time::Duration::from_millis(500), loading).await;
    assert!(waited.is_err(), "it compiled: {waited:?}");
    // The place is free at once, or this would wait for the bomb.
    HOST.load(spec(Guest::default().build())).await.unwrap();
}
