//! The operators' listener, over real sockets, asking somebody who pretends to be a node.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::admin::{
    About, AttemptInfo, AttemptsInfo, AuditInfo, ChainInfo, ChangedInfo, DeadLettersInfo, Doing,
    ErrorInfo, Going, LineInfo, LinesInfo, LinkInfo, LogHealth, Movement, NodeProgressInfo,
    Operate, PartitionInfo, Partitions, PastInfo, PluginInfo, PowerInfo, ProgressInfo, PushedInfo,
    RegistryInfo, ReplayedInfo, ServiceWish, ServicesInfo, TrialInfo, TrialWanted, WhyInfo, With,
};
use api::{Config, Drained, Patience, Server, Serving};
use bytes::Bytes;
use chat::{Code, Refusal, RingView};
use hashring::{NodeId, PartitionId};
use model::{ChatToken, MessageId};
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

fn changed() -> ChangedInfo {
    let (version, digest) = (Some("0.2.0".to_owned()), Some("ab".to_owned()));
    ChangedInfo { generation: 5, version, digest, live: 2, nodes: 3 }
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
            log: LogHealth { unreadable: Some(7), ..LogHealth::default() },
            differing: vec![node("n2")],
        };
        let partitions = vec![partition];
        Partitions { copies: 2, commit: 2, spread: "host", settle_ms: 60_000, partitions }
    }

    fn services(&self) -> Doing<'_, ServicesInfo> {
        Box::pin(async { Ok(crate::services::shown()) })
    }

    fn attempts(&self, service: String) -> Doing<'_, AttemptsInfo> {
        let known = (service == "crm").then(crate::services::attempts);
        Box::pin(async move { known.ok_or_else(|| Refusal::new(Code::NotFound, "no service")) })
    }

    fn test(&self, service: String) -> Doing<'_, AttemptInfo> {
        self.told.lock().unwrap().push(format!("test {service}"));
        Box::pin(async { Ok(crate::services::attempt()) })
    }

    fn dead_letters(&self, service: String) -> Doing<'_, DeadLettersInfo> {
        Box::pin(async move { Ok(crate::services::dead_letters(service)) })
    }

    fn wish(&self, service: String, wish: ServiceWish) -> Doing<'_, ServicesInfo> {
        self.told.lock().unwrap().push(format!("{wish:?} {service}"));
        self.services()
    }

    fn replay(&self, _service: String, events: Option<Vec<String>>) -> Doing<'_, ReplayedInfo> {
        let replayed = events.map_or(2, |events| events.len() as u64);
        Box::pin(async move { Ok(crate::services::replayed(replayed)) })
    }

    fn lines(&self, plugin: &str, chat: Option<ChatToken>, after: u64) -> Option<LinesInfo> {
        let line = LineInfo {
            number: after + 1,
            at_ms: 5,
            level: "warn",
            version: "0.1.0".to_owned(),
            chat: chat.map(|token| token.to_string()),
            message: None,
            text: "a line".to_owned(),
        };
        let lines = LinesInfo { lines: vec![line], next: after + 1, forgotten: 0 };
        (plugin == "status").then_some(lines)
    }

    fn errors(&self, plugin: &str) -> Option<Vec<ErrorInfo>> {
        let error = ErrorInfo {
            kind: "trap",
            version: "0.1.0".to_owned(),
            count: 3,
            first_ms: 1,
            last_ms: 2,
            chat: None,
            message: None,
            text: "panicked".to_owned(),
        };
        (plugin == "status").then(|| vec![error])
    }

    fn plugins(&self) -> Vec<PluginInfo> {
        vec![PluginInfo {
            name: "status".to_owned(),
            kinds: vec!["message"],
            version: "0.1.0".to_owned(),
            digest: "ab".to_owned(),
            generation: 1,
            state: "live",
            held: false,
            on_failure: "reject",
            grants: vec!["roster"],
            asks: vec![PowerInfo { power: "post", granted: false, line: "post = true" }],
            past: vec![PastInfo {
                generation: 1,
                version: "0.0.9".to_owned(),
                digest: "cd".to_owned(),
            }],
            calls: 9,
            failures: 1,
            breaker: "open",
        }]
    }

    fn chain(&self) -> ChainInfo {
        let link = LinkInfo {
            plugin: "status".to_owned(),
            version: "0.1.0".to_owned(),
            generation: 1,
            on_failure: "reject",
        };
        ChainInfo { generation: 4, behind: None, message: vec![link] }
    }

    fn push(
        &self,
        name: String,
        component: Bytes,
        signature: Option<String>,
    ) -> Doing<'_, PushedInfo> {
        let signed = signature.unwrap_or_else(|| "unsigned".to_owned());
        let new = component.len() < 1000;
        self.told.lock().unwrap().push(format!("push {name} {} {signed}", component.len()));
        Box::pin(async move { Ok(PushedInfo { digest: "ab".to_owned(), new }) })
    }

    fn swap(
        &self,
        name: String,
        digest: String,
        wait: bool,
        trial: Option<TrialWanted>,
    ) -> Doing<'_, ChangedInfo> {
        let trial = trial.map(|it| format!(" {} {}", it.for_ms, it.calls)).unwrap_or_default();
        self.told.lock().unwrap().push(format!("swap {name} {digest} {wait}{trial}"));
        Box::pin(async move {
            match name.as_str() {
                "status" => Ok(changed()),
                _ => Err(Refusal::new(Code::PluginUnusable, "on node n2: it is broken")),
            }
        })
    }

    fn roll_back(&self, name: String, wait: bool) -> Doing<'_, ChangedInfo> {
        self.told.lock().unwrap().push(format!("rollback {name} {wait}"));
        Box::pin(async move {
            match name.as_str() {
                "status" => Ok(ChangedInfo { version: None, digest: None, ..changed() }),
                _ => Err(Refusal::new(Code::PluginConflict, "somebody was first")),
            }
        })
    }

    fn progress(&self, name: &str) -> Option<ProgressInfo> {
        let step = NodeProgressInfo {
            node: node("n2"),
            done: vec!["fetched", "verified"],
            state: "running",
            live: false,
        };
        (name == "status").then(|| ProgressInfo {
            state: "preparing",
            digest: Some("ab".to_owned()),
            generation: None,
            detail: String::new(),
            trial: Some(TrialInfo {
                calls: 40,
                differing: 1,
                failed: 0,
                dropped: 2,
                nodes: 3,
                left_ms: 500,
                pairs: Vec::new(),
            }),
            nodes: vec![step],
        })
    }

    fn audit(&self) -> Vec<AuditInfo> {
        vec![AuditInfo {
            line: 3,
            at_ms: 5,
            event: "live".to_owned(),
            plugin: String::new(),
            digest: None,
            generation: Some(4),
            detail: "status 0.1.0".to_owned(),
        }]
    }

    fn why(&self, message: MessageId, with: Option<With>) -> Doing<'_, WhyInfo> {
        let with = with.map(|With { plugin, component }| (plugin, component.len()));
        self.told.lock().unwrap().push(format!("why {message} {with:?}"));
        Box::pin(async move { Err(Refusal::new(Code::UnknownMessage, "nobody said it")) })
    }

    fn drain(&self, going: Going) -> Doing<'_, ()> {
        self.told.lock().unwrap().push(format!("drain {going:?}"));
        Box::pin(async { Ok(()) })
    }

    fn leave(&self, node: NodeId, going: Going) -> Doing<'_, ()> {
        self.told.lock().unwrap().push(format!("{node} {going:?}"));
        Box::pin(async move {
            match node.as_str() {
                "n1" => Ok(()),
                "n2" => {
                    Err(Refusal::new(Code::Needed, "without n2 n1 would stay, and 2 must hold it"))
                }
                "slow" => std::future::pending().await,
                _ => Err(Refusal::new(Code::NotFound, "no node of this name was ever a member")),
            }
        })
    }
}

pub(crate) struct Desk {
    address: SocketAddr,
    pretender: Arc<Pretender>,
    serving: Serving,
    tasks: Tasks,
}

pub(crate) async fn desk() -> Desk {
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

    pub(crate) async fn get(&self, path: &str) -> Answer {
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

    pub(crate) async fn json(&self, path: &str, body: &str) -> Answer {
        self.post(path, "Content-Type: application/json\r\n", body).await
    }

    pub(crate) fn told(&self) -> Vec<String> {
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
