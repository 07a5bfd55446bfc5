//! Calls that plugins ask for are made, whatever happens to nodes and services, and end.

use node::config::{Config, GrantConfig, OnFailure, PluginConfig, ServiceConfig, Span};
use tests::guests::Guest;
use tests::{Cluster, Received, Receiver, eventually};

/// Has `/x` of the service `crm` called for every message.
fn caller() -> Guest {
    Guest::doing(
        "(call $queue (i32.const 1026) (i32.const 3) (i32.const 1029) (i32.const 2)
           (i32.const 0) (i32.const 0) (i32.const 1031) (i32.const 4) (i32.const 0) (i32.const 0)
           (i32.const 2048))",
    )
    .with_module("(data (i32.const 1026) \"crm/xbody\")")
    .importing(
        "import carillon:plugin/outcall@0.1.0;",
        "(import \"carillon:plugin/outcall@0.1.0\" \"queue\"
           (func $queue (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))",
    )
}

fn calls(receiver: &Receiver, status: u16) -> Vec<Received> {
    receiver.received().into_iter().filter(|request| request.status == status).collect()
}

async fn waits(cluster: &Cluster, token: &str) -> u64 {
    let node = cluster.alive()[0];
    let shown = cluster.http(node).get(&format!("/v1/chats/{token}")).await.expect(200);
    shown["pending"]["outcalls"].as_u64().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_made_after_the_death_of_the_primary_and_until_it_is_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let (guest, secret) = (folder.path().join("guest.wasm"), folder.path().join("secret"));
    std::fs::write(&guest, caller().build()).expect("written");
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("written");
    let receiver = Receiver::start().await;
    receiver.answer(|_| 503);
    let url = receiver.url();
    let mut cluster = Cluster::start_with(3, |config: &mut Config| {
        let short = |ms| Span(std::time::Duration::from_millis(ms));
        let service = ServiceConfig {
            url: url.clone(),
            secret_file: secret.clone(),
            kinds: vec!["none".to_owned()],
            allow_private: vec!["127.0.0.0/8".parse().expect("a range")],
            first: short(100),
            cap: short(500),
            ..ServiceConfig::default()
        };
        config.services.insert("crm".to_owned(), service);
        let grant = GrantConfig { outcall: vec!["crm".to_owned()], ..GrantConfig::default() };
        let plugin = PluginConfig {
            source: guest.clone(),
            on_failure: Some(OnFailure::Reject),
            grant,
            ..PluginConfig::default()
        };
        config.plugins.insert("caller".to_owned(), plugin);
        config.chain.push("caller".to_owned());
    })
    .await;
    let token = cluster.http(0).create().await;
    for number in 0..3 {
        let text = format!("text-{number}");
        cluster.http(0).send_surely(&token, "alice", &text, &text).await;
    }
    eventually("an attempt", async || {
        let refused = calls(&receiver, 503);
        if refused.is_empty() { Err("nothing came") } else { Ok(()) }
    })
    .await;
    // Handlers are shown who joins, too: alice did with the first message.
    assert_eq!(waits(&cluster, &token).await, 4, "one after another");
    cluster.kill(cluster.primary(&token).await).await;
    receiver.answer(|_| 200);
    eventually("all calls to end", async || {
        let left = waits(&cluster, &token).await;
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    let made = calls(&receiver, 200);
    assert!(made.iter().all(|it| it.line == "POST /x" && it.body == b"body"), "{made:?}");
    let mut ids: Vec<&str> = made.iter().filter_map(|it| it.header("webhook-id")).collect();
    ids.dedup();
    assert_eq!(ids.len(), 4, "in their order, and each under its own id: {ids:?}");
    let tried = calls(&receiver, 503);
    let first = tried.first().and_then(|it| it.header("webhook-id"));
    assert_eq!(first, ids.first().copied(), "the same id again, on the next node");
}
