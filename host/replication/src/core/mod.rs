//! The rules of replication as a pure state machine: no socket, no disk, no clock, no randomness but
//! its seed.
//!
//! One [`Core`] a node owns every partition, because what they share is what is hard: the peers'
//! silence, the beats, one writer. Tell it what happened through [`Core::handle`], then take what
//! follows from [`Core::poll`] until it returns `None`, and wake it at [`Core::next_timeout`]. Handle
//! everything that waits before polling: a poll groups what came since the last one into one write,
//! and into one append a partition and peer.

mod config;
mod event;
mod step;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hashring::PartitionId;
use segment::Restored;

pub use config::{CoreConfig, Limits, Sabotage, Timings};
pub use event::{CasResult, Event};
pub use step::{Alarm, Outcome, Step, StopReason, Why};
pub use view::{PartitionView, Role};

/// Time since the process started. It never goes back; it may jump.
pub type Time = Duration;

/// The replication state of one node.
#[derive(Debug)]
pub struct Core {
    config: CoreConfig,
    now: Time,
    steps: VecDeque<Step>,
}

impl Core {
    /// A node that just started, with what its disk holds.
    pub fn new(config: CoreConfig, disk: BTreeMap<PartitionId, Restored>, seed: u64) -> Self {
        let _unused = (disk, seed);
        Self { config, now: Time::ZERO, steps: VecDeque::new() }
    }

    /// Something happened.
    pub fn handle(&mut self, now: Time, event: Event) {
        self.now = now;
        drop(event);
    }

    /// What to do next; `None` until something happens.
    pub fn poll(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// When to send [`Event::Tick`] at the latest.
    pub fn next_timeout(&self) -> Option<Time> {
        Some(self.now + self.config.timings.beat)
    }

    /// A partition as this node knows it; empty for one that does not exist.
    pub fn view(&self, partition: PartitionId) -> PartitionView {
        let _unused = partition;
        PartitionView::default()
    }

    /// How many partitions this node leads or is taking over.
    pub fn led(&self) -> usize {
        0
    }
}
