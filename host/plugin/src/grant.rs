//! What an operator lets a plugin do: one field is one imported interface.
//!
//! Not granted means not linked. `settings` and `log` are no powers and given to everyone. Interfaces
//! that this version does not offer have no field here, so that a configuration cannot promise them.

use serde::{Deserialize, Serialize};

use crate::units;

/// `[plugins.NAME.grant]`. The default grants nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Grant {
    /// Legal and without effect: everyone may log.
    pub log: bool,
    /// Read who is in the chat.
    pub roster: bool,
    /// Add messages.
    pub post: bool,
    /// Change the chat and its members: attributes, status, start, end.
    pub chat_control: bool,
    /// Start timers.
    pub timers: bool,
    /// Have these services called.
    pub outcall: Vec<String>,
    /// Keep notes in the chat.
    pub kv: Option<KvGrant>,
    /// Read earlier messages.
    pub history: Option<HistoryGrant>,
    /// Read what it decided before.
    pub recall: bool,
    /// Count and observe for the node's metrics.
    pub metrics: bool,
}

/// `history = { messages = 20 }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryGrant {
    /// How many earlier messages one call may read.
    pub messages: u32,
}

/// `kv = { bytes = "64KiB" }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KvGrant {
    /// How many bytes of keys and values one plugin may keep in one chat.
    #[serde(deserialize_with = "units::de_bytes")]
    pub bytes: u64,
}

/// The interfaces of our WIT that are powers, and the TOML that grants each.
pub(crate) const POWERS: [(&str, &str); 9] = [
    ("roster", "roster = true"),
    ("post", "post = true"),
    ("chat-control", "chat-control = true"),
    ("timers", "timers = true"),
    ("outcall", "outcall = [\"SERVICE\"]"),
    ("kv", "kv = { bytes = \"64KiB\" }"),
    ("history", "history = { messages = 20 }"),
    ("recall", "recall = true"),
    ("metrics", "metrics = true"),
];

impl Grant {
    /// Whether the interface of this name is granted; `settings` and `log` always are.
    pub(crate) fn allows(&self, interface: &str) -> bool {
        match interface {
            "settings" | "log" | "types" => true,
            "roster" => self.roster,
            "post" => self.post,
            "chat-control" => self.chat_control,
            "timers" => self.timers,
            "outcall" => !self.outcall.is_empty(),
            "kv" => self.kv.is_some(),
            "history" => self.history.is_some(),
            "recall" => self.recall,
            "metrics" => self.metrics,
            _ => false,
        }
    }

    /// The same, and no more of it than is asked for, where somebody asks for an amount. Whether a power is
    /// asked for at all is seen from what the component imports.
    pub(crate) fn within(mut self, asks: &Self) -> Self {
        if let (Some(kv), Some(asked)) = (&mut self.kv, asks.kv) {
            kv.bytes = kv.bytes.min(asked.bytes);
        }
        if let (Some(history), Some(asked)) = (&mut self.history, asks.history) {
            history.messages = history.messages.min(asked.messages);
        }
        if !asks.outcall.is_empty() {
            self.outcall.retain(|service| asks.outcall.contains(service));
        }
        self
    }

    /// The TOML that grants the power of this name.
    pub fn line(power: &str) -> Option<&'static str> {
        POWERS.iter().find(|(name, _)| *name == power).map(|(_, line)| *line)
    }

    /// The names of what is granted, for people.
    pub fn names(&self) -> Vec<&'static str> {
        POWERS.iter().map(|(name, _)| *name).filter(|name| self.allows(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Grant, HistoryGrant, KvGrant};

    #[test]
    fn a_grant_is_read_as_people_write_it() {
        let grant: Grant = toml::from_str(
            "roster = true\nchat-control = true\nlog = true\nkv = { bytes = \"64KiB\" }",
        )
        .unwrap();
        assert_eq!(grant.kv, Some(KvGrant { bytes: 65_536 }));
        assert_eq!(grant.names(), ["roster", "chat-control", "kv"]);
        let grant: Grant = toml::from_str(
            "timers = true\noutcall = [\"crm\"]\nhistory = { messages = 20 }\nrecall = true\nmetrics = true",
        )
        .unwrap();
        assert_eq!(grant.names(), ["timers", "outcall", "history", "recall", "metrics"]);
        assert_eq!(grant.history, Some(HistoryGrant { messages: 20 }));
        let nobody: Grant = toml::from_str("outcall = []").unwrap();
        assert_eq!(nobody.names(), [""; 0], "an empty list is nobody");
        assert!(toml::from_str::<Grant>("sockets = true").is_err());
    }

    #[test]
    fn nobody_gets_more_than_they_ask_for() {
        let read = |text: &str| toml::from_str::<Grant>(text).unwrap();
        let asks = read(
            "kv = { bytes = \"1KiB\" }\nhistory = { messages = 50 }\noutcall = [\"crm\", \"b\"]",
        );
        let granted = read(
            "kv = { bytes = \"64KiB\" }\nhistory = { messages = 20 }\noutcall = [\"a\", \"crm\"]",
        );
        let within = granted.clone().within(&asks);
        assert_eq!(within.kv, Some(KvGrant { bytes: 1 << 10 }));
        assert_eq!(within.history, Some(HistoryGrant { messages: 20 }));
        assert_eq!(within.outcall, ["crm"]);
        assert_eq!(granted.clone().within(&Grant::default()), granted, "no amounts were named");
        assert_eq!(Grant::default().within(&asks), Grant::default(), "asking is not being granted");
    }
}
