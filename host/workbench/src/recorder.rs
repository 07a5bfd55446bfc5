//! Stands between a chat and its plugin: takes down what was asked and answered, or breaks calls on purpose.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chat::{Handler, Later, Needs};
use plugin::{Answered, Call, CallbackReply, Event, Failure, Kind, OnFailure, Plugin, Reply, Said};

/// A fault that is made on purpose: the call fails like that instead of being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// As if the guest had panicked.
    Trap,
    /// As if it had not been done in time.
    Deadline,
    /// As if it had wanted more memory than it may.
    Memory,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Trap, Self::Deadline, Self::Memory];

    /// The word on the command line, which is also the failure's.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
        }
    }

    fn failure(self, plugin: &Plugin) -> Failure {
        let limits = plugin.limits();
        let text = "made to fail by --fault".to_owned();
        match self {
            Self::Trap => Failure::Trap { text },
            Self::Deadline => {
                let deadline_ms = u64::try_from(limits.deadline.as_millis()).unwrap_or(u64::MAX);
                Failure::Deadline { deadline_ms }
            }
            Self::Memory => Failure::Memory { memory_bytes: limits.memory_bytes, text },
        }
    }
}

/// One call, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) reply: Result<Reply, Failure>,
    pub(crate) took: Duration,
}

/// A plugin that is listened to.
#[derive(Debug)]
pub(crate) struct Recorder {
    plugin: Arc<Plugin>,
    fault: Option<Fault>,
    heard: Mutex<Vec<Heard>>,
}

impl Recorder {
    pub(crate) fn new(plugin: Arc<Plugin>, fault: Option<Fault>) -> Self {
        Self { plugin, fault, heard: Mutex::default() }
    }

    /// What was heard since this was asked last.
    pub(crate) fn take(&self) -> Vec<Heard> {
        std::mem::take(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, heard: Heard) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(heard);
    }
}

impl Handler for Recorder {
    fn name(&self) -> &str {
        self.plugin.name()
    }

    fn version(&self) -> &str {
        self.plugin.version()
    }

    fn on_failure(&self) -> OnFailure {
        self.plugin.on_failure()
    }

    fn kinds(&self) -> &[Kind] {
        self.plugin.kinds()
    }

    fn needs(&self) -> Needs {
        Handler::needs(&*self.plugin)
    }

    fn on_event(&self, call: Call, event: Event) -> Later<'_, Result<Answered<()>, Failure>> {
        Handler::on_event(&*self.plugin, call, event)
    }

    fn on_reply(
        &self,
        call: Call,
        reply: CallbackReply,
    ) -> Later<'_, Result<Answered<()>, Failure>> {
        Handler::on_reply(&*self.plugin, call, reply)
    }

    fn on_message(&self, call: Call, said: Said) -> Later<'_, Result<Reply, Failure>> {
        Box::pin(async move {
            let began = runtime::now();
            let reply = match self.fault {
                Some(fault) => Err(fault.failure(&self.plugin)),
                None => self.plugin.on_message(call, said).await,
            };
            self.note(Heard { reply: reply.clone(), took: runtime::now() - began });
            reply
        })
    }
}
