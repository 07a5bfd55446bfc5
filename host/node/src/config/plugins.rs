//! `[plugins.NAME]`, `[plugin_host]` and `[chain]`: which handlers run, and what they may do.
//!
//! The manifest asks, this grants: what is not granted here is not linked, whatever a component asks.

use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::Config;
use super::read::{FromKey, Reading, Section, text, words};
use super::units::{Size, Span};

/// `[plugins.NAME]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginConfig {
    /// The component's file, with which a new cluster begins; empty: it comes by a swap.
    pub source: PathBuf,
    /// What becomes of a message when the handler fails.
    pub on_failure: Option<OnFailure>,
    /// What it may do.
    pub grant: GrantConfig,
    /// What one call may use.
    pub limits: LimitsConfig,
    /// When a version is rolled back by itself.
    pub guard: GuardConfig,
    /// Handed to the plugin as JSON.
    pub config: serde_json::Map<String, serde_json::Value>,
}

/// `on_failure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The message is refused.
    Reject,
    /// The message goes on without this handler.
    Skip,
    /// The message is kept back for a while, then dropped.
    Hold,
}

/// `[plugins.NAME.grant]`. `settings` and `log` are given to everyone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantConfig {
    /// See who is in the chat.
    pub roster: bool,
    /// Add messages.
    pub post: bool,
    /// Start and end chats, set attributes and statuses.
    pub chat_control: bool,
    /// Start timers.
    pub timers: bool,
    /// Have these services called.
    pub outcall: Vec<String>,
    /// Keep notes of so many bytes in a chat.
    pub kv: Option<Size>,
    /// Read so many earlier messages in a call.
    pub history: Option<u32>,
    /// Read what it decided before.
    pub recall: bool,
    /// Count and observe for the node's metrics.
    pub metrics: bool,
}

/// `[plugins.NAME.limits]`: what one call may use. What is not said here is left to the manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Units of work, the same number for the same call everywhere.
    pub fuel: Option<u64>,
    /// Time on the clock.
    pub deadline: Option<Span>,
    /// Linear memory.
    pub memory: Option<Size>,
}

/// `[plugins.NAME.guard]`: when a version that became live is rolled back by itself. Without a bound it never is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardConfig {
    /// What share of its calls may fail.
    pub max_trap_rate: Option<Share>,
    /// By how much the share of any verdict may differ from that of the version before.
    pub max_shift: Option<Share>,
    /// How many calls of each are wanted before anything is concluded.
    pub calls: u64,
    /// How long it is watched after it became live.
    pub watch: Span,
}

impl Default for GuardConfig {
    fn default() -> Self {
        let watch = Span(Duration::from_secs(3600));
        Self { max_trap_rate: None, max_shift: None, calls: 200, watch }
    }
}

/// A share of a whole, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(pub u32);

impl FromKey for Share {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        let wanted = || "a share from 0 to 1, as in 0.01".to_owned();
        let text = match value {
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            _ => return Err(wanted()),
        };
        let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is from 0 to a million"
        )]
        let ppm = |share: f64| Self((share * 1e6).round() as u32);
        share.map(ppm).ok_or_else(wanted)
    }
}

/// `plugin_host.ceiling`: what no plugin's limits may exceed, whoever says them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// Units of work.
    pub fuel: u64,
    /// Time on the clock.
    pub deadline: Span,
    /// Linear memory.
    pub memory: Size,
}

impl Default for Ceiling {
    fn default() -> Self {
        let deadline = Span(Duration::from_millis(500));
        Self { fuel: 200_000_000, deadline, memory: Size(256 << 20) }
    }
}

/// The rest of `[plugin_host]`: how versions of plugins become live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollouts {
    /// Generations of a plugin that stay compiled, the live one included.
    pub keep_generations: u8,
    /// Whose signatures are believed: ed25519 keys in base64.
    pub trusted_keys: Vec<String>,
    /// Whether a component without one is refused.
    pub require_signature: bool,
}

impl Default for Rollouts {
    fn default() -> Self {
        Self { keep_generations: 3, trusted_keys: Vec::new(), require_signature: false }
    }
}

impl Config {
    pub(super) fn take_plugins(&mut self, root: &mut Section<'_>, reading: &mut Reading<'_>) {
        let mut table = root.section(reading, "plugin_host");
        let mut ceiling = table.section(reading, "ceiling");
        ceiling.key(reading, "fuel", &mut self.plugin_host.fuel);
        ceiling.key(reading, "deadline", &mut self.plugin_host.deadline);
        ceiling.key(reading, "memory", &mut self.plugin_host.memory);
        ceiling.done(reading);
        table.key(reading, "keep_generations", &mut self.rollouts.keep_generations);
        table.key(reading, "trusted_keys", &mut self.rollouts.trusted_keys);
        table.key(reading, "require_signature", &mut self.rollouts.require_signature);
        table.done(reading);

        let mut table = root.section(reading, "plugins");
        for name in table.names() {
            let mut section = table.section(reading, &name);
            let plugin = PluginConfig::take(&mut section, reading, &name);
            section.done(reading);
            self.plugins.insert(name, plugin);
        }
        table.done(reading);

        let mut table = root.section(reading, "chain");
        let mut message = table.section(reading, "message");
        message.key(reading, "order", &mut self.chain);
        message.done(reading);
        self.take_channels(&mut table, reading);
        table.done(reading);
    }
}

impl PluginConfig {
    fn take(section: &mut Section<'_>, reading: &mut Reading<'_>, name: &str) -> Self {
        let mut plugin = Self::default();
        let mut source = Source::default();
        section.key(reading, "source", &mut source);
        plugin.source = source.0;
        section.key(reading, "on_failure", &mut plugin.on_failure);

        let mut grant = section.section(reading, "grant");
        let mut log = true;
        grant.key(reading, "log", &mut log);
        grant.key(reading, "roster", &mut plugin.grant.roster);
        grant.key(reading, "post", &mut plugin.grant.post);
        grant.key(reading, "chat-control", &mut plugin.grant.chat_control);
        grant.key(reading, "timers", &mut plugin.grant.timers);
        grant.key(reading, "outcall", &mut plugin.grant.outcall);
        plugin.grant.kv = kv(&mut grant, reading);
        plugin.grant.history = history(&mut grant, reading);
        grant.key(reading, "recall", &mut plugin.grant.recall);
        grant.key(reading, "metrics", &mut plugin.grant.metrics);
        grant.done(reading);

        let mut limits = section.section(reading, "limits");
        plugin.limits.take(&mut limits, reading);
        limits.done(reading);

        let mut guard = section.section(reading, "guard");
        guard.key(reading, "max_trap_rate", &mut plugin.guard.max_trap_rate);
        guard.key(reading, "max_shift", &mut plugin.guard.max_shift);
        guard.key(reading, "calls", &mut plugin.guard.calls);
        guard.key(reading, "watch", &mut plugin.guard.watch);
        guard.done(reading);

        plugin.config = match section.value(reading, "config").map(json) {
            None => serde_json::Map::new(),
            Some(serde_json::Value::Object(map)) => map,
            Some(_) => {
                let path = format!("plugins.{name}.config");
                let fix = format!("Write [{path}] and its keys below it");
                reading.spoil(&path, format!("{path} is not a table"), fix);
                serde_json::Map::new()
            }
        };
        plugin
    }
}

impl LimitsConfig {
    fn take(&mut self, section: &mut Section<'_>, reading: &mut Reading<'_>) {
        section.key(reading, "fuel", &mut self.fuel);
        section.key(reading, "deadline", &mut self.deadline);
        section.key(reading, "memory", &mut self.memory);
    }
}

/// `kv = { bytes = "64KiB" }`.
fn kv(grant: &mut Section<'_>, reading: &mut Reading<'_>) -> Option<Size> {
    let mut table = grant.section(reading, "kv");
    let mut bytes = Size(64 << 10);
    table.key(reading, "bytes", &mut bytes);
    let granted = table.is_there();
    table.done(reading);
    granted.then_some(bytes)
}

/// `history = { messages = 20 }`.
fn history(grant: &mut Section<'_>, reading: &mut Reading<'_>) -> Option<u32> {
    let mut table = grant.section(reading, "history");
    let mut messages = 20;
    table.key(reading, "messages", &mut messages);
    let granted = table.is_there();
    table.done(reading);
    granted.then_some(messages)
}

/// `file:PATH`; no other scheme exists.
#[derive(Default)]
struct Source(PathBuf);

impl FromKey for Source {
    fn from_key(value: &DeValue<'_>) -> Result<Self, String> {
        let wanted = "a component's file, as in \"file:plugins/status.wasm\"";
        let path = text(value, wanted)?.strip_prefix("file:").filter(|path| !path.is_empty());
        path.map(|path| Self(path.into())).ok_or_else(|| wanted.to_owned())
    }
}

words!(
    OnFailure, "\"reject\", \"skip\" or \"hold\"",
    "reject" => Self::Reject, "skip" => Self::Skip, "hold" => Self::Hold
);

/// The plugin's own part of the file, as it will see it. Dates become texts.
fn json(value: &DeValue<'_>) -> serde_json::Value {
    use serde_json::Value;
    match value {
        DeValue::String(text) => Value::String(text.as_ref().to_owned()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Null, Value::from)
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Boolean(yes) => Value::Bool(*yes),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => table
            .iter()
            .map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref())))
            .collect(),
    }
}
