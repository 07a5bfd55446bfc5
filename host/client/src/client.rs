//! Asking the cluster, whichever node answers.
//!
//! Every request here may be sent again without harm: reads by nature, joins, leaves and ends because
//! they say what should be, sends because of their key. (A chat that is created twice has one name that
//! nobody knows.) So what fails in a way that may pass is tried again, elsewhere if there is an elsewhere,
//! until it is answered or time is up.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use model::ChatToken;
use serde::Deserialize;

use crate::call::Call;
use crate::nodes::Nodes;
use crate::path::{header_safe, member_path, push, read_path};
use crate::pool::Pool;
use crate::seen::Seen;
use crate::{
    Bearer, Chat, Created, Cursor, Ended, Error, NewChat, NewMessage, Owners, Page, ReadOptions,
    Ring, Sent, Tail, Target,
};

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
    /// less for each of the others. Who was given one URL asks only there: it may be that of a balancer, and the
    /// addresses behind it need not be for everybody. Give two to be led to the leaders.
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
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) nodes: Nodes,
    pub(crate) pool: Pool,
    pub(crate) seen: Seen,
    pub(crate) bearer: RwLock<Option<Bearer>>,
    pub(crate) options: Options,
    /// Some node has answered something.
    pub(crate) answered: AtomicBool,
    /// Why the request that failed last is tried again.
    trouble: Mutex<Option<String>>,
}

impl Shared {
    pub(crate) fn note_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
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
        let (bearer, trouble) = (RwLock::default(), Mutex::default());
        let shared = Shared { nodes, pool, seen, bearer, options, answered, trouble };
        Ok(Self { shared: Arc::new(shared) })
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

    /// What went wrong with the last try of a request that is tried again; nothing once one is answered.
    pub fn trouble(&self) -> Option<String> {
        self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::NotJson { detail: error.to_string() })
}
