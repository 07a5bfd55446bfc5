//! Who has prepared a version, and whether it may become live: decided from what was heard, and nothing
//! else.
//!
//! Every node that is registered has to have it ready: one that is not would answer its chats by the
//! version before, and one that cannot load it never. A node that is gone counts no more, it gets what is
//! live before it serves again. One that is registered and silent is waited for: most often it has just
//! died, and the registry does not know yet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hashring::NodeId;
use runtime::Instant;

use crate::preparation::Told;

/// How long a registered node may say nothing before a swap is given up: longer than the registry takes
/// to learn that a node died.
const SILENT_MAX: Duration = Duration::from_secs(30);
/// The same where it is known that a node had that version before, and has it still.
const SILENT_SHORT: Duration = Duration::from_secs(1);
/// How long one node may take: compiling the largest component on a busy machine, twice over.
const PREPARE_MAX: Duration = Duration::from_secs(300);

/// What is wanted of nodes that say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// They stop it.
    Stops,
    /// They are done without, after a moment.
    Passes,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Hear more.
    Wait,
    /// It is ready everywhere.
    Go,
    /// It cannot become live, for this reason.
    GiveUp(String),
    /// Nobody is registered who could have it, for so long that something else is wrong.
    Nobody(Duration),
}

/// One version on its way to all nodes.
#[derive(Debug)]
pub(crate) struct Gathering {
    silence: Silence,
    began: Instant,
    nodes: BTreeMap<NodeId, Heard>,
}

#[derive(Debug)]
struct Heard {
    /// When it was asked first, or heard last.
    since: Instant,
    told: Option<Told>,
}

impl Gathering {
    pub(crate) fn new(silence: Silence, now: Instant) -> Self {
        Self { silence, began: now, nodes: BTreeMap::new() }
    }

    /// Who is registered.
    pub(crate) fn registered(&mut self, now: Instant, nodes: &BTreeSet<NodeId>) {
        self.nodes.retain(|node, _| nodes.contains(node));
        for node in nodes {
            let new = || Heard { since: now, told: None };
            self.nodes.entry(node.clone()).or_insert_with(new);
        }
    }

    /// A node said how far it is.
    pub(crate) fn heard(&mut self, now: Instant, node: &NodeId, told: Told) {
        if let Some(heard) = self.nodes.get_mut(node) {
            *heard = Heard { since: now, told: Some(told) };
        }
    }

    /// Whom to ask: those who are not done.
    pub(crate) fn open(&self) -> Vec<NodeId> {
        let open = self.nodes.iter().filter(|(_, heard)| {
            !matches!(heard.told, Some(Told::Ready { .. } | Told::Failed { .. }))
        });
        open.map(|(node, _)| node.clone()).collect()
    }

    /// How far each is.
    pub(crate) fn told(&self) -> impl Iterator<Item = (&NodeId, Option<&Told>)> {
        self.nodes.iter().map(|(node, heard)| (node, heard.told.as_ref()))
    }

    pub(crate) fn next(&self, now: Instant) -> Next {
        let mut waits = false;
        for (node, Heard { since, told }) in &self.nodes {
            let silent = now.saturating_duration_since(*since);
            match (told, self.silence) {
                (Some(Told::Failed { what, .. }), _) => {
                    return Next::GiveUp(format!("on node {node}: {what}"));
                }
                (Some(Told::Ready { .. }), _) => {}
                (_, Silence::Passes) if silent >= SILENT_SHORT => {}
                (_, Silence::Stops) if silent >= SILENT_MAX => {
                    return Next::GiveUp(format!(
                        "node {node} is registered and has said nothing for {} s: start it again, or \
                         wait until the registry has given it up",
                        silent.as_secs()
                    ));
                }
                _ => waits = true,
            }
        }
        if self.nodes.is_empty() {
            let waited = now.saturating_duration_since(self.began);
            return if waited < SILENT_MAX { Next::Wait } else { Next::Nobody(waited) };
        }
        if waits && now.saturating_duration_since(self.began) >= PREPARE_MAX {
            let open: Vec<_> = self.open().iter().map(ToString::to_string).collect();
            return Next::GiveUp(format!(
                "{} not ready after {} s",
                open.join(", "),
                PREPARE_MAX.as_secs()
            ));
        }
        if waits { Next::Wait } else { Next::Go }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use hashring::NodeId;

    use super::{Gathering, Next, PREPARE_MAX, SILENT_MAX, SILENT_SHORT, Silence};
    use crate::preparation::{Step, Told};

    fn node(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    fn nodes(names: &[&str]) -> BTreeSet<NodeId> {
        names.iter().map(|name| node(name)).collect()
    }

    fn ready() -> Told {
        Told::Ready { version: "1".to_owned() }
    }

    fn running() -> Told {
        Told::Running { done: Some(Step::Compiled) }
    }

    fn failed() -> Told {
        Told::Failed { done: Some(Step::Linked), what: "no".to_owned() }
    }

    #[test]
    fn it_goes_when_every_registered_node_is_ready_and_not_before() {
        let now = runtime::now();
        let mut gathering = Gathering::new(Silence::Stops, now);
        assert_eq!(gathering.next(now), Next::Wait, "nobody is known yet");
        gathering.registered(now, &nodes(&["a", "b"]));
        gathering.heard(now, &node("a"), ready());
        assert_eq!(gathering.next(now), Next::Wait);
        gathering.heard(now, &node("b"), running());
        assert_eq!((gathering.next(now), gathering.open()), (Next::Wait, vec![node("b")]));
        gathering.heard(now, &node("b"), ready());
        assert_eq!(gathering.next(now), Next::Go);
        gathering.registered(now, &nodes(&["a", "b", "c"]));
        assert_eq!(gathering.next(now), Next::Wait, "somebody joined");
        gathering.heard(now, &node("z"), failed());
        gathering.registered(now, &nodes(&["a", "b"]));
        assert_eq!(gathering.next(now), Next::Go, "and went again");
    }

    #[test]
    fn one_that_cannot_stops_it_for_all() {
        let now = runtime::now();
        let mut gathering = Gathering::new(Silence::Stops, now);
        gathering.registered(now, &nodes(&["a", "b"]));
        gathering.heard(now, &node("b"), failed());
        assert_eq!(gathering.next(now), Next::GiveUp("on node b: no".to_owned()));
    }

    #[test]
    fn one_that_is_silent_is_waited_for_until_it_is_gone_or_too_long() {
        let now = runtime::now();
        let mut gathering = Gathering::new(Silence::Stops, now);
        gathering.registered(now, &nodes(&["a", "b"]));
        gathering.heard(now, &node("a"), ready());
        let nearly = now + SILENT_MAX - Duration::from_millis(1);
        assert_eq!(gathering.next(nearly), Next::Wait);
        assert!(matches!(gathering.next(now + SILENT_MAX), Next::GiveUp(why) if why.contains("b")));
        gathering.registered(nearly, &nodes(&["a"]));
        assert_eq!(gathering.next(now + SILENT_MAX), Next::Go);
    }

    #[test]
    fn a_version_that_was_live_needs_no_word_of_those_who_are_silent() {
        let now = runtime::now();
        let mut gathering = Gathering::new(Silence::Passes, now);
        gathering.registered(now, &nodes(&["a", "b"]));
        gathering.heard(now, &node("a"), ready());
        assert_eq!(gathering.next(now), Next::Wait);
        assert_eq!(gathering.next(now + SILENT_SHORT), Next::Go);
        gathering.heard(now, &node("b"), failed());
        assert!(matches!(gathering.next(now + SILENT_SHORT), Next::GiveUp(_)));
    }

    #[test]
    fn nobody_at_all_is_waited_for_as_long_as_one_that_is_silent() {
        let now = runtime::now();
        for silence in [Silence::Stops, Silence::Passes] {
            let mut gathering = Gathering::new(silence, now);
            gathering.registered(now, &nodes(&[]));
            let nearly = now + SILENT_MAX - Duration::from_millis(1);
            assert_eq!(gathering.next(nearly), Next::Wait);
            assert_eq!(gathering.next(now + SILENT_MAX), Next::Nobody(SILENT_MAX));
        }
        let mut gathering = Gathering::new(Silence::Stops, now);
        gathering.registered(now, &nodes(&["a"]));
        gathering.heard(now, &node("a"), ready());
        assert_eq!(gathering.next(now + SILENT_MAX), Next::Go);
    }

    #[test]
    fn one_that_goes_on_for_ever_is_given_up() {
        let now = runtime::now();
        let mut gathering = Gathering::new(Silence::Stops, now);
        gathering.registered(now, &nodes(&["a"]));
        let late = now + PREPARE_MAX;
        gathering.heard(late, &node("a"), running());
        assert!(matches!(gathering.next(late), Next::GiveUp(why) if why.contains('a')));
    }
}
