//! A node's HTTP edge in front of a pretender, and a client that sends exactly the bytes it is given.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::{Ask, Asking, Auth, Config, Objects, Pinging, Pings, Server, Serving, Twilio};
use chat::{
    CallContext, ChatView, Code, Created, Durability, Owners, Page, Pending, Pulse, Readiness,
    Redact, Refusal, Request, Response, RingView, Sent, Stored,
};
use hashring::{NodeId, PartitionId};
use model::{Attrs, ChatStatus, ChatToken, Cursor, Message, MessageId, Redaction, Stamp};
use runtime::{Stop, Tasks};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::shelf::Shelf;

/// A token that is well-formed.
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// The name of the one service there is.
pub(crate) const SERVICE: &str = "crm";
/// Longer than anything here takes; a test that needs it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Answers as the chats would, remembers what it was asked, and refuses when it is told to.
#[derive(Default)]
pub(crate) struct Pretender {
    asked: Mutex<Vec<(Request, CallContext)>>,
    refusals: Mutex<Vec<Refusal>>,
    replays: Mutex<bool>,
    silent: Mutex<bool>,
    readiness: Mutex<Readiness>,
    elsewhere: Mutex<Option<NodeId>>,
    /// Messages after the first.
    said: watch::Sender<Vec<Stored>>,
    /// What is not written.
    pulse: watch::Sender<Option<Pulse>>,
    waiting: AtomicUsize,
    busy: AtomicBool,
    messages: AtomicUsize,
    drained: Stop,
}

/// Counts a reader as long as somebody waits for its answer.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Pretender {
    pub(crate) fn refuse_next(&self, refusal: Refusal) {
        self.refusals.lock().unwrap().push(refusal);
    }

    pub(crate) fn replay_from_now(&self) {
        *self.replays.lock().unwrap() = true;
    }

    /// Twilio gets no answer from now on.
    pub(crate) fn be_silent(&self) {
        *self.silent.lock().unwrap() = true;
    }

    pub(crate) fn set_readiness(&self, readiness: Readiness) {
        *self.readiness.lock().unwrap() = readiness;
    }

    /// Somebody else leads every chat from now on.
    pub(crate) fn set_led_elsewhere(&self, node: &str) {
        *self.elsewhere.lock().unwrap() = Some(node.parse().unwrap());
    }

    /// Gives pages of so many large messages from now on.
    pub(crate) fn answer_with_pages_of(&self, messages: usize) {
        self.messages.store(messages, Ordering::SeqCst);
    }

    /// Somebody says something: after the first message, and after what was said before.
    pub(crate) fn say(&self, text: &str) {
        self.said.send_modify(|said| {
            let seq = 2 + u64::try_from(said.len()).unwrap();
            said.push(Stored { cursor: Cursor { epoch: 1, seq }, ..stored(text) });
        });
    }

    /// Somebody speaks without a pause from now on: whoever reads on is answered at once.
    pub(crate) fn never_pause(&self) {
        self.busy.store(true, Ordering::SeqCst);
    }

    /// Something that is not written is another now.
    pub(crate) fn tell(&self, pulse: Pulse) {
        self.pulse.send_replace(Some(pulse));
    }

    /// How many readers wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    pub(crate) fn asked(&self) -> Vec<(Request, CallContext)> {
        self.asked.lock().unwrap().clone()
    }

    /// Forgets what it was asked.
    pub(crate) fn forget(&self) {
        self.asked.lock().unwrap().clear();
    }

    /// What it was asked last.
    pub(crate) fn last(&self) -> (Request, CallContext) {
        self.asked().pop().expect("something was asked")
    }

    async fn twiml(&self) -> Response {
        if *self.silent.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        let text = "<Response><Say>hello</Say></Response>".to_owned();
        Response::Twiml { text, replay: *self.replays.lock().unwrap() }
    }

    /// Messages, or the wait for one.
    async fn page(&self, read: chat::Read) -> Response {
        let here = Cursor { epoch: 1, seq: 1 };
        // What was of an epoch before the only one there is was withdrawn.
        if read.after.is_some_and(|after| after.epoch < here.epoch) {
            let (messages, gap) = (vec![stored("hello")], Some(Cursor::default()));
            return Response::Page(Page {
                messages,
                cursor: here,
                head: here,
                more: false,
                gap,
                pulse: None,
            });
        }
        if let Some(after) = read.after.filter(|_| self.busy.load(Ordering::SeqCst)) {
            let cursor = Cursor { seq: after.seq + 1, ..after };
            let messages = vec![Stored { cursor, ..stored("on and on") }];
            return Response::Page(Page {
                messages,
                cursor,
                head: cursor,
                more: true,
                gap: None,
                pulse: None,
            });
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.waiting);
        let (mut said, mut pulse) = (self.said.subscribe(), self.pulse.subscribe());
        let untold = |pulse: &Option<Pulse>| {
            pulse.as_ref().is_some_and(|pulse| read.pulse.is_some_and(|at| at != pulse.at))
        };
        let after = read.after.map_or(0, |after| after.seq);
        let is_new = |stored: &Stored| stored.cursor.seq > after;
        tokio::select! {
            biased;
            _ = said.wait_for(|said| said.iter().any(is_new)) => {}
            _ = pulse.wait_for(untold) => {}
            () = self.drained.stopped() => {}
            () = runtime::sleep(Duration::from_millis(read.wait_ms.into())) => {}
        }
        let pulse = pulse.borrow().clone().filter(|pulse| untold(&Some(pulse.clone())));
        let pulse = pulse.map(Box::new);
        let new: Vec<Stored> = said.borrow().iter().filter(|one| is_new(one)).cloned().collect();
        if let (Some(_), Some(last)) = (read.after, new.last()) {
            let cursor = last.cursor;
            return Response::Page(Page {
                messages: new,
                cursor,
                head: cursor,
                more: false,
                gap: None,
                pulse,
            });
        }
        let messages = match (read.after, self.messages.load(Ordering::SeqCst)) {
            (Some(_), _) => vec![],
            (None, 0) => vec![stored("hello")],
            (None, large) => vec![stored(&"x".repeat(60_000)); large],
        };
        Response::Page(Page {
            messages,
            cursor: read.after.unwrap_or(here),
            head: here,
            more: false,
            gap: None,
            pulse,
        })
    }

    async fn answer(&self, request: Request) -> Response {
        let start = Cursor { epoch: 1, seq: 0 };
        let here = Cursor { epoch: 1, seq: 1 };
        match request {
            Request::Create { .. } => Response::Created(Created {
                token: TOKEN.parse().unwrap(),
                cursor: start,
                status: ChatStatus::Pending,
                created_ms: 5,
            }),
            Request::Show { token, .. } => Response::Chat(Box::new(view(token))),
            Request::Join { .. } => Response::Joined { ordinal: 3 },
            Request::Leave { .. } => Response::Left,
            Request::OutcallDone(_) => Response::OutcallDone { waited: true },
            Request::Twilio(_) => self.twiml().await,
            Request::Send(send) => Response::Sent(Sent {
                replay: *self.replays.lock().unwrap(),
                cursor: here,
                skew_ms: send.sent_ms.map(|_| -7),
                durability: Durability::Quorum,
                message: Arc::new(message(send)),
                also: vec![MessageId([2; 16])],
            }),
            Request::Read(read) => self.page(read).await,
            Request::Typing { .. } | Request::Mark { .. } => Response::Noted,
            Request::Redact(redact) => {
                let Redact { by, reason, .. } = *redact;
                let by = by.unwrap_or_default();
                let why = Arc::new(Redaction { by, reason, time_ms: 9 });
                let stored = stored("hello");
                let message = Arc::new(stored.message.redacted(&why));
                let archive = self.replays.lock().unwrap().then_some(7 << 22);
                Response::Redacted { stored: Stored { message, ..stored }, archive }
            }
            Request::End { .. } => Response::Ended { cursor: here, ended_ms: 9 },
            Request::Owners { .. } => Response::Owners(Owners {
                partition: PartitionId(7),
                epoch: 2,
                primary: Some("n1".parse().unwrap()),
                ensemble: vec!["n1".parse().unwrap(), "n2".parse().unwrap()],
                wanted: vec!["n2".parse().unwrap()],
            }),
        }
    }
}

impl Ask for Pretender {
    fn call(&self, request: Request, context: CallContext) -> Asking<'_> {
        self.asked.lock().unwrap().push((request.clone(), context));
        let refusal = self.refusals.lock().unwrap().pop();
        Box::pin(async move {
            match refusal {
                Some(refusal) => Err(refusal),
                None => Ok(self.answer(request).await),
            }
        })
    }

    fn ring(&self) -> Arc<RingView> {
        Arc::new(RingView { version: 4, ..RingView::default() })
    }

    fn led_elsewhere(&self, _chat: ChatToken) -> Option<NodeId> {
        self.elsewhere.lock().unwrap().clone()
    }

    fn readiness(&self) -> Readiness {
        self.readiness.lock().unwrap().clone()
    }

    fn drain(&self) {
        self.drained.stop();
    }
}

fn message(send: chat::Send) -> Message {
    Message {
        id: MessageId([1; 16]),
        sender: send.sender,
        kind: send.kind,
        route: send.route,
        body: send.body,
        archive: send.archive.map(|naming| {
            let chat::Naming { collection, key, version } = *naming;
            Arc::new(model::Reference { collection, key, version: version.unwrap_or(7 << 22) })
        }),
        attrs: send.attrs,
        time_ms: 8,
        sent_ms: send.sent_ms,
        stamps: vec![Stamp {
            plugin: "status".to_owned(),
            version: "0.1.0".to_owned(),
            verdict: "pass".to_owned(),
        }],
    }
}

fn stored(text: &str) -> Stored {
    let message = Message {
        id: MessageId([1; 16]),
        sender: "alice".to_owned(),
        kind: "text".to_owned(),
        route: model::Route::Everyone,
        body: model::Body::Text(text.to_owned()),
        archive: None,
        attrs: Attrs::new(),
        time_ms: 8,
        sent_ms: None,
        stamps: vec![],
    };
    Stored { cursor: Cursor { epoch: 1, seq: 1 }, message: Arc::new(message) }
}

fn view(token: ChatToken) -> ChatView {
    ChatView {
        token,
        status: ChatStatus::Started,
        cursor: Cursor { epoch: 1, seq: 1 },
        created_ms: 5,
        started_ms: Some(6),
        ended_ms: None,
        max_duration_s: None,
        max_participants: Some(2),
        participants: vec![],
        attrs: Attrs::new(),
        pending: Pending::default(),
        plugins: BTreeMap::from([("status".to_owned(), "0.1.0".to_owned())]),
        archive: None,
    }
}

/// Has one service, which is called [`SERVICE`].
struct OneService;

impl Pings for OneService {
    fn ping(&self, service: String) -> Pinging<'_> {
        Box::pin(async move {
            let there = service == SERVICE;
            there.then_some(()).ok_or_else(|| Refusal::new(Code::NotFound, "another service"))
        })
    }
}

/// An edge that is served.
pub(crate) struct Edge {
    pub(crate) address: SocketAddr,
    pub(crate) pretender: Arc<Pretender>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) serving: Serving,
    pub(crate) tasks: Tasks,
}

pub(crate) async fn edge() -> Edge {
    edge_with(Config::default()).await
}

pub(crate) async fn edge_with(config: Config) -> Edge {
    edge_for(config, Auth::open()).await
}

pub(crate) async fn edge_for(config: Config, auth: Auth) -> Edge {
    edge_of(config, auth, Twilio::off()).await
}

pub(crate) async fn edge_of(config: Config, auth: Auth, twilio: Twilio) -> Edge {
    let listen = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(Config { listen, ..config }).await.unwrap();
    let address = server.local_addr();
    let (pretender, tasks) = (Arc::new(Pretender::default()), Tasks::current(Stop::default()));
    let ask: Arc<dyn Ask> = Arc::clone(&pretender) as Arc<dyn Ask>;
    let shelf = Arc::new(Shelf::default());
    let objects: Arc<dyn Objects> = Arc::clone(&shelf) as Arc<dyn Objects>;
    let server = server.with_pings(Arc::new(OneService));
    let serving = server.serve(ask, objects, auth, twilio, &tasks);
    Edge { address, pretender, shelf, serving, tasks }
}

/// An answer, as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the answer is JSON")
    }

    /// Its problem's code, after a look at everything that each problem has.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["request_id"].as_str(), self.header("carillon-request-id"));
        for text in ["type", "title", "detail"] {
            assert!(problem[text].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
        let retryable = problem["retryable"].as_bool().expect("it says whether to try again");
        // A handler may say when it would not refuse any more; nobody else gives a time for never.
        let sensible = retryable || problem["retry_after_ms"].is_u64();
        assert!(sensible || self.header("retry-after").is_none(), "{self:?}");
        problem["code"].as_str().unwrap().to_owned()
    }

    /// The headers that do not differ from request to request, with their values.
    pub(crate) fn names(&self) -> Vec<(String, String)> {
        let own = ["carillon-request-id", "date"];
        self.headers.iter().filter(|(name, _)| !own.contains(&name.as_str())).cloned().collect()
    }

    pub(crate) fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap().to_owned()
    }
}

impl Edge {
    /// What is counted in this process, of which every test's edge is a part.
    pub(crate) async fn counted(&self, series: &str) -> u64 {
        let text = self.get("/metrics").await.body;
        let text = String::from_utf8(text).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }

    /// Waits until more is counted than `before`.
    pub(crate) async fn counts_more(&self, series: &str, before: u64) {
        let counting = async {
            while self.counted(series).await <= before {
                tokio::task::yield_now().await;
            }
        };
        runtime::timeout(PATIENCE, counting).await.expect("it is counted");
    }

    /// Sends these bytes on a connection of their own, and reads the one answer.
    pub(crate) async fn raw(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A server that has heard enough may close while we still write.
        let _refused = stream.write_all(request.as_ref()).await;
        answer(&mut stream).await.expect("there is an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.raw(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await
    }

    pub(crate) async fn bare(&self, method: &str, path: &str) -> Answer {
        self.raw(format!("{method} {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await
    }

    /// A request with a JSON body.
    pub(crate) async fn with(&self, method: &str, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.raw(request(method, path, "", body)).await
    }

    /// Sends a message under a key.
    pub(crate) async fn send(&self, body: impl AsRef<[u8]>) -> Answer {
        let path = format!("/v1/chats/{TOKEN}/messages");
        self.raw(request("POST", &path, "idempotency-key: k\r\n", body)).await
    }
}

/// A whole request with a JSON body; `headers` are lines with their ends.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nhost: a\r\n{headers}content-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len(),
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// Reads one answer; `None` if the connection ends before there is one.
pub(crate) async fn answer(stream: &mut TcpStream) -> Option<Answer> {
    runtime::timeout(PATIENCE, read_answer(stream)).await.expect("an answer in time")
}

async fn read_answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    loop {
        if let Some(answer) = whole(&bytes) {
            return Some(answer);
        }
        match stream.read_buf(&mut bytes).await {
            Ok(count) if count > 0 => {}
            _ => return None,
        }
    }
}

fn whole(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        })
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    let body = bytes.get(end + 4..end + 4 + length)?.to_vec();
    Some(Answer { status, headers, body })
}
