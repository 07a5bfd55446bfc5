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

use crate::lane::{After, Lane, May, Next, Owed, Series, Settlement, Verdict};
use crate::schedule::Retry;
use crate::service::Service;
use crate::state::{Cause, Ended, State};

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

/// Lanes whose first transaction was tried and not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failing {
    /// How many.
    pub lanes: usize,
    /// Since when the one does that fails longest.
    pub since: Option<Instant>,
    /// When the next of them is tried again, if the service may be sent anything then.
    pub next: Option<Instant>,
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
    /// Nothing is begun any more but what finishes what was.
    draining: bool,
    told: State,
}

impl Engine {
    /// Before anything is known.
    pub fn new(config: EngineConfig, now: Instant) -> Self {
        let service = Service::new(config.retry, config.parallel, now);
        let (lanes, told) = (BTreeMap::new(), State::Up);
        Self { config, service, lanes, asked: 0, turn: None, draining: false, told }
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

    /// What was begun by [`Step::Cut`] or [`Step::Settle`] is over: what is owed now is `owed`; `None`: it is not
    /// committed, and tried again a little later.
    pub fn handle_appended(&mut self, lane: u16, epoch: u64, owed: Option<Owed>, now: Instant) {
        let Some(known) = self.lanes.get_mut(&lane).filter(|lane| lane.epoch == epoch) else {
            return;
        };
        known.appending = false;
        match owed {
            Some(owed) => known.owes(epoch, owed, now),
            // What was found out of it stays: it may be led all the same.
            None => known.rests(now),
        }
    }

    /// Something of a lane is to be appended beside what is decided here, about what would be sent next (`front`), or
    /// what is not cut if nothing would. Whether it may be: nothing is under way, and until
    /// [`Engine::handle_appended`] nothing will be.
    pub fn claim(&mut self, lane: u16, epoch: u64, front: Option<FrozenId>, now: Instant) -> bool {
        let rests = |lane: &&mut Lane| {
            let stands = match front {
                Some(id) => lane.to_send().is_some_and(|frozen| frozen.id == id),
                None => lane.owed.front.is_none(),
            };
            let idle = !lane.appending && lane.sending.is_none() && !lane.is_resting(now);
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
        let up = self.service.state() == State::Up;
        self.service.end(lane, tried.ended, working, now, dice);
        let known = self.lanes.get_mut(&lane)?;
        let mut verdict = tried.verdict.clone();
        if let Ended::Failed { retry_after, silent, .. } = tried.ended {
            let failing = known.fails(now, dice, retry_after);
            // It alone fails, beside others that did not, also if it is all there is now: it is the events.
            let alone = up && (!silent || self.service.state() == State::Up);
            if failing >= self.config.retry.give_up && alone {
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

    /// Whether this node is about to go: nothing is cut or sent, and the log hears at once of what was taken.
    pub fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Whether it is.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// Whether nothing is under way, and the log knows what became of everything that was.
    pub fn is_quiet(&self) -> bool {
        self.service.in_flight() == 0 && self.lanes.values().all(Lane::is_quiet)
    }

    /// Whether an attempt may begin that is no lane's.
    pub fn may_send(&self) -> bool {
        !self.draining && self.service.may_send()
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

    /// Whether nothing begins before something ends, whatever lanes come to owe: they are looked at then.
    pub fn is_full(&self) -> bool {
        !self.may_send() && !self.may_cut()
    }

    fn may_cut(&self) -> bool {
        // What only fails again and again says nothing of the others.
        let sendable = self
            .lanes
            .iter()
            .any(|(number, lane)| lane.to_send().is_some() && !self.service.is_ill(*number));
        let appending = self.lanes.values().filter(|lane| lane.appending).count();
        let ready = self.lanes.values().filter(|lane| lane.is_ready()).count();
        !self.draining && self.service.may_cut(!sendable && appending == 0, ready + appending)
    }

    fn may(&self) -> May {
        let recovering = self.service.state() == State::Recovering;
        let (alone, turn) = match self.turn {
            None => (true, true),
            Some(turn) => (self.sending() == 0, turn),
        };
        May {
            send: self.may_send() && alone && turn,
            cut: self.may_cut() && turn,
            ends: self.draining,
            probe: recovering,
            linger: self.config.linger,
            wakes: self.service.wakes(),
            breaks: self.service.breaks(),
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

    /// The lanes that fail by themselves, whatever the service is taken for.
    pub fn failing(&self) -> Failing {
        let mut all = Failing::default();
        for (since, next) in self.lanes.values().filter_map(Lane::failing) {
            all.lanes += 1;
            all.since = Some(all.since.map_or(since, |known| known.min(since)));
            all.next = all.next.into_iter().chain(next).min();
        }
        all
    }

    /// The lanes that are led here: each with the epoch, and how what it would send next has failed so far.
    pub fn led(&self, now: Instant) -> impl Iterator<Item = (u16, u64, Option<Series>)> {
        let led = self.lanes.iter().filter(|(_, lane)| lane.epoch > 0);
        led.map(move |(number, lane)| (*number, lane.epoch, lane.series(now)))
    }

    /// Somebody who led a lane before has seen this of what it sends next. It says nothing of anything else.
    pub fn go_on(&mut self, lane: u16, series: &Series, now: Instant, dice: u32) {
        let (retry, breaks) = (self.config.retry, self.service.breaks());
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.goes_on(series, retry, breaks, now, dice);
        }
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

    /// The service was down before this process began: what is known of that ([`Service::restore`]). It is nothing new.
    pub fn restore(&mut self, since: Instant, step: u32, until: Instant, now: Instant) {
        self.service.restore(since, step, until, now);
        self.told = self.service.state();
    }

    /// Another node found the service up, or down ([`Service::hear`]); where nothing waits here it is believed. That it is
    /// up the other one has told already.
    pub fn hear(&mut self, up: bool, now: Instant) {
        self.service.hear(up, now);
        if up && self.working() == 0 {
            self.service.believe(now);
        }
        if up && self.service.state() == State::Up {
            self.told = State::Up;
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
#[path = "engine_tests.rs"]
mod tests;
