//! A service in the test process: a listener, raw bytes, and a clock that is moved by hand.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what a test needs is there, or it fails"
)]

use std::borrow::Borrow;
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use runtime::{EnteredClock, SimulatedClock};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use transaction::{
    Attempt, Dialect, Names, Rendered, Resolve, Resolving, Secret, Sender, SenderConfig, Target,
    TransactionId, render,
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A service's door.
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) address: SocketAddr,
}

/// A request as it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Got {
    /// Its first line.
    pub(crate) line: String,
    /// Its headers, with lower-case names.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Door {
    pub(crate) async fn open() -> Self {
        Self::at("127.0.0.1:0").await
    }

    pub(crate) async fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    pub(crate) async fn accept(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }

    /// Takes one connection and one request, and answers with `answer`.
    pub(crate) async fn answer(&self, answer: &str) -> (TcpStream, Got) {
        let mut stream = self.accept().await;
        let got = read(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        (stream, got)
    }

    /// Whether nobody stands before it.
    pub(crate) async fn is_untouched(&self) -> bool {
        // A connection that was made is there at once on one machine; several turns, so that it is seen.
        for _ in 0..32 {
            let accepted = tokio::select! {
                biased;
                _ = self.listener.accept() => true,
                () = tokio::task::yield_now() => false,
            };
            if accepted {
                return false;
            }
        }
        true
    }

    /// The service here, as a node is configured with it.
    pub(crate) fn target(&self) -> Target {
        target(&format!("http://{}", self.address))
    }
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Reads one request.
pub(crate) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Got {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "the request ends early");
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let headers: Vec<_> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut body = bytes.split_off(end + 4);
    let mut got = Got { line, headers, body: Vec::new() };
    let length: usize = got.header("content-length").map_or(0, |text| text.parse().unwrap());
    while body.len() < length {
        assert!(stream.read_buf(&mut body).await.unwrap() > 0, "the body ends early");
    }
    assert_eq!(body.len(), length, "one request at a time");
    got.body = body;
    got
}

pub(crate) fn target(url: &str) -> Target {
    Target {
        service: "crm".to_owned(),
        url: url.to_owned(),
        secret: Some(Secret::new("hush-hush")),
        secrets: BTreeMap::from([("crm".to_owned(), Secret::new("whisper"))]),
        allow_private: vec!["127.0.0.1/32".parse().unwrap()],
        dialect: Dialect::Matrix,
    }
}

pub(crate) fn request(seq: u64) -> Rendered {
    let id = TransactionId { cluster: 0xc0ffee, partition: 1, epoch: 1, seq, index: 0 };
    let names = Names { cluster: "example.org".to_owned() };
    let mut request = render(Dialect::Matrix, 1, &id, &[], &names).unwrap();
    request.body = Bytes::from_static(b"{\"events\":[1]}");
    request
}

/// Sends transaction `seq` once.
pub(crate) async fn send(sender: &Sender, target: impl Borrow<Target>, seq: u64) -> Attempt {
    sender.attempt(target.borrow(), &request(seq)).await
}

pub(crate) fn sender() -> Sender {
    Sender::new(SenderConfig::default()).unwrap()
}

/// A resolver that says something else each time, and the last thing from then on.
#[derive(Debug)]
pub(crate) struct Fickle(Mutex<VecDeque<Vec<IpAddr>>>);

impl Fickle {
    pub(crate) fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parsed = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self(Mutex::new(answers.iter().map(parsed).collect())))
    }
}

impl Resolve for Fickle {
    fn resolve<'a>(&'a self, _name: &'a str) -> Resolving<'a> {
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Box::pin(async move { Ok(answer.unwrap_or_default()) })
    }
}

/// A resolver that never says anything.
#[derive(Debug)]
pub(crate) struct Silent;

impl Resolve for Silent {
    fn resolve<'a>(&'a self, _name: &'a str) -> Resolving<'a> {
        Box::pin(std::future::pending::<io::Result<Vec<IpAddr>>>())
    }
}

/// Time, while it is moved by hand.
pub(crate) struct Time {
    clock: SimulatedClock,
    passed: Cell<Duration>,
    _entered: EnteredClock,
}

impl Time {
    pub(crate) fn stands_still() -> Self {
        let clock = SimulatedClock::new();
        let entered = clock.enter();
        Self { clock, passed: Cell::default(), _entered: entered }
    }

    /// Lets a second pass, and everybody who waits for it or for the network act.
    pub(crate) async fn tick(&self) {
        self.passed.set(self.passed.get() + SECOND);
        self.clock.set(self.passed.get());
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }

    /// Lets time pass for as long as somebody wants.
    pub(crate) async fn passes(&self) -> ! {
        loop {
            self.tick().await;
        }
    }
}

/// What comes of an attempt at a service that goes on for ever.
pub(crate) async fn against(
    attempt: impl Future<Output = Attempt>,
    service: impl Future<Output = ()>,
) -> Attempt {
    tokio::select! {
        attempt = attempt => attempt,
        () = service => panic!("the service ended before the attempt"),
    }
}
