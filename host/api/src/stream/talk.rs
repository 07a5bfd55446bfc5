//! One WebSocket: many chats followed, and messages sent, over one connection.
//!
//! One task has all of it. Whatever takes time (a question that waits, a message on its way) is a future in
//! one set; what comes of it is written before more of the same is asked for, so a client that reads
//! slowly has one page a chat in our memory, and one that reads nothing is ended. Frames are read only
//! while there is room for what they ask.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat::Request;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use model::ChatToken;
use runtime::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::follow::{First, Follower, Heard};
use super::frame::{
    self, AuthFrame, PROTOCOL, ReadFrame, Said, SendFrame, SubFrame, Told, TypingFrame, UnsubFrame,
};
use super::meters::{Ended, Open};
use crate::auth::{Caller, Denied, Grant, InChat, Needs, Reads, Sends};
use crate::calling::{Aside, put};
use crate::check;
use crate::connected::Connected;
use crate::endpoints::{Edge, Placing, follow_from, mark_request, new_send, typing_request};
use crate::problem::Problem;
use crate::shape::{PeopleShape, ReadShape, Shown, TypingShape};

/// Bytes of a frame: what a request's body may have, and room for the words around it.
const FRAME_BYTES_MAX: usize = (1 << 20) + 4096;
/// Chats followed at once over one socket. Each waits at the node that leads it.
pub(super) const SUBS_MAX: usize = 1024;
/// Messages on their way at once. More are not read before some are answered.
const SENDS_MAX: usize = 64;
/// After how long without anything a sign of life is asked for, and how often in vain.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
const SILENCES_MAX: u32 = 2;
/// How long messages on their way are waited for when the node takes its leave.
const GOODBYE: Duration = Duration::from_secs(5);

/// The other end of the wire.
type Wire = WebSocketStream<TokioIo<Upgraded>>;
/// What takes time.
type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// What has come of it.
enum Done {
    /// A chat's reader has heard something. Boxed with the reader, who is asked again.
    Heard(Box<(ChatToken, Follower, Heard)>),
    /// A chat is followed, or is not to be followed.
    Followed(Box<(ChatToken, Follower, Result<First, Problem>)>),
    /// A message has an answer, or what is not written was refused.
    Sent(Option<String>),
    /// Nobody wants to know any more.
    Dropped,
}

/// A socket, and all that goes on over it.
pub(crate) struct Talk {
    edge: Arc<Edge>,
    connected: Connected,
    request_id: String,
    /// Who asks; nobody yet where a token is wanted and none came.
    caller: Option<Caller>,
    wire: Wire,
    subs: HashMap<ChatToken, AbortHandle>,
    sends: usize,
    work: FuturesUnordered<Work>,
    silences: u32,
    /// Frames were looked for first the last time.
    frames_first: bool,
    open: Open,
}

/// What comes next.
enum Came {
    /// Something has come to its end.
    Done(Done),
    /// A frame, or something that is none, or the end.
    Frame(Option<Result<Message, WsError>>),
}

/// Why a socket ends, and how that is said.
struct End(Ended, Option<CloseFrame>);

impl Talk {
    /// What goes on over `upgraded`, asked by `caller`.
    pub(crate) async fn new(
        edge: Arc<Edge>,
        connected: Connected,
        request_id: String,
        caller: Option<Caller>,
        upgraded: Upgraded,
    ) -> Self {
        let config = WebSocketConfig::default()
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let io = TokioIo::new(upgraded);
        let wire = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        let open = Open::new("websocket", request_id.clone());
        Self {
            edge,
            connected,
            request_id,
            caller,
            wire,
            subs: HashMap::new(),
            sends: 0,
            work: FuturesUnordered::new(),
            silences: 0,
            frames_first: false,
            open,
        }
    }

    /// Until either side has enough.
    pub(crate) async fn run(mut self) {
        let End(why, close) = match self.greet().await {
            Ok(()) => self.talk().await,
            Err(end) => end,
        };
        self.open.ends(why);
        if close.is_some() {
            let closing = runtime::timeout(self.edge.config.patience.stall, self.wire.close(close));
            if let Err(error) = closing.await {
                tracing::debug!(%error, "a socket did not take its end");
            }
        }
    }

    async fn greet(&mut self) -> Result<(), End> {
        self.tell(&Told::Hello { protocol: PROTOCOL }).await?;
        self.flush().await
    }

    async fn talk(&mut self) -> End {
        let (draining, stop) = (self.connected.draining().clone(), self.connected.stop().clone());
        let mut alive_by = runtime::now() + ALIVE_EVERY;
        loop {
            let step = tokio::select! {
                biased;
                () = stop.stopped() => return End(Ended::Draining, None),
                () = draining.stopped() => return self.goodbye().await,
                came = self.came() => match came {
                    Came::Done(done) => self.done(done).await,
                    Came::Frame(frame) => {
                        (self.silences, alive_by) = (0, runtime::now() + ALIVE_EVERY);
                        match frame {
                            Some(frame) => self.heard(frame).await,
                            None => Err(End(Ended::Client, None)),
                        }
                    }
                },
                () = runtime::sleep_until(alive_by) => {
                    alive_by = runtime::now() + ALIVE_EVERY;
                    self.ask_alive().await
                }
            };
            // What is ready goes out together.
            let step = match step {
                Ok(()) => self.flush().await,
                Err(end) => Err(end),
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// What comes next. What has come of something and what the client says are looked for first by turns: a socket over
    /// which much is told must still hear that its client has enough. Cancel-safe.
    async fn came(&mut self) -> Came {
        let may_read = self.sends < SENDS_MAX;
        self.frames_first = !self.frames_first;
        let (work, wire) = (&mut self.work, &mut self.wire);
        let done = async {
            match work.next().await {
                Some(done) => Came::Done(done),
                None => std::future::pending().await,
            }
        };
        let frame = async {
            match may_read {
                true => Came::Frame(wire.next().await),
                false => std::future::pending().await,
            }
        };
        match self.frames_first {
            true => tokio::select! { biased; came = frame => came, came = done => came },
            false => tokio::select! { biased; came = done => came, came = frame => came },
        }
    }

    /// A frame came, or something that is none.
    async fn heard(&mut self, frame: Result<Message, WsError>) -> Result<(), End> {
        match frame {
            Ok(Message::Text(text)) => match Said::read(&text) {
                Ok(said) => self.said(said).await,
                Err(problem) => self.refuse(None, None, &problem).await,
            },
            Ok(Message::Binary(_)) => {
                self.refuse(None, None, &Problem::invalid("frames are JSON, in frames of text"))
                    .await
            }
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Ok(()),
            Ok(Message::Close(_)) => Err(End(Ended::Client, None)),
            Err(error) => Err(refused_frame(&error)),
        }
    }

    async fn said(&mut self, said: Said<'_>) -> Result<(), End> {
        match said {
            Said::Auth(auth) => self.auth(auth).await,
            Said::Sub(sub) => match self.sub(&sub) {
                Ok(()) => Ok(()),
                Err(problem) => self.refuse(Some(&sub.chat), None, &problem).await,
            },
            Said::Unsub(unsub) => self.unsub(&unsub).await,
            Said::Send(send) => {
                let (chat, key) = (send.chat.clone(), send.key.clone());
                match self.send(send) {
                    Ok(()) => Ok(()),
                    Err(problem) => self.refuse(Some(&chat), Some(&key), &problem).await,
                }
            }
            Said::Typing(typing) => match self.types(&typing) {
                Ok(()) => Ok(()),
                Err(problem) => self.refuse(Some(&typing.chat), None, &problem).await,
            },
            Said::Read(read) => match self.has_read(&read) {
                Ok(()) => Ok(()),
                Err(problem) => self.refuse(Some(&read.chat), None, &problem).await,
            },
            Said::Ping => self.tell(&Told::Pong).await,
        }
    }

    async fn auth(&mut self, auth: AuthFrame<'_>) -> Result<(), End> {
        let mut headers = HeaderMap::new();
        // What no header can hold is no token either.
        if let Ok(value) = HeaderValue::try_from(format!("Bearer {}", auth.token)) {
            headers.insert(AUTHORIZATION, value);
        }
        match self.edge.auth.identify(&mut headers).await {
            Ok(caller) => {
                self.caller = Some(caller);
                self.tell(&Told::Authed).await
            }
            Err(reason) => {
                self.edge.auth.count(reason);
                self.refuse(None, None, &reason.problem()).await
            }
        }
    }

    /// The grant for a chat, if whoever asks has it now.
    fn grant<G: Grant>(&self, chat: &str) -> Result<G, Problem> {
        let Some(caller) = &self.caller else {
            let detail = "say who asks first, in a frame of the type auth";
            return Err(Problem::new(chat::Code::Unauthenticated, detail));
        };
        let valid = self.edge.auth.still_valid(caller).map_err(Denied::from);
        valid.and_then(|()| G::check(caller.clone(), Some(chat))).map_err(|denied| {
            if let Denied::Refused(reason) = &denied {
                self.edge.auth.count(*reason);
            }
            denied.problem()
        })
    }

    fn sub(&mut self, sub: &SubFrame<'_>) -> Result<(), Problem> {
        let grant: InChat<Reads> = self.grant(&sub.chat)?;
        let chat = grant.chat();
        if self.subs.contains_key(&chat) {
            return Err(Problem::invalid("chat: it is followed already over this socket"));
        }
        if self.subs.len() >= SUBS_MAX {
            let detail = format!("one socket follows at most {SUBS_MAX} chats");
            return Err(Problem::new(chat::Code::Overloaded, detail));
        }
        let (reader, after) = follow_from(&grant, sub.r#as.clone(), sub.after.as_deref())?;
        let (edge, id) = (Arc::clone(&self.edge), self.request_id.clone());
        let connection = self.connected.number();
        let mut follower = Follower::new(edge, grant, reader, after, None, (connection, id));
        let (abort, registration) = AbortHandle::new_pair();
        self.subs.insert(chat, abort);
        let following = async move {
            let first = follower.first().await;
            Done::Followed(Box::new((chat, follower, first)))
        };
        self.begin(Abortable::new(following, registration));
        Ok(())
    }

    async fn unsub(&mut self, unsub: &UnsubFrame<'_>) -> Result<(), End> {
        let followed = unsub.chat.parse().ok().and_then(|chat| self.subs.remove_entry(&chat));
        let Some((chat, abort)) = followed else {
            let problem = Problem::invalid("chat: it is not followed over this socket");
            return self.refuse(Some(&unsub.chat), None, &problem).await;
        };
        abort.abort();
        self.tell(&Told::Unsubbed { chat: Shown(chat) }).await
    }

    fn send(&mut self, send: SendFrame<'_>) -> Result<(), Problem> {
        let grant: InChat<Sends> = self.grant(&send.chat)?;
        let chat = grant.chat();
        check::key(&send.key).map_err(|wrong| Problem::invalid(format!("key: {wrong}")))?;
        let placing = Placing { acks: send.w, copies: send.n };
        let request = new_send(&self.edge, &grant, send.message, send.key.clone(), placing)?;
        let (edge, id, key) = (Arc::clone(&self.edge), self.request_id.clone(), send.key);
        self.sends += 1;
        self.work.push(Box::pin(async move {
            let answer = put(&edge, &grant, Request::Send(request), at_once(&id)).await;
            Done::Sent(Some(frame::receipt(chat, &key, answer, &id)))
        }));
        Ok(())
    }

    fn types(&mut self, typing: &TypingFrame<'_>) -> Result<(), Problem> {
        let grant: InChat<Sends> = self.grant(&typing.chat)?;
        let request = typing_request(&grant, typing.sender.clone(), typing.typing)?;
        self.note(grant, request);
        Ok(())
    }

    fn has_read(&mut self, read: &ReadFrame<'_>) -> Result<(), Problem> {
        let grant: InChat<Reads> = self.grant(&read.chat)?;
        let request = mark_request(&grant, read.sender.clone(), &read.upto)?;
        self.note(grant, request);
        Ok(())
    }

    /// Asks for what has no answer, but may be refused.
    fn note<S: Needs + Sync>(&mut self, grant: InChat<S>, request: Request) {
        let (edge, id, chat) =
            (Arc::clone(&self.edge), self.request_id.clone(), grant.chat().to_string());
        self.sends += 1;
        self.work.push(Box::pin(async move {
            let answer = put(&edge, &grant, request, at_once(&id)).await;
            Done::Sent(answer.err().map(|problem| frame::error(Some(&chat), None, &problem, &id)))
        }));
    }

    /// Something that takes time has come to its end. What it gave is written before more is asked for.
    async fn done(&mut self, done: Done) -> Result<(), End> {
        match done {
            Done::Dropped => Ok(()),
            Done::Sent(receipt) => {
                self.sends = self.sends.saturating_sub(1);
                match receipt {
                    Some(receipt) => self.say(receipt).await,
                    None => Ok(()),
                }
            }
            Done::Followed(followed) => {
                let (chat, follower, first) = *followed;
                match first {
                    Ok(First { page, pulse }) => {
                        let head = Shown(page.head);
                        self.tell(&Told::Subbed { chat: Shown(chat), head }).await?;
                        self.more(chat, Some(&page), pulse.as_deref()).await?;
                        self.follow_on(chat, follower);
                        Ok(())
                    }
                    Err(problem) => self.lost(chat, &problem).await,
                }
            }
            Done::Heard(heard) => {
                let (chat, follower, heard) = *heard;
                match heard {
                    Heard::More { page, pulse } => {
                        self.more(chat, page.as_ref(), pulse.as_deref()).await?;
                    }
                    Heard::Quiet => {}
                    Heard::Refused(problem) => return self.lost(chat, &problem).await,
                }
                self.follow_on(chat, follower);
                Ok(())
            }
        }
    }

    /// A chat cannot be followed any more.
    async fn lost(&mut self, chat: ChatToken, problem: &Problem) -> Result<(), End> {
        self.subs.remove(&chat);
        self.refuse(Some(&chat.to_string()), None, problem).await
    }

    /// Asks what comes next, unless the chat is not followed any more.
    fn follow_on(&mut self, chat: ChatToken, mut follower: Follower) {
        let Some(abort) = self.subs.get_mut(&chat) else { return };
        let (fresh, registration) = AbortHandle::new_pair();
        *abort = fresh;
        let following = async move {
            let heard = follower.next().await;
            Done::Heard(Box::new((chat, follower, heard)))
        };
        self.begin(Abortable::new(following, registration));
    }

    fn begin(&self, work: Abortable<impl Future<Output = Done> + Send + 'static>) {
        self.work.push(Box::pin(async move { work.await.unwrap_or(Done::Dropped) }));
    }

    async fn more(
        &mut self,
        chat: ChatToken,
        page: Option<&chat::Page>,
        pulse: Option<&chat::Pulse>,
    ) -> Result<(), End> {
        if let Some(page) = page {
            self.page(chat, page).await?;
        }
        let Some(pulse) = pulse else { return Ok(()) };
        let chat = || Shown(chat);
        if let Some(typing) = &pulse.typing {
            self.tell(&Told::Typing { chat: chat(), typing: TypingShape { typing } }).await?;
        }
        if let Some(read) = &pulse.read {
            self.tell(&Told::Read { chat: chat(), read: ReadShape::new(read) }).await?;
        }
        if let Some(people) = &pulse.people {
            self.tell(&Told::Presence { chat: chat(), people: PeopleShape::new(people) }).await?;
        }
        Ok(())
    }

    async fn page(&mut self, chat: ChatToken, page: &chat::Page) -> Result<(), End> {
        if let Some(after) = page.gap {
            self.tell(&Told::Gap { chat: Shown(chat), after: Shown(after) }).await?;
        }
        let mut last = None;
        for stored in &page.messages {
            last = Some(stored.cursor);
            let message = crate::shape::MessageShape::new(&stored.message, stored.cursor);
            self.tell(&Told::Msg { chat: Shown(chat), message }).await?;
        }
        if last.is_none_or(|last| last == page.cursor) {
            return Ok(());
        }
        self.tell(&Told::Passed { chat: Shown(chat), cursor: Shown(page.cursor) }).await
    }

    async fn refuse(
        &mut self,
        chat: Option<&str>,
        key: Option<&str>,
        problem: &Problem,
    ) -> Result<(), End> {
        crate::endpoints::told::tell("socket", problem, &self.request_id);
        let text = frame::error(chat, key, problem, &self.request_id);
        self.say(text).await
    }

    async fn tell(&mut self, told: &Told<'_>) -> Result<(), End> {
        self.say(told.text()).await
    }

    /// Puts a frame to what goes out next.
    async fn say(&mut self, text: String) -> Result<(), End> {
        let feeding = self.wire.feed(Message::text(text));
        written(runtime::timeout(self.edge.config.patience.stall, feeding).await)
    }

    async fn flush(&mut self) -> Result<(), End> {
        let flushing = self.wire.flush();
        written(runtime::timeout(self.edge.config.patience.stall, flushing).await)
    }

    /// Nothing came for a while: asks whether the client is still there.
    async fn ask_alive(&mut self) -> Result<(), End> {
        self.silences += 1;
        if self.silences > SILENCES_MAX {
            return Err(End(Ended::Silent, closing(CloseCode::Policy, "nothing came from here")));
        }
        let feeding = self.wire.feed(Message::Ping(Bytes::new()));
        written(runtime::timeout(self.edge.config.patience.stall, feeding).await)
    }

    /// Says that the node takes its leave, answers what is on its way, and ends.
    async fn goodbye(&mut self) -> End {
        let by = runtime::now() + GOODBYE;
        let by_ms = u64::try_from(GOODBYE.as_millis()).unwrap_or(u64::MAX);
        if let Err(end) = self.tell(&Told::Drain { by_ms }).await {
            return end;
        }
        if let Err(end) = self.flush().await {
            return end;
        }
        for abort in self.subs.values() {
            abort.abort();
        }
        match self.finish(by).await {
            Ok(()) => End(Ended::Draining, closing(CloseCode::Away, "this node takes its leave")),
            Err(end) => end,
        }
    }

    /// Answers messages that are on their way, until `by`.
    async fn finish(&mut self, by: Instant) -> Result<(), End> {
        while self.sends > 0 {
            match runtime::timeout(by.saturating_duration_since(runtime::now()), self.work.next())
                .await
            {
                Ok(Some(Done::Sent(receipt))) => {
                    self.sends -= 1;
                    if let Some(receipt) = receipt {
                        self.say(receipt).await?;
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        self.flush().await
    }
}

/// Beside what waits for nothing, and takes no place of those who wait.
const fn at_once(request_id: &str) -> Aside<'_> {
    Aside { wait: Duration::ZERO, request_id, seen: None, connection: 0 }
}

/// How a write ended.
fn written<E>(result: Result<Result<(), WsError>, E>) -> Result<(), End> {
    match result {
        Ok(Ok(())) => Ok(()),
        // There is no way to tell a client that takes nothing. The socket below is as patient, and may be the first to say so.
        Ok(Err(error)) if is_stall(&error) => Err(End(Ended::Slow, None)),
        Err(_elapsed) => Err(End(Ended::Slow, None)),
        Ok(Err(_gone)) => Err(End(Ended::Client, None)),
    }
}

/// Whether a client took nothing for too long.
fn is_stall(error: &WsError) -> bool {
    matches!(error, WsError::Io(error) if error.kind() == std::io::ErrorKind::TimedOut)
}

/// What was no frame, and why the socket ends.
fn refused_frame(error: &WsError) -> End {
    match error {
        WsError::Capacity(_) => {
            let why = "a frame has at most 1052672 bytes";
            End(Ended::Refused, closing(CloseCode::Size, why))
        }
        WsError::Protocol(_) | WsError::Utf8(_) | WsError::AttackAttempt => {
            End(Ended::Refused, closing(CloseCode::Protocol, "this is not RFC 6455"))
        }
        // Reading writes too: answers to pings.
        error if is_stall(error) => End(Ended::Slow, None),
        _ => End(Ended::Client, None),
    }
}

fn closing(code: CloseCode, reason: &'static str) -> Option<CloseFrame> {
    Some(CloseFrame { code, reason: reason.into() })
}
