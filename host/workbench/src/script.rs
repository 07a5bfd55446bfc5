//! Stands before a plugin in its chain and asks, in its name, for what a fixture lets happen: a start of the
//! chat, and what a handler asked for that no node asks yet.
//!
//! A handler that refuses a message is stored with what it asked for, and with nothing else. So this one
//! refuses a message that nobody sees, and asks for whatever is wanted.

use std::sync::{Arc, Mutex, PoisonError};

use chat::{Handler, Later, Request, Send};
use model::{Attrs, Body, Cursor, Route};
use plugin::{Call, Context, Effect, Failure, Ids, OnFailure, Reply, Said, Verdict};

use crate::ledger::{EPOCH, Memory, PARTITION, TOKEN};

/// Who asks where nobody is in the chat.
const NOBODY: &str = "fixture";

/// Effects on their way into a chat.
#[derive(Debug)]
pub(crate) struct Script {
    plugin: String,
    wanted: Mutex<Option<Vec<Effect>>>,
}

impl Script {
    pub(crate) fn new(plugin: &str) -> Self {
        Self { plugin: plugin.to_owned(), wanted: Mutex::default() }
    }

    /// The plugin for which it asks.
    pub(crate) fn name(&self) -> &str {
        &self.plugin
    }

    /// The request with which `effects` happen.
    pub(crate) fn asking(
        &self,
        index: usize,
        member: Option<&String>,
        effects: Vec<Effect>,
    ) -> Request {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(effects);
        Request::Send(Send {
            token: TOKEN,
            key: format!("step-{}-script", index + 1),
            acks: None,
            copies: None,
            sender: member.cloned().unwrap_or_else(|| NOBODY.to_owned()),
            kind: NOBODY.to_owned(),
            route: Route::Nobody,
            body: Body::Text(String::new()),
            archive: None,
            attrs: Attrs::new(),
            sent_ms: None,
        })
    }
}

impl Handler for Script {
    fn name(&self) -> &str {
        &self.plugin
    }

    fn version(&self) -> &'static str {
        NOBODY
    }

    fn on_failure(&self) -> OnFailure {
        OnFailure::Skip
    }

    fn on_message(&self, _call: Call, _said: Said) -> Later<'_, Result<Reply, Failure>> {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (verdict, effects) = match wanted {
            None => (Verdict::Pass, Vec::new()),
            Some(effects) => {
                let (code, reason) = (NOBODY.to_owned(), String::new());
                (Verdict::Reject { code, reason, retry_after_ms: None }, effects)
            }
        };
        let reply = Reply { verdict, notes: Vec::new(), effects, fuel: 0 };
        Box::pin(std::future::ready(Ok(reply)))
    }
}

/// What `plugin` is told of the chat when it is asked about something else than a message.
pub(crate) fn call(memory: &Memory, plugin: &str) -> Call {
    let chat = memory.chat();
    Call {
        context: Context {
            chat: TOKEN,
            head: Cursor { epoch: EPOCH, seq: chat.messages },
            now_ms: memory.now_ms().max(chat.clock_ms),
            status: chat.status,
            started_ms: chat.started_ms,
            max_duration_ms: chat.max_duration_s.map(|seconds| seconds.saturating_mul(1000)),
            max_participants: chat.max_participants,
            participants: u32::try_from(chat.roster.len()).unwrap_or(u32::MAX),
            chat_attrs: Arc::clone(&chat.attrs),
        },
        notes: chat.notes.get(plugin).map(Arc::clone).unwrap_or_default(),
        roster: Arc::clone(&chat.roster),
        waiting: chat.waiting.as_ref().map(Arc::clone),
        decisions: chat.decisions.get(plugin).map(Arc::clone),
        past: None,
        ids: Ids {
            partition: u8::try_from(PARTITION.0).unwrap_or(u8::MAX),
            chat: TOKEN,
            epoch: EPOCH,
            turn: chat.turn,
            next_index: 1,
        },
        seed: chat.turn,
    }
}
