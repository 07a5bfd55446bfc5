//! Nodes without a core on real loopback sockets: who is let in, what comes over, and what does not.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashring::{NodeId, PartitionId};
use quinn::{Connection, ConnectionError, Endpoint};
use runtime::{Stop, Tasks};
use tokio::sync::{Semaphore, mpsc};
use wire::limits::{ANSWER_PART_BYTES, FRAME_BYTES_MAX};
use wire::{
    Ack, Append, Beat, End, Entry, Hello, Kind, Message, NotRun, PROTOCOL, RequestHead, codec,
};

use crate::core::Event;
use crate::dialler::{Dialler, Target};
use crate::ending::Ending;
use crate::greeting;
use crate::inbox::Command;
use crate::links::Links;
use crate::peer::{Link, Net};
use crate::peers::{Peers, code};
use crate::{
    Answering, Authority, Credentials, ForwardError, Host, Pem, forward, listener, tls, transport,
};

/// A place of this node that says who signed its certificate.
pub(crate) fn place(node: &str, authority: &str) -> registry::PositionRecord {
    let service_info = registry::ServiceInfo {
        name: "carillon".to_owned(),
        version: String::new(),
        build: String::new(),
        hostname: "h".to_owned(),
        fqdn: "h".to_owned(),
        key: String::new(),
        servers: Vec::new(),
    };
    let data = registry::PositionData {
        node: id(node),
        zone: String::new(),
        weight: 1,
        quic: String::new(),
        http: String::new(),
        fingerprint: String::new(),
        authority: authority.to_owned(),
    };
    registry::PositionRecord { service_info, data }
}

mod belief;
mod heard;
mod malformed;

const PATIENCE: Duration = Duration::from_secs(20);
const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What a test host does with a call, told by the first byte of its body.
struct Echo;

impl Host for Echo {
    fn opened(&self, _: PartitionId, _: u64, _: u64) {}
    fn committed(&self, _: PartitionId, _: u64, _: u64) {}
    fn closed(&self, _: PartitionId, _: u64) {}
    fn answer(&self, from: NodeId, head: RequestHead, body: Bytes) -> Answering {
        Box::pin(async move {
            match body.first() {
                Some(b'?') => Err(NotRun::Busy),
                Some(b'.') => std::future::pending().await,
                Some(b'L') => Ok(Bytes::from(vec![7; 2 * ANSWER_PART_BYTES + 5])),
                _ => Ok(Bytes::from(format!("{from} {} {}", head.hop, body.len()))),
            }
        })
    }
}

struct Node {
    net: Net,
    /// Of its certificate.
    fingerprint: String,
    endpoint: Endpoint,
    dialler: Dialler,
    ending: Ending,
    commands: mpsc::Receiver<Command>,
    /// Said together with what was heard last.
    heard: VecDeque<Message>,
}

fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn hello(name: &str, boot: u64) -> Hello {
    Hello { protocol: PROTOCOL, cluster: 7, node: id(name), store: 70 + boot, boot }
}

/// A node with a certificate for `certified` that calls itself as `ours` says.
fn node(authority: &Authority, certified: &str, ours: Hello) -> Node {
    node_with(&authority.issue(&id(certified)).unwrap(), certified, ours)
}

fn node_with(pem: &Pem, certified: &str, ours: Hello) -> Node {
    let credentials = Credentials::new(pem).unwrap();
    let fingerprint = credentials.fingerprint();
    let endpoint = transport::endpoint(&id(certified), &credentials, HERE).unwrap();
    let (inbox, commands) = mpsc::channel(1024);
    let net = Net {
        ours,
        peers: Arc::new(Peers::new()),
        inbox,
        host: Arc::new(Echo),
        calls: Arc::new(Semaphore::new(2)),
        tasks: Tasks::current(Stop::default()),
    };
    net.tasks.spawn("listener", listener::listen(net.clone(), endpoint.clone()));
    let ending = Ending::default();
    ending.stops(net.tasks.stop());
    let dialler = Dialler::new(net.clone(), endpoint.clone(), ending.clone());
    Node { net, fingerprint, endpoint, dialler, ending, commands, heard: VecDeque::new() }
}

impl Node {
    fn address(&self) -> SocketAddr {
        self.endpoint.local_addr().unwrap()
    }

    fn dial(&mut self, other: &Self) {
        self.dialler.aim(&other.net.ours.node, other.target());
    }

    /// What the registry would say of it.
    fn target(&self) -> Target {
        let Hello { boot, store, .. } = self.net.ours;
        let fingerprint = self.fingerprint.clone();
        Target { address: self.address().to_string(), boot, store, fingerprint }
    }

    async fn command(&mut self) -> Command {
        let command = runtime::timeout(PATIENCE, self.commands.recv()).await;
        command.expect("a command in time").expect("the channel is open")
    }

    async fn link(&mut self) -> Box<Link> {
        match self.command().await {
            Command::PeerUp(link) => link,
            other => panic!("{other:?}"),
        }
    }

    async fn message(&mut self) -> Message {
        if self.heard.is_empty() {
            match self.command().await {
                Command::Messages { messages, .. } => self.heard.extend(messages),
                other => panic!("{other:?}"),
            }
        }
        self.heard.pop_front().expect("nobody is told of nothing")
    }

    /// Connects by hand, as a node that keeps no rules may.
    async fn connect(&self, other: &Self) -> Connection {
        let name = tls::server_name(&other.net.ours.node);
        self.endpoint.connect(other.address(), &name).unwrap().await.unwrap()
    }

    /// Connects and greets by hand.
    async fn greet(&self, other: &Self) -> (Connection, greeting::Greeted) {
        let connection = self.connect(other).await;
        let peers = Peers::new();
        let to = &other.net.ours.node;
        let greeted = greeting::call(&connection, to, &self.net.ours, &peers).await.unwrap();
        (connection, greeted)
    }

    async fn ask(&self, to: &str, wait_ms: u32, body: &[u8]) -> Result<Bytes, ForwardError> {
        let head = RequestHead { hop: 1, wait_ms };
        forward::ask(self.net.peers.connection(&id(to)), &id(to), head, body).await
    }
}

async fn pair() -> (Node, Box<Link>, Node, Box<Link>) {
    let authority = Authority::new("test").unwrap();
    let mut a = node(&authority, "a", hello("a", 1));
    let mut b = node(&authority, "b", hello("b", 1));
    a.dial(&b);
    let (to_b, to_a) = (a.link().await, b.link().await);
    (a, to_b, b, to_a)
}

async fn flush(link: &mut Link) {
    std::future::poll_fn(|context| {
        link.flush(context);
        std::task::Poll::Ready(())
    })
    .await;
}

async fn closed(connection: &Connection) -> (quinn::VarInt, String) {
    let error = runtime::timeout(PATIENCE, connection.closed()).await.expect("closed in time");
    match error {
        ConnectionError::ApplicationClosed(close) => {
            (close.error_code, String::from_utf8_lossy(&close.reason).into_owned())
        }
        other => panic!("{other}"),
    }
}

fn ack(matched: u64) -> Message {
    Message::Ack(Ack { partition: PartitionId(3), epoch: 1, matched })
}

#[tokio::test]
async fn two_nodes_greet_and_talk_in_both_directions_and_in_order() {
    let (mut a, mut to_b, mut b, mut to_a) = pair().await;
    assert_eq!((to_b.node.as_str(), to_b.boot, to_b.store), ("b", 1, 71));
    assert_eq!((to_a.node.as_str(), to_a.boot, to_a.store), ("a", 1, 71));
    assert!(a.net.peers.is_up(&id("b")) && b.net.peers.is_up(&id("a")));
    for matched in 0..100 {
        to_b.push(&ack(matched));
    }
    flush(&mut to_b).await;
    for matched in 0..100 {
        assert_eq!(b.message().await, ack(matched));
    }
    let beat = Beat { round: 1, leads: Vec::new(), stuck: false, full: false, session: true };
    to_a.push(&Message::Beat(beat.clone()));
    flush(&mut to_a).await;
    assert_eq!(a.message().await, Message::Beat(beat));
}

#[tokio::test]
async fn what_comes_in_one_piece_is_handed_on_together() {
    let (_a, mut to_b, mut b, _to_a) = pair().await;
    for matched in 0..100 {
        to_b.push(&ack(matched));
    }
    flush(&mut to_b).await;
    let (mut pieces, mut heard) = (0, Vec::new());
    while heard.len() < 100 {
        match b.command().await {
            Command::Messages { messages, .. } => heard.extend(messages),
            other => panic!("{other:?}"),
        }
        pieces += 1;
    }
    assert_eq!(heard, (0..100).map(ack).collect::<Vec<_>>());
    assert!(pieces < 10, "two or three packets came as {pieces} pieces");
}

fn append(seq: u64, bytes: usize) -> Message {
    let entry = Entry { epoch: 1, seq, chain: [0; 16], payload: Bytes::from(vec![7; bytes]) };
    let prev = End { epoch: 1, seq: seq - 1, chain: [0; 16] };
    let partition = PartitionId(3);
    Message::Append(Append { partition, epoch: 1, prev, entries: vec![entry], commit: 0 })
}

#[tokio::test]
async fn what_a_peer_does_not_take_at_once_comes_later_and_in_order() {
    let (_a, mut to_b, mut b, _to_a) = pair().await;
    for seq in 1..=20 {
        to_b.push(&append(seq, 900_000));
    }
    flush(&mut to_b).await;
    assert!(to_b.is_blocked(), "no window takes so much");
    let rest = std::future::poll_fn(|context| {
        to_b.flush(context);
        if to_b.is_blocked() { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    });
    let read = async {
        for seq in 1..=20 {
            assert_eq!(b.message().await, append(seq, 900_000));
        }
    };
    tokio::join!(rest, read);
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_cut_off() {
    let authority = Authority::new("test").unwrap();
    let mut b = node(&authority, "b", hello("b", 1));
    let a = node(&authority, "a", hello("a", 1));
    let (connection, _streams) = a.greet(&b).await;
    let mut to_a = b.link().await;
    for seq in 1..=40 {
        to_a.push(&append(seq, 900_000));
    }
    flush(&mut to_a).await;
    assert_eq!(closed(&connection).await.0, code::SLOW);
}

#[tokio::test]
async fn the_larger_id_does_not_dial() {
    let authority = Authority::new("test").unwrap();
    let a = node(&authority, "a", hello("a", 1));
    let mut b = node(&authority, "b", hello("b", 1));
    b.dial(&a);
    assert_eq!(b.endpoint.open_connections(), 0);
}

#[tokio::test]
async fn a_newer_connection_takes_the_place_of_the_older() {
    let authority = Authority::new("test").unwrap();
    let mut b = node(&authority, "b", hello("b", 1));
    let first = node(&authority, "a", hello("a", 1));
    let (older, _streams) = first.greet(&b).await;
    let link = b.link().await;
    let (_newer, _newer_streams) = first.greet(&b).await;
    assert_eq!(closed(&older).await.0, code::REPLACED);
    loop {
        match b.command().await {
            Command::PeerUp(newer) => {
                assert!(newer.generation > link.generation);
                break;
            }
            Command::PeerDown { generation, .. } => assert_eq!(generation, link.generation),
            other => panic!("{other:?}"),
        }
    }
    assert!(b.net.peers.is_up(&id("a")), "the end of the older does not count");
}

#[tokio::test]
async fn what_an_older_connection_still_held_is_never_heard_after_the_newer_is_up() {
    let authority = Authority::new("test").unwrap();
    let mut b = node(&authority, "b", hello("b", 1));
    let a = node(&authority, "a", hello("a", 1));
    let mut links = Links::default();
    let (_older, _older_streams) = a.greet(&b).await;
    let older = b.link().await;
    let older_number = older.generation;
    assert!(links.message(&id("a"), older_number, ack(1)).is_none(), "not before it is up");
    assert!(matches!(links.up(*older), Some(Event::PeerUp { boot: 1, .. })));
    assert!(links.message(&id("a"), older_number, ack(1)).is_some());
    let (_newer, _newer_streams) = a.greet(&b).await;
    let newer = loop {
        if let Command::PeerUp(link) = b.command().await {
            break link;
        }
    };
    let newer_number = newer.generation;
    assert!(links.up(*newer).is_some());
    assert!(links.message(&id("a"), older_number, ack(2)).is_none());
    assert!(links.down(id("a"), older_number).is_none(), "the newer is still there");
    assert!(links.message(&id("a"), newer_number, ack(3)).is_some());
    assert!(matches!(links.down(id("a"), newer_number), Some(Event::PeerDown { .. })));
    assert!(links.message(&id("a"), newer_number, ack(4)).is_none());
}

#[tokio::test]
async fn an_earlier_life_of_a_node_stops_itself() {
    let authority = Authority::new("test").unwrap();
    let b = node(&authority, "b", hello("b", 1));
    let later = node(&authority, "a", hello("a", 2));
    let (_connection, _greeted) = later.greet(&b).await;
    let mut earlier = node(&authority, "a", hello("a", 1));
    earlier.dial(&b);
    runtime::timeout(PATIENCE, earlier.net.tasks.stop().stopped()).await.unwrap();
    let failure = earlier.ending.failure().unwrap().to_string();
    assert!(failure.contains("process life 1 of node a was followed by life 2"), "{failure}");
}

#[tokio::test]
async fn a_call_is_answered_with_what_the_host_says() {
    let (a, _to_b, b, _to_a) = pair().await;
    assert_eq!(a.ask("b", 20_000, b"hello").await.unwrap(), "a 1 5");
    assert_eq!(b.ask("a", 20_000, b"").await.unwrap(), "b 1 0", "also the other way");
    let long = a.ask("b", 20_000, b"L").await.unwrap();
    assert_eq!(long, vec![7; 2 * ANSWER_PART_BYTES + 5], "in parts");
    let not_run = |why| ForwardError::NotRun { to: id("b"), why };
    assert_eq!(a.ask("b", 20_000, b"?").await, Err(not_run(Some(NotRun::Busy))));
    let long = vec![0; FRAME_BYTES_MAX];
    assert_eq!(a.ask("b", 20_000, &long).await, Err(not_run(None)), "no frame holds it");
    assert_eq!(
        a.ask("c", 20_000, b"").await,
        Err(ForwardError::NotRun { to: id("c"), why: None }),
        "nobody there"
    );
    b.net.tasks.stop().stop();
}

#[tokio::test]
async fn a_call_is_waited_for_only_so_long_and_too_many_are_turned_away() {
    let (a, _to_b, b, _to_a) = pair().await;
    assert_eq!(a.ask("b", 30, b".").await, Err(ForwardError::Late { to: id("b") }));
    let a = Arc::new(a);
    for _ in 0..2 {
        let asker = Arc::clone(&a);
        a.net.tasks.spawn("asker", async move { drop(asker.ask("b", 20_000, b".").await) });
    }
    let busy = async {
        while a.ask("b", 20_000, b"hello").await.is_ok() {}
        a.ask("b", 20_000, b"hello").await
    };
    let busy = runtime::timeout(PATIENCE, busy).await.unwrap();
    assert_eq!(busy, Err(ForwardError::NotRun { to: id("b"), why: Some(NotRun::Busy) }));
    drop(b);
}

#[tokio::test]
async fn an_answer_that_never_came_is_lost_and_not_refused() {
    let (a, _to_b, b, _to_a) = pair().await;
    let ask = a.ask("b", 20_000, b".");
    let kill = async {
        // Once the call runs there, the node goes.
        while b.net.calls.available_permits() == 2 {
            tokio::task::yield_now().await;
        }
        b.endpoint.close(code::STOPPING, b"gone");
    };
    let (answer, ()) = tokio::join!(ask, kill);
    assert_eq!(answer, Err(ForwardError::Lost { to: id("b") }));
}

#[tokio::test]
async fn a_peer_that_went_away_is_dialled_again_at_its_new_address() {
    let authority = Authority::new("test").unwrap();
    let mut a = node(&authority, "a", hello("a", 1));
    let mut b = node(&authority, "b", hello("b", 1));
    a.dial(&b);
    let before = a.link().await;
    b.link().await;
    b.endpoint.close(code::STOPPING, b"stopping");
    assert!(matches!(a.command().await, Command::PeerDown { .. }));
    let again = node(&authority, "b", hello("b", 2));
    a.dial(&again);
    let after = a.link().await;
    assert_eq!(after.boot, 2);
    assert!(after.generation > before.generation);
}

#[tokio::test]
async fn a_stopping_node_says_so_and_its_tasks_end() {
    let (mut a, _to_b, b, _to_a) = pair().await;
    runtime::timeout(PATIENCE, b.net.tasks.finish()).await.expect("every task ends");
    assert!(matches!(a.command().await, Command::PeerDown { .. }));
    assert_eq!(b.net.tasks.failed(), None);
}
