//! A group of named tasks that stop together.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Says when to stop. Clones hear the same signal; [`Stop::child`] can also be stopped alone.
///
/// Everything that waits for anything also listens to one of these, so listening costs a look: who listens
/// is registered once, and not at each of its polls.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    given: Arc<Given>,
}

/// Whether a signal was given, to be read without the token's lock. Set before the token wakes anybody.
#[derive(Debug, Default)]
struct Given {
    own: AtomicBool,
    parent: Option<Arc<Self>>,
}

impl Stop {
    /// A signal of its own that also hears this one.
    #[must_use]
    pub fn child(&self) -> Self {
        let parent = Some(Arc::clone(&self.given));
        let given = Arc::new(Given { own: AtomicBool::new(false), parent });
        Self { token: self.token.child_token(), given }
    }

    /// Gives the signal. Giving it twice is the same as once.
    pub fn stop(&self) {
        self.given.own.store(true, Ordering::Release);
        self.token.cancel();
    }

    /// Whether the signal was given.
    pub fn is_stopped(&self) -> bool {
        self.given.is()
    }

    /// Waits for the signal. Cancel-safe.
    pub async fn stopped(&self) {
        let mut woken = std::pin::pin!(self.token.cancelled());
        let mut listens: Option<Waker> = None;
        std::future::poll_fn(|cx| {
            if self.is_stopped() {
                return Poll::Ready(());
            }
            if listens.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            listens = Some(cx.waker().clone());
            woken.as_mut().poll(cx)
        })
        .await;
    }
}

impl Given {
    fn is(&self) -> bool {
        self.own.load(Ordering::Acquire) || self.parent.as_ref().is_some_and(|parent| parent.is())
    }
}

/// Spawns tasks and waits for them. Clones are the same group.
#[derive(Clone, Debug)]
pub struct Tasks {
    handle: Handle,
    tracker: TaskTracker,
    stop: Stop,
    failure: Arc<Mutex<Option<String>>>,
}

impl Tasks {
    /// A group on the runtime of `handle`, stopped by `stop`.
    pub fn new(handle: Handle, stop: Stop) -> Self {
        Self { handle, tracker: TaskTracker::new(), stop, failure: Arc::default() }
    }

    /// A group on the current runtime.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn current(stop: Stop) -> Self {
        Self::new(Handle::current(), stop)
    }

    /// The signal that ends this group.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Starts a task. If it panics, the panic is logged under `name` and the whole group is stopped.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let failure = Arc::clone(&self.failure);
        let stop = self.stop.clone();
        let mut future = Box::pin(future);
        let watched = std::future::poll_fn(move |cx| {
            match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
                Ok(poll) => poll,
                Err(panic) => {
                    let text = panic_text(&*panic);
                    tracing::error!(task = name, panic = %text, "a task panicked: stopping");
                    failure
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .get_or_insert_with(|| format!("{name}: {text}"));
                    stop.stop();
                    Poll::Ready(())
                }
            }
        });
        self.tracker.spawn_on(watched, &self.handle);
    }

    /// The first panic of a task of this group, if there was one.
    pub fn failed(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the stop signal and waits until every task has ended. Cancel-safe.
    pub async fn finish(&self) {
        self.stop.stop();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Starts a named thread, for work that blocks.
///
/// # Errors
/// When the system has no thread left.
pub fn thread<F>(name: &str, work: F) -> std::io::Result<std::thread::JoinHandle<()>>
where
    F: FnOnce() + Send + 'static,
{
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};

    use super::{Stop, Tasks};

    #[tokio::test]
    async fn finishing_stops_every_task_and_waits_for_it() {
        let tasks = Tasks::current(Stop::default());
        let (sent, received) = tokio::sync::oneshot::channel();
        let stop = tasks.stop().clone();
        tasks.spawn("waits", async move {
            stop.stopped().await;
            sent.send("ended").unwrap();
        });
        tasks.finish().await;
        assert_eq!(received.await, Ok("ended"));
        assert_eq!(tasks.failed(), None);
    }

    #[tokio::test]
    async fn a_panic_stops_the_group_and_is_told_with_the_name_of_its_task() {
        let tasks = Tasks::current(Stop::default());
        tasks.spawn("breaks", async { panic!("on purpose") });
        tasks.stop().stopped().await;
        tasks.finish().await;
        assert_eq!(tasks.failed().as_deref(), Some("breaks: on purpose"));
    }

    #[test]
    fn who_listens_is_woken_whoever_polls_it_last() {
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let stop = Stop::default().child();
        let counts = [(); 2].map(|()| Arc::new(Count(AtomicUsize::new(0))));
        let wakers = counts.clone().map(Waker::from);
        let mut stopped = Box::pin(stop.stopped());
        for waker in [&wakers[0], &wakers[0], &wakers[1], &wakers[1]] {
            assert!(stopped.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
        }
        stop.stop();
        assert_eq!(counts.map(|count| count.0.load(Ordering::SeqCst)), [0, 1]);
        assert!(stopped.as_mut().poll(&mut Context::from_waker(&wakers[0])).is_ready());
    }

    #[tokio::test]
    async fn a_child_stops_alone_and_with_its_parent() {
        let parent = Stop::default();
        let (first, second) = (parent.child(), parent.child());
        first.stop();
        assert!(first.is_stopped() && !second.is_stopped() && !parent.is_stopped());
        parent.stop();
        second.stopped().await;
    }
}
