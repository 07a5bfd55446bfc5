//! Which node to ask.
//!
//! Those that were given, those that the ring names, and which of them leads a chat. All of it is only a
//! hint: any node answers for any chat, by asking the one that leads it. So a wrong hint costs a hop, and
//! a node that did not answer is passed over for a while.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::ChatToken;
use runtime::Instant;

use crate::{Ring, Target};

/// Leaders remembered. When there are more, all are forgotten: they are found again with one request.
const LEADERS_MAX: usize = 10_000;
/// How long a node that did not answer is passed over.
const SHUN_FOR: Duration = Duration::from_secs(5);
/// How long the addresses of the ring are believed.
pub(crate) const RING_FOR: Duration = Duration::from_secs(30);

/// What is known about the nodes.
#[derive(Debug)]
pub(crate) struct Nodes {
    given: Vec<Target>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// By node id, where the ring says it answers.
    addresses: HashMap<String, Target>,
    addresses_at: Option<Instant>,
    leaders: HashMap<ChatToken, Target>,
    shunned: HashMap<Target, Instant>,
    /// Rises with every request that may go anywhere, so that they spread.
    turn: usize,
}

impl Nodes {
    /// Knows these, in this order.
    pub(crate) fn new(given: Vec<Target>) -> Self {
        Self { given, known: Mutex::default() }
    }

    /// Where to send a request about `chat` now: its leader, if it is known and well, otherwise one of
    /// those that were given, in turn, passing over those that did not answer lately.
    pub(crate) fn choose(&self, chat: Option<ChatToken>, now: Instant) -> Option<Target> {
        let mut known = self.lock();
        known.shunned.retain(|_, until| *until > now);
        let leader = chat.and_then(|chat| known.leaders.get(&chat).cloned());
        if let Some(leader) = leader.filter(|leader| !known.shunned.contains_key(leader)) {
            return Some(leader);
        }
        let first = known.turn.checked_rem(self.given.len())?;
        known.turn = known.turn.wrapping_add(1);
        let in_turn = || self.given.iter().cycle().skip(first).take(self.given.len());
        let well = in_turn().find(|target| !known.shunned.contains_key(target));
        well.or_else(|| in_turn().next()).cloned()
    }

    /// A node did not answer, or said that it cannot.
    pub(crate) fn shun(&self, target: &Target, chat: Option<ChatToken>, now: Instant) {
        let mut known = self.lock();
        known.shunned.insert(target.clone(), now + SHUN_FOR);
        if let Some(chat) = chat {
            known.leaders.remove(&chat);
        }
    }

    /// Whether it is worth asking who leads `chat`.
    pub(crate) fn wants_leader(&self, chat: ChatToken) -> bool {
        // One node is always the right one to ask.
        self.given.len() > 1 && !self.lock().leaders.contains_key(&chat)
    }

    /// Whether the addresses of the ring are known and fresh enough.
    pub(crate) fn has_addresses(&self, now: Instant) -> bool {
        let at = self.lock().addresses_at;
        at.is_some_and(|at| now.saturating_duration_since(at) < RING_FOR)
    }

    /// Learns where nodes answer.
    pub(crate) fn learn_addresses(&self, ring: &Ring, now: Instant) {
        let mut known = self.lock();
        known.addresses = ring
            .nodes
            .iter()
            .filter_map(|node| Some((node.id.clone(), node.http.parse().ok()?)))
            .collect();
        known.addresses_at = Some(now);
    }

    /// Learns who leads a chat.
    pub(crate) fn learn_leader(&self, chat: ChatToken, leader: &str) {
        let mut known = self.lock();
        let Some(target) = known.addresses.get(leader).cloned() else { return };
        if known.leaders.len() >= LEADERS_MAX {
            known.leaders.clear();
        }
        known.leaders.insert(chat, target);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Nodes, SHUN_FOR};
    use crate::{Ring, RingNode, Target};
    use model::ChatToken;

    const CHAT: ChatToken = ChatToken([1; 16]);

    fn target(port: u16) -> Target {
        format!("http://127.0.0.1:{port}").parse().unwrap()
    }

    fn ring() -> Ring {
        let node = |id: &str, port: u16| RingNode {
            id: id.to_owned(),
            hostname: String::new(),
            http: target(port).to_string(),
            quic: String::new(),
            zone: String::new(),
            weight: 1,
            state: "up".to_owned(),
        };
        Ring {
            version: 1,
            stale_ms: 0,
            nodes: vec![node("n1", 1), node("n2", 2)],
            positions: vec![],
        }
    }

    #[test]
    fn the_leader_is_asked_until_it_fails() {
        let nodes = Nodes::new(vec![target(1), target(2)]);
        let now = runtime::now();
        assert!(nodes.wants_leader(CHAT));
        nodes.learn_addresses(&ring(), now);
        nodes.learn_leader(CHAT, "n2");
        assert!(!nodes.wants_leader(CHAT));
        assert_eq!([0; 3].map(|_| nodes.choose(Some(CHAT), now)), [0; 3].map(|_| Some(target(2))));
        nodes.shun(&target(2), Some(CHAT), now);
        assert_eq!([0; 3].map(|_| nodes.choose(Some(CHAT), now)), [0; 3].map(|_| Some(target(1))));
        assert!(nodes.wants_leader(CHAT));
    }

    #[test]
    fn a_node_that_failed_is_tried_again_after_a_while_and_before_nobody() {
        let nodes = Nodes::new(vec![target(1)]);
        let now = runtime::now();
        nodes.shun(&target(1), None, now);
        assert_eq!(nodes.choose(None, now), Some(target(1)));
        assert_eq!(nodes.choose(None, now + SHUN_FOR), Some(target(1)));
        assert_eq!(Nodes::new(vec![]).choose(None, now), None);
    }

    #[test]
    fn requests_about_no_chat_spread() {
        let nodes = Nodes::new(vec![target(1), target(2)]);
        let now = runtime::now();
        assert_ne!(nodes.choose(None, now), nodes.choose(None, now));
    }

    #[test]
    fn a_leader_nobody_can_find_is_not_remembered() {
        let nodes = Nodes::new(vec![target(1), target(2)]);
        nodes.learn_leader(CHAT, "n9");
        assert!(nodes.wants_leader(CHAT));
    }
}
