//! Asking a plugin something before anybody else does.
//!
//! What it answers is its own business: it may refuse, rewrite or not be able to decide. It only must not
//! break, so that a version that traps on everything is found before it meets a message.

use std::sync::Arc;
use std::time::Duration;

use model::{Body, ChatStatus, ChatToken, Cursor, Message, MessageId, Participant, Route};

use crate::{Call, Context, Failure, Ids, Limits, Plugin};

/// How long it may take at least: it is asked beside others that are being compiled. Its fuel counts.
const DEADLINE: Duration = Duration::from_secs(5);

/// Who says what it is asked about.
const SENDER: &str = "self-test";

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
        let asked = self.admitted(limits, |limits| self.message(limits, call())).await;
        match asked {
            Ok(_) | Err(Failure::Refused { .. }) => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}

/// A first message in a new chat.
fn call() -> Call {
    let chat = ChatToken([0; 16]);
    let sender = Participant { id: SENDER.to_owned(), ..Participant::default() };
    let message = Message {
        id: MessageId::derive(0, chat, 1, 1, 0),
        sender: SENDER.to_owned(),
        kind: "text".to_owned(),
        route: Route::Everyone,
        body: Body::Text("hello".to_owned()),
        attrs: Default::default(),
        time_ms: 0,
        sent_ms: None,
        stamps: Vec::new(),
    };
    Call {
        context: Context {
            chat,
            head: Cursor::default(),
            now_ms: 0,
            status: ChatStatus::Pending,
            started_ms: None,
            max_duration_ms: None,
            max_participants: None,
            participants: 1,
            chat_attrs: Arc::default(),
        },
        message: Arc::new(message),
        sender: sender.clone(),
        notes: Arc::default(),
        roster: Arc::new([(SENDER.to_owned(), sender)].into()),
        ids: Ids { partition: 0, chat, epoch: 1, turn: 1, next_index: 1 },
        seed: 0,
    }
}
