//! Leaves a plugin alone that fails again and again, and tries it again after a while.
//!
//! Five failures within a minute, and no more answers than failures since the first of them, and the plugin
//! is not called for half a minute: its failure policy applies at once, and nobody waits for its deadline.
//! Then one call is let through; how it ends decides. Failures that are few among many answers do not
//! count: whoever finds the one message on which a handler breaks must not take it away from everybody.
//!
//! [`Machine`] decides and reads no clock. What a guest says of itself (that it cannot decide) and
//! what the host lacks (a free instance) are no failures here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::Instant;

/// When a plugin is left alone, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRule {
    /// So many failures…
    pub failures: usize,
    /// …within this time…
    pub within: Duration,
    /// …and it is not called for so long.
    pub pause: Duration,
}

impl Default for BreakerRule {
    fn default() -> Self {
        Self { failures: 5, within: Duration::from_secs(60), pause: Duration::from_secs(30) }
    }
}

/// Whether a plugin is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// It is.
    Closed,
    /// It is left alone.
    Open,
    /// One call is on its way to find out.
    Probing,
}

impl BreakerState {
    /// One word, for operators.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Probing => "probing",
        }
    }
}

/// How a call ended, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Answered,
    Failed,
    /// Neither: it was given up, or says nothing of the guest.
    Neither,
}

/// What a call changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    Nothing,
    Opened,
    Closed,
}

/// A failure, and how many calls had been answered by then.
#[derive(Clone, Copy, Debug)]
struct Failed {
    at: Instant,
    answered: u64,
}

#[derive(Debug)]
struct Machine {
    rule: BreakerRule,
    state: BreakerState,
    /// When it is tried again, while it is open.
    until: Option<Instant>,
    /// The last failures, at most as many as open it.
    recent: VecDeque<Failed>,
}

impl Machine {
    fn new(rule: BreakerRule) -> Self {
        Self { rule, state: BreakerState::Closed, until: None, recent: VecDeque::new() }
    }

    /// Whether a call is let through, and whether it is the one that finds out; or for how long none is.
    fn admit(&mut self, now: Instant) -> Result<bool, Duration> {
        match self.state {
            BreakerState::Closed => Ok(false),
            BreakerState::Probing => Err(Duration::ZERO),
            BreakerState::Open => {
                let left =
                    self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
                if !left.is_zero() {
                    return Err(left);
                }
                self.state = BreakerState::Probing;
                Ok(true)
            }
        }
    }

    fn ended(&mut self, ending: Ending, probe: bool, answered: u64, now: Instant) -> Changed {
        match (probe, ending) {
            (true, Ending::Answered) => {
                self.state = BreakerState::Closed;
                self.recent.clear();
                Changed::Closed
            }
            (true, Ending::Failed) => self.open(now),
            (true, Ending::Neither) => {
                // The next one finds out.
                self.state = BreakerState::Open;
                self.until = Some(now);
                Changed::Nothing
            }
            (false, Ending::Failed) if self.state == BreakerState::Closed => {
                self.recent.push_back(Failed { at: now, answered });
                self.judge(answered, now)
            }
            // Calls that began before it opened change nothing.
            (false, _) => Changed::Nothing,
        }
    }

    fn judge(&mut self, answered: u64, now: Instant) -> Changed {
        while self.recent.len() > self.rule.failures {
            self.recent.pop_front();
        }
        let Some(first) = self.recent.front() else { return Changed::Nothing };
        let failures = u64::try_from(self.recent.len()).unwrap_or(u64::MAX);
        let soon = now.saturating_duration_since(first.at) <= self.rule.within;
        let often = answered.saturating_sub(first.answered) <= failures;
        match self.recent.len() == self.rule.failures && soon && often {
            true => self.open(now),
            false => Changed::Nothing,
        }
    }

    fn open(&mut self, now: Instant) -> Changed {
        self.state = BreakerState::Open;
        self.until = Some(now + self.rule.pause);
        self.recent.clear();
        Changed::Opened
    }
}

/// The breaker of one plugin. Asking it costs a look while the plugin is well.
#[derive(Debug)]
pub(crate) struct Breaker {
    machine: Mutex<Machine>,
    /// As the machine says, to be read without it.
    closed: AtomicBool,
    answered: AtomicU64,
    opened: AtomicU64,
}

impl Breaker {
    pub(crate) fn new(rule: BreakerRule) -> Self {
        let machine = Mutex::new(Machine::new(rule));
        let (answered, opened) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { machine, closed: AtomicBool::new(true), answered, opened }
    }

    pub(crate) fn state(&self) -> BreakerState {
        self.machine().state
    }

    /// How often it opened.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Lets a call through; or for how long none is.
    pub(crate) fn admit(&self) -> Result<Pass<'_>, Duration> {
        let probe = match self.closed.load(Ordering::Acquire) {
            true => false,
            false => self.machine().admit(runtime::now())?,
        };
        Ok(Pass { breaker: self, probe, ended: false })
    }

    fn ended(&self, ending: Ending, probe: bool) -> Changed {
        if ending == Ending::Answered && !probe {
            self.answered.fetch_add(1, Ordering::Relaxed);
            return Changed::Nothing;
        }
        let mut machine = self.machine();
        let answered = self.answered.load(Ordering::Relaxed);
        let changed = machine.ended(ending, probe, answered, runtime::now());
        if changed == Changed::Opened {
            self.opened.fetch_add(1, Ordering::Relaxed);
        }
        self.closed.store(machine.state == BreakerState::Closed, Ordering::Release);
        changed
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that was let through. Dropping it says that the call was given up.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    breaker: &'a Breaker,
    probe: bool,
    ended: bool,
}

impl Pass<'_> {
    /// Says how the call ended.
    pub(crate) fn end(mut self, ending: Ending) -> Changed {
        self.ended = true;
        self.breaker.ended(ending, self.probe)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.probe && !self.ended {
            // Given up: this changes nothing that anybody is told.
            let _nothing = self.breaker.ended(Ending::Neither, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use runtime::{Instant, SimulatedClock};

    use super::{Breaker, BreakerRule, BreakerState, Changed, Ending, Machine};

    const SECOND: Duration = Duration::from_secs(1);

    fn fails(machine: &mut Machine, answered: u64, now: Instant) -> Changed {
        machine.ended(Ending::Failed, false, answered, now)
    }

    /// A machine that has just opened.
    fn opened(now: Instant) -> Machine {
        let mut machine = Machine::new(BreakerRule::default());
        for _ in 0..4 {
            assert_eq!(fails(&mut machine, 0, now), Changed::Nothing);
        }
        assert_eq!(fails(&mut machine, 0, now), Changed::Opened);
        machine
    }

    #[test]
    fn it_opens_at_the_fifth_failure_and_probes_after_the_pause() {
        let now = runtime::now();
        let mut machine = opened(now);
        assert_eq!(machine.admit(now), Err(30 * SECOND));
        assert_eq!(machine.admit(now + 29 * SECOND), Err(SECOND));
        let later = now + 30 * SECOND;
        assert_eq!(machine.admit(later), Ok(true), "one call finds out");
        assert_eq!(machine.admit(later), Err(Duration::ZERO), "and only one");
        assert_eq!(machine.ended(Ending::Answered, true, 0, later), Changed::Closed);
        assert_eq!(machine.admit(later), Ok(false));
        // It begins anew: four are not enough again.
        for _ in 0..4 {
            assert_eq!(fails(&mut machine, 0, later), Changed::Nothing);
        }
    }

    #[test]
    fn a_probe_that_fails_opens_it_again_and_one_that_is_given_up_decides_nothing() {
        let now = runtime::now();
        let mut machine = opened(now);
        let later = now + 30 * SECOND;
        assert_eq!(machine.admit(later), Ok(true));
        assert_eq!(machine.ended(Ending::Neither, true, 0, later), Changed::Nothing);
        assert_eq!(machine.admit(later), Ok(true), "the next one finds out");
        assert_eq!(machine.ended(Ending::Failed, true, 0, later), Changed::Opened);
        assert_eq!(machine.admit(later), Err(30 * SECOND));
        // Others that began before it opened say nothing now.
        assert_eq!(machine.ended(Ending::Answered, false, 1, later), Changed::Nothing);
        assert_eq!(fails(&mut machine, 1, later), Changed::Nothing);
        assert_eq!(machine.state, BreakerState::Open);
    }

    #[test]
    fn failures_far_apart_or_few_among_answers_do_not_open_it() {
        let now = runtime::now();
        let mut machine = Machine::new(BreakerRule::default());
        for count in 0..20 {
            assert_eq!(fails(&mut machine, 0, now + 16 * count * SECOND), Changed::Nothing);
        }
        let mut machine = Machine::new(BreakerRule::default());
        for count in 0..20 {
            // One in a hundred.
            assert_eq!(fails(&mut machine, count * 99, now), Changed::Nothing);
        }
        // The same guest, broken for good.
        let answered = 19 * 99;
        for _ in 0..3 {
            assert_eq!(fails(&mut machine, answered, now), Changed::Nothing);
        }
        assert_eq!(fails(&mut machine, answered, now), Changed::Opened);
    }

    #[test]
    fn as_many_answers_as_failures_are_too_few() {
        let now = runtime::now();
        let mut machine = Machine::new(BreakerRule::default());
        for count in 0..4 {
            assert_eq!(fails(&mut machine, count, now), Changed::Nothing);
        }
        assert_eq!(fails(&mut machine, 5, now), Changed::Opened);
    }

    #[test]
    fn it_keeps_its_times_on_the_clock_of_a_simulation() {
        let clock = SimulatedClock::new();
        let _here = clock.enter();
        let breaker = Breaker::new(BreakerRule::default());
        for _ in 0..5 {
            breaker.admit().unwrap().end(Ending::Failed);
        }
        assert_eq!((breaker.state(), breaker.opened()), (BreakerState::Open, 1));
        assert_eq!(breaker.admit().unwrap_err(), 30 * SECOND);
        clock.set(30 * SECOND);
        let probe = breaker.admit().unwrap();
        assert!(breaker.admit().is_err());
        drop(probe);
        let probe = breaker.admit().unwrap();
        assert_eq!(probe.end(Ending::Answered), Changed::Closed);
        assert_eq!((breaker.state(), breaker.opened()), (BreakerState::Closed, 1));
        assert_eq!(breaker.admit().unwrap().end(Ending::Answered), Changed::Nothing);
    }
}
