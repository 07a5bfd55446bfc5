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
use serde::{Deserialize, Serialize};

use crate::schedule::{Retry, Schedule};

/// So many lanes fail without a success between, and the service is down: one or two may be poisoned.
const FAILING_LANES: usize = 3;

/// So many events are put aside in a row, and it is the service that refuses everything.
pub const PARKED_IN_A_ROW: u32 = 20;

/// News of another node move the state at most this often: where nodes see a service differently, each would
/// undo what the other found out.
const NEWS_EVERY: Duration = Duration::from_secs(10);

/// Why nothing is sent until somebody says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// An operator said so.
    Paused,
    /// It said that it is not there any more.
    Gone,
    /// It was down for too long.
    GaveUp,
    /// It refused everything.
    RefusesAll,
}

impl Cause {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Gone => "gone",
            Self::GaveUp => "gave-up",
            Self::RefusesAll => "refuses-all",
        }
    }
}

/// What a service is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// All lanes are sent.
    Up,
    /// Nothing is sent until then.
    Down {
        /// When it is tried again.
        until: Instant,
    },
    /// One probe is under way, or begins as soon as there is something to send.
    Recovering,
    /// Nothing is sent until somebody says so.
    Stopped(Cause),
}

impl State {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down { .. } => "down",
            Self::Recovering => "recovering",
            Self::Stopped(_) => "stopped",
        }
    }
}

/// How an attempt ended, as far as the service is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It answered, and said yes or that it will never take this.
    Answered,
    /// It answered otherwise, or not in time.
    Failed {
        /// How long it asked us to wait.
        retry_after: Option<Duration>,
        /// Whether nothing was answered at all.
        silent: bool,
        /// Whether there was a connection.
        connected: bool,
    },
    /// It is not there any more.
    Gone,
    /// The attempt was not made after all.
    Cancelled,
}

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

    /// Whether something may be cut: while it is down, batches grow. `probe`: there is nothing that could be
    /// sent to find out.
    pub fn may_cut(&self, probe: bool) -> bool {
        match self.state {
            State::Up => true,
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
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const FAILED: Ended = Ended::Failed { retry_after: None, silent: false, connected: true };
    const CUT: Ended = Ended::Failed { retry_after: None, silent: true, connected: false };

    fn service() -> (Service, Instant) {
        let now = runtime::now();
        (Service::new(Retry::default(), 16, now), now)
    }

    fn attempt(service: &mut Service, lane: u16, ended: Ended, now: Instant) {
        service.handle_timeout(now);
        assert!(service.may_send(), "{:?}", service.state());
        service.begin();
        service.end(lane, ended, 5, now, u32::MAX);
    }

    #[test]
    fn without_a_connection_it_is_down_at_once_and_one_probe_brings_it_back() {
        let (mut service, now) = service();
        attempt(&mut service, 1, CUT, now);
        assert_eq!(service.state(), State::Down { until: now + SECOND });
        service.handle_timeout(now + SECOND / 2);
        assert!(!service.may_send() && !service.may_cut(true), "too early");
        attempt(&mut service, 1, CUT, now + SECOND);
        assert_eq!(service.state(), State::Down { until: now + 3 * SECOND }, "the second wait");
        service.handle_timeout(now + 3 * SECOND);
        assert_eq!(service.state(), State::Recovering);
        assert!(service.may_cut(true) && !service.may_cut(false));
        service.begin();
        assert!(!service.may_send(), "one probe");
        service.end(1, Ended::Answered, 5, now + 3 * SECOND, 0);
        assert_eq!((service.state(), service.wakes()), (State::Up, 1));
        attempt(&mut service, 1, CUT, now + 4 * SECOND);
        assert_eq!(
            service.state(),
            State::Down { until: now + 5 * SECOND },
            "from the first wait on"
        );
    }

    #[test]
    fn one_lane_that_fails_is_not_the_service_and_three_are() {
        let (mut service, now) = service();
        attempt(&mut service, 1, FAILED, now);
        attempt(&mut service, 1, FAILED, now);
        attempt(&mut service, 2, FAILED, now);
        assert_eq!(service.state(), State::Up);
        attempt(&mut service, 9, Ended::Answered, now);
        attempt(&mut service, 1, FAILED, now);
        attempt(&mut service, 2, FAILED, now);
        assert_eq!(service.state(), State::Up, "there was a success between");
        attempt(&mut service, 3, FAILED, now);
        assert!(matches!(service.state(), State::Down { .. }));
    }

    #[test]
    fn where_there_are_fewer_lanes_all_of_them_are_enough() {
        let (mut service, now) = service();
        service.begin();
        service.end(7, FAILED, 1, now, 0);
        assert!(matches!(service.state(), State::Down { .. }));
    }

    #[test]
    fn success_widens_the_window_and_silence_closes_it() {
        let (mut service, now) = service();
        for window in [1, 2, 4, 8, 16, 16] {
            for _ in 0..window {
                assert!(service.may_send());
                service.begin();
            }
            assert!(!service.may_send(), "{window}");
            for _ in 1..window {
                service.end(1, Ended::Cancelled, 9, now, 0);
            }
            service.end(1, Ended::Answered, 9, now, 0);
        }
        service.begin();
        let silent = Ended::Failed { retry_after: None, silent: true, connected: true };
        service.end(1, silent, 9, now, 0);
        service.begin();
        assert!(!service.may_send());
    }

    #[test]
    fn what_is_down_for_too_long_is_given_up_and_a_wake_tries_again() {
        let (mut service, now) = service();
        attempt(&mut service, 1, CUT, now);
        let late = now + Retry::default().give_up;
        service.handle_timeout(late);
        assert_eq!(service.state(), State::Stopped(Cause::GaveUp));
        service.wake(late);
        assert_eq!(service.state(), State::Recovering);
        attempt(&mut service, 1, CUT, late);
        assert!(matches!(service.state(), State::Down { .. }), "the time counts from here");
    }

    #[test]
    fn it_is_down_since_it_was_found_so_however_often_it_is_tried() {
        let (mut service, now) = service();
        attempt(&mut service, 1, CUT, now);
        for seconds in [1, 3, 7] {
            attempt(&mut service, 1, CUT, now + seconds * SECOND);
            assert_eq!(service.since(), now, "after {seconds} s");
        }
        service.handle_timeout(now + 15 * SECOND);
        assert_eq!((service.state(), service.since()), (State::Recovering, now));
        attempt(&mut service, 1, Ended::Answered, now + 15 * SECOND);
        assert_eq!(service.since(), now + 15 * SECOND);
    }

    #[test]
    fn gone_waits_for_a_wake_and_paused_only_for_a_resume() {
        let (mut service, now) = service();
        attempt(&mut service, 1, Ended::Gone, now);
        assert_eq!(service.state(), State::Stopped(Cause::Gone));
        service.pause(now);
        service.wake(now);
        assert_eq!(service.state(), State::Stopped(Cause::Paused));
        service.resume(now);
        assert_eq!(service.state(), State::Recovering);
    }

    #[test]
    fn news_of_another_node_has_it_tried_once_and_seldom() {
        let (mut service, now) = service();
        service.hear(true, now);
        assert_eq!(service.state(), State::Up);
        service.hear(false, now);
        assert_eq!(service.state(), State::Recovering, "tried before anything else is sent");
        attempt(&mut service, 1, CUT, now);
        assert_eq!(service.state(), State::Down { until: now + SECOND });
        service.hear(true, now);
        assert!(!service.may_send(), "not twice in a row");
        let later = now + SECOND;
        attempt(&mut service, 1, CUT, later);
        service.hear(true, now + NEWS_EVERY);
        assert_eq!(service.state(), State::Recovering);
        attempt(&mut service, 1, CUT, now + NEWS_EVERY);
        let third = now + NEWS_EVERY + 4 * SECOND;
        assert_eq!(service.state(), State::Down { until: third }, "the waits went on");
        service.pause(now + NEWS_EVERY);
        service.hear(true, third + NEWS_EVERY);
        assert_eq!(service.state(), State::Stopped(Cause::Paused));
    }

    #[test]
    fn what_the_cluster_was_told_is_obeyed_and_no_wake_ends_a_pause() {
        let (mut service, now) = service();
        service.obey(None, now);
        assert_eq!((service.state(), service.wakes()), (State::Up, 0), "nothing was stopped");
        service.obey(Some(Cause::Paused), now);
        service.wake(now);
        assert_eq!(service.state(), State::Stopped(Cause::Paused));
        service.obey(Some(Cause::Gone), now);
        assert_eq!(service.state(), State::Stopped(Cause::Gone));
        service.obey(None, now);
        assert_eq!((service.state(), service.wakes()), (State::Recovering, 1));
    }

    #[test]
    fn a_late_answer_does_not_start_what_was_stopped() {
        let (mut service, now) = service();
        service.begin();
        service.pause(now);
        service.end(1, Ended::Answered, 1, now, 0);
        assert_eq!(service.state(), State::Stopped(Cause::Paused));
    }

    #[test]
    fn a_service_that_refuses_everything_is_stopped() {
        let (mut service, now) = service();
        for _ in 1..PARKED_IN_A_ROW {
            assert!(!service.parks(now));
        }
        service.takes();
        for _ in 1..PARKED_IN_A_ROW {
            assert!(!service.parks(now));
        }
        assert!(service.parks(now));
        assert_eq!(service.state(), State::Stopped(Cause::RefusesAll));
        service.wake(now);
        assert!(!service.may_send(), "a wake is not enough");
    }
}
