//! Plays a fixture: the real host, the real rules of a chat, and a log in memory below them. The clock stands
//! unless the fixture lets time pass.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat::{CallContext, Chain, Chats, Config, Handler, Request, Send, Telephone};
use model::{Change, ChatStatus, Entry};
use plugin::{
    Effect, Grant, Host, HostConfig, Limits, LimitsWanted, LoadError, OnFailure, Plugin, Spec,
};
use runtime::{SimulatedClock, Stop, Tasks};

use crate::fixture::Act;
use crate::ledger::{Memory, TOKEN};
use crate::recorder::{Fault, Heard, Recorder};
use crate::script::{self, Script};
use crate::{Fixture, Seen, Step, Trouble};

/// A call may take so long while it is loaded. In a chat the clock stands: fuel is the limit that counts in a
/// test, because it is the same on every machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// Whoever waits for a step waits so long at most, on the clock that stands.
const STEP: Duration = Duration::from_secs(60);

/// What is played.
#[derive(Clone, Debug)]
pub struct Bench {
    host: Host,
    component: Bytes,
    name: String,
    grant: Grant,
}

/// How it is played.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Calls that fail on purpose.
    pub fault: Option<Fault>,
    /// What a failure means, instead of what the manifest says.
    pub on_failure: Option<OnFailure>,
}

/// What came of a fixture.
#[derive(Clone, Debug, PartialEq)]
pub enum Played {
    /// Its steps, one by one.
    Steps(Vec<Seen>),
    /// `check-config` found these faults, and nothing was played.
    Problems(Vec<plugin::Problem>),
}

impl Bench {
    /// A host for `component`, which is granted what it asks for. What is compiled is kept in `cache`.
    ///
    /// # Errors
    /// When the system does not let it run.
    pub fn new(
        component: Vec<u8>,
        name: &str,
        grant: Grant,
        cache: Option<&Path>,
    ) -> Result<Self, Trouble> {
        let ceiling = Limits { deadline: DEADLINE, ..Limits::CEILING };
        let config = HostConfig {
            cache: cache.map(Path::to_owned),
            ceiling,
            calls_max: 4,
            ..HostConfig::default()
        };
        let host = Host::new(config).map_err(|error| {
            Trouble::failed(chain(&error), "Give the process more address space (ulimit -v)")
        })?;
        Ok(Self { host, component: component.into(), name: name.to_owned(), grant })
    }

    /// The plugin under a configuration.
    ///
    /// # Errors
    /// Why it is not loaded.
    pub async fn load(
        &self,
        config: serde_json::Value,
        on_failure: Option<OnFailure>,
    ) -> Result<Arc<Plugin>, LoadError> {
        let spec = Spec {
            name: self.name.clone(),
            component: self.component.clone(),
            config,
            grant: self.grant.clone(),
            limits: LimitsWanted { deadline: Some(DEADLINE), ..LimitsWanted::default() },
            on_failure,
        };
        self.host.load(spec).await
    }

    /// Plays a fixture from its beginning, by a clock of its own: for runtimes of one thread, whose tasks all go by
    /// it.
    ///
    /// # Errors
    /// When the plugin is not loaded for another reason than its configuration.
    pub async fn play(&self, fixture: &Fixture, options: Options) -> Result<Played, Trouble> {
        let config = fixture.settings.clone().into();
        let plugin = match self.load(config, options.on_failure).await {
            Ok(plugin) => plugin,
            Err(LoadError::Config { problems, .. }) => return Ok(Played::Problems(problems)),
            Err(error) => {
                let fix = "Build it again, and ask for what it imports below [asks] in plugin.toml";
                return Err(Trouble::failed(chain(&error), fix));
            }
        };
        let clock = SimulatedClock::new();
        let _here = clock.enter();
        let stage = Stage::new(fixture, plugin, options.fault, clock.clone())?;
        let mut seen = Vec::new();
        for (index, step) in fixture.steps.iter().enumerate() {
            seen.push(stage.play(index, step).await);
        }
        stage.tasks.stop().stop();
        Ok(Played::Steps(seen))
    }
}

/// One chat, while it is played.
struct Stage {
    memory: Arc<Memory>,
    recorder: Arc<Recorder>,
    script: Arc<Script>,
    chats: Chats,
    tasks: Tasks,
}

impl Stage {
    fn new(
        fixture: &Fixture,
        plugin: Arc<Plugin>,
        fault: Option<Fault>,
        clock: SimulatedClock,
    ) -> Result<Self, Trouble> {
        let first = first(fixture, plugin.name());
        let memory = Memory::new(&first, clock).ok_or_else(|| {
            Trouble::usage("the chat of the fixture is too big", "Write fewer members and notes")
        })?;
        let script = Arc::new(Script::new(plugin.name()));
        let recorder = Arc::new(Recorder::new(plugin, fault));
        let tasks = Tasks::current(Stop::default());
        let handlers: [Arc<dyn Handler>; 2] =
            [Arc::clone(&script) as Arc<dyn Handler>, Arc::clone(&recorder) as Arc<dyn Handler>];
        let ledger = Arc::clone(&memory) as Arc<dyn chat::Ledger>;
        let chats = Chats::new(ledger, Chain::new(handlers.into()), Config::default(), &tasks);
        memory.serve(&chats, &tasks);
        Ok(Self { memory, recorder, script, chats, tasks })
    }

    async fn play(&self, index: usize, step: &Step) -> Seen {
        self.memory.pass(step.after_ms).await;
        // The fixture was read: every step does one thing.
        match step.act().unwrap_or(Act::Wait) {
            Act::Wait => Seen::of("waited", self.recorder.take()),
            Act::Start => {
                self.ask_for(index, vec![Effect::StartChat]).await;
                self.memory.told().await;
                Seen::of("started", self.recorder.take())
            }
            Act::Policy { moment, stats } => {
                let call = script::call(&self.memory, self.script.name());
                self.recorder.plan_for(call, &moment, stats).await;
                self.answered(index).await
            }
            Act::Reply(reply) => {
                let call = script::call(&self.memory, self.script.name());
                self.recorder.reply_for(call, reply).await;
                self.answered(index).await
            }
            act => {
                let answer = match request(index, step, act, self.script.name()) {
                    Some(request) => self.chats.call(request, self.context(index)).await,
                    None => return Seen::of("waited", self.recorder.take()),
                };
                self.memory.told().await;
                Seen::new(self.recorder.take(), answer)
            }
        }
    }

    /// What a handler answered that nobody in the chat asks; what it asked for is done.
    async fn answered(&self, index: usize) -> Seen {
        let mut heard = self.recorder.take();
        let effects = heard.iter().flat_map(|heard| match heard {
            Heard::Plan(Ok(answered)) => answered.effects.clone(),
            Heard::Callback(Ok(answered)) => answered.effects.clone(),
            _ => Vec::new(),
        });
        let effects: Vec<Effect> = effects.collect();
        if !effects.is_empty() {
            self.ask_for(index, effects).await;
            self.memory.told().await;
        }
        heard.extend(self.recorder.take());
        Seen::of("answered", heard)
    }

    /// Does what nobody in the chat asked for.
    async fn ask_for(&self, index: usize, effects: Vec<Effect>) {
        let chat = self.memory.chat();
        let member = chat.roster.values().next().map(|member| &member.id);
        let request = self.script.asking(index, member, effects);
        // It is refused, always: that is how a handler asks for effects and for nothing else.
        let _refused = self.chats.call(request, self.context(index)).await;
    }

    fn context(&self, index: usize) -> CallContext {
        CallContext {
            caller: 0,
            deadline: runtime::now() + STEP,
            request_id: format!("step-{}", index + 1),
            seen: None,
            hop: 0,
        }
    }
}

/// What a step asks of the chat with `plugin` in it, if it asks it.
fn request(index: usize, step: &Step, act: Act, plugin: &str) -> Option<Request> {
    let token = TOKEN;
    Some(match act {
        Act::Send { from, kind, route, body } => Request::Send(Send {
            token,
            key: format!("step-{}", index + 1),
            acks: None,
            copies: None,
            sender: from,
            kind,
            route,
            body,
            archive: None,
            attrs: step.attrs.clone(),
            sent_ms: None,
        }),
        Act::Join { id } => {
            Request::Join { token, id, role: step.role.clone(), attrs: step.attrs.clone() }
        }
        Act::Leave { id } => Request::Leave { token, id },
        Act::End => Request::End { token, sender: None },
        Act::Telephone(request) => Request::Twilio(Box::new(Telephone {
            token,
            plugin: plugin.to_owned(),
            key: format!("step-{}", index + 1),
            request,
        })),
        Act::Start | Act::Reply(_) | Act::Policy { .. } | Act::Wait => return None,
    })
}

/// The entry that makes the chat what it is before the first step.
fn first(fixture: &Fixture, plugin: &str) -> Entry {
    let before = &fixture.chat;
    let mut changes = vec![Change::Create {
        max_duration_s: before.max_duration_s,
        max_participants: before.max_participants,
        attrs: before.attrs.clone(),
    }];
    for member in &fixture.members {
        let (id, role, attrs) = (member.id.clone(), member.role.clone(), member.attrs.clone());
        changes.push(Change::Join { id, role, attrs });
        if let Some(status) = &member.status {
            changes.push(Change::MemberStatus { id: member.id.clone(), status: status.clone() });
        }
    }
    changes.extend(fixture.notes.iter().map(|(key, value)| Change::Note {
        plugin: plugin.to_owned(),
        key: key.clone(),
        value: Some(value.clone().into_bytes()),
    }));
    if before.status != ChatStatus::Pending {
        changes.push(Change::Start);
    }
    if before.status == ChatStatus::Ended {
        changes.push(Change::End { reason: String::new() });
    }
    Entry { chat: TOKEN, turn: 0, time_ms: before.now_ms, changes, remembered: None }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
