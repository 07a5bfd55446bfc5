//! The guard of one node: it watches what became live here, and has it rolled back once when it decides
//! otherwise than the version before.
//!
//! The rollback is a change like any other, by compare-and-set, and only of the generation that was watched:
//! of several nodes that see the same, one does it. It leaves a mark in the record. Where that stands nothing is
//! rolled back by itself, until a person has changed the plugin.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use plugin::{Plugin, Tally};
use runtime::Instant;

use crate::guard::{Guard, Record};
use crate::meters;
use crate::rollout::Shared;
use crate::settings::Lineup;

/// How often counts are looked at while something is watched: they tell nobody that they changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a rollback is tried that somebody else stands in the way of.
const TRIES_MAX: u32 = 60;

/// A version while it is watched.
#[derive(Debug)]
struct Watched {
    generation: u64,
    plugin: Arc<Plugin>,
    /// What it had answered when it became live here: it may have been live before.
    base: Tally,
    /// How often it had been left alone by then.
    left_alone: u64,
    /// What came of the version before while it was live.
    before: Option<Record>,
    since: Instant,
    /// Nothing more is concluded of it.
    done: bool,
}

/// What is live here, by name.
#[derive(Debug, Default)]
struct Watch {
    watched: BTreeMap<String, Watched>,
}

impl Watched {
    /// What was seen of it since it became live here.
    fn record(&self) -> Record {
        let left_alone = self.plugin.left_alone() > self.left_alone;
        Record { answered: self.plugin.tally().since(&self.base), left_alone }
    }
}

impl Watch {
    /// This is live from now on.
    fn follow(&mut self, lineup: &Lineup, now: Instant) {
        let mut before = std::mem::take(&mut self.watched);
        for (plugin, (name, live)) in lineup.plugins.iter().zip(&lineup.set.plugins) {
            let earlier = before.remove(name);
            let watched = match earlier {
                Some(same) if same.generation == live.generation => same,
                earlier => Watched {
                    generation: live.generation,
                    plugin: Arc::clone(plugin),
                    base: plugin.tally(),
                    left_alone: plugin.left_alone(),
                    before: earlier.map(|it| it.record()),
                    since: now,
                    done: live.held || live.past.is_empty(),
                },
            };
            self.watched.insert(name.clone(), watched);
        }
    }

    /// The first version that breaks its guard, and why. Each is told once.
    fn breach(
        &mut self,
        now: Instant,
        guard: impl Fn(&str) -> Option<Guard>,
    ) -> Option<(String, u64, String)> {
        self.watched.iter_mut().filter(|(_, it)| !it.done).find_map(|(name, it)| {
            let guard = guard(name)?;
            if now >= it.since + guard.watch {
                it.done = true;
                return None;
            }
            let breach = guard.judge(it.before.as_ref(), &it.record())?;
            it.done = true;
            Some((name.clone(), it.generation, breach.what))
        })
    }

    fn is_idle(&self) -> bool {
        self.watched.values().all(|it| it.done)
    }
}

/// Watches until the node stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let Some(network) = shared.network.get() else { return };
    let stop = network.tasks.stop().clone();
    tokio::select! { biased;
        () = stop.stopped() => {}
        () = watch(&shared) => {}
    }
}

async fn watch(shared: &Arc<Shared>) {
    let (mut live, mut watch) = (shared.live.subscribe(), Watch::default());
    loop {
        if let Some(lineup) = live.borrow_and_update().clone() {
            watch.follow(&lineup, runtime::now());
        }
        while let Some((name, generation, what)) =
            watch.breach(runtime::now(), |name| (shared.settings.guard)(name))
        {
            shared.breached(&name, generation, &what).await;
        }
        let idle = watch.is_idle();
        // The sender lives as long as this.
        tokio::select! {
            _ = live.changed() => {}
            () = runtime::sleep(LOOK_EVERY), if !idle => {}
        }
    }
}

impl Shared {
    /// Rolls back the version that broke its guard, if it is still the live one.
    async fn breached(self: &Arc<Self>, name: &str, generation: u64, what: &str) {
        tracing::error!(node = %self.settings.node, plugin = name, generation, what,
            "the guard of a plugin: it is rolled back");
        self.tell("guard", name, None, Some(generation), what).await;
        let mut tries = 0;
        let done = loop {
            tries += 1;
            match self.roll_back_held(name, generation).await {
                // Somebody else changes something, or the registry is away: it is still bad.
                Err(_later) if tries < TRIES_MAX && self.is_live(name, generation) => {
                    runtime::sleep(LOOK_EVERY).await;
                }
                done => break done,
            }
        };
        match done {
            Ok(changed) => {
                meters::guarded("rolled-back");
                tracing::error!(node = %self.settings.node, plugin = name, number = changed.generation,
                    version = changed.version.as_deref().unwrap_or_default(),
                    "rolled back by its guard; not again before a person has changed the plugin");
            }
            Err(refused) => {
                meters::guarded("not-rolled-back");
                tracing::error!(node = %self.settings.node, plugin = name, %refused,
                    "the guard did not roll the plugin back");
            }
        }
    }

    fn is_live(&self, name: &str, generation: u64) -> bool {
        let lineup = self.live.borrow().clone();
        let live = lineup.as_ref().and_then(|lineup| lineup.set.plugins.get(name));
        live.is_some_and(|live| live.generation == generation)
    }
}
