//! Which version of which plugin is live: one record, the same for every node.
//!
//! It stands in the registry under one key, so that one compare-and-set changes it for all. Its number
//! only rises; a plugin's generation is the number with which its version became live. What was live
//! before stands beside it, as far as it can be rolled back to.
//!
//! What becomes of a record is decided here and touches nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// Its key in the registry.
pub const LIVE: &str = "plugins/live";

/// The version of its JSON.
const FORMAT: u16 = 1;

/// Most plugins that are live at once: each is asked about every message.
pub const PLUGINS_MAX: usize = 64;

/// Most versions that one plugin can be rolled back to.
pub const PAST_MAX: usize = 7;

/// Longest version, as in a manifest.
const VERSION_BYTES_MAX: usize = 64;

/// What is live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveSet {
    format: u16,
    /// Rises with every change.
    pub number: u64,
    /// Random: whose write it was, should the answer to it be lost.
    pub nonce: u64,
    /// By the operator's name for each.
    pub plugins: BTreeMap<String, LivePlugin>,
}

/// One plugin that is live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LivePlugin {
    /// The number of the set with which it became live.
    pub generation: u64,
    /// Its component.
    pub digest: Digest,
    /// What it says of itself: goes into stamps.
    pub version: String,
    /// A guard rolled back to it: nothing is rolled back by itself before a person has changed the plugin.
    #[serde(default, skip_serializing_if = "is_false")]
    pub held: bool,
    /// What was live before it, the latest first.
    #[serde(default)]
    pub past: Vec<Past>,
}

/// A version that was live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Past {
    /// The number of the set with which it became live.
    pub generation: u64,
    /// Its component.
    pub digest: Digest,
    /// What it said of itself.
    pub version: String,
}

/// What stands in the registry, or on the disk, is no such record. Nothing is changed by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRecord {
    /// Half written, or something else. An operator removes it; the nodes go on with what they have.
    #[error("it is no record of live plugins: {0}")]
    Json(String),
    /// A newer program wrote it. Update this node; until then it goes on with what it has.
    #[error("it has format {0}, and this program knows only {FORMAT}")]
    Format(u64),
    /// Its fields contradict each other. An operator removes it; the nodes go on with what they have.
    #[error("it contradicts itself: {0}")]
    Contradiction(String),
}

impl LiveSet {
    /// The first set of a cluster.
    pub fn first(nonce: u64, plugins: impl IntoIterator<Item = (String, Digest, String)>) -> Self {
        let plugin = |(name, digest, version)| {
            (name, LivePlugin { generation: 1, digest, version, held: false, past: Vec::new() })
        };
        let plugins = plugins.into_iter().map(plugin).collect();
        Self { format: FORMAT, number: 1, nonce, plugins }
    }

    /// Reads the JSON.
    ///
    /// # Errors
    /// [`InvalidRecord`].
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidRecord> {
        let json = |error: serde_json::Error| InvalidRecord::Json(error.to_string());
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(json)?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format != u64::from(FORMAT) => Err(InvalidRecord::Format(format)),
            _ => {
                let record: Self = serde_json::from_value(value).map_err(json)?;
                record.check().map(|()| record).map_err(InvalidRecord::Contradiction)
            }
        }
    }

    /// Its JSON.
    pub fn encode(&self) -> Vec<u8> {
        registry::encode(self)
    }

    /// The set after a swap: `name` in another version, or for the first time. At most `keep` versions of
    /// it are kept, the live one included. The numbers of this node's own past count too: a registry that
    /// was put back does not make them fall.
    ///
    /// # Errors
    /// In words, when there are too many plugins.
    pub fn swapped(
        &self,
        name: &str,
        (digest, version): (Digest, String),
        at_least: u64,
        keep: usize,
        nonce: u64,
    ) -> Result<Self, String> {
        let mut next = self.next(at_least, nonce);
        let generation = next.number;
        let mut past = Vec::new();
        if let Some(before) = next.plugins.remove(name) {
            let LivePlugin { generation, digest, version, past: earlier, held: _ } = before;
            past.push(Past { generation, digest, version });
            past.extend(earlier);
        }
        past.truncate(keep.saturating_sub(1).min(PAST_MAX));
        if next.plugins.len() >= PLUGINS_MAX {
            return Err(format!("{PLUGINS_MAX} plugins are live, and no more can be"));
        }
        let live = LivePlugin { generation, digest, version, held: false, past };
        next.plugins.insert(name.to_owned(), live);
        Ok(next)
    }

    /// The set after `name` was rolled back: a new generation of the version before, or none if there was
    /// none before. `None`: it is not live.
    pub fn rolled_back(&self, name: &str, at_least: u64, nonce: u64) -> Option<Self> {
        let mut next = self.next(at_least, nonce);
        let mut past = next.plugins.remove(name)?.past.into_iter();
        if let Some(Past { digest, version, .. }) = past.next() {
            let past = past.collect();
            let (generation, held) = (next.number, false);
            let back = LivePlugin { generation, digest, version, held, past };
            next.plugins.insert(name.to_owned(), back);
        }
        Some(next)
    }

    /// The set after a guard rolled `name` back from `generation`: as by a person, and marked. `None`: that is
    /// not what is live, nothing was before it, or a guard did it before.
    pub fn held_back(
        &self,
        name: &str,
        generation: u64,
        at_least: u64,
        nonce: u64,
    ) -> Option<Self> {
        let live = self.plugins.get(name)?;
        if live.generation != generation || live.held || live.past.is_empty() {
            return None;
        }
        let mut next = self.rolled_back(name, at_least, nonce)?;
        next.plugins.get_mut(name)?.held = true;
        Some(next)
    }

    /// Every component that it names, with the plugin's name: what is live first, then what was.
    pub fn named(&self) -> impl Iterator<Item = (&str, Digest)> {
        let live = self.plugins.iter().map(|(name, plugin)| (name.as_str(), plugin.digest));
        let past = self.plugins.iter().flat_map(|(name, plugin)| {
            plugin.past.iter().map(move |past| (name.as_str(), past.digest))
        });
        live.chain(past)
    }

    fn next(&self, at_least: u64, nonce: u64) -> Self {
        let number = self.number.max(at_least) + 1;
        Self { format: FORMAT, number, nonce, plugins: self.plugins.clone() }
    }

    fn check(&self) -> Result<(), String> {
        if self.number > registry::COUNT_MAX {
            return Err(format!("number {}, which nobody reaches by counting", self.number));
        }
        if self.plugins.len() > PLUGINS_MAX {
            return Err(format!("{} plugins", self.plugins.len()));
        }
        for (name, plugin) in &self.plugins {
            if !is_name(name) {
                return Err(format!("{name:?} is no plugin's name"));
            }
            let versions = std::iter::once(&plugin.version);
            let versions = versions.chain(plugin.past.iter().map(|past| &past.version));
            if !versions.clone().all(|version| is_version(version)) {
                return Err(format!("{name} has a version that is none"));
            }
            if plugin.past.len() > PAST_MAX {
                return Err(format!("{name} has a past of {}", plugin.past.len()));
            }
            let mut later = self.number.saturating_add(1);
            let generations = std::iter::once(plugin.generation);
            for generation in generations.chain(plugin.past.iter().map(|past| past.generation)) {
                if !(1..later).contains(&generation) {
                    return Err(format!("{name} has generation {generation} out of order"));
                }
                later = generation;
            }
        }
        Ok(())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks it")]
const fn is_false(held: &bool) -> bool {
    !*held
}

/// Whether a plugin can be called that, as in a configuration.
pub fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

fn is_version(version: &str) -> bool {
    (1..=VERSION_BYTES_MAX).contains(&version.len())
        && version.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::{InvalidRecord, LiveSet};
    use crate::Digest;

    fn digest(of: &str) -> Digest {
        Digest::of(of.as_bytes())
    }

    fn seed() -> LiveSet {
        LiveSet::first(7, [("status".to_owned(), digest("s1"), "0.1.0".to_owned())])
    }

    fn swap(set: &LiveSet, name: &str, version: &str) -> LiveSet {
        set.swapped(name, (digest(version), version.to_owned()), 0, 3, 8).unwrap()
    }

    fn versions(set: &LiveSet, name: &str) -> Vec<String> {
        let plugin = &set.plugins[name];
        let past = plugin.past.iter().map(|past| past.version.clone());
        std::iter::once(plugin.version.clone()).chain(past).collect()
    }

    #[test]
    fn a_swap_is_a_new_generation_and_keeps_the_last_ones() {
        let mut set = seed();
        for version in ["2", "3", "4"] {
            set = swap(&set, "status", version);
        }
        assert_eq!((set.number, set.plugins["status"].generation), (4, 4));
        assert_eq!(versions(&set, "status"), ["4", "3", "2"]);
        let other = swap(&set, "other", "1");
        assert_eq!((other.number, other.plugins["status"].generation), (5, 4));
        assert_eq!(other.named().count(), 4);
    }

    #[test]
    fn a_rollback_is_a_new_generation_of_the_version_before() {
        let set = swap(&swap(&seed(), "status", "2"), "status", "3");
        let back = set.rolled_back("status", 0, 9).unwrap();
        assert_eq!((back.number, back.plugins["status"].generation), (4, 4));
        assert_eq!(versions(&back, "status"), ["2", "0.1.0"], "what was bad is not gone back to");
        let back = back.rolled_back("status", 0, 9).unwrap();
        let gone = back.rolled_back("status", 0, 9).unwrap();
        assert_eq!((gone.number, gone.plugins.len()), (6, 0), "its only one: it is removed");
        assert_eq!(gone.rolled_back("status", 0, 9), None);
    }

    #[test]
    fn a_guard_rolls_back_once_until_a_person_has_changed_it() {
        let set = swap(&seed(), "status", "2");
        assert_eq!(set.held_back("status", 1, 0, 9), None, "not that generation");
        assert_eq!(seed().held_back("status", 1, 0, 9), None, "nothing was before it");
        let back = set.held_back("status", 2, 0, 9).unwrap();
        assert_eq!(versions(&back, "status"), ["0.1.0"]);
        assert!(back.plugins["status"].held);
        assert_eq!(LiveSet::decode(&back.encode()), Ok(back.clone()));
        let mut twice = back.clone();
        twice.plugins.get_mut("status").unwrap().past =
            vec![super::Past { generation: 1, digest: digest("0"), version: "0".to_owned() }];
        assert_eq!(twice.held_back("status", 3, 0, 9), None, "it has been held");
        let again = swap(&back, "status", "2");
        assert!(!again.plugins["status"].held && again.held_back("status", 4, 0, 9).is_some());
        assert!(!String::from_utf8(again.encode()).unwrap().contains("held"));
    }

    #[test]
    fn a_number_never_falls_behind_what_a_node_has_had() {
        let set = seed().swapped("status", (digest("x"), "2".to_owned()), 40, 3, 1).unwrap();
        assert_eq!((set.number, set.plugins["status"].generation), (41, 41));
        assert_eq!(seed().rolled_back("status", 40, 1).unwrap().number, 41);
    }

    #[test]
    fn there_are_not_too_many() {
        let mut set = seed();
        for index in 1..super::PLUGINS_MAX {
            set = swap(&set, &format!("p{index}"), "1");
        }
        assert!(set.swapped("more", (digest("x"), "1".to_owned()), 0, 3, 1).is_err());
        swap(&set, "status", "2");
    }

    #[test]
    fn a_record_comes_back_and_anything_else_is_told_in_words() {
        let set = swap(&swap(&seed(), "status", "2"), "other", "1");
        let bytes = set.encode();
        assert_eq!(LiveSet::decode(&bytes), Ok(set));
        for cut in 0..bytes.len() {
            assert!(matches!(LiveSet::decode(&bytes[..cut]), Err(InvalidRecord::Json(_))), "{cut}");
        }
        let text = String::from_utf8(bytes).unwrap();
        let changed = |from: &str, to: &str| {
            assert!(text.contains(from), "{text}");
            LiveSet::decode(text.replace(from, to).as_bytes())
        };
        assert_eq!(changed("\"format\":1", "\"format\":2"), Err(InvalidRecord::Format(2)));
        assert!(matches!(changed("\"number\"", "\"x\":1,\"number\""), Err(InvalidRecord::Json(_))));
        for (from, to) in [
            ("\"number\":3", "\"number\":2"),
            ("\"number\":3", "\"number\":18446744073709551615"),
            ("\"other\"", "\"Other\""),
            ("\"0.1.0\"", "\"\""),
        ] {
            let wrong = changed(from, to);
            assert!(matches!(wrong, Err(InvalidRecord::Contradiction(_))), "{wrong:?}");
        }
    }
}
