//! A loaded component and its calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runtime::Instant;
use wasmtime::component::InstancePre;
use wasmtime::{Store, UpdateDeadline};

use crate::exports::Exports;
use crate::host::Shared;
use crate::journal::Subject;
use crate::measure::Meters;
use crate::outcome::{self, Late};
use crate::state::{Settings, State};
use crate::watch::{Voice, Watch};
use crate::{
    BreakerRule, BreakerState, Call, Effect, Failure, Grant, Journal, Kind, Limits, LoadError,
    OnFailure, Problem, Tally, tally,
};

/// Bytes that one host call or one answer may carry. A guest that points a thousand fields at one text
/// ends here, and not at the host's memory.
const CARRIED_BYTES_MAX: usize = 1 << 20;

/// How long `check-config` may take at least, and a call that nobody made. Nobody waits for it but whoever
/// loads the plugin, perhaps on a machine that is busy compiling; its fuel is the limit that counts.
const CHECK_DEADLINE: Duration = Duration::from_secs(5);

/// Most problems of a configuration that are repeated.
const PROBLEMS_MAX: usize = 32;

/// Longest words of a guest that are repeated.
const WORDS_BYTES_MAX: usize = 1 << 10;

/// A component that compiled, linked and found its configuration good.
///
/// Dropping it lets its calls finish: they hold what they need.
pub struct Plugin {
    loaded: Arc<Loaded>,
    shared: Arc<Shared>,
    plugin: Voice,
    settings: Arc<Settings>,
    pub(crate) pre: InstancePre<State>,
    pub(crate) exports: Arc<Exports>,
    /// How long a call may take.
    deadline: Duration,
    watch: Watch,
    /// `None`: its calls are nobody's, and leave no trace but their answer.
    meters: Option<Meters>,
    calls: AtomicU64,
    failures: AtomicU64,
    pub(crate) answers: tally::Counts,
}

/// Whether what a plugin does counts for anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counts {
    /// For its journal, its breaker and the node's metrics.
    Here,
    /// For nothing.
    Nowhere,
}

/// What is known of a plugin beside its code.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) sha256: [u8; 32],
    pub(crate) digest: String,
    pub(crate) setup: u64,
    pub(crate) on_failure: OnFailure,
    pub(crate) limits: Limits,
    pub(crate) grant: Arc<Grant>,
    pub(crate) asks: Vec<&'static str>,
}

impl Plugin {
    /// Probes for the exports. They are loaded once by [`Plugin::check_config`], which must follow.
    pub(crate) fn new(
        shared: Arc<Shared>,
        loaded: Loaded,
        pre: InstancePre<State>,
        config: &serde_json::Value,
        counts: Counts,
    ) -> Result<Self, LoadError> {
        let exports = Arc::new(Exports::probe(&loaded.name, &pre)?);
        let (plugin, watch, meters) = match counts {
            Counts::Here => {
                let (journal, counted) = shared.known.meet(&loaded.name, &loaded.version);
                let plugin = Voice::new(&loaded.name, &loaded.version, journal);
                let watch = Watch::new(plugin.clone(), BreakerRule::default());
                (plugin, watch, Some(Meters::new(&loaded.name, &counted)))
            }
            Counts::Nowhere => {
                let plugin = Voice::aside(&loaded.name, &loaded.version);
                (plugin.clone(), Watch::aside(plugin), None)
            }
        };
        let deadline = match counts {
            Counts::Here => loaded.limits.deadline,
            Counts::Nowhere => loaded.limits.deadline.max(CHECK_DEADLINE),
        };
        Ok(Self {
            deadline,
            plugin,
            settings: Arc::new(Settings::new(config)),
            watch,
            meters,
            loaded: Arc::new(loaded),
            shared,
            pre,
            exports,
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            answers: tally::Counts::default(),
        })
    }

    /// The operator's name for it.
    pub fn name(&self) -> &str {
        &self.loaded.name
    }

    /// The version in its manifest, or the first 12 digits of its digest.
    pub fn version(&self) -> &str {
        &self.loaded.version
    }

    /// SHA-256 of the component as it was given, in hex.
    pub fn digest(&self) -> &str {
        &self.loaded.digest
    }

    /// The same in bytes.
    pub fn sha256(&self) -> [u8; 32] {
        self.loaded.sha256
    }

    /// What it was given (configuration, grants, limits, failure policy), in one number: with another one it
    /// may decide otherwise.
    pub fn setup(&self) -> u64 {
        self.loaded.setup
    }

    /// The same plugin for calls that nobody made: they count nowhere, open no breaker, and what it says is
    /// in a journal of its own. Each may take its deadline, and at least `deadline`.
    pub fn aside(&self, deadline: Duration) -> Self {
        let plugin = Voice::aside(&self.loaded.name, &self.loaded.version);
        Self {
            deadline: deadline.max(self.loaded.limits.deadline),
            watch: Watch::aside(plugin.clone()),
            plugin,
            loaded: Arc::clone(&self.loaded),
            shared: Arc::clone(&self.shared),
            settings: Arc::clone(&self.settings),
            pre: self.pre.clone(),
            exports: Arc::clone(&self.exports),
            meters: None,
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            answers: tally::Counts::default(),
        }
    }

    /// What it can be asked about; never empty.
    pub fn kinds(&self) -> &[Kind] {
        &self.exports.kinds
    }

    /// What its failure means for a message.
    pub fn on_failure(&self) -> OnFailure {
        self.loaded.on_failure
    }

    /// What one call may use.
    pub fn limits(&self) -> Limits {
        self.loaded.limits
    }

    /// What it was granted.
    pub fn grant(&self) -> &Grant {
        &self.loaded.grant
    }

    /// The powers that it imports, and those that its manifest asks for.
    pub fn asks(&self) -> &[&'static str] {
        &self.loaded.asks
    }

    /// How many calls there were, and how many of them failed.
    pub fn counts(&self) -> (u64, u64) {
        (self.calls.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }

    /// What it answered to messages since it was loaded.
    pub fn tally(&self) -> Tally {
        self.answers.tally()
    }

    /// Whether it is called at all.
    pub fn breaker(&self) -> BreakerState {
        self.watch.state()
    }

    /// How often it failed so much that it was not called for a while.
    pub fn left_alone(&self) -> u64 {
        self.watch.opened()
    }

    /// What its guests said, and how they failed; that of earlier generations is in it too.
    pub fn journal(&self) -> &Journal {
        self.plugin.journal()
    }

    /// Makes a call unless the plugin is left alone, when there is room for it.
    pub(crate) async fn watched<T, F>(
        &self,
        of: Subject,
        call: impl FnOnce(Limits) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let limits = Limits { deadline: self.deadline, ..self.loaded.limits };
        // Put away while it runs: it is large, and everything around it would carry room for it, twice.
        let call = Box::pin(call(limits));
        self.watch.over(of, self.admitted(limits, call)).await
    }

    /// Counts a call that ended: with a word and its fuel, or with a failure.
    pub(crate) fn count(&self, outcome: Result<(&'static str, u64), &Failure>, began: Instant) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if outcome.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(meters) = &self.meters {
            meters.record(outcome, runtime::now() - began);
        }
    }

    /// What a call asked for, and what it counted.
    pub(crate) fn effects_of(&self, store: Store<State>) -> Vec<Effect> {
        let buffer = store.into_data().buffer;
        if self.meters.is_some() {
            self.shared.series.record(self.plugin.name(), &buffer.samples, buffer.samples_dropped);
        }
        buffer.into_effects()
    }

    /// Loads every export once, and has the guest check its configuration.
    pub(crate) async fn check_config(&self, config: &serde_json::Value) -> Result<(), LoadError> {
        let name = || self.loaded.name.clone();
        let limits = self.loaded.limits;
        let limits = Limits { deadline: limits.deadline.max(CHECK_DEADLINE), ..limits };
        let problems = Box::pin(self.problems(limits, config.to_string()));
        let checking = self.admitted(limits, problems);
        let checked = self.watch.over(Subject::default(), checking).await;
        match checked {
            Ok(Ok(problems)) if problems.is_empty() => Ok(()),
            Ok(Ok(problems)) => Err(LoadError::Config { name: name(), problems }),
            Ok(Err(text)) => Err(LoadError::Shape { name: name(), text }),
            Err(source) => Err(LoadError::CheckConfig { name: name(), source }),
        }
    }

    /// Runs a call when there is room, and ends it when its time is up even if it waits in the host.
    pub(crate) async fn admitted<T>(
        &self,
        limits: Limits,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let deadline = limits.deadline;
        let permit = match self.shared.calls.try_acquire() {
            Ok(permit) => permit,
            Err(_all_taken) => runtime::timeout(deadline, self.shared.calls.acquire())
                .await
                .map_err(|_elapsed| Failure::Busy)?
                .map_err(|_closed| Failure::Busy)?,
        };
        let result = runtime::timeout(deadline, call).await;
        drop(permit);
        result.unwrap_or_else(|_elapsed| Err(outcome::late(&limits)))
    }

    /// The guest's problems with its configuration; the inner error is an export of the wrong shape.
    async fn problems(
        &self,
        limits: Limits,
        config: String,
    ) -> Result<Result<Vec<Problem>, String>, Failure> {
        let mut store = self.store(&limits, None, Subject::default());
        let instance = self.pre.instantiate_async(&mut store).await;
        let instance = instance.map_err(|error| outcome::failure(&error, store.data(), &limits))?;
        if let Err(text) = self.exports.load_all(&mut store, &instance) {
            return Ok(Err(text));
        }
        let guest = match self.exports.lifecycle(&mut store, &instance) {
            Ok(Some(guest)) => guest,
            Ok(None) => return Ok(Ok(Vec::new())),
            Err(fault) => return Ok(Err(format!("its lifecycle: {fault:#}"))),
        };
        let problems = guest.call_check_config(&mut store, &config).await;
        let problems = problems.map_err(|error| outcome::failure(&error, store.data(), &limits))?;
        let problems = problems.into_iter().take(PROBLEMS_MAX).map(|problem| Problem {
            path: outcome::cut(problem.path, WORDS_BYTES_MAX),
            detail: outcome::cut(problem.detail, WORDS_BYTES_MAX),
        });
        Ok(Ok(problems.collect()))
    }

    /// A store for one call, with everything that bounds it.
    pub(crate) fn store(
        &self,
        limits: &Limits,
        call: Option<Box<Call>>,
        of: Subject,
    ) -> Store<State> {
        let (plugin, settings) = (self.plugin.clone(), Arc::clone(&self.settings));
        let state = State::new(plugin, settings, limits, call, of, Arc::clone(&self.loaded.grant));
        let mut store = Store::new(&self.shared.engine, state);
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(CARRIED_BYTES_MAX);
        store.set_max_component_handles(1_024);
        // Cannot fail: the engine counts fuel.
        let _counted = store.set_fuel(limits.fuel);
        // The next tick may be a microsecond away, and most calls are over before the one after it: they
        // never give way, and do not wait for everybody else in the middle of a message.
        store.set_epoch_deadline(2);
        store.epoch_deadline_callback(|store| {
            if runtime::now() >= store.data().deadline {
                return Err(Late.into());
            }
            // Others get their turn at every tick.
            Ok(UpdateDeadline::Yield(1))
        });
        store
    }
}

/// The guest's fuel and the price of what the host did for it.
pub(crate) fn spent(store: &Store<State>, limits: &Limits) -> u64 {
    let guest = limits.fuel.saturating_sub(store.get_fuel().unwrap_or_default());
    guest.saturating_add(limits.fuel.saturating_sub(store.data().host_fuel_left))
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Plugin").field(&self.loaded).finish()
    }
}
