//! The first ten minutes of an author, in every language and through the real binary: begin, change a line, build,
//! test, push, swap on three nodes that run, see it in the next message, roll back, see it gone.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::carillon::{Carillon, run};

use crate::authors::begin_kind;
use crate::{built, played};

/// A language, and where its example replaces the word.
const LANGUAGES: [(&str, &str); 5] = [
    ("rust", "src/lib.rs"),
    ("js", "plugin.js"),
    ("python", "app.py"),
    ("c", "handler.c"),
    ("go", "export_carillon_plugin_message_handler/handler.go"),
];

fn name(language: &str) -> String {
    format!("hello-{language}")
}

/// Changes what stands in the word's place, in the source and in what its author expects of it.
fn edit(folder: &Path, source: &str, name: &str) {
    for path in [source, &format!("tests/{name}.toml")] {
        let path = folder.join(path);
        let text = std::fs::read_to_string(&path).expect("plugin new has written it");
        assert!(text.contains("***"), "{}", path.display());
        std::fs::write(&path, text.replace("***", "###")).expect("it is written");
    }
}

/// Says something in a new chat; the message as it is stored.
async fn say(demo: &Carillon, text: &str) -> Value {
    let token = demo.nodes[0].create().await;
    demo.nodes[1].send(&token, "alice", "k", text).await.expect(201)["message"].clone()
}

fn met(message: &Value, name: &str) -> bool {
    message["stamps"].as_array().into_iter().flatten().any(|stamp| stamp["plugin"] == name)
}

/// From the component in its folder to its effect in a message, and back.
async fn lives_and_goes(demo: &Carillon, admin: &str, name: &str, component: &Path) {
    const SAID: &str = "where is that darn cat";
    let ask = async |args: &[&str]| {
        let done = run(&[&["plugin"], args, &["--admin", admin]].concat()).await;
        assert_eq!(done.code, Some(0), "{args:?}: {done:?}");
        done.out.trim().to_owned()
    };
    let before = say(demo, SAID).await;
    assert!(before["text"] == SAID && !met(&before, name), "{before}");

    let digest = ask(&["push", name, &component.display().to_string()]).await;
    let swapped = ask(&["swap", name, &digest, "--wait"]).await;
    assert!(swapped.contains("self-test: 3/3 nodes"), "{swapped}");
    let live = swapped.lines().last().unwrap_or_default();
    assert!(
        live.starts_with("live: 3/3 nodes") && live.ends_with(&format!("{name} 0.1.0")),
        "{live}"
    );
    let with = say(demo, SAID).await;
    assert!(with["text"] == "where is that ### cat" && met(&with, name), "{with}");

    let gone = ask(&["rollback", name, "--wait"]).await;
    assert!(gone.ends_with(&format!("{name} removed")), "{gone}");
    let after = say(demo, SAID).await;
    assert!(after["text"] == SAID && !met(&after, name), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_author_begins_is_seen_in_the_next_message_of_a_demo_and_gone_after_a_rollback() {
    let parent = tempfile::tempdir().expect("a folder");
    let mut sections = String::new();
    for (language, source) in LANGUAGES {
        let name = name(language);
        let folder = begin_kind(parent.path(), &name, language, "message");
        edit(&folder, source, &name);
        let section = std::fs::read_to_string(folder.join("node.toml"));
        sections.push_str(&section.expect("plugin new has written it"));
    }
    // One demo for all of them: what each author is told to start, together.
    let config = parent.path().join("node.toml");
    std::fs::write(&config, sections).expect("it is written");
    let config = config.display().to_string();
    let demo = Carillon::start(&["demo", "--config", &config, "--http-port", "0"]).await;
    let operators = demo.operators().await;
    let admin = operators.split(' ').next().unwrap_or_default();

    let mut building = tokio::task::JoinSet::new();
    for (language, _) in LANGUAGES {
        let (name, folder) = (name(language), parent.path().join(name(language)));
        building.spawn_blocking(move || {
            built(language, &folder).then(|| {
                played(&folder);
                let component: PathBuf = folder.join("target").join(format!("{name}.wasm"));
                (name, component)
            })
        });
    }
    while let Some(ready) = building.join_next().await {
        // A language whose tools are not here was told.
        let Some((name, component)) = ready.expect("it builds and plays") else { continue };
        lives_and_goes(&demo, admin, &name, &component).await;
    }
    demo.kill().await;
}
