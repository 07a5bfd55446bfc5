//! Plays a fixture: the real host, the real rules of a chat, and a log in memory below them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat::{CallContext, Chain, Chats, Config, Request, Send};
use model::{Change, ChatStatus, Entry};
use plugin::{Grant, Host, HostConfig, Limits, LimitsWanted, LoadError, OnFailure, Plugin, Spec};
use runtime::{Stop, Tasks};

use crate::fixture::Act;
use crate::ledger::{Memory, TOKEN};
use crate::recorder::{Fault, Recorder};
use crate::{Fixture, Seen, Step, Trouble};

/// A call may take so long here. Fuel is the limit that counts in a test: it is the same on every machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// Whoever waits for a step waits so long at most: its calls, and a machine that is busy.
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

    /// Plays a fixture from its beginning.
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
        let stage = Stage::new(fixture, plugin, options.fault)?;
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
    chats: Chats,
    tasks: Tasks,
}

impl Stage {
    fn new(fixture: &Fixture, plugin: Arc<Plugin>, fault: Option<Fault>) -> Result<Self, Trouble> {
        let first = first(fixture, plugin.name());
        let memory = Memory::new(&first).ok_or_else(|| {
            Trouble::usage("the chat of the fixture is too big", "Write fewer members and notes")
        })?;
        let recorder = Arc::new(Recorder::new(plugin, fault));
        let tasks = Tasks::current(Stop::default());
        let chain = Chain::new(vec![Arc::clone(&recorder) as Arc<dyn chat::Handler>]);
        let ledger = Arc::clone(&memory) as Arc<dyn chat::Ledger>;
        let chats = Chats::new(ledger, chain, Config::default(), &tasks);
        memory.serve(&chats, &tasks);
        Ok(Self { memory, recorder, chats, tasks })
    }

    async fn play(&self, index: usize, step: &Step) -> Seen {
        self.memory.pass(step.after_ms);
        // The fixture was read: every step does one thing.
        let Some(request) = step.act().ok().and_then(|act| request(index, step, act)) else {
            return Seen { answer: "waited".to_owned(), ..Seen::default() };
        };
        let context = CallContext {
            deadline: runtime::now() + STEP,
            request_id: format!("step-{}", index + 1),
            seen: None,
            hop: 0,
        };
        let answer = self.chats.call(request, context).await;
        Seen::new(self.recorder.take(), answer)
    }
}

/// What a step asks of the chat; nothing while time passes.
fn request(index: usize, step: &Step, act: Act) -> Option<Request> {
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
            attrs: step.attrs.clone(),
            sent_ms: None,
        }),
        Act::Join { id } => {
            Request::Join { token, id, role: step.role.clone(), attrs: step.attrs.clone() }
        }
        Act::Leave { id } => Request::Leave { token, id },
        Act::End => Request::End { token, sender: None },
        Act::Wait => return None,
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
