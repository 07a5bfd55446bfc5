//! Decisions of the past, made again on real nodes by the components that made them.

use serde_json::{Value, json};
use tests::carillon::run;
use tests::guests::Guest;
use tests::versions::version;
use tests::{Cluster, Http, component, eventually, shipped};

async fn why(admin: &Http, id: &str) -> Value {
    eventually("the decision", async || {
        let why = admin.get(&format!("/admin/v1/messages/{id}/why")).await;
        if why.status == 200 { Ok(why.body) } else { Err(why.body.to_string()) }
    })
    .await
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What the chat says, by the id of each message, and the ids of what was refused.
async fn conversation(http: &Http, token: &str, round: &str) -> Vec<(String, &'static str)> {
    let mut ids = Vec::new();
    for (index, said) in ["hello", "a badword", "fine", "badword"].into_iter().enumerate() {
        let answer = http.send(token, "alice", &format!("{round}{index}"), said).await;
        match answer.status {
            201 => ids.push((answer.text("id"), "stored")),
            422 => ids.push((answer.text("message"), "refused")),
            other => panic!("{other}: {}", answer.body),
        }
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_comes_out_as_it_did_on_every_node_whatever_is_live_by_now() {
    let mut cluster = Cluster::start_with(3, shipped).await;
    let token = cluster.http(0).create().await;
    let mut ids = conversation(cluster.http(1), &token, "a").await;
    // Another version, another epoch, another process.
    let moderation =
        std::fs::read(component("moderation")).unwrap_or_else(|error| panic!("{error}"));
    let manifest = include_str!("../../plugins/moderation/plugin.toml");
    let newer = manifest.replace("version = \"0.1.0\"", "version = \"0.2.0\"");
    let newer = plugin::pack(&moderation, &newer).unwrap_or_else(|error| panic!("{error}"));
    cluster.admin(2).swap_in("moderation", &newer).await;
    cluster.admin(0).swap_in("hello", &version(&Guest::default(), "1.0")).await;
    let primary = cluster.primary(&token).await;
    cluster.kill(primary).await;
    cluster.restart(primary).await;
    cluster.led().await;
    let later = cluster.http(0).send_surely(&token, "alice", "b", "hello again").await;
    ids.push((text(&later["id"]), "stored"));
    for index in 0..3 {
        for (id, word) in &ids {
            let why = why(&cluster.admin(index), id).await;
            assert_eq!(why["same"], true, "{why}");
            assert_eq!(
                (&why["then"]["outcome"], &why["now"]["outcome"]),
                (&json!(word), &json!(word))
            );
            assert_eq!(why["message"], **id);
        }
    }
    let first = why(&cluster.admin(0), &ids[1].0).await;
    assert_eq!(first["said"], "a badword");
    assert_eq!(
        (&first["generation"], &first["handlers"][1]["version"]),
        (&json!(1), &json!("0.1.0"))
    );
    assert_eq!(first["calls"].as_array().map(Vec::len), Some(2), "{first}");
    let effects = first["calls"][1]["effects"].as_array().cloned().unwrap_or_default();
    assert!(effects.iter().any(|effect| text(effect).starts_with("keep ")), "{first}");
    assert!(first["calls"][1]["fuel"].as_u64().is_some_and(|fuel| fuel > 0), "{first}");
    let last = why(&cluster.admin(0), &ids[4].0).await;
    assert_eq!((&last["generation"], &last["calls"][2]["plugin"]), (&json!(3), &json!("hello")));
    assert_eq!(last["handlers"][1]["version"], "0.2.0", "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_ask_why_with_the_command_and_what_another_would_have_decided() {
    let mut cluster = Cluster::start_with(1, shipped).await;
    let token = cluster.http(0).create().await;
    let ids = conversation(cluster.http(0), &token, "k").await;
    let admin = cluster.node(0).admin_url();
    let ask = async |args: &[&str]| run(&[&["why"], args, &["--admin", &admin]].concat()).await;

    let refused = ask(&[&ids[1].0]).await;
    assert_eq!(refused.code, Some(0), "{refused:?}");
    for part in ["alice said (text): a badword", "then: refused by moderation", "the same as then"]
    {
        assert!(refused.out.contains(part), "{part}: {}", refused.out);
    }
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let mild = folder.path().join("mild.wasm");
    let component = version(&Guest::default(), "9.0");
    std::fs::write(&mild, component).unwrap_or_else(|error| panic!("{error}"));
    let mild = mild.display().to_string();
    let with = ["--with", &mild, "--plugin", "moderation"];
    let other = ask(&[&[ids[1].0.as_str()][..], &with].concat()).await;
    assert_eq!(other.code, Some(0), "{other:?}");
    assert!(other.out.contains("now: stored"), "{}", other.out);
    let json = ask(&[&[ids[1].0.as_str(), "--json"][..], &with].concat()).await;
    let json: Value = serde_json::from_str(&json.out).unwrap_or_default();
    assert_eq!((&json["same"], &json["with"]["version"]), (&json!(false), &json!("9.0")), "{json}");
    let same = ask(&[&[ids[0].0.as_str()][..], &with].concat()).await;
    assert!(same.out.contains("it would have decided the same"), "{same:?}");
    let unnamed = ask(&[&ids[1].0, "--with", &mild]).await;
    assert_eq!(unnamed.code, Some(1), "{unnamed:?}");
    assert!(unnamed.err.contains("status, moderation"), "{unnamed:?}");

    for (id, code) in [("00000000000000000000000000000000", 1), ("hello", 2)] {
        assert_eq!(ask(&[id]).await.code, Some(code), "{id}");
    }
    // What the node gives it is part of a decision, and is not recorded but for whether it is the same.
    cluster.kill(0).await;
    if let Some(plugin) = cluster.config(0).plugins.get_mut("moderation") {
        plugin.config.insert("words".to_owned(), json!(["hello"]));
    }
    cluster.restart(0).await;
    cluster.led().await;
    let admin = cluster.node(0).admin_url();
    let refused = run(&["why", &ids[1].0, "--admin", &admin]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for part in ["gives moderation other configuration", "now: stored", "what differs:"] {
        assert!(refused.out.contains(part), "{part}: {}", refused.out);
    }
}

/// A component that nobody has any more cannot be asked; its digest says which to push again.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_component_a_decision_cannot_be_made_again_until_it_is_pushed_again() {
    let mut cluster = Cluster::start(1).await;
    let (first, second) = (version(&Guest::default(), "1.0"), version(&Guest::default(), "2.0"));
    cluster.admin(0).swap_in("hello", &first).await;
    let token = cluster.http(0).create().await;
    let sent = cluster.http(0).send(&token, "alice", "k", "hello").await.expect(201);
    let id = text(&sent["id"]);
    assert_eq!(why(&cluster.admin(0), &id).await["same"], true);
    for later in [second, version(&Guest::default(), "3.0")] {
        cluster.admin(0).swap_in("hello", &later).await;
    }
    cluster.admin(0).swap_in("hello", &version(&Guest::default(), "4.0")).await;
    let why = why(&cluster.admin(0), &id).await;
    assert_eq!(why["same"], true, "it is kept beyond what can be rolled back to");
    let digest = text(&why["handlers"][0]["digest"]);
    // As when no room was left for it; what is ready in memory is gone with the process.
    cluster.kill(0).await;
    let kept = cluster.data(0).join("plugins").join(format!("{digest}.wasm"));
    std::fs::remove_file(kept).unwrap_or_else(|error| panic!("{error}"));
    cluster.restart(0).await;
    cluster.led().await;
    let path = format!("/admin/v1/messages/{id}/why");
    let gone = cluster.admin(0).get(&path).await;
    assert_eq!((gone.status, gone.code()), (404, "not-found"), "{}", gone.body);
    let detail = gone.text("detail");
    assert!(detail.contains("hello 1.0") && detail.contains(&digest), "{detail}");
    assert_eq!(cluster.admin(0).push("hello", &first).await.status, 201);
    assert_eq!(cluster.admin(0).get(&path).await.expect(200)["same"], true);
}
