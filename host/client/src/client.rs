//! Asking the cluster, whichever node answers.
//!
//! Every request here may be sent again without harm: reads by nature, joins, leaves and ends because
//! they say what should be, sends because of their key. (A chat that is created twice has one name that
//! nobody knows.) So what fails in a way that may pass is tried again, elsewhere if there is an elsewhere,
//! until it is answered or time is up.

use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use model::ChatToken;
use runtime::Backoff;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::connection::write_request;
use crate::nodes::Nodes;
use crate::pool::Pool;
use crate::seen::Seen;
use crate::{
    Bearer, Chat, Connection, Created, Cursor, Ended, Error, NewChat, NewMessage, Owners, Page,
    Problem, ReadOptions, Ring, Sent, Tail, Target,
};

/// The first ceiling of the wait between two tries.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// The last ceiling; a take-over of a partition takes a few seconds.
const RETRY_CAP: Duration = Duration::from_secs(2);

/// How patient a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// For a connection.
    pub connect: Duration,
    /// For one answer, beside what a reader wants to wait.
    pub answer: Duration,
    /// For a request with all its tries.
    pub give_up: Duration,
    /// For the same, while no node has ever answered and nothing listened wherever it was tried: then the
    /// address is likelier wrong than the node starting. `None` is as long as `give_up`.
    pub nobody: Option<Duration>,
    /// Whether to find out who leads a chat and ask there: two more requests for a chat's first, one hop
    /// less for each of the others.
    pub ask_leaders: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            // Longer than a node takes to say that the outcome of a send is unknown.
            answer: Duration::from_secs(12),
            give_up: Duration::from_secs(30),
            nobody: None,
            ask_leaders: true,
        }
    }
}

/// A client of one cluster. Clones share what they know and their connections.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    nodes: Nodes,
    pool: Pool,
    seen: Seen,
    bearer: RwLock<Option<Bearer>>,
    options: Options,
    /// Some node has answered something.
    answered: AtomicBool,
}

/// A request that can be made more than once.
#[derive(Debug)]
struct Call<'a> {
    method: &'static str,
    path: &'a str,
    headers: &'a str,
    body: Option<Vec<u8>>,
    chat: Option<ChatToken>,
    /// How long it may take longer than usual.
    wait: Duration,
}

/// A try that failed, and at whom.
#[derive(Debug)]
struct Missed {
    target: Option<Target>,
    error: Error,
}

/// An answer that is no error.
#[derive(Debug)]
struct Reply {
    replay: bool,
    status: u16,
    body: Vec<u8>,
    target: Target,
}

impl Client {
    /// A client of the nodes at `urls`, with the usual patience.
    ///
    /// # Errors
    /// [`Error::Url`], [`Error::NoUrl`].
    pub fn new<U: AsRef<str>>(urls: impl IntoIterator<Item = U>) -> Result<Self, Error> {
        Self::with_options(urls, Options::default())
    }

    /// A client of the nodes at `urls`.
    ///
    /// # Errors
    /// [`Error::Url`], [`Error::NoUrl`].
    pub fn with_options<U: AsRef<str>>(
        urls: impl IntoIterator<Item = U>,
        options: Options,
    ) -> Result<Self, Error> {
        let targets = urls.into_iter().map(|url| url.as_ref().parse());
        let targets = targets.collect::<Result<Vec<Target>, _>>()?;
        if targets.is_empty() {
            return Err(Error::NoUrl);
        }
        let nodes = Nodes::new(targets);
        let (pool, seen, answered) = (Pool::default(), Seen::default(), AtomicBool::new(false));
        let bearer = RwLock::default();
        Ok(Self { shared: Arc::new(Shared { nodes, pool, seen, bearer, options, answered }) })
    }

    /// Asks with this token from now on, in place of one from before, which may have ended. From then on
    /// the token says who sends and reads: names in requests are left out.
    pub fn authorise(&self, bearer: Bearer) {
        *self.shared.bearer.write().unwrap_or_else(PoisonError::into_inner) = Some(bearer);
    }

    /// Whether it asks with a token.
    pub fn is_authorised(&self) -> bool {
        self.shared.bearer.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Creates a chat.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create(&self, new: &NewChat) -> Result<Created, Error> {
        let body = encode(new)?;
        let call = Call { body: Some(body), ..Call::new("POST", "/v1/chats", None) };
        let created: Created = self.call(call).await?.read()?;
        self.shared.seen.note(created.token, &created.cursor);
        Ok(created)
    }

    /// Shows a chat.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn show(&self, chat: ChatToken) -> Result<Chat, Error> {
        let path = format!("/v1/chats/{chat}");
        let shown: Chat = self.call(Call::new("GET", &path, Some(chat))).await?.read()?;
        self.shared.seen.note(chat, &shown.cursor);
        Ok(shown)
    }

    /// Sends a message, under its key or a fresh one, so that however often it is tried it is there once.
    ///
    /// # Errors
    /// [`Error`]. After one that leaves the outcome open, sending again under the same key is safe.
    pub async fn send(&self, chat: ChatToken, message: &NewMessage) -> Result<Sent, Error> {
        self.find_owners(chat).await;
        let mut path = format!("/v1/chats/{chat}/messages");
        if let Some(acks) = message.acks {
            push(&mut path, format_args!("?w={acks}"));
        }
        let headers = match &message.key {
            Some(key) => format!("idempotency-key: {}\r\n", header_safe(key)),
            None => format!("idempotency-key: {:032x}\r\n", rand::random::<u128>()),
        };
        let body = match self.is_authorised() {
            true => encode(&message.unsigned())?,
            false => encode(message)?,
        };
        let body = Some(body);
        let call = Call { headers: &headers, body, ..Call::new("POST", &path, Some(chat)) };
        let reply = self.call(call).await?;
        let mut sent: Sent = reply.read()?;
        sent.replay = reply.replay;
        self.shared.seen.note(chat, &sent.cursor);
        Ok(sent)
    }

    /// Reads messages, or waits for them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn read(&self, chat: ChatToken, options: &ReadOptions) -> Result<Page, Error> {
        self.find_owners(chat).await;
        let reader = options.reader.as_deref().filter(|_| !self.is_authorised());
        let path = read_path(chat, options, reader);
        let wait = options.wait;
        let call = Call { wait, ..Call::new("GET", &path, Some(chat)) };
        let page: Page = self.call(call).await?.read()?;
        self.shared.seen.note(chat, &page.head);
        Ok(page)
    }

    /// Follows a chat from `after`, or from its start.
    pub fn tail(&self, chat: ChatToken, after: Option<Cursor>, reader: Option<String>) -> Tail {
        Tail::new(self.clone(), chat, after, reader)
    }

    /// Joins `member` to a chat; the how manieth they are.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn join(
        &self,
        chat: ChatToken,
        member: &str,
        role: Option<&str>,
    ) -> Result<u32, Error> {
        #[derive(Deserialize)]
        struct Joined {
            ordinal: u32,
        }
        let path = member_path(chat, member);
        let body = match role {
            Some(role) => encode(&std::collections::BTreeMap::from([("role", role)]))?,
            None => b"{}".to_vec(),
        };
        let call = Call { body: Some(body), ..Call::new("PUT", &path, Some(chat)) };
        self.call(call).await?.read().map(|joined: Joined| joined.ordinal)
    }

    /// Takes `member` out of a chat.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn leave(&self, chat: ChatToken, member: &str) -> Result<(), Error> {
        let path = member_path(chat, member);
        self.call(Call::new("DELETE", &path, Some(chat))).await.map(|_empty| ())
    }

    /// Ends a chat.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn end(&self, chat: ChatToken, sender: Option<&str>) -> Result<Ended, Error> {
        let path = format!("/v1/chats/{chat}/end");
        let body = match sender.filter(|_| !self.is_authorised()) {
            Some(sender) => encode(&std::collections::BTreeMap::from([("sender", sender)]))?,
            None => b"{}".to_vec(),
        };
        let call = Call { body: Some(body), ..Call::new("POST", &path, Some(chat)) };
        let ended: Ended = self.call(call).await?.read()?;
        self.shared.seen.note(chat, &ended.cursor);
        Ok(ended)
    }

    /// Who holds a chat.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn owners(&self, chat: ChatToken) -> Result<Owners, Error> {
        let path = format!("/v1/chats/{chat}/owners");
        let owners: Owners = self.call(Call::new("GET", &path, Some(chat))).await?.read()?;
        self.shared.nodes.learn_owners(chat, &owners);
        Ok(owners)
    }

    /// The ring.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn ring(&self) -> Result<Ring, Error> {
        let ring: Ring = self.call(Call::new("GET", "/v1/ring", None)).await?.read()?;
        self.shared.nodes.learn_addresses(&ring, runtime::now());
        Ok(ring)
    }

    /// The body of a plain `GET`, for what has no method of its own.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get(&self, path: &str) -> Result<Vec<u8>, Error> {
        self.call(Call::new("GET", path, None)).await.map(|reply| reply.body)
    }

    /// How patient this client is.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// Finds out who holds a chat, once. Any failure only means one hop more.
    async fn find_owners(&self, chat: ChatToken) {
        let nodes = &self.shared.nodes;
        if !self.shared.options.ask_leaders || !nodes.wants_owners(chat) {
            return;
        }
        if !nodes.has_addresses(runtime::now()) {
            let call = Call::new("GET", "/v1/ring", None);
            let Some(ring) = self.peek::<Ring>(&call).await else { return };
            nodes.learn_addresses(&ring, runtime::now());
        }
        let path = format!("/v1/chats/{chat}/owners");
        if let Some(owners) = self.peek::<Owners>(&Call::new("GET", &path, Some(chat))).await {
            nodes.learn_owners(chat, &owners);
        }
    }

    /// Asks once, for what can be done without.
    async fn peek<T: DeserializeOwned>(&self, call: &Call<'_>) -> Option<T> {
        self.once(call, &[]).await.ok()?.read().ok()
    }

    /// Tries until it is answered for good, or time is up.
    async fn call(&self, call: Call<'_>) -> Result<Reply, Error> {
        let Shared { options, answered, .. } = &*self.shared;
        let begun = runtime::now();
        let give_up = begun + options.give_up + call.wait;
        let mut nobody = !answered.load(Ordering::Relaxed);
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_CAP);
        let mut tried = Vec::new();
        loop {
            let error = match self.once(&call, &tried).await {
                Ok(reply) => return Ok(reply),
                Err(Missed { target, error }) => {
                    // A node that was asked twice has been everywhere in between.
                    if target.as_ref().is_some_and(|target| tried.contains(target)) {
                        tried.clear();
                    }
                    tried.extend(target);
                    error
                }
            };
            nobody &= error.finds_nobody();
            let sooner = options.nobody.filter(|_| nobody).map(|within| begun + within);
            let give_up = sooner.map_or(give_up, |sooner| sooner.min(give_up));
            let asked_for = error.problem().and_then(|problem| problem.retry_after_ms);
            let asked_for = Duration::from_millis(asked_for.unwrap_or_default().into());
            let pause = backoff.next(rand::random()).max(asked_for);
            if !error.is_retryable() || runtime::now() + pause >= give_up {
                return Err(error);
            }
            tracing::debug!(%error, "trying again");
            runtime::sleep(pause).await;
        }
    }

    /// Tries once, and remembers who did not answer.
    async fn once(&self, call: &Call<'_>, tried: &[Target]) -> Result<Reply, Missed> {
        let Shared { nodes, options, .. } = &*self.shared;
        let Some(target) = nodes.choose(call.chat, tried, runtime::now()) else {
            return Err(Missed { target: None, error: Error::NoUrl });
        };
        let within = options.answer + call.wait;
        let result = match runtime::timeout(within, self.exchange(call, &target)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(Error::Timeout { target: target.clone() }),
        };
        result.map_err(|error| {
            // One that says no for this chat may be the right one for every other.
            if error.is_silence() {
                nodes.shun(&target, runtime::now());
            }
            Missed { target: Some(target), error }
        })
    }

    async fn exchange(&self, call: &Call<'_>, target: &Target) -> Result<Reply, Error> {
        let Shared { pool, nodes, options, answered, .. } = &*self.shared;
        let mut request = Vec::new();
        let (headers, body) = (self.headers(call), call.body.as_deref());
        write_request(&mut request, call.method, target, call.path, &headers, body);
        let mut connection = match pool.take(target) {
            Some(connection) => connection,
            None => connect(target, options.connect).await?,
        };
        let lost = |source| Error::Lost { target: target.clone(), source };
        let answer = connection.exchange(&request).await.map_err(lost)?;
        answered.store(true, Ordering::Relaxed);
        if let Some(version) = answer.ring {
            nodes.learn_version(target, version);
        }
        if let Some((chat, primary)) = call.chat.zip(answer.primary) {
            nodes.learn_primary(chat, primary);
        }
        let reply = Reply {
            replay: answer.replay,
            status: answer.status,
            body: answer.body.to_vec(),
            target: target.clone(),
        };
        pool.put(target, connection);
        reply.checked()
    }

    /// The lines of a request that say who asks, and how far they have seen.
    fn headers(&self, call: &Call<'_>) -> String {
        let mut headers = call.headers.to_owned();
        let bearer = self.shared.bearer.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(bearer) = &*bearer {
            headers.push_str(&bearer.header());
        }
        if let Some(Cursor(seen)) = call.chat.and_then(|chat| self.shared.seen.of(chat)) {
            let seen = header_safe(&seen);
            push(&mut headers, format_args!("carillon-seen: {seen}\r\n"));
        }
        headers
    }
}

impl<'a> Call<'a> {
    fn new(method: &'static str, path: &'a str, chat: Option<ChatToken>) -> Self {
        Self { method, path, headers: "", body: None, chat, wait: Duration::ZERO }
    }
}

impl Reply {
    fn checked(self) -> Result<Self, Error> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        match serde_json::from_slice::<Problem>(&self.body) {
            Ok(problem) => Err(Error::Refused(Box::new(problem))),
            Err(error) => Err(self.unreadable(&error)),
        }
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| self.unreadable(&error))
    }

    fn unreadable(&self, error: &serde_json::Error) -> Error {
        let (target, status) = (self.target.clone(), self.status);
        Error::Unreadable { target, status, detail: error.to_string() }
    }
}

async fn connect(target: &Target, within: Duration) -> Result<Connection, Error> {
    let unreachable = |source| Error::Unreachable { target: target.clone(), source };
    match runtime::timeout(within, Connection::open(target)).await {
        Ok(opened) => opened.map_err(unreachable),
        Err(_elapsed) => Err(unreachable(io::ErrorKind::TimedOut.into())),
    }
}

fn read_path(chat: ChatToken, options: &ReadOptions, reader: Option<&str>) -> String {
    let mut path = format!("/v1/chats/{chat}/messages?wait={}", options.wait.as_secs_f64());
    let texts = [
        ("after", options.after.as_ref().map(|cursor| cursor.0.as_str())),
        ("before", options.before.as_ref().map(|cursor| cursor.0.as_str())),
        ("as", reader),
        ("confirmed", options.confirmed.then_some("true")),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            push(&mut path, format_args!("&{name}="));
            escape(&mut path, text);
        }
    }
    if let Some(limit) = options.limit {
        push(&mut path, format_args!("&limit={limit}"));
    }
    path
}

fn member_path(chat: ChatToken, member: &str) -> String {
    let mut path = format!("/v1/chats/{chat}/members/");
    escape(&mut path, member);
    path
}

/// Writes text into a path or a query.
fn escape(path: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            push(path, format_args!("%{byte:02X}"));
        }
    }
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _infallible = text.write_fmt(more);
}

/// What would end a header's line becomes something that the node refuses.
fn header_safe(text: &str) -> String {
    text.replace(|letter: char| letter.is_control(), " ")
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::NotJson { detail: error.to_string() })
}
