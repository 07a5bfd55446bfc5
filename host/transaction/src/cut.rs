//! Which events of a log go into the next transaction.

use std::sync::Arc;

use model::{Booked, ChatToken, Entry, Message};

use crate::batch::BatchLimits;

/// An event that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The entry's epoch.
    pub epoch: u64,
    /// The entry's number.
    pub seq: u64,
    /// Which of its messages.
    pub index: u32,
    /// Its chat.
    pub chat: ChatToken,
    /// The message.
    pub message: Arc<Message>,
}

/// Collects events from a lane's place on, entry by entry in the order of the log, until no more fit.
#[derive(Debug)]
pub struct Cutting {
    booked: Booked,
    limits: BatchLimits,
    found: Vec<Found>,
    bytes: usize,
    from: (u64, u32),
    upto: (u64, u32),
}

impl Cutting {
    /// Begins where nothing before is uncut.
    pub fn new(booked: &Booked, limits: BatchLimits) -> Self {
        let from = booked.lane.scan;
        let booked = booked.without_lane();
        Self { booked, limits, found: Vec::new(), bytes: 0, from, upto: from }
    }

    /// Where the next entry to take stands.
    pub fn next(&self) -> u64 {
        self.upto.0
    }

    /// Takes what concerns the service of the next entry; whether there is room for more.
    pub fn take(&mut self, epoch: u64, seq: u64, entry: &Entry) -> bool {
        for (index, message) in (0..).zip(entry.messages()) {
            if (seq, index) < self.from || !self.booked.concerns(seq, message) {
                continue;
            }
            if self.limits.is_full(self.found.len(), self.bytes) {
                self.upto = (seq, index);
                return false;
            }
            self.bytes += message.body.len();
            let (chat, message) = (entry.chat, Arc::clone(message));
            self.found.push(Found { epoch, seq, index, chat, message });
        }
        self.pass(seq);
        !self.limits.is_full(self.found.len(), self.bytes)
    }

    /// The entry at `seq` has nothing of interest.
    pub fn pass(&mut self, seq: u64) {
        self.upto = self.upto.max((seq + 1, 0));
    }

    /// Where it began.
    pub fn from(&self) -> (u64, u32) {
        self.from
    }

    /// Up to where all that was found is in it.
    pub fn upto(&self) -> (u64, u32) {
        self.upto
    }

    /// What was found.
    pub fn found(&self) -> &[Found] {
        &self.found
    }

    /// Keeps the first `count` of what was found: the rest was too long.
    pub fn keep(&mut self, count: usize) {
        if let Some(next) = self.found.get(count) {
            self.upto = (next.seq, next.index);
            self.found.truncate(count);
        }
    }
}
