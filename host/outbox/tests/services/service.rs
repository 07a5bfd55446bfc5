//! A service in this process, that does with each request what it is told.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test needs is there, or it fails"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use model::FrozenId;
use runtime::{Instant, Stop, Tasks};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::ledger::Ledger;
use crate::outside::{Door, Got, SECOND, read};

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

/// What it does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Does {
    /// Answers this.
    Says(String),
    /// Answers with this status.
    Status(u16),
    /// Closes the connection.
    Cuts,
    /// Says this, and then nothing more.
    Stalls(&'static str),
    /// Takes it, and answers so much later.
    Late(Duration),
    /// Says the first at once, and of the other a byte a second.
    Dribbles(&'static str, &'static str),
    /// Answers, and the answer does not end.
    Floods,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// How long after its beginning.
    pub(crate) at: Duration,
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    pub(crate) body: Vec<u8>,
    /// What its events say.
    pub(crate) texts: Vec<String>,
    /// Whether it was taken.
    pub(crate) took: bool,
}

type Script = dyn FnMut(&Seen) -> Does + Send;

/// A service. Clones are the same.
#[derive(Clone)]
pub(crate) struct Service {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    address: SocketAddr,
    began: Instant,
    seen: Vec<Seen>,
    script: Box<Script>,
    tasks: Tasks,
}

impl Service {
    /// It takes everything.
    pub(crate) async fn start() -> Self {
        let door = Door::open().await;
        let (address, tasks) = (door.address, Tasks::current(Stop::default()));
        let script = Box::new(|_: &Seen| Does::Status(200));
        let inner = Inner {
            address,
            began: runtime::now(),
            seen: Vec::new(),
            script,
            tasks: tasks.clone(),
        };
        let service = Self { inner: Arc::new(Mutex::new(inner)) };
        tasks.spawn("service", service.clone().serve(door, tasks.clone()));
        service
    }

    /// From now on it does this.
    pub(crate) fn does(&self, script: impl FnMut(&Seen) -> Does + Send + 'static) {
        self.inner().script = Box::new(script);
    }

    /// It is gone: nobody listens, and what was open is closed.
    pub(crate) async fn dies(&self) {
        let tasks = self.inner().tasks.clone();
        tasks.finish().await;
    }

    /// It is there again, where it was.
    pub(crate) async fn returns(&self) {
        let address = self.inner().address.to_string();
        let door = Door::at(&address).await;
        let tasks = Tasks::current(Stop::default());
        self.inner().tasks = tasks.clone();
        tasks.spawn("service", self.clone().serve(door, tasks.clone()));
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.inner().address)
    }

    /// All that came.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.inner().seen.clone()
    }

    /// What it took, each event when it came first.
    pub(crate) fn taken(&self) -> Vec<String> {
        let mut taken = Vec::new();
        for text in self.inner().seen.iter().filter(|seen| seen.took).flat_map(|it| &it.texts) {
            if !taken.contains(text) {
                taken.push(text.clone());
            }
        }
        taken
    }

    /// What must be so of all that came (T-I2, T-I4): one id came with one content, and a committed entry froze it.
    pub(crate) fn checks(&self, ledger: &Ledger) {
        let mut known = BTreeMap::new();
        for seen in self.seen() {
            let bytes = known.entry(seen.path.clone()).or_insert_with(|| seen.body.clone());
            assert_eq!(*bytes, seen.body, "{}", seen.path);
            let (partition, id) = parsed(&seen.path);
            assert!(ledger.froze(partition, id), "{} came, and nobody froze it", seen.path);
        }
    }

    async fn serve(self, door: Door, tasks: Tasks) {
        let stop = tasks.stop().clone();
        loop {
            let stream = tokio::select! { biased;
                () = stop.stopped() => return,
                stream = door.accept() => stream,
            };
            let (service, stop) = (self.clone(), stop.clone());
            tasks.spawn("connection", async move {
                tokio::select! { biased;
                    () = stop.stopped() => {}
                    () = service.speak(stream) => {}
                }
            });
        }
    }

    async fn speak(&self, mut stream: TcpStream) {
        loop {
            if !matches!(stream.peek(&mut [0]).await, Ok(1)) {
                return;
            }
            let got = read(&mut stream).await;
            match self.meet(got) {
                Does::Says(answer) => drop(stream.write_all(answer.as_bytes()).await),
                Does::Status(status) => {
                    drop(stream.write_all(answer(status).as_bytes()).await);
                }
                Does::Cuts => return,
                Does::Stalls(answer) => {
                    drop(stream.write_all(answer.as_bytes()).await);
                    std::future::pending::<()>().await;
                }
                Does::Late(time) => {
                    runtime::sleep(time).await;
                    drop(stream.write_all(OK.as_bytes()).await);
                    return;
                }
                Does::Dribbles(head, rest) => {
                    drop(stream.write_all(head.as_bytes()).await);
                    for byte in rest.bytes() {
                        if stream.write_all(&[byte]).await.is_err() {
                            return;
                        }
                        runtime::sleep(SECOND).await;
                    }
                    std::future::pending::<()>().await;
                }
                Does::Floods => {
                    let head = "HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n";
                    drop(stream.write_all(head.as_bytes()).await);
                    let piece = vec![b'x'; 16 << 10];
                    while stream.write_all(&piece).await.is_ok() {}
                    return;
                }
            }
        }
    }

    /// Notes a request, and decides.
    fn meet(&self, got: Got) -> Does {
        let mut inner = self.inner();
        let at = runtime::now().saturating_duration_since(inner.began);
        let body: Value = serde_json::from_slice(&got.body).unwrap();
        let events = body["events"].as_array().cloned().unwrap_or_default();
        let texts =
            events.iter().map(|event| event["content"]["body"].as_str().unwrap().to_owned());
        let path = got.line.split(' ').nth(1).unwrap().to_owned();
        let token = got.header("authorization").map(str::to_owned);
        let mut seen =
            Seen { at, path, token, body: got.body, texts: texts.collect(), took: false };
        let does = (inner.script)(&seen);
        seen.took = match &does {
            Does::Status(status) => *status == 200,
            Does::Says(answer) => answer.starts_with("HTTP/1.1 200"),
            Does::Stalls(answer) | Does::Dribbles(answer, _) => answer.contains("\r\n\r\n"),
            Does::Late(_) | Does::Floods => true,
            Does::Cuts => false,
        };
        inner.seen.push(seen);
        does
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

fn answer(status: u16) -> String {
    format!("HTTP/1.1 {status} Words\r\ncontent-length: 2\r\n\r\n{{}}")
}

/// The partition and the place of the entry in a transaction's id.
fn parsed(path: &str) -> (u16, FrozenId) {
    let id = path.rsplit('/').next().unwrap();
    let numbers = id.split('-').map(|part| u64::from_str_radix(part, 16).unwrap());
    let numbers: Vec<u64> = numbers.collect();
    let [_cluster, partition, epoch, seq, index] = numbers[..] else { panic!("{id}") };
    let small = |number: u64| u16::try_from(number).unwrap();
    (small(partition), FrozenId { epoch, seq, index: small(index) })
}
