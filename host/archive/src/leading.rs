//! One request, answered by the node that leads its partition.
//!
//! A decision follows from everything that was decided before, committed or not; so what is appended and not
//! committed counts, and an answer that follows from it is only given when that is committed too.

use std::collections::BTreeSet;

use hashring::PartitionId;
use replication::core::{Outcome as Committed, PartitionView, Role, Why};
use runtime::Instant;
use segment::archive::{
    Fact, Final, ReadError, Standing, UnifiedId, UnifiedIds, Version, versions, visible,
};

use crate::decide::{Decision, Known, decide, events};
use crate::lane::is_given_up_here;
use crate::question::{Answer, Ask, Holder, Reply};
use crate::reign::{Appended, Reign, note};
use crate::request::{Name, is_whole_chat};
use crate::shared::Shared;
use crate::{Code, Found, Part, Refusal};

/// So many entries about objects of one partition wait to be committed and applied at most: each is an
/// answer somebody waits for, and may bring 64 KiB.
const PENDING_MAX: usize = 256;

/// Why a request has no answer yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// This.
    Refused(Refusal),
    /// This node leads no more, or not yet. Whether something was appended is told.
    Moved {
        /// It may become true.
        appended: bool,
    },
}

impl From<Refusal> for Interrupt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Shared {
    /// Answers another node's question, if this one leads the partition.
    pub(crate) async fn answer_here(
        &self,
        partition: PartitionId,
        ask: Ask,
        until: Instant,
    ) -> Answer {
        let view = self.replication.view(partition);
        let reign = (view.role == Role::Primary).then(|| self.reign(partition, view.epoch));
        let Some(reign) = reign.flatten() else {
            return Answer::Elsewhere(view.primary.clone().filter(|node| *node != self.node));
        };
        match self.lead(&reign, &ask, until).await {
            Ok(reply) => Answer::Done(Ok(reply)),
            Err(Interrupt::Refused(refusal)) => Answer::Done(Err(refusal)),
            Err(Interrupt::Moved { appended: false }) => Answer::Elsewhere(None),
            Err(Interrupt::Moved { appended: true }) => Answer::Done(Err(Refusal::unknown(
                "the node that led the partition does so no more",
            ))),
        }
    }

    /// Answers a request in a reign of this node.
    pub(crate) async fn lead(
        &self,
        reign: &Reign,
        ask: &Ask,
        until: Instant,
    ) -> Result<Reply, Interrupt> {
        self.begun(reign, until).await?;
        match ask {
            Ask::Find { name, version } => self.find_here(reign, name, *version, until).await,
            Ask::Delete { name, target, .. } if is_whole_chat(name) => {
                let left = Box::pin(self.take_along(reign, name, *target, until)).await?;
                let reply = self.decide_here(reign, ask, until).await?;
                if let Some(chat) = left {
                    Box::pin(self.take_left(reign, chat, until)).await?;
                }
                Ok(reply)
            }
            _ => self.decide_here(reign, ask, until).await,
        }
    }

    /// Waits until this node knows the objects of a partition that it leads.
    pub(crate) async fn begun(&self, reign: &Reign, until: Instant) -> Result<(), Interrupt> {
        match runtime::timeout(left(until), reign.until(reign.opened)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Interrupt::Moved { appended: false }),
            Err(_late) => {
                let detail = "the node that leads the partition does not know its objects yet";
                Err(Refusal::not_committed(Code::NotReady, detail).into())
            }
        }
    }

    pub(crate) async fn decide_here(
        &self,
        reign: &Reign,
        ask: &Ask,
        until: Instant,
    ) -> Result<Reply, Interrupt> {
        let commit = self.replication.commit();
        let mut appended = reign.appended.lock().await;
        let view = self.replication.view(reign.partition);
        match view.admits(commit) {
            Ok(()) => {}
            Err(Why::NotLeading | Why::Deposed | Why::HandingOver) => {
                return Err(Interrupt::Moved { appended: false });
            }
            Err(Why::Full) => {
                let detail = "the disks of the log are full";
                return Err(Refusal::not_committed(Code::StorageFull, detail).into());
            }
            Err(why) => {
                let detail = format!("nothing can be stored now: {why:?}");
                return Err(Refusal::not_committed(Code::NoQuorum, detail).into());
            }
        }
        if appended.pending.len() >= PENDING_MAX {
            let detail = "too many objects of this partition wait to be stored";
            return Err(Refusal::not_committed(Code::Overloaded, detail).into());
        }
        let mut known = self.known(&appended, ask, members(&view)).await?;
        if matches!(ask, Ask::Start { .. }) {
            known.unfinished = self.unfinished(reign.partition, &mut appended).await?;
        }
        let ids = self.ids(reign.partition, &mut appended).await?;
        let (entry, reply) = match decide(ask, &known, ids) {
            Decision::Append(entry, reply) => (entry, reply),
            decision => {
                // What it follows from may still be withdrawn.
                let last = appended.pending.back().map_or(reign.opened, |(seq, _)| *seq);
                drop(appended);
                self.settled(reign, last, until).await?;
                return match decision {
                    Decision::Refuse(refusal) => Err(refusal.into()),
                    Decision::Again(reply) | Decision::Append(_, reply) => Ok(reply),
                };
            }
        };
        let payload = entry.encode();
        if payload.len() > replication::ENTRY_BYTES_MAX {
            return Err(Refusal::not_committed(Code::TooLarge, "the entry is too large").into());
        }
        let placed = self.append.append(reign.partition, reign.epoch, payload, commit);
        let Some((seq, answer)) = placed else {
            return Err(Interrupt::Moved { appended: false });
        };
        if reign.push(&mut appended, seq, *entry) {
            self.is_ready(reign.partition);
        }
        drop(appended);
        let wait = left(until).min(self.config.timeout);
        match runtime::timeout(wait, answer).await {
            Ok(Ok(Committed::Quorum { .. } | Committed::Done)) => {}
            Ok(Ok(Committed::NotCommitted(_))) => {
                // What was counted on is not in the log.
                reign.closed.stop();
                self.append.give_up(reign.partition, reign.epoch);
                return Err(Interrupt::Moved { appended: false });
            }
            Ok(Ok(Committed::Unknown(_) | Committed::Local { .. }) | Err(_)) => {
                return Err(Interrupt::Moved { appended: true });
            }
            Err(_late) => return Err(Refusal::unknown("it was not stored in time").into()),
        }
        self.settled(reign, seq, until).await?;
        Ok(reply)
    }

    /// Waits until everything up to `seq` is committed and can be seen here.
    async fn settled(&self, reign: &Reign, seq: u64, until: Instant) -> Result<(), Interrupt> {
        match runtime::timeout(left(until), reign.until(seq)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Interrupt::Moved { appended: true }),
            Err(_late) => Err(Refusal::unknown("it could not be seen in time").into()),
        }
    }

    /// What a decision follows from: what is in this node's archive, and what is not yet.
    async fn known(
        &self,
        appended: &Appended,
        ask: &Ask,
        members: Vec<Holder>,
    ) -> Result<Known, Refusal> {
        let (name, upload, node, collection) = match ask {
            Ask::Collection { name, .. } => (None, None, None, Some(name.clone())),
            Ask::Final(proposal) => {
                let upload = proposal.upload.clone();
                (Some(proposal.name.clone()), Some(upload.clone()), Some(upload.node), None)
            }
            Ask::Delete { name, .. }
            | Ask::Start { name, .. }
            | Ask::Finish { name, .. }
            | Ask::Abort { name, .. }
            | Ask::GiveUp { name, .. }
            | Ask::Find { name, .. } => (Some(name.clone()), None, None, None),
            Ask::Cancel { upload } => (None, Some(upload.clone()), Some(upload.node.clone()), None),
            Ask::Fence { node, .. } => (None, None, Some(node.clone()), None),
        };
        let pending: Vec<Fact> =
            appended.pending.iter().map(|(_, entry)| entry.fact.clone()).collect();
        let engine = self.engine.clone();
        let look = move || -> Result<Known, ReadError> {
            let mut known = Known::default();
            if let Some(Name { collection, key }) = &name {
                known.facts = engine.facts(collection, key)?;
                let of = |fact: &&Fact| {
                    fact.at().is_some_and(|at| at.collection == *collection && at.key == *key)
                };
                known.facts.extend(pending.iter().filter(of).cloned());
            }
            if let Some(upload) = &upload {
                known.upload = engine.facts_of_upload(upload)?;
                // This node may have dropped out of it while enough others have not.
                known.upload.retain(|fact| !is_given_up_here(fact));
                let of = |fact: &&Fact| fact.upload() == Some(upload);
                known.upload.extend(pending.iter().filter(of).cloned());
            }
            if let Some(node) = &node {
                let fences = pending.iter().filter_map(|fact| match fact {
                    Fact::WriterStarted { node: of, boot, .. } if of == node => Some(*boot),
                    _ => None,
                });
                known.fence = fences.max().unwrap_or(0).max(engine.fence(node)?);
            }
            if let Some(collection) = &collection {
                let made = pending.iter().find_map(|fact| match fact {
                    Fact::Collection { name, versioning, .. } if name == collection => {
                        Some(*versioning)
                    }
                    _ => None,
                });
                known.versioning = made.or_else(|| engine.versioning(collection));
                known.collections = engine.collections();
            }
            Ok(known)
        };
        let looked = runtime::blocking(look).await.ok_or_else(stopping)?;
        let mut known = looked.map_err(|error| unreadable(&error))?;
        known.members = members;
        known.commit = self.commit();
        known.now_ms = runtime::wall_ms();
        Ok(known)
    }

    /// What makes the versions of a partition: above everything that it ever made.
    async fn ids<'a>(
        &self,
        partition: PartitionId,
        appended: &'a mut Appended,
    ) -> Result<&'a mut UnifiedIds, Refusal> {
        let ids = match appended.ids.take() {
            Some(ids) => ids,
            None => {
                let engine = self.engine.clone();
                let highest = runtime::blocking(move || engine.highest(partition.0)).await;
                let highest = highest.ok_or_else(stopping)?;
                let highest = highest.map_err(|error| unreadable(&error))?;
                let mut ids = UnifiedIds::new(partition.0);
                ids.observe(highest.unwrap_or_default());
                ids
            }
        };
        Ok(appended.ids.insert(ids))
    }

    /// How many archives of parts are begun and not ended.
    async fn unfinished(
        &self,
        partition: PartitionId,
        appended: &mut Appended,
    ) -> Result<usize, Refusal> {
        if let Some(unfinished) = &appended.unfinished {
            return Ok(unfinished.len());
        }
        let engine = self.engine.clone();
        let begun = runtime::blocking(move || engine.unfinished(partition.0)).await;
        let begun = begun.ok_or_else(stopping)?.map_err(|error| unreadable(&error))?;
        let mut unfinished: BTreeSet<UnifiedId> = begun.iter().map(|at| at.version).collect();
        for (_, entry) in &appended.pending {
            note(&mut unfinished, &entry.fact);
        }
        Ok(appended.unfinished.insert(unfinished).len())
    }

    /// What a key shows, or a version of it.
    pub(crate) async fn find_here(
        &self,
        reign: &Reign,
        name: &Name,
        version: Option<UnifiedId>,
        until: Instant,
    ) -> Result<Reply, Interrupt> {
        let committed = reign.committed.load(std::sync::atomic::Ordering::SeqCst);
        let appended = reign.appended.lock().await;
        let last = appended.pending.iter().map(|(seq, _)| *seq).filter(|seq| *seq <= committed);
        let last = last.max().unwrap_or(reign.opened);
        drop(appended);
        self.settled(reign, last, until).await.map_err(|interrupt| match interrupt {
            Interrupt::Moved { .. } => Interrupt::Moved { appended: false },
            Interrupt::Refused(_) => {
                Refusal::new(Code::NotReady, "what is stored cannot be seen yet").into()
            }
        })?;
        let engine = self.engine.clone();
        let wanted = name.clone();
        let looked = runtime::blocking(move || {
            let facts = engine.facts(&wanted.collection, &wanted.key)?;
            Ok::<_, ReadError>((engine.versioning(&wanted.collection), facts))
        });
        let looked = looked.await.ok_or_else(stopping)?;
        let (versioning, facts) = looked.map_err(|error| unreadable(&error))?;
        // Whoever stood still for a while may not know that another one leads, and what that one deleted or replaced: what
        // was seen is only told when nobody else could lead by then.
        if !self.config.sabotage.read_unconfirmed {
            self.confirm(reign, until).await?;
        }
        let found = versioning.and_then(|versioning| {
            let mut seen = visible(versioning, &events(&facts));
            seen.retain(|found| version.is_none_or(|version| found.id == version));
            seen.pop()
        });
        if let Some(found) = found {
            let members = self.replication.view(reign.partition).ensemble.clone();
            let found = described(name, &facts, &found, members);
            return Ok(Reply::Found(Box::new(found)));
        }
        let incomplete = versioning.is_some_and(|versioning| {
            versions(versioning, &events(&facts)).iter().any(|found| {
                found.standing == Standing::Incomplete
                    && version.is_none_or(|version| found.id == version)
            })
        });
        if incomplete {
            return Err(Refusal::new(Code::Damaged, "parts of it are not known here").into());
        }
        Err(match version {
            None => Refusal::new(Code::NotFound, "there is no such key"),
            Some(version) => {
                let detail = format!("the key has no version {version}");
                Refusal::new(Code::UnknownVersion, detail)
            }
        }
        .into())
    }

    /// Makes sure that this node leads, as of now.
    pub(crate) async fn confirm(&self, reign: &Reign, until: Instant) -> Result<(), Interrupt> {
        let asked = self.replication.confirm(reign.partition);
        match runtime::timeout(left(until), asked).await {
            Ok(Committed::Done) if !reign.closed.is_stopped() => Ok(()),
            Ok(_) => Err(Interrupt::Moved { appended: false }),
            Err(_late) => {
                let detail = "too few nodes have confirmed in time who leads the partition";
                Err(Refusal::new(Code::NotReady, detail).into())
            }
        }
    }
}

/// Who should hold a partition, and in which store.
fn members(view: &PartitionView) -> Vec<Holder> {
    view.members().map(|(node, store)| Holder { node: node.clone(), store }).collect()
}

/// How much time is left.
pub(crate) fn left(until: Instant) -> std::time::Duration {
    until.saturating_duration_since(runtime::now())
}

/// A version as it is told.
pub(crate) fn described(
    name: &Name,
    facts: &[Fact],
    version: &Version,
    members: Vec<hashring::NodeId>,
) -> Found {
    let made: Vec<&Final> = version
        .parts
        .iter()
        .filter_map(|at| facts.iter().filter(|fact| fact.event().is_some()).nth(*at))
        .filter_map(|fact| match fact {
            Fact::Final(made) => Some(made),
            _ => None,
        })
        .collect();
    Found {
        key: name.key.clone(),
        version: version.id,
        size: version.size,
        time_ms: version.time_ms,
        conjoined: made.first().is_some_and(|made| made.part > 0),
        meta: made.first().map(|made| made.meta.clone()).unwrap_or_default(),
        parts: made.into_iter().map(part).collect(),
        members,
    }
}

/// What a segment is made of, and who has it.
pub(crate) fn part(made: &Final) -> Part {
    Part {
        upload: made.upload.clone(),
        part: made.part,
        sequences: made.sequences,
        size: made.size,
        md5: made.md5,
        adler32: made.adler32,
        table: made.table,
        holders: made.holders.clone(),
    }
}

pub(crate) fn stopping() -> Refusal {
    Refusal::new(Code::NotReady, "this node is stopping")
}

pub(crate) fn unreadable(error: &ReadError) -> Refusal {
    tracing::error!(error = error as &dyn std::error::Error, "the archive's index cannot be read");
    Refusal::new(Code::NotReady, "this node cannot read what it knows of the archive")
}
