//! The chats of one process life: the real ones, run by one thread in an order that is always the same.
//!
//! They have an executor and a clock of their own, so that a node that stands still does stand still, and
//! one that is gone takes everything with it that was under way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use chat::{CallContext, Chats, LiveChain, Request};
use hashring::{NodeId, PartitionId};
use model::Cursor;
use replication::core::PartitionView;
use replication::{Host, NotRun, RequestHead};
use runtime::{SimulatedClock, Stop, Tasks};

use super::handlers;
use super::port::{Port, Wanted};
use crate::agenda::Time;

/// Rounds of a run; more means that something never comes to rest.
const ROUNDS_MAX: usize = 10_000;
/// What the edge gives a request beside the time it waits.
const WITHIN: Duration = Duration::from_secs(8);
/// The longest a node waits for another's answer.
const CALL_MAX: Duration = Duration::from_secs(60);

/// The chats of one life.
#[derive(Debug)]
pub(crate) struct Floor {
    pub(crate) chats: Chats,
    live: LiveChain,
    port: Arc<Port>,
    tasks: Tasks,
    clock: SimulatedClock,
    /// When it is run next.
    pub(crate) planned: Option<Time>,
    executor: tokio::runtime::Runtime,
}

impl Floor {
    pub(crate) fn new(port: Port, config: chat::Config) -> Self {
        let executor = tokio::runtime::Builder::new_current_thread().build().expect("an executor");
        let tasks = Tasks::new(executor.handle().clone(), Stop::default());
        let port = Arc::new(port);
        let ledger: Arc<dyn chat::Ledger> = Arc::<Port>::clone(&port);
        let live = LiveChain::from(handlers::chain(1));
        let chats = Chats::new(ledger, live.clone(), config, &tasks);
        Self { chats, live, port, tasks, clock: SimulatedClock::new(), planned: None, executor }
    }

    /// Lets everything go on that can, at a time since the life began. Gives what the chats want then.
    pub(crate) fn run(&self, time: Time, wall_ms: u64) -> Result<VecDeque<Wanted>, String> {
        let _entered = self.clock.enter();
        self.port.set_wall(wall_ms);
        self.clock.set(Duration::from_micros(time));
        let rests = self.executor.block_on(async {
            for _ in 0..ROUNDS_MAX {
                let before = self.port.steps();
                tokio::task::yield_now().await;
                if self.port.steps() == before {
                    return true;
                }
            }
            false
        });
        if !rests {
            return Err("the chats are never done".to_owned());
        }
        match self.tasks.failed() {
            Some(panic) => Err(format!("a task of the chats panicked: {panic}")),
            None => Ok(self.port.take()),
        }
    }

    /// A later generation of the handlers is live here.
    pub(crate) fn switch(&self, generation: u64) {
        let _entered = self.clock.enter();
        self.live.switch(handlers::chain(generation));
    }

    /// When somebody wants to be woken next, since the life began.
    pub(crate) fn wakes(&self) -> Option<Time> {
        let next = self.clock.next()?;
        Some(u64::try_from(next.as_micros()).unwrap_or(u64::MAX / 2))
    }

    pub(crate) fn busy(&self, per_mille: u32) {
        self.port.set_busy(per_mille);
    }

    pub(crate) fn opened(&self, partition: PartitionId, epoch: u64, seq: u64) {
        let _entered = self.clock.enter();
        self.chats.opened(partition, epoch, seq);
    }

    pub(crate) fn committed(&self, partition: PartitionId, epoch: u64, seq: u64) {
        let _entered = self.clock.enter();
        self.chats.committed(partition, epoch, seq);
    }

    pub(crate) fn closed(&self, partition: PartitionId, epoch: u64) {
        let _entered = self.clock.enter();
        self.chats.closed(partition, epoch);
    }

    pub(crate) fn show(&self, partition: PartitionId, view: PartitionView) {
        self.port.show(partition, view);
    }

    /// A log begins with another base.
    pub(crate) fn begin(&self, partition: PartitionId, base: segment::Base) {
        self.port.begin(partition, base);
    }

    /// A client asks.
    pub(crate) fn ask(&self, operation: u64, request: Request, seen: Option<Cursor>) {
        let (chats, port) = (self.chats.clone(), Arc::clone(&self.port));
        let wait = match &request {
            Request::Read(read) => Duration::from_millis(read.wait_ms.into()),
            _ => Duration::ZERO,
        };
        self.spawn("client", async move {
            let context = CallContext {
                caller: 0,
                deadline: runtime::now() + WITHIN + wait,
                request_id: operation.to_string(),
                seen,
                hop: 0,
            };
            let result = Box::new(chats.call(request, context).await);
            port.want(Wanted::Done { operation, result });
        });
    }

    /// Another node asks.
    pub(crate) fn answer(&self, call: u64, from: NodeId, head: RequestHead, body: Bytes) {
        let (chats, port) = (self.chats.clone(), Arc::clone(&self.port));
        self.spawn("node", async move {
            let wait = Duration::from_millis(head.wait_ms.into()).min(CALL_MAX);
            let answer: Result<Result<Bytes, NotRun>, _> =
                runtime::timeout(wait, chats.answer(from, head, body)).await;
            // Nobody waits any more.
            if let Ok(answer) = answer {
                port.want(Wanted::Answered { call, answer });
            }
        });
    }

    fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let port = Arc::clone(&self.port);
        let mut future = Box::pin(future);
        let counted = std::future::poll_fn(move |cx| -> Poll<()> {
            port.step();
            future.as_mut().poll(cx)
        });
        self.tasks.spawn(name, counted);
    }
}
