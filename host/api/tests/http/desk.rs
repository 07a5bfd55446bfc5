//! The operators' listener, and somebody who pretends to be a node and remembers what they were told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::admin::{
    About, AttemptInfo, AttemptsInfo, AuditInfo, ChainInfo, ChangedInfo, CollectionInfo,
    DeadLettersInfo, Doing, ErrorInfo, Going, LineInfo, LinesInfo, LinkInfo, LogHealth, Movement,
    NodeProgressInfo, Operate, PartitionInfo, Partitions, PastInfo, PluginInfo, PowerInfo,
    ProgressInfo, PushedInfo, RegistryInfo, ReplayedInfo, ServiceWish, ServicesInfo, TrialInfo,
    TrialWanted, WhyInfo, With,
};
use api::{Config, Patience, Server, Serving};
use bytes::Bytes;
use chat::{Code, Refusal, RingView};
use hashring::{NodeId, PartitionId};
use model::{ChatToken, MessageId};
use runtime::{Stop, Tasks};
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

    fn collections(&self) -> Doing<'_, Vec<CollectionInfo>> {
        let collection = "1001".to_owned();
        Box::pin(async { Ok(vec![CollectionInfo { collection, segments: 2, bytes: 2048 }]) })
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

/// The listener, and who answers behind it.
pub(crate) struct Desk {
    pub(crate) address: SocketAddr,
    pretender: Arc<Pretender>,
    pub(crate) serving: Serving,
    pub(crate) tasks: Tasks,
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
    pub(crate) async fn raw(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        answer(&mut stream).await.expect("there is an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.raw(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address)).await
    }

    pub(crate) async fn post(&self, path: &str, headers: &str, body: &str) -> Answer {
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
