//! Whether this node gives everything away, and how far that is.
//!
//! An order of that kind is carried out in a task: whoever gave it may be gone before services are heard out. Meanwhile it
//! can be taken back; then nothing is given away. Of several orders one is carried out, and the others wait for it.

use std::sync::Arc;

use runtime::Tasks;
use tokio::sync::{Mutex, MutexGuard, oneshot, watch};

/// The orders to one node. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Giving {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Held while an order is judged and while it is done: not while services are heard out.
    deciding: Mutex<()>,
    last: watch::Sender<Last>,
}

/// The last order.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    number: u64,
    /// It was not taken back.
    stands: bool,
    /// Everything is being given away.
    done: bool,
}

impl Giving {
    /// Waits until nobody else decides.
    pub(crate) async fn decides(&self) -> MutexGuard<'_, ()> {
        self.inner.deciding.lock().await
    }

    /// Whether an order stands.
    pub(crate) fn stands(&self) -> bool {
        self.inner.last.borrow().stands
    }

    /// An order stands from now on; its number.
    pub(crate) fn begin(&self) -> u64 {
        let mut number = 0;
        self.inner.last.send_modify(|last| {
            number = last.number + 1;
            *last = Last { number, stands: true, done: false };
        });
        number
    }

    /// None does any more.
    pub(crate) fn end(&self) {
        self.inner.last.send_modify(|last| last.stands = false);
    }

    /// Waits until what stands is carried out, or nothing stands.
    pub(crate) async fn is_done(&self) {
        // Cannot be an error: the sender is here.
        drop(self.inner.last.subscribe().wait_for(|last| last.done || !last.stands).await);
    }

    /// Carries out an order: waits until services are `heard` out, and then `gives`, if the order still stands.
    pub(crate) async fn carry_out(
        &self,
        number: u64,
        heard: impl Future<Output = ()>,
        gives: impl Future<Output = ()>,
    ) {
        heard.await;
        let _one = self.decides().await;
        let last = *self.inner.last.borrow();
        if last.number == number && last.stands {
            gives.await;
            self.inner.last.send_modify(|last| last.done = true);
        }
    }
}

/// Does something in a task, whoever waits for what comes of it. An error: the node stops before.
pub(crate) fn in_a_task<T: Send + 'static>(
    tasks: &Tasks,
    does: impl Future<Output = T> + Send + 'static,
) -> oneshot::Receiver<T> {
    let (told, heard) = oneshot::channel();
    let stop = tasks.stop().clone();
    tasks.spawn("an operator's order", async move {
        tokio::select! { biased;
            () = stop.stopped() => {}
            // Whoever gave it may not wait any more.
            done = does => drop(told.send(done)),
        }
    });
    heard
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use runtime::Stop;

    use super::*;

    /// A node that gives away when its services were heard out.
    struct Story {
        giving: Giving,
        tasks: Tasks,
        heard: Arc<tokio::sync::Semaphore>,
        given: Arc<AtomicUsize>,
    }

    impl Story {
        fn new() -> Self {
            Self {
                giving: Giving::default(),
                tasks: Tasks::current(Stop::default()),
                heard: Arc::new(tokio::sync::Semaphore::new(0)),
                given: Arc::default(),
            }
        }

        /// Somebody gives the order.
        fn ordered(&self) -> oneshot::Receiver<()> {
            let (giving, given) = (self.giving.clone(), Arc::clone(&self.given));
            let services = Arc::clone(&self.heard);
            in_a_task(&self.tasks, async move {
                if giving.stands() {
                    return giving.is_done().await;
                }
                let number = giving.begin();
                let heard = async move { services.acquire().await.unwrap().forget() };
                let gives = async move { _ = given.fetch_add(1, Ordering::SeqCst) };
                giving.carry_out(number, heard, gives).await;
            })
        }

        async fn acts(&self) {
            for _turn in 0..32 {
                tokio::task::yield_now().await;
            }
        }

        fn given(&self) -> usize {
            self.given.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn an_order_is_carried_out_though_whoever_gave_it_is_gone() {
        let story = Story::new();
        drop(story.ordered());
        story.acts().await;
        assert_eq!((story.giving.stands(), story.given()), (true, 0), "services are heard out");
        story.heard.add_permits(1);
        story.acts().await;
        assert_eq!(story.given(), 1);
    }

    #[tokio::test]
    async fn a_second_order_waits_until_services_were_heard_out_for_the_first() {
        let story = Story::new();
        let first = story.ordered();
        story.acts().await;
        let mut second = story.ordered();
        story.acts().await;
        assert!(second.try_recv().is_err() && story.given() == 0);
        story.heard.add_permits(1);
        first.await.unwrap();
        second.await.unwrap();
        assert_eq!(story.given(), 1, "once");
    }

    #[tokio::test]
    async fn an_order_that_is_taken_back_meanwhile_gives_nothing_away() {
        let story = Story::new();
        let first = story.ordered();
        story.acts().await;
        story.giving.end();
        // Another one is given before the first has ended: that one is heard out for itself.
        let second = story.ordered();
        story.acts().await;
        story.heard.add_permits(1);
        first.await.unwrap();
        assert_eq!(story.given(), 0, "it does not stand any more");
        story.heard.add_permits(1);
        second.await.unwrap();
        assert_eq!(story.given(), 1);
    }
}
