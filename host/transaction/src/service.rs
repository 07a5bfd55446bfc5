//! Whether a service is tried at all: up, down, recovering, stopped.
//!
//! One of these decides for one service on one node. It is told how each attempt began and ended, and asked
//! whether another may begin; so whether the service is up, and whether an attempt may begin, is one step.
//!
//! An event that a service cannot take makes its lane wait, not the service: only when there is no
//! connection, or several lanes fail with no success between, is the service itself taken for down. Then
//! nothing is sent but one probe, later and later, until one succeeds; from there on at once.

use std::collections::BTreeSet;
use std::time::Duration;

use runtime::Instant;

use crate::schedule::{Retry, Schedule};
use crate::state::{Cause, Ended, State};

/// So many lanes fail without a success between, and the service is down: one or two may be poisoned.
const FAILING_LANES: usize = 3;

/// So many events are put aside in a row, and it is the service that refuses everything.
pub const PARKED_IN_A_ROW: u32 = 20;

/// News of another node move the state at most this often: where nodes see a service differently, each would
/// undo what the other found out.
const NEWS_EVERY: Duration = Duration::from_secs(10);

/// One service, as one node sees it.
#[derive(Debug)]
pub struct Service {
    state: State,
    since: Instant,
    retry: Retry,
    schedule: Schedule,
    /// Lanes that failed since the last success.
    failed: BTreeSet<u16>,
    /// Those of them that were answered: it may be their events.
    ill: BTreeSet<u16>,
    /// Attempts that may be under way at once: doubles with success, up to `parallel`.
    window: usize,
    parallel: usize,
    in_flight: usize,
    /// Events put aside with no success between.
    parked: u32,
    /// Since when nothing succeeded.
    down_since: Option<Instant>,
    /// Rises whenever everything is to be tried at once.
    wakes: u64,
    /// Rises whenever nothing is sent from then on for a reason that is no lane's own.
    breaks: u64,
    /// When news of another node were believed last.
    news: Option<Instant>,
}

impl Service {
    /// A service that was not tried yet is up.
    pub fn new(retry: Retry, parallel: usize, now: Instant) -> Self {
        Self {
            state: State::Up,
            since: now,
            retry,
            schedule: Schedule::new(retry),
            failed: BTreeSet::new(),
            ill: BTreeSet::new(),
            window: 1,
            parallel: parallel.max(1),
            in_flight: 0,
            parked: 0,
            down_since: None,
            wakes: 0,
            breaks: 0,
            news: None,
        }
    }

    /// It was down before this process began, since `since`, after so many attempts in a row that failed, and was to be
    /// tried again at `until`. Says nothing of what was found out here already, or is stopped; that another node found it
    /// down is the same news.
    ///
    /// If that moment is over, or it was to be given up meanwhile, when nobody could try it, one probe finds out.
    pub fn restore(&mut self, since: Instant, step: u32, until: Instant, now: Instant) {
        let tried = self.down_since.is_some() || self.in_flight > 0;
        if tried || !matches!(self.state, State::Up | State::Recovering) {
            return;
        }
        self.down_since = Some(since);
        self.schedule = Schedule::at(self.retry, step);
        let over = now >= until || now >= since + self.retry.give_up;
        self.enter(if over { State::Recovering } else { State::Down { until } }, now);
    }

    /// Somebody knows that an outage began earlier than was seen here.
    pub fn is_down_since(&mut self, since: Instant) {
        self.down_since = self.down_since.map(|known| known.min(since));
    }

    /// Time goes on.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let State::Down { until } = self.state {
            let over = self.down_since.is_some_and(|since| now >= since + self.retry.give_up);
            if over {
                self.enter(State::Stopped(Cause::GaveUp), now);
            } else if now >= until {
                self.enter(State::Recovering, now);
            }
        }
    }

    /// Whether an attempt may begin.
    pub fn may_send(&self) -> bool {
        match self.state {
            State::Up => self.in_flight < self.window,
            State::Recovering => self.in_flight == 0,
            State::Down { .. } | State::Stopped(_) => false,
        }
    }

    /// Whether something may be cut: while it is down, batches grow, and while as much as may be under way at once waits
    /// for what is (`ready` lanes). `probe`: there is nothing that could be sent to find out.
    pub fn may_cut(&self, probe: bool, ready: usize) -> bool {
        match self.state {
            State::Up => self.may_send() || ready < self.window,
            State::Recovering => probe,
            State::Down { .. } | State::Stopped(_) => false,
        }
    }

    /// An attempt begins.
    pub fn begin(&mut self) {
        self.in_flight += 1;
    }

    /// An attempt of `lane` ended. `lanes` have something to send.
    pub fn end(&mut self, lane: u16, ended: Ended, lanes: usize, now: Instant, dice: u32) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match ended {
            Ended::Cancelled => {}
            Ended::Answered => self.succeeds(now),
            Ended::Gone => {
                if !matches!(self.state, State::Stopped(_)) {
                    self.enter(State::Stopped(Cause::Gone), now);
                }
            }
            Ended::Failed { retry_after, silent, connected } => {
                if silent {
                    self.window = 1;
                }
                self.failed.insert(lane);
                if !silent {
                    self.ill.insert(lane);
                }
                let many = self.failed.len() >= FAILING_LANES.min(lanes.max(1));
                let down = match self.state {
                    State::Up => !connected || many,
                    State::Recovering => true,
                    State::Down { .. } | State::Stopped(_) => false,
                };
                if down {
                    self.down_since.get_or_insert(now);
                    self.breaks += u64::from(silent);
                    let until = now + self.schedule.next(dice, retry_after);
                    self.enter(State::Down { until }, now);
                }
            }
        }
    }

    fn succeeds(&mut self, now: Instant) {
        self.failed.clear();
        self.ill.clear();
        self.schedule.reset();
        self.down_since = None;
        self.window = (self.window * 2).min(self.parallel);
        if matches!(self.state, State::Down { .. } | State::Recovering) {
            self.wakes += 1;
            self.enter(State::Up, now);
        }
    }

    /// An event was put aside. Whether it is one too many.
    pub fn parks(&mut self, now: Instant) -> bool {
        self.parked += 1;
        let all = self.parked >= PARKED_IN_A_ROW && !matches!(self.state, State::Stopped(_));
        if all {
            self.enter(State::Stopped(Cause::RefusesAll), now);
        }
        all
    }

    /// Too much was put aside.
    pub fn overflows(&mut self, now: Instant) {
        self.enter(State::Stopped(Cause::RefusesAll), now);
    }

    /// Something was taken: not everything is refused.
    pub fn takes(&mut self) {
        self.parked = 0;
    }

    /// Somebody says that it is there: everything is tried at once.
    pub fn wake(&mut self, now: Instant) {
        match self.state {
            State::Up => {}
            State::Recovering if self.in_flight > 0 => {}
            State::Down { .. } | State::Recovering => self.recover(now),
            State::Stopped(Cause::Gone | Cause::GaveUp) => {
                self.down_since = None;
                self.recover(now);
            }
            State::Stopped(Cause::Paused | Cause::RefusesAll) => return,
        }
        self.wakes += 1;
        self.schedule.reset();
    }

    /// Another node found it up, or down. That is a hint: it is tried once, and the waits stay as they are.
    pub fn hear(&mut self, up: bool, now: Instant) {
        let moves = match self.state {
            State::Up => !up,
            State::Down { .. } => up,
            State::Recovering | State::Stopped(_) => false,
        };
        if moves && self.news.is_none_or(|news| now >= news + NEWS_EVERY) {
            self.news = Some(now);
            self.recover(now);
        }
    }

    /// Another node found it up, and there is nothing to send here that would find that out: it is believed, the waits
    /// stay as they are, and one attempt is made at first.
    pub fn believe(&mut self, now: Instant) {
        if self.state == State::Recovering && self.in_flight == 0 {
            (self.window, self.down_since) = (1, None);
            self.failed.clear();
            self.ill.clear();
            self.enter(State::Up, now);
        }
    }

    fn recover(&mut self, now: Instant) {
        self.enter(State::Recovering, now);
    }

    /// An operator stops it.
    pub fn pause(&mut self, now: Instant) {
        self.enter(State::Stopped(Cause::Paused), now);
    }

    /// An operator lets it go on.
    pub fn resume(&mut self, now: Instant) {
        if matches!(self.state, State::Stopped(_)) {
            self.parked = 0;
            self.down_since = None;
            self.failed.clear();
            self.ill.clear();
            self.schedule.reset();
            self.wakes += 1;
            self.enter(State::Recovering, now);
        }
    }

    /// What the whole cluster was told: that nothing is sent, and why, or that what was stopped goes on.
    pub fn obey(&mut self, stopped: Option<Cause>, now: Instant) {
        match stopped {
            Some(cause) => self.enter(State::Stopped(cause), now),
            None => self.resume(now),
        }
    }

    /// What it is taken for.
    pub fn state(&self) -> State {
        self.state
    }

    /// Since when. What is down is that since it was first found so: that it is tried meanwhile changes nothing.
    pub fn since(&self) -> Instant {
        match self.state {
            State::Down { .. } | State::Recovering => self.down_since.unwrap_or(self.since),
            State::Up | State::Stopped(_) => self.since,
        }
    }

    /// The outage that lasts, as far as it was found out here: since when, and how many attempts in a row have failed.
    pub fn outage(&self) -> Option<(Instant, u32)> {
        match self.state {
            State::Down { .. } | State::Recovering => {
                self.down_since.map(|since| (since, self.schedule.step()))
            }
            State::Up | State::Stopped(_) => None,
        }
    }

    /// Whether it answered a lane otherwise than with success since it did anybody: another lane may do better.
    pub fn is_ill(&self, lane: u16) -> bool {
        self.ill.contains(&lane)
    }

    /// How many attempts are under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Rises whenever the waits of all lanes are over at once.
    pub fn wakes(&self) -> u64 {
        self.wakes
    }

    /// Rises whenever it is sent nothing for a while because it was not there, or was stopped.
    pub fn breaks(&self) -> u64 {
        self.breaks
    }

    /// When [`Service::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Down { until } => Some(until),
            State::Up | State::Recovering | State::Stopped(_) => None,
        }
    }

    fn enter(&mut self, state: State, now: Instant) {
        if self.state.word() != state.word() {
            self.since = now;
            self.breaks += u64::from(matches!(state, State::Stopped(_)));
        }
        self.state = state;
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
