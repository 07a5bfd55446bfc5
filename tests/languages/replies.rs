//! A plugin that asks a service and is told its answer, as `plugin new` leaves it, on nodes that run.

use node::config::{Config, GrantConfig, PluginConfig, ServiceConfig, Span};
use serde_json::Value;
use tests::{Cluster, Receiver, eventually};

use crate::authors::begin_kind;
use crate::built;

/// Waits until somebody has said `text` in the chat.
async fn said(cluster: &Cluster, token: &str, text: &str) {
    let path = format!("/v1/chats/{token}/messages");
    eventually("an answer that is said", async || {
        let page = cluster.http(2).get(&path).await.expect(200);
        let messages = page["messages"].as_array().cloned().unwrap_or_default();
        let texts: Vec<Value> = messages.iter().map(|message| message["text"].clone()).collect();
        if texts.iter().any(|one| one == text) { Ok(()) } else { Err(texts) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_answers_comes_to_who_asked_it_and_is_said() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = begin_kind(parent.path(), "inquirer", "js", "callback");
    if !built("js", &folder) {
        return;
    }
    let secret = parent.path().join("secret");
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("written");
    let receiver = Receiver::start().await;
    let url = receiver.url();
    let cluster = Cluster::start_with(3, |config: &mut Config| {
        let service = ServiceConfig {
            url: url.clone(),
            secret_file: secret.clone(),
            kinds: vec!["none".to_owned()],
            allow_private: vec!["127.0.0.0/8".parse().expect("a range")],
            first: Span(std::time::Duration::from_millis(100)),
            ..ServiceConfig::default()
        };
        config.services.insert("facts".to_owned(), service);
        let outcall = vec!["facts".to_owned()];
        let settings = [("sorry".to_owned(), Value::from("nobody knows"))];
        let plugin = PluginConfig {
            source: folder.join("target/inquirer.wasm"),
            grant: GrantConfig { post: true, outcall, ..GrantConfig::default() },
            config: settings.into_iter().collect(),
            ..PluginConfig::default()
        };
        config.plugins.insert("inquirer".to_owned(), plugin);
        config.chain.push("inquirer".to_owned());
    })
    .await;
    let token = cluster.http(0).create().await;
    cluster.http(0).send_surely(&token, "alice", "k1", "?how high is it").await;
    // An empty object is all that the receiver ever answers.
    said(&cluster, &token, "alice, {}").await;
    let asked: Vec<Vec<u8>> = receiver.received().into_iter().map(|it| it.body).collect();
    assert_eq!(asked, [b"how high is it"], "once");
}
