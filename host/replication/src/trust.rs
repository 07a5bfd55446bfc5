//! Which nodes of a ring this one could speak with at all, before it has spoken with any.
//!
//! A node publishes with its places which authority signed its certificate. One whose authority the others
//! do not believe could hold places and be counted on for copies, and never be reached: so it takes none,
//! and places that such a node has are no part of the ring. Who belongs is decided by number, since no
//! authority is better than another; between equals by the smallest name, so that two nodes that come at
//! once do not both go.

use std::collections::BTreeSet;

use hashring::NodeId;
use registry::PositionRecord;

/// What a node's certificates say of authorities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    /// The one that signed its own: what it publishes.
    pub(crate) mark: String,
    /// Those it believes.
    pub(crate) believed: BTreeSet<String>,
}

impl Trust {
    /// Whether whoever wrote this record can be believed. A record that says nothing of it is; the
    /// connection will tell.
    pub(crate) fn believes(&self, record: &PositionRecord) -> bool {
        let mark = &record.data.authority;
        mark.is_empty() || self.mark.is_empty() || self.believed.contains(mark)
    }

    /// A node with another authority, if this one does not belong here: before it has taken places when as
    /// many others are strangers as are not, afterwards when more are.
    pub(crate) fn outnumbered<'a>(
        &self,
        me: &NodeId,
        records: impl Iterator<Item = &'a PositionRecord>,
        placed: bool,
    ) -> Option<NodeId> {
        let (mut known, mut strange) = (BTreeSet::new(), BTreeSet::new());
        for record in records.filter(|record| record.data.node != *me) {
            let side = if self.believes(record) { &mut known } else { &mut strange };
            side.insert(&record.data.node);
        }
        if placed {
            known.insert(me);
        }
        let first = NodeId::clone(strange.first()?);
        let goes = match strange.len().cmp(&known.len()) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Less => false,
            // Whoever was there before stays.
            std::cmp::Ordering::Equal => {
                !placed || known.first().is_none_or(|known| **known > first)
            }
        };
        goes.then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::Trust;
    use crate::tests::place;
    use hashring::NodeId;
    use registry::PositionRecord;

    fn trust(mark: &str, believed: &[&str]) -> Trust {
        let believed = believed.iter().map(|mark| (*mark).to_owned()).collect();
        Trust { mark: mark.to_owned(), believed }
    }

    fn records(nodes: &[(&str, &str)]) -> Vec<PositionRecord> {
        nodes.iter().map(|(node, mark)| place(node, mark)).collect()
    }

    fn goes(trust: &Trust, me: &str, nodes: &[(&str, &str)], placed: bool) -> Option<String> {
        let me: NodeId = me.parse().unwrap();
        trust.outnumbered(&me, records(nodes).iter(), placed).map(|node| node.to_string())
    }

    #[test]
    fn a_stranger_takes_no_places_and_who_belongs_does() {
        let ours = trust("x", &["x"]);
        assert_eq!(goes(&ours, "c", &[("a", "x"), ("b", "x")], false), None);
        assert_eq!(goes(&ours, "c", &[], false), None);
        assert_eq!(goes(&ours, "c", &[("a", "y"), ("b", "y")], false).as_deref(), Some("a"));
        assert_eq!(goes(&ours, "c", &[("a", "y")], false).as_deref(), Some("a"), "it was first");
        assert_eq!(goes(&ours, "c", &[("a", "y"), ("b", "x"), ("d", "x")], false), None);
        assert_eq!(goes(&ours, "c", &[("c", "y")], false), None, "its own, of before a renewal");
        assert_eq!(goes(&ours, "c", &[("a", ""), ("b", "")], false), None, "they do not say");
    }

    #[test]
    fn of_two_that_come_at_once_one_goes() {
        let (ours, theirs) = (trust("x", &["x"]), trust("y", &["y"]));
        assert_eq!(goes(&ours, "a", &[("b", "y")], true), None);
        assert_eq!(goes(&theirs, "b", &[("a", "x")], true).as_deref(), Some("a"));
        assert_eq!(goes(&theirs, "a", &[("b", "x"), ("c", "x")], true).as_deref(), Some("b"));
        assert_eq!(goes(&ours, "c", &[("a", "y"), ("b", "x")], true), None);
    }

    #[test]
    fn an_authority_is_changed_by_believing_both_for_a_while() {
        let both = trust("old", &["old", "new"]);
        assert!(both.believes(&place("b", "new")) && both.believes(&place("b", "old")));
        let renewed = trust("new", &["old", "new"]);
        assert!(renewed.believes(&place("b", "old")));
        assert!(!trust("new", &["new"]).believes(&place("b", "old")));
    }
}
