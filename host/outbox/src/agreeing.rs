//! The cluster's records of services: read, followed, and changed by compare-and-set.
//!
//! One task follows what stands in the registry and publishes it to the tasks of the services, which send nothing
//! before they know it. One look at a time, so that what is published never goes back to what was before. While
//! the registry is away everybody goes on with what they know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use registry::{Cas, Session};
use runtime::Stop;
use tokio::sync::{Notify, watch};

use crate::agreed::{Agreed, Meeting, SERVICES, Terms, key, parts};
use crate::desk::{Access, Desk};
use crate::services::{Unknown, WishError};

/// How often a write is tried that somebody else was faster than: all nodes of a cluster may start at once.
const TRIES_MAX: usize = 16;
/// How often all records are looked at though nothing was told: watches may come late.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How soon it is looked again after that was not possible.
const AGAIN: Duration = Duration::from_secs(1);
/// How soon the session is looked for while the node starts.
const SESSION: Duration = Duration::from_millis(20);
/// How often partitions are told of services that this node has no section for.
const CLERK_EVERY: Duration = Duration::from_secs(1);

/// What stands in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) version: u64,
    pub(crate) agreed: Agreed,
}

/// A service that this node has a section for.
#[derive(Debug)]
struct Own {
    file: Terms,
    told: watch::Sender<Option<Known>>,
    stirred: Arc<Notify>,
}

/// The records, as this node knows them.
#[derive(Debug)]
pub(crate) struct Agreements {
    desk: Arc<dyn Desk>,
    own: BTreeMap<String, Own>,
    /// Those of services that this node has no section for.
    strangers: Mutex<BTreeMap<String, Known>>,
    looking: tokio::sync::Mutex<()>,
    /// Versions of records that somebody was told of already, because they are none or differ from the file.
    complained: Mutex<BTreeMap<String, u64>>,
}

impl Agreements {
    /// Of services by their names, with what this node's file says of each.
    pub(crate) fn new(desk: Arc<dyn Desk>, files: BTreeMap<String, Terms>) -> Self {
        let absent = matches!(desk.registry(), Access::Absent);
        let own = |file: Terms| {
            let known = absent.then(|| Known { version: 0, agreed: Agreed::of_file(&file) });
            Own { file, told: watch::Sender::new(known), stirred: Arc::default() }
        };
        let own = files.into_iter().map(|(name, file)| (name, own(file))).collect();
        let (strangers, complained) = (Mutex::default(), Mutex::default());
        Self { desk, own, strangers, looking: tokio::sync::Mutex::new(()), complained }
    }

    /// Follows what is known of a service that this node has a section for, and that something below its record has
    /// changed.
    pub(crate) fn subscribe(
        &self,
        name: &str,
    ) -> Option<(watch::Receiver<Option<Known>>, Arc<Notify>)> {
        let own = self.own.get(name)?;
        let mut known = own.told.subscribe();
        // What is known at the beginning is news too.
        known.mark_changed();
        Some((known, Arc::clone(&own.stirred)))
    }

    /// Whether there is a registry at all.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self.desk.registry(), Access::Absent)
    }

    /// Whether it is known here that a service is stopped; `None`: it is not known here at all.
    pub(crate) fn is_stopped(&self, name: &str) -> Option<bool> {
        let own = self.own.get(name)?;
        own.told.borrow().as_ref().map(|known| known.agreed.stopped.is_some())
    }

    /// Whether this node has a section for it.
    pub(crate) fn is_own(&self, name: &str) -> bool {
        self.own.contains_key(name)
    }

    /// Services that this node has no section for, with what stands of them.
    pub(crate) fn strangers(&self) -> Vec<(String, Agreed)> {
        let strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        strangers.iter().map(|(name, known)| (name.clone(), known.agreed.clone())).collect()
    }

    /// Looks at the record of a service, and has it say what this node's file says if that is to be. Whether that
    /// was possible; if not, what was known stays.
    pub(crate) async fn look(&self, name: &str) -> bool {
        let _one = self.looking.lock().await;
        let Access::There(session) = self.desk.registry() else { return false };
        for _try in 0..TRIES_MAX {
            let Ok(stands) = session.get(&key(name)).await else { return false };
            let stands = match stands {
                None => None,
                Some(value) => match Agreed::decode(&value.data) {
                    Ok(agreed) => Some(Known { version: value.version, agreed }),
                    Err(error) => {
                        if self.complains(name, value.version) {
                            tracing::error!(service = name, %error,
                                "services/{name} in the registry changes nothing: mend or remove it");
                        }
                        return true;
                    }
                },
            };
            match self.meets(&session, name, stands).await {
                Met::Done => return true,
                Met::Away => return false,
                Met::Again => {}
            }
        }
        false
    }

    /// Meets what stands with this node's file, and publishes what comes of it.
    async fn meets(&self, session: &Session, name: &str, stands: Option<Known>) -> Met {
        let Some(own) = self.own.get(name) else {
            let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
            match stands {
                Some(known) => _ = strangers.insert(name.to_owned(), known),
                None => _ = strangers.remove(name),
            }
            return Met::Done;
        };
        let agreed = stands.as_ref().map(|known| &known.agreed);
        match Agreed::meet(agreed, session.node(), &own.file) {
            Meeting::Write(next) => {
                let expect = stands.map(|known| known.version);
                return self.write(session, name, expect, next).await;
            }
            Meeting::Differs => {
                let version = stands.as_ref().map_or(0, |known| known.version);
                if self.complains(name, version) {
                    metrics::counter!("carillon_service_config_differs_total", "service" => name.to_owned())
                        .increment(1);
                    tracing::warn!(
                        service = name,
                        "this node's file says otherwise than the cluster's record, which counts: \
                         change kinds, dialect, order, batch or from in the file of one node to change it for all"
                    );
                }
            }
            Meeting::Same => {}
        }
        if let Some(known) = stands {
            self.publish(name, known);
        }
        Met::Done
    }

    /// Writes a record in place of the one that has version `expect`.
    async fn write(&self, session: &Session, name: &str, expect: Option<u64>, next: Agreed) -> Met {
        let agreed = next.written(rand::random());
        let (key, data) = (key(name), Some(agreed.encode()));
        match session.cas(Cas { key, expect, data }).await {
            Ok(Ok(version)) => {
                self.publish(name, Known { version, agreed });
                Met::Done
            }
            // Somebody was faster, or nobody knows: what stands there says so.
            Ok(Err(_)) | Err(registry::Error::Unknown) => Met::Again,
            Err(error) => {
                tracing::warn!(service = name, %error, "the record of the service cannot be written");
                Met::Away
            }
        }
    }

    /// Changes a record as `change` says, if it says so. Nothing without a registry.
    ///
    /// # Errors
    /// [`WishError::Unknown`] when there is no record, [`WishError::Away`], [`WishError::Broken`].
    pub(crate) async fn change(
        &self,
        name: &str,
        change: impl Fn(&Agreed) -> Option<Agreed>,
    ) -> Result<(), WishError> {
        if self.is_absent() {
            return Ok(());
        }
        let _one = self.looking.lock().await;
        let Access::There(session) = self.desk.registry() else { return Err(WishError::Away) };
        for _try in 0..TRIES_MAX {
            let stands = session.get(&key(name)).await.map_err(|_error| WishError::Away)?;
            let value = stands.ok_or_else(|| Unknown(name.to_owned()))?;
            let broken = |error: crate::agreed::InvalidAgreed| WishError::Broken(error.to_string());
            let agreed = Agreed::decode(&value.data).map_err(broken)?;
            if agreed.forgotten {
                return Err(Unknown(name.to_owned()).into());
            }
            let Some(next) = change(&agreed) else {
                self.publish(name, Known { version: value.version, agreed });
                return Ok(());
            };
            match self.write(&session, name, Some(value.version), next).await {
                Met::Done => return Ok(()),
                Met::Away => return Err(WishError::Away),
                Met::Again => {}
            }
        }
        Err(WishError::Away)
    }

    fn publish(&self, name: &str, known: Known) {
        match self.own.get(name) {
            Some(own) => {
                own.told.send_if_modified(|told| {
                    let news = told.as_ref() != Some(&known);
                    *told = Some(known);
                    news
                });
            }
            None => {
                let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
                strangers.insert(name.to_owned(), known);
            }
        }
    }

    /// Whether nobody was told of this version of a record yet.
    fn complains(&self, name: &str, version: u64) -> bool {
        let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        complained.insert(name.to_owned(), version) != Some(version)
    }

    /// Follows the records until the node stops.
    pub(crate) async fn follow(self: Arc<Self>, stop: Stop) {
        tokio::select! { biased;
            () = stop.stopped() => {}
            () = self.following() => {}
        }
    }

    async fn following(&self) {
        loop {
            let Access::There(session) = self.desk.registry() else {
                runtime::sleep(SESSION).await;
                continue;
            };
            // Watched before it is read, so that nothing is missed in between.
            let (mut watch, mut state) = (session.watch(SERVICES), session.state());
            drop(session);
            let mut keys = None;
            loop {
                let whole = match keys.take() {
                    None => self.look_at_all().await,
                    Some(keys) => self.look_at(&keys).await,
                };
                let pause = if whole { LOOK_EVERY } else { AGAIN };
                tokio::select! {
                    changed = watch.changed() => match changed {
                        Some(changed) if whole => keys = Some(changed),
                        Some(_) => {}
                        None => break,
                    },
                    changed = state.changed() => if changed.is_err() { break },
                    () = runtime::sleep(pause) => {}
                }
            }
            runtime::sleep(AGAIN).await;
        }
    }

    /// All records, whoever's.
    async fn look_at_all(&self) -> bool {
        let Access::There(session) = self.desk.registry() else { return false };
        let Ok(found) = session.list(SERVICES).await else { return false };
        drop(session);
        let mut names: BTreeSet<String> = self.own.keys().cloned().collect();
        names.extend(self.strangers().into_iter().map(|(name, _)| name));
        let records = found.iter().filter_map(|(key, _)| parts(key));
        names.extend(records.filter(|(_, below)| below.is_none()).map(|(name, _)| name.to_owned()));
        let mut whole = true;
        for name in &names {
            whole &= self.look(name).await;
            if let Some(own) = self.own.get(name) {
                own.stirred.notify_one();
            }
        }
        whole
    }

    async fn look_at(&self, keys: &BTreeSet<String>) -> bool {
        let mut whole = true;
        for (name, below) in keys.iter().filter_map(|key| parts(key)) {
            match below {
                None => whole &= self.look(name).await,
                Some(_) => self.own.get(name).into_iter().for_each(|own| own.stirred.notify_one()),
            }
        }
        whole
    }

    /// Tells the partitions that this node leads of services that it has no section for, until the node stops: what
    /// concerns them is the log's, whoever leads.
    pub(crate) async fn keep_books(self: Arc<Self>, stop: Stop) {
        let mut waits = BTreeSet::new();
        loop {
            tokio::select! { biased;
                () = stop.stopped() => return,
                () = runtime::sleep(CLERK_EVERY) => {}
            }
            for (name, agreed) in self.strangers() {
                let pending = self.tell_partitions(&name, &agreed).await;
                if pending == 0 {
                    waits.remove(&name);
                } else if !agreed.forgotten && waits.insert(name.clone()) {
                    tracing::error!(
                        service = name,
                        pending,
                        "ALARM: this node leads what is owed to a service that its file does not have: \
                         it waits. Add [services.{name}], or say carillon service forget {name}"
                    );
                }
            }
        }
    }

    /// What a service is owed in the partitions that this node leads, after they were told of it.
    async fn tell_partitions(&self, name: &str, agreed: &Agreed) -> u64 {
        let mut pending = 0;
        for partition in self.desk.partitions().all() {
            let Some(epoch) = self.desk.leads(partition) else { continue };
            let mut changes = None;
            let mut owed = 0;
            self.desk.owed(partition, epoch, &mut |outbox| {
                let booked = outbox.service(name);
                owed = booked.map_or(0, |booked| booked.lane.pending());
                let dead = booked.map_or(0, |booked| booked.lane.dead.len());
                let record = booked.map(|booked| &booked.record);
                changes = agreed.changes(name, record).map(|changes| (changes, dead));
            });
            pending += owed;
            let Some((changes, dead)) = changes else { continue };
            let told = crate::working::append(&*self.desk, partition, epoch, changes).await;
            if told && agreed.forgotten {
                pending -= owed;
                metrics::counter!("carillon_service_abandoned_total", "service" => name.to_owned())
                    .increment(owed);
                tracing::warn!(service = name, %partition, owed, dead,
                    "the service is forgotten: what it was owed here is given up");
            }
        }
        pending
    }
}

/// What came of meeting a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    Done,
    /// Somebody was faster.
    Again,
    Away,
}
