//! What a partition's log makes of all services.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::entry::{FrozenId, OutboxChange, OutboxEntry, Part, ServiceRecord, wants};
use super::lane::{Frozen, Lane};
use crate::{Entry, Message, Route};

/// All services of a partition after its log up to one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbox {
    services: BTreeMap<String, Booked>,
}

/// A service that events concern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booked {
    /// What is known of it now.
    pub record: ServiceRecord,
    /// Which kinds concerned it from which entry on, as far back as something is uncut; rises.
    filters: Vec<(u64, Vec<String>)>,
    /// What it is owed.
    pub lane: Lane,
}

impl Outbox {
    /// A service.
    pub fn service(&self, name: &str) -> Option<&Booked> {
        self.services.get(name)
    }

    /// All of them, by name.
    pub fn services(&self) -> impl Iterator<Item = &Booked> {
        self.services.values()
    }

    /// The lowest entry in which something may be uncut; `None`: nothing is, anywhere.
    pub fn looks_from(&self) -> Option<u64> {
        let lanes = self.services.values().map(|booked| &booked.lane);
        lanes.filter(|lane| lane.is_ripe()).map(|lane| lane.scan.0).min()
    }

    /// The entries of all events that are frozen and not done with, or were put aside.
    pub fn listed(&self) -> impl Iterator<Item = u64> {
        self.services.values().flat_map(|booked| {
            let frozen = booked.lane.unfinished.iter().flat_map(|frozen| &frozen.part.events);
            let dead = booked.lane.dead.iter().map(|dead| &dead.event);
            frozen.chain(dead).map(|event| event.seq)
        })
    }

    /// Puts back what [`Outbox::services`] gave.
    pub fn put(&mut self, booked: Booked) {
        self.services.insert(booked.record.name.clone(), booked);
    }

    /// Whether nothing concerns anybody.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// A chat's entry was committed at `seq`. Whether it concerns anybody.
    pub fn hear(&mut self, seq: u64, entry: &Entry) -> bool {
        let mut heard = false;
        if self.services.is_empty() {
            return heard;
        }
        for (index, message) in (0..).zip(entry.messages()) {
            for booked in self.services.values_mut() {
                if is_shown(message) && booked.record.wants(&message.kind) {
                    booked.lane.concern(seq, index);
                    heard = true;
                }
            }
        }
        heard
    }

    /// An entry about services was committed at `seq` of `epoch`. What it says of transactions that are not there
    /// is passed over.
    pub fn apply(&mut self, epoch: u64, seq: u64, entry: &OutboxEntry) {
        let mut ids = (0..).map(|index| FrozenId { epoch, seq, index });
        let mut freeze = |part: &Part| {
            let id = ids.next().unwrap_or_default();
            Frozen { id, part: part.clone() }
        };
        for change in &entry.changes {
            match change {
                OutboxChange::Service { record, from_start } => {
                    self.describe(seq, record, *from_start);
                }
                OutboxChange::Forget { service } => _ = self.services.remove(service),
                OutboxChange::Cut { service, part, from, upto } => {
                    let frozen = freeze(part);
                    let booked = self.services.get_mut(service);
                    // Somebody may try again what was appended after all.
                    if let Some(booked) = booked.filter(|booked| booked.lane.scan == *from) {
                        booked.lane.cut(frozen.id, part, *upto);
                        booked.prune();
                    }
                }
                OutboxChange::Replay { service, id } => {
                    if let Some(booked) = self.services.get_mut(service) {
                        booked.lane.replay(*id);
                    }
                }
                OutboxChange::Abandon { service, id } => {
                    if let Some(booked) = self.services.get_mut(service) {
                        booked.lane.abandon(*id);
                    }
                }
                OutboxChange::Settle { service, id, again, parked, status } => {
                    let again = again.iter().map(&mut freeze).collect();
                    if let Some(booked) = self.services.get_mut(service) {
                        booked.lane.settle(*id, again, parked, *status, entry.time_ms);
                    }
                }
            }
        }
    }

    fn describe(&mut self, seq: u64, record: &ServiceRecord, from_start: bool) {
        match self.services.get_mut(&record.name) {
            Some(booked) => {
                if booked.record.kinds != record.kinds {
                    booked.filters.push((seq, record.kinds.clone()));
                }
                booked.record = record.clone();
                booked.prune();
            }
            None => {
                let scan = if from_start { (0, 0) } else { (seq, 0) };
                let lane = Lane { scan, began: seq, ..Lane::default() };
                let filters = vec![(scan.0, record.kinds.clone())];
                let booked = Booked { record: record.clone(), filters, lane };
                self.services.insert(record.name.clone(), booked);
            }
        }
    }
}

impl Booked {
    /// How many descriptions of it are still needed to know what concerned it. Who describes services should
    /// wait while this is large: it grows only while what came before is uncut.
    pub fn descriptions(&self) -> usize {
        self.filters.len()
    }

    /// The same, owed nothing.
    #[must_use]
    pub fn without_lane(&self) -> Self {
        let (record, filters) = (self.record.clone(), self.filters.clone());
        Self { record, filters, lane: Lane::default() }
    }

    /// Whether a message of the entry at `seq` concerns it.
    pub fn concerns(&self, seq: u64, message: &Message) -> bool {
        let known = self.filters.iter().rev().find(|(from, _)| *from <= seq);
        is_shown(message) && known.is_some_and(|(_, kinds)| wants(kinds, &message.kind))
    }

    /// Forgets descriptions that nothing uncut is older than.
    fn prune(&mut self) {
        let current = self.filters.iter().rposition(|(from, _)| *from <= self.lane.scan.0);
        let nothing = !self.lane.is_ripe();
        let keep_from =
            if nothing { self.filters.len().saturating_sub(1) } else { current.unwrap_or(0) };
        self.filters.drain(..keep_from);
    }
}

/// Whether anybody may see it.
fn is_shown(message: &Message) -> bool {
    message.route != Route::Nobody
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        Attrs, Body, Change, ChatToken, Dialect, EventPlace, FrozenId, Message, MessageId,
    };

    fn says(kind: &str, routes: &[Route]) -> Entry {
        let message = |route: &Route| {
            Change::Message(Arc::new(Message {
                id: MessageId([1; 16]),
                sender: "alice".into(),
                kind: kind.into(),
                route: route.clone(),
                body: Body::Text("hello".into()),
                archive: None,
                attrs: Attrs::new(),
                time_ms: 1,
                sent_ms: None,
                stamps: Vec::new(),
            }))
        };
        let changes = routes.iter().map(message).collect();
        Entry { chat: ChatToken([1; 16]), turn: 1, time_ms: 1, changes, remembered: None }
    }

    fn describe(kinds: &[&str], from_start: bool) -> OutboxEntry {
        let kinds = kinds.iter().map(|&kind| kind.to_owned()).collect();
        let (name, revision, dialect) = ("crm".to_owned(), 0, Dialect::Webhook);
        let record = ServiceRecord { name, revision, dialect, kinds };
        OutboxEntry { time_ms: 1, changes: vec![OutboxChange::Service { record, from_start }] }
    }

    fn part(seqs: &[u64]) -> Part {
        let place = |seq: &u64| EventPlace { seq: *seq, index: 0, epoch: 1, number: *seq };
        let events = seqs.iter().map(place).collect();
        Part { dialect: Dialect::Webhook, render: 1, events, hash: [0; 32], rounds: 0 }
    }

    fn change(change: OutboxChange) -> OutboxEntry {
        OutboxEntry { time_ms: 9, changes: vec![change] }
    }

    fn cut(seqs: &[u64], from: (u64, u32), upto: (u64, u32)) -> OutboxEntry {
        change(OutboxChange::Cut { service: "crm".to_owned(), part: part(seqs), from, upto })
    }

    fn settle(seq: u64, again: &[&[u64]], parked: &[u64]) -> OutboxEntry {
        let again = again.iter().map(|seqs| part(seqs)).collect();
        change(OutboxChange::Settle {
            service: "crm".to_owned(),
            id: FrozenId { epoch: 1, seq, index: 0 },
            again,
            parked: part(parked).events,
            status: Some(400),
        })
    }

    fn lane(outbox: &Outbox) -> &Lane {
        let lane = &outbox.service("crm").unwrap().lane;
        let sum = lane.done + lane.parked + lane.abandoned + lane.pending();
        assert_eq!(lane.concerned, sum, "{lane:?}");
        lane
    }

    /// Described at 1, with events at 2, 3 and 4.
    fn three() -> Outbox {
        let mut outbox = Outbox::default();
        outbox.apply(1, 1, &describe(&["*"], false));
        for seq in 2..5 {
            assert!(outbox.hear(seq, &says("text", &[Route::Everyone])));
        }
        outbox
    }

    #[test]
    fn what_is_said_counts_from_the_description_on_and_if_somebody_may_see_it() {
        let mut outbox = Outbox::default();
        assert!(!outbox.hear(1, &says("text", &[Route::Everyone])));
        outbox.apply(1, 2, &describe(&["text"], false));
        assert!(!outbox.hear(3, &says("note", &[Route::Everyone])));
        assert!(!outbox.hear(4, &says("text", &[Route::Nobody])));
        let only = Route::Only(vec!["bob".to_owned()]);
        assert!(outbox.hear(5, &says("text", &[Route::Nobody, only, Route::Everyone])));
        assert_eq!((lane(&outbox).uncut, lane(&outbox).scan), (2, (5, 1)));
    }

    #[test]
    fn a_filter_has_its_place_in_the_log_as_long_as_something_before_it_is_uncut() {
        let mut outbox = Outbox::default();
        outbox.apply(1, 1, &describe(&["text"], false));
        outbox.hear(2, &says("text", &[Route::Everyone]));
        outbox.apply(1, 3, &describe(&["note"], false));
        outbox.hear(4, &says("note", &[Route::Everyone]));
        let booked = outbox.service("crm").unwrap();
        assert_eq!(booked.descriptions(), 2);
        let message = |kind: &str| says(kind, &[Route::Everyone]).messages().next().cloned();
        let concerns = |seq, kind: &str| booked.concerns(seq, &message(kind).unwrap());
        assert!(concerns(2, "text") && !concerns(2, "note"));
        assert!(concerns(4, "note") && !concerns(4, "text"));
        outbox.apply(1, 5, &cut(&[2, 4], (2, 0), (5, 0)));
        assert_eq!(outbox.service("crm").unwrap().descriptions(), 1);
        assert_eq!(lane(&outbox).pending(), 2);
    }

    #[test]
    fn a_cut_that_was_tried_twice_counts_once() {
        let mut outbox = three();
        outbox.apply(1, 5, &cut(&[2, 3], (2, 0), (4, 0)));
        outbox.apply(1, 6, &cut(&[2, 3], (2, 0), (4, 0)));
        assert_eq!((lane(&outbox).uncut, lane(&outbox).unfinished.len()), (1, 1));
    }

    #[test]
    fn what_goes_again_takes_the_place_of_what_it_was() {
        let mut outbox = three();
        outbox.apply(1, 5, &cut(&[2, 3], (2, 0), (4, 0)));
        outbox.apply(1, 6, &cut(&[4], (4, 0), (5, 0)));
        outbox.apply(1, 7, &settle(5, &[&[2], &[3]], &[]));
        let order = |outbox: &Outbox| -> Vec<u64> {
            let events = lane(outbox).unfinished.iter().flat_map(|it| it.part.events.clone());
            events.map(|event| event.seq).collect()
        };
        assert_eq!(order(&outbox), [2, 3, 4]);
        let ids: Vec<_> =
            lane(&outbox).unfinished.iter().map(|it| (it.id.seq, it.id.index)).collect();
        assert_eq!(ids, [(7, 0), (7, 1), (6, 0)]);
        outbox.apply(1, 8, &settle(7, &[], &[2]));
        assert_eq!((order(&outbox), lane(&outbox).parked), (vec![3, 4], 1));
        outbox.apply(1, 9, &settle(7, &[], &[]));
        assert_eq!(order(&outbox), [3, 4], "it was over already");
    }

    #[test]
    fn what_is_abandoned_is_counted_and_owed_no_more() {
        let mut outbox = three();
        outbox.apply(1, 5, &cut(&[2, 3], (2, 0), (4, 0)));
        let id = lane(&outbox).unfinished[0].id;
        let abandon = OutboxChange::Abandon { service: "crm".to_owned(), id };
        outbox.apply(1, 6, &change(abandon.clone()));
        let counts = |outbox: &Outbox| {
            (lane(outbox).abandoned, lane(outbox).pending(), outbox.listed().count())
        };
        assert_eq!(counts(&outbox), (2, 1, 0));
        outbox.apply(1, 7, &change(abandon));
        assert_eq!(counts(&outbox), (2, 1, 0), "once");
    }

    #[test]
    fn what_was_put_aside_goes_again_with_its_id() {
        let mut outbox = three();
        outbox.apply(1, 5, &cut(&[2], (2, 0), (3, 0)));
        outbox.apply(1, 6, &settle(5, &[], &[2]));
        outbox.apply(1, 7, &cut(&[3], (3, 0), (4, 0)));
        let id = lane(&outbox).dead[0].id;
        outbox.apply(1, 8, &change(OutboxChange::Replay { service: "crm".to_owned(), id }));
        let lane = lane(&outbox);
        assert_eq!((lane.parked, lane.dead.len()), (0, 0));
        assert_eq!(lane.unfinished[1].id, id, "behind what may be under way");
        assert_eq!(lane.unfinished[1].part, part(&[2]));
    }

    #[test]
    fn what_stood_before_a_service_that_wants_all_is_counted_when_it_is_cut() {
        let mut outbox = Outbox::default();
        outbox.hear(1, &says("text", &[Route::Everyone]));
        outbox.apply(1, 2, &describe(&["*"], true));
        assert!(lane(&outbox).is_ripe(), "nobody knows what there is");
        outbox.hear(3, &says("text", &[Route::Everyone]));
        outbox.apply(1, 4, &cut(&[1, 3], (0, 0), (4, 0)));
        assert_eq!((lane(&outbox).concerned, lane(&outbox).pending()), (2, 2));
        assert!(!lane(&outbox).is_ripe());
    }

    #[test]
    fn what_services_are_owed_says_which_entries_must_stay() {
        let mut outbox = three();
        assert_eq!((outbox.looks_from(), outbox.listed().count()), (Some(2), 0));
        outbox.apply(1, 5, &cut(&[2, 3], (2, 0), (4, 0)));
        assert_eq!(outbox.looks_from(), Some(4));
        assert_eq!(outbox.listed().collect::<Vec<_>>(), [2, 3]);
        outbox.apply(1, 6, &cut(&[4], (4, 0), (5, 0)));
        outbox.apply(1, 7, &settle(5, &[], &[3]));
        assert_eq!(outbox.looks_from(), None);
        assert_eq!(outbox.listed().collect::<Vec<_>>(), [4, 3], "also what was put aside");
    }

    #[test]
    fn what_is_forgotten_is_owed_nothing() {
        let mut outbox = three();
        outbox.apply(1, 5, &change(OutboxChange::Forget { service: "crm".to_owned() }));
        assert!(outbox.is_empty() && !outbox.hear(6, &says("text", &[Route::Everyone])));
    }
}
