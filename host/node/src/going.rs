//! Whether a node may go: what the others could do without it.
//!
//! A cluster that is asked, one node after another, to do without all of them would stop with the last one,
//! and nobody would have said so. So the last one that can lead, and the one after which too few would hold
//! what is sent, is told to stay; an operator who means it says so.

use std::collections::BTreeSet;

use hashring::NodeId;

/// A partition that the node holds, as it knows it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// Who holds it, the node included.
    pub(crate) ensemble: Vec<NodeId>,
}

/// The nodes of a cluster, as one of them knows them.
#[derive(Clone, Debug)]
pub(crate) struct Company {
    /// The node that goes.
    pub(crate) node: NodeId,
    /// Nodes on the ring that are connected.
    pub(crate) up: BTreeSet<NodeId>,
    /// Nodes that give everything away.
    pub(crate) draining: BTreeSet<NodeId>,
    /// Nodes that were declared gone.
    pub(crate) leaving: BTreeSet<NodeId>,
    /// How many must hold an entry.
    pub(crate) commit: u8,
}

impl Company {
    /// Why the node may not stop leading; `None`: it may.
    pub(crate) fn needs_leader<'a>(
        &self,
        held: impl Iterator<Item = &'a Held> + Clone,
    ) -> Option<String> {
        let Self { node, commit, .. } = self;
        let others = |one: &'a Held| one.ensemble.iter().filter(move |other| *other != node);
        let unled = held
            .clone()
            .filter(|one| !others(one).any(|other| self.could_lead(other)))
            .collect::<Vec<_>>();
        if !unled.is_empty() {
            let all: BTreeSet<&NodeId> = unled.into_iter().flat_map(others).collect();
            return Some(format!(
                "{node} is the last one that can lead some partitions; of those who hold them {}",
                self.states(all)
            ));
        }
        let live = |one: &'a Held| others(one).filter(|other| self.up.contains(*other)).count();
        let few = held.filter(|one| live(one) < usize::from(*commit)).collect::<Vec<_>>();
        if few.is_empty() {
            return None;
        }
        let all: BTreeSet<&NodeId> = few.into_iter().flat_map(others).collect();
        Some(format!(
            "once {node} is stopped fewer than {commit} would hold what is sent, and nothing would be taken: {}",
            self.states(all)
        ))
    }

    /// Why the node may not be declared gone; `None`: it may.
    pub(crate) fn needs_copy(&self) -> Option<String> {
        let Self { node, commit, .. } = self;
        let stay = |other: &&NodeId| *other != node && !self.leaving.contains(*other);
        let staying: Vec<&str> = self.up.iter().filter(stay).map(NodeId::as_str).collect();
        if staying.len() >= usize::from(*commit) {
            return None;
        }
        let who = if staying.is_empty() { "nobody".to_owned() } else { staying.join(" and ") };
        Some(format!("without {node} {who} would stay, and {commit} must hold what is sent"))
    }

    fn could_lead(&self, node: &NodeId) -> bool {
        self.up.contains(node) && !self.draining.contains(node)
    }

    fn states(&self, nodes: BTreeSet<&NodeId>) -> String {
        let state = |node: &NodeId| {
            let state = match (self.up.contains(node), self.draining.contains(node)) {
                (false, _) => "is not connected",
                (true, true) => "gives everything away",
                (true, false) => "is there",
            };
            format!("{node} {state}")
        };
        let states: Vec<String> = nodes.into_iter().map(state).collect();
        if states.is_empty() { "nobody else holds them".to_owned() } else { states.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::{Company, Held};
    use hashring::NodeId;

    fn nodes(names: &[&str]) -> Vec<NodeId> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn company(up: &[&str], draining: &[&str], leaving: &[&str]) -> Company {
        let set = |names| nodes(names).into_iter().collect();
        Company {
            node: "a".parse().unwrap(),
            up: set(up),
            draining: set(draining),
            leaving: set(leaving),
            commit: 2,
        }
    }

    #[test]
    fn the_last_one_that_can_lead_does_not_stop_leading() {
        let held = [Held { ensemble: nodes(&["a", "b", "c"]) }];
        let why = |company: &Company| company.needs_leader(held.iter());
        assert_eq!(why(&company(&["a", "b", "c"], &[], &[])), None);
        assert_eq!(why(&company(&["a", "b", "c"], &["b"], &[])), None, "c can");
        let last = why(&company(&["a", "b", "c"], &["b", "c"], &[])).unwrap();
        assert!(last.contains("a is the last one that can lead"), "{last}");
        assert!(last.contains("b gives everything away, c gives everything away"), "{last}");
        let few = why(&company(&["a", "b"], &[], &[])).unwrap();
        assert!(few.contains("fewer than 2") && few.contains("c is not connected"), "{few}");
        let alone = [Held { ensemble: nodes(&["a"]) }];
        let alone = company(&["a"], &[], &[]).needs_leader(alone.iter()).unwrap();
        assert!(alone.contains("nobody else holds them"), "{alone}");
        assert_eq!(
            company(&["a", "b"], &[], &[]).needs_leader([].iter()),
            None,
            "it holds nothing"
        );
    }

    #[test]
    fn as_many_stay_as_must_hold_what_is_sent() {
        assert_eq!(company(&["a", "b", "c"], &[], &[]).needs_copy(), None);
        assert_eq!(company(&["b", "c"], &[], &[]).needs_copy(), None, "a is dead already");
        let few = company(&["a", "b", "c"], &[], &["c"]).needs_copy().unwrap();
        assert_eq!(few, "without a b would stay, and 2 must hold what is sent");
        let none = company(&["a"], &[], &[]).needs_copy().unwrap();
        assert!(none.contains("nobody would stay"), "{none}");
    }
}
