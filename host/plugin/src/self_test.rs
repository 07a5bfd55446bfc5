//! Asking a plugin something before anybody else does.
//!
//! What it answers is its own business: it may refuse, rewrite or not be able to decide. It only must not
//! break, so that a version that traps on everything is found before it meets a message.

use std::sync::Arc;
use std::time::Duration;

use model::{Body, ChatStatus, ChatToken, Cursor, Message, MessageId, Participant, Route};

use crate::journal::Subject;
use crate::{
    Call, CallbackReply, Context, Event, Failure, Ids, Kind, Limits, Plugin, Stats, TwilioRequest,
    convert,
};

/// How long it may take at least: it is asked beside others that are being compiled. Its fuel counts.
const DEADLINE: Duration = Duration::from_secs(5);

/// Who says what it is asked about.
const SENDER: &str = "self-test";

/// Where.
const CHAT: ChatToken = ChatToken([0; 16]);

impl Plugin {
    /// Asks every handler it exports about something harmless. The calls are not counted, and what they ask
    /// for is dropped.
    ///
    /// # Errors
    /// The [`Failure`], if it broke. That it could not decide is an answer, and a host that is busy says
    /// nothing about it.
    pub async fn self_test(&self) -> Result<(), Failure> {
        let limits = self.limits();
        let limits = Limits { deadline: limits.deadline.max(DEADLINE), ..limits };
        for kind in self.kinds() {
            match self.test(*kind, limits).await {
                Ok(()) | Err(Failure::Refused { .. }) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    async fn test(&self, kind: Kind, limits: Limits) -> Result<(), Failure> {
        match kind {
            Kind::Message => {
                let message = convert::message(None, &message(), convert::participant(&sender()));
                let of = Subject::of(&call(), None);
                self.admitted(limits, Box::pin(self.message(limits, call(), message, of)))
                    .await
                    .map(drop)
            }
            Kind::Events => {
                let subject = Some(sender());
                let event = Event { name: "member.joined", subject, attrs: Vec::new() };
                self.admitted(limits, Box::pin(self.event(limits, call(), event))).await.map(drop)
            }
            Kind::Callback => {
                let correlation = SENDER.to_owned();
                let reply =
                    CallbackReply { correlation, status: 200, body: Vec::new(), attempts: 1 };
                self.admitted(limits, Box::pin(self.callback(limits, call(), reply)))
                    .await
                    .map(drop)
            }
            Kind::Twilio => {
                let channel = "voice".to_owned();
                let request = TwilioRequest { channel, ..TwilioRequest::default() };
                self.admitted(limits, Box::pin(self.request(limits, call(), request)))
                    .await
                    .map(drop)
            }
            Kind::Policy => {
                let stats = Stats::default();
                self.admitted(limits, Box::pin(self.plan(limits, call(), "idle", stats)))
                    .await
                    .map(drop)
            }
        }
    }
}

fn sender() -> Participant {
    Participant { id: SENDER.to_owned(), ..Participant::default() }
}

/// What it says.
fn message() -> Message {
    Message {
        id: MessageId::derive(0, CHAT, 1, 1, 0),
        sender: SENDER.to_owned(),
        kind: "text".to_owned(),
        route: Route::Everyone,
        body: Body::Text("hello".to_owned()),
        archive: None,
        attrs: Default::default(),
        time_ms: 0,
        sent_ms: None,
        stamps: Vec::new(),
    }
}

/// A call in a new chat.
fn call() -> Call {
    Call {
        context: Context {
            chat: CHAT,
            head: Cursor::default(),
            now_ms: 0,
            status: ChatStatus::Pending,
            started_ms: None,
            max_duration_ms: None,
            max_participants: None,
            participants: 1,
            chat_attrs: Arc::default(),
        },
        notes: Arc::default(),
        roster: Arc::new([sender()].into_iter().collect()),
        waiting: None,
        decisions: None,
        past: None,
        ids: Ids { partition: 0, chat: CHAT, epoch: 1, turn: 1, next_index: 1 },
        seed: 0,
    }
}
