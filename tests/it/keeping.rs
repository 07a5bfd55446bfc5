//! What becomes of chats that are over, in whole nodes with the shipped policy: archived once, forgotten, found again.

use std::time::Duration;

use archive::{Archive, List, Name};
use bytes::BytesMut;
use node::config::{Config, Forget, Span};
use serde_json::{Value, json};
use tests::carillon::{Carillon, run, single};
use tests::guests::Guest;
use tests::versions::version;
use tests::{Cluster, Http, component, eventually, shipped};

/// What the nodes of these stories are told: they look often, and keep archived chats for `keep`.
pub(crate) fn kept_for(keep: &str) -> impl Fn(&mut Config) + use<> {
    let keep = json!({ "keep": keep });
    move |config| {
        shipped(config);
        config.collect.every = Span(Duration::from_millis(100));
        let archive = config.plugins.get_mut("archive").expect("the shipped policy");
        archive.config = keep.as_object().cloned().unwrap_or_default();
    }
}

/// The lines of a chat's archive.
async fn lines(archive: &Archive, token: &str) -> Vec<Value> {
    let name =
        Name { collection: "chats".parse().expect("a name"), key: token.parse().expect("a key") };
    let until = runtime::now() + Duration::from_secs(30);
    let mut reading = archive.get(&name, None, None, until).await.expect("it is there");
    let mut bytes = BytesMut::new();
    while let Some(more) = reading.next().await.expect("it is read") {
        bytes.extend_from_slice(&more);
    }
    json_lines(std::str::from_utf8(&bytes).expect("text"))
}

pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

/// What a chat is archived as, once it is; also if it is forgotten by then.
pub(crate) async fn archived(http: &Http, token: &str) -> Value {
    eventually("the chat to be archived", async || {
        let shown = http.ask("GET", &format!("/v1/chats/{token}"), &[], None).await?;
        let archive = &shown.body["archive"];
        if archive.is_object() { Ok(archive.clone()) } else { Err(shown.body.to_string()) }
    })
    .await
}

pub(crate) async fn end(http: &Http, token: &str) {
    let path = format!("/v1/chats/{token}/end");
    eventually("the chat to be ended", async || {
        http.ask("POST", &path, &[], Some(&json!({"sender": "alice"}))).await?.only(200)
    })
    .await;
}

/// How many versions of a chat's archive there are.
pub(crate) async fn versions(archive: &Archive, token: &str) -> usize {
    let list = List {
        collection: "chats".parse().expect("a name"),
        prefix: token.to_owned(),
        marker: None,
        limit: 10,
        versions: true,
        version_marker: None,
    };
    let listed = archive.list(list, runtime::now() + Duration::from_secs(30)).await;
    listed.expect("it is listed").entries.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_is_archived_once_although_its_primary_dies_and_is_found_after_it_is_forgotten() {
    let mut cluster = Cluster::start_with(3, kept_for("1s")).await;
    let token = cluster.http(0).create().await;
    for index in 0..40 {
        let key = format!("k{index}");
        cluster.http(index % 3).send_surely(&token, "alice", &key, &key).await;
    }
    let shown = cluster.http(1).all(&token).await;
    let primary = cluster.primary(&token).await;
    let left: Vec<usize> = (0..3).filter(|index| *index != primary).collect();
    end(cluster.http(left[0]), &token).await;
    // In the middle of whatever it does with it.
    cluster.kill(primary).await;
    let archive = archived(cluster.http(left[0]), &token).await;
    assert_eq!((&archive["collection"], &archive["key"]), (&json!("chats"), &json!(token)));
    let kept = lines(cluster.node(left[1]).archive(), &token).await;
    assert_eq!((&kept[0]["carillon_chat"], &kept[0]["token"]), (&json!(1), &json!(token)));
    assert_eq!(kept[0]["status"], "ended");
    assert_eq!(kept[1..], shown, "each message as it was shown");

    cluster.restart(primary).await;
    cluster.led().await;
    for index in 0..3 {
        let path = format!("/v1/chats/{token}");
        let gone = eventually("the chat to be forgotten", async || {
            cluster.http(index).ask("GET", &path, &[], None).await?.only(404)
        })
        .await;
        assert_eq!(gone.code(), "unknown-chat");
        let expected = json!({"collection": "chats", "key": token});
        assert_eq!(gone.body["archive"], expected, "node {index}");
    }
    assert_eq!(lines(cluster.node(primary).archive(), &token).await, kept);
    let unknown = cluster.http(0).get(&format!("/v1/chats/{}", "7".repeat(32))).await;
    assert_eq!((unknown.code(), &unknown.body["archive"]), ("unknown-chat", &Value::Null));
    assert_eq!(versions(cluster.node(0).archive(), &token).await, 1);
    let export = run(&["chat", "export", &token, "--url", &cluster.http(0).url()]).await;
    assert_eq!(export.code, Some(0), "{export:?}");
    assert_eq!(json_lines(&export.out), kept, "the archive of a chat that is forgotten");
}

/// A policy that plans for what is idle, as it is asked when it is loaded, and traps whenever else it is asked.
fn trapping() -> Vec<u8> {
    let guest = Guest {
        exports: "export carillon:plugin/lifecycle@0.1.0; \
                  export carillon:plugin/persistence-policy@0.1.0;"
            .to_owned(),
        handler: "(export \"carillon:plugin/persistence-policy@0.1.0#plan-for\") \
                  (param i32) (result i32)"
            .to_owned(),
        // The length of the moment's name stands behind the context.
        on_message:
            "(if (i32.ne (i32.load offset=100 (local.get 0)) (i32.const 4)) (then unreachable))
             (i32.store (i32.const 72) (i32.const 1024)) (i32.store (i32.const 76) (i32.const 6))"
                .to_owned(),
        module: "(data (i32.const 1024) \"quorum\")".to_owned(),
        ..Guest::default()
    };
    version(&guest, "9.0")
}

/// Nothing is forgotten, whatever the node's own rule is, until a policy is live that answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_whose_policy_traps_stays_until_the_policy_is_mended() {
    let cluster = Cluster::start_with(1, |config| {
        kept_for("0s")(config);
        let source = config.node.data.with_extension("wasm");
        std::fs::write(&source, trapping()).expect("it is written");
        config.plugins.get_mut("archive").expect("the shipped policy").source = source;
        config.collect.forget = Forget::After(Span(Duration::ZERO));
    })
    .await;
    let (http, admin) = (cluster.http(0), cluster.admin(0));
    let token = http.create().await;
    http.send(&token, "alice", "k", "hello").await.expect(201);
    end(http, &token).await;
    eventually("it to be tried again", async || {
        let told = admin.ask("GET", "/admin/v1/plugins", &[], None).await?.only(200)?.body;
        let plugins = told["plugins"].as_array().into_iter().flatten();
        let failed = plugins.filter(|plugin| plugin["name"] == "archive");
        let failed = failed.filter_map(|plugin| plugin["failures"].as_u64()).sum::<u64>();
        if failed >= 2 { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    let chat = http.get(&format!("/v1/chats/{token}")).await.expect(200);
    assert_eq!((&chat["status"], &chat["archive"]), (&json!("ended"), &Value::Null));
    let shipped = std::fs::read(component("archive")).expect("it was built");
    admin.swap_in("archive", &shipped).await;
    let gone = eventually("the chat to be forgotten", async || {
        http.ask("GET", &format!("/v1/chats/{token}"), &[], None).await?.only(404)
    })
    .await;
    assert_eq!(gone.body["archive"]["key"], json!(token), "not before it was archived");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_is_exported_as_it_is_archived() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let source = component("archive");
    let more = format!(
        "[plugins.archive]\nsource = \"file:{}\"\n[persistence]\npolicy = \"archive\"\n",
        source.display()
    );
    let config = single(folder.path(), &more);
    let node = Carillon::start(&["node", "--config", &config]).await;
    let http = &node.nodes[0];
    let token = http.create().await;
    for index in 0..3 {
        http.send(&token, "alice", &index.to_string(), "hello").await.expect(201);
    }
    let url = http.url();
    let export = run(&["chat", "export", &token, "--url", &url]).await;
    assert_eq!(export.code, Some(0), "{export:?}");
    let lines = json_lines(&export.out);
    assert_eq!((&lines[0]["carillon_chat"], &lines[0]["status"]), (&json!(1), &json!("pending")));
    assert_eq!(lines[0]["plugins"], Value::Null);
    assert_eq!(lines[1..], http.all(&token).await);

    end(http, &token).await;
    let archive = archived(http, &token).await;
    assert_eq!((&archive["collection"], &archive["key"]), (&json!("chats"), &json!(token)));
    let version = archive["version"].as_str().and_then(|text| text.parse::<u64>().ok());
    assert!(version.is_some_and(|version| version > 0), "{archive}");
    let none = run(&["chat", "export", &"7".repeat(32), "--url", &url]).await;
    assert_eq!(none.code, Some(1), "{none:?}");
}

/// What a file says of policies is checked before a node starts.
#[tokio::test]
async fn a_policy_that_is_no_plugin_is_a_fault_of_the_file() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let config = single(folder.path(), "[persistence]\npolicy = \"keeper\"\nparallel = 0\n");
    let checked = run(&["check", &config]).await;
    assert_eq!(checked.code, Some(2), "{checked:?}");
    assert!(
        checked.err.contains("persistence.policy is keeper, which is no plugin"),
        "{checked:?}"
    );
    assert!(checked.err.contains("persistence.parallel is 0"), "{checked:?}");
    let source = component("moderation");
    let more = format!(
        "[plugins.moderation]\nsource = \"file:{}\"\n[plugins.moderation.config]\nwords = []\n\
         [plugins.moderation.grant]\nkv = {{ bytes = \"1KiB\" }}\nroster = true\npost = true\n\
         chat-control = true\n[chain.message]\norder = [\"moderation\"]\n\
         [persistence]\npolicy = \"moderation\"\n",
        source.display()
    );
    let checked = run(&["check", &single(folder.path(), &more)]).await;
    assert_eq!(checked.code, Some(2), "{checked:?}");
    assert!(checked.err.contains("which is no persistence policy"), "{checked:?}");
}
