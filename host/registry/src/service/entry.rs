//! What a path of the registry looks like to a program.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::data::Map;

/// What stands at a path, and how old that knowledge is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// The path, from the root of the connection.
    pub path: String,
    /// What stands there, decoded; `None` when nothing does, or no bytes.
    pub data: Option<Map>,
    /// ZooKeeper's own figures; `None` when the path does not exist.
    pub stat: Option<Stat>,
    /// The names below it, with what stands there.
    pub children: BTreeMap<String, Option<Map>>,
    /// The ensemble cannot be reached, or has not been asked again yet: this is the last known value.
    pub stale: bool,
    /// How long ago, in milliseconds, it was last known to be true; 0 unless it is stale.
    pub age_ms: u64,
}

/// ZooKeeper's eleven figures of a znode, under its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stat {
    /// The transaction that created it.
    pub czxid: i64,
    /// The transaction that last changed its data.
    pub mzxid: i64,
    /// When it was created, Unix milliseconds on the server's clock.
    pub ctime: i64,
    /// When its data was last changed, Unix milliseconds on the server's clock.
    pub mtime: i64,
    /// How often its data was changed.
    pub version: i32,
    /// How often a child came or went.
    pub cversion: i32,
    /// How often its access list was changed.
    pub aversion: i32,
    /// The session it goes with; 0: it stays.
    pub ephemeral_owner: i64,
    /// Bytes of its data.
    pub data_length: i32,
    /// How many children it has.
    pub num_children: i32,
    /// The transaction by which a child last came or went.
    pub pzxid: i64,
}

/// An entry without the question how old it is: what watchers compare.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Content {
    pub(crate) data: Option<Map>,
    pub(crate) stat: Option<Stat>,
    pub(crate) children: BTreeMap<String, Option<Map>>,
}

impl Entry {
    /// Whether the path exists.
    pub fn exists(&self) -> bool {
        self.stat.is_some()
    }
}

impl Content {
    /// As a program sees it.
    pub(crate) fn into_entry(self, path: &str, age: Option<std::time::Duration>) -> Entry {
        let age_ms = age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let Self { data, stat, children } = self;
        Entry { path: path.to_owned(), data, stat, children, stale: age.is_some(), age_ms }
    }

    /// Whether it is worth finding again after a restart without the ensemble.
    pub(crate) fn is_worth_keeping(&self) -> bool {
        self.stat.is_some() && (self.data.is_some() || !self.children.is_empty())
    }
}

impl From<zookeeper::Stat> for Stat {
    fn from(stat: zookeeper::Stat) -> Self {
        Self {
            czxid: stat.czxid,
            mzxid: stat.mzxid,
            ctime: stat.ctime,
            mtime: stat.mtime,
            version: stat.version,
            cversion: stat.cversion,
            aversion: stat.aversion,
            ephemeral_owner: stat.ephemeral_owner,
            data_length: stat.data_length,
            num_children: stat.num_children,
            pzxid: stat.pzxid,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Content, Stat};
    use std::time::Duration;

    pub(crate) const STAT: Stat = Stat {
        czxid: 1,
        mzxid: 2,
        ctime: 3,
        mtime: 4,
        version: 5,
        cversion: 6,
        aversion: 7,
        ephemeral_owner: 8,
        data_length: 9,
        num_children: 10,
        pzxid: 11,
    };

    #[test]
    fn an_entry_is_printed_under_its_documented_names() {
        let content = Content { stat: Some(STAT), ..Content::default() };
        let entry = content.into_entry("/a", Some(Duration::from_millis(1500)));
        assert_eq!(
            serde_json::to_string(&entry).unwrap(),
            r#"{"path":"/a","data":null,"stat":{"czxid":1,"mzxid":2,"ctime":3,"mtime":4,"version":5,"cversion":6,"aversion":7,"ephemeralOwner":8,"dataLength":9,"numChildren":10,"pzxid":11},"children":{},"stale":true,"age_ms":1500}"#
        );
    }

    #[test]
    fn what_does_not_exist_is_not_kept_for_later() {
        assert!(!Content::default().is_worth_keeping());
        let empty = Content { stat: Some(STAT), ..Content::default() };
        assert!(!empty.is_worth_keeping());
        let child = Content { children: [("c".to_owned(), None)].into(), ..empty };
        assert!(child.is_worth_keeping());
    }
}
