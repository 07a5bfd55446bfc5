//! The example plugin in every language that plugins are written in: built by the language's own tools and
//! played by the same fixtures, so that all of them behave alike; what `plugin new` leaves, of every kind; and
//! the way of each onto nodes that run, and off them again.
//!
//! Tools come from `scripts/languages`. A language whose tools are missing is SKIPPED, aloud, unless
//! `CARILLON_LANGUAGES` names it: then it must be there.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is how a test says that it failed"
)]

mod authors;
mod kinds;
mod minutes;
mod replies;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tests::{binary, skipped};

/// The repository.
fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests/ is in the repository").to_owned()
}

/// Where `scripts/languages` leaves its tools.
fn tools() -> PathBuf {
    binary("carillon").with_file_name("../languages")
}

/// `PATH` with the tools of `scripts/languages` before everything else.
fn path() -> OsString {
    let tools = tools();
    let ours = [tools.join("js/node_modules/.bin"), tools.join("py/bin")];
    let others = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(ours.into_iter().chain(std::env::split_paths(&others)))
        .expect("no folder has a colon in its name")
}

/// Runs `carillon plugin …` with the languages' tools. Every plugin in Rust shares what it is built with.
fn carillon(args: &[&str]) -> Output {
    let mut command = Command::new(binary("carillon"));
    command.arg("plugin").args(args).env("PATH", path());
    command.env("CARGO_TARGET_DIR", tools().join("rust"));
    command.output().expect("carillon runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Builds the plugin of a folder; false, aloud, when the language's tools are not there.
fn built(language: &str, folder: &Path) -> bool {
    let output = carillon(&["build", &folder.display().to_string()]);
    if output.status.success() {
        return true;
    }
    let said = err(&output);
    let missing = said.lines().find(|line| line.contains("is not installed"));
    let Some(missing) = missing else { panic!("{language}: {said}") };
    let needed = std::env::var("CARILLON_LANGUAGES").unwrap_or_default();
    assert!(!needed.split_whitespace().any(|needed| needed == language), "{missing}");
    skipped(&format!("{language}: {missing}"));
    false
}

/// Plays its fixtures: all as expected.
fn played(folder: &Path) -> Value {
    let output = carillon(&["test", &folder.display().to_string(), "--json"]);
    assert!(output.status.success(), "{}\n{}", out(&output), err(&output));
    serde_json::from_str(&out(&output)).expect("one JSON object")
}

/// The example of a language, built and played.
fn example(language: &str) {
    let folder = root().join("plugins/examples").join(language);
    if !built(language, &folder) {
        return;
    }
    let played = played(&folder);
    let steps = |fixture: &Value| fixture["steps"].as_array().map_or(0, Vec::len);
    let steps: usize = played["fixtures"].as_array().expect("fixtures").iter().map(steps).sum();
    assert_eq!(steps, 9, "every step of every fixture is played");

    // Again, and every call costs the same.
    let seen = |played: &Value| -> Vec<Value> {
        let fixtures = played["fixtures"].as_array().expect("fixtures").clone();
        let steps =
            fixtures.iter().flat_map(|fixture| fixture["steps"].as_array().expect("steps").clone());
        steps.map(|step| step["seen"]["fuel"].clone()).collect()
    };
    assert_eq!(seen(&self::played(&folder)), seen(&played));

    let inspected =
        carillon(&["inspect", &folder.join("target/polite.wasm").display().to_string(), "--json"]);
    let inspected: Value = serde_json::from_str(&out(&inspected)).expect("one JSON object");
    assert_eq!(inspected["wit"], serde_json::json!(["0.1.0"]));
    assert_eq!(inspected["kinds"], serde_json::json!(["message-handler"]));
    assert_eq!(inspected["faults"], serde_json::json!([]));
    let imports = inspected["imports"].as_array().expect("imports");
    let standing = |name: &str| {
        let found =
            imports.iter().find(|import| import["name"] == format!("carillon:plugin/{name}@0.1.0"));
        found.map(|import| import["standing"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(standing("kv").as_deref(), Some("asked"));
    assert_eq!(standing("post"), None, "what is not asked for is not imported");
    assert!(imports.iter().all(|import| import["standing"] != "absent"), "{imports:?}");
}

#[test]
fn rust() {
    example("rust");
}

#[test]
fn javascript() {
    example("js");
}

#[test]
fn python() {
    example("python");
}

#[test]
fn c() {
    example("c");
}

#[test]
fn go() {
    example("go");
}
