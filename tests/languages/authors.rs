//! What an author does: begin, build, test, break, mend.

use std::path::{Path, PathBuf};

use crate::{built, carillon, err, out};

/// Begins a plugin in `parent`.
fn begin(parent: &Path, name: &str, language: &str) -> PathBuf {
    begin_kind(parent, name, language, "message")
}

/// Begins a plugin of a kind.
pub(crate) fn begin_kind(parent: &Path, name: &str, language: &str, kind: &str) -> PathBuf {
    let dir = parent.display().to_string();
    let output = carillon(&["new", name, "--lang", language, "--kind", kind, "--dir", &dir]);
    assert!(output.status.success(), "{}", err(&output));
    parent.join(name)
}

#[test]
fn nothing_that_is_there_is_begun_again_and_a_kind_without_a_template_is_told() {
    let parent = tempfile::tempdir().expect("a folder");
    begin(parent.path(), "my-c", "c");
    let dir = parent.path().display().to_string();
    let again = carillon(&["new", "my-c", "--lang", "c", "--dir", &dir]);
    assert_eq!(again.status.code(), Some(1), "{}", err(&again));
    assert!(err(&again).contains("exists"), "{}", err(&again));
    let none = carillon(&["new", "plans", "--lang", "c", "--kind", "policy", "--dir", &dir]);
    assert_eq!(none.status.code(), Some(2), "{}", err(&none));
    assert!(err(&none).contains("--lang rust or js"), "{}", err(&none));
}

#[test]
fn a_plugin_that_does_otherwise_fails_its_test_and_a_fault_shows_its_policy() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = begin(parent.path(), "hello", "c");
    let source = folder.join("handler.c");
    let text = std::fs::read_to_string(&source).expect("the template has it");
    std::fs::write(&source, text.replace("\"***\"", "\"###\"")).expect("it is written");
    if !built("c", &folder) {
        return;
    }
    let dir = folder.display().to_string();
    let test = |args: &[&str]| carillon(&[&["test", &dir], args].concat());

    let failed = test(&[]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(out(&failed).contains("where is that ### cat"), "{}", out(&failed));
    let dear = test(&["--max-fuel", "1"]);
    assert!(out(&dear).contains("at most 1, was"), "{}", out(&dear));

    // Its manifest says skip: the message goes on without it. The operator may say otherwise.
    let skipped = test(&["--fault", "trap"]);
    assert_eq!(skipped.status.code(), Some(0), "{}", err(&skipped));
    assert!(
        out(&skipped).contains("trap") && out(&skipped).contains("stored"),
        "{}",
        out(&skipped)
    );
    for fault in ["trap", "deadline", "memory"] {
        let rejected = test(&["--fault", fault, "--on-failure", "reject"]);
        let out = out(&rejected);
        assert!(out.contains(fault) && out.contains("plugin-failed"), "{out}");
        assert!(!out.contains("stored"), "{out}");
    }

    let blessed = test(&["--bless"]);
    assert!(out(&blessed).contains("expects now what was seen"), "{}", err(&blessed));
    assert_eq!(test(&[]).status.code(), Some(0), "what was seen is what is expected");
}

#[test]
fn what_is_no_component_is_told_in_words() {
    let parent = tempfile::tempdir().expect("a folder");
    for (bytes, words) in [
        (&b"how high is it"[..], "not a Wasm binary, or damaged"),
        (b"", "not a Wasm binary, or damaged"),
        (b"\0asm\x01\0\0\0", "no component: a core module"),
    ] {
        let path = parent.path().join("junk.wasm");
        std::fs::write(&path, bytes).expect("it is written");
        let told = carillon(&["inspect", &path.display().to_string()]);
        assert_eq!(told.status.code(), Some(1));
        assert!(err(&told).contains(words) && !err(&told).contains("0x"), "{}", err(&told));
    }
}

#[test]
fn a_source_that_does_not_compile_and_a_tool_that_is_missing_are_told() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = begin(parent.path(), "hello", "c");
    std::fs::write(folder.join("handler.c"), "int main(").expect("it is written");
    let broken = carillon(&["build", &folder.display().to_string()]);
    assert_eq!(broken.status.code(), Some(1), "{}", err(&broken));
    assert!(!folder.join("target/hello.wasm").exists());

    let folder = begin(parent.path(), "snake", "python");
    let mut without = std::process::Command::new(tests::binary("carillon"));
    let without = without.args(["plugin", "build"]).arg(&folder).env("PATH", "/nowhere").output();
    let without = without.expect("carillon runs");
    assert_eq!(without.status.code(), Some(1));
    assert!(err(&without).contains("pip install componentize-py=="), "{}", err(&without));

    std::fs::write(folder.join("plugin.toml"), "name = \"snake\"\nversion = \"1\"\n")
        .expect("written");
    let nameless = carillon(&["build", &folder.display().to_string()]);
    assert_eq!(nameless.status.code(), Some(2));
    assert!(err(&nameless).contains("language = "), "{}", err(&nameless));
}

#[test]
fn a_chat_that_was_recorded_is_played_with_a_build() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = begin(parent.path(), "hello", "c");
    if !built("c", &folder) {
        return;
    }
    let chat = parent.path().join("chat.json");
    let said = |text: &str, ms: u64| {
        format!(
            r#"{{"sender": "eve", "kind": "text", "route": "everyone", "text": "{text}", "time_ms": {ms}}}"#
        )
    };
    let page = format!("{{\"messages\": [{}, {}]}}", said("hello", 1), said("darn", 9));
    std::fs::write(&chat, page).expect("it is written");
    let (dir, chat) = (folder.display().to_string(), chat.display().to_string());
    let round = carillon(&["dev", &dir, "--replay", &chat, "--once"]);
    assert!(out(&round).contains("2 steps played"), "{}\n{}", out(&round), err(&round));
}
