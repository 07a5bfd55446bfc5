//! An application service in the test's own process: a real HTTP server that remembers what it got.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Method and path.
    pub line: String,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The status it was answered with; 0: the connection was cut; [`HANGS`]: it was not.
    pub status: u16,
}

type Answers = dyn Fn(&Received) -> u16 + Send + Sync;

/// Answered with this, a request has no answer: the connection stays open.
pub const HANGS: u16 = 1;

/// The service. It ends with the runtime it was started on.
#[derive(Clone)]
pub struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    answers: Arc<Mutex<Arc<Answers>>>,
    door: Arc<Door>,
}

/// Where requests wait while they are held back.
struct Door {
    holds: AtomicBool,
    let_go: Semaphore,
    waiting: AtomicUsize,
    most: AtomicUsize,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Received {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The events in it.
    pub fn events(&self) -> Vec<Value> {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["events"].as_array().cloned().unwrap_or_default()
    }
}

impl Receiver {
    /// Listens on a free port of this machine, and takes everything.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap_or_else(|e| panic!("{e}"));
        let address = listener.local_addr().unwrap_or_else(|e| panic!("{e}"));
        let takes: Arc<Answers> = Arc::new(|_| 200);
        let door = Arc::new(Door {
            holds: AtomicBool::new(false),
            let_go: Semaphore::new(0),
            waiting: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let answers = Arc::new(Mutex::new(takes));
        let receiver = Self { address, received: Arc::default(), answers, door };
        let serving = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let one = serving.clone();
                tokio::spawn(async move { one.serve(stream).await });
            }
        });
        receiver
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it answers this; 0 cuts the connection, [`HANGS`] leaves it.
    pub fn answer(&self, answer: impl Fn(&Received) -> u16 + Send + Sync + 'static) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(answer);
    }

    /// From now on every request waits before it is answered, until it is let go or its connection ends.
    pub fn hold(&self) {
        self.door.holds.store(true, Ordering::SeqCst);
    }

    /// Answers so many of those that wait, or that come.
    pub fn let_go(&self, count: usize) {
        self.door.let_go.add_permits(count);
    }

    /// From now on nothing waits any more.
    pub fn open(&self) {
        self.door.holds.store(false, Ordering::SeqCst);
        self.let_go(self.waiting());
    }

    /// Requests that wait.
    pub fn waiting(&self) -> usize {
        self.door.waiting.load(Ordering::SeqCst)
    }

    /// The most that ever waited at the same time.
    pub fn waited_at_once(&self) -> usize {
        self.door.most.load(Ordering::SeqCst)
    }

    /// All that came so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn serve(&self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        while let Some(mut request) = read(&mut stream, &mut buffer).await {
            if self.door.holds.load(Ordering::SeqCst) && !self.door.passes(&stream).await {
                return;
            }
            let answers = Arc::clone(&self.answers.lock().unwrap_or_else(PoisonError::into_inner));
            request.status = answers(&request);
            let status = request.status;
            self.received.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            if status == 0 {
                return;
            }
            if status == HANGS {
                // Until the other end has had enough.
                return while more(&mut stream, &mut buffer).await.is_some() {};
            }
            let answer = format!(
                "HTTP/1.1 {status} Whatever\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
            );
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

impl Door {
    /// Waits until one is let go; `false`: the connection ended.
    async fn passes(&self, stream: &TcpStream) -> bool {
        let waiting = self.waiting.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(waiting, Ordering::SeqCst);
        let mut byte = [0];
        let passes = tokio::select! {
            permit = self.let_go.acquire() => permit.map(tokio::sync::SemaphorePermit::forget).is_ok(),
            _ended = stream.peek(&mut byte) => false,
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        passes
    }
}

/// The next request of a connection; `None` at its end.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Received> {
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        more(stream, buffer).await?;
    };
    let text = String::from_utf8_lossy(&buffer[..head]).into_owned();
    let mut lines = text.split("\r\n");
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    while buffer.len() < head + 4 + length {
        more(stream, buffer).await?;
    }
    let body = buffer[head + 4..head + 4 + length].to_vec();
    buffer.drain(..head + 4 + length);
    Some(Received { line, headers, body, status: 0 })
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut piece = [0; 8192];
    let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
    buffer.extend_from_slice(&piece[..count]);
    Some(())
}
