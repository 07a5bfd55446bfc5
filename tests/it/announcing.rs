//! A node that is a process tells other programs where it answers, for as long as it does.

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::carillon::{Carillon, run};
use tests::ensemble::Ensemble;
use tests::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_announced_while_it_runs_and_found_by_the_command_line() {
    let Some(ensemble) = Ensemble::shared().await else { return };
    let folder = TempDir::new().unwrap_or_else(|error| panic!("{error}"));
    let at = |name: &str| folder.path().join(name).display().to_string();
    for args in [
        &["cert", "ca", "--out", &at("ca")][..],
        &["cert", "node", "a", "--ca", &at("ca"), "--out", &at("certs")][..],
    ] {
        let made = run(args).await;
        assert_eq!(made.code, Some(0), "{made:?}");
    }
    let (hosts, root) = (ensemble.hosts(), ensemble.root());
    let announce = format!("{root}-http");
    let config = format!(
        "[cluster]\npartitions = 16\n[node]\nid = \"a\"\ndata = \"a\"\nzone = \"z1\"\n\
         [http]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [quic]\nlisten = \"127.0.0.1:0\"\ncert = \"certs/a.pem\"\nkey = \"certs/a.key\"\n\
         ca = \"certs/ca.pem\"\n[registry]\nkind = \"zookeeper\"\nhosts = {hosts:?}\n\
         root = \"{root}\"\nannounce = \"{announce}\"\nsession = \"2s\"\n\
         [replication]\ncopies = 1\ncommit = 1\n[storage]\nvalue_file = \"64MiB\"\n"
    );
    std::fs::write(at("a.toml"), config).unwrap_or_else(|error| panic!("{error}"));
    let servers = hosts.join(",");
    let ask = async || {
        let asked = run(&["registry", "get", &announce, "--servers", &servers]).await;
        assert_eq!(asked.code, Some(0), "{asked:?}");
        let entry: Value = serde_json::from_str(&asked.out).unwrap_or_default();
        entry["children"].as_object().cloned().unwrap_or_default()
    };

    let node = Carillon::start(&["node", "--config", &at("a.toml")]).await;
    let found = ask().await;
    let (address, details) = found.iter().next().expect("it is announced when it is ready");
    assert_eq!(details["url"], json!(format!("http://{address}")));
    assert_eq!((&details["node"], &details["zone"]), (&json!("a"), &json!("z1")));
    assert!(details["pid"].is_u64() && details["created"].is_string(), "{details}");
    let health = tests::Http::new(details["url"].as_str().expect("a URL")).get("/healthz").await;
    health.expect(200);
    node.signal(Signal::TERM);
    let ended = node.end().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ask().await.is_empty(), "a stop withdraws it");

    let node = Carillon::start(&["node", "--config", &at("a.toml")]).await;
    assert_eq!(ask().await.len(), 1);
    node.kill().await;
    eventually("a dead node is not announced any more", async || {
        let found = ask().await;
        if found.is_empty() { Ok(()) } else { Err(found) }
    })
    .await;
}
