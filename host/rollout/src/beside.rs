//! A version that runs beside the live one on this node, because another node asked for it: who, and for how
//! long it is remembered.
//!
//! Whoever asked looks again and again. One that has not looked for a while is gone, and what it wanted ends
//! with it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use plugin::{Comparison, Plugin};
use runtime::Instant;

use crate::Digest;
use crate::changing::locked;
use crate::rollout::Shared;
use crate::settings::Beside;
use crate::versions::Key;

/// So long nobody need look.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// What runs here.
#[derive(Debug, Default)]
pub(crate) struct Running {
    run: Mutex<Option<Run>>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    number: u64,
    looked: Instant,
}

/// What a node says of a version beside the live one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Seen {
    /// It runs, and this came of it so far.
    Runs(Comparison),
    /// It does not run here: it was never asked for, or not looked at for too long.
    Unknown,
    /// It cannot: why.
    Cannot(String),
}

impl Shared {
    /// Lets a version that is ready run beside the live one of its name.
    pub(crate) fn begin_beside(self: &Arc<Self>, number: u64, key: &Key, sample: u32) -> Seen {
        let (name, digest) = key;
        let Some(plugin) = self.versions.ready(key) else {
            return Seen::Cannot(format!("{name} {digest} is not ready"));
        };
        let Some(beside) = &self.settings.beside else {
            return Seen::Cannot("it asks no version beside another".to_owned());
        };
        let live = self.live.borrow().clone();
        if !live.is_some_and(|live| live.plugins.iter().any(|live| live.name() == name)) {
            return Seen::Cannot(format!("no version of {name} is live to be compared with"));
        }
        {
            let mut run = locked(&self.running.run);
            match &*run {
                Some(run) if run.number == number => return self.seen(),
                Some(run) if runtime::now() < run.looked + LEASE => {
                    let what = "another version runs beside a live one already: wait for it";
                    return Seen::Cannot(what.to_owned());
                }
                _ => *run = Some(Run { number, looked: runtime::now() }),
            }
        }
        self.run_beside(beside, &plugin, number, sample);
        Seen::Runs(Comparison::default())
    }

    fn run_beside(
        self: &Arc<Self>,
        beside: &Arc<dyn Beside>,
        plugin: &Plugin,
        number: u64,
        sample: u32,
    ) {
        let Some(network) = self.network.get() else { return };
        let asking = beside.begin(Arc::new(plugin.aside(Duration::ZERO)), sample);
        let (shared, stop) = (Arc::clone(self), network.tasks.stop().clone());
        tracing::info!(node = %self.settings.node, plugin = plugin.name(), version = plugin.version(),
            "a version runs beside the live one");
        network.tasks.spawn("plugin beside", async move {
            tokio::select! { biased;
                () = stop.stopped() => {}
                () = asking => {}
                () = shared.forgotten(number) => {}
            }
        });
    }

    /// Waits until nobody has looked at a run for too long, and ends it.
    async fn forgotten(&self, number: u64) {
        loop {
            let run = *locked(&self.running.run);
            let Some(run) = run.filter(|run| run.number == number) else { return };
            if runtime::now() >= run.looked + LEASE {
                tracing::warn!(node = %self.settings.node,
                    "nobody asks any more about the version beside the live one: it ends");
                self.end_beside(number);
                return;
            }
            runtime::sleep_until(run.looked + LEASE).await;
        }
    }

    /// What came of a run so far.
    pub(crate) fn look_beside(&self, number: u64) -> Seen {
        match &mut *locked(&self.running.run) {
            Some(run) if run.number == number => run.looked = runtime::now(),
            _ => return Seen::Unknown,
        }
        self.seen()
    }

    /// What came of a run, which ends.
    pub(crate) fn end_beside(&self, number: u64) -> Seen {
        let ended = locked(&self.running.run).take_if(|run| run.number == number);
        match (ended, &self.settings.beside) {
            (Some(_), Some(beside)) => beside.end().map_or(Seen::Unknown, Seen::Runs),
            _ => Seen::Unknown,
        }
    }

    fn seen(&self) -> Seen {
        let told = self.settings.beside.as_ref().and_then(|beside| beside.told());
        told.map_or(Seen::Unknown, Seen::Runs)
    }
}

/// What is to be asked of a node: that it begins, or what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) number: u64,
    pub(crate) name: String,
    pub(crate) digest: Digest,
    pub(crate) sample: u32,
}
