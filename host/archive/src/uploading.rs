//! An upload, as the node that the client talks to coordinates it.
//!
//! What comes is cut into sequences and given to all members at once; the slowest sets the pace, until enough
//! go on without it. When enough of them hold everything, the primary is asked to make it a version. A small
//! object goes with that question, and needs no member to hold it.
//!
//! Whatever ends an upload before it was asked for gives it up everywhere. Once it was asked for, only the log
//! says what became of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hashring::{NodeId, PartitionId};
use segment::archive::{Digesting, META_BYTES_MAX, SEGMENT_BYTES_MAX, Table, Upload, Versioning};
use tokio::sync::mpsc;

use crate::archive::Archive;
use crate::body::Coming;
use crate::cutting::Cutting;
use crate::gather::{Some1, gather};
use crate::lane::{GIVE_MAX, HOLD_MAX, Lane, Lost, Sheet, Sum};
use crate::question::{Ask, Begin, Holder, Proposal, Reply};
use crate::shared::{Shared, locked, misplaced, told};
use crate::{Body, Code, Outcome, Put, Refusal, Stored, meters, place};

/// An object of at most so many bytes goes with its entry.
pub const ENTIRE_BYTES_MAX: u64 = 64 << 10;
/// So long the primary is asked to make an upload a version.
const FINAL_MAX: Duration = Duration::from_secs(30);
/// So long the partition may have no members that are known.
const MEMBERS_MAX: Duration = Duration::from_secs(5);
/// So long a member may take to begin.
const OPEN_MAX: Duration = Duration::from_secs(5);

impl Archive {
    /// Stores an object, or a part of one. Dropping the future gives it up, unless it was about to become
    /// true.
    ///
    /// # Errors
    /// [`Code::UnknownCollection`], [`Code::SizeMismatch`], [`Code::Md5Mismatch`], [`Code::TooLarge`],
    /// [`Code::Timeout`], [`Code::UnknownVersion`] and [`Code::AlreadyFinal`] of parts,
    /// [`Code::IdempotencyConflict`], [`Code::StorageFull`] and those of every request.
    pub async fn put(&self, put: Put, body: &mut dyn Body) -> Result<Stored, Refusal> {
        told(self.shared.put(put, body).await)
    }
}

impl Shared {
    async fn put(self: &Arc<Self>, put: Put, body: &mut dyn Body) -> Result<Stored, Refusal> {
        let meta: usize = put.meta.iter().map(|(name, value)| name.len() + value.len()).sum();
        if meta > META_BYTES_MAX {
            let detail = format!("metadata of {meta} bytes, at most {META_BYTES_MAX} are kept");
            return Err(Refusal::new(Code::InvalidRequest, detail));
        }
        if put.size > SEGMENT_BYTES_MAX {
            let detail = format!("at most {SEGMENT_BYTES_MAX} bytes at once: send it in parts");
            return Err(Refusal::new(Code::TooLarge, detail));
        }
        let partition = place::of_name(self.replication.partitions(), &put.name)?;
        let until = runtime::now() + self.config.timeout;
        let versioning = self.versioned(&put.name.collection, until).await?;
        let Ok(_one) = self.uploads.try_acquire() else {
            let detail = "this node has as many uploads as it can";
            return Err(Refusal::not_committed(Code::Overloaded, detail));
        };
        let upload = UnderWay::begin(self);
        let at = At { partition, versioning, upload: upload.upload.clone() };
        let mut body = Coming::new(body, put.size, self.config.silence);
        let (entire, size) = (put.size <= ENTIRE_BYTES_MAX, put.size);
        let stored = match entire {
            true => self.put_entire(&put, at, &mut body).await,
            false => self.put_streamed(&put, at, &mut body).await,
        };
        if stored.is_ok() {
            meters::stored(size, entire);
        }
        stored
    }

    async fn put_entire(
        self: &Arc<Self>,
        put: &Put,
        at: At,
        body: &mut Coming<'_>,
    ) -> Result<Stored, Refusal> {
        // No more than it says may come, and that is little.
        let mut data = BytesMut::with_capacity(usize::try_from(put.size).unwrap_or(0));
        while let Some(bytes) = body.next().await? {
            data.extend_from_slice(&bytes);
        }
        let mut digesting = Digesting::new();
        digesting.push(&data);
        let (size, (md5, adler32)) = (digesting.size(), digesting.finish());
        is_as_said(put, md5)?;
        let (table, sequences) = match data.is_empty() {
            true => (Table::EMPTY, 0),
            false => (Table::EMPTY.with(size, md5, adler32), 1),
        };
        let sum = Sum { size, md5, adler32, table, time_ms: runtime::wall_ms() };
        let proposal = proposal(put, &at, sum, sequences, Vec::new(), Some(data.freeze()));
        self.finalise(at, proposal).await
    }

    async fn put_streamed(
        self: &Arc<Self>,
        put: &Put,
        at: At,
        body: &mut Coming<'_>,
    ) -> Result<Stored, Refusal> {
        let begin = Begin {
            upload: at.upload.clone(),
            name: put.name.clone(),
            versioning: at.versioning,
            part: put.part.map_or(0, |(_, part)| part),
            size: put.size,
        };
        let mut lanes = Lanes::open(self, at.partition, &begin).await?;
        let Given { sequences, table, whole } = self.give_all(&mut lanes, body).await?;
        let (size, (md5, adler32)) = (whole.size(), whole.finish());
        is_as_said(put, md5)?;
        let sum = Sum { size, md5, adler32, table, time_ms: runtime::wall_ms() };
        let held = match self.config.sabotage.final_before_held {
            true => Ok(lanes.hold_later(self, at.partition, sum)),
            false => lanes.hold(sum).await,
        };
        // From here on the members know what only the log may decide.
        let held = match held {
            Ok(held) => held,
            Err(refusal) => {
                self.cancel_later(&at);
                return Err(refusal);
            }
        };
        let proposal = proposal(put, &at, sum, sequences, held, None);
        self.finalise(at, proposal).await
    }

    /// Gives all that comes to the lanes: a sequence comes while the one before is digested and given.
    async fn give_all(
        self: &Arc<Self>,
        lanes: &mut Lanes,
        body: &mut Coming<'_>,
    ) -> Result<Given, Refusal> {
        let (came, mut cuts) = mpsc::channel(1);
        let cutting = async {
            let mut cutting = Cutting::new(self, body);
            // No memory is taken for a sequence before the one that came last has its turn. An error is the other
            // side's, which tells it.
            while let Ok(turn) = came.reserve().await {
                let Some(cut) = cutting.next().await? else { break };
                turn.send(cut);
            }
            drop(came);
            Ok(())
        };
        let giving = async {
            let mut given = Given { sequences: 0, table: Table::EMPTY, whole: Digesting::new() };
            while let Some(cut) = cuts.recv().await {
                let stopping = || Refusal::not_committed(Code::NotReady, "this node is stopping");
                let (sheet, whole) = cut.digested(self, given.whole).await.ok_or_else(stopping)?;
                let slice = &sheet.slice;
                let table = given.table.with(slice.size, slice.md5, slice.adler32);
                given = Given { sequences: given.sequences + 1, table, whole };
                lanes.give(&sheet).await?;
            }
            Ok(given)
        };
        tokio::try_join!(cutting, giving).map(|((), given)| given)
    }

    /// Asks the primary to make it a version. That goes on when nobody waits any more: what was asked for
    /// must be asked for to the end.
    async fn finalise(self: &Arc<Self>, at: At, proposal: Proposal) -> Result<Stored, Refusal> {
        let shared = Arc::clone(self);
        let (told, answer) = tokio::sync::oneshot::channel();
        self.tasks.spawn("archive-final", async move {
            let _under_way = UnderWay::of(&shared, at.upload.clone());
            let until = runtime::now() + FINAL_MAX;
            let streamed = proposal.data.is_none();
            let asked = shared.ask(at.partition, Ask::Final(Box::new(proposal)), until);
            let stop = shared.tasks.stop().clone();
            let done = tokio::select! { biased;
                () = stop.stopped() => Err(Refusal::unknown("this node is stopping")),
                done = asked => done,
            };
            if done.is_err() && streamed && !stop.is_stopped() {
                shared.cancel_later(&at);
            }
            // Nobody may wait any more.
            drop(told.send(done));
        });
        match answer.await {
            Ok(Ok(Reply::Stored(stored))) => Ok(stored),
            Ok(Ok(_)) => Err(misplaced()),
            Ok(Err(refusal)) => Err(refusal),
            Err(_gone) => Err(Refusal::unknown("this node is stopping")),
        }
    }

    /// Sees to it that an upload never becomes a version, if it is none by then.
    pub(crate) fn cancel_later(self: &Arc<Self>, at: &At) {
        let (shared, at) = (Arc::clone(self), at.clone());
        self.tasks.spawn("archive-cancel", async move {
            let ask = Ask::Cancel { upload: at.upload.clone() };
            let until = runtime::now() + FINAL_MAX;
            let stop = shared.tasks.stop().clone();
            tokio::select! { biased;
                () = stop.stopped() => {}
                done = shared.ask(at.partition, ask, until) => {
                    if let Err(refusal) = done {
                        tracing::warn!(upload = %at.upload, %refusal, "not given up yet: members ask again");
                    }
                }
            }
        });
    }

    /// Who should hold a partition.
    async fn members(&self, partition: PartitionId) -> Result<Vec<NodeId>, Refusal> {
        let until = runtime::now() + MEMBERS_MAX;
        loop {
            let view = self.replication.view(partition);
            if view.ensemble.len() >= self.commit() {
                return Ok(view.ensemble.clone());
            }
            if runtime::now() >= until {
                let detail = "the partition has no members yet";
                return Err(Refusal::not_committed(Code::NotReady, detail));
            }
            tokio::select! { biased;
                () = self.replication.view_changed(partition, &view) => {}
                () = runtime::sleep_until(until) => {}
            }
        }
    }
}

/// Where an upload goes.
#[derive(Clone, Debug)]
pub(crate) struct At {
    pub(crate) partition: PartitionId,
    pub(crate) versioning: Versioning,
    pub(crate) upload: Upload,
}

fn proposal(
    put: &Put,
    at: &At,
    sum: Sum,
    sequences: u32,
    held: Vec<Holder>,
    data: Option<Bytes>,
) -> Proposal {
    Proposal {
        upload: at.upload.clone(),
        name: put.name.clone(),
        versioning: at.versioning,
        part: put.part,
        sequences,
        size: sum.size,
        md5: sum.md5,
        adler32: sum.adler32,
        table: sum.table,
        meta: put.meta.clone(),
        repeat: put.repeat.clone(),
        held,
        data,
    }
}

fn is_as_said(put: &Put, found: segment::archive::Md5) -> Result<(), Refusal> {
    match put.md5 {
        Some(said) if said != found => {
            let detail = format!("the bytes have MD5 {found}, {said} was said");
            Err(Refusal::new(Code::Md5Mismatch, detail))
        }
        _ => Ok(()),
    }
}

/// While it is there, this node is at an upload.
struct UnderWay<'a> {
    shared: &'a Shared,
    upload: Upload,
}

impl<'a> UnderWay<'a> {
    fn begin(shared: &'a Shared) -> Self {
        Self::of(shared, shared.upload())
    }

    fn of(shared: &'a Shared, upload: Upload) -> Self {
        *locked(&shared.under_way).entry(upload.count).or_default() += 1;
        Self { shared, upload }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut under_way = locked(&self.shared.under_way);
        if let Some(users) = under_way.get_mut(&self.upload.count) {
            *users -= 1;
            if *users == 0 {
                under_way.remove(&self.upload.count);
            }
        }
    }
}

/// What was given to the lanes.
struct Given {
    sequences: u32,
    table: Table,
    whole: Digesting,
}

/// The lanes of an upload.
struct Lanes {
    lanes: Vec<Lane>,
    commit: usize,
    slack: Duration,
    lost: Vec<Lost>,
}

impl Lanes {
    async fn open(
        shared: &Arc<Shared>,
        partition: PartitionId,
        begin: &Begin,
    ) -> Result<Self, Refusal> {
        let members = shared.members(partition).await?;
        let opening: Vec<Some1<'_, Result<Lane, Lost>>> = members
            .into_iter()
            .map(|node| Box::pin(Lane::open(shared, node, begin)) as Some1<'_, _>)
            .collect();
        let (commit, slack) = (shared.commit(), shared.config.slack);
        let opened = gather(opening, commit, Result::is_ok, slack, OPEN_MAX).await;
        let mut lanes = Self { lanes: Vec::new(), commit, slack, lost: Vec::new() };
        for opened in opened {
            match opened {
                Some(Ok(lane)) => lanes.lanes.push(lane),
                Some(Err(lost)) => lanes.lost.push(lost),
                None => {}
            }
        }
        lanes.enough()?;
        Ok(lanes)
    }

    /// Gives a sequence to all. Who does not take it, while enough others do, is dropped.
    async fn give(&mut self, sheet: &Arc<Sheet>) -> Result<(), Refusal> {
        let giving: Vec<Some1<'_, bool>> = self
            .lanes
            .iter()
            .map(|lane| Box::pin(lane.give(Arc::clone(sheet))) as Some1<'_, _>)
            .collect();
        let given = gather(giving, self.commit, |given| *given, self.slack, GIVE_MAX).await;
        self.keep(&given);
        self.enough()
    }

    /// Lets all hold what they have; who does, and in which store, is told.
    async fn hold(&mut self, sum: Sum) -> Result<Vec<Holder>, Refusal> {
        let holding: Vec<Some1<'_, Option<u64>>> =
            self.lanes.iter().map(|lane| Box::pin(lane.hold(sum)) as Some1<'_, _>).collect();
        let held = gather(holding, self.commit, Option::is_some, self.slack, HOLD_MAX).await;
        let stores: Vec<Option<u64>> = held.into_iter().map(Option::flatten).collect();
        let lanes = self.lanes.iter().zip(&stores);
        let held = lanes.filter_map(|(lane, store)| {
            store.map(|store| Holder { node: lane.node.clone(), store })
        });
        let held = held.collect();
        let kept: Vec<Option<bool>> = stores.iter().map(|store| Some(store.is_some())).collect();
        self.keep(&kept);
        self.enough()?;
        Ok(held)
    }

    /// A rule broken on purpose: all members are taken to hold what they have not said they do.
    fn hold_later(mut self, shared: &Arc<Shared>, partition: PartitionId, sum: Sum) -> Vec<Holder> {
        let view = shared.replication.view(partition);
        let has = |node: &NodeId| self.lanes.iter().any(|lane| lane.node == *node);
        let members = view.members().filter(|(node, _)| has(node));
        let held = members.map(|(node, store)| Holder { node: node.clone(), store }).collect();
        shared.tasks.spawn("archive-hold", async move { drop(self.hold(sum).await) });
        held
    }

    fn keep(&mut self, done: &[Option<bool>]) {
        let mut done = done.iter().map(|done| *done == Some(true));
        let lost = &mut self.lost;
        self.lanes.retain(|lane| {
            let keeps = done.next().unwrap_or(false);
            if !keeps {
                meters::dropped();
                tracing::warn!(node = %lane.node, lost = ?lane.lost(), "a member drops out of an upload");
                lost.extend(lane.lost());
            }
            keeps
        });
    }

    fn enough(&self) -> Result<(), Refusal> {
        if self.lanes.len() >= self.commit {
            return Ok(());
        }
        let why: Vec<&str> = self.lost.iter().map(|lost| lost.why.as_str()).collect();
        let why = why.join("; ");
        let detail = format!(
            "{} of the nodes that should have the bytes take them, {} must: {why}",
            self.lanes.len(),
            self.commit
        );
        let full = self.lost.iter().any(|lost| lost.full);
        let code = if full { Code::StorageFull } else { Code::NoQuorum };
        Err(Refusal { outcome: Some(Outcome::NotCommitted), ..Refusal::new(code, detail) })
    }
}
