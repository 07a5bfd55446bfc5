//! Plugins that cannot be used are refused before anything serves, with what to do about each.

use tempfile::TempDir;
use tests::carillon::{run, single};
use tests::component;
use tests::guests::Guest;

/// Checks a configuration with `plugins`, and starts a node with it; what both say, and how they end.
async fn refused(folder: &TempDir, plugins: &str) -> String {
    let config = single(folder.path(), plugins);
    let checked = run(&["check", &config]).await;
    assert_eq!(checked.code, Some(2), "{checked:?}");
    let started = run(&["node", "--config", &config]).await;
    assert_eq!(started.code, Some(2), "{started:?}");
    assert_eq!(started.out, "", "it was never ready");
    // A node has a log, in which a version that cannot be prepared stands before the sentence.
    assert!(started.err.ends_with(&checked.err), "{started:?}");
    checked.err
}

fn folder() -> TempDir {
    TempDir::new().unwrap_or_else(|error| panic!("{error}"))
}

fn plugin(name: &str, file: &std::path::Path, more: &str) -> String {
    let source = file.display();
    format!(
        "[plugins.{name}]\nsource = \"file:{source}\"\n{more}\n[chain.message]\norder = [\"{name}\"]\n"
    )
}

#[tokio::test]
async fn a_plugin_that_is_not_there_is_named_with_its_file_and_line() {
    let folder = folder();
    let told = refused(&folder, &plugin("ghost", &folder.path().join("ghost.wasm"), "")).await;
    assert!(told.contains("ghost.wasm"), "{told}");
    assert!(told.contains("line "), "{told}");
}

#[tokio::test]
async fn what_is_not_a_component_is_refused() {
    let folder = folder();
    let module = wat::parse_str("(module)").unwrap_or_else(|error| panic!("{error}"));
    for (name, bytes) in [("text", b"hello".to_vec()), ("empty", Vec::new()), ("module", module)] {
        let file = folder.path().join(format!("{name}.wasm"));
        std::fs::write(&file, bytes).unwrap_or_else(|error| panic!("{error}"));
        let told = refused(&folder, &plugin(name, &file, "")).await;
        assert!(told.contains(&format!("plugin {name}")), "{told}");
    }
}

#[tokio::test]
async fn a_power_that_was_not_granted_is_named_with_the_line_that_grants_it() {
    let folder = folder();
    let told = refused(
        &folder,
        &plugin("moderation", &component("moderation"), "[plugins.moderation.config]\nwords = []"),
    )
    .await;
    for (import, grant) in [
        ("carillon:plugin/kv@0.1.0", "kv = { bytes = \"64KiB\" }"),
        ("carillon:plugin/roster@0.1.0", "roster = true"),
        ("carillon:plugin/post@0.1.0", "post = true"),
        ("carillon:plugin/chat-control@0.1.0", "chat-control = true"),
    ] {
        assert!(told.contains(import), "{import}: {told}");
        assert!(told.contains(grant), "{grant}: {told}");
    }
}

#[tokio::test]
async fn a_configuration_that_the_plugin_refuses_is_told_in_its_own_words() {
    let folder = folder();
    let more = "[plugins.moderation.grant]\nroster = true\npost = true\nchat-control = true\n\
                kv = { bytes = \"64KiB\" }\n[plugins.moderation.config]\nwords = 5\nstrikes = 0";
    let told = refused(&folder, &plugin("moderation", &component("moderation"), more)).await;
    for path in ["words", "strikes"] {
        assert!(told.contains(path), "{path}: {told}");
    }
}

#[tokio::test]
async fn every_fault_of_every_plugin_is_told_at_once() {
    let folder = folder();
    let file = folder.path().join("trap.wasm");
    let guest = Guest { check_config: "unreachable".to_owned(), ..Guest::default() };
    std::fs::write(&file, guest.build()).unwrap_or_else(|error| panic!("{error}"));
    let plugins = "[plugins.ghost]\nsource = \"file:ghost.wasm\"\n[plugins.trap]\nsource = \"file:trap.wasm\"\n\
         [chain.message]\norder = [\"ghost\", \"trap\"]\n";
    let told = refused(&folder, plugins).await;
    assert!(told.contains("ghost") && told.contains("trap") && told.contains("2 faults"), "{told}");
}

#[tokio::test]
async fn a_check_tells_the_faults_of_every_stage_in_one_list() {
    let folder = folder();
    let file = folder.path().join("every.toml");
    let text = "[node]\ndata = 5\nweigth = 2\n[http]\nlisten = \"0.0.0.0:80\"\n[quic]\n\
         cert = \"none.pem\"\nkey = \"none.pem\"\nca = \"none.pem\"\n\
         [replication]\ncopies = 2\ncommit = 3\n[limits]\nconnections = \"few\"\n\
         [plugins.broken]\nsource = \"file:broken.wasm\"\nlimits = { fuel = \"some\" }\n\
         [plugins.ghost]\nsource = \"file:ghost.wasm\"\n\
         [plugins.text]\nsource = \"file:every.toml\"\non_failure = \"maybe\"\n\
         [chain.message]\norder = [\"broken\", \"ghost\", \"text\", \"nobody\"]\n";
    std::fs::write(&file, text).unwrap_or_else(|error| panic!("{error}"));
    let checked = run(&["check", &file.display().to_string()]).await;
    assert_eq!(checked.code, Some(2), "{checked:?}");
    let told: Vec<&str> = checked.err.lines().filter(|line| line.contains("line ")).collect();
    let expected = [
        "line 2: node.data is not a value",
        "line 3: unknown key node.weigth",
        "line 5: http.listen is 0.0.0.0:80",
        "line 6: ",
        "line 12: replication.commit is 3 of 2 copies",
        "line 12: replication.commit is 3, and an embedded registry",
        "line 14: limits.connections is not a value",
        "line 15: plugin broken: ",
        "line 17: plugins.broken.limits.fuel is not a value",
        "line 18: plugin ghost: ",
        "line 22: plugins.text.on_failure is not a value",
        "line 24: [chain.message] names nobody",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.trim_start().starts_with(expected), "{told}\n{expected}");
    }
}

#[tokio::test]
async fn the_shipped_configuration_is_good() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let file = root.join("config/single.toml").display().to_string();
    let checked = run(&["check", &file]).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.out.contains("moderation 0.1.0"), "{checked:?}");
}
