//! The operators' listener, over real sockets, asking somebody who pretends to be a node.

use std::time::Duration;

use api::{Config, Drained};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::desk::desk;
use crate::support::answer;

#[tokio::test]
async fn a_node_tells_who_it_is_and_how_it_does() {
    let desk = desk().await;
    let info = desk.get("/admin/v1/info").await;
    assert_eq!(info.status, 200);
    assert!(info.header("carillon-request-id").is_some());
    let expected = json!({
        "name": "carillon", "version": "0.1.0", "build": "", "node": "n1", "incarnation": 7,
        "store": "0000000000000abc", "cluster": "0000000000000001", "uptime_ms": 1500,
        "http": "http://127.0.0.1:7081", "draining": false, "led": 3,
        "registry": {"kind": "zookeeper", "reached": false, "unreached_ms": 12},
    });
    assert_eq!(info.json(), expected);
    let partitions = desk.get("/admin/v1/partitions").await.json();
    let expected = json!({
        "copies": 2, "commit": 2, "spread": "host", "settle_ms": 60_000,
        "partitions": [{
            "partition": 5, "epoch": 2, "state": "open", "primary": "n1", "role": "primary",
            "ensemble": ["n1", "n2"], "wanted": ["n1", "n3"], "end": 12, "commit": 10, "lag": 2,
            "stale_ms": 0,
            "moves": [{"node": "n3", "bytes_done": 10, "bytes_total": 40, "left_ms": 300}],
            "log": {"damaged": false, "unreadable": 7, "mended": 0, "evidence": false},
            "differing": ["n2"],
        }],
    });
    assert_eq!(partitions, expected);
    let collections = desk.get("/admin/v1/collections").await.json();
    let expected = json!({"collections": [{"collection": "1001", "segments": 2, "bytes": 2048}]});
    assert_eq!(collections, expected);
    let plugins = desk.get("/admin/v1/plugins").await.json();
    let expected = json!({"plugins": [{
        "name": "status", "kinds": ["message"], "version": "0.1.0", "digest": "ab",
        "generation": 1, "state": "live", "held": false, "on_failure": "reject", "grants": ["roster"],
        "asks": [{"power": "post", "granted": false, "line": "post = true"}],
        "past": [{"generation": 1, "version": "0.0.9", "digest": "cd"}],
        "calls": 9, "failures": 1, "breaker": "open",
    }]});
    assert_eq!(plugins, expected);
    let ring = desk.get("/admin/v1/ring").await.json();
    assert!(ring["nodes"].is_array() && ring["positions"].is_array(), "{ring}");
}

#[tokio::test]
async fn what_was_counted_is_shown_to_operators_without_a_token() {
    let counted = desk().await.get("/metrics").await;
    assert_eq!(counted.status, 200);
    let text = String::from_utf8(counted.body).unwrap();
    assert!(text.contains("carillon_http_requests_total"), "{text}");
}

#[tokio::test]
async fn a_node_is_drained_and_another_declared_gone() {
    let desk = desk().await;
    for body in ["", "{}"] {
        let drained = desk.json("/admin/v1/drain", body).await;
        assert_eq!((drained.status, drained.json()), (200, json!({"draining": true, "led": 3})));
    }
    let left = desk.json("/admin/v1/ring/leave", r#"{"node": "n1"}"#).await;
    assert_eq!((left.status, left.json()), (200, json!({"node": "n1", "leaving": true})));
    let stays = desk.json("/admin/v1/ring/leave", r#"{"node": "n1", "leaving": false}"#).await;
    assert_eq!(stays.json(), json!({"node": "n1", "leaving": false}));
    let back = desk.json("/admin/v1/drain", r#"{"draining": false}"#).await;
    assert_eq!(back.json(), json!({"draining": false, "led": 3}));
    desk.json("/admin/v1/drain", r#"{"force": true}"#).await;
    let told =
        ["drain Going", "drain Going", "n1 Going", "n1 Staying", "drain Staying", "drain Anyway"];
    assert_eq!(desk.told(), told);
    let needed = desk.json("/admin/v1/ring/leave", r#"{"node": "n2", "force": false}"#).await;
    assert_eq!((needed.status, needed.code().as_str()), (409, "needed"));
    assert_eq!(needed.json()["retryable"], false);
    let unknown = desk.json("/admin/v1/ring/leave", r#"{"node": "n9"}"#).await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "not-found"));
    let slow = desk.json("/admin/v1/ring/leave", r#"{"node": "slow"}"#).await;
    assert_eq!(slow.code(), "timeout");
}

#[tokio::test]
async fn what_makes_no_sense_is_a_problem_and_changes_nothing() {
    let desk = desk().await;
    for (path, body, status, code) in [
        ("/admin/v1/drain", "{\"hard\": true}", 400, "invalid-request"),
        ("/admin/v1/drain", "[]", 400, "invalid-request"),
        ("/admin/v1/drain?now=1", "{}", 400, "invalid-request"),
        ("/admin/v1/ring/leave", "{}", 400, "invalid-request"),
        ("/admin/v1/ring/leave", "{\"node\": \"N 1\"}", 400, "invalid-request"),
        ("/admin/v1/ring/leave", "{\"node\": \"n1\", \"a\": 1}", 400, "invalid-request"),
        ("/admin/v1/nothing", "{}", 404, "not-found"),
        ("/admin/v1/info", "{}", 405, "method-not-allowed"),
        ("/v1/chats", "{}", 404, "not-found"),
        ("/admin/v1/plugins/status/swap", "{}", 400, "invalid-request"),
        ("/admin/v1/plugins/status/swap", "{\"digest\": 1}", 400, "invalid-request"),
        ("/admin/v1/plugins/a/swap", "{\"digest\": \"a\", \"shadow\": {}}", 400, "invalid-request"),
        ("/admin/v1/plugins/status/rollback", "{\"to\": 1}", 400, "invalid-request"),
        ("/admin/v1/plugins/status/artefacts", "{}", 405, "method-not-allowed"),
    ] {
        let answer = desk.json(path, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path} {body}");
    }
    let plain = desk.post("/admin/v1/ring/leave", "Content-Type: text/plain\r\n", "{}").await;
    assert_eq!(plain.code(), "unsupported-media-type");
    assert!(desk.told().is_empty());
}

#[tokio::test]
async fn a_page_of_another_place_cannot_ask_for_anything() {
    let desk = desk().await;
    let here = format!("http://{}", desk.address);
    let post = async |origin: &str| {
        desk.post("/admin/v1/drain", &format!("Origin: {origin}\r\n"), "").await.status
    };
    for foreign in ["http://example.org", "null", "https://127.0.0.1"] {
        assert_eq!(post(foreign).await, 400, "{foreign}");
    }
    assert!(desk.told().is_empty());
    assert_eq!(post(&here).await, 200, "its own page may");
    // A name that somebody made to lead here.
    let rebound = desk.raw("GET /admin/v1/info HTTP/1.1\r\nHost: example.org\r\n\r\n").await;
    assert_eq!(rebound.code(), "invalid-request");
    let named = desk.raw("GET /admin/v1/info HTTP/1.1\r\nHost: localhost:1\r\n\r\n").await;
    assert_eq!(named.status, 200);
}

#[tokio::test]
async fn a_drain_of_the_listener_ends_idle_connections_and_accepts_no_more() {
    let desk = desk().await;
    let mut idle = TcpStream::connect(desk.address).await.unwrap();
    idle.write_all(b"GET /admin/v1/info HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(answer(&mut idle).await.unwrap().status, 200);
    assert_eq!(desk.serving.drain(Duration::from_secs(20)).await, Drained::Done);
    assert!(answer(&mut idle).await.is_none(), "the connection at rest was closed");
    desk.tasks.finish().await;
    assert!(TcpStream::connect(desk.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn nobody_can_connect_to_an_address_that_is_only_reserved() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let reserved = api::Reserved::take(Config { listen, ..Config::default() }).unwrap();
    let address = reserved.local_addr();
    assert!(TcpStream::connect(address).await.is_err());
    let server = reserved.listen().unwrap();
    TcpStream::connect(address).await.unwrap();
    let taken = api::Reserved::take(Config { listen: address, ..Config::default() });
    assert!(taken.unwrap_err().to_string().contains(&address.to_string()));
    drop(server);
}

#[tokio::test]
async fn plugins_are_pushed_swapped_and_rolled_back() {
    let desk = desk().await;
    let put = async |name: &str, headers: &str, bytes: usize| {
        desk.raw(&format!(
            "PUT /admin/v1/plugins/{name}/artefacts HTTP/1.1\r\nHost: {}\r\n{headers}\
             Content-Length: {bytes}\r\n\r\n{}",
            desk.address,
            "x".repeat(bytes)
        ))
        .await
    };
    let pushed = put("status", "Content-Type: application/wasm\r\n", 10).await;
    assert_eq!((pushed.status, pushed.json()), (201, json!({"digest": "ab"})));
    let known = put("status", "Carillon-Signature: c2ln\r\n", 200_000).await;
    assert_eq!(known.status, 200, "larger than any other body");
    let empty = put("status", "", 0).await;
    assert_eq!((empty.status, empty.code().as_str()), (400, "invalid-request"));

    let swapped = desk.json("/admin/v1/plugins/status/swap", r#"{"digest": "ab"}"#).await;
    let expected =
        json!({"generation": 5, "version": "0.2.0", "digest": "ab", "live": 2, "nodes": 3});
    assert_eq!((swapped.status, swapped.json()), (200, expected));
    let tried = r#"{"digest": "ab", "shadow": {"for_ms": 1000}}"#;
    assert_eq!(desk.json("/admin/v1/plugins/status/swap", tried).await.status, 200);
    let broken = r#"{"digest": "ab", "wait": true}"#;
    let broken = desk.json("/admin/v1/plugins/other/swap", broken).await;
    assert_eq!((broken.status, broken.code().as_str()), (422, "plugin-unusable"));
    let removed = desk.post("/admin/v1/plugins/status/rollback", "", "").await;
    assert_eq!((removed.status, &removed.json()["version"]), (200, &json!(null)));
    let second = desk.json("/admin/v1/plugins/other/rollback", r#"{"wait": true}"#).await;
    assert_eq!((second.status, second.code().as_str()), (409, "plugin-conflict"));
    let told = [
        "push status 10 unsigned",
        "push status 200000 c2ln",
        "swap status ab false",
        "swap status ab false 1000 20",
        "swap other ab true",
        "rollback status false",
        "rollback other true",
    ];
    assert_eq!(desk.told(), told);

    let far = desk.get("/admin/v1/plugins/status/swap").await.json();
    assert_eq!(far["nodes"][0]["done"], json!(["fetched", "verified"]), "{far}");
    assert_eq!((&far["shadow"]["calls"], &far["shadow"]["dropped"]), (&json!(40), &json!(2)));
    assert_eq!(desk.get("/admin/v1/plugins/other/swap").await.status, 404);
    let chain = desk.get("/admin/v1/chain").await.json();
    let link =
        json!({"plugin": "status", "version": "0.1.0", "generation": 1, "on_failure": "reject"});
    assert_eq!(chain, json!({"generation": 4, "behind": null, "message": [link]}));
    let audit = desk.get("/admin/v1/audit").await.json();
    assert_eq!(audit["lines"][0]["event"], "live", "{audit}");
}

#[tokio::test]
async fn a_component_beyond_every_bound_is_refused_by_its_length() {
    let desk = desk().await;
    let head = format!(
        "PUT /admin/v1/plugins/p/artefacts HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
        desk.address,
        (64 << 20) + 1
    );
    let answer = desk.raw(&head).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "too-large"));
    assert!(desk.told().is_empty());
}

#[tokio::test]
async fn a_decision_is_asked_about_by_its_id_and_with_another_component() {
    let desk = desk().await;
    let path = "/admin/v1/messages/0123456789abcdef0123456789abcdef/why";
    let nobody = desk.get(path).await;
    assert_eq!((nobody.status, nobody.json()["code"].clone()), (404, json!("unknown-message")));
    let with = desk.post(path, "Carillon-Plugin: moderation\r\n", "component").await;
    assert_eq!(with.status, 404);
    let told = desk.told();
    assert!(told[0].ends_with("cdef None"), "{told:?}");
    assert!(told[1].ends_with("Some((Some(\"moderation\"), 9))"), "{told:?}");
    for wrong in ["/admin/v1/messages/xyz/why", "/admin/v1/messages/0123/why"] {
        assert_eq!(desk.get(wrong).await.status, 400);
    }
    assert_eq!(desk.post(path, "", "").await.status, 400, "an empty component");
}
