//! The operators' listener, over real sockets, asking somebody who pretends to be a node.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::admin::{
    About, Doing, Movement, Operate, PartitionInfo, Partitions, PluginInfo, RegistryInfo,
};
use api::{Config, Drained, Patience, Server, Serving};
use chat::{Code, Refusal, RingView};
use hashring::{NodeId, PartitionId};
use runtime::{Stop, Tasks};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{Answer, answer};

/// A node that remembers what it was told.
#[derive(Default)]
struct Pretender {
    told: Mutex<Vec<String>>,
}

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

impl Operate for Pretender {
    fn about(&self) -> About {
        About {
            node: node("n1"),
            version: "0.1.0".to_owned(),
            build: String::new(),
            incarnation: 7,
            store: 0xabc,
            cluster: Some(1),
            uptime_ms: 1500,
            http: "http://127.0.0.1:7081".to_owned(),
            draining: !self.told.lock().unwrap().is_empty(),
            led: 3,
            registry: RegistryInfo { kind: "zookeeper", unreached_ms: 12 },
        }
    }

    fn ring(&self) -> Arc<RingView> {
        Arc::default()
    }

    fn partitions(&self) -> Partitions {
        let movement =
            Movement { node: node("n3"), bytes_done: 10, bytes_total: 40, left_ms: Some(300) };
        let partition = PartitionInfo {
            partition: PartitionId(5),
            epoch: 2,
            state: "open",
            primary: Some(node("n1")),
            role: "primary",
            ensemble: vec![node("n1"), node("n2")],
            wanted: vec![node("n1"), node("n3")],
            end: 12,
            commit: 10,
            stale_ms: 0,
            moves: vec![movement],
        };
        Partitions { copies: 2, commit: 2, spread: "host", partitions: vec![partition] }
    }

    fn plugins(&self) -> Vec<PluginInfo> {
        vec![PluginInfo {
            name: "status".to_owned(),
            kinds: vec!["message"],
            version: "0.1.0".to_owned(),
            digest: "ab".to_owned(),
            generation: 1,
            state: "live",
            on_failure: "reject",
            grants: vec!["roster"],
            calls: 9,
            failures: 1,
        }]
    }

    fn drain(&self) -> Doing<'_, ()> {
        self.told.lock().unwrap().push("drain".to_owned());
        Box::pin(async { Ok(()) })
    }

    fn leave(&self, node: NodeId, leaving: bool) -> Doing<'_, ()> {
        self.told.lock().unwrap().push(format!("{node} {leaving}"));
        Box::pin(async move {
            match node.as_str() {
                "n1" => Ok(()),
                "slow" => std::future::pending().await,
                _ => Err(Refusal::new(Code::NotFound, "no node of this name was ever a member")),
            }
        })
    }
}

struct Desk {
    address: SocketAddr,
    pretender: Arc<Pretender>,
    serving: Serving,
    tasks: Tasks,
}

async fn desk() -> Desk {
    let patience = Patience { answer: Duration::from_millis(200), ..Patience::default() };
    let listen = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(Config { listen, patience, ..Config::default() }).await.unwrap();
    let (address, tasks) = (server.local_addr(), Tasks::current(Stop::default()));
    let pretender = Arc::new(Pretender::default());
    let operate: Arc<dyn Operate> = Arc::clone(&pretender) as Arc<dyn Operate>;
    let serving = server.serve_operators(operate, &tasks);
    Desk { address, pretender, serving, tasks }
}

impl Desk {
    async fn raw(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        answer(&mut stream).await.expect("there is an answer")
    }

    async fn get(&self, path: &str) -> Answer {
        self.raw(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address)).await
    }

    async fn post(&self, path: &str, headers: &str, body: &str) -> Answer {
        self.raw(&format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        ))
        .await
    }

    async fn json(&self, path: &str, body: &str) -> Answer {
        self.post(path, "Content-Type: application/json\r\n", body).await
    }

    fn told(&self) -> Vec<String> {
        self.pretender.told.lock().unwrap().clone()
    }
}

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
        "copies": 2, "commit": 2, "spread": "host",
        "partitions": [{
            "partition": 5, "epoch": 2, "state": "open", "primary": "n1", "role": "primary",
            "ensemble": ["n1", "n2"], "wanted": ["n1", "n3"], "end": 12, "commit": 10, "lag": 2,
            "stale_ms": 0,
            "moves": [{"node": "n3", "bytes_done": 10, "bytes_total": 40, "left_ms": 300}],
        }],
    });
    assert_eq!(partitions, expected);
    let plugins = desk.get("/admin/v1/plugins").await.json();
    let expected = json!({"plugins": [{
        "name": "status", "kinds": ["message"], "version": "0.1.0", "digest": "ab",
        "generation": 1, "state": "live", "on_failure": "reject", "grants": ["roster"],
        "calls": 9, "failures": 1,
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
    assert_eq!(desk.told(), ["drain", "drain", "n1 true", "n1 false"]);
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
