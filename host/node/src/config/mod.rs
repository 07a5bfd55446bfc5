//! What an operator decides, from one TOML file.
//!
//! `config/node.toml` shows every key at its default; a test holds the two together. A key of a feature
//! that does not exist yet is unknown, not ignored. Reading never stops at the first fault
//! (`read.rs`); what the values mean to each other is checked in `check.rs`. Clocks, disks and networks
//! are parts, not settings.

mod check;
mod collect;
mod common;
mod draft;
mod fault;
mod listeners;
mod persistence;
mod plugins;
mod read;
mod registry;
mod replication;
mod ring;
mod sections;
mod services;
mod storage;
mod twilio;
mod units;

use std::path::{Path, PathBuf};

pub use collect::{Collect, Forget};
pub use draft::Draft;
pub use fault::{Fault, Faults};
pub use listeners::{AdminListener, Listener, Quic};
pub use persistence::Persistence;
pub use plugins::{
    Ceiling, GrantConfig, GuardConfig, LimitsConfig, OnFailure, PluginConfig, Rollouts, Share,
};
pub use registry::{Registry, RegistryKind};
pub use replication::{Rate, Replication, Spread};
pub use ring::{Positions, Ring};
pub use sections::{Auth, AuthMode, Cluster, Limits, Log, LogFormat, NodeSection, Presence};
pub use services::{From, Order, ServiceConfig};
pub use storage::{Space, SpaceClass, Storage};
pub use twilio::Twilio;
pub use units::{Idle, Reserve, Size, Span};

use read::{Reading, Section};

/// Everything one node is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// What all nodes must agree on.
    pub cluster: Cluster,
    /// This node.
    pub node: NodeSection,
    /// Where clients connect.
    pub http: Listener,
    /// Where operators connect.
    pub admin: AdminListener,
    /// Where other nodes connect.
    pub quic: Quic,
    /// Who is in the cluster, and who leads what.
    pub registry: Registry,
    /// Places on the ring.
    pub ring: Ring,
    /// How many hold what.
    pub replication: Replication,
    /// Value files and the disk below them.
    pub storage: Storage,
    /// What becomes of chats that are over.
    pub persistence: Persistence,
    /// When they are forgotten.
    pub collect: Collect,
    /// Who is there.
    pub presence: Presence,
    /// Who may ask.
    pub auth: Auth,
    /// What is written to standard error.
    pub log: Log,
    /// Bounds on what clients can make a node do.
    pub limits: Limits,
    /// What no plugin's limits may exceed.
    pub plugin_host: Ceiling,
    /// How versions of plugins become live.
    pub rollouts: Rollouts,
    /// The plugins, by name.
    pub plugins: std::collections::BTreeMap<String, PluginConfig>,
    /// The handlers of a message, in this order.
    pub chain: Vec<String>,
    /// Whether Twilio is answered.
    pub twilio: Twilio,
    /// Which plugin answers a channel of Twilio's.
    pub channels: std::collections::BTreeMap<String, String>,
    /// Who is told what is said, by name.
    pub services: std::collections::BTreeMap<String, ServiceConfig>,
}

impl Config {
    /// Reads a file. Relative paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`Faults`], all of them at once; a file that cannot be read is one.
    pub fn load(file: &Path) -> Result<Self, Faults> {
        Draft::read(file)?.finish()
    }

    /// Reads the file of a node that is the only one of its process.
    ///
    /// # Errors
    /// Like [`Config::load`]; also what keeps it from being that.
    pub fn load_alone(file: &Path) -> Result<Self, Faults> {
        let mut draft = Draft::read(file)?;
        draft.alone();
        draft.finish()
    }

    /// Reads a text. Relative paths in it are relative to `folder`.
    ///
    /// # Errors
    /// Every fault, in the order of the text.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Vec<Fault>> {
        let (mut config, reading) = Self::read(text)?;
        if !reading.faults.is_empty() {
            return Err(draft::in_order(reading.faults));
        }
        config.resolve(folder);
        Ok(config)
    }

    /// Every key there is, as `section.key`; those of `[plugins.NAME]` and `[services.NAME]` under the name
    /// `NAME`.
    pub fn keys() -> Vec<String> {
        Self::read("[plugins.NAME]\n[services.NAME]\n")
            .map(|(_, reading)| reading.known)
            .unwrap_or_default()
    }

    /// The line of `text` on which the key or section `path` stands; 0 where it does not.
    pub fn line_of(text: &str, path: &str) -> usize {
        let lines = Self::read(text).map(|(_, reading)| reading.lines).unwrap_or_default();
        lines.get(path).copied().unwrap_or_default()
    }

    fn read(text: &str) -> Result<(Self, Reading<'_>), Vec<Fault>> {
        Self::read_upon(text, Self::default())
    }

    /// The same, where `config` stands in the place of what it does not say.
    fn read_upon(text: &str, mut config: Self) -> Result<(Self, Reading<'_>), Vec<Fault>> {
        let table = toml::de::DeTable::parse(text).map_err(|error| {
            let line = error.span().map(|span| fault::line_of(text, &span)).unwrap_or_default();
            let what = format!("this is not TOML: {}", error.message());
            vec![Fault { line, what, fix: "Compare with config/node.toml".to_owned() }]
        })?;
        let mut reading = Reading::new(text);
        config.take(Section::root(table.get_ref()), &mut reading);
        check::relations(&config, &mut reading);
        Ok((config, reading))
    }

    fn take(&mut self, mut root: Section<'_>, reading: &mut Reading<'_>) {
        self.take_sections(&mut root, reading);
        self.take_plugins(&mut root, reading);
        self.take_twilio(&mut root, reading);
        self.take_services(&mut root, reading);
        root.done(reading);
    }

    fn resolve(&mut self, folder: &Path) {
        let plugins = self.plugins.values_mut().map(|plugin| &mut plugin.source);
        let services = self.services.values_mut();
        let secrets = services.flat_map(|it| {
            let own = [&mut it.token_file, &mut it.secret_file];
            own.into_iter().chain(it.secrets.values_mut())
        });
        let quic = [&mut self.quic.cert, &mut self.quic.key, &mut self.quic.ca];
        let own = [&mut self.node.data, &mut self.auth.jwks, &mut self.registry.digest_file];
        let tokens = [&mut self.twilio.auth_token_file];
        let spaces = self.storage.spaces.iter_mut().map(|space| &mut space.path);
        for path in plugins.chain(secrets).chain(quic).chain(own).chain(tokens).chain(spaces) {
            // An empty path means that the thing is not there, and stays empty.
            if !path.as_os_str().is_empty() {
                *path = folder.join(&*path);
            }
        }
    }

    /// What two copies must not share.
    pub fn spread(&self) -> hashring::Spread {
        match self.replication.spread {
            Spread::Node => hashring::Spread::Node,
            Spread::Host => hashring::Spread::Host,
            Spread::Zone => hashring::Spread::Zone,
        }
    }

    /// The folder of everything this node keeps.
    pub fn data(&self) -> &PathBuf {
        &self.node.data
    }
}

#[cfg(test)]
mod tests;
