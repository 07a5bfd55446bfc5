//! The handle: what is asked of the archive, and what it is told of partitions and other nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hashring::{NodeId, PartitionId};
use model::ChatToken;
use replication::core::Outcome;
use replication::{Answering, NotRun, RequestHead, Stream, Streaming};
use runtime::{Instant, Tasks};
use segment::LogEnd;
use segment::archive::{self as engine, CollectionName, UnifiedId, Usage, Versioning};
use tokio::sync::oneshot;

use crate::ground::Ground;
use crate::leading::{stopping, unreadable};
use crate::question::{Ask, Question, Reply, Stream as Opening};
use crate::reign::Reign;
use crate::request::Name;
use crate::shared::{Shared, locked, told};
use crate::spoken::{self, Strange, begun, decode, encode, is_stream};
use crate::{
    Config, Delete, Found, List, Listing, Refusal, applying, comparing, holding, left, paying,
    question, serving, undecided, unfinished, whole,
};

/// Appends to the log of a partition, beside what the chats append.
pub trait Append: Send + Sync + 'static {
    /// Appends, if this node leads the partition in `epoch`. Returns the entry's place and the answer to
    /// come, or `None`, and then nothing was appended.
    fn append(
        &self,
        partition: PartitionId,
        epoch: u64,
        payload: Bytes,
        acks: u8,
    ) -> Option<(u64, oneshot::Receiver<Outcome>)>;
    /// What was appended was refused after all: nothing more must be appended in that epoch.
    fn give_up(&self, partition: PartitionId, epoch: u64);
    /// Whether there is a chat of this token, if this node leads the partition in `epoch` and knows.
    fn has_chat(&self, partition: PartitionId, epoch: u64, chat: ChatToken) -> Option<bool>;
}

/// The archive of a cluster, as one node answers for it. Clones are the same.
#[derive(Clone, Debug)]
pub struct Archive {
    pub(crate) shared: Arc<Shared>,
}

impl Archive {
    /// The archive that stands on these; its tasks are among `tasks`. Tell it of what becomes of partitions,
    /// and let it answer other nodes: nothing is answered here before that.
    pub fn new(
        replication: impl Ground,
        append: Arc<dyn Append>,
        engine: engine::Archive,
        config: Config,
        tasks: &Tasks,
    ) -> Self {
        let shared = Arc::new(Shared::new(Arc::new(replication), append, engine, config, tasks));
        let archive = Self { shared };
        archive.begin("archive-apply", applying::apply);
        archive.begin("archive-follow", applying::follow);
        archive.begin("archive-pay", paying::pay);
        archive.begin("archive-undecided", undecided::decide);
        archive.begin("archive-unfinished", unfinished::give_up);
        archive.begin("archive-left", left::give_back);
        archive.begin("archive-whole", whole::tell);
        archive.begin("archive-compare", comparing::compare);
        archive
    }

    fn begin<F>(&self, name: &'static str, work: impl FnOnce(Arc<Shared>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, work) = (self.shared.tasks.stop().clone(), work(Arc::clone(&self.shared)));
        self.shared.tasks.spawn(name, async move {
            tokio::select! { biased;
                () = stop.stopped() => {}
                () = work => {}
            }
        });
    }

    /// Makes a collection, for ever; whether it is new. Again alike changes nothing.
    ///
    /// # Errors
    /// [`CollectionExists`](crate::Code::CollectionExists) and those of every request.
    pub async fn create_collection(
        &self,
        name: &CollectionName,
        versioning: Versioning,
        until: Instant,
    ) -> Result<bool, Refusal> {
        let made = self.shared.collection(name, Some(versioning), until).await;
        told(made.map(|made| made.now))
    }

    /// What a key shows, or another version of it that can be seen.
    ///
    /// # Errors
    /// [`UnknownCollection`](crate::Code::UnknownCollection), [`NotFound`](crate::Code::NotFound), [`UnknownVersion`](crate::Code::UnknownVersion) and those of every request.
    pub async fn find(
        &self,
        name: &Name,
        version: Option<UnifiedId>,
        until: Instant,
    ) -> Result<Found, Refusal> {
        told(self.shared.find(name, version, until).await)
    }

    /// Hides everything that the key has now, or one version; the delete's own version is told.
    ///
    /// # Errors
    /// [`UnknownCollection`](crate::Code::UnknownCollection), [`UnknownVersion`](crate::Code::UnknownVersion) and those of every request.
    pub async fn delete(&self, delete: Delete, until: Instant) -> Result<UnifiedId, Refusal> {
        let Delete { name, version: target, repeat } = delete;
        let repeat = repeat.unwrap_or_else(|| self.shared.unique());
        let asked = self.shared.versioned(&name.collection, until).await;
        let asked =
            asked.map(|versioning| Ask::Delete { name: name.clone(), versioning, target, repeat });
        told(self.shared.version(&name, asked, until).await)
    }

    /// Deletes every version of every attachment of a chat, if this node leads it; how many there were. Nothing else of it
    /// is touched.
    ///
    /// # Errors
    /// [`NotReady`](crate::Code::NotReady) if it does not, and those of every request. What was deleted stays so.
    pub async fn clear(&self, chat: ChatToken, until: Instant) -> Result<u64, Refusal> {
        told(self.shared.clear(chat, until).await)
    }

    /// Begins an archive of several parts; its version is told.
    ///
    /// # Errors
    /// [`UnknownCollection`](crate::Code::UnknownCollection) and those of every request.
    pub async fn start(
        &self,
        name: &Name,
        repeat: Option<String>,
        until: Instant,
    ) -> Result<UnifiedId, Refusal> {
        let repeat = repeat.unwrap_or_else(|| self.shared.unique());
        let asked = self.shared.versioned(&name.collection, until).await;
        let asked = asked.map(|versioning| Ask::Start { name: name.clone(), versioning, repeat });
        told(self.shared.version(name, asked, until).await)
    }

    /// Makes it whole: its parts must be 1 to the last one.
    ///
    /// # Errors
    /// [`UnknownVersion`](crate::Code::UnknownVersion), [`WrongOrder`](crate::Code::WrongOrder), [`AlreadyFinal`](crate::Code::AlreadyFinal) and those of every request.
    pub async fn finish(
        &self,
        name: &Name,
        version: UnifiedId,
        until: Instant,
    ) -> Result<(), Refusal> {
        let asked = self.shared.versioned(&name.collection, until).await;
        let asked = asked.map(|versioning| Ask::Finish { name: name.clone(), versioning, version });
        told(self.shared.version(name, asked, until).await.map(drop))
    }

    /// Gives it up, or hides it when it was whole.
    ///
    /// # Errors
    /// [`UnknownVersion`](crate::Code::UnknownVersion) and those of every request.
    pub async fn abort(
        &self,
        name: &Name,
        version: UnifiedId,
        until: Instant,
    ) -> Result<(), Refusal> {
        let asked = self.shared.versioned(&name.collection, until).await;
        let asked = asked.map(|versioning| Ask::Abort { name: name.clone(), versioning, version });
        told(self.shared.version(name, asked, until).await.map(drop))
    }

    /// What a collection shows: all that was acknowledged before, of all partitions.
    ///
    /// # Errors
    /// [`UnknownCollection`](crate::Code::UnknownCollection); [`NotReady`](crate::Code::NotReady) when a partition cannot be asked.
    pub async fn list(&self, list: List, until: Instant) -> Result<Listing, Refusal> {
        told(self.shared.list(list, until).await)
    }

    /// How far this node's archive has taken over what the log of a partition decides: an entry up to here
    /// is needed no more.
    pub fn applied(&self, partition: PartitionId) -> LogEnd {
        self.shared.engine.applied(partition.0)
    }

    /// Up to which entry of a partition's log this node has, synced and in its own files, all bytes that entries bring:
    /// up to there they are needed no more. 0 if that is not known, or something of it is lacking.
    pub async fn kept(&self, partition: PartitionId) -> u64 {
        self.shared.kept(partition).await
    }

    /// How many segments are known to be not whole on this node.
    pub fn owed(&self) -> usize {
        self.shared.engine.owed()
    }

    /// What earlier stores of this node left: bytes that are owed are looked for there first. Once.
    pub fn read_also(&self, earlier: Vec<engine::Archive>) {
        if self.shared.earlier.set(earlier).is_err() {
            tracing::error!("earlier stores were named before, and those are read");
        }
        self.shared.owing_rung.notify_one();
    }

    /// Uploads under way that this node coordinates, and that other nodes bring to it.
    pub fn under_way(&self) -> (usize, usize) {
        self.shared.uploads_under_way()
    }

    /// How much more memory, in KiB, uploads may take that this node coordinates.
    pub fn memory_kib_left(&self) -> usize {
        self.shared.upload_kib.available_permits()
    }

    /// This node's own archive.
    pub fn engine(&self) -> &engine::Archive {
        &self.shared.engine
    }

    /// How much of each collection this node holds.
    ///
    /// # Errors
    /// The index cannot be read, or the node is stopping.
    pub async fn usage(&self) -> Result<BTreeMap<CollectionName, Usage>, Refusal> {
        let engine = self.shared.engine.clone();
        let usage = runtime::blocking(move || engine.usage()).await.ok_or_else(stopping)?;
        usage.map_err(|error| unreadable(&error))
    }

    /// This node leads `epoch`. See [`replication::Host`].
    pub fn opened(&self, partition: PartitionId, epoch: u64, seq: u64) {
        let Some(slot) = self.shared.reigns.get(usize::from(partition.0)) else { return };
        let reign = Arc::new(Reign::new(partition, epoch, seq));
        if let Some(before) = locked(slot).replace(Arc::clone(&reign)) {
            before.closed.stop();
        }
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn("archive-open", async move {
            let stop = shared.tasks.stop().clone();
            tokio::select! { biased;
                () = stop.stopped() => {}
                () = reign.closed.stopped() => {}
                () = applying::open(&shared, &reign) => {}
            }
            shared.reigns_changed.notify_waiters();
        });
    }

    /// Everything up to `seq` is committed. See [`replication::Host`].
    pub fn committed(&self, partition: PartitionId, epoch: u64, seq: u64) {
        if self.shared.reign(partition, epoch).is_some_and(|reign| reign.commit(seq)) {
            self.shared.is_ready(partition);
        }
    }

    /// This node does not lead `epoch` any more. See [`replication::Host`].
    pub fn closed(&self, partition: PartitionId, epoch: u64) {
        let Some(slot) = self.shared.reigns.get(usize::from(partition.0)) else { return };
        if let Some(reign) = locked(slot).take_if(|reign| reign.epoch <= epoch) {
            reign.closed.stop();
        }
        self.shared.reigns_changed.notify_waiters();
    }

    /// Runs a request of another node, for which [`crate::is_question`] is true.
    pub fn answer(&self, from: NodeId, head: RequestHead, body: &[u8]) -> Answering {
        let shared = Arc::clone(&self.shared);
        let asked = decode::<Question>(body);
        Box::pin(async move {
            if shared.tasks.stop().is_stopped() {
                return Err(NotRun::Stopping);
            }
            let until = runtime::now() + Duration::from_millis(head.wait_ms.into());
            let answer = match asked {
                Err(strange @ Strange::Version(_)) => {
                    shared.strange(&from, strange);
                    return Ok(spoken::not_understood());
                }
                Err(strange @ Strange::Broken) => {
                    question::Answer::Done(Err(strange.refusal(&shared.node)))
                }
                Ok(Question::Ask(partition, ask)) => {
                    shared.answer_here(partition, ask, until).await
                }
                Ok(Question::List(list)) => {
                    question::Answer::Done(shared.list_here(list, until).await)
                }
                Ok(Question::Has(partition)) => {
                    question::Answer::Done(Ok(shared.has(partition).await))
                }
                Ok(Question::Catalogue(partition)) => {
                    let shown = shared.catalogue(partition).await;
                    question::Answer::Done(shown.map(Reply::Catalogue))
                }
                Ok(Question::Upload(upload)) => {
                    let boot = shared.config.boot;
                    let under_way = boot == upload.boot && shared.is_under_way(upload.count);
                    question::Answer::Done(Ok(Reply::Upload { boot, under_way }))
                }
            };
            tracing::trace!(%from, "a question about objects");
            Ok(encode(&answer))
        })
    }

    /// Whether a request begins a stream of this crate.
    pub fn streams(&self, body: &[u8]) -> bool {
        is_stream(body)
    }

    /// Serves it.
    pub fn stream(&self, from: &NodeId, body: &[u8], mut stream: Stream) -> Streaming {
        let shared = Arc::clone(&self.shared);
        let opening = begun(body);
        let from = from.clone();
        Box::pin(async move {
            match opening {
                Ok(Opening::Bring(begin)) => holding::hold(&shared, &from, begin, stream).await,
                Ok(Opening::Fetch { at, part, from, until }) => {
                    serving::serve(&shared, at, part, from..until, stream).await;
                }
                Err(strange) => {
                    shared.strange(&from, strange);
                    // If the other is gone it does not need to know.
                    let frame = spoken::frame_not_understood();
                    let said = stream.send(&frame, &[]);
                    drop(runtime::timeout(shared.config.stalled, said).await);
                    stream.finish();
                }
            }
        })
    }
}
