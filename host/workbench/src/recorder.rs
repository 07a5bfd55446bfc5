//! Stands between a chat and its plugin: takes down what was asked and answered, or breaks calls on purpose.

use std::sync::{Arc, Mutex, PoisonError};

use chat::{Handler, Later, Needs};
use plugin::{
    Answered, Call, CallbackReply, Event, Failure, Kind, OnFailure, Plan, Plugin, Reply, Said,
    Stats, TwilioRequest, Verb,
};

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
pub(crate) enum Heard {
    /// It was asked about a message.
    Reply(Result<Reply, Failure>),
    /// It was told of an event.
    Event(Event, Result<Answered<()>, Failure>),
    /// It answered a telephone.
    Verbs(Result<Answered<Vec<Verb>>, Failure>),
    /// It was told what a service answered.
    Callback(Result<Answered<()>, Failure>),
    /// It made a plan.
    Plan(Result<Answered<Plan>, Failure>),
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

    /// Has it plan.
    pub(crate) async fn plan_for(&self, call: Call, moment: &str, stats: Stats) {
        let answer = match self.fault {
            Some(fault) => Err(fault.failure(&self.plugin)),
            None => self.plugin.plan_for(call, moment, stats).await,
        };
        self.note(Heard::Plan(answer));
    }

    /// Tells it what a service answered.
    pub(crate) async fn reply_for(&self, call: Call, reply: CallbackReply) {
        let answer = match self.fault {
            Some(fault) => Err(fault.failure(&self.plugin)),
            None => self.plugin.on_reply(call, reply).await,
        };
        self.note(Heard::Callback(answer));
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
        Box::pin(async move {
            let answer = match self.fault {
                Some(fault) => Err(fault.failure(&self.plugin)),
                None => self.plugin.on_event(call, event.clone()).await,
            };
            self.note(Heard::Event(event, answer.clone()));
            answer
        })
    }

    fn on_reply(
        &self,
        call: Call,
        reply: CallbackReply,
    ) -> Later<'_, Result<Answered<()>, Failure>> {
        Handler::on_reply(&*self.plugin, call, reply)
    }

    fn on_request(
        &self,
        call: Call,
        request: TwilioRequest,
    ) -> Later<'_, Result<Answered<Vec<Verb>>, Failure>> {
        Box::pin(async move {
            let answer = match self.fault {
                Some(fault) => Err(fault.failure(&self.plugin)),
                None => self.plugin.on_request(call, request).await,
            };
            self.note(Heard::Verbs(answer.clone()));
            answer
        })
    }

    fn on_message(&self, call: Call, said: Said) -> Later<'_, Result<Reply, Failure>> {
        Box::pin(async move {
            let reply = match self.fault {
                Some(fault) => Err(fault.failure(&self.plugin)),
                None => self.plugin.on_message(call, said).await,
            };
            self.note(Heard::Reply(reply.clone()));
            reply
        })
    }
}
