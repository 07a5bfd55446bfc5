//! What operators change: a component is pushed, a version swapped in, or rolled back.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hashring::NodeId;
use registry::{Cas, Error, Session};
use runtime::Instant;
use tokio::sync::oneshot;

use crate::artefacts::{ARTEFACT_BYTES_MAX, Artefact, SIGNATURE_BYTES};
use crate::audit::AuditLine;
use crate::gathering::{Gathering, Next, Silence};
use crate::preparation::Told;
use crate::progress::{Changed, NodeProgress, Progress, Pushed};
use crate::question::{Answer, Question};
use crate::record::{LIVE, LiveSet, is_name};
use crate::rollout::Shared;
use crate::settings::Point;
use crate::shadowing::{SHADOW_MAX, Trial};
use crate::versions::Key;
use crate::{Digest, Refused, Rollout, meters};

/// How often nodes are asked how far they are.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How long a change waits until it is live on this node, or on all that are told of it.
const LIVE_MAX: Duration = Duration::from_secs(15);
/// How often a lost answer of the registry is looked for.
const LOOKS_MAX: u32 = 10;
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What is wanted.
#[derive(Clone, Debug)]
enum Wanted {
    Swap {
        name: String,
        digest: Digest,
    },
    Rollback {
        name: String,
    },
    /// By a guard, from that generation.
    HoldBack {
        name: String,
        generation: u64,
    },
}

impl Rollout {
    /// Takes a component for `name`: keeps it, and has every node that can be reached prepare it. What it is
    /// lacking is found here; nothing becomes live.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn push(
        &self,
        name: &str,
        component: Bytes,
        signature: Option<Bytes>,
    ) -> Result<Pushed, Refused> {
        let name = named(name)?;
        if component.len() > ARTEFACT_BYTES_MAX {
            let detail = format!("a component has at most {ARTEFACT_BYTES_MAX} bytes");
            return Err(Refused::Invalid(detail));
        }
        if signature.as_ref().is_some_and(|signature| signature.len() != SIGNATURE_BYTES) {
            let detail = format!("a signature has {SIGNATURE_BYTES} bytes");
            return Err(Refused::Invalid(detail));
        }
        let artefact = Artefact { component, signatures: signature };
        self.detached(|shared| async move { shared.push(name, artefact).await }).await
    }

    /// Makes a component the live version of `name` on every node; with `wait` it returns when it is on all
    /// that are registered. Once begun it goes on if nobody waits any more.
    ///
    /// # Errors
    /// [`Refused`]: then what was live still is, unless it is [`Refused::Unsure`].
    pub async fn swap(&self, name: &str, digest: Digest, wait: bool) -> Result<Changed, Refused> {
        let wanted = Wanted::Swap { name: named(name)?, digest };
        locked(&self.shared.trial).take_if(|trial| trial.plugin == name);
        self.detached(move |shared| async move { shared.change(wanted, wait).await }).await
    }

    /// As [`Rollout::swap`], after the component has run beside the live version for a while and decided the
    /// same, as far as `trial` asks for.
    ///
    /// # Errors
    /// As [`Rollout::swap`]; [`Refused::Unusable`] when it does not become live.
    pub async fn swap_after(
        &self,
        trial: Trial,
        name: &str,
        digest: Digest,
        wait: bool,
    ) -> Result<Changed, Refused> {
        if trial.span > SHADOW_MAX || trial.span.is_zero() {
            let detail =
                format!("a version runs beside another for 1 to {} s", SHADOW_MAX.as_secs());
            return Err(Refused::Invalid(detail));
        }
        let key = (named(name)?, digest);
        self.detached(move |shared| async move {
            shared.tried(&key, trial).await?;
            let (name, digest) = key;
            shared.change(Wanted::Swap { name, digest }, wait).await
        })
        .await
    }

    /// Makes the version before the live one live again, as a new generation; the only one goes.
    ///
    /// # Errors
    /// As [`Rollout::swap`].
    pub async fn roll_back(&self, name: &str, wait: bool) -> Result<Changed, Refused> {
        let wanted = Wanted::Rollback { name: named(name)? };
        self.detached(move |shared| async move { shared.change(wanted, wait).await }).await
    }

    /// How far the change is that was asked of this node last, if it was of this plugin.
    pub fn progress(&self, name: &str) -> Option<Progress> {
        let of = |progress: &Mutex<Option<Progress>>| {
            locked(progress).clone().filter(|progress| progress.plugin == name)
        };
        let (trial, change) = (of(&self.shared.trial), of(&self.shared.progress));
        match (trial, change) {
            // What was tried is what the change is about, or it is over with it.
            (Some(trial), Some(change)) if change.digest == trial.digest => {
                Some(Progress { trial: trial.trial, ..change })
            }
            (trial, change) => trial.or(change),
        }
    }

    /// Does something that does not end when nobody waits for it.
    async fn detached<T, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> Result<T, Refused>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Refused>> + Send + 'static,
    {
        let not_ready = || Refused::NotReady("this node has not joined its cluster".to_owned());
        let network = self.shared.network.get().ok_or_else(not_ready)?;
        let (answer, answered) = oneshot::channel();
        let (work, stop) = (work(Arc::clone(&self.shared)), network.tasks.stop().clone());
        network.tasks.spawn("change of plugins", async move {
            let done = tokio::select! { biased;
                () = stop.stopped() => return,
                done = work => done,
            };
            // Whoever asked may be gone.
            drop(answer.send(done));
        });
        let stopping = |_gone| Refused::Unsure("this node is stopping".to_owned());
        answered.await.map_err(stopping)?
    }
}

impl Shared {
    async fn push(self: Arc<Self>, name: String, artefact: Artefact) -> Result<Pushed, Refused> {
        let digest = Digest::of(&artefact.component);
        let trusted = self.settings.trust.check(&name, digest, &artefact);
        trusted.map_err(|why| Refused::Unusable(format!("plugin {name}: {why}")))?;
        let new = self.keep(&artefact, digest).await?;
        drop(artefact);
        self.tell("pushed", &name, Some(digest), None, "").await;
        self.everywhere(&(name, digest), Silence::Passes).await?;
        Ok(Pushed { digest, new })
    }

    async fn change(self: Arc<Self>, wanted: Wanted, wait: bool) -> Result<Changed, Refused> {
        let Ok(_alone) = self.changing.try_acquire() else {
            let detail = "another change is under way on this node: wait for it, and ask again";
            return Err(Refused::Conflict(detail.to_owned()));
        };
        let (event, name, digest) = match &wanted {
            Wanted::Swap { name, digest } => ("swap", name.clone(), Some(*digest)),
            Wanted::Rollback { name } => ("rollback", name.clone(), None),
            Wanted::HoldBack { name, .. } => ("guard-rollback", name.clone(), None),
        };
        *locked(&self.progress) = Some(Progress::preparing(name.clone(), digest));
        self.tell(event, &name, digest, None, "").await;
        let changed = self.changed(&wanted).await;
        match changed {
            Ok(changed) => {
                self.proceed(|progress| {
                    progress.state = "live";
                    progress.generation = Some(changed.generation);
                });
                Ok(self.spread(changed, wait).await)
            }
            Err(refused) => {
                let detail = refused.to_string();
                let outcome = match &refused {
                    Refused::Conflict(_) => "lost",
                    Refused::Unsure(_) => "unsure",
                    _ => "failed",
                };
                meters::changed(outcome);
                self.tell(outcome, &name, digest, None, &detail).await;
                self.proceed(|progress| {
                    progress.state = "failed";
                    progress.detail = detail;
                });
                Err(refused)
            }
        }
    }

    /// Rolls a plugin back because of its guard, if `generation` is what is live.
    pub(crate) async fn roll_back_held(
        self: &Arc<Self>,
        name: &str,
        generation: u64,
    ) -> Result<Changed, Refused> {
        let wanted = Wanted::HoldBack { name: name.to_owned(), generation };
        Arc::clone(self).change(wanted, false).await
    }

    async fn changed(self: &Arc<Self>, wanted: &Wanted) -> Result<Changed, Refused> {
        let (base, expect) = self.base().await?;
        let at_least = self.highest();
        let nonce = rand::random();
        let (name, next) = match wanted {
            Wanted::Swap { name, digest } => {
                if let Some(live) = base.plugins.get(name).filter(|live| live.digest == *digest) {
                    // Asked again, perhaps because the first answer was lost.
                    return Ok(changed(&base, name, live.generation));
                }
                let key = (name.clone(), *digest);
                let version = self.everywhere(&key, Silence::Stops).await?;
                let keep = self.settings.keep;
                let next = base.swapped(name, (*digest, version), at_least, keep, nonce);
                (name, next.map_err(Refused::Invalid)?)
            }
            Wanted::Rollback { name } | Wanted::HoldBack { name, .. } => {
                let next = match wanted {
                    Wanted::HoldBack { generation, .. } => {
                        let other = || {
                            Refused::Conflict(format!(
                                "generation {generation} of {name} is not live any more, or cannot be \
                                 rolled back"
                            ))
                        };
                        base.held_back(name, *generation, at_least, nonce).ok_or_else(other)?
                    }
                    _ => {
                        let unknown = || Refused::Unknown(format!("no plugin {name} is live"));
                        base.rolled_back(name, at_least, nonce).ok_or_else(unknown)?
                    }
                };
                if let Some(back) = next.plugins.get(name) {
                    let digest = back.digest;
                    self.proceed(|progress| progress.digest = Some(digest));
                    self.everywhere(&(name.clone(), digest), Silence::Passes).await?;
                }
                (name, next)
            }
        };
        self.settings.reached(Point::Writing).await;
        self.write_next(&next, expect).await?;
        self.settings.reached(Point::Written).await;
        meters::changed("live");
        let changed = changed(&next, name, next.number);
        let detail = changed.version.as_deref().unwrap_or("removed").to_owned();
        self.tell("swapped", name, changed.digest, Some(next.number), &detail).await;
        Ok(changed)
    }

    /// What is live, and the version to replace. What stands there and is no record is replaced too.
    async fn base(&self) -> Result<(LiveSet, Option<u64>), Refused> {
        let read = self.session()?.get(LIVE).await;
        let value = read.map_err(|error| Refused::NotReady(error.to_string()))?;
        let here = self.live.borrow().as_ref().map(|lineup| lineup.set.clone());
        let here = here.ok_or_else(|| {
            Refused::NotReady("this node has not loaded the live plugins yet".to_owned())
        });
        match value {
            None => Ok((here?, None)),
            Some(value) => match self.judge(&value) {
                Ok(set) if set.number >= self.number() => Ok((set, Some(value.version))),
                Ok(_) | Err(_) => Ok((here?, Some(value.version))),
            },
        }
    }

    async fn write_next(&self, next: &LiveSet, expect: Option<u64>) -> Result<(), Refused> {
        let write = Cas { key: LIVE.to_owned(), expect, data: Some(next.encode()) };
        let lost = || {
            Refused::Conflict(
                "other plugins became live meanwhile: nothing was changed by this one. See carillon \
                 plugin ls, and ask again"
                    .to_owned(),
            )
        };
        match self.session()?.cas(write).await {
            Ok(Ok(_version)) => return Ok(()),
            Ok(Err(_other)) => return Err(lost()),
            Err(Error::Unknown) => {}
            Err(error) => return Err(Refused::NotReady(error.to_string())),
        }
        for _ in 0..LOOKS_MAX {
            runtime::sleep(LOOK_AGAIN).await;
            let Ok(Some(value)) = self.session()?.get(LIVE).await else { continue };
            return match LiveSet::decode(&value.data) {
                Ok(stands) if stands.nonce == next.nonce => Ok(()),
                // Another change can only be on top of ours: its past tells.
                _ if Some(value.version) == expect => {
                    Err(Refused::NotReady("the registry did not take it: ask again".to_owned()))
                }
                _ => Err(lost()),
            };
        }
        Err(Refused::Unsure(
            "the registry's answer was lost, and it cannot be asked: see carillon plugin ls when it can"
                .to_owned(),
        ))
    }

    /// Has every registered node prepare a version, and returns what it says of itself.
    pub(crate) async fn everywhere(
        self: &Arc<Self>,
        key: &Key,
        silence: Silence,
    ) -> Result<String, Refused> {
        let attempt = rand::random();
        let mut gathering = Gathering::new(silence, runtime::now());
        loop {
            gathering.registered(runtime::now(), &self.registered());
            let questions = gathering.open().into_iter().map(|node| {
                let (shared, key) = (Arc::clone(self), key.clone());
                async move { (shared.prepare_on(&node, &key, attempt).await, node) }
            });
            for (told, node) in together(questions).await {
                if let Some(told) = told {
                    gathering.heard(runtime::now(), &node, told);
                }
            }
            let nodes: Vec<NodeProgress> = gathering.told().map(of_node).collect();
            for shown in [&self.progress, &self.trial] {
                let of_this = |it: &&mut Progress| it.plugin == key.0 && it.digest == Some(key.1);
                if let Some(progress) = locked(shown).as_mut().filter(of_this) {
                    progress.nodes.clone_from(&nodes);
                }
            }
            match gathering.next(runtime::now()) {
                Next::Go => break,
                Next::GiveUp(why) => return Err(Refused::Unusable(why)),
                Next::Nobody(waited) => {
                    return Err(Refused::NotReady(format!(
                        "this node has known of no registered node for {} s: look whether the registry \
                         is there, and ask again",
                        waited.as_secs()
                    )));
                }
                Next::Wait => runtime::sleep(ASK_EVERY).await,
            }
        }
        match self.versions.told(key, attempt) {
            Some(Told::Ready { version }) => Ok(version),
            // It was ready, and so many others since that it was forgotten.
            _ => Err(Refused::NotReady("too many versions are being pushed: ask again".to_owned())),
        }
    }

    async fn prepare_on(self: &Arc<Self>, node: &NodeId, key: &Key, attempt: u64) -> Option<Told> {
        if *node == self.settings.node {
            return Some(self.prepare(key, attempt, None));
        }
        let (name, digest) = key.clone();
        match self.ask(node, &Question::Prepare { attempt, name, digest }).await? {
            Answer::Told(told) => Some(told),
            Answer::Piece { .. } | Answer::Unknown | Answer::Live(_) | Answer::Beside(_) => None,
        }
    }

    /// Waits until a change is live here, or on every node, and counts where it is.
    async fn spread(self: &Arc<Self>, mut changed: Changed, wait: bool) -> Changed {
        let until = runtime::now() + LIVE_MAX;
        let mut live = self.live.subscribe();
        let here = |lineup: &Option<Arc<crate::Lineup>>| {
            lineup.as_ref().is_some_and(|lineup| lineup.set.number >= changed.generation)
        };
        // What keeps this node from it is in its log, and in what `plugin ls` shows.
        drop(runtime::timeout(LIVE_MAX, live.wait_for(here)).await);
        loop {
            let there = self.live_on(changed.generation).await;
            let nodes = self.registered();
            (changed.live, changed.nodes) = (there.len(), nodes.len());
            self.proceed(|progress| {
                for node in &mut progress.nodes {
                    node.live = there.contains(&node.node);
                }
            });
            if !wait || changed.live >= changed.nodes || is_over(until) {
                return changed;
            }
            runtime::sleep(ASK_EVERY).await;
        }
    }

    /// The registered nodes on which `number` or a later one is live.
    async fn live_on(self: &Arc<Self>, number: u64) -> BTreeSet<NodeId> {
        let questions = self.registered().into_iter().map(|node| {
            let shared = Arc::clone(self);
            async move {
                let live = match node == shared.settings.node {
                    true => shared.number(),
                    false => match shared.ask(&node, &Question::Live).await {
                        Some(Answer::Live(live)) => live,
                        _ => 0,
                    },
                };
                (live, node)
            }
        });
        let told = together(questions).await.into_iter();
        told.filter(|(live, _)| *live >= number).map(|(_, node)| node).collect()
    }

    /// The nodes that are registered now, as far as this one knows.
    pub(crate) fn registered(&self) -> BTreeSet<NodeId> {
        let Some(network) = self.network.get() else { return BTreeSet::new() };
        network.replication.ring().nodes.iter().map(|node| node.id.clone()).collect()
    }

    fn session(&self) -> Result<Arc<Session>, Refused> {
        let session = self.network.get().and_then(|network| network.replication.session());
        session.ok_or_else(|| Refused::NotReady("this node has no registry yet".to_owned()))
    }

    fn proceed(&self, with: impl FnOnce(&mut Progress)) {
        if let Some(progress) = &mut *locked(&self.progress) {
            with(progress);
        }
    }

    pub(crate) async fn tell(
        &self,
        event: &str,
        plugin: &str,
        digest: Option<Digest>,
        generation: Option<u64>,
        detail: &str,
    ) {
        let (event, plugin, detail) = (event.to_owned(), plugin.to_owned(), detail.to_owned());
        let at_ms = runtime::wall_ms();
        self.write(AuditLine { at_ms, line: 0, event, plugin, digest, generation, detail }).await;
    }
}

fn is_over(until: Instant) -> bool {
    runtime::now() >= until
}

fn changed(set: &LiveSet, name: &str, generation: u64) -> Changed {
    let live = set.plugins.get(name);
    Changed {
        generation,
        version: live.map(|live| live.version.clone()),
        digest: live.map(|live| live.digest),
        live: 0,
        nodes: 0,
    }
}

fn of_node((node, told): (&NodeId, Option<&Told>)) -> NodeProgress {
    NodeProgress {
        node: node.clone(),
        done: told.and_then(Told::done),
        state: match told {
            None => "silent",
            Some(Told::Running { .. }) => "running",
            Some(Told::Ready { .. }) => "ready",
            Some(Told::Failed { .. }) => "failed",
        },
        live: false,
    }
}

fn named(name: &str) -> Result<String, Refused> {
    if is_name(name) {
        return Ok(name.to_owned());
    }
    let detail = "a plugin's name is 1 to 64 of a-z, 0-9, - and _, beginning with a letter";
    Err(Refused::Invalid(detail.to_owned()))
}

/// Runs all of them at once: one a node.
pub(crate) async fn together<T, F>(futures: impl Iterator<Item = F>) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let mut running = tokio::task::JoinSet::new();
    for future in futures {
        running.spawn(future);
    }
    running.join_all().await
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
