//! Making live here what is live in the cluster.
//!
//! A watch says when to look. What is newer is prepared, most often it is already, and then switched to as
//! a whole; what is no record, or an older one, changes nothing. Until a node has what is live it is not
//! ready: others lead rather than it, and chats that have met it are not answered by what was before. It tries on,
//! more and more seldom, and says each reason once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use runtime::Backoff;

use crate::audit::AuditLine;
use crate::changing::locked;
use crate::meters;
use crate::preparing::NotPrepared;
use crate::record::{LIVE, LiveSet};
use crate::rollout::{Behind, Shared};
use crate::settings::{Lineup, Point};
use crate::versions::Key;

/// How soon a session is asked for again that ended.
const AGAIN: Duration = Duration::from_secs(1);
/// How soon it is tried again to have what is live: at first, and at most, with less as it falls.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(30);
/// How often the registry is looked at though nothing was told: watches may come late.
const LOOK: Duration = Duration::from_secs(30);
/// How soon the session is looked for while the node starts.
const SESSION: Duration = Duration::from_millis(20);

/// What begins with this is watched.
const PREFIX: &str = "plugins/";

/// Follows until the node stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let Some(network) = shared.network.get() else { return };
    let stop = network.tasks.stop().clone();
    tokio::select! { biased;
        () = stop.stopped() => {}
        () = follow(&shared) => {}
    }
}

async fn follow(shared: &Arc<Shared>) {
    let Some(network) = shared.network.get() else { return };
    loop {
        let Some(session) = network.replication.session() else {
            runtime::sleep(SESSION).await;
            continue;
        };
        let (mut watch, mut state) = (session.watch(PREFIX), session.state());
        drop(session);
        let (mut seen, mut pace) = (None, Pace::new());
        loop {
            let done = look(shared, &mut seen).await;
            tokio::select! {
                changed = watch.changed() => match changed {
                    Some(_) => pace.news(),
                    None => break,
                },
                changed = state.changed() => if changed.is_err() { break },
                () = pace.rest(done, rand::random()) => {}
            }
        }
        runtime::sleep(AGAIN).await;
    }
}

/// When to look again though nobody says that there is something new: now and then after a look that found
/// everything in order; soon after one that did not, and then less and less often.
#[derive(Debug)]
struct Pace {
    retries: Backoff,
}

impl Pace {
    fn new() -> Self {
        Self { retries: Backoff::new(RETRY_FIRST, RETRY_CAP) }
    }

    /// What is new may be what was missing.
    fn news(&mut self) {
        self.retries.reset();
    }

    /// Waits after a look. Cancel-safe; it counts as one all the same.
    async fn rest(&mut self, done: bool, dice: u32) {
        let pause = match done {
            true => {
                self.retries.reset();
                LOOK
            }
            false => self.retries.next(dice),
        };
        runtime::sleep(pause).await;
    }
}

/// Looks once. `false`: it has to be tried again soon. `seen` is the version that was refused last.
async fn look(shared: &Arc<Shared>, seen: &mut Option<u64>) -> bool {
    let Some(session) = shared.network.get().and_then(|network| network.replication.session())
    else {
        return false;
    };
    let read = session.get(LIVE).await;
    drop(session);
    let here = shared.number();
    let target = match read {
        Ok(Some(value)) => match shared.judge(&value) {
            Ok(set) if set.number > here => Some(set),
            Ok(set) if set.number < here && *seen != Some(value.version) => {
                *seen = Some(value.version);
                shared.older(&set, here);
                None
            }
            Ok(_same) => None,
            Err(what) if *seen != Some(value.version) => {
                *seen = Some(value.version);
                tracing::error!(node = %shared.settings.node, what,
                    "{LIVE} in the registry changes nothing: remove it, or swap a plugin, which replaces it");
                None
            }
            Err(_told) => None,
        },
        Ok(None) => None,
        // What was found at the start may still have to be fetched.
        Err(_) if here == 0 => locked(&shared.target).clone(),
        Err(_) => return false,
    };
    match target {
        Some(set) => shared.catch_up(set).await,
        None => {
            shared.prepare_past().await;
            true
        }
    }
}

impl Shared {
    /// Makes `set` live, or says why not.
    async fn catch_up(self: &Arc<Self>, set: LiveSet) -> bool {
        let number = set.number;
        self.settings.reached(Point::Learned).await;
        let Err(behind) = self.adopt(set).await else {
            if let Some(network) = self.network.get() {
                network.replication.set_ready(true).await;
            }
            self.prepare_past().await;
            return true;
        };
        if let Some(network) = self.network.get() {
            network.replication.set_ready(false).await;
        }
        let news = self.behind.send_if_modified(|before| {
            let news = before.as_ref() != Some(&behind);
            *before = Some(behind.clone());
            news
        });
        if news {
            tracing::error!(node = %self.settings.node, number, what = behind.what,
                "this node does not have the live plugins: it leaves what later ones have handled to \
                 others, and tries on");
            self.write(live(number, "failed", &behind.what)).await;
        }
        false
    }

    /// Prepares what is missing of `set`, and switches to it.
    pub(crate) async fn adopt(&self, set: LiveSet) -> Result<(), Behind> {
        let began = runtime::now();
        let number = set.number;
        *locked(&self.target) = Some(set.clone());
        let mut plugins = Vec::new();
        for (name, plugin) in &set.plugins {
            let key: Key = (name.clone(), plugin.digest);
            let ready = self.prepared(&key, None).await;
            plugins.push(ready.map_err(|why| Behind {
                what: why.to_string(),
                passes: matches!(why, NotPrepared::Missing(_)),
            })?);
        }
        self.highest.fetch_max(number, Ordering::Relaxed);
        let lineup = Arc::new(Lineup { set, plugins });
        // Chats first: whoever is told that it is live finds it so.
        (self.settings.switch)(&lineup);
        self.live.send_replace(Some(Arc::clone(&lineup)));
        self.behind.send_replace(None);
        meters::switched(self.settings.node.as_str(), number, runtime::now() - began);
        tracing::info!(node = %self.settings.node, number, "plugins are live");
        self.settings.reached(Point::Switched).await;
        let (last, kept) = (Arc::clone(&self.last), Arc::clone(&lineup));
        if let Some(Err(error)) = runtime::blocking(move || last.write(&kept.set)).await {
            tracing::error!(node = %self.settings.node, %error, "what is live is not kept on the disk");
        }
        self.write(live(number, "live", &described(&lineup.set))).await;
        self.versions.trim(&self.named());
        Ok(())
    }

    /// Has what can be rolled back to ready too. What is not, nobody misses yet.
    async fn prepare_past(&self) {
        let Some(lineup) = self.live.borrow().clone() else { return };
        for (name, plugin) in &lineup.set.plugins {
            for past in plugin.past.iter().take(self.settings.keep.saturating_sub(1)) {
                let key = (name.clone(), past.digest);
                if self.versions.told(&key, 0).is_none() && !self.versions.has_failed(&key) {
                    // Why not is in the log.
                    drop(self.prepared(&key, None).await);
                }
            }
        }
    }
}

fn live(number: u64, event: &str, detail: &str) -> AuditLine {
    AuditLine {
        at_ms: runtime::wall_ms(),
        line: 0,
        event: event.to_owned(),
        plugin: String::new(),
        digest: None,
        generation: Some(number),
        detail: detail.to_owned(),
    }
}

fn described(set: &LiveSet) -> String {
    let plugins = set.plugins.iter();
    let plugins = plugins.map(|(name, plugin)| format!("{name} {}", plugin.version));
    plugins.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use runtime::SimulatedClock;

    use super::{LOOK, Pace};

    const MINUTE: Duration = Duration::from_secs(60);

    /// When it is looked in `span` of simulated time, if what is looked for is as `done` says.
    fn looks(span: Duration, done: impl Fn(Duration) -> bool) -> Vec<Duration> {
        let clock = SimulatedClock::new();
        let _here = clock.enter();
        let (began, mut pace, mut dice) = (runtime::now(), Pace::new(), 12345_u32);
        let mut looks = Vec::new();
        while runtime::now() - began < span {
            let at = runtime::now() - began;
            looks.push(at);
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let mut resting = pin!(pace.rest(done(at), dice));
            let mut context = Context::from_waker(Waker::noop());
            while resting.as_mut().poll(&mut context) == Poll::Pending {
                clock.set(clock.next().unwrap());
            }
        }
        looks
    }

    /// It was looked every second, for as long as it took: each time with a line in the audit log, and synced.
    #[test]
    fn what_fails_is_tried_again_less_and_less_often() {
        let all = looks(20 * MINUTE, |_at| false);
        // Anywhere below a second, two, four … thirty: once a second it was 1200.
        assert!((50..120).contains(&all.len()), "{}: {all:?}", all.len());
        let pauses: Vec<Duration> = all.windows(2).map(|two| two[1] - two[0]).collect();
        let ceilings = [1, 2, 4, 8, 16].map(Duration::from_secs);
        assert!(pauses.iter().zip(ceilings).all(|(pause, most)| *pause <= most), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(30)), "{pauses:?}");
        assert!(pauses.iter().any(|pause| *pause > Duration::from_secs(20)), "{pauses:?}");
    }

    #[test]
    fn what_is_in_order_is_looked_at_now_and_then_and_what_fails_after_it_begins_anew() {
        let all = looks(20 * MINUTE, |at| at < 10 * MINUTE);
        let before: Vec<&Duration> = all.iter().filter(|at| **at < 10 * MINUTE).collect();
        assert_eq!(before.len(), 20, "{before:?}");
        assert!(before.windows(2).all(|two| *two[1] - *two[0] == LOOK));
        // Five tries within a second, two, four and eight.
        let soon = 10 * MINUTE..10 * MINUTE + Duration::from_secs(15);
        assert!(all.iter().filter(|at| soon.contains(*at)).count() >= 5, "{all:?}");
    }

    #[test]
    fn news_are_no_reason_to_wait_longer() {
        let mut pace = Pace::new();
        for _ in 0..10 {
            pace.retries.next(u32::MAX);
        }
        pace.news();
        assert_eq!(pace.retries.next(u32::MAX), Duration::from_secs(1));
    }
}
