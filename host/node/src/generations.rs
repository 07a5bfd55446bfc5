//! What the configuration says of plugins, as the rollout wants it, and the live ones as a chain.
//!
//! The configuration gives a plugin of a name what it may do and how it is set up, on this node, and with
//! which components a new cluster begins. Which version is live is the cluster's.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use archive::Archive;
use bytes::Bytes;
use chat::{Chain, Chats, Handler, LiveChain};
use hashring::{NodeId, PartitionId};
use outbox::Services;
use plugin::{Comparison, Host, Plugin};
use replication::{Answering, RequestHead, Stream, Streaming};
use rollout::{Beside, Guard, GuardOf, Hook, Lineup, Rollout, Settings, Trust};

use crate::assemble::StartError;
use crate::config::{Config, GuardConfig, PluginConfig};
use crate::{handlers, telephones};

/// The folder of the rollout, below the node's own.
const FOLDER: &str = "plugins";

/// The rollout of a node; what becomes live goes into `live`.
pub(crate) async fn open(
    config: &Config,
    host: Host,
    live: LiveChain,
    hook: Option<Hook>,
) -> Result<Rollout, StartError> {
    let (plugins, order) = (config.plugins.clone(), config.chain.clone());
    let channels =
        if config.twilio.is_on() { config.channels.clone() } else { BTreeMap::default() };
    let beside = Arc::new(BesideLive { live: live.clone() });
    let switch = move |lineup: &Lineup| {
        let handlers = in_order(lineup, &order);
        let handlers = handlers.into_iter().map(|plugin| plugin as Arc<dyn Handler>).collect();
        if live.switch(Chain::of_generation(lineup.set.number, handlers)) {
            telephones::tell_of_mute(&channels, lineup);
        }
    };
    let rollouts = &config.rollouts;
    // What is wrong with a key was told with the configuration.
    let trust = Trust::new(&rollouts.trusted_keys, rollouts.require_signature).unwrap_or_default();
    let settings = Settings {
        node: config.node.id.clone(),
        folder: config.data().join(FOLDER),
        host,
        spec: Arc::new(move |name: &str, component: Bytes| {
            handlers::spec(name, plugins.get(name), component)
        }),
        explain: Arc::new(handlers::explain),
        switch: Arc::new(switch),
        beside: Some(beside),
        guard: guards(config),
        trust,
        keep: usize::from(rollouts.keep_generations),
        seeds: seeds(config),
        hook,
    };
    let opened = runtime::blocking(move || Rollout::open(settings)).await;
    let ended = || StartError::Ended("the folder of plugins was not opened".to_owned());
    Ok(opened.ok_or_else(ended)??)
}

/// The guards of the plugins that have one.
fn guards(config: &Config) -> GuardOf {
    let guard = |plugin: &PluginConfig| {
        let GuardConfig { max_trap_rate, max_shift, calls, watch } = plugin.guard;
        (max_trap_rate.is_some() || max_shift.is_some()).then(|| Guard {
            failed_ppm_max: max_trap_rate.map(|share| share.0),
            shift_ppm_max: max_shift.map(|share| share.0),
            calls_min: calls,
            watch: watch.0,
        })
    };
    let guards = config.plugins.iter();
    let guards: BTreeMap<String, Guard> =
        guards.filter_map(|(name, plugin)| Some((name.clone(), guard(plugin)?))).collect();
    Arc::new(move |name: &str| guards.get(name).copied())
}

/// Who asks versions beside the live ones: the chats, which know what those are asked.
struct BesideLive {
    live: LiveChain,
}

impl Beside for BesideLive {
    fn begin(
        &self,
        plugin: Arc<Plugin>,
        sample: u32,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        Box::pin(self.live.begin_shadow(plugin, sample))
    }

    fn told(&self) -> Option<Comparison> {
        self.live.shadowed()
    }

    fn end(&self) -> Option<Comparison> {
        self.live.end_shadow()
    }
}

/// The plugins with a source, and where it is.
fn seeds(config: &Config) -> Vec<(String, PathBuf)> {
    let seeds = config.plugins.iter().filter(|(_, plugin)| !plugin.source.as_os_str().is_empty());
    seeds.map(|(name, plugin)| (name.clone(), plugin.source.clone())).collect()
}

/// The handlers of a message: those that the configuration puts in order, then the others by name.
pub(crate) fn in_order(lineup: &Lineup, order: &[String]) -> Vec<Arc<Plugin>> {
    let named = order.iter().filter_map(|name| lineup.plugins.iter().find(|it| it.name() == name));
    let others = lineup.plugins.iter().filter(|it| !order.iter().any(|name| name == it.name()));
    named.chain(others).map(Arc::clone).collect()
}

/// What other nodes ask this one: about chats, about objects, and about components.
#[derive(Debug)]
pub(crate) struct Peers {
    chats: Chats,
    archive: Archive,
    rollout: Rollout,
    services: Services,
}

impl Peers {
    /// All of them.
    pub(crate) fn new(
        chats: &Chats,
        archive: &Archive,
        rollout: &Rollout,
        services: &Services,
    ) -> Self {
        let (chats, archive) = (chats.clone(), archive.clone());
        Self { chats, archive, rollout: rollout.clone(), services: services.clone() }
    }
}

impl replication::Host for Peers {
    fn opened(&self, partition: PartitionId, epoch: u64, seq: u64) {
        // The chats first: what the archive appends is numbered by them.
        self.chats.opened(partition, epoch, seq);
        self.archive.opened(partition, epoch, seq);
    }

    fn committed(&self, partition: PartitionId, epoch: u64, seq: u64) {
        self.chats.committed(partition, epoch, seq);
        self.archive.committed(partition, epoch, seq);
        // Behind the chats: they fold what is owed.
        self.services.ring(partition);
    }

    fn closed(&self, partition: PartitionId, epoch: u64) {
        self.archive.closed(partition, epoch);
        self.chats.closed(partition, epoch);
        self.services.ring(partition);
    }

    fn answer(&self, from: NodeId, head: RequestHead, body: Bytes) -> Answering {
        if rollout::is_question(&body) {
            self.rollout.answer(from, &body)
        } else if outbox::is_question(&body) {
            let services = self.services.clone();
            // Bytes of another version are answered by nothing, which counts as silence.
            Box::pin(async move { Ok(services.answer(&body).await.unwrap_or_default()) })
        } else if archive::is_question(&body) {
            self.archive.answer(from, head, &body)
        } else {
            self.chats.answer(from, head, body)
        }
    }

    fn is_patient(&self, body: &[u8]) -> bool {
        rollout::is_piece(body)
    }

    fn streams(&self, body: &[u8]) -> bool {
        self.archive.streams(body)
    }

    fn stream(&self, from: NodeId, body: Bytes, stream: Stream) -> Streaming {
        self.archive.stream(&from, &body, stream)
    }
}

impl From<rollout::StartError> for StartError {
    fn from(error: rollout::StartError) -> Self {
        match error {
            rollout::StartError::Unusable(unusable) => Self::Plugins(unusable),
            other => Self::Generations(other),
        }
    }
}
