//! A clock that stands still until it is moved: time for simulations.
//!
//! It belongs to a thread for as long as that thread has entered it: everything that asks [`crate::now`]
//! there, or waits, goes by it. Nothing in a node enters one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::clock::Elapsed;

thread_local! {
    static CURRENT: RefCell<Option<SimulatedClock>> = const { RefCell::new(None) };
}

/// A clock that is moved by hand. Clones are the same.
#[derive(Clone, Debug)]
pub struct SimulatedClock {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    began: Instant,
    now: Instant,
    /// What the wall clock says, if that is simulated too.
    wall_ms: Option<u64>,
    /// Who waits, by deadline and then by the order of waiting.
    sleepers: BTreeMap<(Instant, u64), Waker>,
    count: u64,
}

/// While this is held the thread goes by the clock that was entered.
#[derive(Debug)]
pub struct EnteredClock {
    before: Option<SimulatedClock>,
    _of_this_thread: PhantomData<*const ()>,
}

impl Default for SimulatedClock {
    fn default() -> Self {
        Self::new()
    }
}

impl SimulatedClock {
    /// A clock at zero.
    #[expect(
        clippy::disallowed_methods,
        reason = "where it begins does not matter, and is asked once"
    )]
    pub fn new() -> Self {
        let began = Instant::now();
        let inner = Inner { began, now: began, wall_ms: None, sleepers: BTreeMap::new(), count: 0 };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// This thread's time is this clock's until what is given back is dropped.
    pub fn enter(&self) -> EnteredClock {
        let before = CURRENT.with(|current| current.borrow_mut().replace(self.clone()));
        EnteredClock { before, _of_this_thread: PhantomData }
    }

    /// It is `since` after zero now, and whoever waited for that is woken, in order. It never goes back.
    pub fn set(&self, since: Duration) {
        let due = {
            let mut inner = self.inner();
            inner.now = inner.now.max(inner.began + since);
            let later = (inner.now, u64::MAX);
            let rest = inner.sleepers.split_off(&later);
            std::mem::replace(&mut inner.sleepers, rest)
        };
        due.into_values().for_each(Waker::wake);
    }

    /// From now on the wall clock says this, whatever it said before.
    pub fn set_wall(&self, wall_ms: u64) {
        self.inner().wall_ms = Some(wall_ms);
    }

    /// How long after zero somebody wants to be woken next.
    pub fn next(&self) -> Option<Duration> {
        let inner = self.inner();
        let ((deadline, _), _) = inner.sleepers.first_key_value()?;
        Some(deadline.saturating_duration_since(inner.began))
    }

    pub(crate) fn now(&self) -> Instant {
        self.inner().now
    }

    pub(crate) fn wall_ms(&self) -> Option<u64> {
        self.inner().wall_ms
    }

    pub(crate) fn sleep_until(self, deadline: Instant) -> Sleep {
        Sleep { clock: self, deadline, place: None }
    }

    pub(crate) async fn timeout<F: Future>(
        self,
        duration: Duration,
        mut future: Pin<&mut F>,
    ) -> Result<F::Output, Elapsed> {
        let deadline = self.now() + duration;
        let mut sleep = std::pin::pin!(self.sleep_until(deadline));
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => sleep.as_mut().poll(cx).map(|()| Err(Elapsed::new())),
        })
        .await
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock that this thread has entered.
pub(crate) fn current() -> Option<SimulatedClock> {
    CURRENT.with(|current| current.borrow().clone())
}

impl Drop for EnteredClock {
    fn drop(&mut self) {
        let before = self.before.take();
        CURRENT.with(|current| *current.borrow_mut() = before);
    }
}

/// A wait on such a clock.
#[derive(Debug)]
pub(crate) struct Sleep {
    clock: SimulatedClock,
    deadline: Instant,
    place: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut inner = this.clock.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.now >= this.deadline {
            if let Some(place) = this.place.take() {
                inner.sleepers.remove(&(this.deadline, place));
            }
            return Poll::Ready(());
        }
        inner.count += 1;
        let place = *this.place.get_or_insert(inner.count);
        inner.sleepers.insert((this.deadline, place), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.clock.inner().sleepers.remove(&(self.deadline, place));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::SimulatedClock;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_end_when_the_clock_is_moved_and_not_before() {
        let clock = SimulatedClock::new();
        let _entered = clock.enter();
        let began = crate::now();
        let mut cx = Context::from_waker(Waker::noop());
        let mut sleep = Box::pin(crate::sleep(2 * SECOND));
        let mut ends = Box::pin(crate::timeout(SECOND, std::future::pending::<()>()));
        assert_eq!(sleep.as_mut().poll(&mut cx), Poll::Pending);
        assert!(ends.as_mut().poll(&mut cx).is_pending());
        assert_eq!(clock.next(), Some(SECOND));
        clock.set(SECOND);
        assert_eq!(crate::now() - began, SECOND);
        assert_eq!(sleep.as_mut().poll(&mut cx), Poll::Pending);
        assert!(matches!(ends.as_mut().poll(&mut cx), Poll::Ready(Err(_))));
        clock.set(3 * SECOND);
        clock.set(SECOND);
        assert_eq!(crate::now() - began, 3 * SECOND, "it never goes back");
        assert_eq!(sleep.as_mut().poll(&mut cx), Poll::Ready(()));
        assert_eq!(clock.next(), None);
    }

    #[test]
    fn a_thread_that_left_it_has_its_own_time_again() {
        let clock = SimulatedClock::new();
        let entered = clock.enter();
        clock.set(3600 * SECOND);
        let there = crate::now();
        drop(entered);
        assert!(crate::now() < there);
    }

    #[test]
    fn the_wall_clock_says_what_it_is_told_to_and_may_go_back() {
        let clock = SimulatedClock::new();
        let entered = clock.enter();
        let real = crate::wall_ms();
        assert!(real > 1_600_000_000_000, "until it is told: {real}");
        for told in [90_000_000, 5] {
            clock.set_wall(told);
            assert_eq!(crate::wall_ms(), told);
        }
        drop(entered);
        assert!(crate::wall_ms() >= real);
    }

    #[test]
    fn work_that_blocks_is_done_at_once_and_here() {
        let clock = SimulatedClock::new();
        let _entered = clock.enter();
        let here = std::thread::current().id();
        let mut work = Box::pin(crate::blocking(move || std::thread::current().id() == here));
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(work.as_mut().poll(&mut cx), Poll::Ready(Some(true)));
    }

    #[test]
    fn a_wait_that_is_dropped_is_forgotten() {
        let clock = SimulatedClock::new();
        let _entered = clock.enter();
        let mut sleep = Box::pin(crate::sleep(SECOND));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        drop(sleep);
        assert_eq!(clock.next(), None);
    }
}
