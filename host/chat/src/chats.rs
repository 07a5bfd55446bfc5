//! The chats of a cluster, as one node answers for them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use hashring::{NodeId, PartitionId};
use model::{Change, ChatToken};
use replication::core::Outcome;
use replication::{Answering, Host, NotRun, RequestHead};
use runtime::{Instant, Stop, Tasks};
use tokio::sync::{Notify, Semaphore, oneshot};

use crate::agenda::Agenda;
use crate::chain::LiveChain;
use crate::ephemera::PLACES_MAX;
use crate::forward::Answer;
use crate::keeping::Keeper;
use crate::ledger::Ledger;
use crate::lock::locked;
use crate::meters::Meters;
use crate::ran::{because, not_committed};
use crate::reign::{Committed, Phase, Reign};
use crate::replies::Replies;
use crate::tending::TENDED_MAX;
use crate::waiting::Waiting;
use crate::{
    CallContext, Code, Config, Others, Owners, Refusal, Request, RequestOutcome, Response, keeper,
    loading,
};

/// The ring, for those who only ask chats.
pub use replication::{RingMember, RingView};

/// Partitions whose logs are folded at once: more would only push each other out of memory.
const LOADS_MAX: usize = 4;

/// Messages that are looked for at once: each look may read all of a chat.
const SEARCHES_MAX: usize = 4;

/// So long the chats of a reign that ended are kept, should the next one be this node's too: a change of
/// the ensemble takes a part of it.
const REST: Duration = Duration::from_secs(5);

/// What a request is asked of. Clones are the same.
#[derive(Clone, Debug)]
pub struct Chats {
    pub(crate) shared: Arc<Shared>,
}

/// What the parts of this crate share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) node: NodeId,
    pub(crate) chain: LiveChain,
    pub(crate) config: Config,
    pub(crate) meters: Meters,
    /// The reign of each partition, if this node leads it.
    pub(crate) reigns: Box<[Mutex<Option<Arc<Reign>>>]>,
    /// The reign of each partition that ended a moment ago, should this node's next one follow at once.
    rested: Box<[Mutex<Option<Arc<Reign>>>]>,
    /// A reign began to serve, or ended.
    pub(crate) reigns_changed: Notify,
    /// Given when the node is stopping.
    pub(crate) stopping: Stop,
    /// Places for readers who wait.
    pub(crate) waiting: Waiting,
    /// Room for what is known of people and not written.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) tasks: Tasks,
    /// Chats that have something to do by themselves.
    pub(crate) agenda: Agenda,
    /// Replies that could not be given yet.
    pub(crate) replies: Replies,
    /// How many more of them may be looked at.
    pub(crate) tended: Arc<Semaphore>,
    /// What becomes of chats that are over, if anything does.
    pub(crate) keeper: OnceLock<Keeper>,
    /// What entries bring that are no chat's, if there are any.
    pub(crate) others: OnceLock<Arc<dyn Others>>,
    /// One decision of the past is looked for at a time: it reads a partition's log.
    pub(crate) recalled: Semaphore,
    /// How many more messages may be looked for by their ids: that reads a chat from its end.
    pub(crate) searched: Semaphore,
    loads: Semaphore,
    running: AtomicUsize,
    idle: Notify,
}

/// A request while it is answered.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) context: &'a CallContext,
    pub(crate) began: Instant,
    /// When there must be an answer.
    pub(crate) deadline: Instant,
    /// Until when a reader waits for messages; `began` for everybody else.
    pub(crate) waits_until: Instant,
}

/// Whether this node can be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Partitions there are; 0 before the cluster exists.
    pub partitions: usize,
    /// Partitions that have a leader which this node is, with enough others beside it, or is connected to.
    pub led: usize,
    /// Partitions that can have fewer copies than they should: too few nodes, hosts or zones are there.
    pub thin: usize,
    /// The node is stopping.
    pub stopping: bool,
}

impl Chats {
    /// The chats that stand on `ledger`, shown to whichever `chain` is live. Logs are folded, and snapshots
    /// kept, on `tasks`. Give it to replication as its [`Host`]: nothing is answered here before that.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        chain: impl Into<LiveChain>,
        config: Config,
        tasks: &Tasks,
    ) -> Self {
        let partitions = usize::from(ledger.partitions().count());
        let shared = Shared {
            node: ledger.node(),
            chain: chain.into(),
            config,
            meters: Meters::new(),
            reigns: (0..partitions).map(|_| Mutex::default()).collect(),
            rested: (0..partitions).map(|_| Mutex::default()).collect(),
            reigns_changed: Notify::new(),
            stopping: Stop::default(),
            waiting: Waiting::new(config.waiting_max),
            places: Arc::new(Semaphore::new(PLACES_MAX)),
            tasks: tasks.clone(),
            replies: Replies::default(),
            agenda: Agenda::default(),
            tended: Arc::new(Semaphore::new(TENDED_MAX)),
            keeper: OnceLock::new(),
            others: OnceLock::new(),
            recalled: Semaphore::new(1),
            searched: Semaphore::new(SEARCHES_MAX),
            loads: Semaphore::new(LOADS_MAX),
            running: AtomicUsize::new(0),
            idle: Notify::new(),
            ledger,
        };
        let shared = Arc::new(shared);
        let kept = Arc::clone(&shared);
        tasks.spawn("chat-snapshots", async move {
            tokio::select! {
                biased;
                () = kept.tasks.stop().stopped() => {}
                () = keeper::keep(&kept) => {}
            }
        });
        tasks.spawn("chat-agenda", Arc::clone(&shared).tend_all());
        tasks.spawn("chat-collect", Arc::clone(&shared).collect_all());
        Self { shared }
    }

    /// Answers a request, here or through the node that leads its chat. Dropping the future stops
    /// waiting: what was appended by then stays.
    ///
    /// # Errors
    /// [`Refusal`], which says whether anything may have happened.
    pub async fn call(&self, request: Request, context: CallContext) -> Result<Response, Refusal> {
        match self.shared.answer(&request, &context).await {
            Answer::Done(result) => result,
            Answer::Elsewhere(_) => {
                let refusal =
                    because(replication::core::Why::NotLeading, RequestOutcome::NotCommitted);
                Err(refusal)
            }
        }
    }

    /// What entries bring that are no chat's is kept by `others`: logs are trimmed as it says. Once.
    pub fn stand_beside(&self, others: Arc<dyn Others>) {
        if self.shared.others.set(others).is_err() {
            tracing::error!("who keeps what others bring was named before, and stays");
        }
    }

    /// The ring as this node knows it.
    pub fn ring(&self) -> Arc<RingView> {
        self.shared.ledger.ring()
    }

    /// Its version, which rises with every change that this node sees.
    pub fn ring_version(&self) -> u64 {
        self.shared.ledger.ring_version()
    }

    /// The node that leads a chat, if it is known and not this one.
    pub fn led_elsewhere(&self, chat: ChatToken) -> Option<NodeId> {
        let ledger = &self.shared.ledger;
        let view = ledger.view(ledger.partitions().of_key(&chat.key()));
        let primary = view.primary.as_ref().filter(|_| view.open);
        primary.filter(|node| **node != self.shared.node).cloned()
    }

    /// Appends an entry that is no chat's to a partition that this node leads in `epoch`: it is numbered with
    /// theirs. `acks` nodes must hold it before the answer. Returns its place and the answer to come; `None`,
    /// and nothing was appended, when the epoch is over here or replication has too much to do.
    pub fn append(
        &self,
        partition: PartitionId,
        epoch: u64,
        payload: Bytes,
        acks: u8,
    ) -> Option<(u64, oneshot::Receiver<Outcome>)> {
        let reign = self.shared.reign(partition, epoch)?;
        reign.append_other(&*self.shared.ledger, payload, acks).ok()
    }

    /// Whether there is a chat of this token, if this node leads the partition in `epoch` and knows its chats. One that is being
    /// forgotten is none.
    pub fn has(&self, partition: PartitionId, epoch: u64, token: ChatToken) -> Option<bool> {
        let reign = self.shared.reign(partition, epoch).filter(|reign| reign.serves())?;
        let found = reign.conversation(token);
        Some(found.is_some_and(|chat| chat.head().is_some() && !chat.forgotten().0))
    }

    /// An entry that was appended was refused after all: nothing more is appended in that epoch here.
    pub fn give_up(&self, partition: PartitionId, epoch: u64) {
        if let Some(reign) = self.shared.reign(partition, epoch) {
            tracing::warn!(%partition, epoch, "an appended entry was refused: epoch given up");
            reign.close();
        }
    }

    /// Whether this node can be asked.
    pub fn readiness(&self) -> Readiness {
        let ledger = &self.shared.ledger;
        let partitions = ledger.partitions();
        let copies = usize::from(ledger.copies());
        let (mut led, mut thin) = (0, 0);
        let ring = ledger.ring();
        let there = |node: &NodeId| ring.nodes.iter().any(|it| it.up && it.id == *node);
        let me = ledger.node();
        for view in partitions.all().map(|partition| ledger.view(partition)) {
            let leads = |node: &NodeId| if *node == me { view.leading } else { there(node) };
            led += usize::from(view.open && view.primary.as_ref().is_some_and(leads));
            // Nobody is wanted as long as nobody has looked.
            thin += usize::from((1..copies).contains(&view.wanted.len()));
        }
        Readiness {
            partitions: usize::from(partitions.count()),
            led,
            thin,
            stopping: self.shared.stopping.is_stopped(),
        }
    }

    /// Answers readers who wait with what there is, lets nobody wait any more, and takes nothing new to
    /// store. What has begun goes on; [`Chats::drained`] waits for it.
    pub fn drain(&self) {
        self.shared.stopping.stop();
    }

    /// Waits until nothing is being answered. Cancel-safe.
    pub async fn drained(&self) {
        loop {
            let idle = self.shared.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.shared.running.load(Ordering::SeqCst) == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl Host for Chats {
    fn opened(&self, partition: PartitionId, epoch: u64, seq: u64) {
        let shared = &self.shared;
        let Some(slot) = shared.reigns.get(usize::from(partition.0)) else { return };
        let recent_bytes_max = shared.config.recent_bytes_max / shared.reigns.len().max(1);
        let idle = shared.config.idle;
        let reign = Arc::new(Reign::new(partition, epoch, seq, recent_bytes_max, idle));
        if let Some(before) = locked(slot).replace(Arc::clone(&reign)) {
            before.close();
        }
        let rested = shared.rested.get(usize::from(partition.0));
        let rested = rested.and_then(|rested| locked(rested).take());
        let shared = Arc::clone(shared);
        self.shared.tasks.spawn("chat-load", async move {
            let stop = shared.tasks.stop();
            let load = async {
                if rested.is_some_and(|before| reign.goes_on_from(&before, seq)) {
                    reign.set_phase(Phase::Serving);
                    shared.arm(&reign);
                    return;
                }
                // Cannot be an error: nobody closes it.
                let _turn = shared.loads.acquire().await;
                let began = runtime::now();
                loading::load(&*shared.ledger, &reign, seq, shared.config.sabotage).await;
                shared.arm(&reign);
                shared.meters.load_seconds.record(runtime::now() - began);
            };
            tokio::select! {
                biased;
                () = stop.stopped() => {}
                () = reign.closed().stopped() => {}
                () = load => {}
            }
            shared.reigns_changed.notify_waiters();
        });
    }

    fn committed(&self, partition: PartitionId, epoch: u64, seq: u64) {
        if let Some(reign) = self.shared.reign(partition, epoch) {
            let Committed { due, moments } = reign.commit(seq);
            for (token, at) in due {
                self.shared.agenda.wake(partition, token, at);
            }
            moments.iter().for_each(|chat| self.shared.wake_keeper(partition, chat));
        }
    }

    fn closed(&self, partition: PartitionId, epoch: u64) {
        let Some(slot) = self.shared.reigns.get(usize::from(partition.0)) else { return };
        let ended = locked(slot).take_if(|reign| reign.epoch <= epoch);
        if let Some(reign) = ended {
            reign.close();
            self.shared.rest(partition, reign);
        }
        self.shared.reigns_changed.notify_waiters();
    }

    fn answer(&self, from: NodeId, head: RequestHead, body: Bytes) -> Answering {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            if shared.stopping.is_stopped() {
                return Err(NotRun::Stopping);
            }
            tracing::trace!(%from, hop = head.hop, "a request of another node");
            Ok(shared.answer_node(head, body).await)
        })
    }
}

impl Shared {
    /// Keeps a reign that ended for a moment.
    fn rest(self: &Arc<Self>, partition: PartitionId, reign: Arc<Reign>) {
        let Some(slot) = self.rested.get(usize::from(partition.0)) else { return };
        let epoch = reign.epoch;
        *locked(slot) = Some(reign);
        let shared = Arc::clone(self);
        self.tasks.spawn("chat-rest", async move {
            tokio::select! {
                biased;
                () = shared.tasks.stop().stopped() => {}
                () = runtime::sleep(REST) => {}
            }
            if let Some(slot) = shared.rested.get(usize::from(partition.0)) {
                drop(locked(slot).take_if(|reign| reign.epoch <= epoch));
            }
        });
    }

    /// Answers a request, of a client or of another node.
    pub(crate) async fn answer(&self, request: &Request, context: &CallContext) -> Answer {
        let _running = Running::begin(self);
        let began = runtime::now();
        let wait = match request {
            Request::Read(read) => Duration::from_millis(read.wait_ms.into()),
            _ => Duration::ZERO,
        };
        let waits_until = context.deadline.min(began + wait);
        let deadline = context.deadline.min(waits_until + self.config.timeout);
        let asked = Asked { context, began, deadline, waits_until };
        if self.stopping.is_stopped() && !is_read(request) {
            let detail = "this node is stopping";
            return Answer::Done(Err(not_committed(Code::NotReady, detail)));
        }
        match request {
            Request::Create { max_duration_s, max_participants, attrs } => {
                let create = Change::Create {
                    max_duration_s: *max_duration_s,
                    max_participants: *max_participants,
                    attrs: attrs.clone(),
                };
                Box::pin(self.create_somewhere(request, create, &asked)).await
            }
            Request::Owners { token } => Answer::Done(Ok(Response::Owners(self.owners(*token)))),
            _ => {
                let token = request.token().unwrap_or(ChatToken([0; 16]));
                let partition = self.ledger.partitions().of_key(&token.key());
                self.route(partition, request, &asked).await
            }
        }
    }

    /// The reign of a partition, if it is that epoch's.
    pub(crate) fn reign(&self, partition: PartitionId, epoch: u64) -> Option<Arc<Reign>> {
        let slot = self.reigns.get(usize::from(partition.0))?;
        locked(slot).as_ref().filter(|reign| reign.epoch == epoch).map(Arc::clone)
    }

    /// Who holds a chat, and who should. A matter of the token alone: it need not exist.
    fn owners(&self, token: ChatToken) -> Owners {
        let ledger = &self.ledger;
        let partitions = ledger.partitions();
        let partition = partitions.of_key(&token.key());
        let view = ledger.view(partition);
        let ring = ledger.ring();
        let copies = usize::from(ledger.copies());
        Owners {
            partition,
            epoch: view.epoch,
            primary: view.primary.clone(),
            ensemble: view.ensemble.clone(),
            wanted: partitions.wanted(&ring.ring, partition, copies, self.config.spread),
        }
    }
}

impl<'a> Asked<'a> {
    /// Of what nobody asked for.
    pub(crate) fn of_node(context: &'a CallContext) -> Self {
        let began = runtime::now();
        Self { context, began, deadline: context.deadline, waits_until: began }
    }

    /// How much time is left.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(runtime::now())
    }
}

/// Whether it changes nothing that is written: it can be asked again, and of a node that takes nothing new.
pub(crate) const fn is_read(request: &Request) -> bool {
    matches!(
        request,
        Request::Read(_)
            | Request::Show { .. }
            | Request::Owners { .. }
            | Request::Typing { .. }
            | Request::Mark { .. }
    )
}

/// Counts what is being answered.
struct Running<'a>(&'a Shared);

impl<'a> Running<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.running.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
