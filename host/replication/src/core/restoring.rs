//! A record that is gone from the registry, or was put back to an earlier one, under an open primary (R4).
//!
//! The primary writes it anew, if as many members as make a commit confirm *after* that was seen that it leads:
//! then no later epoch was opened, and none can be, for whoever wants to open one must replace a record that
//! is not there any more. What may be is a later epoch that somebody claimed and never opened, of which
//! nothing is left in the registry. So the record does not come back as it was: the primary claims an epoch
//! far above any of those, and goes the way of every take-over.

use registry::{PartitionRecord, PartitionState};

use super::Time;
use super::partition::{BEHIND, Doing, Partition};
use super::shared::Shared;

/// So far above its own is the epoch that a primary claims: more than were ever claimed in vain in between.
/// Each such claim takes its maker half a second at least, so these are days of nothing else.
const EPOCHS_SKIPPED: u64 = 1 << 20;

/// What is wrong with the record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Astray {
    /// The version of what stands there; `None` if nothing does.
    expect: Option<u64>,
    since: Time,
    /// Beats before this one say nothing about now.
    round: u64,
    asked: Option<Time>,
}

impl Partition {
    /// There is no record any more.
    pub(super) fn on_record_gone(&mut self, cx: &Shared) {
        self.goes_astray(cx, None);
    }

    /// Something older than what is known stands there: a late read, or a registry that was put back.
    pub(super) fn on_older_record(&mut self, cx: &Shared, version: u64) {
        self.goes_astray(cx, Some(version));
    }

    /// Whether the record was asked to be written anew.
    pub(super) fn writes_anew(&self) -> bool {
        self.astray.is_some_and(|astray| astray.asked.is_some())
    }

    fn goes_astray(&mut self, cx: &Shared, expect: Option<u64>) {
        if self.astray.is_none_or(|astray| astray.expect != expect) {
            let (since, round) = (cx.now, cx.peers.next_round());
            let since = self.astray.map_or(since, |astray| astray.since);
            self.astray = Some(Astray { expect, since, round, asked: None });
        }
    }

    /// A beat passed: writes the record anew, if it is this node's to do.
    pub(super) fn tick_restoring(&mut self, cx: &mut Shared) {
        let Some(astray) = self.astray else { return };
        let timings = cx.config.timings;
        // A record that is older may only have been read late; one that is gone may be put back at once.
        let patience = if astray.expect.is_some() { BEHIND } else { timings.resend };
        let due = cx.now.saturating_sub(astray.since) >= patience
            && astray.asked.is_none_or(|asked| cx.now.saturating_sub(asked) >= timings.resend);
        let Doing::Lead(leader) = &mut self.doing else { return };
        let free = leader.handing.is_none() && !leader.changing.holds() && !cx.draining;
        if !due || !free || cx.session.is_err() || !leader.leads_as_of(astray.round) {
            return;
        }
        let claim = match leader.changing.take_claim() {
            // The same again, if it may still be under way: of two only one could be told to be ours.
            Some(claim) if claim.epoch == leader.epoch + EPOCHS_SKIPPED => claim,
            _ => claim(cx, &leader.record),
        };
        match astray.expect {
            Some(version) => cx.cas(self.id, version, claim.clone()),
            None => cx.create(self.id, claim.clone()),
        }
        leader.changing.put_claim(claim);
        self.astray = Some(Astray { asked: Some(cx.now), ..astray });
    }
}

/// The record of an epoch far above, with the ensemble of the one that is open.
fn claim(cx: &mut Shared, open: &PartitionRecord) -> PartitionRecord {
    PartitionRecord {
        epoch: open.epoch + EPOCHS_SKIPPED,
        state: PartitionState::Sealing,
        primary: Some(cx.config.node.clone()),
        boot: cx.config.boot,
        ensemble: open.ensemble.clone(),
        commit: open.commit,
        prev_epoch: open.epoch,
        prev_ensemble: open.ensemble.clone(),
        prev_commit: open.commit,
        nonce: cx.nonce(),
    }
}
