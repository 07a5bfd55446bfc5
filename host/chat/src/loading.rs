//! Folds a partition's committed log into its chats, when this node begins to lead it: from the newest
//! snapshot on, if there is one.
//!
//! In pages, on a task of its own, so that neither memory nor the driver of replication notices. An entry
//! that cannot be understood was written by a newer version, or is damaged: then nothing of the partition
//! is served here, because every chat in it could be missing something.

use std::time::Duration;

use model::encode;
use replication::core::PartitionView;

use crate::fold::{Folds, Unfolded};
use crate::ledger::Ledger;
use crate::reign::{Phase, Reign};
use crate::{Sabotage, snapshot};

/// Entries and bytes of one page: a page is folded in about a millisecond.
pub(crate) const PAGE_ENTRIES_MAX: usize = 512;
pub(crate) const PAGE_BYTES_MAX: usize = 1 << 20;

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
        source: encode::DecodeError,
    },
}

/// Folds everything up to `seq`; then the reign serves, or is broken.
pub(crate) async fn load(ledger: &dyn Ledger, reign: &Reign, seq: u64, sabotage: Sabotage) {
    let began = runtime::now();
    let (partition, epoch) = (reign.partition, reign.epoch);
    let mut folds = snapshot::begin(ledger, partition, seq, sabotage).await;
    let tail = seq - folds.place.seq.min(seq);
    match fold_at_last(ledger, reign, &mut folds, seq, sabotage).await {
        Ok(()) => {
            reign.fill(folds);
            reign.set_phase(Phase::Serving);
            let ms = (runtime::now() - began).as_millis();
            tracing::debug!(%partition, epoch, entries = seq, tail, ms, "serving");
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
    folds: &mut Folds,
    seq: u64,
    sabotage: Sabotage,
) -> Result<(), Fault> {
    let mut pause = AGAIN_MIN;
    loop {
        let base = || ledger.base(reign.partition).map_or(0, |base| base.place.seq);
        let before = base();
        if folds.place.seq < before {
            *folds = snapshot::begin(ledger, reign.partition, seq, sabotage).await;
        }
        match fold(ledger, reign, folds, seq, sabotage).await {
            // The log lost its beginning while it was folded: what was next may be gone.
            Err(Fault::Missing { .. }) if base() != before => {}
            Err(fault @ Fault::Missing { .. }) if !reign.closed().is_stopped() => {
                breaks(ledger, reign, &fault);
                runtime::sleep(pause).await;
                pause = (2 * pause).min(AGAIN_MAX);
            }
            done => return done,
        }
    }
}

/// Folds everything up to `seq` that is not folded yet.
async fn fold(
    ledger: &dyn Ledger,
    reign: &Reign,
    folds: &mut Folds,
    seq: u64,
    sabotage: Sabotage,
) -> Result<(), Fault> {
    while folds.place.seq < seq {
        let next = folds.next();
        let page = ledger.read(reign.partition, next, PAGE_ENTRIES_MAX, PAGE_BYTES_MAX).await;
        let page = page.filter(|page| !page.is_empty() && !reign.closed().is_stopped());
        for logged in page.ok_or(Fault::Missing { seq: next })? {
            if logged.seq > seq {
                return Ok(());
            }
            folds.apply(&logged, sabotage)?;
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

impl From<Unfolded> for Fault {
    fn from(unfolded: Unfolded) -> Self {
        match unfolded {
            Unfolded::Misplaced { wanted, .. } => Self::Missing { seq: wanted },
            Unfolded::Strange { seq, source } => Self::Strange { seq, source },
        }
    }
}
