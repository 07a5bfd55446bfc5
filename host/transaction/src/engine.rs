//! All lanes of one service on one node.
//!
//! It is told what the log says that lanes owe, how attempts ended and what was committed, and asked what to
//! do next. One owner asks and tells, so that no id is under way twice here, and nothing begins that a state
//! forbids.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use model::{Frozen, FrozenId};
use runtime::Instant;

use crate::lane::{After, Lane, May, Next, Owed, Settlement, Verdict};
use crate::schedule::Retry;
use crate::service::{Cause, Ended, Service, State};

/// Events that may be put aside by one service, in the partitions that one node leads. Then somebody should
/// look before more are.
const DEAD_MAX: usize = 10_000;

/// How one service is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// When what failed is tried again.
    pub retry: Retry,
    /// Attempts at once.
    pub parallel: usize,
    /// How long a lane waits for more before it cuts.
    pub linger: Duration,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Freeze what is ripe in a lane, and say in the same entry that `settled` is done.
    Cut {
        /// The partition.
        lane: u16,
        /// The epoch it is led in.
        epoch: u64,
        /// What is done.
        settled: Option<FrozenId>,
    },
    /// Write this out and try it.
    Send {
        /// The partition.
        lane: u16,
        /// The epoch it is led in.
        epoch: u64,
        /// What.
        frozen: Arc<Frozen>,
    },
    /// Say in the log how a transaction ends.
    Settle {
        /// The partition.
        lane: u16,
        /// The epoch it is led in.
        epoch: u64,
        /// How.
        settlement: Settlement,
    },
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// What it says of the transaction.
    pub verdict: Verdict,
    /// What it says of the service.
    pub ended: Ended,
    /// The answer's status.
    pub status: Option<u16>,
}

/// What is worth telling somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is down.
    Down,
    /// It is up again.
    Recovered,
    /// It is stopped.
    Stopped(Cause),
}

/// One service on one node.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    service: Service,
    lanes: BTreeMap<u16, Lane>,
    /// The lane that was asked last: the next one is asked first.
    asked: u16,
    /// Where one transaction follows another in the whole cluster: whether it is this node's turn.
    turn: Option<bool>,
    told: State,
}

impl Engine {
    /// Before anything is known.
    pub fn new(config: EngineConfig, now: Instant) -> Self {
        let service = Service::new(config.retry, config.parallel, now);
        Self { config, service, lanes: BTreeMap::new(), asked: 0, turn: None, told: State::Up }
    }

    /// This node leads a lane in `epoch`, and that is what it owes.
    pub fn handle_owed(&mut self, lane: u16, epoch: u64, owed: Owed, now: Instant) {
        let retry = self.config.retry;
        self.lanes.entry(lane).or_insert_with(|| Lane::new(retry)).owes(epoch, owed, now);
    }

    /// This node does not lead a lane any more. What is under way is heard of all the same.
    pub fn handle_closed(&mut self, lane: u16) {
        if let Some(closed) = self.lanes.get_mut(&lane) {
            closed.epoch = 0;
            closed.appending = false;
            if closed.sending.is_none() {
                self.lanes.remove(&lane);
            }
        }
    }

    /// What was begun by [`Step::Cut`] or [`Step::Settle`] is over: what is owed now is `owed`.
    pub fn handle_appended(&mut self, lane: u16, epoch: u64, owed: Option<Owed>, now: Instant) {
        let Some(known) = self.lanes.get_mut(&lane).filter(|lane| lane.epoch == epoch) else {
            return;
        };
        known.appending = false;
        match owed {
            Some(owed) => known.owes(epoch, owed, now),
            None => self.handle_closed(lane),
        }
    }

    /// Something of a lane is to be appended beside what is decided here, about what would be sent next (`front`), or
    /// what is not cut if nothing would. Whether it may be: nothing is under way, and until
    /// [`Engine::handle_appended`] nothing will be.
    pub fn claim(&mut self, lane: u16, epoch: u64, front: Option<FrozenId>) -> bool {
        let rests = |lane: &&mut Lane| {
            let stands = match front {
                Some(id) => lane.to_send().is_some_and(|frozen| frozen.id == id),
                None => lane.owed.front.is_none(),
            };
            let idle = !lane.appending && lane.sending.is_none();
            lane.epoch == epoch && epoch > 0 && idle && stands
        };
        match self.lanes.get_mut(&lane).filter(rests) {
            Some(lane) => {
                lane.appending = true;
                true
            }
            None => false,
        }
    }

    /// What was begun by [`Step::Send`] is over. Returns what follows.
    pub fn handle_tried(
        &mut self,
        lane: u16,
        frozen: &Frozen,
        tried: &Tried,
        now: Instant,
        dice: u32,
    ) -> Option<After> {
        let working = self.working();
        let dead: usize = self.lanes.values().map(|lane| lane.owed.dead).sum();
        self.service.end(lane, tried.ended, working, now, dice);
        let known = self.lanes.get_mut(&lane)?;
        let mut verdict = tried.verdict.clone();
        if let Ended::Failed { retry_after, .. } = tried.ended {
            let failing = known.fails(now, dice, retry_after);
            // It alone fails, beside others that do not: it is the events.
            if failing >= self.config.retry.give_up && self.service.state() == State::Up {
                verdict = Verdict::Refused;
            }
        }
        if (tried.ended, &verdict) == (Ended::Cancelled, &Verdict::Later) {
            known.rests(now);
        }
        let after = known.ended(frozen, &verdict, tried.status, now);
        match (&after, &verdict) {
            (Some(After::Settle(settlement)), _) => {
                for _event in &settlement.parked {
                    self.service.parks(now);
                }
                if !settlement.parked.is_empty() && dead >= DEAD_MAX {
                    self.service.overflows(now);
                }
                if matches!(verdict, Verdict::Taken { .. }) && settlement.parked.is_empty() {
                    // Its events go again, but not at once.
                    known.fails(now, dice, None);
                } else if matches!(verdict, Verdict::Refused) {
                    known.succeeds();
                }
            }
            (Some(After::Delivered), _) => self.service.takes(),
            (Some(After::Again) | None, _) => {}
        }
        if known.epoch == 0 && known.sending.is_none() {
            self.lanes.remove(&lane);
        }
        after
    }

    /// Whether it is this node's turn, where one transaction follows another in the whole cluster; `None`: where they
    /// need not. Nothing is cut before: what waits grows.
    pub fn set_turn(&mut self, turn: Option<bool>) {
        self.turn = turn;
    }

    /// Transactions under way.
    pub fn sending(&self) -> usize {
        self.lanes.values().filter(|lane| lane.sending.is_some()).count()
    }

    /// A lane waits so long for more before it cuts, from now on.
    pub fn set_linger(&mut self, linger: Duration) {
        self.config.linger = linger;
    }

    /// Time goes on.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.service.handle_timeout(now);
    }

    /// What to do now. It is taken for begun.
    pub fn poll(&mut self, now: Instant) -> Option<Step> {
        self.service.handle_timeout(now);
        let may = self.may();
        let after = (Bound::Excluded(self.asked), Bound::Unbounded);
        let order: Vec<u16> = self
            .lanes
            .range(after)
            .chain(self.lanes.range(..=self.asked))
            .map(|(number, _)| *number)
            .collect();
        for number in order {
            let Some(lane) = self.lanes.get_mut(&number) else { continue };
            let Some(next) = lane.next(may, now) else { continue };
            self.asked = number;
            let epoch = lane.epoch;
            return Some(match next {
                Next::Cut { settled } => {
                    lane.appending = true;
                    Step::Cut { lane: number, epoch, settled }
                }
                Next::Settle(settlement) => {
                    lane.appending = true;
                    Step::Settle { lane: number, epoch, settlement }
                }
                Next::Send(frozen) => {
                    lane.sending = Some(frozen.id);
                    self.service.begin();
                    Step::Send { lane: number, epoch, frozen }
                }
            });
        }
        None
    }

    fn may(&self) -> May {
        let recovering = self.service.state() == State::Recovering;
        // What only fails again and again says nothing of the others.
        let sendable = self
            .lanes
            .iter()
            .any(|(number, lane)| lane.to_send().is_some() && !self.service.is_ill(*number));
        let cutting = self.lanes.values().any(|lane| lane.appending);
        let (alone, turn) = match self.turn {
            None => (true, true),
            Some(turn) => (self.sending() == 0, turn),
        };
        May {
            send: self.service.may_send() && alone && turn,
            cut: self.service.may_cut(!sendable && !cutting) && turn,
            probe: recovering,
            linger: self.config.linger,
            wakes: self.service.wakes(),
        }
    }

    /// When there is something to do again at the latest, if nothing happens.
    pub fn next_timeout(&self) -> Option<Instant> {
        let may = self.may();
        let lanes = self.lanes.values().filter_map(|lane| lane.next_timeout(may));
        let lanes = match self.service.state() {
            State::Up => lanes.min(),
            // What was taken is to be written down all the same.
            State::Down { .. } | State::Recovering | State::Stopped(_) => {
                let taken = self.lanes.values().filter(|lane| lane.to_send().is_none());
                taken.filter_map(|lane| lane.next_timeout(May { cut: false, ..may })).min()
            }
        };
        lanes.into_iter().chain(self.service.next_timeout()).min()
    }

    /// How many lanes have something that the service has not taken.
    pub fn working(&self) -> usize {
        self.lanes.values().filter(|lane| lane.has_work()).count()
    }

    /// What the service has become since this was asked last, if that is worth telling.
    pub fn told(&mut self) -> Option<Told> {
        let now = self.service.state();
        let before = std::mem::replace(&mut self.told, now);
        if before.word() == now.word() {
            return None;
        }
        match now {
            State::Up => Some(Told::Recovered),
            State::Down { .. } if !matches!(before, State::Recovering) => Some(Told::Down),
            State::Stopped(cause) => Some(Told::Stopped(cause)),
            State::Down { .. } | State::Recovering => None,
        }
    }

    /// The service.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// The service, to wake, pause or resume it.
    pub fn service_mut(&mut self) -> &mut Service {
        &mut self.service
    }
}

#[cfg(test)]
mod tests {
    use model::{Dialect, EventPlace, Part};

    use super::*;
    use crate::lane::SETTLE_AFTER;

    const SECOND: Duration = Duration::from_secs(1);

    fn engine(parallel: usize) -> (Engine, Instant) {
        let config = EngineConfig { retry: Retry::default(), parallel, linger: Duration::ZERO };
        let now = runtime::now();
        (Engine::new(config, now), now)
    }

    fn frozen(seq: u64) -> Arc<Frozen> {
        let events = vec![EventPlace { seq, index: 0, epoch: 1, number: seq }];
        let part = Part { dialect: Dialect::Matrix, render: 1, events, hash: [0; 32], rounds: 0 };
        Arc::new(Frozen { id: FrozenId { epoch: 1, seq, index: 0 }, part })
    }

    fn owes(seq: u64) -> Owed {
        Owed { front: Some(frozen(seq)), ..Owed::default() }
    }

    fn failed(connected: bool) -> Tried {
        let ended = Ended::Failed { retry_after: None, silent: !connected, connected };
        Tried { verdict: Verdict::Later, ended, status: None }
    }

    fn taken() -> Tried {
        let verdict = Verdict::Taken { failed: Vec::new() };
        Tried { verdict, ended: Ended::Answered, status: Some(200) }
    }

    #[test]
    fn a_lane_cuts_and_sends_and_says_that_it_is_done_with_its_next_cut() {
        let (mut engine, now) = engine(1);
        engine.handle_owed(3, 7, Owed { ripe: true, ..Owed::default() }, now);
        let cut = Step::Cut { lane: 3, epoch: 7, settled: None };
        assert_eq!(engine.poll(now), Some(cut));
        assert_eq!(engine.poll(now), None, "not before it is committed");
        engine.handle_appended(3, 7, Some(Owed { ripe: true, ..owes(9) }), now);
        let Some(Step::Send { frozen, .. }) = engine.poll(now) else { panic!("it is sent") };
        engine.handle_tried(3, &frozen, &taken(), now, 0);
        let cut = Step::Cut { lane: 3, epoch: 7, settled: Some(frozen.id) };
        assert_eq!(engine.poll(now), Some(cut));
    }

    #[test]
    fn a_lane_is_claimed_while_nothing_is_under_way_and_rests_until_that_is_over() {
        let (mut engine, now) = engine(1);
        let front = Some(frozen(9).id);
        assert!(!engine.claim(3, 7, front), "nobody leads it");
        engine.handle_owed(3, 7, owes(9), now);
        assert!(!engine.claim(3, 6, front), "not in that epoch");
        assert!(!engine.claim(3, 7, None) && !engine.claim(3, 7, Some(frozen(2).id)));
        assert!(engine.claim(3, 7, front) && !engine.claim(3, 7, front));
        assert_eq!(engine.poll(now), None, "what it owes may be given up");
        engine.handle_appended(3, 7, Some(owes(11)), now);
        let sent = engine.poll(now);
        assert!(matches!(sent, Some(Step::Send { frozen, .. }) if frozen.id.seq == 11));
        assert!(!engine.claim(3, 7, Some(frozen(11).id)), "it is under way");
        engine.handle_tried(3, &frozen(11), &taken(), now, 0);
        assert!(!engine.claim(3, 7, Some(frozen(11).id)), "it was taken");
    }

    #[test]
    fn what_is_done_is_written_down_after_a_second_if_nothing_follows() {
        let (mut engine, now) = engine(1);
        engine.handle_owed(3, 7, owes(9), now);
        assert!(engine.poll(now).is_some());
        engine.handle_tried(3, &frozen(9), &taken(), now, 0);
        assert_eq!(engine.poll(now), None);
        assert_eq!(engine.next_timeout(), Some(now + SETTLE_AFTER));
        assert!(matches!(engine.poll(now + SETTLE_AFTER), Some(Step::Settle { .. })));
    }

    #[test]
    fn a_node_that_leads_again_does_not_send_twice_at_once_what_is_under_way() {
        let (mut engine, now) = engine(4);
        engine.handle_owed(3, 7, owes(9), now);
        assert!(engine.poll(now).is_some());
        engine.handle_closed(3);
        engine.handle_owed(3, 8, owes(9), now);
        assert_eq!(engine.poll(now), None);
        engine.handle_tried(3, &frozen(9), &failed(true), now, 0);
        engine.handle_owed(4, 1, owes(2), now);
        assert!(matches!(engine.poll(now + SECOND), Some(Step::Send { .. })));
    }

    #[test]
    fn while_it_is_down_nothing_is_cut_or_sent_and_then_one_probe_is() {
        let (mut engine, now) = engine(4);
        engine.handle_owed(1, 1, owes(9), now);
        assert!(engine.poll(now).is_some());
        engine.handle_tried(1, &frozen(9), &failed(false), now, u32::MAX);
        assert_eq!(engine.told(), Some(Told::Down));
        engine.handle_owed(2, 1, Owed { ripe: true, ..Owed::default() }, now);
        assert_eq!((engine.poll(now), engine.told()), (None, None));
        assert_eq!(engine.next_timeout(), Some(now + SECOND));
        let later = now + SECOND;
        assert!(matches!(engine.poll(later), Some(Step::Send { lane: 1, .. })));
        assert_eq!(engine.poll(later), None);
        engine.handle_tried(1, &frozen(9), &taken(), later, 0);
        assert_eq!(engine.told(), Some(Told::Recovered));
        assert!(matches!(engine.poll(later), Some(Step::Cut { lane: 2, .. })));
    }

    #[test]
    fn where_one_follows_another_nothing_is_cut_or_sent_out_of_turn_and_one_at_a_time() {
        let (mut engine, now) = engine(4);
        engine.set_turn(Some(false));
        engine.handle_owed(1, 1, owes(9), now);
        engine.handle_owed(2, 1, owes(5), now);
        engine.handle_owed(3, 1, Owed { ripe: true, ..Owed::default() }, now);
        assert_eq!((engine.poll(now), engine.next_timeout()), (None, None));
        assert_eq!(engine.working(), 3, "it wants its turn");
        // It succeeds, so that several could be sent at once.
        engine.service_mut().begin();
        engine.service_mut().end(9, Ended::Answered, 3, now, 0);
        engine.set_turn(Some(true));
        let mut sent = Vec::new();
        while let Some(step) = engine.poll(now) {
            sent.extend(match step {
                Step::Send { lane, frozen, .. } => Some((lane, frozen)),
                Step::Cut { .. } | Step::Settle { .. } => None,
            });
        }
        assert_eq!((sent.len(), engine.sending()), (1, 1));
        engine.set_turn(Some(false));
        let (lane, frozen) = &sent[0];
        engine.handle_tried(*lane, frozen, &taken(), now, 0);
        assert_eq!(engine.poll(now), None);
        let settles = engine.poll(now + SETTLE_AFTER);
        assert!(matches!(settles, Some(Step::Settle { .. })), "what was taken is written down");
    }

    #[test]
    fn a_service_that_is_down_for_one_lane_s_events_is_tried_with_another_s() {
        let (mut engine, now) = engine(4);
        engine.handle_owed(2, 1, owes(9), now);
        assert!(engine.poll(now).is_some());
        let ended = Ended::Failed { retry_after: None, silent: false, connected: true };
        let ill = Tried { verdict: Verdict::Later, ended, status: Some(500) };
        engine.handle_tried(2, &frozen(9), &ill, now, u32::MAX);
        assert!(matches!(engine.service().state(), State::Down { .. }), "it is all there is");
        let ripe = Owed { ripe: true, ..Owed::default() };
        engine.handle_owed(1, 1, ripe.clone(), now);
        engine.handle_owed(3, 1, ripe, now);
        let later = now + SECOND;
        let cut = Step::Cut { lane: 3, epoch: 1, settled: None };
        assert_eq!(engine.poll(later), Some(cut), "one of them");
        assert!(matches!(engine.poll(later), Some(Step::Send { lane: 2, .. })), "meanwhile");
        assert_eq!(engine.poll(later), None);
        engine.handle_appended(3, 1, Some(owes(12)), later);
        engine.handle_tried(2, &frozen(9), &ill, later, u32::MAX);
        let last = later + 2 * SECOND;
        assert!(matches!(engine.poll(last), Some(Step::Send { lane: 3, .. })), "now that one");
        engine.handle_tried(3, &frozen(12), &taken(), last, 0);
        assert_eq!(engine.service().state(), State::Up);
        assert!(matches!(engine.poll(last), Some(Step::Cut { lane: 1, .. })), "and all others");
        assert!(matches!(engine.poll(last), Some(Step::Send { lane: 2, .. })));
    }

    #[test]
    fn a_lane_that_waits_for_others_to_end_wakes_nobody() {
        let (mut engine, now) = engine(1);
        engine.handle_owed(1, 1, owes(9), now);
        engine.handle_owed(2, 1, owes(5), now);
        engine.handle_owed(3, 1, owes(7), now);
        let sends = |engine: &mut Engine, now| match engine.poll(now) {
            Some(Step::Send { lane, frozen, .. }) => (lane, frozen),
            other => panic!("{other:?}"),
        };
        let (lane, tried) = sends(&mut engine, now);
        engine.handle_tried(lane, &tried, &failed(true), now, u32::MAX);
        let _other = sends(&mut engine, now + SECOND);
        assert_eq!(engine.poll(now + 2 * SECOND), None);
        assert_eq!(engine.next_timeout(), None, "there is no room before that one ends");
    }
}
