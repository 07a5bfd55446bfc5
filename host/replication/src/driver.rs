//! The one task of a node that owns the core: events in, steps out.
//!
//! It takes everything that waits, lets the core handle it, and then polls until nothing is left, so
//! that whatever came at once becomes one write of the log and one write to each peer. Nothing in its
//! loop waits for a disk, a socket or a registry: what they say comes back as events.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;

use hashring::PartitionId;
use runtime::{Instant, Stop};
use segment::{Folder, LogOp, Pulse, SubmitError};
use tokio::sync::{mpsc, oneshot};

use crate::bases::{BaseWork, Bases};
use crate::core::{Alarm, Core, Event, Outcome, PartitionView, Step, StopReason, Time};
use crate::ending::Failure;
use crate::handle::{Host, Shared};
use crate::inbox::{Command, Notices};
use crate::links::Links;
use crate::reads::{Aside, Read, Reads};
use crate::registrar::Wish;
use crate::{core, metric};

/// Commands taken at once, so that a flood of them cannot keep the log and the peers waiting.
const COMMANDS_AT_ONCE_MAX: usize = 1024;
/// While so many wait for an answer more are sure to ask soon, and are let come together: what a round costs
/// (a write, a packet to each peer and one back) is then shared by more of them. One client alone, or a few,
/// never wait.
const CROWD: usize = 8;

/// A core and everything its steps need.
pub(crate) struct Driver {
    pub(crate) core: Core,
    /// When the core's time began.
    pub(crate) began: Instant,
    pub(crate) inbox: mpsc::Receiver<Command>,
    pub(crate) notices: Notices,
    pub(crate) reads: Reads,
    pub(crate) bases: Bases,
    pub(crate) wishes: mpsc::Sender<Vec<Wish>>,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) links: Links,
    pub(crate) waiting: Waiting,
    /// What the log had no room for yet.
    pub(crate) held: VecDeque<(u64, Vec<LogOp>)>,
    /// What the log's writer has told and the core has heard.
    pub(crate) written: u64,
    pub(crate) full: bool,
    /// Locked as long as this runs.
    pub(crate) _folder: Folder,
}

/// Those who wait for an answer of the core. Each is answered once, so this is as bounded as what the
/// core lets wait.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    replies: HashMap<u64, Waiter>,
    last: u64,
}

/// The answer's way back, and of a message, when it was given to be appended.
type Waiter = (oneshot::Sender<Outcome>, Option<Instant>);

impl Waiting {
    fn is_crowd(&self) -> bool {
        self.replies.len() >= CROWD
    }

    fn add(&mut self, reply: oneshot::Sender<Outcome>, began: Option<Instant>) -> u64 {
        self.last += 1;
        self.replies.insert(self.last, (reply, began));
        self.last
    }

    fn answer(&mut self, token: u64, outcome: Outcome, commits: &Pulse) {
        if let Some((reply, began)) = self.replies.remove(&token) {
            if let Some(began) = began.filter(|_| matches!(outcome, Outcome::Quorum { .. })) {
                commits.beat(runtime::now().saturating_duration_since(began));
            }
            // Whoever stopped waiting does not want to know.
            reply.send(outcome).ok();
        }
    }
}

impl Driver {
    /// Runs until `stop`, or until something makes it impossible to go on.
    pub(crate) async fn run(mut self, stop: Stop) -> Result<(), Failure> {
        let mut commands = Vec::with_capacity(COMMANDS_AT_ONCE_MAX);
        let mut alarm = Alarmclock::default();
        loop {
            let timeout = self.core.next_timeout().map(|timeout| self.began + timeout);
            alarm.set(timeout);
            let (notices, inbox, links) = (&self.notices, &mut self.inbox, &mut self.links);
            tokio::select! { biased;
                () = stop.stopped() => return Ok(()),
                () = notices.told() => {}
                taken = inbox.recv_many(&mut commands, COMMANDS_AT_ONCE_MAX) => {
                    if taken == 0 {
                        return Ok(());
                    }
                }
                () = links.unblocked() => {}
                () = alarm.rings() => {}
            }
            if self.waiting.is_crowd() {
                // Whoever is ready to ask goes first: the one who woke this task ran just before it.
                tokio::task::yield_now().await;
            }
            while commands.len() < COMMANDS_AT_ONCE_MAX
                && let Ok(command) = self.inbox.try_recv()
            {
                commands.push(command);
            }
            let now = self.now();
            self.take_notices(now)?;
            for command in commands.drain(..) {
                self.take(now, command);
            }
            if self.core.next_timeout().is_some_and(|timeout| timeout <= now) {
                self.core.handle(now, Event::Tick);
            }
            self.carry_out(now)?;
            self.links.flush().await;
        }
    }

    fn now(&self) -> Time {
        runtime::now().saturating_duration_since(self.began)
    }

    fn take_notices(&mut self, now: Time) -> Result<(), Failure> {
        if let Some(text) = self.notices.failure() {
            return Err(Failure::Log(text.to_owned()));
        }
        let full = self.notices.is_full();
        if full != self.full {
            self.full = full;
            self.core.handle(now, Event::WriterFull(full));
        }
        let ticket = self.notices.written();
        if ticket > self.written {
            self.written = ticket;
            self.core.handle(now, Event::Written { ticket });
        }
        self.write_held()
    }

    fn take(&mut self, now: Time, command: Command) {
        let event = match command {
            Command::Event(event) => Some(event),
            Command::Submit { submission, began, reply } => Some(Event::Submit {
                token: self.waiting.add(reply, began),
                partition: submission.partition,
                epoch: submission.epoch,
                seq: submission.seq,
                payload: submission.payload,
                acks: submission.acks,
            }),
            Command::Barrier { partition, epoch, reply } => {
                Some(Event::Barrier { token: self.waiting.add(reply, None), partition, epoch })
            }
            Command::Confirm { partition, reply } => {
                Some(Event::Confirm { token: self.waiting.add(reply, None), partition })
            }
            Command::PeerUp(link) => self.links.up(*link),
            Command::Messages { from, generation, messages } => {
                for message in messages {
                    let said = self.links.message(&from, generation, message);
                    self.hear(now, said);
                }
                None
            }
            Command::PeerDown { node, generation } => self.links.down(node, generation),
        };
        self.hear(now, event);
    }

    fn hear(&mut self, now: Time, event: Option<Event>) {
        if let Some(event) = event {
            self.core.handle(now, event);
        }
    }

    fn carry_out(&mut self, now: Time) -> Result<(), Failure> {
        let mut wishes = Vec::new();
        while let Some(step) = self.core.poll() {
            match step {
                Step::Write { ticket, ops } => self.write(ticket, ops)?,
                Step::Send { to, message } => {
                    if let wire::Message::Refuse(refuse) = &message {
                        metric::turned_away(&self.shared.config.node, refuse.why);
                        tracing::debug!(%to, ?refuse, "refused");
                    }
                    self.links.push(&to, &message);
                }
                Step::Cas { partition, expect, record } => {
                    wishes.push(Wish { partition, expect, record });
                }
                Step::Read { partition, request, from, entries_max, bytes_max } => {
                    let read = Read { partition, request, from, entries_max, bytes_max };
                    if let Some(refused) = self.reads.submit(read) {
                        self.core.handle(now, refused);
                    }
                }
                Step::PutAside { partition, after, differs } => {
                    let aside = Aside { partition, after, differs };
                    if let Some(refused) = self.reads.put_aside(aside) {
                        self.core.handle(now, refused);
                    }
                }
                Step::Mended { partition, after } => {
                    let node = &self.shared.config.node;
                    metric::mended(node);
                    tracing::warn!(%node, %partition, after, "the log goes on from what the others have");
                }
                Step::ReadBase { .. } | Step::Keep { .. } => self.work_on_base(now, step),
                Step::Opened { partition, epoch, seq } => self.host.opened(partition, epoch, seq),
                Step::Closed { partition, epoch } => self.host.closed(partition, epoch),
                Step::Committed { partition, epoch, seq } => {
                    self.host.committed(partition, epoch, seq);
                }
                Step::Answer { token, outcome } => {
                    self.waiting.answer(token, outcome, &self.shared.commits);
                }
                Step::Viewed { partition } => self.publish(partition),
                Step::Stop { reason: StopReason::Twin } => {
                    let node = &self.shared.config.node;
                    return Err(Failure::Superseded(format!(
                        "a later process runs as node {node}: this one stops"
                    )));
                }
                Step::Moving { partition, how } => {
                    let node = &self.shared.config.node;
                    metric::moving(node, how);
                    tracing::info!(%node, %partition, ?how, "a change of the ensemble");
                }
                Step::Alarm { partition, alarm } => self.alarm(partition, alarm),
            }
        }
        self.wish(now, wishes);
        let led = self.core.led();
        self.shared.progress.send_if_modified(|progress| {
            let changed = progress.led != led;
            progress.led = led;
            changed
        });
        Ok(())
    }

    /// Has a piece of what a log stands on read or kept.
    fn work_on_base(&mut self, now: Time, step: Step) {
        let work = match step {
            Step::ReadBase { partition, request, at, bytes_max } => {
                BaseWork::Read { partition, request, at, bytes_max }
            }
            Step::Keep { partition, base, at, piece } => {
                BaseWork::Keep { partition, base, at, piece }
            }
            _ => return,
        };
        if let Some(refused) = self.bases.submit(work) {
            self.core.handle(now, refused);
        }
    }

    /// Hands operations to the log, in order. While the log has no room they wait here, and nothing
    /// overtakes them; the core lets only so much be under way.
    fn write(&mut self, ticket: u64, ops: Vec<LogOp>) -> Result<(), Failure> {
        self.held.push_back((ticket, ops));
        self.write_held()
    }

    fn write_held(&mut self) -> Result<(), Failure> {
        while let Some((ticket, ops)) = self.held.pop_front() {
            match self.shared.log.submit(ticket, ops) {
                Ok(()) => {}
                Err(SubmitError::Busy(ops)) => {
                    self.held.push_front((ticket, ops));
                    break;
                }
                Err(SubmitError::Stopped) => {
                    let why = self.notices.failure().unwrap_or("it has stopped");
                    return Err(Failure::Log(why.to_owned()));
                }
            }
        }
        Ok(())
    }

    fn publish(&self, partition: PartitionId) {
        if let Some(view) = self.shared.views.get(usize::from(partition.0)) {
            view.send_replace(Arc::new(self.core.view(partition)));
        }
    }

    fn alarm(&self, partition: PartitionId, alarm: Alarm) {
        let node = &self.shared.config.node;
        metric::alarm(node, alarm);
        let what = match alarm {
            Alarm::Divergent => {
                "members hold different entries: this node's log is mended if enough others agree, and takes \
                 nothing until then"
            }
            Alarm::Unreadable => {
                "an entry of the log cannot be read: it is mended if enough others have it"
            }
            Alarm::RegistryBehind => "the registry's record is older than what was promised",
            Alarm::Damaged => "too few undamaged members to seal",
        };
        tracing::error!(%node, %partition, "{what}");
    }

    /// Hands compare-and-sets on, all of one poll together.
    fn wish(&mut self, now: Time, wishes: Vec<Wish>) {
        if wishes.is_empty() {
            return;
        }
        if let Err(refused) = self.wishes.try_send(wishes) {
            for wish in refused.into_inner() {
                self.core.handle(now, wish.done(core::CasResult::Unknown));
            }
        }
    }
}

/// Whatever was not committed may vanish, and nobody may think that this node still leads.
impl Drop for Driver {
    fn drop(&mut self) {
        for view in &self.shared.views {
            view.send_replace(Arc::new(PartitionView::default()));
        }
    }
}

/// One timer, made anew only when it is set to another time.
#[derive(Default)]
struct Alarmclock {
    at: Option<Instant>,
    timer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Alarmclock {
    fn set(&mut self, at: Option<Instant>) {
        if self.at != at {
            self.at = at;
            self.timer = at.map(|at| Box::pin(runtime::sleep_until(at)) as _);
        }
    }

    /// Never, if it is not set. Cancel-safe.
    async fn rings(&mut self) {
        match &mut self.timer {
            Some(timer) => timer.await,
            None => std::future::pending().await,
        }
        *self = Self::default();
    }
}
