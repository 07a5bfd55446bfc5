//! Folds a partition's committed log into its chats, when this node begins to lead it.
//!
//! In pages, on a task of its own, so that neither memory nor the driver of replication notices. An entry
//! that cannot be understood was written by a newer version, or is damaged: then nothing of the partition
//! is served here, because every chat in it could be missing something.

use std::time::Duration;

use model::encode::v1;
use replication::core::PartitionView;

use crate::Sabotage;
use crate::ledger::Ledger;
use crate::reign::{Phase, Reign};

/// Entries and bytes of one page: a page is folded in about a millisecond.
const PAGE_ENTRIES_MAX: usize = 512;
const PAGE_BYTES_MAX: usize = 1 << 20;

/// The first byte of a payload that is replication's own: the record of the epoch.
const OPENING: u8 = 0;

/// How soon a log that could not be read is read again, at first and at last.
const AGAIN_MIN: Duration = Duration::from_millis(250);
const AGAIN_MAX: Duration = Duration::from_secs(4);

/// Why a log could not be folded. The partition is not served by this node until it can.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    /// The log has no entry there, or cannot be read. What the disk says is in the log before; it is
    /// read again as long as this node leads.
    #[error("entry {seq} cannot be read")]
    Missing {
        /// The first one.
        seq: u64,
    },
    /// An entry of another version, or a broken one. A newer node can lead the partition.
    #[error("entry {seq} cannot be understood: {source}")]
    Strange {
        /// Which.
        seq: u64,
        /// In which way.
        source: v1::DecodeError,
    },
}

/// Folds everything up to `seq`; then the reign serves, or is broken.
pub(crate) async fn load(ledger: &dyn Ledger, reign: &Reign, seq: u64, sabotage: Sabotage) {
    let began = runtime::now();
    let (partition, epoch) = (reign.partition, reign.epoch);
    let mut next = 1;
    match fold_at_last(ledger, reign, &mut next, seq, sabotage).await {
        Ok(()) => {
            for conversation in reign.conversations() {
                conversation.loaded();
            }
            reign.set_phase(Phase::Serving);
            let ms = (runtime::now() - began).as_millis();
            tracing::debug!(%partition, epoch, entries = seq, ms, "serving");
        }
        Err(_fault) if reign.closed().is_stopped() => {}
        Err(fault) => breaks(ledger, reign, &fault),
    }
}

/// Nothing of the partition is served here for now.
fn breaks(ledger: &dyn Ledger, reign: &Reign, fault: &Fault) {
    if reign.phase() == Phase::Broken {
        return;
    }
    reign.set_phase(Phase::Broken);
    let (partition, epoch) = (reign.partition, reign.epoch);
    let PartitionView { role, .. } = *ledger.view(partition);
    tracing::error!(%partition, epoch, ?role, %fault, "ALARM: this partition is not served here");
}

/// Folds on after a read that failed, for as long as the reign lasts: nobody else takes over from a node
/// that leads, and a disk that could not be read once may be read again.
async fn fold_at_last(
    ledger: &dyn Ledger,
    reign: &Reign,
    next: &mut u64,
    seq: u64,
    sabotage: Sabotage,
) -> Result<(), Fault> {
    let mut pause = AGAIN_MIN;
    loop {
        match fold(ledger, reign, next, seq, sabotage).await {
            Err(fault @ Fault::Missing { .. }) if !reign.closed().is_stopped() => {
                breaks(ledger, reign, &fault);
                runtime::sleep(pause).await;
                pause = (2 * pause).min(AGAIN_MAX);
            }
            done => return done,
        }
    }
}

/// Folds everything from `next` up to `seq`; `next` tells how far it came.
async fn fold(
    ledger: &dyn Ledger,
    reign: &Reign,
    next: &mut u64,
    seq: u64,
    sabotage: Sabotage,
) -> Result<(), Fault> {
    while *next <= seq {
        let page = ledger.read(reign.partition, *next, PAGE_ENTRIES_MAX, PAGE_BYTES_MAX).await;
        let page = page.filter(|page| !page.is_empty() && !reign.closed().is_stopped());
        for logged in page.ok_or(Fault::Missing { seq: *next })? {
            if logged.seq > seq {
                return Ok(());
            }
            if logged.seq != *next {
                return Err(Fault::Missing { seq: *next });
            }
            if logged.payload.first() == Some(&OPENING) {
                *next += 1;
                continue;
            }
            let mut entry = v1::decode(&logged.payload)
                .map_err(|source| Fault::Strange { seq: logged.seq, source })?;
            if sabotage.forget_keys {
                entry.remembered = None;
            }
            let conversation = reign.conversation_or_new(entry.chat);
            conversation.load(logged.epoch, logged.seq, &entry);
            *next += 1;
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}
