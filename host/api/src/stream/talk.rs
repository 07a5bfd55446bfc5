//! One WebSocket: many chats followed, and messages sent, over one connection.
//!
//! One task has all of it. Whatever takes time (a question that waits, a message on its way) is a future in
//! one set ([`Work`]); what comes of it is written before more of the same is asked for, so a client that reads
//! slowly has one page a chat in our memory, and one that reads nothing is ended. Frames are read only
//! while there is room for what they ask; what they say is understood in [`super::sayings`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::AbortHandle;
use hyper::upgrade::Upgraded;
use model::ChatToken;
use runtime::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::follow::{First, Follower, Heard};
use super::frame::{self, PROTOCOL, Told};
use super::meters::{Ended, Open};
use super::wire::{End, Frame, Wire, closing};
use super::work::{Done, Work};
use crate::auth::Caller;
use crate::connected::Connected;
use crate::endpoints::Edge;
use crate::problem::Problem;
use crate::shape::{MessageShape, PeopleShape, ReadShape, Shown, TypingShape};

/// Messages on their way at once. More are not read before some are answered.
const SENDS_MAX: usize = 64;
/// What is done at once before what was said of it goes out: as much as may be on its way.
const TOGETHER_MAX: usize = SENDS_MAX;
/// After how long without anything a sign of life is asked for, and how often in vain.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
const SILENCES_MAX: u32 = 2;
/// How long messages on their way are waited for when the node takes its leave.
const GOODBYE: Duration = Duration::from_secs(5);

/// A socket, and all that goes on over it.
pub(crate) struct Talk {
    pub(super) edge: Arc<Edge>,
    pub(super) connected: Connected,
    pub(super) request_id: String,
    /// Who asks; nobody yet where a token is wanted and none came.
    pub(super) caller: Option<Caller>,
    pub(super) wire: Wire,
    pub(super) subs: HashMap<ChatToken, AbortHandle>,
    pub(super) work: Work,
    /// How often a sign of life was asked for since the last.
    silences: u32,
    /// When the next is asked for.
    alive_by: Instant,
    /// Frames were looked for first the last time.
    frames_first: bool,
    open: Open,
}

/// What comes next.
enum Came {
    /// Something has come to its end.
    Done(Done),
    /// A frame, or something that is none, or the end.
    Frame(Option<Frame>),
}

impl Talk {
    /// What goes on over `upgraded`, asked by `caller`.
    pub(crate) async fn new(
        edge: Arc<Edge>,
        connected: Connected,
        request_id: String,
        caller: Option<Caller>,
        upgraded: Upgraded,
    ) -> Self {
        let wire = Wire::new(upgraded, edge.config.patience.stall).await;
        let open = Open::new("websocket", request_id.clone());
        Self {
            edge,
            connected,
            request_id,
            caller,
            wire,
            subs: HashMap::new(),
            work: Work::default(),
            silences: 0,
            alive_by: runtime::now() + ALIVE_EVERY,
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
        if let Some(close) = close {
            self.wire.close(close).await;
        }
    }

    async fn greet(&mut self) -> Result<(), End> {
        self.wire.tell(&Told::Hello { protocol: PROTOCOL }).await?;
        self.wire.flush().await
    }

    async fn talk(&mut self) -> End {
        let (draining, stop) = (self.connected.draining().clone(), self.connected.stop().clone());
        let mut draining = std::pin::pin!(draining.stopped());
        let mut stop = std::pin::pin!(stop.stopped());
        loop {
            let alive_by = self.alive_by;
            let step = tokio::select! {
                biased;
                () = &mut stop => return End(Ended::Draining, None),
                () = &mut draining => return self.goodbye().await,
                came = self.came() => self.take_all(came).await,
                () = runtime::sleep_until(alive_by) => self.ask_alive().await,
            };
            // What is ready goes out together.
            let step = match step {
                Ok(()) => self.wire.flush().await,
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
        let may_read = self.work.sends() < SENDS_MAX;
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

    /// Takes what came, and what else has come by then: its answers are one write.
    async fn take_all(&mut self, came: Came) -> Result<(), End> {
        self.take(came).await?;
        for _ in 1..TOGETHER_MAX {
            let Some(came) = self.came().now_or_never() else { break };
            self.take(came).await?;
        }
        Ok(())
    }

    async fn take(&mut self, came: Came) -> Result<(), End> {
        match came {
            Came::Done(done) => self.done(done).await,
            Came::Frame(Some(frame)) => {
                (self.silences, self.alive_by) = (0, runtime::now() + ALIVE_EVERY);
                self.heard(frame).await
            }
            Came::Frame(None) => Err(End(Ended::Client, None)),
        }
    }

    /// Something that takes time has come to its end. What it gave is written before more is asked for.
    async fn done(&mut self, done: Done) -> Result<(), End> {
        match done {
            Done::Sent(Some(receipt)) => self.wire.say(receipt).await,
            Done::Dropped | Done::Sent(None) => Ok(()),
            Done::Followed(followed) => {
                let (chat, follower, first) = *followed;
                match first {
                    Ok(First { page, pulse }) => {
                        let head = Shown(page.head);
                        self.wire.tell(&Told::Subbed { chat: Shown(chat), head }).await?;
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
        *abort = self.work.wait(async move {
            let heard = follower.next().await;
            Done::Heard(Box::new((chat, follower, heard)))
        });
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
            self.wire.tell(&Told::Typing { chat: chat(), typing: TypingShape { typing } }).await?;
        }
        if let Some(read) = &pulse.read {
            self.wire.tell(&Told::Read { chat: chat(), read: ReadShape::new(read) }).await?;
        }
        if let Some(people) = &pulse.people {
            let people = PeopleShape::new(people);
            self.wire.tell(&Told::Presence { chat: chat(), people }).await?;
        }
        Ok(())
    }

    /// A page: that there is a gap before it first; where the reader stands last, if no message shown stands there.
    async fn page(&mut self, chat: ChatToken, page: &chat::Page) -> Result<(), End> {
        if let Some(after) = page.gap {
            self.wire.tell(&Told::Gap { chat: Shown(chat), after: Shown(after) }).await?;
        }
        let mut last = None;
        for stored in &page.messages {
            last = Some(stored.cursor);
            let message = MessageShape::new(&stored.message, stored.cursor);
            self.wire.tell(&Told::Msg { chat: Shown(chat), message }).await?;
        }
        if last == Some(page.cursor) {
            return Ok(());
        }
        self.wire.tell(&Told::Passed { chat: Shown(chat), cursor: Shown(page.cursor) }).await
    }

    /// Says that something was not done.
    pub(super) async fn refuse(
        &mut self,
        chat: Option<&str>,
        key: Option<&str>,
        problem: &Problem,
    ) -> Result<(), End> {
        crate::endpoints::told::tell("socket", problem, &self.request_id);
        let text = frame::error(chat, key, problem, &self.request_id);
        self.wire.say(text).await
    }

    /// Nothing came for a while: asks whether the client is still there.
    async fn ask_alive(&mut self) -> Result<(), End> {
        self.alive_by = runtime::now() + ALIVE_EVERY;
        self.silences += 1;
        if self.silences > SILENCES_MAX {
            return Err(End(Ended::Silent, closing(CloseCode::Policy, "nothing came from here")));
        }
        self.wire.ping().await
    }

    /// Says that the node takes its leave, answers what is on its way, and ends.
    async fn goodbye(&mut self) -> End {
        let by = runtime::now() + GOODBYE;
        let by_ms = u64::try_from(GOODBYE.as_millis()).unwrap_or(u64::MAX);
        if let Err(end) = self.wire.tell(&Told::Drain { by_ms }).await {
            return end;
        }
        if let Err(end) = self.wire.flush().await {
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
        while self.work.sends() > 0 {
            let left = by.saturating_duration_since(runtime::now());
            match runtime::timeout(left, self.work.next()).await {
                Ok(Some(Done::Sent(Some(receipt)))) => self.wire.say(receipt).await?,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        self.wire.flush().await
    }
}
