//! Which node to ask.
//!
//! Those that were given, those that the ring names, who leads a chat and who holds it too. All of it is
//! only a hint: any node answers for any chat, by asking the one that leads it. So a wrong hint costs a
//! hop, an answer says who leads when that was another node, and when a leader does not answer the next
//! of those who hold the chat is asked: one of them leads it soon.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::ChatToken;
use runtime::Instant;

use crate::{Owners, Ring, Target};

/// Chats whose places are remembered. When there are more, all are forgotten: they are found again with
/// one request each.
const PLACES_MAX: usize = 10_000;
/// Nodes whose ring version is remembered; more than any cluster has.
const VERSIONS_MAX: usize = 1024;
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
    addresses: BTreeMap<String, Target>,
    addresses_at: Option<Instant>,
    /// Each node counts the changes of the ring for itself.
    versions: HashMap<Target, u64>,
    places: HashMap<ChatToken, Vec<Target>>,
    shunned: HashMap<Target, Instant>,
    /// Rises with every request that may go anywhere, so that they spread.
    turn: usize,
}

impl Nodes {
    /// Knows these, in this order.
    pub(crate) fn new(given: Vec<Target>) -> Self {
        Self { given, known: Mutex::default() }
    }

    /// Where to send a request about `chat` now: to its leader, if that is known, otherwise to the next of
    /// those who hold it, otherwise to one of those that were given, in turn, otherwise to one that the ring
    /// named. Passes over those that did not answer lately and those that this request was at already
    /// (`tried`), as long as there is anybody else.
    pub(crate) fn choose(
        &self,
        chat: Option<ChatToken>,
        tried: &[Target],
        now: Instant,
    ) -> Option<Target> {
        let mut known = self.lock();
        known.shunned.retain(|_, until| *until > now);
        let first = known.turn.checked_rem(self.given.len())?;
        let places = chat.and_then(|chat| known.places.get(&chat));
        let in_turn = self.given.iter().cycle().skip(first).take(self.given.len());
        // All that were given may be somewhere else by now.
        let named = known.addresses.values();
        let all: Vec<&Target> = places.into_iter().flatten().chain(in_turn).chain(named).collect();
        let is_well = |target: &Target| !known.shunned.contains_key(target);
        let is_new = |target: &Target| !tried.contains(target);
        let find = |fits: &dyn Fn(&Target) -> bool| all.iter().copied().find(|one| fits(one));
        let chosen = find(&|target| is_well(target) && is_new(target))
            .or_else(|| find(&is_new))
            .or_else(|| find(&is_well))
            .or_else(|| all.first().copied())
            .cloned();
        // A request to a known place has nothing to do with whose turn it is.
        if places.is_none_or(Vec::is_empty) {
            known.turn = known.turn.wrapping_add(1);
        }
        chosen
    }

    /// A node did not answer at all.
    pub(crate) fn shun(&self, target: &Target, now: Instant) {
        self.lock().shunned.insert(target.clone(), now + SHUN_FOR);
    }

    /// Whether it is worth asking who holds `chat`.
    pub(crate) fn wants_owners(&self, chat: ChatToken) -> bool {
        // One node is always the right one to ask.
        self.given.len() > 1 && !self.lock().places.contains_key(&chat)
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

    /// Learns the version of the ring that `target` knows. If it was another one before, nodes have come
    /// or gone: the addresses are looked at again before they are used the next time.
    pub(crate) fn learn_version(&self, target: &Target, version: u64) {
        let mut known = self.lock();
        match known.versions.get(target) {
            Some(before) if *before == version => return,
            Some(_) => known.addresses_at = None,
            None if known.versions.len() >= VERSIONS_MAX => return,
            None => {}
        }
        known.versions.insert(target.clone(), version);
    }

    /// Learns who holds a chat, its leader first.
    pub(crate) fn learn_owners(&self, chat: ChatToken, owners: &Owners) {
        let mut known = self.lock();
        let mut places: Vec<Target> = Vec::new();
        for node in owners.primary.iter().chain(&owners.ensemble).chain(&owners.wanted) {
            let Some(target) = known.addresses.get(node) else { continue };
            if !places.contains(target) {
                places.push(target.clone());
            }
        }
        // Nobody to be found is nothing to remember: it is asked again.
        if !places.is_empty() {
            known.remember(chat, places);
        }
    }

    /// Learns from an answer that `primary` leads `chat`, which goes there first from now on.
    pub(crate) fn learn_primary(&self, chat: ChatToken, primary: &str) {
        let mut known = self.lock();
        let fresh = known.addresses_at.is_some();
        let Some(target) = known.addresses.get(primary).filter(|_| fresh).cloned() else {
            // Not known, or perhaps not there any more: with the next request all of it is found anew.
            known.addresses_at = None;
            known.places.remove(&chat);
            return;
        };
        match known.places.get_mut(&chat) {
            Some(places) => {
                places.retain(|one| *one != target);
                places.insert(0, target);
            }
            None => known.remember(chat, vec![target]),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn remember(&mut self, chat: ChatToken, places: Vec<Target>) {
        if self.places.len() >= PLACES_MAX {
            self.places.clear();
        }
        self.places.insert(chat, places);
    }
}

#[cfg(test)]
mod tests {
    use super::{Nodes, SHUN_FOR};
    use crate::{Owners, Ring, RingNode, Target};
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
        let nodes = vec![node("n1", 1), node("n2", 2), node("n3", 3)];
        Ring { version: 1, stale_ms: 0, nodes, positions: vec![] }
    }

    fn owners(primary: Option<&str>, ensemble: &[&str]) -> Owners {
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Owners {
            partition: 0,
            epoch: 1,
            primary: primary.map(str::to_owned),
            ensemble: texts(ensemble),
            wanted: texts(&[]),
        }
    }

    /// Knows three nodes, was given the first two, and knows that the second leads the chat.
    fn nodes() -> Nodes {
        let nodes = Nodes::new(vec![target(1), target(2)]);
        nodes.learn_addresses(&ring(), runtime::now());
        assert!(nodes.wants_owners(CHAT));
        nodes.learn_owners(CHAT, &owners(Some("n2"), &["n3", "n2"]));
        assert!(!nodes.wants_owners(CHAT));
        nodes
    }

    #[test]
    fn the_leader_is_asked_until_it_fails_and_then_the_next_who_holds_the_chat() {
        let (nodes, now) = (nodes(), runtime::now());
        let ask = |tried: &[Target]| nodes.choose(Some(CHAT), tried, now);
        assert_eq!([0; 3].map(|_| ask(&[])), [0; 3].map(|_| Some(target(2))));
        nodes.shun(&target(2), now);
        assert_eq!([0; 3].map(|_| ask(&[])), [0; 3].map(|_| Some(target(3))));
        assert_eq!(
            ask(&[target(3)]),
            Some(target(1)),
            "one that was given, before one that is shunned"
        );
        assert_eq!(ask(&[target(3), target(1)]), Some(target(2)));
        let later = now + SHUN_FOR;
        assert_eq!(nodes.choose(Some(CHAT), &[], later), Some(target(2)));
    }

    /// Both that were given had come back at other ports, and who holds the chat was forgotten, because it was
    /// led by a node of an unknown address: nobody was asked who was there.
    #[test]
    fn the_ring_names_somebody_when_all_that_were_given_are_gone() {
        let (nodes, now) = (nodes(), runtime::now());
        nodes.learn_primary(CHAT, "n4");
        assert_eq!(nodes.choose(Some(CHAT), &[target(1), target(2)], now), Some(target(3)));
        nodes.shun(&target(1), now);
        nodes.shun(&target(2), now);
        assert_eq!(nodes.choose(None, &[], now), Some(target(3)));
    }

    #[test]
    fn one_request_goes_round_and_begins_again_when_it_was_everywhere() {
        let (nodes, now) = (nodes(), runtime::now());
        let mut tried = Vec::new();
        for expected in [2, 3, 1] {
            let chosen = nodes.choose(Some(CHAT), &tried, now);
            assert_eq!(chosen, Some(target(expected)));
            tried.extend(chosen);
        }
        assert_eq!(nodes.choose(Some(CHAT), &tried, now), Some(target(2)));
    }

    #[test]
    fn an_answer_says_who_leads_now() {
        let (nodes, now) = (nodes(), runtime::now());
        nodes.learn_primary(CHAT, "n3");
        assert_eq!(nodes.choose(Some(CHAT), &[], now), Some(target(3)));
        assert_eq!(nodes.choose(Some(CHAT), &[target(3)], now), Some(target(2)));
        assert!(nodes.has_addresses(now));
        nodes.learn_primary(CHAT, "n4");
        assert!(!nodes.has_addresses(now), "the ring has changed: nobody knows n4");
        assert!(nodes.wants_owners(CHAT));
    }

    #[test]
    fn another_ring_is_looked_at_again() {
        let (nodes, now) = (nodes(), runtime::now());
        // Each node counts for itself.
        nodes.learn_version(&target(1), 5);
        nodes.learn_version(&target(2), 9);
        nodes.learn_version(&target(1), 5);
        assert!(nodes.has_addresses(now));
        nodes.learn_version(&target(1), 6);
        assert!(!nodes.has_addresses(now));
        assert!(!nodes.wants_owners(CHAT), "who holds the chat may well be the same");
        nodes.learn_primary(CHAT, "n3");
        assert!(nodes.wants_owners(CHAT), "the address may be an old one");
    }

    #[test]
    fn a_node_that_failed_is_tried_again_after_a_while_and_before_nobody() {
        let nodes = Nodes::new(vec![target(1)]);
        let now = runtime::now();
        nodes.shun(&target(1), now);
        assert_eq!(nodes.choose(None, &[], now), Some(target(1)));
        assert_eq!(nodes.choose(None, &[target(1)], now), Some(target(1)));
        assert_eq!(nodes.choose(None, &[], now + SHUN_FOR), Some(target(1)));
        assert_eq!(Nodes::new(vec![]).choose(None, &[], now), None);
    }

    #[test]
    fn requests_about_no_chat_spread() {
        let nodes = Nodes::new(vec![target(1), target(2)]);
        let now = runtime::now();
        assert_ne!(nodes.choose(None, &[], now), nodes.choose(None, &[], now));
    }

    #[test]
    fn a_place_nobody_can_find_is_not_remembered() {
        let nodes = Nodes::new(vec![target(1), target(2)]);
        nodes.learn_owners(CHAT, &owners(Some("n9"), &["n8"]));
        assert!(nodes.wants_owners(CHAT));
        nodes.learn_primary(CHAT, "n9");
        assert!(nodes.wants_owners(CHAT));
    }
}
